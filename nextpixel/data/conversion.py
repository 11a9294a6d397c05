"""Stored arrays, converted to the integers that a preparation makes of them.

What is converted is kept as decoded pictures are: in memory, or in a file beyond the memory limit.
"""

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextpixel.data.errors import DataError
from nextpixel.data.pixels import Integers
from nextpixel.data.scan import blocks_of
from nextpixel.data.splits import Split
from nextpixel.data.storage import Storage, Stored
from nextpixel.data.values import integers_of, is_mapped, is_one_hot
from nextpixel.settings.preparation import Preparation
from nextpixel.settings.stored_values import shown_number, shown_values

__all__ = ["categories", "content", "converted", "dtypes_of", "filled"]


def filled(stored: Stored, preparation: Preparation, where: str) -> Stored:
    """Arrays without masks: what numpy masks is the value that means missing."""
    splits = {}
    for name, split in stored.splits.items():
        x: Any = split.images
        if isinstance(x, np.ma.MaskedArray):
            if x.mask is not np.ma.nomask and x.mask.any() and preparation.missing is None:
                raise DataError(
                    f"{where}: {int(x.mask.sum()):,} of {x.size:,} values are masked; give"
                    " ‹missing=nan› to make missing values one more level, or fill them"
                )
            if preparation.missing == "nan" and x.dtype.kind != "f":
                x = x.astype(np.float64)
            value = np.nan if preparation.missing == "nan" else preparation.missing
            x = np.asarray(x.filled(0 if value is None else value))
        splits[name] = replace(split, images=x)
    return replace(stored, splits=splits)


def categories(
    stored: Stored, preparation: Preparation, where: str, storage: Storage, is_array: bool
) -> tuple[Stored, Preparation, list[str]]:
    """One channel of categories for channels that are one-hot."""
    arrays = [split.images for split in stored.splits.values() if len(split)]
    wanted = preparation.one_hot
    free = wanted is None and not is_mapped(preparation) and preparation.channels in (None, 1)
    found = (
        (wanted or free)
        and is_array
        and len({array.shape[1] for array in arrays if isinstance(array, np.ndarray)}) == 1
        and all(isinstance(array, np.ndarray) and is_one_hot(array, 1) for array in arrays)
    )
    if not found:
        if wanted:
            raise DataError(
                f"{where}: not every pixel is 1 in exactly one of several channels, and 0 in the"
                " others; leave out ‹one_hot›"
            )
        return stored, replace(preparation, one_hot=False), []
    first: Any = arrays[0]
    levels = first.shape[1]
    if preparation.levels not in (None, levels) or preparation.binarise is not None:
        raise DataError(
            f"{where}: the values are one-hot categories, {levels} of them, which cannot be"
            " quantised; leave out ‹levels› and ‹binarise›, or give ‹one_hot=False›"
        )
    dtype = np.dtype(np.uint8 if levels <= 256 else np.uint16)
    splits = {}
    for name, split in stored.splits.items():
        x: Any = split.images
        shape = (len(x), 1, *x.shape[2:])

        def fill(flat: Integers, x: Any = x, shape: Any = shape) -> None:
            out, begin = flat.reshape(shape), 0
            for block in blocks_of(x):
                out[begin : begin + len(block), 0] = block.argmax(axis=1)
                begin += len(block)

        key = [content(split), "one_hot", *shape]
        images = storage.build(int(np.prod(shape)), dtype, key, fill).reshape(shape)
        splits[name] = replace(split, images=images)
    notes = []
    if wanted is None:
        notes.append(
            f"one-hot: exactly one of {levels} channels is 1 at every pixel, taken for one channel"
            f" of {levels} levels; ‹one_hot=False› keeps the channels"
        )
    preparation = replace(preparation, one_hot=True, channels=1, levels=levels, from_levels=levels)
    return replace(stored, splits=splits, levels=levels), preparation, notes


def converted(stored: Stored, preparation: Preparation, where: str, storage: Storage) -> Stored:
    """Integers 0 ... from_levels-1, and from_levels for missing values."""
    if not is_mapped(preparation) and all(kind.kind in "ui" for kind in dtypes_of(stored)):
        return stored
    top = (preparation.from_levels or 0) + (preparation.missing is not None)
    dtype = np.dtype(np.uint8 if top <= 256 else np.uint16)
    options = [preparation.values, preparation.range, preparation.offset, preparation.missing]
    key = [*options, preparation.from_levels]
    wrong: list[NDArray[Any]] = []

    def integers(block: NDArray[Any]) -> Integers:
        made, refused = integers_of(block, preparation)
        if refused.any():
            values = block[refused]
            wrong.append(np.array([len(values), values.min(), values.max()], np.float64))
        return made

    splits, total = {}, 0
    for name, split in stored.splits.items():
        x: Any = split.images
        if isinstance(x, np.ndarray):

            def fill(flat: Integers, x: Any = x) -> None:
                begin = 0
                for block in blocks_of(x):
                    flat[begin : begin + block.size] = integers(block).reshape(-1)
                    begin += block.size
                _refuse(wrong, x.size, preparation, where)

            images: Any = storage.build(x.size, dtype, [content(split), *key], fill)
            splits[name] = replace(split, images=images.reshape(x.shape))
        else:
            splits[name] = replace(split, images=[integers(image) for image in x])
            total = sum(image.size for image in x)
            _refuse(wrong, total, preparation, where)
    return replace(stored, splits=splits)


def dtypes_of(stored: Stored) -> set[np.dtype[Any]]:
    """The types of all stored values."""
    images: list[Any] = [split.images for split in stored.splits.values()]
    lists = [[x] if isinstance(x, np.ndarray) else x for x in images]
    return {x.dtype for each in lists for x in each}


def content(split: Split) -> str:
    """What changes when the images of a split do."""
    prints = split.fingerprints
    return "" if prints is None else hashlib.blake2b(prints.tobytes(), digest_size=16).hexdigest()


def _refuse(wrong: list[NDArray[Any]], total: int, preparation: Preparation, where: str) -> None:
    """Raise `DataError` if some values have no level."""
    if not wrong:
        return
    parts = np.array(wrong)
    count, low, high = int(parts[:, 0].sum()), parts[:, 1].min(), parts[:, 2].max()
    if isinstance(preparation.values, tuple):
        accepted = f"not in the table {shown_values(preparation.values)}; name them in ‹values›"
    elif preparation.range is not None:
        lowest, highest = map(shown_number, preparation.range)
        accepted = f"not from {lowest} to {highest}; give a wider ‹range›, or clip them"
    else:
        accepted = f"not among {preparation.from_levels} levels; give more ‹from_levels›"
    between = f"{low:g}" if low == high else f"from {low:g} to {high:g}"
    raise DataError(f"{where}: {count:,} of {total:,} values, {between}, are {accepted}")
