"""How complex a picture is: the size of its file in a format that knows nothing of the model.

Serrà et al., *Input Complexity and Out-of-Distribution Detection with Likelihood-based Generative
Models*, 2020.
"""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nextpixel.data.storage import optional_package
from nextpixel.settings.scores import FileFormat

__all__ = ["check_format", "file_bits"]

_EFFORT = 7


def check_format(file_format: FileFormat) -> None:
    """Raises DataError if the package that writes this format is not installed."""
    if file_format == "jpeg-xl":
        optional_package("imagecodecs", extra="codec-baselines")


def file_bits(
    x: NDArray[np.integer[Any]], levels: int, file_format: FileFormat = "png"
) -> NDArray[np.float64]:
    """The size of each image (B, C, H, W) as a lossless file of its levels, in bits.

    Other than one or three channels, and three of more than 256 levels, stand side by side.
    """
    return np.array([8.0 * _bytes(image, levels, file_format) for image in x])


def _bytes(image: NDArray[np.integer[Any]], levels: int, file_format: FileFormat) -> int:
    plain = image.astype(np.uint8 if levels <= 256 else np.uint16)
    coloured = len(image) == 3 and levels <= 256
    values = plain.transpose(1, 2, 0) if coloured else np.concatenate(list(plain), axis=1)
    values = np.ascontiguousarray(values)
    if file_format == "jpeg-xl":
        other = optional_package("imagecodecs", extra="codec-baselines")
        return len(other.jpegxl_encode(values, lossless=True, effort=_EFFORT))
    picture = Image.fromarray(values)
    if levels == 2 and picture.mode == "L":
        picture = picture.point([0, 255] * 128).convert("1")
    file = io.BytesIO()
    picture.save(file, format="PNG", optimize=True)
    return len(file.getvalue())
