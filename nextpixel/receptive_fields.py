"""What a pixel sees: the sub-pixels that its law depends on at all, and how strongly it does.

A field in theory tells nothing of its use: gradients of a trained network fall off long before its border (Luo et al.,
2016, "Understanding the effective receptive field"). So there are both.
"""

import itertools

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from torch import Tensor, nn

from nextpixel.cache import Site
from nextpixel.images import grid
from nextpixel.probe import Probe

__all__ = ["receptive_field", "receptive_field_picture"]


def receptive_field(
    model: nn.Module,
    shape: tuple[int, int],
    *,
    pixel: tuple[int, int] | None = None,
    condition: Tensor | None = None,
    channels: int | None = None,
    levels: int | None = None,
) -> Bool[Tensor, "C C H W"]:
    """What the laws of one pixel's colours depend on.

    Args:
        model: any model, as for `check_causality`.
        shape: (H, W) of the image.
        pixel: (row, column); None takes the middle of the last row but one, below most of the image.
        condition, channels, levels: as for `check_causality`.

    Returns:
        For each colour of the pixel (first axis), whether it depends on each sub-pixel of the image.
    """
    row, column = _low_pixel(shape) if pixel is None else pixel
    probe = Probe(model, channels, levels, condition, None)
    outputs = [Site(channel, row, column) for channel in range(probe.channels)]
    found = [probe.derivatives(shape, outputs) for _ in range(3)]
    seen = torch.stack([f for f in found if f is not None] or [probe.changes(shape)[_numbers(outputs, shape)]])
    return seen.any(dim=0).view(-1, *shape, probe.channels).permute(0, 3, 1, 2)


def receptive_field_picture(model: nn.Module, shape: tuple[int, int]) -> UInt8[np.ndarray, "3 height width"]:
    """Draws `receptive_field`: a panel for each colour that sees (down) and that is seen (across).

    Seen past is green, unseen past grey, the pixel's own colour black, a leak red, the future white.
    """
    row, column = _low_pixel(shape)
    seen = receptive_field(model, shape, pixel=(row, column)).numpy()
    channels = len(seen)
    order = np.arange(shape[0] * shape[1]).reshape(shape) * channels
    panels = []
    for reader, source in itertools.product(range(channels), repeat=2):
        here = (row * shape[1] + column) * channels + reader
        past, own, sees = order + source < here, order + source == here, seen[reader, source]
        colours = np.select(
            [past & sees, past, own & ~sees, sees], [[[[76]], [[175]], [[80]]], 200, 0, [[[220]], [[40]], [[40]]]], 255
        )
        panels.append(colours)
    return grid(np.stack(panels), columns=channels, levels=256, scale=8, background=128)


def _low_pixel(shape: tuple[int, int]) -> tuple[int, int]:
    """The middle of the last row but one, below most of the image."""
    return max(0, shape[0] - 2), shape[1] // 2


def _numbers(sites: list[Site], shape: tuple[int, int]) -> list[int]:
    """The places of the colours of one pixel in raster order."""
    return [(site.row * shape[1] + site.column) * len(sites) + site.channel for site in sites]
