"""The entries of a file: their names, safe, and short where they count up.

A name is a relative path with "/" between its parts. Names that follow each other, such as 0001.png
and 0002.png, are stored as the first and their number.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

from nextpixel.codec.errors import CodecError
from nextpixel.codec.fields import Fields, text, varint

__all__ = ["Entry", "check_name", "check_names", "fits", "folded", "pack_entries", "unpack_entries"]

_BACKWARDS = re.compile(r"(\D*)(\d{1,18})(.*)", re.DOTALL | re.ASCII)
_RESERVED = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[\d¹²³]) *(\..*)?", re.IGNORECASE
)
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f\\:*?"<>|]')
_LONGEST, _LONGEST_PART = 1024, 255  # letters, and bytes
_ENTRIES_PER_BYTE, _LETTERS_PER_BYTE = 4, 64
_ENTRIES, _LETTERS = 1 << 18, 1 << 24
"""So many are allowed in any file: blank pictures need less than a bit each."""
_NOTES_PER_BYTE, _NOTES = 1 << 10, 1 << 30
"""Letters of the notes of all entries: one note is stored once for many, and each file gets it."""
_FOLDERS_PER_FILE, _FOLDERS = 4, 1 << 10


@dataclass(frozen=True, slots=True)
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
    try:
        too_long = any(len(part.encode()) > _LONGEST_PART for part in parts)
    except UnicodeEncodeError:
        raise CodecError(f"the name {name!r} is no text; rename the file") from None
    if (
        too_long
        or len(name) > _LONGEST
        or any(part in ("", ".", "..") or part != part.strip(" .") for part in parts)
        or _FORBIDDEN.search(name)
        or any(_RESERVED.fullmatch(part) for part in parts)
    ):
        raise CodecError(
            f"the name {name!r} is not safe on every system, so it is neither stored nor restored;"
            " rename the file"
        )


def check_names(names: Sequence[str]) -> None:
    """Raises CodecError unless files of all names can be written into one folder.

    Refused are names that are unsafe, the same on some system, or a file and a folder at once, and
    far more folders than files, which fill a disk by themselves.
    """
    for name in names:
        check_name(name)
    if len(same := set(map(folded, names))) != len(names):
        raise CodecError("two pictures have the same name on some system, so the data is damaged")
    folders, before = 0, [""]
    for parts in sorted(name.split("/") for name in same):
        shared = sum(
            1 for _ in takewhile(lambda two: two[0] == two[1], zip(before, parts, strict=False))
        )
        if shared == len(before):
            raise CodecError(
                f"{'/'.join(before)} is a picture and a folder, which no folder can hold; rename"
                " one of them"
            )
        folders += len(parts) - 1 - min(shared, len(before) - 1)
        before = parts
    if folders > _FOLDERS + _FOLDERS_PER_FILE * len(names):
        raise CodecError(
            f"{len(names):,} files are in {folders:,} folders, more than are restored; make several"
            " archives"
        )


def folded(name: str) -> str:
    """The name as systems see it that ignore case, and how an accent is written."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


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
    letters, notes = 0, 0
    if not fits(count, 0, 0, size):
        raise CodecError("the compressed data's index is damaged")
    while len(entries) < count:
        run, name, note = fields.varint(), fields.text(), fields.text()
        letters, notes = letters + run * len(name), notes + run * len(note)
        if not 1 <= run <= count - len(entries) or not fits(count, letters, notes, size):
            raise CodecError("the compressed data's index is damaged")
        for _ in range(run):
            entries.append(Entry(name, note))
            name = _following(name)
    return entries


def fits(entries: int, letters: int, notes: int, size: int) -> bool:
    """Whether a file of a size may have so many entries, and letters of their names and notes."""
    return (
        entries <= _ENTRIES + _ENTRIES_PER_BYTE * size
        and letters <= _LETTERS + _LETTERS_PER_BYTE * size
        and notes <= _NOTES + _NOTES_PER_BYTE * size
    )


def _following(name: str) -> str:
    """The name with its last number counted up, of as many digits; "" after one without."""
    found = _BACKWARDS.match(name[::-1])  # long names of many numbers take no longer than others
    if found is None:
        return ""
    after, number, start = (part[::-1] for part in found.groups())
    return f"{start}{int(number) + 1:0{len(number)}}{after}"
