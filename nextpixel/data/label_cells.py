"""The labels in the cells of a table: one class, or several labels, of each image."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nextpixel.data.classes import MOST_CLASSES, named_classes, natural_order
from nextpixel.data.errors import DataError
from nextpixel.data.table_files import is_empty

__all__ = ["Labels", "labels_of_cells", "labels_of_columns", "one_label_each"]

_TRUE, _FALSE = {"1", "1.0", "true", "yes", "y", "t"}, {"0", "0.0", "false", "no", "n", "f"}
_MINUS = {"-1", "-1.0"}
_MARKS = ";|"
_WHOLE = re.compile(r"[+-]?[0-9]+(\.0*)?")


@dataclass(frozen=True, kw_only=True)
class Labels:
    """The labels of all images, one after another: None is unknown.

    Attributes:
        sets: Of each image.
        names: What labels there are, in order.
        several: Whether an image may have more or fewer than one.
    """

    sets: Sequence[frozenset[str] | None]
    names: tuple[str, ...]
    several: bool


def labels_of_cells(cells: Sequence[Any], where: str, *, several: bool) -> Labels:
    """What one column says: classes, or several labels where a cell holds a list or marks.

    Args:
        cells: Of each image; None without a row.
        where: What errors call the column.
        several: Whether labels are several even where every cell holds one.
    """
    parts = [_parts(cell) for cell in cells]
    if several or any(part is not None and len(part) != 1 for part in parts):
        names = sorted({name for part in parts if part for name in part}, key=natural_order)
        return Labels(sets=parts, names=tuple(names), several=True)
    return one_label_each([None if part is None else next(iter(part)) for part in parts], where)


def _parts(cell: Any) -> frozenset[str] | None:
    """The labels in a cell: of a list all, of a text what its marks divide; None if it is empty."""
    if isinstance(cell, list | tuple):
        return frozenset(_text(item) for item in cell)
    if is_empty(cell):
        return None
    text = _text(cell)
    mark = next((mark for mark in _MARKS if mark in text), None)
    parts = [text] if mark is None else text.split(mark)
    return frozenset(part.strip() for part in parts if part.strip())


def _text(cell: Any) -> str:
    return (cell.decode("utf-8", "replace") if isinstance(cell, bytes) else str(cell)).strip()


def one_label_each(cells: Sequence[str | None], where: str) -> Labels:
    """Classes; numbers are whole, and -1 among those that are not negative is unknown."""
    found = {cell for cell in cells if cell is not None}
    if found and all(_WHOLE.fullmatch(cell) for cell in found):
        if any("." in cell for cell in found):  # Integers beside empty cells become fractions.
            cells = [None if cell is None else cell.partition(".")[0] for cell in cells]
            found = {cell for cell in cells if cell is not None}
        if "-1" in found and found != {"-1", "1"}:
            cells = [None if cell == "-1" else cell for cell in cells]
    elif found and all(_is_number(cell) for cell in found):
        raise DataError(
            f"{where} holds fractions, such as {min(found)}, but a label is a class; give numbers"
            " as ‹vectors›"
        )
    names = named_classes(cells, 2)
    if len(names) > MOST_CLASSES:
        raise DataError(f"{where} has {len(names):,} classes; at most {MOST_CLASSES:,} are read")
    sets = [None if cell is None else frozenset((cell,)) for cell in cells]
    return Labels(sets=sets, names=names, several=False)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def labels_of_columns(columns: Mapping[str, Sequence[Any]], where: str) -> Labels:
    """Several columns: one label for each of two values, and one for each value of the others."""
    sets: list[set[str] | None] = [set() for _ in next(iter(columns.values()))]
    names: list[str] = []
    texts = {name: [None if is_empty(c) else _text(c) for c in v] for name, v in columns.items()}
    lowered = {name: {c.lower() for c in v if c is not None} for name, v in texts.items()}
    binary = {name for name, found in lowered.items() if found <= _TRUE | _FALSE | _MINUS}
    # -1 is "no" beside 1 alone, and "not known" where 0 is "no".
    minus_is_no = not any(lowered[name] & _FALSE for name in binary)
    for name, cells in texts.items():
        if name in binary:
            names.append(name)
        else:
            values = {cell for cell in cells if cell is not None}
            if all(_is_number(value) for value in values):
                raise DataError(
                    f"column {name!r} of {where} holds the number {min(values)}, but a label is 0"
                    " or 1; give numbers as ‹vectors›"
                )
            names += [f"{name}={value}" for value in sorted(values, key=natural_order)]
        for k, cell in enumerate(cells):
            own = sets[k]
            if own is None:
                continue
            if cell is None or (name in binary and cell in _MINUS and not minus_is_no):
                sets[k] = None
            elif name not in binary:
                own.add(f"{name}={cell}")
            elif cell.lower() in _TRUE:
                own.add(name)
    frozen = [None if own is None else frozenset(own) for own in sets]
    return Labels(sets=frozen, names=tuple(names), several=True)
