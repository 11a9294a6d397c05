"""From a picture's file to the integers that a model codes, and back: nothing is lost unsaid.

A file is coded if the file that will be restored has the same pixels, mode and metadata, which is
tried before: the file is made and read again. A PNG file must also have the same chunks, which are
stored as they are, and a BMP or PPM file the same bytes, because Pillow passes over what it does
not know. Other files are kept as they are, byte for byte, such as those of lossy formats,
animations, palettes, deep colours, or values that the model does not know. Of a PNG file that is
coded, only how its pixels were stored is not kept.
"""

import base64
import io
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError, features
from torch import Tensor

from nextpixel.codec.chunks import Chunk, PngParts, is_whole, png_parts, with_chunks
from nextpixel.codec.container import MOST_SITES
from nextpixel.codec.errors import CodecError
from nextpixel.data.reading import known_formats

__all__ = [
    "AS_IT_IS",
    "SUFFIXES",
    "FilePicture",
    "Head",
    "head_of",
    "pixels_of",
    "read_picture",
    "restored_file",
    "shown",
]

_FORMATS = {"PNG": ".png", "BMP": ".bmp", "PPM": ".ppm"}
"""Lossless formats that are written again; PPM is also that of .pgm and .pbm."""

SUFFIXES = {
    *(".png", ".bmp", ".ppm", ".pgm", ".pbm", ".pnm", ".jpg", ".jpeg", ".webp", ".gif", ".tif"),
    *(".tiff", ".avif", ".jp2", ".tga", ".ico", ".apng", ".heic", ".jxl"),
}
"""The suffixes by which pictures are found in a folder."""

_METADATA = "metadata that cannot be written again"

_UNUSUAL = "comments, more pictures or a header that cannot be written again"

AS_IT_IS = "file"
"""The note of a file that is kept as it is."""


@dataclass(frozen=True)
class FilePicture:
    """A picture's file.

    Attributes:
        data: the bytes of the file.
        values: bytes (C, H, W), the integers of the model, or None if the file is kept as it is.
        note: how the file is made again.
        reason: why it is kept as it is.
        png_bytes: of the picture as a PNG file, if it is coded.
        webp_bytes: of the picture as a lossless WebP file; None if Pillow cannot write it.
    """

    data: bytes
    values: Tensor | None = None
    note: str = AS_IT_IS
    reason: str = ""
    png_bytes: int = 0
    webp_bytes: int | None = None


def read_picture(path: Path, channels: int, levels: int) -> FilePicture:
    """Reads a picture for a model.

    Raises:
        CodecError: the file is no picture.
        OSError: it cannot be read.
    """
    data = path.read_bytes()
    try:
        with _opened(io.BytesIO(data)) as picture:
            reason = _kept_because(picture, channels, data)
            if reason:
                return FilePicture(data, reason=reason)
            picture.load()
            return _coded(data, picture, channels, levels)
    except UnidentifiedImageError:  # Pillow names its object, which says nothing to a user
        raise CodecError(
            f"{path} cannot be read as a picture (unknown or damaged format); leave it out"
        ) from None
    except (OSError, ValueError, SyntaxError) as error:
        if isinstance(error, ValueError) and is_whole(data):  # such as texts of more than 1 MiB
            return FilePicture(data, reason=f"Pillow does not read them ({error})")
        raise CodecError(f"{path} cannot be read as a picture ({error}); leave it out") from None
    except Image.DecompressionBombError:
        return FilePicture(data, reason="it is too large")


@contextmanager
def _opened(file: Path | io.BytesIO) -> Iterator[Image.Image]:
    """A picture; what Pillow warns of, such as many pixels, is decided here without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        picture = Image.open(file, formats=known_formats())
    with picture:
        yield picture


@dataclass(frozen=True)
class Head:
    """What a picture that a model may code says before its pixels are read.

    Attributes:
        channels: of models that may code it; the first keeps all that it holds.
        pixels: how many there are.
        bits: whether they are black or white.
    """

    channels: tuple[int, ...]
    pixels: int
    bits: bool


def head_of(path: Path) -> Head | None:
    """The head of a picture; None if no model can code it.

    Raises:
        OSError: the file cannot be read, or is no picture.
    """
    with _opened(path) as picture:
        found = _CHANNELS.get(picture.mode)
        if found is None or picture.format not in _FORMATS:
            return None
        return Head(found, picture.width * picture.height, bits=picture.mode == "1")


def pixels_of(path: Path, channels: int) -> NDArray[np.uint8] | None:
    """The bytes (C, H, W) that files show, of a picture that a model may code; None of others.

    Opacity that is the same everywhere is left out.
    """
    try:
        data = path.read_bytes()
        with _opened(io.BytesIO(data)) as picture:
            if _kept_because(picture, channels, data):
                return None
            planes = np.asarray(picture)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    planes = planes.astype(np.uint8) * 255 if planes.dtype == np.bool_ else planes
    planes = planes[None] if planes.ndim == 2 else planes.transpose(2, 0, 1)
    beside = planes[channels:]
    return None if beside.size and (beside != beside.flat[0]).any() else planes[:channels]


def _kept_because(picture: Image.Image, channels: int, data: bytes) -> str:
    """Why a file is kept as it is, "" if it may be coded."""
    if picture.format not in _FORMATS:
        return f"the format is {picture.format}"
    if getattr(picture, "n_frames", 1) > 1:
        return "an animation"
    if picture.width * picture.height * channels > MOST_SITES:
        return "it is too large"
    if channels not in _CHANNELS.get(picture.mode, ()):
        taken = _TAKEN.get(channels, f"{channels} channels")
        if (held := _HELD.get(picture.mode)) is not None and picture.mode in _CHANNELS:
            return f"the pixels are {held}, and the model's {taken}"
        return f"the pixels are {held or picture.mode}"
    if _is_png(picture) and data[_DEPTH] == 16:  # Pillow drops the lower bytes of its colours
        return "the pixels have 16 bits"
    return ""


_CHANNELS = {"1": (1,), "L": (1,), "LA": (1,), "RGB": (3,), "RGBA": (4, 3)}
"""How many channels a model of pictures of a mode has. Opacity that is the same everywhere needs
none."""
_HELD = {
    "1": "black and white",
    "L": "grey",
    "LA": "grey with opacity",
    "RGB": "RGB",
    "RGBA": "RGB with opacity",
    "P": "numbers of a palette",
    "PA": "numbers of a palette",
    "I;16": "grey of 16 bits",
    "I;16B": "grey of 16 bits",
    "I": "grey of 32 bits",
    "F": "real numbers",
}
_TAKEN = {1: "grey", 3: "RGB", 4: "RGB with opacity"}
_DEPTH = 24
"""Where a PNG file says how many bits a value has."""


def _coded(data: bytes, picture: Image.Image, channels: int, levels: int) -> FilePicture:
    pixels = np.asarray(picture)
    planes = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    planes, beside = planes[:channels], planes[channels:]
    if beside.size and (beside != beside.flat[0]).any():
        return FilePicture(data, reason="the opacity varies")
    values = _values(planes, levels)
    if values is None:
        return FilePicture(data, reason=f"values other than the model's {levels} levels")
    x = torch.from_numpy(np.ascontiguousarray(values, dtype=np.uint8))
    try:
        parts = png_parts(data) if _is_png(picture) else None
        note = _note(picture, parts, int(beside.flat[0]) if beside.size else None)
        again = restored_file(x, note, levels)
        second_parts = png_parts(again) if parts is not None else None
    except CodecError as error:
        return FilePicture(data, reason=error.sentence)
    with Image.open(io.BytesIO(again), formats=list(_FORMATS)) as second:
        second.load()
        same = (
            second.mode == picture.mode
            and second.size == picture.size
            and second.format == picture.format
            and second.tobytes() == picture.tobytes()
        )
    if parts is None or second_parts is None:
        if not same or again != data:
            return FilePicture(data, reason=_UNUSUAL)
    elif not same or not parts.says_the_same(second_parts):
        return FilePicture(data, reason=_METADATA)
    png = len(again) if _is_png(picture) else len(_saved(picture, "PNG"))
    return FilePicture(data, x, note, png_bytes=png, webp_bytes=_webp_bytes(picture))


def _is_png(picture: Image.Image) -> bool:
    return picture.format == "PNG"


def _saved(picture: Image.Image, kind: str, **keywords: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **keywords)
    return file.getvalue()


def _webp_bytes(picture: Image.Image) -> int | None:
    """The size as a lossless WebP file; None if Pillow cannot write it."""
    if not features.check("webp") or max(picture.size) > _LONGEST_WEBP:
        return None
    colours = picture if picture.mode in ("RGB", "RGBA") else picture.convert("RGB")
    return len(_saved(colours, "WEBP", lossless=True, exif=b"", icc_profile=b""))


_LONGEST_WEBP = 16_383


def _values(pixels: NDArray[Any], levels: int) -> NDArray[Any] | None:
    """The levels of shown values, or None if some value shows no level."""
    if pixels.dtype == np.bool_:
        return pixels.astype(np.uint8) if levels == 2 else None
    if pixels.dtype != np.uint8:
        return None
    if levels > 256:
        return None
    found, known = np.zeros(256, np.uint8), np.zeros(256, np.bool_)
    found[shown(levels)], known[shown(levels)] = np.arange(levels), True
    return found[pixels] if known[pixels].all() else None


def shown(levels: int) -> NDArray[np.int64]:
    """How levels are shown in files of 256: black to white, as everywhere in nextpixel."""
    values: NDArray[np.int64] = np.rint(np.arange(levels) * (255 / (levels - 1))).astype(np.int64)
    return values


def _note(picture: Image.Image, parts: PngParts | None, alpha: int | None) -> str:
    """What `restored_file` needs beside the values: "" for a PNG without metadata."""
    said: dict[str, Any] = {}
    if not _is_png(picture):
        said["format"] = picture.format
        if "dpi" in picture.info:
            said["dpi"] = [float(number) for number in picture.info["dpi"]]
    if picture.mode == "1":
        said["mode"] = "1"
    if alpha is not None:
        said["alpha"] = alpha
    for name, chunks in () if parts is None else (("before", parts.before), ("after", parts.after)):
        if chunks:
            said[name] = [[kind.decode("latin-1"), _base64(body)] for kind, body in chunks]
    return json.dumps(said, separators=(",", ":"), sort_keys=True) if said else ""


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _chunks_of(said: Any) -> list[Chunk]:
    """The chunks in a note; those that say how pixels are stored cannot be among them."""
    chunks = [(kind.encode("ascii"), base64.b64decode(body, validate=True)) for kind, body in said]
    for kind, _ in chunks:
        if len(kind) != 4 or not kind.isalpha() or kind in (b"IHDR", b"IDAT", b"IEND"):
            raise ValueError(f"a chunk {kind!r:.20}")
    return chunks


def restored_file(x: Tensor, note: str, levels: int) -> bytes:
    """The file of a picture (C, H, W), as its note says.

    Raises:
        CodecError: the note is damaged.
    """
    try:
        said = json.loads(note) if note else {}
        if unknown := said.keys() - _KEYS:
            raise ValueError(f"{min(unknown)!r:.40} is unknown")
        if type(alpha := said.get("alpha", 0)) is not int:
            raise TypeError(f"an opacity of {alpha!r:.40}")
        pixels = shown(levels)[x.numpy()].astype(np.uint8).transpose(1, 2, 0)
        if "alpha" in said:
            opacity = np.full_like(pixels[:, :, :1], alpha)
            pixels = np.concatenate([pixels, opacity], axis=2)
        picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
        if said.get("mode") == "1":
            picture = picture.convert("1")
        kind = said.get("format", "PNG")
        if kind not in _FORMATS:
            raise ValueError(kind)
        dpi = {"dpi": tuple(said["dpi"])} if "dpi" in said else {}
        data = _saved(picture, kind, **dpi)
        chunks = [_chunks_of(said.get(name, ())) for name in ("before", "after")]
        return with_chunks(data, *chunks) if any(chunks) and kind == "PNG" else data
    except _NO_NOTE as error:
        raise CodecError(f"the compressed data is damaged: a note is not one ({error})") from None


_KEYS = {"format", "dpi", "mode", "alpha", "before", "after"}
_NO_NOTE = (
    *(ValueError, TypeError, LookupError, AttributeError, OverflowError, OSError),
    *(RecursionError, SystemError),
)
"""What Pillow and json raise of a note that somebody invented."""
