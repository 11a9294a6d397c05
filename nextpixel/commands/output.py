"""Writes pictures as a grid, as an array, or one by one."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nextpixel.images import grid, write_image

__all__ = ["write_pictures"]


def write_pictures(
    out: Path, x: NDArray[np.integer], levels: int, *, columns: int | None = None, scale: int = 1
) -> None:
    """Writes (n, C, H, W) integers to a .png grid, an .npy file, or a folder of pictures, by the name's ending."""
    if out.suffix == ".npy":
        np.save(_made(out), x.astype(np.uint8 if levels <= 256 else np.uint16))
    elif out.suffix == ".png":
        write_image(_made(out), grid(x, columns=columns, levels=levels, scale=scale))
    elif out.suffix:
        raise ValueError(f"--out {out} ends in {out.suffix}; use .png, .npy, or a folder's name")
    else:
        out.mkdir(parents=True, exist_ok=True)
        digits = len(str(len(x) - 1))
        for i, image in enumerate(x):
            write_image(out / f"{i:0{digits}d}.png", image, levels=levels)


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
