"""Entropy coding: interleaved asymmetric numeral systems.

Asymmetric numeral systems (Duda, 2013), with the states of several lanes interleaved in one stream
(Giesen, 2014). Symbol k belongs to lane k mod M. A lane's state x lies in 2^31 … 2^63 - 1. To
decode a symbol of frequency f that begins at F of 2^P::

    number = x mod 2^P              which F … F + f - 1 has, and so the symbol
    x = f · ⌊x / 2^P⌋ + number - F
    if x < 2^31:  x = 2^32 · x + the next word of the stream

The encoder does the inverse, from the last symbol to the first, with states that begin at 2^31. The
stream begins with the states of all lanes, 8 bytes each, followed by words of 4 bytes, all little
endian. A decoder ends with the states 2^31 and no words left; if not, the stream is damaged.
"""

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nextpixel.codec.errors import CodecError
from nextpixel.codec.frequencies import Cumulative, precision

__all__ = ["MOST_LANES", "Decoder", "encode", "lanes_for"]

Integers = NDArray[np.int64]

MOST_LANES = 64
_LOWEST = 1 << 31
_FEW = 8  # up to so many lanes, plain integers are faster than arrays
_DAMAGED = "the compressed data is damaged"


def lanes_for(bits: float) -> int:
    """How many lanes a stream of so many bits gets: their states cost 0.1 % at most."""
    return int(np.clip(bits / 8 // 8000, 1, MOST_LANES))


def encode(starts: Integers, sizes: Integers, levels: int, lanes: int) -> bytes:
    """The stream of symbols, in the order in which they will be decoded.

    Args:
        starts, sizes: where each symbol's numbers begin, and its frequency, (n,).
        levels: number of values, which decides P.
        lanes: M.
    """
    places, words = precision(levels), []
    states = np.full(lanes, _LOWEST, dtype=np.int64)
    if lanes <= _FEW:
        return _one_by_one(starts.tolist(), sizes.tolist(), places, states.tolist())
    for begin in reversed(range(0, len(starts), lanes)):
        start, size = starts[begin : begin + lanes], sizes[begin : begin + lanes]
        x = states[: len(start)]
        full = (x >> 63 - places) >= size
        words.append((x[full] & 0xFFFFFFFF).astype("<u4"))
        x = np.where(full, x >> 32, x)
        quotient, remainder = np.divmod(x, size)
        states[: len(start)] = (quotient << places) + remainder + start
    return b"".join([states.astype("<u8").tobytes(), *(part.tobytes() for part in words[::-1])])


def _one_by_one(starts: list[int], sizes: list[int], places: int, states: list[int]) -> bytes:
    """As `encode`, without arrays."""
    words, lanes = [], len(states)
    for k in range(len(starts) - 1, -1, -1):
        size, x = sizes[k], states[k % lanes]
        if x >> 63 - places >= size:
            words.append(x & 0xFFFFFFFF)
            x >>= 32
        states[k % lanes] = (x // size << places) + x % size + starts[k]
    return np.array(states, "<u8").tobytes() + np.array(words[::-1], "<u4").tobytes()


class Decoder:
    """Decodes symbols in the order of `encode`.

    Args:
        stream: what `encode` gave.
        levels, lanes: as there.

    Raises:
        CodecError: the stream cannot be one of `encode`.
    """

    def __init__(self, stream: bytes, levels: int, lanes: int) -> None:
        if len(stream) < 8 * lanes or len(stream) % 4:
            raise CodecError(_DAMAGED)
        self._places, self._lanes = precision(levels), lanes
        states = np.frombuffer(stream, "<u8", lanes)
        if ((states < _LOWEST) | (states >> 63 > 0)).any():
            raise CodecError(_DAMAGED)
        self._states = states.astype(np.int64)
        self._words = np.frombuffer(stream, "<u4", offset=8 * lanes).astype(np.int64)
        self._read, self._lane = 0, 0

    def decode(self, distributions: Cumulative) -> Integers:
        """The next n symbols, of n sites."""
        if self._lanes <= _FEW:
            return self._one_by_one(distributions)
        values, done = np.empty(len(distributions), dtype=np.int64), 0
        while done < len(values):
            some = slice(done, min(len(values), done + self._lanes - self._lane))
            values[some] = self._together(distributions.part(some))
            done = some.stop
        return values

    def finish(self) -> None:
        """Raises CodecError unless everything was decoded."""
        if self._read != len(self._words) or (self._states != _LOWEST).any():
            raise CodecError(_DAMAGED)

    def _together(self, distributions: Cumulative) -> Integers:
        lanes = slice(self._lane, self._lane + len(distributions))
        x = self._states[lanes]
        numbers = x & (1 << self._places) - 1
        values, bounds = distributions.find(numbers)
        x = (bounds[:, 1] - bounds[:, 0]) * (x >> self._places) + numbers - bounds[:, 0]
        low = x < _LOWEST
        words = self._words[self._read : self._read + np.count_nonzero(low)]
        self._read += int(np.count_nonzero(low))
        if self._read > len(self._words):
            raise CodecError(_DAMAGED)
        x[low] = (x[low] << 32) + words
        self._states[lanes] = x
        self._lane = lanes.stop % self._lanes
        return values

    def _one_by_one(self, distributions: Cumulative) -> Integers:
        mask, places, lane = (1 << self._places) - 1, self._places, self._lane
        states, values = self._states.tolist(), []
        for of_site in distributions.rows():
            row: Sequence[int] = memoryview(of_site)  # its items are plain integers
            x = states[lane]
            number = x & mask
            value = bisect_right(row, number) - 1
            x = (row[value + 1] - row[value]) * (x >> places) + number - row[value]
            if x < _LOWEST:
                if self._read == len(self._words):
                    raise CodecError(_DAMAGED)
                x = (x << 32) + int(self._words[self._read])
                self._read += 1
            states[lane] = x
            lane = (lane + 1) % self._lanes
            values.append(value)
        self._states[:], self._lane = states, lane
        return np.array(values, dtype=np.int64)
