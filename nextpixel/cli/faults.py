"""What the system says of a fault, in a sentence: what, where, and what to do."""

import errno
import os

__all__ = ["fault_sentence"]

_KEPT = "what was saved before is unchanged"
_SENTENCES = {
    errno.ENOSPC: f"the disk is full; free some space there, or choose another place: {_KEPT}",
    errno.EDQUOT: "your share of the disk (quota) is used up; free some of it, or choose another"
    f" place: {_KEPT}",
    errno.EFBIG: "the file would be larger than files may be here; raise the limit (ulimit -f), or"
    f" choose another file system: {_KEPT}",
    errno.EROFS: "the file system is read-only; choose another place",
    errno.EACCES: "there is no permission; give another place, or change its permissions",
    errno.EPERM: "the system does not permit it; give another place, or change its permissions",
    errno.EISDIR: "it is a folder, where a file is expected; give a file",
    errno.ENOTDIR: "a part of this path is a file, where a folder is expected; give another path",
    errno.EEXIST: "something of this name exists, and is no folder; give another name",
    errno.ENOTEMPTY: "the folder is not empty; give another name",
    errno.ENOENT: "there is no such file or folder; check the name",
    errno.ENAMETOOLONG: "the name is too long for the file system; give a shorter one",
    errno.ELOOP: "its links lead to each other; give the file itself",
    errno.EMFILE: "too many files are open at once; raise the limit (ulimit -n)",
    errno.ENFILE: "too many files are open on this machine; close other programs",
    errno.EIO: "the disk reports an error; check it, and make a copy of what it holds",
    errno.ENXIO: "it is a device or a socket, where a file is expected; give a file",
    errno.ESTALE: "the network file system has lost it; mount it again",
    errno.ETIMEDOUT: "the network file system does not answer; try again later",
    errno.ENOMEM: "there is not enough memory; close other programs",
    errno.EAGAIN: "the system is short of processes or memory; try again, or raise the limit"
    " (ulimit -u)",
}


def fault_sentence(error: OSError) -> str:
    """A fault in a sentence that names the file; the error's own words where it is unknown.

    Example:
        >>> fault_sentence(OSError(errno.EISDIR, "Is a directory", "x.npy"))
        'x.npy: it is a folder, where a file is expected; give a file'
    """
    if error.errno is None:
        return str(error)
    said = _SENTENCES.get(error.errno) or error.strerror or os.strerror(error.errno)
    # Of a move, the second name is the file that a user knows.
    place = error.filename if error.filename2 is None else error.filename2
    return (
        said
        if place is None
        else f"{os.fsdecode(place) if isinstance(place, bytes) else place}: {said}"
    )
