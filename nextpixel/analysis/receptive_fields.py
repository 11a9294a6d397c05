"""What a pixel sees: which sub-pixels its distribution depends on, and how strongly.

The two differ: gradients of a trained network fall off long before the border of its field (Luo et
al., 2016, "Understanding the effective receptive field").
"""

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from nextpixel.analysis.probe import Probe, as_probed
from nextpixel.arguments import shown, whole_number
from nextpixel.border import ConditionGiven, Images, admit, checked_shape
from nextpixel.cache import Site
from nextpixel.conditions.values import index
from nextpixel.data.image_files import grid
from nextpixel.devices import full_precision
from nextpixel.errors import UsageError
from nextpixel.models.core import ImageModel
from nextpixel.models.evaluation import evaluating
from nextpixel.orders import Order, known_order
from nextpixel.turning import turned

__all__ = [
    "EffectiveField",
    "effective_receptive_field",
    "receptive_field",
    "receptive_field_picture",
]


@torch.inference_mode(False)
@torch.enable_grad()
def receptive_field(
    model: nn.Module,
    shape: tuple[int, int],
    *,
    pixel: tuple[int, int] | None = None,
    condition: ConditionGiven = None,
    channels: int | None = None,
    levels: int | None = None,
    order: Order | None = None,
) -> Bool[Tensor, "C C H W"]:
    """What the distributions of one pixel's colours depend on.

    Args:
        model: any model, as for `check_causality`.
        shape: (H, W) of the image.
        pixel: (row, column); None takes the middle of the last row but one, which has most of the
            image above it; in a multi-scale model the pixel beside it that is not in the small
            image.
        condition, channels, levels, order: as for `check_causality`. In another order than the
            first, the default pixel is the one that it turns to.

    Returns:
        For each colour of the pixel (first axis), whether it depends on each sub-pixel of the
        image.

    Raises:
        ValueError: the pixel is outside the image, or the shape is empty.
    """
    model = as_probed(model, channels, levels)
    probe = Probe(model, None, None, condition, None, order)
    if pixel is not None:
        pixel = probe.order.pixel(*_checked_pixel(model, shape, pixel), shape)
    shape = probe.order.size(*checked_shape(shape))
    row, column = _checked_pixel(model, shape, pixel)
    outputs = [Site(channel, row, column) for channel in range(probe.channels)]
    found = [probe.derivatives(shape, outputs) for _ in range(3)]
    seen = torch.stack(
        [f for f in found if f is not None] or [probe.changes(shape)[_numbers(outputs, shape)]]
    )
    seen = seen.any(dim=0).view(-1, *shape, probe.channels).permute(0, 3, 1, 2)
    places = [probe.order.colour(channel) for channel in range(probe.channels)]
    return probe.order.turn_back(seen)[places]


def receptive_field_picture(
    model: nn.Module, shape: tuple[int, int], *, order: Order | None = None
) -> UInt8[np.ndarray, "3 height width"]:
    """Draws `receptive_field`: a panel for each colour that sees (down) and that is seen (across).

    Seen past is green, unseen past grey, the pixel's own colour black, a leak red, the future
    white.
    """
    model = as_probed(model, None, None)
    probe = Probe(model, None, None, None, None, order)
    turned_shape = probe.order.size(*checked_shape(shape))
    default = Site(0, *_checked_pixel(model, turned_shape, None))
    _, row, column = probe.upright(default, turned_shape)
    seen = receptive_field(model, shape, pixel=(row, column), order=order).numpy()
    number_of = np.empty((len(seen), *shape), dtype=int)
    for number, site in enumerate(probe.sites(turned_shape)):
        number_of[probe.upright(site, turned_shape)] = number
    panels = []
    for reader, source in itertools.product(range(len(seen)), repeat=2):
        here, there = number_of[reader, row, column], number_of[source]
        past, own, sees = there < here, there == here, seen[reader, source]
        colours = np.select(
            [past & sees, past, own & ~sees, sees],
            [[[[76]], [[175]], [[80]]], 200, 0, [[[220]], [[40]], [[40]]]],
            255,
        )
        panels.append(colours)
    return grid(np.stack(panels), columns=len(seen), levels=256, scale=8, background=128)


@dataclass(frozen=True, kw_only=True)
class EffectiveField:
    """How strongly the distribution of a pixel depends on each pixel around it.

    Attributes:
        strength: (H, W), share of the whole; the pixel's own share is that of its earlier colours.
        pixel: (row, column) whose distribution it is.
        radius: mean distance from the pixel, in pixels, weighted by strength.
        within: distance within which half, 90 % and 99 % of the strength lies; all 0 if the
            distribution depends on nothing.
    """

    strength: Float[Tensor, "H W"]
    pixel: tuple[int, int]
    radius: float
    within: tuple[float, float, float]

    def __str__(self) -> str:
        half, most, all_but = self.within
        if not self.strength.any():
            return f"effective field of pixel {self.pixel}: its distribution depends on no pixel"
        return (
            f"effective field of pixel {self.pixel}: mean distance {self.radius:.1f} pixels; half"
            f" of it lies within {half:.1f}, 90 % within {most:.1f}, 99 % within {all_but:.1f}"
        )


@torch.inference_mode(False)
@torch.enable_grad()
def effective_receptive_field(
    model: nn.Module,
    x: Images,
    *,
    pixel: tuple[int, int] | None = None,
    condition: ConditionGiven = None,
    order: Order | None = None,
) -> EffectiveField:
    """How strongly a model's distribution of one pixel depends on the others (Luo et al., 2016).

    The mean over images and colours of ``|∂ log p(value) / ∂ x|``, at the values that x has, with
    respect to the pixels as the network gets them.

    Args:
        model: a trained model.
        x: images, integers; some tens are enough.
        pixel: as for `receptive_field`.
        condition: a value for each image, or one for all; several conditions are a tuple.
        order: as for `receptive_field`.

    Raises:
        ValueError: x, pixel or condition does not fit; or the model's values are categories, which
            have no derivatives.
        TypeError: x does not hold integers.
    """
    model, x, values, _ = admit(model, x, condition)
    size = x.shape[2], x.shape[3]
    if not len(x):
        raise UsageError(f"‹x› has shape {tuple(x.shape)}: there is no image to look at")
    if model.categorical_values:
        raise UsageError(
            "this model's values are categories, and a distribution has no derivative with respect"
            " to a category"
        )
    height, width = size
    order = known_order(model.orders, order)
    if pixel is not None:
        pixel = order.pixel(*_checked_pixel(model, size, pixel), size)
    there = _checked_pixel(model, order.size(*size), pixel)
    row, column = order.back.pixel(*there, order.size(*size))
    strength = torch.zeros(height, width, dtype=torch.float64, device="cpu")
    for k in range(len(x)):  # All maps of an image are held for its gradient.
        real = x[k : k + 1].to(model.device, model.dtype).requires_grad_()
        with full_precision(model.device):
            seen, given = turned(model, [order], real, index(values, slice(k, k + 1)))
            log_prob = evaluating(model)(seen, given).log_prob(seen)
            for channel in range(model.channels):
                total = log_prob[(slice(None), channel, *there)].sum()
                (gradient,) = torch.autograd.grad(total, real, retain_graph=True)
                strength += gradient.abs().sum(dim=(0, 1)).cpu().double()
    strength /= strength.sum().clamp(min=torch.finfo(torch.float64).tiny)
    rows, columns = torch.meshgrid(
        torch.arange(height, device="cpu") - row,
        torch.arange(width, device="cpu") - column,
        indexing="ij",
    )
    distance = (rows**2 + columns**2).double().sqrt()
    nearest = distance.flatten().argsort()
    inside = strength.flatten()[nearest].cumsum(0)
    within = [
        float(distance.flatten()[nearest][min(int((inside < q).sum()), len(inside) - 1)])
        for q in (0.5, 0.9, 0.99)
    ]
    if not strength.any():
        within = [0.0, 0.0, 0.0]
    return EffectiveField(
        strength=strength,
        pixel=(row, column),
        radius=float((distance * strength).sum()),
        within=(within[0], within[1], within[2]),
    )


def _checked_pixel(
    model: ImageModel, shape: tuple[int, int], pixel: tuple[int, int] | None
) -> tuple[int, int]:
    """The pixel, checked; by default a low one whose distribution is of the last scale."""
    height, width = checked_shape(shape)
    if pixel is not None:
        try:
            row, column = (whole_number("pixel", place, 0) for place in pixel)
        except (TypeError, ValueError):
            raise UsageError(f"‹pixel={shown(pixel)}› must be (row, column), from 0") from None
        if not (row < height and column < width):
            raise UsageError(
                f"‹pixel={shown(pixel)}› is outside the images, which are {height}×{width}"
            )
        return row, column
    row, column = max(0, height - 2), width // 2
    if not list(model.scales())[-1].counts(row, column):
        return (row, column + 1) if column + 1 < width else (min(row + 1, height - 1), column)
    return row, column


def _numbers(sites: list[Site], shape: tuple[int, int]) -> list[int]:
    """The places of the colours of one pixel in raster order."""
    return [(site.row * shape[1] + site.column) * len(sites) + site.channel for site in sites]
