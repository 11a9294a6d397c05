"""A reader of `.npx` files, written from docs/reference/format.md alone, in Python and NumPy.

It shares no code with nextpixel. Of a model it needs one function: the integer logits of all
sub-pixels of images.
"""

import base64
import json
import math
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Logits = Callable[[Integers], Integers]
"""From images (B, C, H, W) to logits (B, C, L, H, W) in units of 2^-10."""


class Bytes:
    """Fields one after another."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        assert self.at + count <= len(self.data)
        self.at += count
        return self.data[self.at - count : self.at]

    def rest(self) -> bytes:
        return self.take(len(self.data) - self.at)

    def number(self) -> int:
        value, shift = 0, 0
        while True:
            (byte,) = self.take(1)
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def text(self) -> str:
        return self.take(self.number()).decode("utf-8")


@dataclass
class Archive:
    """A file in parts."""

    fingerprint: bytes
    channels: int
    levels: int
    model: str
    blocks: list[tuple[int, bytes]]
    entries: list[list[tuple[str, str]]]


def read(data: bytes) -> Archive:
    start = Bytes(data)
    assert start.take(8) == bytes.fromhex("89 6E 70 78 0D 0A 1A 0A") and start.number() == 1
    fingerprint = start.take(16)
    channels, levels, model = start.number(), start.number(), start.text()
    head = data[: start.at]
    assert start.take(4) == struct.pack("<I", zlib.crc32(head))
    (index_at,) = struct.unpack("<Q", data[-12:-4])
    assert data[-4:] == bytes.fromhex("6E 70 78 0A")
    kind, body = block(data[index_at:-12])
    assert kind in (0, 5)
    numbered = kind == 5
    index = Bytes(body)
    count = index.number()
    lengths = [index.number() for _ in range(count)]
    counts = [index.number() for _ in range(count)]
    entries: list[tuple[str, str]] = []
    while len(entries) < sum(counts):
        run, name, note = index.number(), index.text(), index.text()
        for _ in range(run):
            entries.append((name, note))
            name = following(name)
    assert not index.rest()
    blocks, at = [], start.at
    for number, length in enumerate(lengths):
        blocks.append(block(data[at : at + length], number if numbered else 0))
        at += length
    assert at == index_at
    each = iter(entries)
    return Archive(
        fingerprint,
        channels,
        levels,
        model,
        blocks,
        [[next(each) for _ in range(number)] for number in counts],
    )


def block(data: bytes, number: int = 0) -> tuple[int, bytes]:
    fields = Bytes(data)
    kind, body = fields.number(), fields.take(fields.number())
    assert fields.rest() == struct.pack("<I", zlib.crc32(data[:-4], number))
    return kind, body


def following(name: str) -> str:
    end = len(name)
    while end and not ("0" <= name[end - 1] <= "9"):
        end -= 1
    start = end
    while start and "0" <= name[start - 1] <= "9" and end - start < 18:
        start -= 1
    if start == end:
        return ""
    return name[:start] + str(int(name[start:end]) + 1).zfill(end - start) + name[end:]


def images(archive: Archive, number: int, logits: Logits) -> Integers:
    """The images of a block of kind 1 or 2; the model has one scale, softmax and no condition."""
    kind, body = archive.blocks[number]
    fields = Bytes(body)
    shape = fields.number(), archive.channels, fields.number(), fields.number()
    dtype = np.dtype("u1" if archive.levels <= 256 else "<u2")
    if kind == 2:
        pixels = zlib.decompress(fields.rest())
        return np.frombuffer(pixels, dtype).reshape(shape).astype(np.int64)
    assert kind == 1
    lag, lanes, conditions = fields.number(), fields.number(), fields.number()
    assert conditions == 0
    (checksum,) = struct.unpack("<I", fields.take(4))
    x = decoded(fields.rest(), shape, archive.levels, lag, lanes, logits)
    assert zlib.crc32(x.astype(dtype).tobytes()) == checksum
    return x


def decoded(
    stream: bytes, shape: tuple[int, ...], levels: int, lag: int, lanes: int, logits: Logits
) -> Integers:
    batch, channels, height, width = shape
    places = min(24, 16 + (levels - 1).bit_length())
    states = list(struct.unpack(f"<{lanes}Q", stream[: 8 * lanes]))
    words = iter(struct.unpack(f"<{(len(stream) - 8 * lanes) // 4}I", stream[8 * lanes :]))
    x = np.zeros(shape, np.int64)
    sites = sorted(
        (column + lag * row, colour, row, image, column)
        for image in range(batch)
        for colour in range(channels)
        for row in range(height)
        for column in range(width)
    )
    for n, (_, colour, row, image, column) in enumerate(sites):
        bounds = frequencies(logits(x)[image, colour, :, row, column], levels, places)
        state = states[n % lanes]
        number = state & (1 << places) - 1
        value = max(v for v in range(levels) if bounds[v] <= number)
        state = (bounds[value + 1] - bounds[value]) * (state >> places) + number - bounds[value]
        if state < 1 << 31:
            state = (state << 32) + next(words)
        states[n % lanes] = state
        x[image, colour, row, column] = value
    assert states == [1 << 31] * lanes and next(words, None) is None
    return x


def frequencies(z: Integers, levels: int, places: int) -> list[int]:
    """F(0) … F(L) of a softmax."""
    shift = max(0, (levels - 1).bit_length() - 10)
    table = np.rint(2.0**28 * np.exp(-np.arange(32 * 1024) / 1024)).astype(np.int64)
    table[np.argmax(table == 0) :] = 0
    weights = table[np.minimum(z.max() - z, len(table) - 1)] >> shift
    cumulated = [0, *np.cumsum(weights).tolist()]
    return [
        v + cumulated[v] * ((1 << places) - levels) // cumulated[levels] for v in range(levels + 1)
    ]


def file_of(x: Integers, note: str, levels: int) -> bytes:
    """The file of an image (C, H, W): PNG, with rows that are not filtered, or PPM."""
    said = json.loads(note) if note else {}
    pixels = np.rint(np.arange(levels) * (255 / (levels - 1))).astype(np.uint8)[x]
    if "alpha" in said:
        pixels = np.concatenate([pixels, np.full_like(pixels[:1], said["alpha"])])
    channels, height, width = pixels.shape
    rows = pixels.transpose(1, 2, 0)
    if said.get("format") == "PPM":
        kind = {1: b"P5", 3: b"P6"}[channels]
        return kind + f"\n{width} {height}\n255\n".encode() + rows.tobytes()
    assert said.get("format", "PNG") == "PNG" and "mode" not in said
    header = struct.pack(">IIBBBBB", width, height, 8, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    filtered = b"".join(b"\0" + row.tobytes() for row in rows)
    parts = [
        (b"IHDR", header),
        *chunks(said.get("before", [])),
        (b"IDAT", zlib.compress(filtered)),
        *chunks(said.get("after", [])),
        (b"IEND", b""),
    ]
    packed = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts
    )
    return bytes.fromhex("89 50 4E 47 0D 0A 1A 0A") + b"".join(packed)


def chunks(said: list[list[str]]) -> list[tuple[bytes, bytes]]:
    return [(kind.encode("ascii"), base64.b64decode(body)) for kind, body in said]


def model_of(archive: Archive) -> tuple[dict[str, Any], dict[str, NDArray[np.float64]]]:
    """Class and configuration, and the weights, of the model in the last block."""
    kind, body = archive.blocks[-1]
    assert kind == 4 and not archive.entries[-1]
    fields = Bytes(body)
    said: dict[str, Any] = json.loads(fields.text())
    heads, reals = [], {}
    for _ in range(fields.number()):
        name = fields.text()
        shape, places = [fields.number() for _ in range(fields.number())], fields.number()
        if places == 17:
            reals[name] = np.frombuffer(fields.take(8 * math.prod(shape)), "<f8").reshape(shape)
        else:
            heads.append((name, shape, places))
    tokens = zlib.decompress(fields.take(fields.number()))
    bits = "".join(f"{byte:08b}" for byte in fields.rest())
    signs = iter(bits)
    at = sum(token > 0 for token in tokens)
    values = []
    for token in tokens:
        negative = token > 0 and next(signs) == "1"
        magnitude = token
        if token >= 4:
            lower = (token - 4) // 2 + 1
            magnitude = (2 + (token - 4) % 2 << lower) + int(bits[at : at + lower], 2)
            at += lower
        values.append(-magnitude if negative else magnitude)
    assert len(bits) - at < 8 and "1" not in bits[at:]
    weights, start = {}, 0
    for name, shape, places in heads:
        size = int(np.prod(shape, dtype=np.int64))
        weights[name] = np.array(values[start : start + size]).reshape(shape) / 2.0**places
        start += size
    assert start == len(values)
    return said, weights | reals
