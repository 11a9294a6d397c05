"""Data sets of the Hugging Face kind that lie in a folder: parquet files, and sets saved to disk.

Only what lies in the folder is read, and nothing is fetched. A folder's README.md may name
addresses, scripts and files elsewhere for the package `datasets` to follow; it is not opened here.
Parquet files are read a row group at a time, which fits into memory where a file might not.
"""

import io
import json
import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from nextpixel.data.errors import DataError, ImageError
from nextpixel.data.folders import files_below, require_file
from nextpixel.data.storage import optional_package, split_of

__all__ = [
    "ParquetRows",
    "SavedRows",
    "check_saved",
    "hub_caches",
    "is_saved_dataset",
    "parquet_files",
    "parquet_splits",
    "picture_file",
]

_FEW_ROWS = 2**16
"""More rows than this have at least a byte each: a column of copies takes none in a file."""

_SAVED = ("dataset_dict.json", "state.json")


@dataclass(kw_only=True)
class ParquetRows:
    """The rows of parquet files of one split.

    Attributes:
        files: In the order of their rows.
        features: What `datasets` knows of the columns, by name.
        stamp: Changes when a file does.
    """

    files: Sequence[Path]
    features: Any
    stamp: str
    _groups: list[tuple[Path, int]] = field(default_factory=list)
    _ends: list[int] = field(default_factory=list)
    _leaves: dict[str, set[str]] = field(default_factory=dict)
    _recent: dict[tuple[int, str], Any] = field(default_factory=dict)
    _lock: Any = field(default_factory=Lock)

    @classmethod
    def of(cls, files: Sequence[Path]) -> "ParquetRows":
        """Read the heads of the files.

        Raises:
            DataError: If one is damaged, or has other columns than the first.
        """
        datasets = optional_package("datasets", extra="data")
        parquet = optional_package("pyarrow.parquet", extra="data")
        rows, first = cls(files=files, features=None, stamp=""), None
        for path in files:
            try:
                with parquet.ParquetFile(path) as file:
                    schema = file.schema_arrow
                    counts = [
                        file.metadata.row_group(k).num_rows for k in range(file.num_row_groups)
                    ]
                    for column in file.schema:
                        for key in {column.path, column.path.partition(".")[0]}:
                            rows._leaves.setdefault(key, set()).add(column.path)
                    found = datasets.Features.from_arrow_schema(schema)
            except Exception as error:  # Damaged heads raise many kinds.
                reason = " ".join(str(error).split()) or type(error).__name__
                raise DataError(f"{path}: cannot be read as a parquet file ({reason})") from error
            if first is not None and found != first:
                raise DataError(f"{path} has other columns than {files[0]}; keep one kind")
            first = found
            rows._groups += [(path, k) for k in range(len(counts))]
            rows._ends += (np.cumsum(counts, dtype=np.int64) + len(rows)).tolist()
            status = path.stat()
            rows.stamp += f"{path.resolve()} {status.st_size} {status.st_mtime_ns} "
        there = sum(path.stat().st_size for path in files)
        if len(rows) > max(_FEW_ROWS, there):
            raise DataError(
                f"{files[0].parent} has {len(rows):,} rows in parquet files of {there:,} bytes, so"
                " that most are copies of others; keep one of each"
            )
        rows.features = first
        return rows

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def column(self, name: str) -> list[Any]:
        """All values of a column."""
        return self.columns([name])[name]

    def columns(self, names: Sequence[str]) -> dict[str, list[Any]]:
        """All values of some columns; copies of a value are one object."""
        found: dict[str, list[Any]] = {name: [] for name in names}
        for group in range(len(self._groups)):
            table = self._read(group, names)
            for name in names:
                for chunk in table.column(name).chunks:
                    found[name] += _values(chunk)
        return found

    def cell(self, row: int, name: str) -> Any:
        """One value of a column; neighbouring rows are read from the disk together."""
        group = bisect_right(self._ends, row)
        begin = self._ends[group - 1] if group else 0
        with self._lock:
            values = self._recent.get((group, name))
            if values is None:
                values = self._read(group, [name]).column(name)
                while len(self._recent) > 1:
                    del self._recent[next(iter(self._recent))]
                self._recent[group, name] = values
        return values[row - begin].as_py()

    def _read(self, group: int, names: Sequence[str]) -> Any:
        parquet = optional_package("pyarrow.parquet", extra="data")
        path, number = self._groups[group]
        leaves = [leaf for name in names for leaf in self._leaves.get(name, ())]
        try:
            try:  # Copies of a value are held once, as in the file.
                with parquet.ParquetFile(path, read_dictionary=leaves) as file:
                    return file.read_row_group(number, columns=list(names))
            except (ValueError, NotImplementedError):  # More than 2 GB of different values.
                with parquet.ParquetFile(path) as file:
                    return file.read_row_group(number, columns=list(names))
        except Exception as error:  # Damaged pages raise many kinds.
            reason = " ".join(str(error).split()) or type(error).__name__
            raise DataError(f"{path}: cannot be read as a parquet file ({reason})") from error


class SavedRows:
    """The rows of a table of `datasets`, as `ParquetRows` gives its own."""

    def __init__(self, table: Any) -> None:
        self.table, self.stamp = table, str(table._fingerprint)

    def __len__(self) -> int:
        return len(self.table)

    def column(self, name: str) -> list[Any]:
        """All values of a column."""
        return list(self.table.select_columns([name])[:][name])

    def cell(self, row: int, name: str) -> Any:
        """One value of a column."""
        return self.table.select_columns([name])[row][name]


def picture_file(cell: Any, roots: Sequence[Path], where: str) -> io.BytesIO | Path:
    """The picture of a cell: its bytes, or the file that it names in one of some folders.

    Raises:
        ImageError: If there is none, or it names a file anywhere else.
    """
    if cell is None:
        raise ImageError(f"{where} is missing; remove its row")
    if isinstance(cell, bytes):
        return io.BytesIO(cell)
    if not isinstance(cell, dict):
        raise ImageError(f"{where} is not a picture; remove its row")
    if cell.get("bytes") is not None:
        return io.BytesIO(cell["bytes"])
    named = cell.get("path")
    if not isinstance(named, str) or "\0" in named:
        raise ImageError(f"{where} is missing; remove its row")
    path = (roots[0] / named).resolve()  # An absolute path stays what it is.
    if not any(path.is_relative_to(root) for root in roots):
        raise ImageError(f"{where} is in the file {named}, which is not in the data set; embed it")
    return path


def hub_caches() -> list[Path]:
    """The folders that `datasets` downloads to."""
    config = optional_package("datasets", extra="data").config
    return [Path(config.HF_CACHE_HOME).resolve(), Path(config.HF_DATASETS_CACHE).resolve()]


def parquet_files(folder: Path) -> list[Path]:
    """Find the parquet files in a folder, by name; ``labels.parquet`` is about pictures."""
    found = files_below(folder, folder, lambda path: path.suffix.lower() == ".parquet")
    files = [path for path in found if path.name != "labels.parquet"]
    for file in files:
        require_file(file)
    return files


def parquet_splits(folder: Path, files: Sequence[Path]) -> dict[str, ParquetRows]:
    """Assign parquet files to splits by the last word of their paths that is a split's name.

    ``data/train-00000-of-00001.parquet`` is for training. Without such a word, all files are.
    """
    splits: dict[str | None, list[Path]] = {}
    for path in files:
        words = re.findall(r"[a-z]+", path.relative_to(folder).with_suffix("").as_posix().lower())
        found = [split for word in reversed(words) if (split := split_of(word))]
        splits.setdefault(found[0] if found else None, []).append(path)
    if None in splits:
        if len(splits) > 1:
            named = next(part[0] for split, part in splits.items() if split)
            raise DataError(
                f"{splits[None][0]} lies beside {named}, but its name says no split; put train,"
                " valid or test into it"
            )
        splits = {"train": splits[None]}
    return {str(split): ParquetRows.of(part) for split, part in splits.items()}


def is_saved(folder: Path) -> bool:
    """Tell whether a folder is a data set that `datasets` saved to disk."""
    return any((folder / name).exists() for name in _SAVED)


def is_saved_dataset(path: Path) -> bool:
    """Tell whether a folder is a Hugging Face data set."""
    return path.is_dir() and (is_saved(path) or bool(parquet_files(path)))


def check_saved(folder: Path) -> None:
    """Raise `DataError` if a data set saved to disk names files that do not lie in its folder."""
    if "::" in str(folder.resolve()) or "://" in str(folder.resolve()):
        raise DataError(f"{folder} has a name that reads as an address; rename it")
    parts = [folder] if (folder / "state.json").exists() else []
    if (folder / "dataset_dict.json").exists():
        splits = _list(_json(folder / "dataset_dict.json"), "splits", folder)
        parts += [folder / _plain(name, folder) for name in splits]
    for part in parts:
        state = _json(part / "state.json")
        entries = [
            entry
            for key in ("_data_files", "_indices_files", "_indices_data_files")
            for entry in _list(state, key, part)
        ]
        names = [_plain(e.get("filename") if isinstance(e, dict) else e, part) for e in entries]
        for name in [*names, "state.json", "dataset_info.json"]:
            if not (part / name).resolve().is_relative_to(folder.resolve()):
                raise DataError(f"{part / name} is a link that leaves {folder}; copy the file")
            require_file(part / name)


def _values(chunk: Any) -> list[Any]:
    """The values of a chunk of a column, copies of one as one object."""
    if not hasattr(chunk, "dictionary"):
        return list(chunk.to_pylist())
    values = chunk.dictionary.to_pylist()
    return [None if k is None else values[k] for k in chunk.indices.to_pylist()]


def _list(values: dict[str, Any], key: str, folder: Path) -> list[Any]:
    found = values.get(key) or []
    if not isinstance(found, list):
        raise DataError(f"{folder} is damaged: its {key} is not a list")
    return found


def _plain(name: Any, folder: Path) -> str:
    """The name of something directly in a folder."""
    if not isinstance(name, str) or name in ("", ".", "..") or set(name) & set("/\\:"):
        raise DataError(f"{folder} names {name!r}, which is not a file of its own; do not use it")
    return name


def _json(path: Path) -> dict[str, Any]:
    require_file(path)
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(value, dict):
        raise DataError(f"{path}: holds no JSON object")
    return value
