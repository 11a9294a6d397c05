"""The file format of compressed images: see docs/reference/format.md.

A file is a header, blocks, and an index at its end::

    header   magic, version, fingerprint of the model, channels, levels, name of the model, CRC-32
    block    kind, length, body, CRC-32                              any number of them; the model
                                                                     is the last, if it is inside
    index    a block: the length of every block, how many entries it has, and their names and notes;
             of more than one, its kind says that their checksums begin with their numbers
    footer   where the index begins, magic

Whatever a file claims, memory is bounded by its own size, and by `MOST_SITES` values of the images
of a block.
"""

import io
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import BinaryIO

from nextpixel.codec.entries import Entry, fits, pack_entries, unpack_entries
from nextpixel.codec.errors import CodecError
from nextpixel.codec.fields import Fields, text, varint

__all__ = ["CODED", "FILE", "MODEL", "MOST_SITES", "PLAIN", "Header", "Reader", "Writer"]

MOST_SITES = 1 << 26
"""Values of all images of a block: 22 megapixels in RGB."""

_MAGIC, _END = b"\x89npx\r\n\x1a\n", b"npx\n"
_VERSION = 1
_INDEX, CODED, PLAIN, FILE, MODEL, _NUMBERED = range(6)
_FINGERPRINT = 16
_FOOTER = struct.Struct("<Q4s")
_LONGEST_HEADER = 1 << 16
_LONGEST_HEAD = 20  # of a block: two integers of at most nine bytes
_PART = 1 << 20


@dataclass(frozen=True)
class Header:
    """What a file was compressed with.

    Attributes:
        fingerprint: of the exact model, its first 16 bytes.
        channels, levels: of the images.
        model: what the model was called.
    """

    fingerprint: bytes
    channels: int
    levels: int
    model: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "fingerprint", self.fingerprint[:_FINGERPRINT])


def _damaged(what: str = "data") -> str:
    return f"the compressed {what} is damaged"


@dataclass
class Writer:
    """Writes a file block by block.

    Attributes:
        file: where to; it is only appended to.
        size: bytes written so far.
    """

    file: BinaryIO
    header: Header
    size: int = 0
    _letters: int = 0
    _notes: int = 0
    _lengths: list[int] = field(default_factory=list)
    _counts: list[int] = field(default_factory=list)
    _entries: list[Entry] = field(default_factory=list)

    def __post_init__(self) -> None:
        numbers = map(varint, (self.header.channels, self.header.levels))
        model = text(self.header.model)
        start = b"".join([_MAGIC, varint(_VERSION), self.header.fingerprint, *numbers, model])
        self._write(start + _checksum(start))

    def add(self, kind: int, body: bytes, entries: Sequence[Entry]) -> None:
        """Writes a block of entries."""
        before = self.size
        self._block(kind, body, len(self._lengths))  # two that change places are found
        self._lengths.append(self.size - before)
        self._counts.append(len(entries))
        self._entries += entries
        self._letters += sum(len(entry.name) for entry in entries)
        self._notes += sum(len(entry.note) for entry in entries)

    def finish(self) -> None:
        """Writes the index and the footer.

        Raises:
            CodecError: there are more entries than `Reader` takes from a file of this size.
        """
        if not fits(len(self._entries), self._letters, self._notes, self.size):
            raise CodecError(
                f"{len(self._entries):,} pictures in {self.size:,} bytes are more than can be read"
                " again; make several archives"
            )
        start = self.size
        numbers = map(varint, [len(self._lengths), *self._lengths, *self._counts])
        kind = _NUMBERED if len(self._lengths) > 1 else _INDEX
        self._block(kind, b"".join(numbers) + pack_entries(self._entries))
        self._write(_FOOTER.pack(start, _END))

    def _block(self, kind: int, body: bytes, number: int = 0) -> None:
        head = varint(kind) + varint(len(body))
        self._write(head)
        self._write(body)
        self._write(_checksum(head, body, begin=number))

    def _write(self, data: bytes) -> None:
        self.file.write(data)
        self.size += len(data)


def _checksum(*parts: bytes, begin: int = 0) -> bytes:
    value = begin
    for part in parts:
        value = zlib.crc32(part, value)
    return struct.pack("<I", value)


class Reader:
    """Reads a file, any block at a time.

    Args:
        file: one that can be sought in.

    Attributes:
        header: what it was compressed with.
        entries: the entries of each block.

    Raises:
        CodecError: it is no such file, of a newer version, damaged or truncated.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = file.seek(0, io.SEEK_END)
        self.header, start = self._header()
        if self._size < start + _FOOTER.size:
            raise CodecError("the compressed data is truncated: its end is missing")
        at, end = _FOOTER.unpack(self._at(self._size - _FOOTER.size, _FOOTER.size))
        if end != _END:
            raise CodecError("the compressed data is truncated: its end is missing")
        if not start <= at <= self._size - _FOOTER.size:
            raise CodecError(_damaged("data's index"))
        kind, body = self._block(at, self._size - _FOOTER.size - at)
        if kind not in (_INDEX, _NUMBERED):
            raise CodecError(_damaged("data's index"))
        self._numbered = kind == _NUMBERED
        index = Fields(body)
        blocks = index.varint()
        if blocks > len(body):
            raise CodecError(_damaged("data's index"))
        self._lengths = [index.varint() for _ in range(blocks)]
        self._starts = list(accumulate(self._lengths, initial=start))
        counts = [index.varint() for _ in range(blocks)]
        entries = unpack_entries(index, sum(counts), self._size)
        if self._starts[-1] != at or index.bytes():
            raise CodecError(_damaged("data's index"))
        ends = list(accumulate(counts, initial=0))
        self.entries = [entries[a:b] for a, b in zip(ends, ends[1:], strict=False)]

    def block(self, number: int, *, most: int | None = None) -> tuple[int, bytes]:
        """Kind and body of a block, of which only so many bytes are given and held."""
        begin = number if self._numbered else 0
        return self._block(self._starts[number], self._lengths[number], most, begin)

    @property
    def holds_model(self) -> bool:
        """Whether the last block is a model."""
        return bool(self._lengths) and self._kind(len(self._lengths) - 1) == MODEL

    @property
    def needs_model(self) -> bool:
        """Whether there are pictures, not only files that are kept as they are."""
        return any(
            self._kind(number) != FILE for number, entries in enumerate(self.entries) if entries
        )

    def model(self) -> bytes | None:
        """The body of the block with the model; None if the model is not inside."""
        return self.block(len(self._lengths) - 1)[1] if self.holds_model else None

    def length(self, number: int) -> int:
        """The bytes of a block."""
        return self._lengths[number]

    def _kind(self, number: int) -> int | None:
        """What a block says that it is, unchecked."""
        return next(iter(self._at(self._starts[number], 1)), None)

    def _header(self) -> tuple[Header, int]:
        fields = Fields(self._at(0, min(self._size, _LONGEST_HEADER)))
        if self._size < len(_MAGIC) or fields.bytes(len(_MAGIC)) != _MAGIC:
            raise CodecError("this is not a file that nextpixel compressed")
        version = fields.varint()
        if version != _VERSION:
            raise CodecError(
                f"this was compressed by a newer nextpixel, in version {version} of the format;"
                " install it"
            )
        fingerprint = fields.bytes(_FINGERPRINT)
        header = Header(fingerprint, fields.varint(), fields.varint(), fields.text())
        read = self._at(0, fields.at)
        if fields.bytes(4) != _checksum(read):
            raise CodecError(_damaged("data's header"))
        return header, fields.at

    def _block(
        self, start: int, length: int, most: int | None = None, number: int = 0
    ) -> tuple[int, bytes]:
        """Kind and body of a block, or only the first bytes of the body; all of it is checked."""
        if start + length > self._size:
            raise CodecError(_damaged())
        fields = Fields(self._at(start, min(length, _LONGEST_HEAD)))
        kind, size = fields.varint(), fields.varint()
        if fields.at + size + 4 != length:
            raise CodecError(_damaged())
        value, begin = zlib.crc32(self._at(start, fields.at), number), start + fields.at
        first, part = b"", max(1, size) if most is None else _PART
        for at in range(0, size, part):
            body = self._at(begin + at, min(part, size - at))
            value, first = zlib.crc32(body, value), first or body[:most]
        if self._at(begin + size, 4) != struct.pack("<I", value):
            raise CodecError(_damaged())
        return kind, first

    def _at(self, start: int, length: int) -> bytes:
        self._file.seek(start)
        return self._file.read(length)
