"""Arrays in ``.npy`` files, replaced whole."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextpixel.files.replacing import replace_file

__all__ = ["write_npy"]


def write_npy(path: str | Path, x: NDArray[Any]) -> None:
    """Writes what `numpy.save` would, but says why the system refuses it.

    numpy itself only says how many bytes were written.

    Raises:
        OSError: the disk is full, or the like; `path` is as it was.
    """
    x = np.ascontiguousarray(x)
    with replace_file(path) as place, place.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(x))
        file.write(x.data)
