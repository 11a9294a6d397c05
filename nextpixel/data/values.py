"""Stored values and levels: what a preparation makes of the numbers of a source, and the way back.

A stored value v becomes an integer s in 0 ... from_levels-1, which the levels then quantise:

=============  =======================================================
preparation    s
=============  =======================================================
values         the place of v in the table
range          round((v - low) / (high - low) * (from_levels - 1))
offset         v + offset
one_hot        which of the channels is 1
none of them   v
missing        from_levels, one above the others, which stays the highest level
=============  =======================================================

Rounding is to the nearest integer, halves upwards. A byte k divided by 255 in 32 bits becomes k
again with ``range=(0.0, 1.0)`` and 256 levels.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextpixel.data.errors import DataError
from nextpixel.data.pixels import Integers
from nextpixel.settings.preparation import Preparation

__all__ = ["integers_of", "is_mapped", "is_one_hot", "missing_in", "stored_values"]


_LARGEST = 2**53
_INTEGERS = (np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.int64)


def is_mapped(preparation: Preparation) -> bool:
    """Whether stored values are not the integers 0 ... from_levels-1 themselves."""
    options = (preparation.values, preparation.range, preparation.offset, preparation.missing)
    return any(option is not None for option in options)


def missing_in(x: NDArray[Any], missing: Any) -> NDArray[np.bool_]:
    """Where values are the one that means missing."""
    found: NDArray[np.bool_]
    if missing == "nan":
        found = np.isnan(x) if x.dtype.kind == "f" else np.zeros(x.shape, bool)
    else:
        found = np.asarray(x == (x.dtype.type(missing) if x.dtype.kind == "f" else missing))
    return found


def integers_of(x: NDArray[Any], preparation: Preparation) -> tuple[Integers, NDArray[np.bool_]]:
    """The integers of stored values, of any shape, and which of the values have none.

    Args:
        x: Stored values: booleans, integers or floats.
        preparation: Resolved.

    Returns:
        uint8, or uint16 where there are more than 256 integers.
    """
    count = preparation.from_levels
    assert count is not None  # It is resolved.
    absent = None if preparation.missing is None else missing_in(x, preparation.missing)
    found: NDArray[Any]
    if isinstance(preparation.values, tuple):
        found, wrong = _places(x, preparation.values)
    elif preparation.range is not None:
        low, high = preparation.range
        wrong = ~((x >= x.dtype.type(low)) & (x <= x.dtype.type(high)))
        share = (np.where(wrong, low, x).astype(np.float64) - low) / (high - low)
        found = np.floor(share * (count - 1) + 0.5)
    else:
        whole = x if x.dtype.kind != "f" else np.floor(np.nan_to_num(x.astype(np.float64)))
        found = whole.clip(-_LARGEST, _LARGEST).astype(np.int64) + (preparation.offset or 0)
        wrong = (found < 0) | (found >= count) | (whole != x)
    if absent is not None:
        wrong, found = wrong & ~absent, np.where(absent, count, found)
    top = count + (absent is not None)
    return np.where(wrong, 0, found).astype(np.uint8 if top <= 256 else np.uint16), wrong


def stored_values(x: NDArray[Any], preparation: Preparation) -> NDArray[Any]:
    """The stored values that levels stand for: the inverse of a preparation's reading.

    Quantised or binarised images have no stored values any more; their levels are given back.
    One-hot categories (..., 1, H, W) become (..., K, H, W).

    Args:
        x: Levels, integers (..., C, H, W).
        preparation: Resolved.

    Example:
        >>> spins = Preparation(values=(-1, 1), levels=2, from_levels=2)
        >>> stored_values(np.array([[[0, 1, 1]]]), spins)
        array([[[-1,  1,  1]]], dtype=int8)
    """
    levels = preparation.levels
    assert levels is not None  # It is resolved.
    if preparation.one_hot:
        return np.moveaxis(np.eye(levels, dtype=np.uint8)[x.squeeze(-3)], -1, -3)
    table: NDArray[Any] = _table(preparation, levels)[x]
    return table


def is_one_hot(x: NDArray[Any], axis: int) -> bool:
    """Whether exactly one number along an axis of at least 2 is 1, and the others are 0."""
    if x.shape[axis] < 2 or x.dtype.kind not in "buif" or not len(x):
        return False
    step = max(1, 2**22 // max(1, x[0].size))
    blocks = [(0, 1), *((begin, begin + step) for begin in range(1, len(x), step))]
    return all(_one_of_each(np.asarray(x[begin:end]), axis) for begin, end in blocks)


def _one_of_each(x: NDArray[Any], axis: int) -> bool:
    ones = x == 1
    return bool((ones | (x == 0)).all() and (ones.sum(axis=axis) == 1).all())


def _places(x: NDArray[Any], values: tuple[int | float, ...]) -> tuple[Any, NDArray[np.bool_]]:
    """The place of each number in a table, and where it has none."""
    kind = x.dtype if x.dtype.kind == "f" else np.dtype(np.float64)
    table = np.array(values).astype(kind)
    order = np.argsort(table)
    if (np.diff(table[order]) == 0).any():
        raise DataError(f"some of ‹values› are one number as {x.dtype}; give values that differ")
    wide = x.astype(kind, copy=False)
    slots = np.searchsorted(table[order], wide).clip(max=len(table) - 1)
    return order[slots], np.asarray(table[order][slots] != wide)


def _table(preparation: Preparation, levels: int) -> NDArray[Any]:
    """The stored value of each level."""
    quantised = levels != preparation.from_levels or preparation.binarise is not None
    missing = preparation.missing
    if quantised:
        # A number that means missing may be a level; what is not a number cannot.
        numbers = np.arange(levels if missing in (None, "nan") else levels + 1)
        missing = "nan" if missing == "nan" else None
    elif isinstance(preparation.values, tuple):
        numbers = np.array(preparation.values)
    elif preparation.range is not None:
        low, high = preparation.range
        numbers = (low + np.arange(levels) * (high - low) / (levels - 1)).astype(np.float32)
    else:
        numbers = np.arange(levels) - (preparation.offset or 0)
    if missing is not None:
        last = np.nan if missing == "nan" else missing
        kind: type = np.float64 if numbers.dtype == np.float64 else np.float32
        if numbers.dtype.kind == "i" and np.abs(numbers).max() >= 2**24:
            kind = np.float64  # It holds all of the integers.
        numbers = np.append(numbers, np.array(last))
        numbers = numbers.astype(kind) if missing == "nan" else numbers
    if numbers.dtype.kind == "i":
        return numbers.astype(next(kind for kind in _INTEGERS if _holds(kind, numbers)))
    return numbers


def _holds(kind: type[np.integer[Any]], numbers: NDArray[Any]) -> bool:
    limits = np.iinfo(kind)
    return bool(limits.min <= numbers.min() and numbers.max() <= limits.max)
