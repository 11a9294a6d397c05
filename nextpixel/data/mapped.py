"""Images that are read and prepared when they are asked for, often from a memory map."""

from collections.abc import Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from nextpixel.data.errors import DataError, ImageError
from nextpixel.data.pixels import Integers, binarise, quantise
from nextpixel.settings.preparation import Preparation

__all__ = ["MappedImages", "sizes_of", "taken", "windows_of"]


class MappedImages:
    """Images of a split that are read and brought to levels when they are asked for.

    Reads like an array (N, C, H, W): ``len``, ``shape``, ``dtype``, an index, a slice, an array of
    indices, and `numpy.asarray`, which takes them all into memory. When sizes differ, like a list
    of (C, H_i, W_i), and ``shape`` is None.

    Args:
        raw: The images as stored, often views of a memory map.
        rows: Which of them are in this split.
        preparation: How their values become levels; resolved.
        first: The number of ``raw[0]``; what is drawn for an image is a function of its number.
        where: What errors call them.
    """

    def __init__(
        self,
        raw: Integers | Sequence[Integers],
        rows: NDArray[np.int64],
        preparation: Preparation,
        *,
        first: int,
        where: str,
    ) -> None:
        # A plain view: to slice numpy.memmap itself costs microseconds more for every image.
        self._raw = np.asarray(raw) if isinstance(raw, np.ndarray) else raw
        self._rows = rows
        self._preparation = preparation
        self._first = first
        self._where = where
        levels, from_levels = preparation.levels, preparation.from_levels
        assert levels is not None and from_levels is not None  # It is resolved.
        self._levels, self._from_levels = levels, from_levels
        self._has_missing = preparation.missing is not None
        top = levels + self._has_missing
        self.dtype = np.dtype(np.uint8 if top <= 256 else np.uint16)
        self.shape = (len(rows), *raw.shape[1:]) if isinstance(raw, np.ndarray) else None

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Integers: ...
    @overload
    def __getitem__(self, index: slice) -> Any: ...
    @overload
    def __getitem__(self, index: Integers) -> Any: ...
    def __getitem__(self, index: int | slice | Integers) -> Any:
        if isinstance(index, int | np.integer):
            return self.take(self._places([index]))[0]
        places = np.arange(len(self))[index] if isinstance(index, slice) else self._places(index)
        return self.take(places) if self.shape else [self.take(place[None])[0] for place in places]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[:], dtype=dtype)

    def sizes(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Height and width of images, (n, 2)."""
        return sizes_of(self._raw, self._rows[indices])

    def take(self, indices: NDArray[np.int64]) -> Integers:
        """Take images of one size, (n, C, H, W)."""
        rows, back = self._in_file_order(indices)
        return self._apply(taken(self._raw, rows), rows)[back]

    def windows(
        self, indices: NDArray[np.int64], crop: tuple[int, int], corners: NDArray[np.int64]
    ) -> Integers:
        """Take one window of each image.

        Only the windows are read, unless values are drawn, which is done for whole images.
        """
        if self._preparation.binarise == "draw" and len(indices):
            first = zip(indices, corners, strict=True)
            return np.concatenate(
                [
                    windows_of(self.take(k[None]), np.zeros(1, int), crop, at[None])
                    for k, at in first
                ]
            )
        rows, back = self._in_file_order(indices)
        return self._apply(windows_of(self._raw, rows, crop, corners[np.argsort(back)]), rows)[back]

    def _places(self, index: Any) -> NDArray[np.int64]:
        places = np.asarray(index)
        if places.dtype == np.bool_:
            places = np.flatnonzero(places)
        if places.size and not (-len(self) <= places.min() and places.max() < len(self)):
            raise IndexError(f"index {index} lies outside of the {len(self)} images")
        return places.astype(np.int64) % max(len(self), 1)

    def _in_file_order(
        self, indices: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Sort rows, so that reads go through the file once; also give the order that undoes it."""
        rows = self._rows[indices]
        order = np.argsort(rows, kind="stable")
        return rows[order], np.argsort(order, kind="stable")

    def _apply(self, x: Integers, rows: NDArray[np.int64]) -> Integers:
        if self._has_missing:  # one level above the others, before and after
            missing = x == self._from_levels
            kept = self._levelled(np.where(missing, x.dtype.type(0), x), rows)
            return np.where(missing, self._levels, kept).astype(self.dtype)
        return self._levelled(x, rows)

    def _levelled(self, x: Integers, rows: NDArray[np.int64]) -> Integers:
        try:
            if (method := self._preparation.binarise) is None:
                return quantise(x, self._levels, from_levels=self._from_levels)
            return binarise(
                x,
                method=method,
                from_levels=self._from_levels,
                seed=self._preparation.split_seed,
                numbers=self._first + rows,
            )
        except ImageError as error:
            advice = "" if ";" in error.sentence else "; check ‹levels› and ‹from_levels›"
            raise DataError(f"{self._where}: {error.sentence}{advice}") from error


def taken(
    images: Integers | MappedImages | Sequence[Integers], rows: NDArray[np.int64]
) -> Integers:
    """Take images of one size, (n, C, H, W)."""
    if isinstance(images, np.ndarray):
        return np.ascontiguousarray(images[rows])
    if isinstance(images, MappedImages):
        return images.take(rows)
    chosen = [images[row] for row in rows.tolist()]
    shapes = sorted({image.shape for image in chosen})
    if len(shapes) != 1:
        raise DataError(
            f"images of different shapes {', '.join(map(str, shapes[:2]))} cannot be one batch;"
            " take them one by one, or windows of them with ‹crop›"
        )
    return np.stack(chosen)


def windows_of(
    images: Integers | Sequence[Integers],
    rows: NDArray[np.int64],
    crop: tuple[int, int],
    corners: NDArray[np.int64],
) -> Integers:
    """Take one window of each image, (n, C, height, width)."""
    height, width = crop
    out = np.empty((len(rows), len(images[0]), height, width), images[0].dtype)
    for k, (row, (top, left)) in enumerate(zip(rows.tolist(), corners.tolist(), strict=True)):
        out[k] = images[row][:, top : top + height, left : left + width]
    return out


def sizes_of(
    images: Integers | MappedImages | Sequence[Integers], rows: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Height and width of images, (n, 2)."""
    if isinstance(images, MappedImages):
        return images.sizes(rows)
    if isinstance(images, np.ndarray):
        return np.broadcast_to(np.array(images.shape[2:], np.int64), (len(rows), 2))
    return np.array([images[row].shape[1:] for row in rows.tolist()], np.int64).reshape(-1, 2)
