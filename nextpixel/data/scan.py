"""What values arrays hold: their extremes, whether they are whole, the few that differ."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextpixel.data.values import missing_in

__all__ = ["FEW", "Scan", "blocks_of", "scan"]

FEW = 32
"""Up to so many distinct values are few."""

_BLOCK_BYTES = 2**24
_FIRST = 2**12


@dataclass(frozen=True, kw_only=True)
class Scan:
    """What arrays hold. Values that mean missing are left out.

    Attributes:
        total: The number of values, missing ones included.
        nans: How many are not a number.
        infinite: Whether any is infinite.
        lowest: The lowest; 0 without values.
        highest: The highest; 0 without values.
        whole: Whether all are whole numbers.
        distinct: Those that occur, in order; None if there are too many.
    """

    total: int
    nans: int
    infinite: bool
    lowest: int | float
    highest: int | float
    whole: bool
    distinct: tuple[int | float, ...] | None


def scan(arrays: Sequence[Any], *, missing: Any = None, most: int = FEW) -> Scan:
    """Look at all values of arrays, each of numbers, or a sequence of such arrays.

    Args:
        arrays: Arrays of images, possibly memory maps.
        missing: The value that is left out, see `Preparation.missing`.
        most: How many distinct values are of interest.
    """
    total = nans = 0
    infinite, whole = False, True
    extremes: list[int | float] = []
    distinct: NDArray[Any] | None = np.empty(0)
    for block in (block for array in arrays for block in blocks_of(array)):
        total += block.size
        block = block.view(np.uint8) if block.dtype == np.bool_ else block
        x = block if missing is None else block[~missing_in(block, missing)]
        if x.dtype.kind == "f":
            unknown = np.isnan(x)
            nans += int(unknown.sum())
            x = x[np.isfinite(x)]
            infinite |= len(x) + int(unknown.sum()) < unknown.size
            whole = whole and bool((x == np.floor(x)).all())
        if x.size:
            extremes += [x.min().item(), x.max().item()]
            distinct = None if distinct is None else _joined(distinct, x, most)
    low, high = min(extremes, default=0), max(extremes, default=0)
    if whole:
        low, high = int(low), int(high)
    values = None if distinct is None else tuple(int(v) if whole else v for v in distinct.tolist())
    return Scan(
        total=total,
        nans=nans,
        infinite=infinite,
        lowest=low,
        highest=high,
        whole=whole,
        distinct=values,
    )


def blocks_of(images: Any) -> Iterator[NDArray[Any]]:
    """Go through images, often a memory map, in pieces that fit into memory."""
    if not isinstance(images, np.ndarray):
        yield from images
        return
    if len(images):
        step = max(1, _BLOCK_BYTES // max(1, images[0].size * images.itemsize))
        yield from (np.asarray(images[k : k + step]) for k in range(0, len(images), step))


def _joined(known: NDArray[Any], x: NDArray[Any], most: int) -> NDArray[Any] | None:
    """Known values and those of an array, in order; None if there are more than `most`."""
    flat = x.reshape(-1)
    for part in (flat[:_FIRST], flat[_FIRST:]):  # most arrays have too many at once
        if x.dtype == np.uint8:
            seen = np.zeros(256, bool)
            seen[part] = True
            found = np.flatnonzero(seen)
        else:
            found = np.unique(part)
        if len(known) and len(found):
            found = np.unique(np.concatenate([known, found]))
        known = found if len(found) else known
        if len(known) > most:
            return None
    return known
