"""From a picture's file to the integers that a model codes, and back: nothing is lost unsaid.

A file is coded if the file that will be restored has the same pixels, mode and metadata, which is
tried before: the file is made and read again. A PNG file must also have the same chunks, and a BMP
or PPM file the same bytes, because Pillow passes over what it does not know. Other files are kept
as they are, byte for byte, such as those of lossy formats, animations, palettes, deep colours, or
values that the model does not know. Of a PNG file that is coded, only how its pixels, texts and
colour profile were stored is not kept.
"""

import base64
import io
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from nextpixel.codec.chunks import png_says
from nextpixel.codec.container import MOST_SITES
from nextpixel.codec.errors import CodecError
from nextpixel.data.reading import known_formats

__all__ = ["AS_IT_IS", "SUFFIXES", "FilePicture", "read_picture", "restored_file"]

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
        values: integers (C, H, W) of the model, or None if the file is kept as it is.
        note: how the file is made again.
        reason: why it is kept as it is.
        png_bytes: of the picture as a PNG file, if it is coded.
    """

    data: bytes
    values: Tensor | None = None
    note: str = AS_IT_IS
    reason: str = ""
    png_bytes: int = 0


def read_picture(path: Path, channels: int, levels: int) -> FilePicture:
    """Reads a picture for a model.

    Raises:
        CodecError: the file is no picture.
        OSError: it cannot be read.
    """
    data = path.read_bytes()
    try:
        with Image.open(io.BytesIO(data), formats=known_formats()) as picture:
            reason = _kept_because(picture, channels, data)
            if reason:
                return FilePicture(data, reason=reason)
            picture.load()
            return _coded(data, picture, channels, levels)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise CodecError(f"{path} is no picture that can be read ({error}); leave it out") from None
    except Image.DecompressionBombError:
        return FilePicture(data, reason="it is too large")


def _kept_because(picture: Image.Image, channels: int, data: bytes) -> str:
    """Why a file is kept as it is, "" if it may be coded."""
    modes = {1: ("L", "1"), 3: ("RGB",), 4: ("RGBA",)}.get(channels, ())
    if picture.format not in _FORMATS:
        return f"a file of the format {picture.format}"
    if getattr(picture, "n_frames", 1) > 1:
        return "an animation"
    if picture.width * picture.height * channels > MOST_SITES:
        return "it is too large"
    if picture.mode not in modes or "transparency" in picture.info:
        return f"pixels of the mode {picture.mode}"
    if _is_png(picture) and data[_DEPTH] == 16:  # Pillow drops the lower bytes of its colours
        return "pixels of 16 bits"
    return ""


_DEPTH = 24
"""Where a PNG file says how many bits a value has."""


def _coded(data: bytes, picture: Image.Image, channels: int, levels: int) -> FilePicture:
    values = _values(np.asarray(picture), levels)
    if values is None:
        return FilePicture(data, reason=f"values other than the model's {levels} levels")
    note = _note(picture)
    if note is None:
        return FilePicture(data, reason=_METADATA)
    planes = values[None] if values.ndim == 2 else values.transpose(2, 0, 1)
    x = torch.from_numpy(np.ascontiguousarray(planes, dtype=np.int64))
    try:
        again = restored_file(x, note, levels)
    except CodecError:
        return FilePicture(data, reason=_METADATA)
    with Image.open(io.BytesIO(again), formats=list(_FORMATS)) as second:
        second.load()
        same = (
            second.mode == picture.mode
            and second.size == picture.size
            and second.format == picture.format
            and second.tobytes() == picture.tobytes()
            and _plain(second.info) == _plain(picture.info)
        )
    try:
        same = same and (png_says(again) == png_says(data) if _is_png(picture) else again == data)
    except CodecError as error:
        return FilePicture(data, reason=error.sentence)
    if not same:
        return FilePicture(data, reason=_METADATA if _is_png(picture) else _UNUSUAL)
    return FilePicture(data, x, note, png_bytes=_png_bytes(picture, again))


def _is_png(picture: Image.Image) -> bool:
    return picture.format == "PNG"


def _png_bytes(picture: Image.Image, again: bytes) -> int:
    if _is_png(picture):
        return len(again)
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.tell()


def _values(pixels: NDArray[Any], levels: int) -> NDArray[Any] | None:
    """The levels of shown values, or None if some value shows no level."""
    if pixels.dtype == np.bool_:
        return pixels.astype(np.int64) if levels == 2 else None
    if pixels.dtype != np.uint8:
        return None
    found = np.full(256, -1)
    if levels <= 256:
        found[_shown(levels)] = np.arange(levels)
    values: NDArray[np.int64] = found[pixels]
    return None if (values < 0).any() else values


def _shown(levels: int) -> NDArray[Any]:
    """How levels are shown in files of 256: black to white, as everywhere in nextpixel."""
    shown: NDArray[Any] = np.rint(np.arange(levels) * (255 / (levels - 1))).astype(np.int64)
    return shown


_BYTES = ("icc_profile", "exif")
_CHUNKS = {"gamma": b"gAMA", "srgb": b"sRGB", "chromaticity": b"cHRM"}
"""Of PNG files, by the names that Pillow gives them."""
_STORAGE = ("interlace",)
"""What says only how the pixels were stored."""


def _note(picture: Image.Image) -> str | None:
    """What `restored_file` needs beside the values: "" for a PNG without metadata."""
    said: dict[str, Any] = {}
    if picture.format != "PNG":
        said["format"] = picture.format
    if picture.mode == "1":
        said["mode"] = "1"
    for key, value in picture.info.items():
        if key in _BYTES and isinstance(value, bytes):
            said[key] = base64.b64encode(value).decode()
        elif key == "dpi":
            said[key] = [float(number) for number in value]
        elif key in _CHUNKS and picture.format == "PNG":
            said.setdefault("chunks", {})[key] = value
        elif isinstance(value, str) and key not in said:
            said.setdefault("text", {})[key] = value
        elif picture.format == "PNG" and key not in _STORAGE:
            return None
    return json.dumps(said, separators=(",", ":"), sort_keys=True) if said else ""


def _plain(info: dict[Any, Any]) -> dict[Any, Any]:
    """Metadata, comparable."""
    return {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in info.items()
        if key not in _STORAGE
    }


def _chunk(key: str, value: Any) -> bytes:
    if key == "srgb":
        return bytes([value])
    numbers = value if isinstance(value, list | tuple) else [value]
    return b"".join(round(number * 100_000).to_bytes(4, "big") for number in numbers)


def restored_file(x: Tensor, note: str, levels: int) -> bytes:
    """The file of a picture (C, H, W), as its note says.

    Raises:
        CodecError: the note is damaged.
    """
    try:
        said = json.loads(note) if note else {}
        pixels = _shown(levels)[x.numpy()].astype(np.uint8).transpose(1, 2, 0)
        picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
        if said.get("mode") == "1":
            picture = picture.convert("1")
        keywords: dict[str, Any] = {
            key: base64.b64decode(said[key]) for key in _BYTES if key in said
        }
        if "dpi" in said:
            keywords["dpi"] = tuple(said["dpi"])
        if said.get("text") or said.get("chunks"):
            keywords["pnginfo"] = info = PngInfo()
            for key, value in said.get("chunks", {}).items():
                info.add(_CHUNKS[key], _chunk(key, value))
            for key, value in said.get("text", {}).items():
                info.add_text(key, value)
        kind = said.get("format", "PNG")
        if kind not in _FORMATS:
            raise ValueError(kind)
        file = io.BytesIO()
        picture.save(file, kind, **keywords)
        return file.getvalue()
    except _NO_NOTE as error:
        raise CodecError(f"the compressed data is damaged: a note is not one ({error})") from None


_NO_NOTE = (
    *(ValueError, TypeError, LookupError, AttributeError, OverflowError, OSError),
    *(RecursionError, SystemError, struct.error),
)
"""What Pillow and json raise of a note that somebody invented."""
