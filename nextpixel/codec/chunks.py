"""What a PNG file says beside its pixels, so that two files can be compared.

Pillow reads some chunks and passes over the others: it drops them when a picture is saved, along
with the lower half of 16-bit colours. So the chunks themselves are compared.
"""

import struct
import zlib
from collections.abc import Iterator

from nextpixel.codec.errors import CodecError

__all__ = ["png_says"]

_MAGIC = b"\x89PNG\r\n\x1a\n"
_LONGEST_TEXT = 1 << 26
_BYTE = 8

Said = tuple[bytes, ...]


def png_says(data: bytes) -> list[Said]:
    """The chunks of a PNG file, sorted; the same for two files that say the same.

    Left out is what says only how something is stored: the pixels (IDAT), the interlacing, depths
    below a byte, whether a text is deflated, and the name of a colour profile.

    Raises:
        CodecError: the file is incomplete or damaged, or more bytes follow it.
    """
    return sorted(_plain(kind, body) for kind, body in _chunks(data) if kind != b"IDAT")


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at, kind = len(_MAGIC), b""
    while kind != b"IEND":
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


def _plain(kind: bytes, body: bytes) -> Said:
    """A chunk without how it is stored."""
    try:
        if kind == b"IHDR":
            return kind, body[:8], bytes([max(_BYTE, body[8])]), body[9:12]
        if kind == b"iCCP":
            return kind, _inflated(body.split(b"\0", 1)[1][1:])
        if kind in (b"tEXt", b"zTXt"):
            key, text = body.split(b"\0", 1)
            text = _inflated(text[1:]) if kind == b"zTXt" else text
            return b"text", key, text.decode("latin-1").encode(), b"", b""
        if kind == b"iTXt":
            key, rest = body.split(b"\0", 1)
            language, translated, text = rest[2:].split(b"\0", 2)
            return b"text", key, _inflated(text) if rest[0] else text, language, translated
    except (ValueError, IndexError, zlib.error):
        raise CodecError("the PNG file is damaged") from None
    return kind, body


def _inflated(data: bytes) -> bytes:
    inflate = zlib.decompressobj()
    found = inflate.decompress(data, _LONGEST_TEXT)
    if not inflate.eof:
        raise CodecError("a text of the PNG file is too long, or cut off")
    return found
