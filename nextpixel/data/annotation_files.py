"""Files of one row for each image: vectors and captions."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextpixel.data.errors import DataError
from nextpixel.data.table_files import TABLES, is_empty, read_table

__all__ = [
    "caption_table",
    "checked_vectors",
    "constant_entries",
    "read_npy",
    "require_bytes",
    "vector_table",
]

_LARGEST = 1e30
_LEAST_SPREAD = 1e-30
_FEW = 10
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


def vector_table(
    path: Path, file_column: str | None = None
) -> tuple[list[str] | None, NDArray[np.float32]]:
    """The names of the images, if the file holds them, and their vectors (N, size)."""
    if path.suffix == ".npy":
        return None, checked_vectors(read_npy(path), str(path))
    if path.suffix not in TABLES:
        raise DataError(f"{path}: vectors come from an .npy, .csv or .parquet file")
    columns, names = _columns(path, file_column)
    try:
        numbers = [
            [np.nan if is_empty(cell) else float(cell) for cell in cells]
            for cells in columns.values()
        ]
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{path} holds something that is not a number ({error}); leave that column out"
        ) from error
    if not numbers:
        raise DataError(f"{path} has no columns of numbers")
    return names, checked_vectors(np.array(numbers).T, str(path), list(columns))


def constant_entries(vectors: NDArray[np.float32]) -> list[int]:
    """Which entries are the same in all vectors that are known, so that they say nothing."""
    known = vectors[np.isfinite(vectors).all(axis=1)]
    if len(known) < _FEW:
        return []
    same: list[int] = np.flatnonzero(known.max(axis=0) - known.min(axis=0) < _LEAST_SPREAD).tolist()
    return same


def caption_table(
    path: Path, file_column: str | None = None
) -> tuple[list[str] | None, tuple[str, ...]]:
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
    if path.suffix not in TABLES:
        raise DataError(f"{path}: captions come from a .txt, .csv or .parquet file")
    columns, names = _columns(path, file_column)
    named = [column for column in columns if column.lower() in _TEXT_COLUMNS]
    if len(named) != 1:
        raise DataError(
            f"{path} has the columns {', '.join(columns)}; one of them must be called text"
        )
    return names, tuple("" if cell is None else str(cell) for cell in columns[named[0]])


def _columns(path: Path, file_column: str | None) -> tuple[dict[str, list[Any]], list[str] | None]:
    """The columns of a table by their names, and apart from them the names of the images."""
    columns = read_table(path)
    if file_column is not None and file_column not in columns:
        raise DataError(
            f"{path} has no column {file_column!r}, which ‹file_column› names, but"
            f" {', '.join(columns)}"
        )
    named = file_column or next((head for head in columns if head.lower() in _NAME_COLUMNS), None)
    return columns, [str(cell) for cell in columns.pop(named)] if named else None


def checked_vectors(
    vectors: NDArray[Any], where: str, columns: Sequence[str] = ()
) -> NDArray[np.float32]:
    """Vectors (N, size) of float32; a row that holds NaN is unknown as a whole.

    Args:
        vectors: Numbers, which single precision holds with room for arithmetic.
        where: What errors call the file.
        columns: The names of the entries, if they have any.
    """
    if vectors.dtype.kind not in "fiub" or vectors.ndim != 2 or not vectors.shape[1]:
        raise DataError(
            f"{where}: the values are {vectors.dtype} of shape {vectors.shape}, but numbers"
            " (images, size) are expected"
        )
    if vectors.dtype.kind == "f":
        largest = np.fmax.reduce(np.abs(vectors), axis=0, initial=0)
        if (beyond := largest > _LARGEST).any():
            k = int(np.argmax(beyond))
            which = repr(columns[k]) if columns else f"{k} (of 0 … {len(largest) - 1})"
            kind = "infinite" if np.isinf(largest[k]) else f"as large as {largest[k]:.3g}"
            raise DataError(
                f"{where}: some numbers in column {which} are {kind}; give numbers up to"
                f" {_LARGEST:g}, such as their logarithms, or NaN where nothing is known"
            )
    result = vectors.astype(np.float32)
    result[np.isnan(result).any(axis=1)] = np.nan
    return result
