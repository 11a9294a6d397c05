"""Whose a run folder is, and so whether the data that it names may be opened.

A checkpoint or a run folder may come from a stranger, who has then chosen the places that it names;
they are not opened unless the user gives them again. A run folder that this user trained is signed
with a key that only this user can read, so that `nextpixel evaluate RUN` finds the data again.
"""

import hmac
import os
import secrets
import stat
from collections.abc import Container
from pathlib import Path

from nextpixel.errors import UsageError
from nextpixel.settings.source import PLACES, Source

__all__ = ["check_places", "is_remote", "is_signed", "signature"]


def signature(digest: str) -> str | None:
    """This user's signature of a digest; None if there is no place for a key."""
    try:
        key = _key(make=True)
    except OSError:
        return None
    return None if key is None else hmac.digest(key, digest.encode(), "sha256").hex()


def is_signed(digest: str, signed: object) -> bool:
    """Whether `signed` is this user's `signature` of the digest."""
    try:
        key = _key(make=False)
    except OSError:
        return False
    if key is None or not isinstance(signed, str) or not signed.isascii():
        return False
    return hmac.compare_digest(hmac.digest(key, digest.encode(), "sha256").hex(), signed)


def is_remote(place: str) -> bool:
    """Whether opening a place needs a connection: a data set of a hub, a share, an address."""
    return place.startswith(("hf:", "\\\\", "//")) or "://" in place


def check_places(
    recorded: Source, said: Container[str], *, own: bool, file: str, source: str
) -> None:
    """Raises UsageError unless every place in a recorded source may be opened.

    Args:
        recorded: the source.
        said: the fields that the user has just given.
        own: whether this user's own run recorded the others; those on this machine may be opened.
        file: what recorded them, for the error.
        source: the parameter by which the user gives the images.
    """
    for name in PLACES:
        place = getattr(recorded, name)
        if name in said or place is None or (name, place) == ("images", "digits"):
            continue
        option = source if name == "images" else name
        if is_remote(place):
            raise UsageError(
                f"{file} names the {name} {place!r:.300}, which is not on this machine; to fetch"
                f" it, give it yourself: ‹{option}›"
            )
        if not own:
            raise UsageError(
                f"{file} names the {name} {place!r:.300}, but was not trained by this user here, so"
                f" the name is not followed; give the place yourself: ‹{option}›"
            )


def _key(*, make: bool) -> bytes | None:
    """The user's key, None if there is none that only this user can read."""
    state = Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser()
    path = state / "nextpixel" / "key"
    if make and not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = path.with_name(f"key.{secrets.token_hex(8)}")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(32))
        try:
            os.link(new, path)  # another process may have been first
        except FileExistsError:
            pass
        finally:
            new.unlink()
    try:
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(file.fileno())
        private = not hasattr(os, "getuid") or (
            found.st_uid == os.getuid() and not stat.S_IMODE(found.st_mode) & 0o077
        )
        key = file.read(33) if private and stat.S_ISREG(found.st_mode) else b""
    return key if len(key) == 32 else None
