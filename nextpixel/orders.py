"""The orders in which a model may go through a picture: of its pixels, and of their colours.

Turning a picture and going through it row by row goes through the picture itself in another order::

    top-left  1 2 3     bottom-right  6 5 4     top-left-columns  1 3 5
              4 5 6                   3 2 1                       2 4 6

Exchanging colours likewise changes which colour of a pixel is given which. So one network serves
all orders: it gets turned pictures, and is told how they were turned. Each order gives another
exact likelihood, and their mixture is one, too. A completion is exact in an order under which what
is known comes first. (The idea of several orders: Uria et al., 2014, "A Deep and Tractable Density
Estimator"; of the eight symmetries of the square: Jain et al., 2020, "Locally Masked Convolution
for Autoregressive Models".)

This module does not load torch.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from nextpixel.arguments import shown
from nextpixel.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor
else:
    Tensor = Any

__all__ = [
    "ORDERS",
    "Order",
    "colour_order_counts",
    "counts_of",
    "known_order",
    "named_order",
    "orders_of",
    "turn_each",
]

_CORNERS = "top-left", "bottom-right", "top-right", "bottom-left"
_NAMES = (*_CORNERS, *(f"{corner}-columns" for corner in _CORNERS))


@dataclass(frozen=True)
class Order:
    """An order: what turns a picture so that raster order goes through it as wanted.

    Rows or columns are flipped first, then exchanged. `Order()` is raster order itself, with the
    colours as they are.

    Args:
        transpose: whether to go column by column.
        flip_rows: whether to begin with the last row.
        flip_columns: whether to begin with the last column.
        colours: the colours of a pixel, the one that comes first first; () for all as they are.

    Raises:
        UsageError: colours are not all of 0 … C-1, each once.

    Example:
        >>> import torch
        >>> x = torch.arange(6).view(1, 1, 2, 3)
        >>> Order.named("bottom-right").turn(x).flatten().tolist()
        [5, 4, 3, 2, 1, 0]
        >>> Order.named("top-left-columns").turn(x).flatten().tolist()
        [0, 3, 1, 4, 2, 5]
        >>> Order.named("top-right:2-0-1")
        Order(transpose=False, flip_rows=False, flip_columns=True, colours=(2, 0, 1))
    """

    transpose: bool = False
    flip_rows: bool = False
    flip_columns: bool = False
    colours: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        colours, plain = tuple(self.colours), tuple(range(len(self.colours)))
        if tuple(sorted(colours)) != plain:
            raise UsageError(
                f"‹colours={colours}› must name each colour once, from 0, such as (2, 0, 1)"
            )
        object.__setattr__(self, "colours", () if colours == plain else colours)

    @classmethod
    def named(cls, name: str) -> "Order":
        """The order of a name, such as "bottom-right-columns", or with colours "top-left:2-0-1".

        Raises:
            UsageError: there is no such order.
        """
        corner, colon, colours = name.partition(":")
        digits = colours.split("-") if colon else []
        if corner not in _NAMES or not all(part.isdecimal() for part in digits):
            names = ", ".join(map(repr, _NAMES))
            raise UsageError(
                f"‹order={name!r}› must be one of {names}; colours may follow, such as"
                " 'top-left:2-0-1'"
            )
        flips = corner.endswith("columns"), "bottom" in corner, "right" in corner
        return cls(*flips, tuple(map(int, digits)))

    @property
    def name(self) -> str:
        """The corner where the order begins, "-columns" if it goes by columns, and the colours."""
        row = "bottom" if self.flip_rows else "top"
        column = "right" if self.flip_columns else "left"
        colours = ":" + "-".join(map(str, self.colours)) if self.colours else ""
        return f"{row}-{column}{'-columns' * self.transpose}{colours}"

    @property
    def copies(self) -> bool:
        """Whether turning takes a copy; otherwise it gives a view."""
        return self.flip_rows or self.flip_columns or bool(self.colours)

    @property
    def square(self) -> "Order":
        """The order of the pixels alone: what turns maps, whose channels are not colours."""
        return replace(self, colours=()) if self.colours else self

    @property
    def back(self) -> "Order":
        """The order that turns back what this one has turned."""
        flips = self.flip_rows, self.flip_columns
        places = tuple(map(self.colour, range(len(self.colours))))
        return Order(self.transpose, *(flips[::-1] if self.transpose else flips), places)

    def turn(self, x: Tensor) -> Tensor:
        """Images or masks (…, C, H, W), turned: (…, C, W, H) if this order goes by columns.

        What has no colours, (…, H, W), is turned by `square`.
        """
        axes = [a for a, flip in ((-2, self.flip_rows), (-1, self.flip_columns)) if flip]
        flipped = x.flip(axes) if axes else x
        turned = flipped.transpose(-2, -1) if self.transpose else flipped
        return turned[..., list(self.colours), :, :] if self.colours else turned

    def turn_back(self, x: Tensor) -> Tensor:
        """What `turn` was given, from what it gave."""
        return self.back.turn(x)

    def size(self, height: int, width: int) -> tuple[int, int]:
        """The height and width of turned images."""
        return (width, height) if self.transpose else (height, width)

    def colour(self, channel: int) -> int:
        """The place among the colours at which a colour is after turning."""
        return self.colours.index(channel) if self.colours else channel

    def pixel(self, row: Any, column: Any, size: tuple[int, int]) -> tuple[Any, Any]:
        """The row and column, numbers or tensors, at which a pixel is after turning.

        Args:
            row, column: of the pixel.
            size: (H, W) of the images before turning.
        """
        row = size[0] - 1 - row if self.flip_rows else row
        column = size[1] - 1 - column if self.flip_columns else column
        return (column, row) if self.transpose else (row, column)


ORDERS = tuple(map(Order.named, _NAMES))
"""All orders of pixels. A model of n orders knows the first n; four of them do not exchange rows
and columns."""

_MOST_COLOURS = 4


def colour_order_counts(channels: int) -> tuple[int, ...]:
    """In how many orders of its C colours a model may go through a pixel: 1, C or all C!.

    All are offered for up to four colours.
    """
    every = math.factorial(channels) if channels <= _MOST_COLOURS else 1
    return tuple(sorted({1, channels, every}))


def orders_of(channels: int, orders: int, colour_orders: int) -> tuple[Order, ...]:
    """The orders that a model knows: those of pixels, with each order of colours in turn.

    The first C orders of colours are the rotations, in which each colour is the first one once.

    Example:
        >>> [order.name for order in orders_of(3, 2, 3)][2:]
        ['top-left:1-2-0', 'bottom-right:1-2-0', 'top-left:2-0-1', 'bottom-right:2-0-1']
    """
    plain = tuple(range(channels))
    rotations = [plain[k:] + plain[:k] for k in range(min(channels, colour_orders))]
    others = itertools.permutations(plain) if colour_orders > channels else ()
    colours = [*rotations, *(one for one in others if one not in rotations)]
    return tuple(replace(order, colours=one) for one in colours for order in ORDERS[:orders])


def counts_of(orders: Sequence[Order]) -> tuple[int, int]:
    """How many orders of pixels and how many of colours there are among those of a model."""
    return len({order.square for order in orders}), len({order.colours for order in orders})


def named_order(name: str | None) -> Order | None:
    """The order of a name; None stays None."""
    return None if name is None else Order.named(name)


def known_order(orders: Sequence[Order], order: Order | None) -> Order:
    """An order that a model knows; None takes the first, which is raster order.

    Raises:
        UsageError: the model does not know it, or it is no `Order`.
    """
    if order is None:
        return orders[0]
    if not isinstance(order, Order):
        raise UsageError(
            f"‹order={shown(order)}› must be an Order, such as Order.named('bottom-right')"
        )
    if order not in orders:
        names = ", ".join(known.name for known in orders[:_SHOWN])
        names += f" and {len(orders) - _SHOWN} more" if len(orders) > _SHOWN else ""
        more = "colour_orders" if order.square in orders else "orders"
        raise UsageError(
            f"‹order={order.name}› is not among the orders that this model knows: {names}; train a"
            f" model with more ‹{more}›"
        )
    return order


_SHOWN = 8


def turn_each(orders: Sequence[Order], x: Tensor) -> Tensor:
    """Turns every image (B, …, H, W) in its own order; after turning, all have one size."""
    groups: dict[Order, list[int]] = {}
    for image, order in enumerate(orders):
        groups.setdefault(order, []).append(image)
    if len(groups) < 2:
        return next(iter(groups), Order()).turn(x)
    first = next(iter(groups))
    turned = x.new_empty(*x.shape[:-2], *first.size(x.shape[-2], x.shape[-1]))
    for order, images in groups.items():
        turned[images] = order.turn(x[images])
    return turned
