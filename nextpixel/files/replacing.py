"""Files that are replaced whole, and never through a link that somebody planted.

A file is replaced in one move and only after its bytes are on the disk. Whatever happens, power
failures included, a path holds either the previous file or the new one.
"""

import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nextpixel.errors import UsageError
from nextpixel.files.regular import kind_of

__all__ = ["check_links", "check_writable", "new_folder", "remove_left_over", "replace_file"]

_MARK = "nextpixel"
_SHORT = 40
"""Letters of a file's name in that of its temporary folder, so that a long name stays possible."""
_LEFT_OVER = re.compile(r"\..*\.nextpixel-(\d+)-(\w+)-\w+\.tmp")


@contextmanager
def replace_file(path: str | Path, *, to_disk: bool = True) -> Iterator[Path]:
    """Gives a temporary file to write, which replaces `path` when all of it is on the disk.

    If anything is raised, the temporary file disappears and `path` is as it was. A file that was
    there keeps its permissions; a new one has those of any new file.

    The temporary file lies in a hidden folder beside `path`. Its name is random, it is made
    exclusively, and only this user may enter it, so that nobody else can put a link in its place.
    If `path` is a link to a file or to nothing, the link is replaced and what it leads to stays as
    it is.

    Args:
        path: the file; its folder must exist.
        to_disk: wait for the disk. What is cheap to make again, such as one of many pictures, need
            not survive a power failure.

    Raises:
        FileNotFoundError: the folder does not exist.
        UsageError: the folder is reached through a link of another user, or the path is, or leads
            to, a folder, a device or the like.
        OSError: the disk is full, or the like; it names `path`, not the temporary file.
    """
    path = Path(path)
    try:
        with _replaced(path, to_disk) as temporary:
            yield temporary
    except OSError as error:
        other = error.filename is not None and _mark_of(os.getpid()) not in str(error.filename)
        if error.errno is None or other:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error


def check_writable(path: str | Path) -> None:
    """Raises as `replace_file` does if `path` cannot be replaced, and leaves it as it is."""

    class Tried(Exception):
        pass

    with suppress(Tried), replace_file(path, to_disk=False):
        raise Tried


@contextmanager
def new_folder(folder: Path) -> Iterator[None]:
    """Makes a folder and those above it; what is still empty disappears if anything is raised.

    Raises:
        UsageError: it is reached through a link of another user.
    """
    check_links(folder)
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for place in missing:
            with suppress(OSError):
                place.rmdir()
        raise


@contextmanager
def _replaced(path: Path, to_disk: bool) -> Iterator[Path]:
    check_links(path.parent)
    if (kind := kind_of(path)) is not None:  # also behind a link, such as /dev/stdout
        raise UsageError(
            f"{path} is {kind}, not a regular file, so it is not replaced; use another name"
        )
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: the folder {path.parent} does not exist; make it first")
    process = os.getpid()
    prefix = f".{path.name[:_SHORT]}{_mark_of(process)}{_started(process)}-"
    workplace = Path(tempfile.mkdtemp(prefix=prefix, suffix=".tmp", dir=path.parent))
    try:
        (workplace / _MARK).touch()
        permissions = _permissions(path, workplace)
        temporary = workplace / path.name
        yield temporary
        descriptor = os.open(temporary, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
        try:
            if hasattr(os, "fchmod"):
                os.fchmod(descriptor, permissions)
            if to_disk:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
    finally:
        shutil.rmtree(workplace, ignore_errors=True)
    if not to_disk:
        return
    # The move itself is on the disk only when the folder is.
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_links(path: Path) -> None:
    """Raise UsageError if a path leads through a link that belongs to another user.

    In a shared folder such as /tmp, anybody can make a link of the name that is going to be used.
    Links of this user and of the system are followed.
    """
    if not hasattr(os, "getuid"):
        return
    for part in (*reversed(path.parents), path):
        try:
            there = part.lstat()
        except OSError:  # what does not exist leads nowhere
            return
        if stat.S_ISLNK(there.st_mode) and there.st_uid not in (0, os.getuid()):
            raise UsageError(
                f"{part} is a link that another user made, so nothing is written there; use another"
                " folder"
            )


def remove_left_over(folder: Path, name: str | None = None) -> None:
    """Removes the temporary folders of `replace_file` whose process was killed, and nothing else.

    They have the mark inside, or nothing yet. A folder whose process lives is left alone. Processes
    of other machines cannot be told from dead ones, so the caller holds a lock on the folder, or on
    the file of that name.

    Args:
        folder: where they are.
        name: of the file that they were for; None for all.
    """
    if name is not None and len(name) > _SHORT:
        return  # another name may begin with the same letters
    for place in folder.glob(".*.tmp"):
        named = _LEFT_OVER.fullmatch(place.name)
        if named is None or place.is_symlink() or not place.is_dir():
            continue
        if name is not None and not place.name.startswith(f".{name}{_mark_of(int(named[1]))}"):
            continue
        if _started(int(named[1])) == named[2]:
            continue
        if (place / _MARK).exists() or not any(place.iterdir()):
            shutil.rmtree(place, ignore_errors=True)


def _mark_of(process: int) -> str:
    return f".nextpixel-{process}-"


def _permissions(path: Path, workplace: Path) -> int:
    """Those of the file that is replaced; otherwise those that a new file gets here."""
    try:
        there = path.lstat()
    except FileNotFoundError:
        pass
    else:
        if stat.S_ISREG(there.st_mode):
            return stat.S_IMODE(there.st_mode) & 0o777
    # Only making a file tells what the process's umask leaves, without changing the umask.
    probe = workplace / ".permissions"
    probe.touch(exist_ok=False)
    permissions = stat.S_IMODE(probe.lstat().st_mode)
    probe.unlink()
    return permissions


def _started(process: int) -> str:
    """When a process began, "gone" if it has ended: numbers of processes are used again."""
    if Path("/proc/self/stat").exists():
        try:
            state, *rest = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return "gone"
        return "gone" if state == "Z" else rest[18]
    try:  # without /proc
        os.kill(process, 0)
    except ProcessLookupError:
        return "gone"
    except OSError:
        pass
    return "unknown"
