"""A data set of three splits, and batches of them: whole images or windows, in memory or from a
memory map.

Invariant: what `Split.batch` gives for an image depends on that image, its number and its window
alone, never on the rest of the batch, so that a batch is a pure function of (seed, step) if its
indices and offsets are.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from nextpixel.data.arrays import DataError
from nextpixel.data.preparation import Integers, binarise, quantise

__all__ = [
    "Crop",
    "ImageData",
    "LevelRule",
    "MappedImages",
    "Rows",
    "Split",
    "crop_offsets",
    "joined",
    "pair",
    "subset",
]

Crop: TypeAlias = int | tuple[int, int]
Rows: TypeAlias = Sequence[int] | NDArray[np.integer[Any]]


@dataclass(frozen=True, kw_only=True)
class Split:
    """Images and their labels.

    Attributes:
        images: (N, C, H, W) integers 0 ... levels-1, in memory or as `MappedImages`, which reads
            like an array; or N images (C, H_i, W_i) when sizes differ.
        labels: (N,) int64, or None.
        vectors: (N, size) float32, or None; a row of NaN is unknown. Encoded captions are among
            them.
        maps: (N, M, h, w), integers or floats, or None.
        captions: The texts that were encoded, or ().
        names: What each image is called in its source (the path below the folder), or () if
            nothing.
    """

    images: "Integers | MappedImages | Sequence[Integers]"
    labels: NDArray[np.int64] | None = None
    vectors: NDArray[np.float32] | None = None
    maps: NDArray[Any] | None = None
    captions: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Height and width of every image, (N, 2)."""
        return _sizes(self.images, np.arange(len(self)))

    def batch(
        self, indices: Rows, *, crop: Crop | None = None, offsets: Integers | None = None
    ) -> Integers:
        """Take images, or one window of each, as a contiguous array (n, C, H, W).

        Args:
            indices: Which images, in the order of the result; 0 ... N-1, also repeatedly.
            crop: Side or (height, width) of the windows; None for whole images.
            offsets: Row and column of the upper left corner of each window, (n, 2), for example
                from `crop_offsets`; None for central windows.

        Raises:
            DataError: If an index, a window or its offset lies outside, or whole images differ in
                size.
        """
        rows = _checked_rows(indices, len(self))
        if crop is None:
            if offsets is not None:
                raise DataError("offsets are of windows; give their size as crop= too")
            return _take(self.images, rows)
        corners = _checked_corners(_sizes(self.images, rows), rows, pair(crop), offsets)
        if isinstance(self.images, MappedImages):
            return self.images.windows(rows, pair(crop), corners)
        return _windows(self.images, rows, pair(crop), corners)


@dataclass(frozen=True, kw_only=True)
class ImageData:
    """A data set, ready for training.

    Attributes:
        source: Where it comes from, as the caller named it.
        levels: The number of levels L; values are 0 ... L-1.
        channels: The number of channels C.
        shape: (H, W), or None where sizes differ.
        classes: Their names, label k is ``classes[k]``; () without labels.
        train: Never empty.
        valid: May be empty.
        test: May be empty.
        map_levels: The number of levels of integer maps; None without maps, or where they hold
            floats.
        held_out: Names of the classes that are in the test split alone, because the embedding never
            saw them; () if there are none.
        preparation: The keywords of `nextpixel.data.load.load_data` that make the same data again,
            defaults included; JSON.
    """

    source: str
    levels: int
    channels: int
    shape: tuple[int, int] | None
    classes: tuple[str, ...]
    train: Split
    valid: Split
    test: Split
    preparation: dict[str, Any]
    map_levels: int | None = None
    held_out: tuple[str, ...] = ()


def subset(split: Split, rows: NDArray[np.int64]) -> Split:
    """Some images of a split and all that accompanies them, in the order of `rows`."""
    images: Any = split.images
    images = (
        [images[row] for row in rows.tolist()] if isinstance(images, list | tuple) else images[rows]
    )
    return _with_companions(
        images, [split], lambda values: values[0][rows], lambda texts: [texts[0][k] for k in rows]
    )


def joined(splits: Sequence[Split]) -> Split:
    """Splits of images of one size, one after another."""
    images = np.concatenate([np.asarray(split.images) for split in splits])
    return _with_companions(
        images, splits, np.concatenate, lambda texts: [text for part in texts for text in part]
    )


def _with_companions(
    images: Any,
    splits: Sequence[Split],
    arrays: Callable[[Any], Any],
    texts: Callable[[Any], list[str]],
) -> Split:
    """A split of these images, and of what `arrays` and `texts` make of the splits' companions."""
    given = [getattr(splits[0], name) is not None for name in ("labels", "vectors", "maps")]
    labels, vectors, maps = (
        arrays([getattr(split, name) for split in splits]) if there else None
        for name, there in zip(("labels", "vectors", "maps"), given, strict=True)
    )
    captions, names = (
        tuple(texts([getattr(split, name) for split in splits])) if getattr(splits[0], name) else ()
        for name in ("captions", "names")
    )
    return Split(
        images=images, labels=labels, vectors=vectors, maps=maps, captions=captions, names=names
    )


def crop_offsets(
    split: Split, indices: Rows, *, crop: Crop, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Draw the upper left corners of random windows, uniformly over those that fit: (n, 2) for
    `Split.batch`.

    Args:
        split: Its images tell where windows fit.
        indices: Which images.
        crop: Side or (height, width) of the windows.
        generator: Consumed by two numbers an image.

    Example:
        >>> split = Split(images=np.arange(2 * 25, dtype=np.uint8).reshape(2, 1, 5, 5))
        >>> offsets = crop_offsets(split, [1, 0, 1], crop=2, generator=np.random.default_rng(0))
        >>> split.batch([1, 0, 1], crop=2, offsets=offsets).shape
        (3, 1, 2, 2)
    """
    rows = _checked_rows(indices, len(split))
    room = _room(_sizes(split.images, rows), rows, pair(crop))
    return np.floor(generator.random((len(rows), 2)) * (room + 1)).astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class LevelRule:
    """How stored values become levels: quantised, or made binary by a threshold or a draw.

    Attributes:
        from_levels: The number of levels of the stored values.
        levels: The number they become.
        method: How to make two levels, or None to quantise.
        seed: Of the draw.
    """

    from_levels: int
    levels: int
    method: Literal["threshold", "draw"] | None
    seed: int

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the result."""
        return np.dtype(np.uint8 if self.levels <= 256 else np.uint16)

    def __call__(self, x: Integers, numbers: NDArray[np.int64]) -> Integers:
        """Bring images (n, C, H, W) with these numbers to levels."""
        if self.method is not None:
            return binarise(
                x, method=self.method, from_levels=self.from_levels, seed=self.seed, numbers=numbers
            )
        return quantise(x, self.levels, from_levels=self.from_levels)


class MappedImages:
    """Images of a split that are read and brought to levels when they are asked for.

    Reads like an array (N, C, H, W): ``len``, ``shape``, ``dtype``, an index, a slice, an array of
    indices, and `numpy.asarray`, which takes them all into memory. When sizes differ, like a list
    of (C, H_i, W_i), and ``shape`` is None.

    Args:
        raw: The images as stored, often views of a memory map.
        rows: Which of them are in this split.
        rule: How their values become levels.
        first: The number of ``raw[0]``; what is drawn for an image is a function of its number.
        where: What errors call them.
    """

    def __init__(
        self,
        raw: Integers | Sequence[Integers],
        rows: NDArray[np.int64],
        rule: LevelRule,
        *,
        first: int,
        where: str,
    ) -> None:
        # A plain view: to slice numpy.memmap itself costs microseconds more for every image.
        self._raw = np.asarray(raw) if isinstance(raw, np.ndarray) else raw
        self._rows = rows
        self._rule = rule
        self._first = first
        self._where = where
        self.dtype = rule.dtype
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
        return _sizes(self._raw, self._rows[indices])

    def take(self, indices: NDArray[np.int64]) -> Integers:
        """Take images of one size, (n, C, H, W)."""
        rows, back = self._in_file_order(indices)
        return self._apply(_take(self._raw, rows), rows)[back]

    def windows(
        self, indices: NDArray[np.int64], crop: tuple[int, int], corners: NDArray[np.int64]
    ) -> Integers:
        """Take one window of each image; only the windows are read, except for a draw, which is of
        whole images.
        """
        if self._rule.method == "draw" and len(indices):
            first = zip(indices, corners, strict=True)
            return np.concatenate(
                [_windows(self.take(k[None]), np.zeros(1, int), crop, at[None]) for k, at in first]
            )
        rows, back = self._in_file_order(indices)
        return self._apply(_windows(self._raw, rows, crop, corners[np.argsort(back)]), rows)[back]

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
        try:
            return self._rule(x, self._first + rows)
        except ValueError as error:
            raise DataError(f"{self._where}: {error}; check levels= and from_levels=") from error


def pair(size: int | Sequence[int]) -> tuple[int, int]:
    """Read a side, or (height, width), as (height, width)."""
    if isinstance(size, int | np.integer):
        return int(size), int(size)
    height, width = size
    return int(height), int(width)


def _take(
    images: Integers | MappedImages | Sequence[Integers], rows: NDArray[np.int64]
) -> Integers:
    if isinstance(images, np.ndarray):
        return np.ascontiguousarray(images[rows])
    if isinstance(images, MappedImages):
        return images.take(rows)
    chosen = [images[row] for row in rows.tolist()]
    shapes = sorted({image.shape for image in chosen})
    if len(shapes) != 1:
        raise DataError(
            f"images of different shapes {', '.join(map(str, shapes[:2]))} cannot be one batch;"
            " take them one by one, or windows of them with crop="
        )
    return np.stack(chosen)


def _windows(
    images: Integers | Sequence[Integers],
    rows: NDArray[np.int64],
    crop: tuple[int, int],
    corners: NDArray[np.int64],
) -> Integers:
    height, width = crop
    out = np.empty((len(rows), len(images[0]), height, width), images[0].dtype)
    for k, (row, (top, left)) in enumerate(zip(rows.tolist(), corners.tolist(), strict=True)):
        out[k] = images[row][:, top : top + height, left : left + width]
    return out


def _sizes(
    images: Integers | MappedImages | Sequence[Integers], rows: NDArray[np.int64]
) -> NDArray[np.int64]:
    if isinstance(images, MappedImages):
        return images.sizes(rows)
    if isinstance(images, np.ndarray):
        return np.broadcast_to(np.array(images.shape[2:], np.int64), (len(rows), 2))
    return np.array([images[row].shape[1:] for row in rows.tolist()], np.int64).reshape(-1, 2)


def _checked_rows(indices: Rows, count: int) -> NDArray[np.int64]:
    rows = np.asarray(indices)
    if rows.ndim != 1 or (rows.size and rows.dtype.kind not in "ui"):
        raise DataError(
            f"indices must be a list of integers, not {rows.dtype} of shape {rows.shape}"
        )
    if rows.size and not (rows.min() >= 0 and rows.max() < count):
        raise DataError(
            f"indices range from {rows.min()} to {rows.max()}, but there are {count} images, from"
            " 0 on"
        )
    return rows.astype(np.int64, copy=False)


def _checked_corners(
    sizes: NDArray[np.int64],
    rows: NDArray[np.int64],
    crop: tuple[int, int],
    offsets: Integers | None,
) -> NDArray[np.int64]:
    room = _room(sizes, rows, crop)
    if offsets is None:
        return room // 2
    corners = np.asarray(offsets)
    if corners.shape != (len(rows), 2) or corners.dtype.kind not in "ui":
        raise DataError(
            f"offsets must be integers of shape ({len(rows)}, 2), not {corners.dtype} of shape"
            f" {corners.shape}"
        )
    outside = ((corners < 0) | (corners > room)).any(axis=1)
    if outside.any():
        k = int(np.argmax(outside))
        raise DataError(
            f"offsets put the window of {crop[0]}x{crop[1]} for image {rows[k]} at"
            f" {tuple(corners[k].tolist())}, but it must begin between (0, 0) and"
            f" {tuple(room[k].tolist())}"
        )
    return corners.astype(np.int64)


def _room(
    sizes: NDArray[np.int64], rows: NDArray[np.int64], crop: tuple[int, int]
) -> NDArray[np.int64]:
    """How far a window can move down and to the right, (n, 2)."""
    if min(crop) < 1:
        raise DataError(f"crop (={crop[0]}x{crop[1]}) must be at least 1 pixel in both directions")
    room: NDArray[np.int64] = sizes - np.array(crop)
    small = (room < 0).any(axis=1)
    if small.any():
        k = int(np.argmax(small))
        raise DataError(
            f"crop (={crop[0]}x{crop[1]}) is larger than image {rows[k]} of"
            f" {sizes[k][0]}x{sizes[k][1]} pixels; use a smaller crop, or remove that image"
        )
    return room
