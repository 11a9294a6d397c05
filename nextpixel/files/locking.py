"""One process at a time: a lock that the system releases when its owner ends, however that ends."""

import errno
import logging
import os
import platform
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from nextpixel.errors import UsageError
from nextpixel.files.replacing import check_links

__all__ = ["one_process"]

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}
_OWNER_BYTES = 300

_log = logging.getLogger("nextpixel")


@contextmanager
def one_process(path: Path) -> Iterator[None]:
    """A block that only one process at a time may enter for a file or folder.

    The lock is on a hidden file, ``.lock`` in a folder that exists, ``.NAME.lock`` beside anything
    else. It names the process that holds it, and is removed at the end of the block. Where the file
    system has no locks, as on some network disks, that is logged, and the block is entered.

    Raises:
        UsageError: another process, or another call of this one, is in the block.
        OSError: the file of the lock cannot be made.
    """
    place = path / ".lock" if path.is_dir() else path.with_name(f".{path.name}.lock")
    check_links(place.parent)
    with suppress(FileNotFoundError):
        if not stat.S_ISREG(place.lstat().st_mode):
            raise UsageError(f"{place} is in the place of a lock, but is no file of one; remove it")
    lock = FileLock(place, thread_local=False)
    held = False
    try:
        with warnings.catch_warnings():
            # Instead of a lock that outlives its owner, which filelock would fall back to.
            warnings.simplefilter("error")
            lock.acquire(timeout=0)
        held = True
    except Timeout:
        raise UsageError(
            f"{path} is in use by {_owner(place)}; wait until it has ended, end it, or give another"
            " place"
        ) from None
    except (NotImplementedError, Warning) as error:
        _log.warning("%s: %s", path, _unlocked(error))
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        _log.warning("%s: %s", path, _unlocked(error))
    try:
        if held:
            with suppress(OSError):  # Windows lets nobody write to a locked file
                place.write_text(f"{os.getpid()} {platform.node()}\n", encoding="utf-8")
        yield
    finally:
        if held:
            with suppress(OSError):
                # Before the release: whoever has opened it meanwhile sees that it has no name.
                place.unlink()
            lock.release()


def _owner(place: Path) -> str:
    """The process that holds a lock, in words."""
    try:
        with place.open("rb") as file:
            process, _, host = file.read(_OWNER_BYTES).decode("utf-8", "replace").partition(" ")
    except OSError:
        process, host = "", ""
    return f"process {process} on {host.strip()}" if process.isdecimal() else "another process"


def _unlocked(error: BaseException) -> str:
    return (
        f"this file system has no locks ({error}), so make sure that no other process writes there"
    )
