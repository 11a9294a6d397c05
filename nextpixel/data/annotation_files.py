"""Files of one row for each image: vectors and captions."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextpixel.data.errors import DataError

__all__ = ["caption_table", "checked_vectors", "read_npy", "require_bytes", "vector_table"]

_NAME_COLUMNS = ("file", "file_name", "filename", "name", "image", "path")
_TEXT_COLUMNS = ("text", "caption", "captions", "description")


def read_npy(path: Path) -> NDArray[Any]:
    """Map the array of an ``.npy`` file."""
    try:
        return require_bytes(np.lib.format.open_memmap(path, mode="r"))
    except Exception as error:  # numpy parses the header as Python, and raises many kinds.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: cannot be read as a .npy file ({reason})") from error


def require_bytes(values: NDArray[Any]) -> NDArray[Any]:
    """Raise ValueError for an array whose items take no bytes: a small file can hold 10**11."""
    if values.size and not values.nbytes:
        raise ValueError(f"it is of the type {values.dtype}, whose items take no bytes")
    return values


def vector_table(path: Path) -> tuple[list[str] | None, NDArray[np.float32]]:
    """The names of the images, if the file holds them, and their vectors (N, size)."""
    if path.suffix == ".npy":
        return None, checked_vectors(read_npy(path), str(path))
    if path.suffix != ".csv":
        raise DataError(f"{path}: vectors come from an .npy or a .csv file")
    columns, names = _columns(path)
    try:
        numbers = [
            [float(cell) if cell.strip() else np.nan for cell in cells]
            for cells in columns.values()
        ]
    except ValueError as error:
        raise DataError(
            f"{path} holds something that is not a number ({error}); leave that column out"
        ) from error
    if not numbers:
        raise DataError(f"{path} has no columns of numbers")
    return names, checked_vectors(np.array(numbers, np.float32).T, str(path))


def caption_table(path: Path) -> tuple[list[str] | None, tuple[str, ...]]:
    """The names of the images, if the file holds them, and their captions."""
    if path.suffix == ".txt":
        try:
            text = path.read_bytes().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path}: cannot be read as UTF-8 text ({error}); save it as such"
            ) from error
        lines = text.replace("\r\n", "\n").removesuffix("\n")
        return None, tuple(lines.split("\n")) if lines else ()
    if path.suffix != ".csv":
        raise DataError(f"{path}: captions come from a .txt or a .csv file")
    columns, names = _columns(path)
    named = [column for column in columns if column.lower() in _TEXT_COLUMNS]
    if len(named) != 1:
        raise DataError(
            f"{path} has the columns {', '.join(columns)}; one of them must be called text"
        )
    return names, tuple(columns[named[0]])


def _columns(path: Path) -> tuple[dict[str, list[str]], list[str] | None]:
    """The columns of a table by their names, and apart from them the names of the images."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.reader(file) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as a table of UTF-8 text ({error})") from error
    if len(rows) < 2:
        raise DataError(f"{path} holds no rows below its head")
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(rows[0]):
            raise DataError(
                f"{path}, row {number}: {len(row)} cells, but the head has {len(rows[0])}"
            )
    columns = {head: [row[k] for row in rows[1:]] for k, head in enumerate(rows[0])}
    named = [head for head in columns if head.lower() in _NAME_COLUMNS]
    return columns, columns.pop(named[0]) if named else None


def checked_vectors(vectors: NDArray[Any], where: str) -> NDArray[np.float32]:
    """Vectors (N, size) of float32; a row that holds NaN is unknown as a whole."""
    if vectors.dtype.kind not in "fiub" or vectors.ndim != 2 or not vectors.shape[1]:
        raise DataError(
            f"{where}: the values are {vectors.dtype} of shape {vectors.shape}, but numbers"
            " (images, size) are expected"
        )
    result = vectors.astype(np.float32)
    if np.isinf(result).any():
        raise DataError(
            f"{where}: some numbers are infinite; give finite ones, or NaN where nothing is known"
        )
    result[np.isnan(result).any(axis=1)] = np.nan
    return result
