"""Stored data before their preparation, and where decoded images are kept."""

import hashlib
import importlib
import io
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nextpixel.data.errors import DataError
from nextpixel.data.kept import cache_folder, keep, open_kept, private_folder
from nextpixel.data.splits import Split

__all__ = [
    "SPLIT_NAMES",
    "SPLIT_WORDS",
    "Progress",
    "Storage",
    "Stored",
    "optional_package",
    "split_of",
    "stamp",
]

Progress: TypeAlias = Callable[[int, int], None]
"""Is told how many pictures are decoded, and of how many."""

SPLIT_NAMES = {
    "train": ("train", "training"),
    "valid": ("valid", "val", "validation", "validate", "dev", "development", "eval", "evaluation"),
    "test": ("test", "testing"),
}
"""The splits, and what folders, files and data sets call them."""

SPLIT_WORDS = {"train": "training", "valid": "validation", "test": "test"}
"""What sentences call them."""


@dataclass(frozen=True, kw_only=True)
class Stored:
    """Images and annotations as they are stored, before they are prepared.

    Attributes:
        splits: By name, those that the source has: "train", "valid", "test". Images are possibly
            views of a memory map.
        classes: Their names, () without labels.
        levels: The number of levels that the source is known to have; None if its values must tell.
        notes: What was assumed, and what was skipped, a sentence each.
        in_order: Whether the order of the images is part of the data set, as in digits, so that
            it is split by their index.
        skip_small: Whether pictures were skipped because they are small.
        attributes: What the entries of vectors say that are made of several labels.
        categorical: Whether the values may be categories: of an array, and neither brightness nor
            measurements.
        nodata: The value that files mark as no data, where pixels hold it; else None.
    """

    splits: Mapping[str, Split]
    classes: tuple[str, ...] = ()
    levels: int | None = None
    notes: tuple[str, ...] = ()
    in_order: bool = False
    skip_small: bool = False
    attributes: tuple[str, ...] = ()
    categorical: bool = False
    nodata: float | None = None


@dataclass(frozen=True, kw_only=True)
class Storage:
    """Where decoded images go: into memory, or into a memory-mapped file that is kept.

    Attributes:
        memory_bytes: What is larger goes into a file.
        folder: Where the files go; made when the first is needed.
        keep: Whether what is smaller goes into a file too, to be found the next time.
        progress: Told while pictures are decoded.
    """

    memory_bytes: int
    folder: Path
    keep: bool
    progress: Progress | None = None

    @classmethod
    def at(
        cls, folder: str | Path | None, memory_bytes: int, progress: Progress | None = None
    ) -> "Storage":
        """Files in a folder are all kept; without one, large ones go to the user's cache."""
        if memory_bytes < 0:
            raise DataError(f"‹memory_bytes={memory_bytes}› must not be negative")
        return cls(
            memory_bytes=memory_bytes,
            folder=Path(folder).expanduser() if folder else cache_folder(),
            keep=folder is not None,
            progress=progress,
        )

    def build(
        self, size: int, dtype: np.dtype[Any], key: object, fill: Callable[[NDArray[Any]], None]
    ) -> NDArray[Any]:
        """Make a flat array of `size` values with `fill`, or open the one kept for `key`."""
        needed = size * dtype.itemsize
        if needed <= self.memory_bytes and not self.keep:
            flat = np.empty(size, dtype)
            fill(flat)
            return flat
        path = self.path(key)
        head = io.BytesIO()
        layout = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False}
        np.lib.format.write_array_header_1_0(head, layout | {"shape": (size,)})

        def write(file: IO[bytes]) -> None:
            file.write(head.getvalue())
            file.truncate(len(head.getvalue()) + needed)
            if hasattr(os, "posix_fallocate"):  # a map without blocks on a full disk is a SIGBUS
                os.posix_fallocate(file.fileno(), 0, len(head.getvalue()) + needed)
            flat = np.memmap(file, dtype, "r+", len(head.getvalue()), (size,))
            fill(flat)
            flat.flush()

        whole = len(head.getvalue()) + needed
        if (kept := open_kept(path, whole, dtype)) is None:
            keep(path, whole, "the decoded images", write)
            kept = open_kept(path, whole, dtype)
        if kept is None:
            raise DataError(f"{path} was changed while it was made; choose another ‹cache_folder›")
        return kept

    def path(self, key: object) -> Path:
        """Name the file for a key, which is any value that JSON can hold."""
        digest = hashlib.blake2b(json.dumps(key).encode(), digest_size=16).hexdigest()
        return private_folder(self.folder, make=True) / f"{digest}.npy"


def split_of(name: str) -> str | None:
    """Tell which split a name means: "val" is "valid"; None if it means none."""
    return next((split for split, names in SPLIT_NAMES.items() if name.lower() in names), None)


def optional_package(module: str, *, extra: str) -> Any:
    """Import a module of a package that comes with an extra of nextpixel."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise DataError(
            f"this source needs {package}; install it with: pip install 'nextpixel[{extra}]'"
        ) from error


def stamp(path: Path) -> list[Any]:
    """What changes when a file does, to name what was made of it."""
    status = path.stat()
    return [str(path.resolve()), status.st_size, status.st_mtime_ns]
