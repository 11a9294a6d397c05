"""What a pixel sees: which sub-pixels its distribution depends on, and how strongly.

The two differ: gradients of a trained network fall off long before the border of its field (Luo et
al., 2016, "Understanding the effective receptive field").
"""

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped, UInt8
from torch import Tensor, nn

from nextpixel.analysis.probe import Probe
from nextpixel.cache import Site
from nextpixel.conditions.values import ValuesLike, broadcast, index
from nextpixel.data.image_files import grid
from nextpixel.devices import full_precision
from nextpixel.models.core import ImageModel, check_values, evaluating

__all__ = [
    "EffectiveField",
    "effective_receptive_field",
    "receptive_field",
    "receptive_field_picture",
]


def receptive_field(
    model: nn.Module,
    shape: tuple[int, int],
    *,
    pixel: tuple[int, int] | None = None,
    condition: ValuesLike = None,
    channels: int | None = None,
    levels: int | None = None,
) -> Bool[Tensor, "C C H W"]:
    """What the distributions of one pixel's colours depend on.

    Args:
        model: any model, as for `check_causality`.
        shape: (H, W) of the image.
        pixel: (row, column); None takes the middle of the last row but one, which has most of the
            image above it; in a multi-scale model the pixel beside it that is not in the small
            image.
        condition, channels, levels: as for `check_causality`.

    Returns:
        For each colour of the pixel (first axis), whether it depends on each sub-pixel of the
        image.

    Raises:
        ValueError: the pixel is outside the image, or the shape is empty.
    """
    row, column = _checked_pixel(model, shape, pixel)
    probe = Probe(model, channels, levels, condition, None)
    outputs = [Site(channel, row, column) for channel in range(probe.channels)]
    found = [probe.derivatives(shape, outputs) for _ in range(3)]
    seen = torch.stack(
        [f for f in found if f is not None] or [probe.changes(shape)[_numbers(outputs, shape)]]
    )
    return seen.any(dim=0).view(-1, *shape, probe.channels).permute(0, 3, 1, 2)


def receptive_field_picture(
    model: nn.Module, shape: tuple[int, int]
) -> UInt8[np.ndarray, "3 height width"]:
    """Draws `receptive_field`: a panel for each colour that sees (down) and that is seen (across).

    Seen past is green, unseen past grey, the pixel's own colour black, a leak red, the future
    white.
    """
    row, column = _checked_pixel(model, shape, None)
    seen = receptive_field(model, shape, pixel=(row, column)).numpy()
    order = np.empty((len(seen), *shape), dtype=int)
    for number, site in enumerate(Probe(model, None, None, None, None).order(shape)):
        order[site] = number
    panels = []
    for reader, source in itertools.product(range(len(seen)), repeat=2):
        here = order[reader, row, column]
        past, own, sees = order[source] < here, order[source] == here, seen[reader, source]
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


def effective_receptive_field(
    model: ImageModel,
    x: Shaped[Tensor, "B C H W"],
    *,
    pixel: tuple[int, int] | None = None,
    condition: ValuesLike = None,
) -> EffectiveField:
    """How strongly a model's distribution of one pixel depends on the others (Luo et al., 2016).

    The mean over images and colours of ``|∂ log p(value) / ∂ x|``, at the values that x has, with
    respect to the pixels as the network gets them.

    Args:
        model: a trained model.
        x: images, integers; some tens are enough.
        pixel: as for `receptive_field`.
        condition: a value for each image, or one for all; several conditions are a tuple.

    Raises:
        ValueError: x, pixel or condition does not fit; or the model's values are categories, which
            have no derivatives.
        TypeError: x does not hold integers.
    """
    size = x.shape[2], x.shape[3]
    values = broadcast(model.conditions, condition, len(x), size, model.device)
    model.check(x, values)
    check_values(model, x)
    if not len(x):
        raise ValueError(f"x has shape {tuple(x.shape)}: there is no image to look at")
    if model.categorical_values:
        raise ValueError(
            "this model's values are categories, and a distribution has no derivative with respect"
            " to a category"
        )
    height, width = size
    row, column = _checked_pixel(model, size, pixel)
    strength = torch.zeros(height, width, dtype=torch.float64)
    for k in range(len(x)):  # All maps of an image are held for its gradient.
        real = x[k : k + 1].to(model.device, model.dtype).requires_grad_()
        with full_precision(model.device), torch.enable_grad():
            log_prob = evaluating(model)(real, index(values, slice(k, k + 1))).log_prob(real)
            for channel in range(model.channels):
                total = log_prob[:, channel, row, column].sum()
                (gradient,) = torch.autograd.grad(total, real, retain_graph=True)
                strength += gradient.abs().sum(dim=(0, 1)).cpu().double()
    strength /= strength.sum().clamp(min=torch.finfo(torch.float64).tiny)
    rows, columns = torch.meshgrid(
        torch.arange(height) - row, torch.arange(width) - column, indexing="ij"
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
    model: nn.Module, shape: tuple[int, int], pixel: tuple[int, int] | None
) -> tuple[int, int]:
    """The pixel, checked; by default a low one whose distribution is of the last scale."""
    height, width = shape
    if height < 1 or width < 1:
        raise ValueError(f"shape (={shape}) must be at least 1×1")
    if pixel is not None:
        row, column = pixel
        if not (0 <= row < height and 0 <= column < width):
            raise ValueError(f"pixel (={pixel}) is outside the images, which are {height}×{width}")
        return row, column
    row, column = max(0, height - 2), width // 2
    if isinstance(model, ImageModel) and not list(model.scales())[-1].counts(row, column):
        return (row, column + 1) if column + 1 < width else (min(row + 1, height - 1), column)
    return row, column


def _numbers(sites: list[Site], shape: tuple[int, int]) -> list[int]:
    """The places of the colours of one pixel in raster order."""
    return [(site.row * shape[1] + site.column) * len(sites) + site.channel for site in sites]
