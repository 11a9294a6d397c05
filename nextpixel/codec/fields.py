"""Numbers and texts one after another in bytes."""

from nextpixel.codec.errors import CodecError

__all__ = ["Fields", "text", "varint"]

_DAMAGED = "the compressed data is damaged"


def varint(number: int) -> bytes:
    """A non-negative integer, seven bits a byte, lowest first; the highest bit says "more"."""
    digits = bytearray()
    while number >= 128:
        digits.append(number % 128 + 128)
        number //= 128
    return bytes([*digits, number])


def text(string: str) -> bytes:
    """A string in UTF-8, after its length."""
    data = string.encode()
    return varint(len(data)) + data


class Fields:
    """Reads what was written one after another.

    Raises:
        CodecError: there is less than is asked for, or something else.
    """

    def __init__(self, data: bytes) -> None:
        self._data, self.at = memoryview(data), 0

    def bytes(self, count: int | None = None) -> bytes:
        """So many bytes, or all that are left."""
        count = len(self._data) - self.at if count is None else count
        if count > len(self._data) - self.at:
            raise CodecError(_DAMAGED)
        self.at += count
        return bytes(self._data[self.at - count : self.at])

    def varint(self) -> int:
        """An integer below 2^63."""
        number = 0
        for shift in range(0, 63, 7):
            digit = self.bytes(1)[0]
            number += (digit & 127) << shift
            if digit < 128:
                return number
        raise CodecError(_DAMAGED)

    def text(self) -> str:
        """A string, after its length."""
        try:
            return self.bytes(self.varint()).decode()
        except UnicodeDecodeError:
            raise CodecError(_DAMAGED) from None
