"""What models take: images (B, C, H, W) of integers 0 … levels-1. Each check has one sentence.

The type and the shape cost nothing to check. The range costs one reduction over the image and one
transfer from the device, with which the values of conditions come along; it is left out where
values cannot be read, because operations are compiled, traced, transformed or captured.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from nextpixel.conditions.kinds import Condition
from nextpixel.errors import UsageError
from nextpixel.tracing import transformed

__all__ = ["check_images", "check_integers", "check_range", "plain_integers"]


def check_integers(x: object, levels: int | None = None) -> None:
    """Raises TypeError unless x is a tensor of integers; reads no values.

    Reals pass where derivatives with respect to them are taken.
    """
    wanted = "integers" if levels is None else f"integers 0 … {levels - 1}"
    if not isinstance(x, Tensor):
        raise TypeError(f"x has type {type(x).__name__}; give a tensor of {wanted}")
    real = x.is_floating_point()
    if not (real or x.is_complex() or x.dtype == torch.bool):
        return
    if not (real and (x.requires_grad or transformed())):
        advice = f", which are (x * {(levels or 256) - 1}).round().long() of reals from 0 to 1"
        raise TypeError(f"x has type {x.dtype}; give {wanted}{advice * real}")


def check_images(x: object, channels: int, levels: int) -> None:
    """Raises unless x is a batch of images by its type and shape; reads no values.

    Raises:
        TypeError: x is not a tensor of integers.
        UsageError: x has another shape.
    """
    check_integers(x, levels)
    assert isinstance(x, Tensor)
    if x.ndim != 4 or x.shape[1] != channels or 0 in x.shape[2:]:
        raise UsageError(
            f"‹x› has shape {tuple(x.shape)}; this model takes (B, {channels}, H, W)"
            f"{_advice(x, channels)}"
        )


def _advice(x: Tensor, channels: int) -> str:
    if x.ndim == 4 and 0 in x.shape[2:]:
        return " with H and W at least 1"
    if channels == 1 and x.ndim == 3:
        return "; x[:, None] has it for grey images (B, H, W)"
    if x.ndim in (3, 4) and x.shape[-1] == channels:
        return "; bring the channels forward, as x.movedim(-1, -3) does"
    return ""


def check_range(x: Tensor, levels: int, given: Iterable[tuple[Condition, Tensor]] = ()) -> None:
    """Raises unless all of x is in 0 … levels-1, and values of conditions are what they accept.

    Raises:
        UsageError: a value is not.
    """
    x = plain_integers(x.detach())
    if not x.numel() or not _readable(x):
        return
    given = [(part, value) for part, value in given if _readable(value)]
    found = [*torch.aminmax(x)]
    if x.is_floating_point():
        found.append((x != x.floor()).any())
    found += [part.outside(value).any() for part, value in given]
    low, high, *wrong = torch.stack([number.to(x) for number in found]).tolist()
    if not (low >= 0 and high < levels):
        value = high if low >= 0 else low
        raise UsageError(
            f"x contains the value {value:g}; this model knows 0 … {levels - 1}"
            f"{_advised(float(low), float(high), levels)}"
        )
    if x.is_floating_point() and wrong.pop(0):
        raise UsageError(f"x contains values between the integers 0 … {levels - 1}; round them")
    for (part, value), is_wrong in zip(given, wrong, strict=True):
        if is_wrong:
            part.check_range(value)


def _advised(low: float, high: float, levels: int) -> str:
    """What to do about the usual mistakes: bytes for few levels, and spins."""
    if low == -1 and levels == 2:
        return "; of spins -1 and 1, give (x + 1) // 2"
    if low >= 0 and levels < 256 and high < 256:
        return f"; to quantise bytes, give x.long() * {levels} // 256"
    return ""


_NOT_REDUCED = {torch.uint16: torch.int32, torch.uint32: torch.int64, torch.uint64: torch.int64}
"""Types that torch stores, but has few operations for."""


def plain_integers(x: Tensor) -> Tensor:
    """The same numbers in a type that torch computes with."""
    return x.to(_NOT_REDUCED[x.dtype]) if x.dtype in _NOT_REDUCED else x


def _readable(x: Tensor) -> bool:
    """Whether values can be read now."""
    if transformed() or x.is_meta:
        return False
    return not (x.is_cuda and torch.cuda.is_current_stream_capturing())
