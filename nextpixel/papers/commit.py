"""The commit of this code, read from the files of its repository.

git itself is not started: it runs programs that a repository's configuration names, and nextpixel
may be installed below a repository of somebody else.
"""

import re
from pathlib import Path

__all__ = ["commit"]

_HASH = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")


def commit(package: Path | None = None) -> str | None:
    """Finds the commit that is checked out, if the repository around the package tracks it.

    Args:
        package: The package's folder; this package's if None.

    Returns:
        The hash; None without such a repository. Uncommitted changes do not show.
    """
    package = package or Path(__file__).resolve().parent.parent
    try:
        folder = _git_folder(package.parent)
        if f"{package.name}/papers/commit.py\0".encode() not in _bytes(folder / "index"):
            return None
        further = (folder / "commondir").exists()
        common = folder / _text(folder / "commondir") if further else folder
        head = _text(folder / "HEAD")
        name = head.removeprefix("ref: ")
        if name != head:
            head = _branch(common, name)
    except (OSError, UnicodeDecodeError):
        return None
    return head if _HASH.fullmatch(head) else None


def _git_folder(root: Path) -> Path:
    """The folder .git; in a further working tree, .git is a file that names it."""
    place = root / ".git"
    return place if place.is_dir() else root / _text(place).removeprefix("gitdir: ")


def _branch(common: Path, name: str) -> str:
    if (common / name).exists():
        return _text(common / name)
    lines = _text(common / "packed-refs").splitlines()
    return next((line.split()[0] for line in lines if line.endswith(f" {name}")), "")


def _text(path: Path) -> str:
    return _bytes(path).decode().strip()


def _bytes(path: Path) -> bytes:
    if not path.is_file():  # Reading a FIFO would never end.
        raise FileNotFoundError(path)
    return path.read_bytes()
