"""Only regular files are opened: a FIFO would be read for ever, and a device has effects."""

import os
import stat
from pathlib import Path

__all__ = ["kind_of"]

_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


def kind_of(path: str | Path) -> str | None:
    """What a path is if it is no regular file, such as "a FIFO"; None for a file and for nothing.

    Links are followed.

    Raises:
        OSError: the path cannot be looked at, for another reason than that nothing is there.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return None
    return None if stat.S_ISREG(mode) else _KINDS.get(stat.S_IFMT(mode), "something else")
