"""Exact arithmetic on pixels: resize, quantise and binarise images of integers.

An image is an array (C, H, W) of integers 0 ... levels-1: uint8, or uint16 when there are more than
256 levels.
"""

from itertools import chain
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nextpixel.data.errors import ImageError

__all__ = ["Integers", "binarise", "quantise", "resize", "subsample", "within"]

Integers: TypeAlias = NDArray[np.integer[Any]]


def resize(x: Integers, size: int | tuple[int, int], *, alpha: bool = False) -> Integers:
    """Crop centrally to the aspect ratio of `size`, then average areas.

    Every pixel of the result is the exact mean of the rectangle that it covers, divided pixels
    counting by their share, rounded once. (Pillow's BOX filter counts whole pixels: of three it
    would drop one to make two.) Nothing is ever enlarged: invented pixels would count in the
    likelihood as if they had been seen.

    Args:
        x: An image (C, H, W), at least as large as `size` in both directions.
        size: The side of a square, or (height, width).
        alpha: Whether the last of four channels is opacity, by which the colours are then weighted;
            colours under transparent pixels do not bleed out.

    Raises:
        ImageError: If x would have to be enlarged.

    Example:
        >>> resize(np.array([[[0, 10, 20, 30, 40]]] * 2, dtype=np.uint8).reshape(1, 2, 5), 1)
        array([[[15]]], dtype=uint8)
    """
    height, width = (size, size) if isinstance(size, int) else size
    x = _cropped(x, height, width)
    channels, crop_height, crop_width = x.shape
    if (crop_height, crop_width) == (height, width):
        return np.ascontiguousarray(x)
    if alpha and channels == 4:
        weights = x[3].astype(np.uint32)
        # One channel after the other: the products are four times as wide as the image.
        layers = chain((x[c : c + 1] * weights for c in range(3)), [weights[None]])
        totals = np.concatenate([_area_sums(layer, height, width) for layer in layers])
        colours = _rounded_ratio(totals[:3], np.maximum(totals[3:], 1))
        opacity = _rounded_ratio(totals[3:], np.array(crop_height * crop_width))
        return np.concatenate([colours, opacity]).astype(x.dtype)
    return _rounded_ratio(_area_sums(x, height, width), np.array(crop_height * crop_width)).astype(
        x.dtype
    )


def subsample(x: Integers, size: int | tuple[int, int]) -> Integers:
    """Crop as `resize` does, then take the middle pixel of every area: for categorical values.

    Args:
        x: An image (C, H, W), at least as large as `size` in both directions.
        size: The side of a square, or (height, width).

    Raises:
        ImageError: If x would have to be enlarged.

    Example:
        >>> subsample(np.array([[[0, 7, 7, 7, 9, 9]]] * 2).reshape(1, 2, 6), (1, 2))
        array([[[7, 9]]])
    """
    height, width = (size, size) if isinstance(size, int) else size
    x = _cropped(x, height, width)
    rows, columns = (
        (2 * np.arange(parts) + 1) * length // (2 * parts)
        for parts, length in zip((height, width), x.shape[1:], strict=True)
    )
    return np.ascontiguousarray(x[:, rows[:, None], columns])


def quantise(x: Integers, levels: int, *, from_levels: int = 256) -> Integers:
    """Reduce levels: ``x * levels // from_levels``, bins of equal width.

    Args:
        x: Integers 0 ... from_levels-1 of any shape.
        levels: The new number of levels, at most `from_levels`.
        from_levels: The present number.

    Example:
        >>> quantise(np.array([0, 31, 32, 255], dtype=np.uint8), 8)
        array([0, 0, 1, 7], dtype=uint8)
    """
    if not 2 <= levels <= from_levels <= 65536:
        raise ImageError(
            f"‹levels={levels}› must lie between 2 and ‹from_levels={from_levels}›, at most 65536"
        )
    x = within(x, from_levels)
    if levels == from_levels:
        return x.astype(_depth(levels), copy=False)
    # The product in the narrowest type that holds it: 16 bits are four times as fast as a table
    # look-up.
    wide = (
        np.uint16
        if (from_levels - 1) * levels < 2**16
        else np.uint32
        if from_levels < 2**16
        else np.uint64
    )
    product = np.multiply(x, wide(levels), dtype=wide, casting="unsafe")
    return (product // wide(from_levels)).astype(_depth(levels))


def binarise(
    x: Integers,
    *,
    method: Literal["threshold", "draw"],
    from_levels: int = 256,
    seed: int = 0,
    numbers: Integers | None = None,
) -> NDArray[np.uint8]:
    """Reduce images to two levels, 0 and 1.

    ``threshold``: 1 where x >= from_levels / 2. ``draw``: 1 with probability x / (from_levels - 1),
    as in the "statically binarised" data sets. The draw of image k is a function of (seed, k)
    alone, so that any batch of a set can be made without the rest of it.

    Args:
        x: Images (N, C, H, W), integers 0 ... from_levels-1.
        method: One of the two.
        from_levels: The number of levels of x.
        seed: Which draw; unused by ``threshold``.
        numbers: The number k of each image, 0 ... N-1 if None.
    """
    x = within(x, from_levels)
    if method == "threshold":
        return (2 * x.astype(np.uint32) >= from_levels).astype(np.uint8)
    if method != "draw":
        raise ImageError(f"‹method={method!r}› must be 'threshold' or 'draw'")
    if seed < 0:
        raise ImageError(f"‹seed={seed}› must not be negative")
    result = np.empty(x.shape, np.uint8)
    for k, number in enumerate(range(len(x)) if numbers is None else numbers.tolist()):
        generator = np.random.Generator(
            np.random.Philox(key=np.array([seed, number], dtype=np.uint64))
        )
        np.less(
            generator.random(x.shape[1:]) * (from_levels - 1), x[k], out=result[k], casting="unsafe"
        )
    return result


def within(x: Any, levels: int) -> Integers:
    """Require integers 0 ... levels-1. Values are read only if their type can hold others."""
    values: NDArray[Any] = np.asarray(x)
    if values.dtype == np.bool_:
        values = values.view(np.uint8)
    if values.dtype.kind not in "ui":
        raise TypeError(f"images must hold integers 0 ... {levels - 1}, not {values.dtype}")
    if values.size and np.iinfo(values.dtype).max >= levels and int(values.max()) >= levels:
        raise ImageError(
            f"images hold the value {values.max()}, but with {levels} levels the largest is"
            f" {levels - 1}"
        )
    if values.size and values.dtype.kind == "i" and int(values.min()) < 0:
        raise ImageError(
            f"images hold the value {values.min()}, but levels begin at 0; add a number to all of"
            " them, so that none is negative"
        )
    return values


def _cropped(x: Integers, height: int, width: int) -> Integers:
    """The middle of an image that has the aspect ratio of (height, width)."""
    _, old_height, old_width = x.shape
    if min(height, width) < 1:
        raise ImageError(f"‹size={(height, width)}› must be at least 1 pixel in both directions")
    if old_height < height or old_width < width:
        raise ImageError(
            f"an image of {old_height}x{old_width} pixels is smaller than size {height}x{width},"
            " and images are never enlarged; use a smaller size"
        )
    crop_height, crop_width = old_height, old_width
    if old_width * height > old_height * width:
        crop_width = old_height * width // height
    else:
        crop_height = old_width * height // width
    top, left = (old_height - crop_height) // 2, (old_width - crop_width) // 2
    return x[:, top : top + crop_height, left : left + crop_width]


def _area_sums(x: Integers, height: int, width: int) -> NDArray[np.int64]:
    """Sum (C, H, W) over height x width equal rectangles, in units of 1 / (height * width)."""
    sums = x
    for axis, parts in ((1, height), (2, width)):
        length = sums.shape[axis]
        ends = np.arange(1, parts) * length
        begins = np.concatenate([[0], ends // parts])
        # A pixel that an edge divides belongs to the part after it; the share before it is moved.
        shared = sums.take(begins[1:], axis=axis) * (ends % parts).reshape(
            (-1, 1) if axis == 1 else (-1,)
        )
        wide = np.uint32 if axis == 1 and x.dtype.itemsize <= 2 and length < 2**16 else np.int64
        sums = np.add.reduceat(sums, begins, axis=axis, dtype=wide).astype(np.int64) * parts
        front, back = [slice(None)] * 3, [slice(None)] * 3
        front[axis], back[axis] = slice(None, -1), slice(1, None)
        sums[tuple(front)] += shared
        sums[tuple(back)] -= shared
    return np.asarray(sums, np.int64)


def _rounded_ratio(
    numerator: NDArray[np.int64], denominator: NDArray[np.int64]
) -> NDArray[np.int64]:
    return (2 * numerator + denominator) // (2 * denominator)


def _depth(levels: int) -> type[np.uint8] | type[np.uint16]:
    return np.uint8 if levels <= 256 else np.uint16
