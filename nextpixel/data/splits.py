"""A data set of three splits, and batches of them: whole images or windows.

Invariant: what `Split.batch` gives for an image depends on that image, its number and its window
alone, never on the rest of the batch, so that a batch is a pure function of (seed, step) if its
indices and offsets are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nextpixel.data.errors import DataError
from nextpixel.data.fingerprints import Fingerprints
from nextpixel.data.mapped import MappedImages, sizes_of, taken, windows_of
from nextpixel.data.pixels import Integers
from nextpixel.settings.preparation import Preparation, pair
from nextpixel.settings.source import Source

__all__ = [
    "ANNOTATIONS",
    "Crop",
    "Example",
    "ImageData",
    "Rows",
    "Split",
    "annotations_of",
    "crop_offsets",
    "joined",
    "subset",
]

Crop: TypeAlias = int | tuple[int, int]
Rows: TypeAlias = Sequence[int] | NDArray[np.integer[Any]]

ANNOTATIONS = ("labels", "vectors", "maps", "captions")
"""The fields of a `Split` that a model can be conditioned on."""

_ARRAYS = ("labels", "vectors", "maps", "fingerprints")
_TUPLES = ("captions", "names", "stored_sizes")


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """Images and their annotations.

    Attributes:
        images: (N, C, H, W) integers 0 ... levels-1, in memory or as `MappedImages`, which reads
            like an array; or N images (C, H_i, W_i) when sizes differ. Before they are prepared,
            stored numbers of any type.
        labels: (N,) int64, or None.
        vectors: (N, size) float32, or None; a row of NaN is unknown. Encoded captions are among
            them.
        maps: (N, M, h, w), integers or floats, or None.
        captions: A text for each image, or ().
        names: What each image is called in its source (the path below the folder), or ().
        stored_sizes: Height and width of each picture before it was resized, or ().
        fingerprints: (N,) uint64, see `nextpixel.data.fingerprints`; or None.
    """

    images: NDArray[Any] | MappedImages | Sequence[NDArray[Any]]
    labels: NDArray[np.int64] | None = None
    vectors: NDArray[np.float32] | None = None
    maps: NDArray[Any] | None = None
    captions: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    stored_sizes: tuple[tuple[int, int], ...] = ()
    fingerprints: Fingerprints | None = None

    def __len__(self) -> int:
        return len(self.images)

    def has(self, annotation: str) -> bool:
        """Whether its images have this annotation, one of `ANNOTATIONS`."""
        values = getattr(self, annotation)
        return len(values) > 0 if isinstance(values, tuple) else values is not None

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Height and width of every image, (N, 2)."""
        return sizes_of(self.images, np.arange(len(self)))

    @cached_property
    def vector_deviations(self) -> NDArray[np.float32]:
        """The standard deviation of each entry of the vectors that are known, (size,)."""
        assert self.vectors is not None
        known = self.vectors[np.isfinite(self.vectors).all(axis=1)]
        deviations: NDArray[np.float32] = known.std(axis=0, dtype=np.float64).astype(np.float32)
        return deviations

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
                raise DataError("offsets are of windows; give their size as ‹crop› too")
            return taken(self.images, rows)
        corners = _checked_corners(
            sizes_of(self.images, rows), rows, pair(crop), offsets, self.names
        )
        if isinstance(self.images, MappedImages):
            return self.images.windows(rows, pair(crop), corners)
        return windows_of(self.images, rows, pair(crop), corners)


@dataclass(frozen=True, kw_only=True, eq=False)
class Example:
    """One image of a split.

    Large images are thinned out to at most 512 rows and columns.

    Attributes:
        split: "train", "valid" or "test".
        stored: (C, H, W), the values as they are stored; pictures are resized already.
        prepared: (C, H, W), the integers that the model sees.
        stored_size: Height and width of the stored image, before it was resized.
        size: Those of the prepared image.
        name: What the image is called in its source, or "".
        label: The name of its class, "unknown", or "" without labels.
        caption: Its text, or "".
        map: (M, h, w) if it has a map, or None.
        vector: The length of its vector; 0 without one.
    """

    split: str
    stored: NDArray[Any]
    prepared: Integers
    stored_size: tuple[int, int]
    size: tuple[int, int]
    name: str = ""
    label: str = ""
    caption: str = ""
    map: NDArray[Any] | None = None
    vector: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageData:
    """A data set, ready for training.

    Attributes:
        source: Where it comes from, as the caller named it.
        levels: The number of levels L; values are 0 ... L-1.
        channels: The number of channels C.
        shape: (H, W), or None where sizes differ.
        classes: Their names, label k is ``classes[k]``; () without labels.
        train: Empty only if the source has splits of its own, and none for training.
        valid: May be empty.
        test: May be empty.
        map_levels: The number of levels of integer maps; None without maps, or where they hold
            floats.
        categorical: Whether its values may be categories: of an array, and neither brightness nor
            measurements.
        notes: What was assumed, and what was skipped, a sentence each; parameters stand in them
            as in `UsageError`.
        held_out: Names of the classes that are in the test split alone, because the embedding never
            saw them; () if there are none.
        examples: A few images of each split beside their stored form, see
            `nextpixel.data.examples`.
        preparation: How it was prepared, resolved: `load_data(source, preparation)` makes the same
            data again.
    """

    source: Source
    levels: int
    channels: int
    shape: tuple[int, int] | None
    classes: tuple[str, ...]
    train: Split
    valid: Split
    test: Split
    preparation: Preparation
    map_levels: int | None = None
    categorical: bool = False
    held_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    examples: tuple[Example, ...] = ()


def subset(split: Split, rows: NDArray[np.int64]) -> Split:
    """Some images of a split and their annotations, in the order of `rows`."""
    images: Any = split.images
    images = (
        [images[row] for row in rows.tolist()] if isinstance(images, list | tuple) else images[rows]
    )
    return Split(images=images, **annotations_of(split, rows))


def annotations_of(split: Split, rows: NDArray[np.int64]) -> dict[str, Any]:
    """All fields of some rows of a split but their images."""
    arrays = {name: getattr(split, name) for name in _ARRAYS}
    tuples = {name: getattr(split, name) for name in _TUPLES}
    return {name: values[rows] for name, values in arrays.items() if values is not None} | {
        name: tuple(values[row] for row in rows.tolist())
        for name, values in tuples.items()
        if values
    }


def joined(splits: Sequence[Split]) -> Split:
    """Splits of images of one size with the same annotations, one after another."""
    columns = {
        name: [getattr(split, name) for split in splits] for name in ("images", *_ARRAYS, *_TUPLES)
    }
    fields: dict[str, Any] = {
        name: np.concatenate([np.asarray(part) for part in columns[name]])
        for name in ("images", *_ARRAYS)
        if columns[name][0] is not None
    }
    fields |= {name: sum(columns[name], ()) for name in _TUPLES}
    return Split(**fields)


def crop_offsets(
    split: Split, indices: Rows, *, crop: Crop, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Draw the upper left corners of random windows, (n, 2), uniformly over those that fit.

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
    room = _room(sizes_of(split.images, rows), rows, pair(crop), split.names)
    return np.floor(generator.random((len(rows), 2)) * (room + 1)).astype(np.int64)


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
    names: tuple[str, ...],
) -> NDArray[np.int64]:
    room = _room(sizes, rows, crop, names)
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
    sizes: NDArray[np.int64],
    rows: NDArray[np.int64],
    crop: tuple[int, int],
    names: tuple[str, ...],
) -> NDArray[np.int64]:
    """How far a window can move down and to the right, (n, 2)."""
    if min(crop) < 1:
        raise DataError(f"‹crop={crop[0]}x{crop[1]}› must be at least 1 pixel in both directions")
    room: NDArray[np.int64] = sizes - np.array(crop)
    small = (room < 0).any(axis=1)
    if small.any():
        k, count = int(np.argmax(small)), int(small.sum())
        which = names[rows[k]] if names else f"image {rows[k]}"
        others = f" and {count - 1} others" if count > 1 else ""
        raise DataError(
            f"‹crop={crop[0]}x{crop[1]}› is larger than {which} of {sizes[k][0]}x{sizes[k][1]}"
            f" pixels{others}; use a smaller crop, or remove them"
        )
    return room
