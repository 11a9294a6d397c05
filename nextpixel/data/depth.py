"""The depth of pictures: how many levels their stored values have."""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from nextpixel.data.attempts import attempt, raise_all
from nextpixel.data.errors import DataError
from nextpixel.data.picture import Picture, files_words
from nextpixel.data.scan import FEW
from nextpixel.settings.preparation import Preparation
from nextpixel.settings.stored_values import shown_values

__all__ = ["depth_of", "levels_of", "tell_few", "tell_nodata"]

_LOOKED_AT = 256


def tell_nodata(
    pictures: list[Picture], preparation: Preparation, pool: ThreadPoolExecutor, notes: list[str]
) -> float | None:
    """Say how many pixels hold what their file marks as no data, and give such a mark."""
    marked = [picture for picture in pictures if picture.head.nodata is not None]

    def count(picture: Picture) -> int:
        try:
            mark = float(picture.head.nodata or "")
        except ValueError:
            return 0
        x = picture.read(preparation.reading)
        found = np.isnan(x) if math.isnan(mark) else x == mark
        return int(found.any(axis=0).sum())

    if total := sum(attempt(count, marked, pool)[0]):
        values = sorted({str(picture.head.nodata) for picture in marked})
        missing = preparation.missing
        is_level = missing == values[0] or (missing is not None and float(values[0]) == missing)
        read = (
            "it is one more level"
            if is_level
            else f"it is read like any other value, unless you give ‹missing={values[0]}›, which"
            " makes it one more level"
        )
        notes.append(
            f"no data: {total:,} pixel{'s' * (total != 1)} in {files_words(len(marked))}, marked"
            f" by the value {', '.join(values[:3])}; {read}"
        )
        return float(values[0])
    return None


def tell_few(pictures: list[Picture], preparation: Preparation, notes: list[str]) -> None:
    """Say if grey pictures of 256 levels have few values, which may be codes of categories.

    At most 256 pictures are read, and no more once there are many values, as in photographs.
    """
    p = preparation
    # What a mark of missing values leaves is looked at where it is known.
    options = (p.values, p.levels, p.from_levels, p.binarise, p.offset, p.range, p.missing)
    if p.reading < 3 or any(option is not None for option in options):
        return
    chosen = pictures[:: -(-len(pictures) // _LOOKED_AT)]
    distinct: set[int] = set()
    for picture in chosen:
        distinct |= set(np.unique(picture.read(p.reading)).tolist())
        if len(distinct) > FEW:
            return
    if len(distinct) < 2:
        return
    values = tuple(sorted(distinct))
    where = "" if len(chosen) == len(pictures) else f" in {len(chosen)} of the pictures"
    notes.append(
        f"{len(values)} distinct values up to {values[-1]}{where}, read as 256 levels; if they"
        f" are categories, give ‹values={shown_values(values)}›"
    )


def depth_of(
    pictures: list[Picture],
    preparation: Preparation,
    channels: int,
    resized: bool,
    pool: ThreadPoolExecutor,
    notes: list[str],
) -> tuple[int | None, int]:
    """The number of levels, None if values of 16 bits must tell, and the bits to leave out."""
    given = preparation.from_levels
    deep = [picture for picture in pictures if picture.head.levels is None]
    if any(picture.head.only_upper for picture in pictures):
        count = sum(picture.head.only_upper for picture in pictures)
        notes.append(f"{files_words(count)} with 16-bit colours: only the upper 8 bits are read")
    if not deep:
        (few, *more) = {picture.head.levels or 256 for picture in pictures}
        if more or few == 256 or resized or channels > 1 or given not in (None, few):
            return 256, 0
        bits = few.bit_length() - 1
        notes.append(f"the pictures are grey of {bits} bit{'s' * (bits != 1)}: {few} levels")
        return few, 0
    if len(deep) == len(pictures) or (given is not None and given > 256):
        return None, 0
    reading = preparation.reading
    highest, failures = attempt(lambda picture: int(picture.read(reading).max()), deep, pool)
    raise_all(failures, len(deep))
    top = max(highest)
    if top < 256:
        return 256, 0
    where, others = deep[highest.index(top)].where, len(pictures) - len(deep)
    if top < 2**15:
        raise DataError(
            f"{where} holds 16-bit values up to {top}, beside {others} pictures of 8 bits, so that"
            " it is not clear what is white; convert it to 8 bits, or use pictures of one depth"
        )
    notes.append(
        f"{files_words(len(deep))} with 16-bit grey beside {others} of 8 bits: only the upper 8"
        " bits are kept"
    )
    return 256, 8


def levels_of(highest: int, notes: list[str]) -> int:
    """The depth of 16-bit samples: the least number of bits that holds them all."""
    levels = 1 << max(1, highest.bit_length())
    notes.append(
        f"the 16-bit pictures hold values up to {highest}: read as {levels} levels; if that is"
        " not their depth, give ‹from_levels›"
    )
    return levels
