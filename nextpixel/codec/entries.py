"""The entries of a file: their names, safe, and short where they count up.

A name is a relative path with "/" between its parts. Names that follow each other, such as 0001.png
and 0002.png, are stored as the first and their number.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from nextpixel.codec.errors import CodecError
from nextpixel.codec.fields import Fields, text, varint

__all__ = ["Entry", "check_name", "pack_entries", "unpack_entries"]

_NUMBER = re.compile(r"(.*?)(\d{1,18})(\D*)", re.DOTALL | re.ASCII)
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f\\:*?"<>|]')
_LONGEST = 1024
_ENTRIES_PER_BYTE, _LETTERS_PER_BYTE = 64, 256


@dataclass(frozen=True)
class Entry:
    """An image, or a file that is stored as it is.

    Attributes:
        name: a relative path; "" for an image that came from an array.
        note: how its file is made again; see `codec.pictures`.
    """

    name: str = ""
    note: str = ""


def check_name(name: str) -> None:
    """Raises CodecError unless a name is a path that stays in the folder into which it is unpacked.

    Refused are absolute and parent paths, drives, control characters, and what means something else
    on another system.
    """
    parts = name.split("/")
    if (
        len(name) > _LONGEST
        or any(part in ("", ".", "..") or part != part.strip(" .") for part in parts)
        or _FORBIDDEN.search(name)
        or any(_RESERVED.fullmatch(part) for part in parts)
    ):
        raise CodecError(f"the name {name!r} is not safe on every system; nothing is written there")


def pack_entries(entries: Sequence[Entry]) -> bytes:
    """For every run of entries that count up: how many, the first name, and the note of all."""
    runs: list[tuple[int, Entry]] = []
    before = None
    for entry in entries:
        if before is not None and entry == Entry(_following(before.name), before.note):
            runs[-1] = runs[-1][0] + 1, runs[-1][1]
        else:
            runs.append((1, entry))
        before = entry
    return b"".join(varint(count) + text(first.name) + text(first.note) for count, first in runs)


def unpack_entries(fields: Fields, count: int, size: int) -> list[Entry]:
    """So many entries of `pack_entries`, in a file of a size.

    Raises:
        CodecError: there are others, or more than such a file has.
    """
    entries: list[Entry] = []
    letters = 0
    while len(entries) < count:
        run, name, note = fields.varint(), fields.text(), fields.text()
        letters += run * (len(name) + len(note))
        if not 1 <= run <= min(count - len(entries), _ENTRIES_PER_BYTE * size) or (
            letters > _LETTERS_PER_BYTE * size
        ):
            raise CodecError("the compressed data's index is damaged")
        for _ in range(run):
            entries.append(Entry(name, note))
            name = _following(name)
    return entries


def _following(name: str) -> str:
    """The name with its last number counted up, of as many digits; "" after one without."""
    found = _NUMBER.fullmatch(name)
    if found is None:
        return ""
    return f"{found[1]}{int(found[2]) + 1:0{len(found[2])}}{found[3]}"
