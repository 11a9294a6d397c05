"""A PNG file in parts: its header, its pixels, and the chunks before and after them.

Pillow reads some chunks and passes over the others: it drops them when a picture is saved, along
with the lower half of 16-bit colours. So the chunks themselves are kept, byte for byte and in their
order, and put around the pixels again.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nextpixel.codec.errors import CodecError

__all__ = ["Chunk", "PngParts", "is_whole", "png_parts", "with_chunks"]

Chunk = tuple[bytes, bytes]
"""A type of four letters, and the content."""

_MAGIC = b"\x89PNG\r\n\x1a\n"
_PIXELS, _END = b"IDAT", b"IEND"
_HEADER_BYTES = 25
_CRITICAL = (b"IHDR", b"PLTE", _PIXELS, _END)
_OF_VALUES = (b"bKGD", b"sBIT", b"tRNS")
"""Chunks that speak of values, and so depend on their depth."""


@dataclass(frozen=True)
class PngParts:
    """What a PNG file says beside its pixels.

    Attributes:
        header: the content of IHDR.
        before, after: the chunks before and after the pixels.
    """

    header: bytes
    before: tuple[Chunk, ...]
    after: tuple[Chunk, ...]

    @property
    def depth(self) -> int:
        """Bits of a value."""
        return self.header[8]

    def says_the_same(self, other: "PngParts") -> bool:
        """Whether another file says the same of its pixels.

        How they are stored may differ: interlaced or not, and in fewer bits than a byte unless a
        chunk speaks of values in that depth.
        """
        chunks = self.before, self.after
        kinds = {kind for part in chunks for kind, _ in part}
        depth = self.depth == other.depth or (
            max(self.depth, other.depth) <= 8 and kinds.isdisjoint(_OF_VALUES)
        )
        same = self.header[:8] == other.header[:8] and self.header[9:12] == other.header[9:12]
        return depth and same and chunks == (other.before, other.after)


def png_parts(data: bytes) -> PngParts:
    """The parts of a PNG file.

    Raises:
        CodecError: the file is incomplete or damaged, it has chunks without which its pixels mean
            something else, or more bytes follow it.
    """
    header, before, after = b"", list[Chunk](), list[Chunk]()
    chunks, pixels = before, 0
    for kind, body in _chunks(data):
        if kind == b"IHDR" and not header and len(body) == _HEADER_BYTES - 12:
            header = body
        elif kind == _PIXELS:
            pixels += chunks is before or bool(after)
            chunks = after
        elif kind == b"IHDR" or (kind[:1].isupper() and kind not in _CRITICAL):
            raise CodecError(f"the PNG file has an unknown chunk {kind.decode('latin-1')!r}")
        elif kind != _END:
            chunks.append((kind, body))
    if not header or pixels != 1:
        raise CodecError("the PNG file is damaged")
    return PngParts(header, tuple(before), tuple(after))


def is_whole(data: bytes) -> bool:
    """Whether this is an undamaged PNG file, as far as checksums tell."""
    try:
        return data.startswith(_MAGIC) and bool(png_parts(data))
    except CodecError:
        return False


def with_chunks(data: bytes, before: Sequence[Chunk], after: Sequence[Chunk]) -> bytes:
    """A PNG file without such chunks, with these before and after its pixels."""
    start, end = len(_MAGIC) + _HEADER_BYTES, len(data) - 12
    parts = [data[:start], *map(_packed, before), data[start:end], *map(_packed, after), data[end:]]
    return b"".join(parts)


def _packed(chunk: Chunk) -> bytes:
    kind, body = chunk
    checksum = zlib.crc32(kind + body)
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)


def _chunks(data: bytes) -> Iterator[Chunk]:
    at, kind = len(_MAGIC), b""
    while kind != _END:
        if len(data) < at + 12:
            raise CodecError("the PNG file is incomplete")
        (length,) = struct.unpack_from(">I", data, at)
        body, end = data[at + 8 : at + 8 + length], at + 12 + length
        kind = data[at + 4 : at + 8]
        if zlib.crc32(kind + body).to_bytes(4, "big") != data[end - 4 : end]:
            raise CodecError("the PNG file is damaged")
        yield kind, body
        at = end
    if at != len(data):
        raise CodecError("more bytes follow the PNG file")
