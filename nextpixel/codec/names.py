"""The names of an archive's entries: safe, and short where they count up.

A name is a relative path with "/" between its parts. In the index a name that follows the one
before it, such as 0002.png after 0001.png, is an empty line.
"""

import re

from nextpixel.codec.errors import CodecError

__all__ = ["check_name", "joined", "split"]

_NUMBER = re.compile(r"(.*?)(\d{1,18})(\D*)", re.DOTALL | re.ASCII)
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_LONGEST = 4096


def check_name(name: str) -> None:
    """Raises CodecError unless a name is a path that stays in the folder into which it is unpacked.

    Refused are absolute and parent paths, drives, control characters, and what means something else
    on another system.
    """
    parts = name.split("/")
    if (
        len(name) > _LONGEST
        or any(part in ("", ".", "..") or part != part.strip(" .") for part in parts)
        or re.search(r'[\x00-\x1f\x7f\\:*?"<>|]', name)
        or any(_RESERVED.fullmatch(part) for part in parts)
    ):
        raise CodecError(f"the name {name!r} is not safe on every system; nothing is written there")


def joined(names: list[str]) -> str:
    """All names, a line each."""
    lines, before = [], None
    for name in names:
        lines.append("" if name == before else name or ".")
        before = _following(name)
    return "\n".join(lines)


def split(text: str, count: int) -> list[str]:
    """The names of `joined`.

    Raises:
        CodecError: there is another number of them.
    """
    names: list[str] = []
    lines = text.split("\n") if count else []
    if len(lines) != count:
        raise CodecError("the compressed data's index is damaged")
    length = 0
    for line in lines:
        name = line or (_following(names[-1]) if names else "")
        length += len(name)
        if length > _LONGEST * 1024 + len(text) * 64:  # what few bytes may claim
            raise CodecError("the compressed data's index is damaged")
        names.append("" if name == "." else name)
    return names


def _following(name: str) -> str:
    """The name with its last number counted up, of as many digits; "" after "" and others."""
    found = _NUMBER.fullmatch(name)
    if found is None:
        return ""
    return f"{found[1]}{int(found[2]) + 1:0{len(found[2])}}{found[3]}"
