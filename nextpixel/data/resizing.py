"""Arrays of images, reduced to a size."""

from typing import Any

import numpy as np

from nextpixel.data.errors import DataError, ImageError
from nextpixel.data.pixels import Integers, resize, subsample
from nextpixel.data.storage import Storage

__all__ = ["resized"]


def resized(
    x: Integers, size: tuple[int, int], *, nearest: bool, where: str, key: object, storage: Storage
) -> Integers:
    """Crop images (N, C, H, W) to the shape of a size, and reduce them to it.

    Args:
        x: The images, possibly a memory map.
        size: Height and width.
        nearest: Whether to take the middle pixel of every area, not its average.
        where: What errors call them.
        key: What changes when the images do.
        storage: Where the result is kept.

    Raises:
        DataError: If they would have to be enlarged.
    """
    shape = (*x.shape[:2], *size)
    if shape == x.shape:
        return x
    reduce = subsample if nearest else resize

    def fill(flat: Integers) -> None:
        for image, small in zip(x, flat.reshape(shape), strict=True):
            small[...] = reduce(image, size)

    how: list[Any] = [key, "nearest" if nearest else "resized", *shape]
    try:
        return storage.build(int(np.prod(shape)), x.dtype, how, fill).reshape(shape)
    except ImageError as error:
        raise DataError(f"{where}: {error}") from error
