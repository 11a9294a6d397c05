"""What a model of several orders is told of an image: in which order it is (`nextpixel.orders`)."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from nextpixel.conditions.kinds import Condition
from nextpixel.conditions.one_hot import as_one_hot

__all__ = ["OrderCondition"]


@final
@dataclass(frozen=True)
class OrderCondition(Condition):
    """The number of an order less one, integers (B,); -1 is the first order, which adds nothing.

    An order of the pixels and one of the colours are told apart, so that what is learned of one
    holds for all orders with it: number = colours · squares + square.

    Attributes:
        squares, colours: how many orders of pixels there are, and of colours.
    """

    squares: int
    colours: int

    noun, plural, annotation, per_pixel, standardised = "order", "orders", "orders", False, 0

    @property
    def count(self) -> int:
        """The number of orders beside the first."""
        return self.squares * self.colours - 1

    @property
    def width(self) -> int:
        """One feature for each order of pixels, and of colours, beside the first."""
        return self.squares + self.colours - 2

    def shape(self, batch: int, size: tuple[int, int]) -> tuple[int, ...]:  # noqa: ARG002
        """One order for each image."""
        return (batch,)

    def features_of(self, value: Tensor, dtype: torch.dtype) -> Tensor:
        """One-hot of the order of pixels, then of that of the colours."""
        number = value.long() + 1
        square, colours = number % self.squares, number // self.squares
        parts = ((square, self.squares), (colours, self.colours))
        return torch.cat([as_one_hot(one - 1, of - 1, dtype) for one, of in parts], dim=1)

    def seen_from(self, scale: int) -> "OrderCondition":  # noqa: ARG002
        """The order of an image does not depend on its size."""
        return self

    def describe(self) -> str:
        """Such as "8 orders"."""
        return f"{self.count + 1} orders"
