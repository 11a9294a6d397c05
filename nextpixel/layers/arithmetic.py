"""What layers do between products, for an arithmetic other than floating point.

Layers have an attribute `arithmetic`, None for floating point as torch computes it.
Otherwise it rounds values and sums, and computes what is no product. `nextpixel.codec.exact` has
one in which no sum is rounded before it is complete, so that results do not depend on the order of
additions.
"""

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional

from nextpixel.front.place import Front

__all__ = ["FEATURES", "LOCATIONS", "Arithmetic", "convolved", "rounded", "value"]

FEATURES = 10
"""Binary places of features and logits."""
LOCATIONS = 16
"""Binary places of what is read by the first products, and of the outputs of a mixture."""


@runtime_checkable
class Arithmetic(Protocol):
    """How values and sums are rounded, and the functions between products."""

    def convolved(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, beside: int, zeros: int = 0
    ) -> Tensor:
        """A convolution, with so many zeros added at both ends of every row, and so many there."""
        ...

    def rounded(self, y: Tensor, places: int) -> Tensor:
        """A complete sum of products, rounded to binary places; it overwrites y."""
        ...

    def gate(self, y: Tensor, into: Tensor | None = None) -> Tensor:
        """tanh(a) ⊙ σ(b) of the halves of y (B, 2F, …), rounded, in `into` or new; overwrites y."""
        ...

    def cell(self, gates: Tensor, carried: Tensor, h: Tensor, c: Tensor) -> None:
        """One step of an LSTM: sums of gates o, f, i, g (…, 4F) and cell states to h and c."""
        ...

    def positions(
        self, waves: int, height: int, width: int, device: torch.device, dtype: torch.dtype
    ) -> Tensor:
        """Waves at every pixel, as `layers.conditioning` defines them: (1, waves, H, W)."""
        ...


def convolved(
    arithmetic: Arithmetic | None,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    beside: int = 0,
    *,
    zeros: int = 0,
) -> Tensor:
    """A convolution.

    Args:
        arithmetic: None for floating point.
        x, weight, bias: as of `conv2d`.
        beside: how many zeros to add at both ends of every row.
        zeros: how many zeros there are already.
    """
    if arithmetic is None:
        return functional.conv2d(x, weight, bias, padding=(0, beside))
    return arithmetic.convolved(x, weight, bias, beside, zeros)


def rounded(
    arithmetic: Arithmetic | None,
    y: Tensor,
    front: Front | None = None,
    places: int | None = FEATURES,
) -> Tensor:
    """A complete sum of products, rounded to so many binary places, None for all; in place."""
    if arithmetic is None or places is None:
        return y
    if front is None:
        return arithmetic.rounded(y, places)
    front.run(arithmetic.rounded, y, places)
    return y


def value(arithmetic: Arithmetic | None, y: Tensor) -> Tensor:
    """What the first products read, rounded; y stays as it is."""
    return y if arithmetic is None else arithmetic.rounded(y.clone(), LOCATIONS)
