"""Tables about images: text files of rows and columns, and how their rows are matched with images.

A table is read as its own format says: separators are found in the first row, cells may be quoted,
and a mark of the byte order is no part of the first name.
"""

import csv
import io
import posixpath
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextpixel.data.errors import DataError
from nextpixel.data.pictures import is_picture

__all__ = ["FILE_COLUMNS", "TABLES", "is_empty", "named_column", "read_table", "row_of_each"]

FILE_COLUMNS = (
    "file file_name filename name image path file_path filepath image_path image_name image_file"
    " img image_id imageid id index idx"
).split()
"""What a column is called that says which image a row is about."""

TABLES = (".csv", ".tsv", ".parquet")
"""The endings of tables."""

_DEEPEST = 16
_SEPARATORS = (",", ";", "\t")


def read_table(path: Path) -> dict[str, list[Any]]:
    """The columns of a ``.csv``, ``.tsv`` or ``.parquet`` file, by their names.

    Raises:
        DataError: If it is damaged, has no rows, or two columns of one name.
    """
    if path.suffix.lower() == ".parquet":
        from nextpixel.data.tables import ParquetRows

        rows = ParquetRows.of([path])
        if not len(rows):
            raise DataError(f"{path} holds no rows")
        return {name: rows.column(name) for name in rows.features}
    try:
        data = path.read_bytes()
        utf_16 = data.startswith((b"\xff\xfe", b"\xfe\xff"))
        text = data.decode("utf-16" if utf_16 else "utf-8-sig")
        separator = _separator(text)
        cells = [row for row in csv.reader(io.StringIO(text), delimiter=separator) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{path}: cannot be read as a table of UTF-8 text ({error}); save it as such"
        ) from error
    if len(cells) < 2:
        raise DataError(f"{path} holds no rows below its head")
    head = [name.strip() for name in cells[0]]
    if len(set(head)) < len(head):
        twice = next(name for name in head if head.count(name) > 1)
        raise DataError(f"{path} has two columns {twice!r}; rename or remove one")
    for number, row in enumerate(cells[1:], start=2):
        if len(row) != len(head):
            raise DataError(f"{path}, row {number}: {len(row)} cells, but the head has {len(head)}")
    return {name: [row[k] for row in cells[1:]] for k, name in enumerate(head)}


def is_empty(cell: Any) -> bool:
    """Whether a cell says nothing: no text, no value, or not a number."""
    return cell is None or cell != cell or (isinstance(cell, str) and not cell.strip())


def named_column(columns: Sequence[str], names: Sequence[str]) -> str | None:
    """The column that has the first of some names; None if there is none."""
    by_name = {column.lower(): column for column in reversed(columns)}
    return next((by_name[name] for name in names if name in by_name), None)


def row_of_each(
    images: Sequence[str], rows: Sequence[Any], where: str
) -> tuple[NDArray[np.int64], int]:
    """The row of a table for each image, and the number of rows that are of no image.

    A row names an image by its path below the folder, or the end of that path, with or without
    what the name ends in. So ``photos/cats/1.png``, ``cats/1``, ``1.png`` and ``1`` are all
    ``cats/1.png``, as long as no other image is called so.

    Args:
        images: Their names in the source.
        rows: The cells that name them.
        where: What errors call the table.

    Returns:
        -1 for an image without a row.

    Raises:
        DataError: If a row may be of several images, or an image has several rows.
    """
    whole, ends = dict[str, list[int]](), dict[str, list[int]]()
    for row, cell in enumerate(rows):
        for number, end in enumerate(_ends(str(cell).strip())):
            # A row that names a page is of no other page.
            for key in dict.fromkeys([end] if end != _page_of(end) else [end, _stem(end)]):
                for index in (ends,) if number else (ends, whole):
                    index.setdefault(key, []).append(row)
    places, used = np.full(len(images), -1, np.int64), dict[int, str]()
    several, shared = list[str](), list[tuple[str, str]]()
    for k, name in enumerate(images):
        file, match = _page_of(name), whole.get(name)
        if match is None:
            keys = [[end, _page_of(end), _stem(end)] for end in _ends(name)]
            tries = [(whole, keys[:1]), (ends, keys[:1]), (whole, keys)]
            match = next(
                (index[key] for index, some in tries for key in chain(*some) if key in index), []
            )
        if len(match) > 1:
            several.append(name)
        elif match:
            places[k] = match[0]
            if (first := used.setdefault(match[0], file)) != file:
                shared.append((first, file))
    if several:
        raise DataError(
            f"{where} has several rows for {len(several)} of {len(images)} images, the first"
            f" {several[0]}; keep one, or name images by their paths below the folder"
        )
    if shared:
        raise DataError(
            f"a row of {where} may be of {shared[0][0]} and of {shared[0][1]} ({len(shared)} such"
            f" of {len(images)} images); name images by their paths below the folder"
        )
    return places, len(rows) - len(used)


def _separator(text: str) -> str:
    """What divides the cells of the first row: what gives most of them."""
    head = text.lstrip("\r\n")[: 2**16].split("\n", 1)[0]
    counts = {mark: len(next(csv.reader([head], delimiter=mark), [])) for mark in _SEPARATORS}
    return max(_SEPARATORS, key=lambda mark: counts[mark])


def _ends(name: str) -> list[str]:
    """The ends of a path, the longest first."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    parts = parts[-_DEEPEST:]
    return ["/".join(parts[k:]) for k in range(len(parts))]


def _page_of(name: str) -> str:
    """The file of a page: "scan.tif" of "scan.tif#3"."""
    file, _, page = name.rpartition("#")
    return file if file and page.isdecimal() else name


def _stem(name: str) -> str:
    """A path without what it ends in, if that is the ending of a picture's name."""
    root, ending = posixpath.splitext(_page_of(name))
    return root if _is_ending(ending) else _page_of(name)


@lru_cache(maxsize=64)
def _is_ending(ending: str) -> bool:
    return is_picture(Path(f"x{ending}"))
