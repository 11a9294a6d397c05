"""Dropout, of which a processor makes little work.

Srivastava et al., 2014. torch draws one random number for every value, one after another on a CPU:
a fifth of a training step. Here one of 64 bits serves four values.
"""

import torch
from torch import Tensor
from torch.nn import functional

from nextpixel.tracing import transformed

__all__ = ["dropout"]

_VALUES = 1 << 16  # of the 16 bits that decide whether a value is dropped


def dropout(x: Tensor, share: float) -> Tensor:
    """Each value is dropped with a probability, and what is left is scaled so that the mean stays.

    Args:
        x: floats of any shape.
        share: the probability, at least 0 and below 1. On a CPU it is rounded to a multiple of
            2^-16.
    """
    if not share or x.device.type != "cpu" or transformed():
        return functional.dropout(x, share)
    kept = torch.empty_like(x)
    words = torch.empty(-(-kept.numel() // 4), dtype=torch.int64, device="cpu")
    words.random_(-(1 << 63), None)
    bits = words.view(torch.int16)[: kept.numel()].as_strided(kept.shape, kept.stride())
    dropped = min(round(share * _VALUES), _VALUES - 1)
    torch.ge(bits, dropped - _VALUES // 2, out=kept)
    return x * kept.mul_(_VALUES / (_VALUES - dropped))
