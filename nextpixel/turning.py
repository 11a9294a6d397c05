"""How a model of several orders (`nextpixel.orders`) is used: what it is given is turned first.

A pass in an order is a pass over turned images and maps, by a network that is told the order::

    x, values = turned(model, [order] * len(x), x, values)
    model(x, values).log_prob(x)         # of the turned images

Whoever asks for single sub-pixels turns the result back.
"""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Bool
from torch import Tensor

from nextpixel.cache import Site, raster_order
from nextpixel.conditions.values import Values
from nextpixel.models.core import ImageModel
from nextpixel.orders import Order, known_order, turn_each

__all__ = ["best_order", "side_by_side", "told", "turned", "visiting_order"]


def turned(
    model: ImageModel, orders: Sequence[Order], x: Tensor, values: Values
) -> tuple[Tensor, Values]:
    """Images and values as a model takes them in other orders than the first.

    A map of lower resolution than the images is turned in itself. Its pixels then lie where they
    did if the sides of the images are multiples of its scale.

    Args:
        model: any model.
        orders: of each image; after turning, all have one size.
        x: images (B, C, H, W).
        values: of the model's conditions, for each image.

    Returns:
        The turned images, and the values with turned maps and what the model is told.
    """
    maps = [part.per_pixel for part in model.conditions]
    squares = [order.square for order in orders]
    given = tuple(
        turn_each(squares, value) if per_pixel else value
        for per_pixel, value in zip(maps, values, strict=False)
    )
    return turn_each(orders, x), (*given, *told(model, orders, x.device))


def told(model: ImageModel, orders: Sequence[Order], device: torch.device) -> Values:
    """What a model is told beside the values of its conditions: the order of each image, if any."""
    if not model.told:
        return ()
    numbers = [model.orders.index(order) - 1 for order in orders]
    return (torch.tensor(numbers, dtype=torch.int64, device=device),)


def side_by_side(orders: Sequence[Order], size: tuple[int, int]) -> Iterator[list[int]]:
    """Which images of a size (H, W) go together: those of one size after turning."""
    sizes: dict[tuple[int, int], list[int]] = {}
    for image, order in enumerate(orders):
        sizes.setdefault(order.size(*size), []).append(image)
    yield from sizes.values()


def visiting_order(
    model: ImageModel, height: int, width: int, *, order: Order | None = None
) -> list[Site]:
    """All sites in the order of the model's factorisation, scale by scale.

    Within a scale that is raster order, or another order that the model knows.
    """
    order = known_order(model.orders, order)
    size, back = order.size(height, width), order.back
    return [
        Site(back.colour(channel), *back.pixel(row * scale.step, column * scale.step, size))
        for scale in model.scales()
        for channel, row, column in raster_order(
            model.channels, -(-size[0] // scale.step), -(-size[1] // scale.step)
        )
        if scale.counts(row, column)
    ]


def best_order(model: ImageModel, known: Bool[Tensor, "..."]) -> Order:
    """The order, of those that a model knows, that suits a completion best.

    It is the one in which most pairs of a known and an unknown sub-pixel have the known one first.
    If all do, draws are from the exact p(unknown | known).

    Args:
        model: any model.
        known: True where a sub-pixel is known, (…, C, H, W); of several images all count.
    """
    masks = known.cpu().flatten(0, -4) if known.ndim > 3 else known.cpu()[None]

    def pairs(order: Order) -> int:
        return _pairs(model, order.turn(masks))

    # Pairs of different pixels do not depend on the colours' order, nor others on that of pixels.
    square = max((order for order in model.orders if not order.colours), key=pairs)
    return max((order for order in model.orders if order.square == square), key=pairs)


def _pairs(model: ImageModel, known: Tensor) -> int:
    """How many pairs of sub-pixels have a known one before an unknown one, in the first order."""
    before, pairs = known.new_zeros(len(known), 1, dtype=torch.int64), 0
    for mask in _sites(model, known):
        so_far = before + mask.cumsum(dim=1)
        pairs += int(so_far.masked_fill(mask, 0).sum())
        before = so_far[:, -1:] if mask.shape[1] else before
    return pairs


def _sites(model: ImageModel, mask: Tensor) -> Iterator[Tensor]:
    """The values of a mask (B, C, H, W) in the order of a model's sites, scale by scale, (B, n)."""
    for scale in model.scales():
        part = mask[:, :, :: scale.step, :: scale.step].permute(0, 2, 3, 1)
        counted = torch.ones(part.shape[1:3], dtype=torch.bool, device="cpu")
        if scale.coarser is not None:
            apart = scale.coarser // scale.step
            counted[::apart, ::apart] = False
        yield part[:, counted].flatten(1)
