"""The cell of the LSTMs and its derivatives, for many cells at once and in place."""

import torch
from torch import Tensor

__all__ = ["compute_cells", "compute_slopes"]


def compute_cells(gates: Tensor, carried: Tensor, c: Tensor, tanh_c: Tensor) -> None:
    """One step of a front: gates o, f, i, g (…, 4, F) and cell states (…, F) to c and tanh(c).

    The gates come as sums. They are overwritten by their values. tanh(x) is 2 σ(2x) - 1, because a
    tanh takes six times as long as a σ.
    """
    _, f, i, g = gates.unbind(-2)
    g.mul_(2)
    gates.sigmoid_()
    g.mul_(2).sub_(1)
    torch.mul(f, carried, out=c).addcmul_(i, g)
    torch.mul(c, 2, out=tanh_c).sigmoid_().mul_(2).sub_(1)


def compute_slopes(
    gates: Tensor, carried: Tensor, tanh_c: Tensor, dh: Tensor, dc: Tensor, of_sums: Tensor
) -> None:
    """The gradient of the sums that `compute_cells` was given, (…, 4, F).

    Args:
        gates, carried, tanh_c: of that step.
        dh: the gradient of its states, (…, F).
        dc: that of its cell states without what the states add; it is added here.
        of_sums: where the result is written.
    """
    o, _, i, g = gates.unbind(-2)
    do, df, di, dg = of_sums.unbind(-2)
    dt = dh * o
    dc.add_(dt).addcmul_(dt.mul_(tanh_c), tanh_c, value=-1)
    torch.addcmul(gates, gates, gates, value=-1, out=of_sums)  # σ' = σ - σ²
    do.mul_(tanh_c).mul_(dh)
    df.mul_(carried).mul_(dc)
    di.mul_(g).mul_(dc)
    torch.addcmul(i, i * g, g, value=-1, out=dg).mul_(dc)  # tanh' = 1 - tanh²
