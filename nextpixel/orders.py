"""The orders in which a model may go through a picture: the eight symmetries of the square.

Turning a picture and going through it row by row goes through the picture itself in another order::

    top-left  1 2 3     bottom-right  6 5 4     top-left-columns  1 3 5
              4 5 6                   3 2 1                       2 4 6

So one network serves all orders: it gets turned pictures, and is told how they were turned. Each
order gives another exact likelihood, and their mixture is one, too. A completion is exact in an
order under which the known pixels come first. (The idea of several orders: Uria et al., 2014, "A
Deep and Tractable Density Estimator"; of these eight: Jain et al., 2020, "Locally Masked
Convolution for Autoregressive Models".)

This module does not load torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast, get_args

from nextpixel.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor
else:
    Tensor = Any

__all__ = ["ORDERS", "Order", "OrderName", "known_order", "named_order", "turn_each"]

OrderName: TypeAlias = Literal[
    "top-left",
    "bottom-right",
    "top-right",
    "bottom-left",
    "top-left-columns",
    "bottom-right-columns",
    "top-right-columns",
    "bottom-left-columns",
]
"""The corner where an order begins; row by row, or column by column."""


@dataclass(frozen=True)
class Order:
    """An order: what turns a picture so that raster order goes through it as wanted.

    Rows or columns are flipped first, then exchanged. `Order()` is raster order itself.

    Args:
        transpose: whether to go column by column.
        flip_rows: whether to begin with the last row.
        flip_columns: whether to begin with the last column.

    Example:
        >>> import torch
        >>> x = torch.arange(6).view(1, 1, 2, 3)
        >>> Order.named("bottom-right").turn(x).flatten().tolist()
        [5, 4, 3, 2, 1, 0]
        >>> Order.named("top-left-columns").turn(x).flatten().tolist()
        [0, 3, 1, 4, 2, 5]
    """

    transpose: bool = False
    flip_rows: bool = False
    flip_columns: bool = False

    @classmethod
    def named(cls, name: str) -> "Order":
        """The order of a name, such as "bottom-right-columns".

        Raises:
            UsageError: there is no such order.
        """
        if name not in get_args(OrderName):
            names = ", ".join(map(repr, get_args(OrderName)))
            raise UsageError(f"‹order={name!r}› must be one of {names}")
        return cls(name.endswith("columns"), "bottom" in name, "right" in name)

    @property
    def name(self) -> OrderName:
        """The corner where the order begins, and "-columns" if it goes column by column."""
        row = "bottom" if self.flip_rows else "top"
        column = "right" if self.flip_columns else "left"
        return cast(OrderName, f"{row}-{column}{'-columns' * self.transpose}")

    @property
    def flips(self) -> bool:
        """Whether turning takes a copy; otherwise it gives a view."""
        return self.flip_rows or self.flip_columns

    @property
    def back(self) -> "Order":
        """The order that turns back what this one has turned."""
        flips = self.flip_rows, self.flip_columns
        return Order(self.transpose, *(flips[::-1] if self.transpose else flips))

    def turn(self, x: Tensor) -> Tensor:
        """Images, maps or masks (…, H, W), turned: (…, W, H) if this order goes by columns."""
        axes = [a for a, flip in ((-2, self.flip_rows), (-1, self.flip_columns)) if flip]
        flipped = x.flip(axes) if axes else x
        return flipped.transpose(-2, -1) if self.transpose else flipped

    def turn_back(self, x: Tensor) -> Tensor:
        """What `turn` was given, from what it gave."""
        return self.back.turn(x)

    def size(self, height: int, width: int) -> tuple[int, int]:
        """The height and width of turned images."""
        return (width, height) if self.transpose else (height, width)

    def pixel(self, row: Any, column: Any, size: tuple[int, int]) -> tuple[Any, Any]:
        """The row and column, numbers or tensors, at which a pixel is after turning.

        Args:
            row, column: of the pixel.
            size: (H, W) of the images before turning.
        """
        row = size[0] - 1 - row if self.flip_rows else row
        column = size[1] - 1 - column if self.flip_columns else column
        return (column, row) if self.transpose else (row, column)


ORDERS = tuple(map(Order.named, get_args(OrderName)))
"""All orders. A model of n orders knows the first n; four of them do not exchange rows and
columns."""


def named_order(name: str | None) -> Order | None:
    """The order of a name; None stays None."""
    return None if name is None else Order.named(name)


def known_order(orders: Sequence[Order], order: Order | None) -> Order:
    """An order that a model knows; None takes the first, which is raster order.

    Raises:
        UsageError: the model does not know it.
    """
    if order is None:
        return orders[0]
    if order not in orders:
        name = order.name if isinstance(order, Order) else repr(order)
        names = ", ".join(known.name for known in orders)
        raise UsageError(
            f"‹order={name}› is not among the orders that this model knows: {names}; train a model"
            " with more ‹orders›"
        )
    return order


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
