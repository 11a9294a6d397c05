"""Compress images without loss, and restore them exactly.

The compressed size is that of the likelihood: -log2 p(x) bits, and about ten bytes for every block
of images. See docs/concepts/lossless-codec.md.
"""

import io
import math
import struct
import zlib

import numpy as np
import torch
from jaxtyping import Int64, Shaped
from torch import Tensor

from nextpixel.border import Admitted, admit, admit_images
from nextpixel.codec.container import CODED, FILE, MOST_SITES, PLAIN, Header, Reader, Writer
from nextpixel.codec.cumulative import MOST_LEVELS
from nextpixel.codec.entries import Entry
from nextpixel.codec.errors import CodecError
from nextpixel.codec.exact import exact, fingerprint
from nextpixel.codec.fields import Fields, varint
from nextpixel.codec.streams import Stream, bytes_held, decode_images, encode_images
from nextpixel.conditions.kinds import Condition
from nextpixel.conditions.values import Values, ValuesLike, broadcast, index
from nextpixel.errors import UsageError
from nextpixel.models.autoencoder import PixelCNNAutoencoder
from nextpixel.models.core import ImageModel
from nextpixel.settings.codec import MOST_TOGETHER, CompressConfig

__all__ = ["Coder", "compress", "decompress", "images_together", "unpack_values"]


_MOST_BYTES = 1 << 32
"""What the layers may hold of the images of a block."""
_LONGEST_SIDE = 1 << 16
"""Of images that are coded; where a pixel is costs work for each row and column."""


def compress(
    model: ImageModel,
    images: Shaped[Tensor, "B C H W"],
    condition: ValuesLike = None,
    *,
    together: int | None = None,
) -> bytes:
    """Compresses images so that `decompress` restores them on any machine.

    Args:
        model: any model of nextpixel; `decompress` needs the same weights.
        images: integers 0 … levels-1.
        condition: a value for each image, or one for all; they are stored as well. None for an
            unconditional model; an auto-encoder then stores the images' codes.
        together: how many images are coded as one block. Each costs about 25 bytes beside its
            images, and is decoded as a whole. By default up to 64 small images, and large ones by
            themselves.

    Raises:
        ValueError: the images or the condition do not fit the model, or the model is none whose
            arithmetic can be made exact.
        TypeError: the images are not integers.

    Example:
        >>> import nextpixel
        >>> model = nextpixel.load("mnist-gated-pixel-cnn")
        >>> digits = nextpixel.sample(model, 2, (28, 28))
        >>> data = compress(model, digits)
        >>> torch.equal(decompress(model, data), digits)
        True
    """
    CompressConfig(together=together)  # raises if it is out of range
    network, images, values, _ = _admitted(model, images, condition)
    coder = Coder(network)
    file = io.BytesIO()
    writer = Writer(file, coder.header())
    at_once = together or images_together(images[0].numel() if len(images) else 1)
    for start in range(0, len(images), at_once):
        part = slice(start, start + at_once)
        kind, body = coder.encode(images[part], index(values, part))
        writer.add(kind, body, [Entry()] * len(images[part]))
    writer.finish()
    return file.getvalue()


def decompress(model: ImageModel, data: bytes) -> Int64[Tensor, "B C H W"]:
    """The images that `compress` was given, on the CPU.

    Args:
        model: the one that compressed them.
        data: the bytes.

    Raises:
        CodecError: the data is of another model, damaged, truncated or foreign, or its images
            differ in size.
    """
    reader = Reader(io.BytesIO(data))
    coder = Coder(model)
    coder.check(reader.header)
    parts = [
        coder.decode(*reader.block(number), len(entries))
        for number, entries in enumerate(reader.entries)
        if entries  # a block without is a model
    ]
    if len({part.shape[1:] for part in parts}) > 1:
        raise CodecError("the images differ in size; restore them with nextpixel decompress")
    blank = torch.zeros(0, model.channels, 0, 0, dtype=torch.int64, device="cpu")
    return torch.cat(parts) if parts else blank


def images_together(sites: int) -> int:
    """How many images of so many sub-pixels make a block: the larger, the fewer."""
    return min(64, max(1, (1 << 18) // sites))


class Coder:
    """Blocks of images of one size, with one model.

    Args:
        model: any model of nextpixel of at most 65,536 levels.

    Raises:
        UsageError: it has more levels, or its arithmetic cannot be made exact.
    """

    def __init__(self, model: ImageModel) -> None:
        if model.levels > MOST_LEVELS:
            raise UsageError(
                f"the model has levels={model.levels}, and values are stored in two bytes; compress"
                f" with a model of at most {MOST_LEVELS} levels"
            )
        self.model = exact(model)
        self._fingerprint = fingerprint(self.model)

    def header(self, name: str = "") -> Header:
        """What a file of this model begins with."""
        return Header(self._fingerprint, self.model.channels, self.model.levels, name)

    def check(self, header: Header) -> None:
        """Raises CodecError unless a file was compressed with this model."""
        mine = self.header()
        if header.fingerprint != mine.fingerprint:
            named = f" {header.model}," if header.model else ""
            raise CodecError(
                f"this was compressed with another model,{named} of fingerprint"
                f" {header.fingerprint.hex()}, not {mine.fingerprint.hex()}; give that model"
            )
        if (header.channels, header.levels) != (mine.channels, mine.levels):
            raise CodecError("the compressed data's header is damaged")

    def encode(self, images: Tensor, values: Values) -> tuple[int, bytes]:
        """Kind and body of a block of images (B, C, H, W); never longer than the plain one."""
        plain = self._size(images) + zlib.compress(self._plain(images), 9)
        size = images.shape[2], images.shape[3]
        if images.numel() == 0 or images.numel() > MOST_SITES or self._too_wide(len(images), size):
            return PLAIN, plain
        stream = encode_images(self.model, images, values)
        conditions = pack_values(values)
        body = b"".join(
            [
                self._size(images),
                *map(varint, [*stream.lags, stream.lanes, len(conditions)]),
                conditions,
                self._checksum(images),
                stream.data,
            ]
        )
        return (CODED, body) if len(body) <= len(plain) else (PLAIN, plain)

    def decode(self, kind: int, body: bytes, count: int) -> Tensor:
        """The images of a block, on the CPU, of which the index says that there are so many."""
        if kind == FILE:
            raise CodecError("there are files that are kept as they are; use nextpixel decompress")
        fields = Fields(body)
        batch, height, width = (fields.varint() for _ in range(3))
        sites = batch * height * width * self.model.channels
        if (
            batch != count
            or batch > MOST_TOGETHER
            or max(sites, batch, height, width) > MOST_SITES
            or kind not in ((CODED, PLAIN) if sites else (PLAIN,))
        ):
            raise CodecError("the compressed data is damaged")
        shape = batch, self.model.channels, height, width
        if kind == PLAIN:
            return self._from_plain(fields.bytes(), shape)
        lags = tuple(fields.varint() for _ in self.model.scales())
        lanes, length = fields.varint(), fields.varint()
        size = height, width
        if self._too_wide(batch, size):
            raise CodecError(
                "the compressed data is damaged: its images and its model would take more than"
                f" {_MOST_BYTES >> 30} GiB, or a side is longer than {_LONGEST_SIDE:,} pixels"
            )
        values = unpack_values(fields.bytes(length), self.model.conditions, batch, size)
        checksum = fields.bytes(4)
        stream = Stream(lags, lanes, fields.bytes())
        images = decode_images(self.model, stream, batch, size, values).cpu()
        if self._checksum(images) != checksum:
            raise CodecError("the compressed data is damaged: its images have another checksum")
        return images

    def _too_wide(self, batch: int, size: tuple[int, int]) -> bool:
        """Whether a block would need more memory or preparation than is spent on any."""
        return max(size) > _LONGEST_SIDE or bytes_held(self.model, batch, size) > _MOST_BYTES

    def _size(self, images: Tensor) -> bytes:
        return b"".join(map(varint, (len(images), *images.shape[2:])))

    def _plain(self, images: Tensor) -> bytes:
        dtype = "u1" if self.model.levels <= 256 else "<u2"
        return images.cpu().numpy().astype(dtype).tobytes()

    def _checksum(self, images: Tensor) -> bytes:
        return struct.pack("<I", zlib.crc32(self._plain(images)))

    def _from_plain(self, data: bytes, shape: tuple[int, ...]) -> Tensor:
        dtype = np.dtype("u1" if self.model.levels <= 256 else "<u2")
        found = _inflated(data, math.prod(shape) * dtype.itemsize)
        values = np.frombuffer(found, dtype).reshape(shape).astype(np.int64)
        if values.size and values.max() >= self.model.levels:
            raise CodecError("the compressed data is damaged")
        return torch.from_numpy(values)


def _admitted(model: ImageModel, images: Tensor, condition: ValuesLike) -> Admitted:
    """What a model takes; an auto-encoder has codes of its own."""
    network, x, _ = admit_images(model, images)
    if condition is None and isinstance(network, PixelCNNAutoencoder) and len(x):
        with torch.no_grad():
            condition = tuple(value.float() for value in network.infer(x, ()))
    return admit(network, x, condition)


_TYPES = ("<i1", "<i2", "<i4", "<i8", "<f4", "<f8")
_SAME = 128


def pack_values(values: Values) -> bytes:
    """The values of conditions, each after a byte that says their type, and if all are the same."""
    parts = []
    for value in values:
        if value.is_floating_point():
            kind = _TYPES.index("<f8" if value.dtype == torch.float64 else "<f4")
            array = value.cpu().double().numpy()
        else:
            array = value.cpu().numpy()
            kind = next(k for k in range(4) if np.array_equal(array.astype(_TYPES[k]), array))
        stored = array.astype(_TYPES[kind])
        same = all(image.tobytes() == stored[0].tobytes() for image in stored)
        parts += [bytes([kind + _SAME * same]), (stored[:1] if same else stored).tobytes()]
    return b"".join(parts)


def unpack_values(
    data: bytes, conditions: tuple[Condition, ...], batch: int, size: tuple[int, int]
) -> Values:
    """The values of `pack_values`.

    Raises:
        CodecError: they are not of these conditions.
    """
    fields, values = Fields(data), []
    for part in conditions:
        code = fields.bytes(1)[0]
        same, kind = code & _SAME, code & ~_SAME
        shape = part.shape(1 if same else batch, size)
        if kind >= len(_TYPES) or math.prod(part.shape(batch, size)) > MOST_SITES:
            raise CodecError("the compressed data is damaged")
        dtype = np.dtype(_TYPES[kind])
        array = np.frombuffer(fields.bytes(math.prod(shape) * dtype.itemsize), dtype)
        value = torch.from_numpy(array.astype(dtype.newbyteorder("=")).reshape(shape))
        value = value if value.is_floating_point() else value.long()
        values.append(value.expand(part.shape(batch, size)))
    if fields.bytes():
        raise CodecError("the compressed data is damaged")
    try:
        return broadcast(conditions, tuple(values), batch, size, torch.device("cpu"))
    except UsageError as error:
        raise CodecError(f"the compressed data is damaged: {error.sentence}") from None


def _inflated(data: bytes, length: int) -> bytes:
    """Deflated data of a length.

    Raises:
        CodecError: it is none, or of another length.
    """
    inflate = zlib.decompressobj()
    try:
        found = inflate.decompress(data, length + 1)
    except zlib.error:
        raise CodecError("the compressed data is damaged") from None
    if not inflate.eof or inflate.unused_data or len(found) != length:
        raise CodecError("the compressed data is damaged")
    return found
