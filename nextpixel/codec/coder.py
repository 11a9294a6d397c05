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

from collections.abc import Sequence
from itertools import cycle, islice

import numpy as np

from nextpixel.codec.cumulative import Cumulative, Integers, blocks, precision
from nextpixel.codec.errors import CodecError

__all__ = ["MOST_LANES", "Decoder", "encode", "lanes_for"]

MOST_LANES = 64
_LOWEST = 1 << 31
_AT_ONCE = 1 << 14
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
    places, words, states = precision(levels), [], [_LOWEST] * lanes
    order = islice(cycle(range(lanes - 1, -1, -1)), -len(starts) % lanes, None)
    # Plain integers, because arrays of so few lanes take longer, and some of them at a time.
    for stop in range(len(starts), 0, -_AT_ONCE):
        part = slice(max(0, stop - _AT_ONCE), stop)
        start, size = starts[part][::-1], sizes[part][::-1]
        columns = start, size, size << 63 - places, (1 << places) - size
        symbols = zip(*(column.tolist() for column in columns), strict=True)
        for (begin, frequency, full, rest), lane in zip(symbols, order, strict=False):
            x = states[lane]
            if x >= full:
                words.append(x & 0xFFFFFFFF)
                x >>= 32
            states[lane] = x + x // frequency * rest + begin
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
        self._states: list[int] = states.tolist()
        words = np.frombuffer(stream, "<u4", offset=8 * lanes).astype(np.uint32)
        self._words: Sequence[int] = words.data  # its items are plain integers
        self._read, self._lane = 0, 0

    def decode(self, distributions: Cumulative) -> Integers:
        """The next n symbols, of n sites."""
        values: list[int] = []
        for part in blocks(len(distributions), distributions.levels):
            self._decode(distributions.part(part), values)
        return np.array(values, dtype=np.int64)

    def finish(self) -> None:
        """Raises CodecError unless everything was decoded."""
        if self._read != len(self._words) or self._states != [_LOWEST] * self._lanes:
            raise CodecError(_DAMAGED)

    def _decode(self, distributions: Cumulative, values: list[int]) -> None:
        """Appends the symbols of some sites."""
        find, mask, places = distributions.finder(), (1 << self._places) - 1, self._places
        states, lanes, lane = self._states, self._lanes, self._lane
        for site in range(len(distributions)):
            x = states[lane]
            number = x & mask
            value, low, high = find(site, number)
            x = (high - low) * (x >> places) + number - low
            if x < _LOWEST:
                if self._read == len(self._words):
                    raise CodecError(_DAMAGED)
                x = (x << 32) + self._words[self._read]
                self._read += 1
            states[lane] = x
            lane += 1
            if lane == lanes:
                lane = 0
            values.append(value)
        self._lane = lane
