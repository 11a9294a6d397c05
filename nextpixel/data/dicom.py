"""DICOM files: the stored values of their frames, and nothing about patients.

Stored values are kept; rescale slope and intercept are told and not applied. Only the elements that
describe pixels are read, so that no name, date or identity can reach an error, a note or a file.
Where high values are dark (MONOCHROME1), values are inverted, and YBR becomes RGB; notes say so. A
deflated file would be unpacked as a whole, however large, before anything is known of it, and is
refused.

References:
    DICOM PS3.3, section C.7.6.3, and PS3.5, section 8.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextpixel.data.decoding import ImageHead
from nextpixel.data.errors import DataError, ImageError
from nextpixel.data.storage import optional_package

__all__ = ["dicom_heads", "dicom_samples", "is_dicom"]

_PREAMBLE = 128
_MOST_FRAMES = 2**16
# What pydicom converts to RGB.
_YBR = ("YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_DEFLATED = "1.2.840.10008.1.2.1.99"
_NUMBERS = (
    "Rows Columns NumberOfFrames SamplesPerPixel BitsAllocated BitsStored HighBit"
    " PixelRepresentation"
).split()
_TAGS = [*_NUMBERS, "PhotometricInterpretation", "RescaleSlope", "RescaleIntercept"]


def is_dicom(file: io.BufferedIOBase) -> bool:
    """Tell by its first bytes whether an open file is DICOM."""
    file.seek(0)
    head = file.read(_PREAMBLE + 4)
    file.seek(0)
    return head[_PREAMBLE:] == b"DICM"


def dicom_heads(file: io.BufferedIOBase) -> list[ImageHead]:
    """What each frame is.

    Raises:
        ImageError: If the file is damaged, or of a kind that is not read.
    """
    pixels = _pixels(file)
    return [pixels.head(frame) for frame in range(pixels.frames)]


def dicom_samples(file: io.BufferedIOBase, frame: int) -> NDArray[Any]:
    """The stored values of a frame, (C, H, W).

    Raises:
        ImageError: As `dicom_heads`, and if the pixels cannot be decoded.
    """
    pixels = _pixels(file)
    decoders = _package(lambda: optional_package("pydicom.pixels", extra="dicom"))
    if not decoders.get_decoder(pixels.syntax).is_available:
        raise ImageError(
            f"is compressed as {pixels.syntax.name}, which needs a decoder that is not installed;"
            " install pylibjpeg with its plug-ins, or save it uncompressed"
        )
    file.seek(0)
    try:
        x = np.asarray(decoders.pixel_array(file, index=frame))
    except Exception as error:  # Never its words, which may quote other elements.
        raise ImageError(
            f"is damaged, or its pixels cannot be decoded ({type(error).__name__}); convert it"
        ) from error
    x = x[None] if x.ndim == 2 else np.moveaxis(x, 2, 0)
    if x.shape != pixels.shape:
        raise ImageError("is damaged: its pixels are not of the size that it says")
    return pixels.stored(x)


@dataclass(frozen=True, kw_only=True)
class _Pixels:
    """What a file says of its pixels."""

    shape: tuple[int, int, int]
    frames: int
    bits: int
    signed: bool
    inverted: bool
    is_ybr: bool
    rescale: tuple[float, float] | None
    syntax: Any

    def head(self, frame: int) -> ImageHead:
        notes = []
        if self.inverted:
            notes.append("high values are dark (MONOCHROME1): they are inverted")
        if self.is_ybr:
            notes.append("colours are stored as YBR: they are converted to RGB")
        if self.rescale is not None:
            slope, intercept = self.rescale
            notes.append(
                f"the stored values are kept, and the rescale slope {slope:g} and intercept"
                f" {intercept:g} are not applied"
            )
        deep = self.bits != 8 or self.signed
        return ImageHead(
            self.shape,
            frame,
            None if deep else 256,
            depth=2**self.bits if deep and not self.signed else None,
            signed_bits=16 if self.signed else 0,
            notes=tuple(notes),
        )

    def stored(self, x: NDArray[Any]) -> NDArray[Any]:
        """Decoded values as they are stored, without what lies above the bits that count."""
        if self.signed:
            high = 1 << (self.bits - 1)
            x = ((x.astype(np.int32) + high) & (2 * high - 1)) - high
            return (-1 - x if self.inverted else x).astype(np.int16)
        x = x.astype(np.uint16) & np.uint16(2**self.bits - 1)
        if self.inverted:
            x = np.uint16(2**self.bits - 1) - x
        return x.astype(np.uint8) if self.bits == 8 else x


def _pixels(file: io.BufferedIOBase) -> _Pixels:
    dicom = _package(lambda: optional_package("pydicom", extra="dicom"))
    _refuse_deflated(file)
    file.seek(0)
    try:
        tags = dicom.dcmread(file, specific_tags=_TAGS, stop_before_pixels=True)
        number = {name: int(getattr(tags, name, None) or 0) for name in _NUMBERS}
        has_high_bit = getattr(tags, "HighBit", None) is not None
        kind = str(getattr(tags, "PhotometricInterpretation", ""))
        slope, intercept = (
            float(getattr(tags, name, default))
            for name, default in (("RescaleSlope", 1), ("RescaleIntercept", 0))
        )
        syntax = tags.file_meta.TransferSyntaxUID
        syntax.name  # noqa: B018  # It must be a UID.
    except Exception as error:  # Never its words, which may quote other elements.
        raise ImageError(f"is damaged ({type(error).__name__}); repair it or remove it") from error
    height, width, samples = number["Rows"], number["Columns"], number["SamplesPerPixel"] or 1
    frames, allocated = number["NumberOfFrames"] or 1, number["BitsAllocated"]
    if min(height, width, allocated) < 1:
        raise ImageError("holds no picture; remove it")
    if allocated not in (1, 8, 16) or not 1 <= (number["BitsStored"] or allocated) <= allocated:
        raise ImageError(f"holds values of {allocated} bits; convert it to 8 or 16 bits")
    bits = number["BitsStored"] or allocated
    if has_high_bit and number["HighBit"] != bits - 1:
        raise ImageError(
            f"holds values of {bits} bits whose highest is bit {number['HighBit']}, not {bits - 1};"
            " rewrite it with values in the lowest bits"
        )
    if not 1 <= frames <= _MOST_FRAMES:
        raise ImageError(f"holds {frames} frames; at most {_MOST_FRAMES:,} are read")
    grey = kind in ("MONOCHROME1", "MONOCHROME2") and samples == 1
    if not grey and not (samples == 3 and kind in ("RGB", *_YBR)):
        raise ImageError(f"holds pixels of the kind {kind or '?'!r:.40}; convert it to grey or RGB")
    return _Pixels(
        shape=(samples, height, width),
        frames=frames,
        bits=bits,
        signed=bool(number["PixelRepresentation"]),
        inverted=kind == "MONOCHROME1",
        is_ybr=kind in _YBR,
        rescale=None if (slope, intercept) == (1, 0) else (slope, intercept),
        syntax=syntax,
    )


def _refuse_deflated(file: io.BufferedIOBase) -> None:
    """Look at the elements before the data set alone, for how the data set is packed."""
    reader = _package(lambda: optional_package("pydicom.filereader", extra="dicom"))
    file.seek(_PREAMBLE + 4)
    try:
        for element in reader.data_element_generator(
            file, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2
        ):
            if element.tag == 0x00020010 and _DEFLATED in str(element.value):
                raise ImageError("is deflated as a whole; save it in another transfer syntax")
    except ImageError:
        raise
    except Exception as error:
        raise ImageError(f"is damaged ({type(error).__name__}); repair it or remove it") from error


def _package(load: Callable[[], Any]) -> Any:
    """A module, whose absence is told of one picture, as everything that is wrong with it."""
    try:
        return load()
    except DataError as error:
        raise ImageError(error.sentence) from error
