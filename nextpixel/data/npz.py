"""The arrays of an ``.npz`` file, unpacked one at a time."""

import hashlib
import io
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from nextpixel.data.annotation_files import require_bytes
from nextpixel.data.errors import DataError
from nextpixel.data.kept import keep, open_kept
from nextpixel.data.storage import Storage, stamp

__all__ = ["ZippedArrays"]

_HEAD_BYTES = 2**16
_SMALL_BYTES = 2**20
"""Arrays up to this are read into memory, however large the others of their file are."""


class ZippedArrays:
    """The arrays of an ``.npz`` file, each read when it is asked for.

    The large ones of a file beyond the memory limit are unpacked once, and mapped. They are named
    by the content of the archive, so that a copy of it, or a new time stamp, unpacks nothing.
    """

    def __init__(self, path: Path, storage: Storage) -> None:
        self.path, self.storage = path, storage
        with _reported(path), zipfile.ZipFile(path) as archive:
            members = [m for m in archive.infolist() if m.filename.endswith(".npy")]
        self._members = {member.filename.removesuffix(".npy"): member for member in members}
        self._is_large = sum(member.file_size for member in members) > storage.memory_bytes

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each array, from its head alone; () for what is no array."""
        with _reported(self.path), zipfile.ZipFile(self.path) as archive:
            return {name: _shape(archive, member) for name, member in self._members.items()}

    @cached_property
    def digest(self) -> str:
        """What the archive holds, in short."""
        with _reported(self.path), self.path.open("rb") as file:
            return hashlib.file_digest(file, "blake2b").hexdigest()

    @property
    def stamp(self) -> object:
        """What changes when the arrays do; the digest if something of them is kept."""
        return self.digest if self._is_large or self.storage.keep else stamp(self.path)

    def read(self, name: str) -> NDArray[Any]:
        """One of the arrays."""
        member = self._members[name]
        with _reported(self.path), zipfile.ZipFile(self.path) as archive:
            if not self._is_large or member.file_size <= _SMALL_BYTES:
                with archive.open(member) as file:
                    return _array(file, name, self.path)
            target = self.storage.path([self.digest, member.filename])
            if (kept := open_kept(target, member.file_size, None)) is not None:
                return kept

            def unpack(copy: IO[bytes]) -> None:
                with archive.open(member) as file:
                    shutil.copyfileobj(file, copy, 2**20)

            what = f"{member.filename} of {self.path}"
            keep(target, member.file_size, what, unpack)
            if (kept := open_kept(target, member.file_size, None)) is None:
                target.unlink(missing_ok=True)
                raise DataError(f"{what} is not an array; remove it")
            return kept


def _array(file: Any, name: str, path: Path) -> NDArray[Any]:
    try:
        return require_bytes(np.lib.format.read_array(file, allow_pickle=False))
    except ValueError as error:
        if "Object arrays" not in str(error):
            raise
        raise DataError(
            f"{path}: cannot be read, because {name} holds objects of Python; save numbers or"
            " texts, such as labels.astype(str)"
        ) from error


def _shape(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> tuple[int, ...]:
    try:
        with archive.open(member) as file:
            head = io.BytesIO(file.read(_HEAD_BYTES))
        version = np.lib.format.read_magic(head)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        return read(head)[0]
    except Exception:  # Whoever asks for the array is told what is wrong with it.
        return ()


@contextmanager
def _reported(path: Path) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # zipfile, zlib and numpy raise many kinds on damaged files.
        raise DataError(f"{path}: cannot be read as an .npz file ({_reason(error)})") from error


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
