"""Compress images without loss, and restore them exactly.

The compressed size is that of the likelihood: -log2 p(x) bits, and about ten bytes for every block
of images. See docs/concepts/lossless-codec.md.
"""

import io
import struct
import zlib

import numpy as np
import torch
from jaxtyping import Int64, Shaped
from torch import Tensor

from nextpixel.codec.container import (
    CODED,
    MOST_SITES,
    PLAIN,
    Entry,
    Fields,
    Header,
    Reader,
    Writer,
    varint,
)
from nextpixel.codec.errors import CodecError
from nextpixel.codec.exact import exact, fingerprint
from nextpixel.codec.streams import Stream, decode_images, encode_images
from nextpixel.conditions.kinds import Condition
from nextpixel.conditions.values import Values, ValuesLike, broadcast, index
from nextpixel.errors import UsageError
from nextpixel.models.autoencoder import PixelCNNAutoencoder
from nextpixel.models.core import ImageModel, check_values

__all__ = ["Coder", "compress", "decompress", "images_together"]


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
        together: how many images are coded as one block. Each costs about 16 bytes beside its
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
    check_values(model, images)
    if together is not None and together < 1:
        raise UsageError(f"‹together={together}› must be at least 1")
    values = _values(model, images, condition)
    coder = Coder(model)
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
    parts = [coder.decode(*reader.block(k)) for k in range(len(reader.entries))]
    if len({part.shape[1:] for part in parts}) > 1:
        raise CodecError("the images differ in size; restore them with nextpixel decompress")
    if any(len(part) != len(there) for part, there in zip(parts, reader.entries, strict=True)):
        raise CodecError("the compressed data's index is damaged")
    blank = torch.zeros(0, model.channels, 0, 0, dtype=torch.int64)
    return torch.cat(parts) if parts else blank


def images_together(sites: int) -> int:
    """How many images of so many sub-pixels make a block: the larger, the fewer."""
    return min(64, max(1, (1 << 18) // sites))


class Coder:
    """Blocks of images of one size, with one model.

    Args:
        model: any model of nextpixel.
    """

    def __init__(self, model: ImageModel) -> None:
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
        if images.numel() == 0 or images.numel() > MOST_SITES:
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

    def decode(self, kind: int, body: bytes) -> Tensor:
        """The images of a block, on the CPU."""
        fields = Fields(body)
        batch, height, width = (fields.varint() for _ in range(3))
        sites = batch * height * width * self.model.channels
        if max(sites, batch, height, width) > MOST_SITES or kind not in (CODED, PLAIN):
            raise CodecError("the compressed data is damaged")
        shape = batch, self.model.channels, height, width
        if kind == PLAIN:
            return self._from_plain(fields.bytes(), shape)
        lags = tuple(fields.varint() for _ in self.model.scales())
        lanes, length = fields.varint(), fields.varint()
        size = height, width
        values = unpack_values(fields.bytes(length), self.model.conditions, batch, size)
        checksum = fields.bytes(4)
        stream = Stream(lags, lanes, fields.bytes())
        images = decode_images(self.model, stream, batch, size, values).cpu()
        if self._checksum(images) != checksum:
            raise CodecError("the compressed data is damaged: its images have another checksum")
        return images

    def _size(self, images: Tensor) -> bytes:
        return b"".join(map(varint, (len(images), *images.shape[2:])))

    def _plain(self, images: Tensor) -> bytes:
        dtype = "u1" if self.model.levels <= 256 else "<u2"
        return images.cpu().numpy().astype(dtype).tobytes()

    def _checksum(self, images: Tensor) -> bytes:
        return struct.pack("<I", zlib.crc32(self._plain(images)))

    def _from_plain(self, data: bytes, shape: tuple[int, ...]) -> Tensor:
        dtype = np.dtype("u1" if self.model.levels <= 256 else "<u2")
        found = inflated(data, int(np.prod(shape)) * dtype.itemsize)
        values = np.frombuffer(found, dtype).reshape(shape).astype(np.int64)
        if values.size and values.max() >= self.model.levels:
            raise CodecError("the compressed data is damaged")
        return torch.from_numpy(values)


def _values(model: ImageModel, images: Tensor, condition: ValuesLike) -> Values:
    """The values of a batch; an auto-encoder has codes of its own."""
    size = images.shape[2], images.shape[3]
    if condition is None and isinstance(model, PixelCNNAutoencoder) and len(images):
        with torch.no_grad():
            return tuple(value.float().cpu() for value in model.infer(images, ()))
    return broadcast(model.conditions, condition, len(images), size, torch.device("cpu"))


_TYPES = ("<i1", "<i2", "<i4", "<i8", "<f4", "<f8")


def pack_values(values: Values) -> bytes:
    """The values of conditions, each after its type; all deflated."""
    parts = []
    for value in values:
        array = value.cpu().double().numpy() if value.is_floating_point() else value.cpu().numpy()
        names = _TYPES[4 if value.dtype != torch.float64 else 5 :]
        if not value.is_floating_point():
            names = tuple(name for name in _TYPES[:4] if np.array_equal(array.astype(name), array))
        parts += [bytes([_TYPES.index(names[0])]), array.astype(names[0]).tobytes()]
    return zlib.compress(b"".join(parts), 9) if parts else b""


def unpack_values(
    data: bytes, conditions: tuple[Condition, ...], batch: int, size: tuple[int, int]
) -> Values:
    """The values of `pack_values`.

    Raises:
        CodecError: they are not of these conditions.
    """
    if not conditions:
        if data:
            raise CodecError("the compressed data is damaged")
        return ()
    values = []
    shapes = [part.shape(batch, size) for part in conditions]
    counts = [int(np.prod(shape)) for shape in shapes]
    if sum(counts) > MOST_SITES:
        raise CodecError("the compressed data is damaged")
    fields = Fields(inflated(data, None, most=sum(9 * count + 1 for count in counts)))
    for shape, count in zip(shapes, counts, strict=True):
        kind = fields.bytes(1)[0]
        if kind >= len(_TYPES):
            raise CodecError("the compressed data is damaged")
        array = np.frombuffer(fields.bytes(count * np.dtype(_TYPES[kind]).itemsize), _TYPES[kind])
        native = array.astype(array.dtype.newbyteorder("="))
        value = torch.from_numpy(native.reshape(shape))
        values.append(value if value.is_floating_point() else value.long())
    if fields.bytes():
        raise CodecError("the compressed data is damaged")
    return tuple(values)


def inflated(data: bytes, length: int | None, *, most: int = 0) -> bytes:
    """Deflated data of a length, or of at most so much.

    Raises:
        CodecError: it is none, or of another length.
    """
    inflate = zlib.decompressobj()
    try:
        found = inflate.decompress(data, (most if length is None else length) + 1)
    except zlib.error:
        raise CodecError("the compressed data is damaged") from None
    if not inflate.eof or inflate.unused_data or (length is not None and len(found) != length):
        raise CodecError("the compressed data is damaged")
    return found
