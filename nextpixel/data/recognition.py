"""What the numbers of a source mean: brightness, codes, categories, one-hot, floats of a range.

Here stored values become the integers that levels quantise (`nextpixel.data.values`), as the
preparation says. What it leaves open is recognised if nothing is lost by it, and noted with the
option that says otherwise; what could mean several things is refused, with the options that decide.
"""

import math
from dataclasses import replace

import numpy as np

from nextpixel.data.conversion import categories, content, converted, dtypes_of, filled
from nextpixel.data.errors import DataError
from nextpixel.data.resizing import resized
from nextpixel.data.scan import FEW, Scan, scan
from nextpixel.data.splits import Split
from nextpixel.data.storage import Storage, Stored
from nextpixel.data.values import is_mapped
from nextpixel.settings.preparation import Preparation, pair
from nextpixel.settings.stored_values import shown_number, shown_values

__all__ = ["recognised"]


def recognised(
    stored: Stored, preparation: Preparation, where: str, storage: Storage
) -> tuple[Stored, Preparation]:
    """Integers 0 ... from_levels-1 for the stored values, and what was found out about them.

    Args:
        stored: What was read.
        preparation: What it says of values and sizes may be open.
        where: What errors call the source.
        storage: Where converted images go.

    Raises:
        DataError: If it is not clear what the values mean, or some have no level.
    """
    if preparation.reading < 3:
        return _by_old_rules(stored, preparation, where), preparation
    is_array = stored.levels is None
    if preparation.size == "auto" and preparation.resize is None:
        preparation = replace(preparation, resize="pictures")
    stored = filled(stored, preparation, where)
    stored, preparation, notes = categories(stored, preparation, where, storage, is_array)
    categorical = bool(preparation.one_hot)
    if is_mapped(preparation) or (is_array and not preparation.one_hot):
        found = scan(
            [split.images for split in stored.splits.values()],
            missing=preparation.missing,
            most=4096 if preparation.values == "auto" else FEW,
        )
        _require_marked(stored, preparation, found, where)
        _check_numbers(found, where)
        preparation, more, categorical = _meaning(found, stored, preparation, where)
        notes += more
        stored = converted(stored, preparation, where, storage)
        stored = replace(stored, levels=preparation.from_levels)
    if is_array:
        stored, preparation = _resized(stored, preparation, where, storage, notes, categorical)
    return (
        replace(stored, notes=(*stored.notes, *notes), categorical=categorical),
        preparation,
    )


def _by_old_rules(stored: Stored, preparation: Preparation, where: str) -> Stored:
    """Number levels by the rules 1 and 2."""
    if stored.levels is not None or preparation.from_levels is not None:
        return stored
    arrays = [np.asarray(split.images) for split in stored.splits.values()]
    if any(array.dtype.kind not in "ui" for array in arrays):
        raise DataError(f"{where}: the values are {arrays[0].dtype}, but the model takes integers")
    found = scan(arrays, most=0)
    given = None if preparation.binarise else preparation.levels
    return replace(stored, levels=_number(found, stored, given, where, few=2))


def _check_numbers(found: Scan, where: str) -> None:
    if found.infinite:
        raise DataError(f"{where}: some values are infinite; give finite ones")
    if found.nans:
        raise DataError(
            f"{where}: {found.nans:,} of {found.total:,} values are not numbers (NaN); give"
            " ‹missing=nan› to make missing values one more level, or fill them"
        )


def _require_marked(stored: Stored, preparation: Preparation, found: Scan, where: str) -> None:
    """Raise `DataError` if only the mark of pixels without data has no level."""
    mark = stored.nodata
    chosen = (preparation.values, preparation.missing, preparation.offset)
    if mark is None or np.isnan(mark) or any(option is not None for option in chosen):
        return
    if found.nans or found.infinite:
        return
    rest = scan([split.images for split in stored.splits.values()], missing=mark, most=0)
    if preparation.range is not None:
        low, high = preparation.range
        is_wrong = not low <= mark <= high
    else:
        is_pair = found.distinct is not None and len(found.distinct) == 2
        is_wrong = not found.whole or (found.lowest < 0 <= rest.lowest and not is_pair)
    if is_wrong and (rest.lowest, rest.highest) != (found.lowest, found.highest):
        shown = shown_number(int(mark) if mark.is_integer() else mark)
        raise DataError(
            f"{where}: the value {shown} marks pixels without data, beside values from"
            f" {shown_number(rest.lowest)} to {shown_number(rest.highest)}; give"
            f" ‹missing={shown}› to make it a level of its own, or fill them"
        )


def _meaning(
    found: Scan, stored: Stored, preparation: Preparation, where: str
) -> tuple[Preparation, list[str], bool]:
    """Settle what values mean; also notes, and whether the values may be categories."""
    notes: list[str] = []
    levels = None if preparation.binarise else preparation.levels
    given, is_open = preparation.from_levels, levels is None and preparation.binarise is None
    said = is_mapped(replace(preparation, missing=None)) or given is not None
    few = found.distinct is not None and 2 <= len(found.distinct) <= FEW
    lowest, highest = shown_number(found.lowest), shown_number(found.highest)
    if preparation.values == "auto":
        if found.distinct is None or len(found.distinct) < 2:
            many = "1" if found.distinct else "more than 4096"
            raise DataError(
                f"{where} has {many} distinct values; ‹values=auto› is for 2 to 4096 of them"
            )
        preparation = replace(preparation, values=found.distinct)
        notes.append(f"levels are the {len(found.distinct)} values {shown_values(found.distinct)}")
    elif is_open and not said and stored.levels is None and few and found.distinct != (0, 1):
        if found.distinct is not None and len(found.distinct) == 2:
            preparation = replace(preparation, values=found.distinct)
            notes.append(
                f"binary: the only values are {' and '.join(map(shown_number, found.distinct))},"
                f" read as 2 levels; for brightness, give {_otherwise(found)}"
            )
    if isinstance(preparation.values, tuple):
        count = len(preparation.values)
        if given not in (None, count):
            raise DataError(
                f"‹values› name {count} levels, but ‹from_levels={given}› was given; leave it out"
            )
        return replace(preparation, from_levels=count, levels=count), notes, True
    if preparation.range is not None:
        if found.whole and found.total and not _has_floats(stored):
            raise DataError(
                f"{where}: the values are integers, but ‹range› is for floats; leave it out, or"
                " give ‹from_levels› to say how many there are"
            )
        return replace(preparation, from_levels=given or levels or 256), notes, False
    if not found.whole:
        raise DataError(
            f"{where}: the values are floats from {lowest} to {highest}, but levels are integers;"
            f" give the lowest and the highest value that there can be, and the number of levels,"
            f" such as ‹range={_guess(found)}› and ‹levels=256›" + _or_table(found, few)
        )
    if _has_floats(stored):
        notes.append("the values are floats that are whole numbers: read as integers")
    offset = preparation.offset or 0
    if found.lowest + offset < 0:
        if preparation.offset is not None:
            raise DataError(
                f"{where}: the lowest value is {lowest}, which ‹offset={offset}› leaves negative;"
                f" give an offset of at least {-int(found.lowest)}"
            )
        raise DataError(
            f"{where}: the values are from {lowest} to {highest}, but levels begin at 0; give"
            f" ‹offset={-int(found.lowest)}› or more, which is added to all" + _or_table(found, few)
        )
    if given is not None:
        return preparation, notes, False
    count = (
        _number(found, stored, levels, where, offset=offset)
        if stored.levels is None
        else stored.levels + offset
    )
    quantised = preparation.binarise is not None or levels not in (None, count)
    is_brightness = _is_bytes(stored) and not offset
    if is_brightness and 2 < count <= FEW and levels != count:
        notes.append(
            f"no value is above {highest}: read as {count} levels; for bytes of 256 levels, give"
            " ‹from_levels=256›"
        )
    elif few and levels is None and preparation.binarise is None:
        distinct = found.distinct or ()
        if count > FEW or (preparation.offset is None and len(distinct) < count):
            notes.append(
                f"{len(distinct)} distinct values up to {highest}, read as {count} levels; if they"
                f" are categories, give ‹values={shown_values(distinct)}›"
            )
    is_measured = preparation.offset is not None or count == 65536
    is_measured |= is_brightness and count == 256 and not few
    categorical = stored.levels is None and not quantised and not is_measured
    return replace(preparation, from_levels=count), notes, categorical


def _number(
    found: Scan, stored: Stored, levels: int | None, where: str, *, few: int = FEW, offset: int = 0
) -> int:
    """The number of levels of stored integers; see `Preparation.from_levels`."""
    highest = int(found.highest) + offset
    if _is_bytes(stored) and not offset:
        if levels is not None and (levels > 256 or highest < levels):
            return levels
        return max(2, highest + 1) if highest < few else 256
    if levels is not None and highest < levels:
        return levels
    if highest >= 2**15 and dtypes_of(stored) == {np.dtype(np.uint16)} and not offset:
        return 65536
    if levels is not None or highest >= 65536:
        advice = (
            f"give ‹from_levels› (a power of two above {highest}, at most 65536) to quantise them"
        )
        if highest >= 65536:
            advice = f"divide them by {highest // 65536 + 1} first"
        raise DataError(
            f"{where} holds values up to {highest}, which are not below"
            f" ‹levels={levels or 65536}›; if they measure brightness, {advice}"
        )
    return max(2, highest + 1)


def _resized(
    stored: Stored,
    preparation: Preparation,
    where: str,
    storage: Storage,
    notes: list[str],
    categorical: bool,
) -> tuple[Stored, Preparation]:
    """Arrays at the size that is asked for."""
    if preparation.size in (None, "auto") or preparation.resize == "pictures":
        return stored, preparation
    size = pair(preparation.size)  # type: ignore[arg-type]
    nearest = preparation.resize == "nearest"
    if preparation.resize is None:
        few = (stored.levels or preparation.from_levels or 2) <= FEW
        nearest = few or categorical or preparation.missing is not None
    splits: dict[str, Split] = {}
    for name, split in stored.splits.items():
        if not isinstance(split.images, np.ndarray):
            raise DataError(f"{where}: images differ in size; ‹size› is for arrays of one size")
        x = resized(
            split.images,
            size,
            nearest=nearest,
            where=f"{name} images of {where}",
            key=[content(split), preparation.from_levels, preparation.offset],
            storage=storage,
        )
        if nearest and preparation.resize is None and x is not split.images:
            notes.append(
                "missing values have no average: the nearest pixel is taken"
                if preparation.missing is not None
                else "categories and binary values have no average: the nearest pixel is taken;"
                " ‹resize=average› averages"
            )
        splits[name] = replace(split, images=x)
    notes[:] = dict.fromkeys(notes)
    return (
        replace(stored, splits=splits),
        replace(preparation, resize="nearest" if nearest else "average"),
    )


def _otherwise(found: Scan) -> str:
    """The option that reads two values as brightness."""
    if found.whole and 0 <= found.lowest and found.highest < 65536:
        return f"‹from_levels={max(256, int(found.highest) + 1)}›"
    if found.whole:
        return f"‹offset={max(0, -int(found.lowest))}›"
    return f"‹range={_guess(found)}›"


def _or_table(found: Scan, few: bool) -> str:
    """The table that few values could have, as further advice."""
    if not few or found.distinct is None:
        return ""
    return f", or ‹values={shown_values(found.distinct)}› if these are categories"


def _guess(found: Scan) -> str:
    """A likely range of floats."""
    usual = [(0, 1), (-1, 1), (0, 255)]
    for low, high in usual:
        if low <= found.lowest and found.highest <= high:
            return f"{low} {high}"
    return f"{_outward(found.lowest, -1)} {_outward(found.highest, 1)}"


def _outward(value: int | float, sign: int) -> str:
    """A limit of six digits that is not within the values that it limits."""
    shown = shown_number(value)
    if sign * (float(shown) - value) >= 0:
        return shown
    step = 10.0 ** (math.floor(math.log10(abs(value))) - 5)
    return shown_number(float(shown) + sign * step)


def _is_bytes(stored: Stored) -> bool:
    return all(kind.itemsize == 1 for kind in dtypes_of(stored))


def _has_floats(stored: Stored) -> bool:
    return any(kind.kind == "f" for kind in dtypes_of(stored))
