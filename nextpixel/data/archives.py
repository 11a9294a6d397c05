"""Pictures in a ``.zip`` or ``.tar`` file, read in place as a folder of them would be.

Nothing is written to the disk, and the names of members are names and nothing else. What an archive
says of sizes is not believed: a member is read up to a limit, and members that share their bytes
are refused. A compressed ``.tar`` cannot be read at any place, so it is unpacked in memory.
"""

import bz2
import gzip
import io
import stat
import tarfile
import zipfile
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice, takewhile
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import Any

from nextpixel.data.dicom import is_dicom
from nextpixel.data.errors import DataError, ImageError
from nextpixel.data.folders import Seen, is_left_behind
from nextpixel.data.picture import Picture
from nextpixel.data.pictures import is_picture, may_be_dicom
from nextpixel.data.storage import Storage, split_of, stamp

__all__ = ["ArchiveTree", "is_archive", "opened_archive"]

_COMPRESSED: dict[str, Callable[[Path], Any]] = {
    ".tar.gz": gzip.open,
    ".tgz": gzip.open,
    ".tar.bz2": bz2.open,
    ".tbz2": bz2.open,
}
_MOST_BYTES = 2**28
_BLOCK_BYTES = 2**20
_HEAD_BYTES = 132


@dataclass(frozen=True, kw_only=True, eq=False)
class ArchiveTree:
    """The regular members of an archive, as a tree of folders.

    Attributes:
        path: The archive.
        root: The folder in it that is read: itself, or its only folder.
        members: How to read at most so many bytes of each file, by its name.
        names: Of the files, in order.
        stamp: Changes when the archive does.
        notes: What was passed over.
    """

    path: Path
    root: PurePosixPath
    members: Mapping[PurePosixPath, Callable[[int], bytes]]
    names: Sequence[PurePosixPath]
    stamp: str
    notes: tuple[str, ...]

    def __str__(self) -> str:
        return str(self.path)

    def listing(self, place: PurePosixPath) -> list[PurePosixPath]:
        """What lies in a folder, in the order of names."""
        depth = len(place.parts)
        tops = (PurePosixPath(*name.parts[: depth + 1]) for name in self._below(place))
        return list(dict.fromkeys(tops))

    def is_folder(self, place: PurePosixPath) -> bool:
        """Whether this is a folder."""
        return place not in self.members

    def files(self, entry: PurePosixPath, seen: Seen | None = None) -> Iterator[PurePosixPath]:
        """The pictures at or below a place, in the order of their names."""
        return filter(self.is_wanted, self._below(entry))

    def _below(self, entry: PurePosixPath) -> Iterator[PurePosixPath]:
        """The files at or below a place, which are neighbours in the order of names."""
        begin = bisect_left(self.names, entry)
        return takewhile(
            lambda name: entry == name or entry in name.parents, islice(self.names, begin, None)
        )

    def is_wanted(self, place: PurePosixPath) -> bool:
        """Tell whether a file is a picture, by its name or its first bytes."""
        if is_picture(place):
            return True
        if not may_be_dicom(place):
            return False
        try:
            return is_dicom(io.BytesIO(self.members[place](_HEAD_BYTES)))
        except Exception:  # A damaged or encrypted member that is not called a picture.
            return False

    def picture(self, place: PurePosixPath, label: str | None) -> Picture:
        """One of the pictures."""
        where, read = f"{self.path}/{place}", self.members[place]

        def content() -> io.BytesIO:
            try:
                data = read(_MOST_BYTES + 1)
            except ImageError as error:
                raise ImageError(f"{where} {error.sentence}") from error
            except Exception as error:  # zipfile and zlib raise many kinds on damaged members.
                reason = " ".join(str(error).split()) or type(error).__name__
                raise ImageError(f"{where}: cannot be unpacked ({reason}); remove it") from error
            if len(data) > _MOST_BYTES:
                raise ImageError(f"{where} takes more than {_MOST_BYTES:,} bytes; remove it")
            return io.BytesIO(data)

        name = place.relative_to(self.root).as_posix()
        return Picture(
            name=name, where=where, open=content, stamp=f"{self.stamp} {place}", label=label
        )


def is_archive(path: Path) -> bool:
    """Tell by its name whether a file is an archive that is read."""
    return path.name.lower().endswith((".zip", ".tar", *_COMPRESSED))


@contextmanager
def opened_archive(path: Path, storage: Storage) -> Iterator[ArchiveTree]:
    """The tree of an archive, whose pictures are read while it is open.

    Raises:
        DataError: If it is damaged, or a member's name leads out of it.
    """
    name = path.name.lower()
    unpack = next((way for suffix, way in _COMPRESSED.items() if name.endswith(suffix)), None)
    with _reported(path):
        file: Any = path.open("rb") if unpack is None else _unpacked(path, unpack, storage)
    with file:
        with _reported(path):
            find = _zip_members if name.endswith(".zip") else _tar_members
            found, special = find(path, file)
            members = {}
            for text, read in found:
                place = _place(text, path)
                if not any(is_left_behind(part) for part in place.parts):
                    members[place] = read
        notes: tuple[str, ...] = ()
        if special:
            words = (
                "1 link or special file" if special == 1 else f"{special} links or special files"
            )
            notes = (f"{words} of the archive passed over",)
        yield ArchiveTree(
            path=path,
            root=_root(members, path),
            members=members,
            names=sorted(members),
            stamp=" ".join(map(str, stamp(path))),
            notes=notes,
        )


_Found = tuple[list[tuple[str, Callable[[int], bytes]]], int]


def _zip_members(path: Path, file: io.BufferedReader) -> _Found:
    archive = zipfile.ZipFile(file)
    found, special, total = [], 0, 0
    for member in archive.infolist():
        mode = member.external_attr >> 16
        if member.is_dir():
            continue
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            special += 1
            continue
        total += member.compress_size
        found.append((member.filename.replace("\\", "/"), _zip_reader(archive, member)))
    if total > path.stat().st_size:
        raise DataError(f"{path} is damaged: its members share their bytes; do not use it")
    return found, special


def _zip_reader(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Callable[[int], bytes]:
    def read(limit: int) -> bytes:
        if member.flag_bits & 1:
            raise ImageError("is encrypted; unpack it with its password")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ImageError(f"is compressed by method {member.compress_type}; use deflate")
        with archive.open(member) as part:
            return part.read(limit)

    return read


def _tar_members(path: Path, file: Any) -> _Found:
    lock = Lock()
    found: dict[str, Callable[[int], bytes]] = {}
    special = 0
    with tarfile.open(fileobj=file, mode="r:") as archive:
        for member in archive:
            if member.isreg() and not member.issparse():
                found[member.name] = _tar_reader(file, lock, member.offset_data, member.size)
            elif member.islnk() and member.linkname in found:
                # Two hard links to one file are two files.
                found[member.name] = found[member.linkname]
            elif not member.isdir():
                special += 1
    return list(found.items()), special


def _tar_reader(file: Any, lock: Lock, offset: int, size: int) -> Callable[[int], bytes]:
    def read(limit: int) -> bytes:
        with lock:
            file.seek(offset)
            return bytes(file.read(min(size, limit)))

    return read


def _unpacked(path: Path, unpack: Callable[[Path], Any], storage: Storage) -> io.BytesIO:
    """A compressed file in memory, up to the memory limit."""
    whole = io.BytesIO()
    with unpack(path) as file:
        while block := file.read(_BLOCK_BYTES):
            whole.write(block)
            if whole.tell() > storage.memory_bytes:
                raise DataError(
                    f"{path} unpacks to more than {storage.memory_bytes / 1e9:.1f} GB, and must fit"
                    " into memory because it is compressed as a whole; make it a .zip or plain"
                    " .tar file"
                )
    whole.seek(0)
    return whole


def _place(name: str, path: Path) -> PurePosixPath:
    """The place of a member, which must lie in the archive."""
    place = PurePosixPath(name)
    if place.is_absolute() or ".." in place.parts or "\0" in name or not place.parts:
        raise DataError(
            f"{path} holds {name!r:.80}, whose name leads out of the archive; do not use it"
        )
    return place


def _root(members: Mapping[PurePosixPath, Any], path: Path) -> PurePosixPath:
    """The only folder of an archive, if the archive was made of that folder, else its top."""
    tops = {place.parts[0] for place in members}
    if len(tops) != 1 or split_of(top := next(iter(tops))) or PurePosixPath(top) in members:
        return PurePosixPath()
    has_folders = any(len(place.parts) > 2 for place in members)
    is_named = path.name.lower().startswith(f"{top.lower()}.")
    return PurePosixPath(top) if has_folders or is_named else PurePosixPath()


@contextmanager
def _reported(path: Path) -> Iterator[None]:
    try:
        yield
    except (DataError, FileNotFoundError):
        raise
    except Exception as error:  # zipfile, tarfile and zlib raise many kinds on damaged files.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: cannot be read as an archive ({reason}); repair it") from error
