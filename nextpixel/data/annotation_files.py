"""Files of one row for each image: vectors and captions."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextpixel.data.errors import DataError
from nextpixel.data.table_files import TABLES, is_empty, read_table

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
    return names, checked_vectors(np.array(numbers, np.float32).T, str(path))


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
