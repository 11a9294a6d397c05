"""The file format of compressed images: see docs/reference/format.md.

A file is a header, blocks, and an index at its end::

    header   magic, version, fingerprint of the model, channels, levels, name of the model, CRC-32
    block    kind, length, body, CRC-32                              any number of them
    index    a block: for every block its length and its entries' names and notes, deflated
    footer   where the index begins, magic

Whatever a file claims, no more memory is used than its own size, and `MOST_SITES` values of the
images of a block.
"""

import io
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import BinaryIO

from nextpixel.codec.errors import CodecError
from nextpixel.codec.names import joined, split

__all__ = [
    "CODED",
    "FILE",
    "MOST_SITES",
    "PLAIN",
    "Entry",
    "Fields",
    "Header",
    "Reader",
    "Writer",
    "varint",
]

MOST_SITES = 1 << 26
"""Values of all images of a block: 22 megapixels in RGB."""

_MAGIC, _END = b"\x89npx\r\n\x1a\n", b"npx\n"
_VERSION = 1
_INDEX, CODED, PLAIN, FILE = range(4)
_FINGERPRINT = 16
_FOOTER = struct.Struct("<Q4s")
_MOST_INDEX = 1 << 26
_LONGEST_HEADER = 1 << 16


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


@dataclass(frozen=True)
class Entry:
    """An image, or a file that is stored as it is.

    Attributes:
        name: a relative path; "" for an image that came from an array.
        note: how its file is made again; see `codec.pictures`.
    """

    name: str = ""
    note: str = ""


def varint(number: int) -> bytes:
    """A non-negative integer, seven bits a byte, lowest first; the highest bit says "more"."""
    digits = bytearray()
    while number >= 128:
        digits.append(number % 128 + 128)
        number //= 128
    return bytes([*digits, number])


class Fields:
    """Reads what was written one after another.

    Raises:
        CodecError: there is less than is asked for.
    """

    def __init__(self, data: bytes) -> None:
        self._data, self._at = memoryview(data), 0

    def bytes(self, count: int | None = None) -> bytes:
        """So many bytes, or all that are left."""
        count = len(self._data) - self._at if count is None else count
        if count > len(self._data) - self._at:
            raise CodecError(_damaged())
        self._at += count
        return bytes(self._data[self._at - count : self._at])

    def varint(self) -> int:
        """An integer below 2^63."""
        number = 0
        for shift in range(0, 63, 7):
            digit = self.bytes(1)[0]
            number += (digit & 127) << shift
            if digit < 128:
                return number
        raise CodecError(_damaged())

    def text(self) -> str:
        """A string, after its length."""
        try:
            return self.bytes(self.varint()).decode()
        except UnicodeDecodeError:
            raise CodecError(_damaged()) from None

    @property
    def at(self) -> int:
        """How many bytes were read."""
        return self._at


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
    _lengths: list[int] = field(default_factory=list)
    _counts: list[int] = field(default_factory=list)
    _entries: list[Entry] = field(default_factory=list)

    def __post_init__(self) -> None:
        name = self.header.model.encode()
        start = b"".join(
            [
                *(_MAGIC, varint(_VERSION), self.header.fingerprint),
                *(varint(self.header.channels), varint(self.header.levels)),
                *(varint(len(name)), name),
            ]
        )
        self._write(start + _checksum(start))

    def add(self, kind: int, body: bytes, entries: Sequence[Entry]) -> None:
        """Writes a block of entries."""
        before = self.size
        self._block(kind, body)
        self._lengths.append(self.size - before)
        self._counts.append(len(entries))
        self._entries += entries

    def finish(self) -> None:
        """Writes the index and the footer."""
        start = self.size
        numbers = [len(self._lengths), *self._lengths, *self._counts]
        names = joined([entry.name for entry in self._entries]).encode()
        notes = "\n".join(entry.note for entry in self._entries).encode()
        index = b"".join(map(varint, [*numbers, len(names), len(notes)])) + names + notes
        self._block(_INDEX, zlib.compress(index, 9))
        self._write(_FOOTER.pack(start, _END))

    def _block(self, kind: int, body: bytes) -> None:
        head = varint(kind) + varint(len(body))
        self._write(head)
        self._write(body)
        self._write(_checksum(head, body))

    def _write(self, data: bytes) -> None:
        self.file.write(data)
        self.size += len(data)


def _checksum(*parts: bytes) -> bytes:
    value = 0
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
        if kind != _INDEX:
            raise CodecError(_damaged("data's index"))
        inflate = zlib.decompressobj()
        try:
            index = Fields(inflate.decompress(body, _MOST_INDEX))
        except zlib.error:
            raise CodecError(_damaged("data's index")) from None
        if not inflate.eof:
            raise CodecError(_damaged("data's index"))
        blocks = index.varint()
        if blocks > self._size:
            raise CodecError(_damaged("data's index"))
        self._lengths = [index.varint() for _ in range(blocks)]
        self._starts = list(accumulate(self._lengths, initial=start))
        counts = [index.varint() for _ in range(blocks)]
        lengths = index.varint(), index.varint()
        try:
            names, notes = (index.bytes(length).decode() for length in lengths)
        except UnicodeDecodeError:
            raise CodecError(_damaged("data's index")) from None
        if self._starts[-1] != at or sum(counts) > _MOST_INDEX:
            raise CodecError(_damaged("data's index"))
        self.entries = _grouped(split(names, sum(counts)), notes, counts)

    def block(self, number: int) -> tuple[int, bytes]:
        """Kind and body of a block."""
        return self._block(self._starts[number], self._lengths[number])

    def length(self, number: int) -> int:
        """The bytes of a block."""
        return self._lengths[number]

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

    def _block(self, start: int, length: int) -> tuple[int, bytes]:
        if start + length > self._size:
            raise CodecError(_damaged())
        data = self._at(start, length)
        fields = Fields(data)
        kind, body = fields.varint(), fields.bytes(fields.varint())
        if fields.bytes() != _checksum(data[:-4]):
            raise CodecError(_damaged())
        return kind, body

    def _at(self, start: int, length: int) -> bytes:
        self._file.seek(start)
        return self._file.read(length)


def _grouped(names: list[str], notes: str, counts: list[int]) -> list[list[Entry]]:
    lines = notes.split("\n")
    if len(lines) != max(1, len(names)):
        raise CodecError(_damaged("data's index"))
    entries = [Entry(name, note) for name, note in zip(names, lines, strict=False)]
    ends = list(accumulate(counts, initial=0))
    return [entries[start:stop] for start, stop in zip(ends, ends[1:], strict=False)]
