"""What is taken from a folder that somebody else may have made: regular files that lie in it.

A FIFO would be read for ever, a device has effects, and a link may lead to files that were never
meant to be shared. Every folder is listed once, however many links lead to it: twelve folders that
link to each other are twelve folders, and not 12! paths.
"""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from nextpixel.data.errors import DataError
from nextpixel.files.regular import kind_of

__all__ = [
    "PREVIEW",
    "RUN",
    "Seen",
    "files_below",
    "is_left_behind",
    "is_of_run",
    "listing",
    "require_file",
]

RUN = "run.json"
"""The file of a run folder that holds the request."""

PREVIEW = "preview.png"
"""The sheet of examples that a run folder holds."""

# Thumbnails and resource forks that archives and network disks leave behind.
_FOREIGN_FOLDERS = {"__MACOSX", "@eaDir"}

Seen = dict[tuple[int, int], bool]
"""By device and inode, whether a folder or file that was met is reached through a link."""


def require_file(path: Path) -> None:
    """Raise `DataError` for what exists but is not a regular file, links followed."""
    try:
        kind = kind_of(path)  # None for what does not exist: whoever opens it says so.
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); remove it") from error
    if kind is not None:
        raise DataError(f"{path} is {kind}, not a regular file; remove it or give a file")


def files_below(
    entry: Path, root: Path, wanted: Callable[[Path], bool], seen: Seen | None = None
) -> Iterator[Path]:
    """Find the files at or below a place, in the order of their names.

    Args:
        entry: A file or folder in `root`.
        root: The folder that links must not leave.
        wanted: Tells by a file's name whether it is taken; other files are not looked at.
        seen: What was met before and does not count again: folders, and files that links lead to.
            Two hard links to one file are two files.

    Raises:
        DataError: For a link that leaves the root, and a folder that cannot be listed.
    """
    seen = {} if seen is None else seen
    home = root.resolve()
    pending = [entry]
    while pending:
        path = pending.pop()
        try:
            status = os.stat(path)
        except OSError:  # A link that leads nowhere, or in a circle.
            status = None
        is_folder = status is not None and stat.S_ISDIR(status.st_mode)
        if not is_folder and not wanted(path):
            continue
        key = None if status is None else (status.st_dev, status.st_ino)
        is_link = _is_link(path)
        if key in seen and (is_folder or is_link or seen[key]):
            continue
        if is_link and (target := _target(path)) and not target.is_relative_to(home):
            raise DataError(
                f"{path} is a link to {target}, which is not in {root}; copy what it leads"
                " to, or remove the link"
            )
        if key is not None:
            seen[key] = is_link
        if is_folder:
            pending += reversed(listing(path))
        else:  # Whoever reads what is no regular file says so, and may pass it over.
            yield path


def listing(folder: Path) -> list[Path]:
    """List a folder by name, without hidden entries and what operating systems leave behind."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(
            f"{folder}: cannot be listed ({error.strerror}); allow reading it or move it away"
        ) from error
    return [entry for entry in entries if not is_left_behind(entry.name)]


def is_of_run(path: Path) -> bool:
    """Tell whether a picture is the sheet of examples of a run, and nobody's data."""
    return path.name == PREVIEW and (path.parent / RUN).is_file()


def is_left_behind(name: str) -> bool:
    """Tell whether an entry is hidden, or something that operating systems leave behind."""
    return name.startswith(".") or name in _FOREIGN_FOLDERS


def _is_link(path: Path) -> bool:
    """Tell whether an entry is a link of any kind. What is not one lies where its folder lies."""
    is_junction = getattr(os.path, "isjunction", lambda _: False)  # Python 3.12, on Windows
    return path.is_symlink() or bool(is_junction(path))


def _target(path: Path) -> Path | None:
    """Where a link leads; None for links that lead to each other."""
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        return None
