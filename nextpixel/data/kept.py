"""Decoded images that are kept for the next time: private, checked before use, and bounded.

A file of the cache holds a copy of somebody's pictures, and is believed the next time. So only this
user may read or write it. Its folder is made private; in a folder that others may write to, or that
belongs to somebody else, the files lie in a private folder of their own. A file that another user
owns or may write to, a link, and an array of another type or size than expected are not used.

The files of a folder take at most ``$NEXTPIXEL_CACHE_GB`` gigabytes, 32 if it is not set. The
least recently used are removed first. Only files that the cache itself names are ever removed.
"""

import logging
import os
import re
import shutil
import stat
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from nextpixel.data.errors import DataError

__all__ = [
    "LIMIT",
    "KeptFile",
    "cache_folder",
    "clear_cache",
    "keep",
    "kept_files",
    "most_bytes",
    "open_kept",
    "private_folder",
]

LIMIT = "NEXTPIXEL_CACHE_GB"
"""The environment variable that bounds the files of a cache folder."""

_DEFAULT_GIGABYTES = 32.0
_SAID_FROM = 2**30
"""Bytes from which a file is announced before it is made."""
_NAME = re.compile(r"[0-9a-f]{32}\.npy")
_PART = re.compile(r"[0-9a-f]{32}\.\w+\.part")
_USER: Callable[[], int] | None = getattr(os, "getuid", None)

_log = logging.getLogger("nextpixel")


@dataclass(frozen=True, kw_only=True)
class KeptFile:
    """A file of the cache.

    Attributes:
        path: where it is.
        bytes: its size.
        used: when it was last used, in seconds since 1970.
    """

    path: Path
    bytes: int
    used: float


def cache_folder() -> Path:
    """The folder ``nextpixel`` of ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return home / "nextpixel"


def most_bytes() -> int:
    """How many bytes the files of a cache folder may take.

    Raises:
        DataError: the environment variable holds no number.
    """
    text = os.environ.get(LIMIT) or str(_DEFAULT_GIGABYTES)
    try:
        size = float(text)
    except ValueError:
        size = -1.0
    if not 0 <= size < 2**40:
        raise DataError(f"${LIMIT} is {text!r:.40}, but must be a number of gigabytes, such as 32")
    return int(size * 1e9)


def private_folder(folder: Path, *, make: bool = False) -> Path:
    """The folder for kept files: `folder` if only this user may write to it, or a part of it.

    Args:
        folder: where the user wants them.
        make: make it if it does not exist.

    Raises:
        DataError: the private part of a shared folder was made by somebody else.
    """
    if make:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
    if not folder.is_dir():
        return folder
    status = folder.stat()
    if folder == cache_folder() and status.st_mode & 0o077 and _is_owner(status):
        folder.chmod(0o700)  # it has no other purpose, and version 0.1.0 let others in
        return folder
    if _is_own(status):
        return folder
    part = folder / f"nextpixel-{_USER() if _USER is not None else 'user'}"
    if make:
        with suppress(FileExistsError):
            part.mkdir(mode=0o700)
    try:
        status = part.lstat()
    except FileNotFoundError:
        return part
    if not stat.S_ISDIR(status.st_mode) or not _is_own(status) or status.st_mode & 0o077:
        raise DataError(
            f"{part} is not a private folder of yours, so that others could read or change what is"
            f" kept there; give ‹cache_folder› a folder that only you can write to"
        )
    return part


def open_kept(path: Path, size: int | None, dtype: np.dtype[Any] | None) -> NDArray[Any] | None:
    """Map a kept array; None if there is none that may be believed.

    Args:
        path: the file.
        size: bytes that the whole file must have, or None.
        dtype: of a flat array; None for an array of any shape and type.
    """
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        descriptor = os.open(path, flags | getattr(os, "O_BINARY", 0))
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or not _is_own(status):
            return None
        if size is not None and status.st_size != size:
            return None
        array = _mapped(file)
    if array is None or (dtype is not None and (array.dtype != dtype or array.ndim != 1)):
        return None
    with suppress(OSError):
        os.utime(path)  # it was used now
    return array


def keep(path: Path, needed: int, what: str, fill: Callable[[IO[bytes]], None]) -> None:
    """Make a file of the cache, in one move.

    Args:
        path: the file, in a private folder.
        needed: bytes that it takes.
        what: what is kept, for messages.
        fill: writes it.

    Raises:
        DataError: it takes more than the cache or the disk has.
        OSError: the disk is full in spite of that, or the like.
    """
    _make_room(path, needed, what)
    if needed >= _SAID_FROM:
        _log.warning("%s: keeping %.1f GB in %s", what, needed / 1e9, path.parent)
    descriptor, name = tempfile.mkstemp(prefix=f"{path.stem}.", suffix=".part", dir=path.parent)
    part = Path(name)
    try:
        with os.fdopen(descriptor, "w+b") as file:
            fill(file)
        os.replace(part, path)
    except OSError as error:
        if error.errno is None or error.filename not in (None, name):  # of what fills it
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
    finally:
        part.unlink(missing_ok=True)


def kept_files(folder: Path | None = None) -> list[KeptFile]:
    """The files of a cache folder, the least recently used first; of the user's own if None."""
    place = private_folder(cache_folder() if folder is None else folder)
    found = []
    for path in place.iterdir() if place.is_dir() else ():
        if _NAME.fullmatch(path.name) or _PART.fullmatch(path.name):
            with suppress(FileNotFoundError):
                status = path.lstat()
                if not stat.S_ISDIR(status.st_mode):
                    found.append(KeptFile(path=path, bytes=status.st_size, used=status.st_mtime))
    return sorted(found, key=lambda file: (file.used, file.path.name))


def clear_cache(folder: Path | None = None) -> list[KeptFile]:
    """Remove the files of a cache folder, and nothing else that lies in it.

    Returns:
        What was removed.
    """
    files = kept_files(folder)
    for file in files:
        file.path.unlink(missing_ok=True)
    return files


def _make_room(path: Path, needed: int, what: str) -> None:
    folder, most = path.parent, most_bytes()
    if needed > most:
        raise DataError(
            f"{what} takes {needed / 1e9:.1f} GB in the cache {folder}, which may take"
            f" {most / 1e9:g} GB; reduce ‹size›, or set {LIMIT}={-(-needed // 10**9)} in the"
            " environment if you trust the file"
        )
    files = [file for file in kept_files(folder) if file.path != path]
    there = sum(file.bytes for file in files)
    for file in _completed(files):
        if there + needed <= most:
            break
        file.path.unlink(missing_ok=True)
        there -= file.bytes
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DataError(
            f"the decoded images need {needed / 1e9:.1f} GB, but {folder} has"
            f" {free / 1e9:.1f} GB free; reduce ‹size›, clear the cache (nextpixel cache --clear),"
            " or choose another folder: cache_folder= in Python, XDG_CACHE_HOME in the environment"
        )


def _completed(files: list[KeptFile]) -> Iterator[KeptFile]:
    """Those that no other process is writing."""
    return (file for file in files if _NAME.fullmatch(file.path.name))


def _is_owner(status: os.stat_result) -> bool:
    return _USER is None or status.st_uid == _USER()


def _is_own(status: os.stat_result) -> bool:
    """Whether this user owns it, and nobody else may write to it."""
    return _is_owner(status) and (_USER is None or not status.st_mode & 0o022)


def _mapped(file: IO[bytes]) -> NDArray[Any] | None:
    """The array of an open ``.npy`` file; None if it is not one."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            version = np.lib.format.read_magic(file)
            read = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            shape, fortran, dtype = read(file)
        if dtype.hasobject:
            return None
        order: Any = "F" if fortran else "C"
        return np.memmap(file, dtype, "r", file.tell(), shape, order)
    except Exception:  # a damaged file is made anew
        return None
