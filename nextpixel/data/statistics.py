"""Statistics of a data set: what it contains, and the bits/dim of histograms, which models beat."""

import hashlib
import math
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nextpixel.arguments import instance_of
from nextpixel.data.errors import DataError
from nextpixel.data.pixels import Integers
from nextpixel.data.splits import ImageData, Split
from nextpixel.data.values import stored_values

__all__ = ["describe", "histogram_bits_per_dim", "one_histogram_bits_per_dim"]

_BLOCK_VALUES = 2**22
_TABLE_VALUES = 2**25
_MOST_LOOKED_AT = 10_000


def describe(data: ImageData) -> dict[str, Any]:
    """Summarise a data set as JSON.

    Figures about values are of at most 10,000 images a split, evenly spaced, so that a set larger
    than memory is described in seconds; ``looked_at`` says of how many.

    Returns:
        ``source``, ``shape`` (height and width, or None), ``channels``, ``levels``, ``classes``,
        ``notes``, what was assumed or skipped, with parameters as in `UsageError`;
        ``preparation``, as it is recorded;
        ``uniform_bits_per_dim`` = log2(levels); ``entropy_bits_per_dim``, of one histogram of all
        values of the training images; ``test_seen_in_train``, how many different test images equal
        a training image, of those looked at; and ``splits``, for each its ``images``,
        ``looked_at``, ``lowest``, ``highest`` and ``mean`` value (as stored, if no level was
        lost), ``smallest`` and ``largest``
        (height, width), and ``classes`` with their counts.
    """
    splits: dict[str, Any] = {}
    digests: dict[str, set[bytes]] = {}
    entropy = 0.0
    table: NDArray[Any] = np.arange(data.levels)
    if not data.preparation.one_hot:
        table = stored_values(table, data.preparation)
    for name, split in _splits(data).items():
        counts, digests[name] = np.zeros(data.levels, np.int64), set()
        looked_at = _looked_at(split)
        for images in _read(split, looked_at):
            counts += np.bincount(images.ravel(), minlength=data.levels)
            digests[name].update(
                hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in images
            )
        splits[name] = {
            "images": len(split),
            "looked_at": len(looked_at),
            **_values(counts, table),
            **_counts(data, split),
        }
        if name == "train":
            shares = counts[counts > 0] / counts.sum()
            entropy = abs(float(-(shares * np.log2(shares)).sum()))
    return {
        "source": str(data.source),
        "shape": None if data.shape is None else list(data.shape),
        "channels": data.channels,
        "levels": data.levels,
        "classes": list(data.classes),
        "preparation": data.preparation.to_json(),
        "notes": list(data.notes),
        "uniform_bits_per_dim": math.log2(data.levels),
        "entropy_bits_per_dim": entropy,
        "test_seen_in_train": len(digests["train"] & digests["test"]),
        "splits": splits,
    }


def one_histogram_bits_per_dim(train: Split, scored: Split, levels: int) -> float:
    """Score the model in which every sub-pixel is independent, with one histogram for all.

    For a value v, ``p(v) = (n(v) + 1) / (N + levels)``, n counted on all N training sub-pixels. Of
    each split at most 10,000 images are looked at, evenly spaced.

    Returns:
        Mean of ``-log2 p`` over all sub-pixels of `scored`, in bits per sub-pixel.
    """
    n, times = _all_counts(train, levels), _all_counts(scored, levels)
    log_p = np.log2(n + 1) - math.log2(n.sum() + levels)
    return -float(times @ log_p) / float(times.sum())


def _all_counts(split: Split, levels: int) -> NDArray[np.int64]:
    counts = np.zeros(levels, np.int64)
    for images in _read(split, _looked_at(split)):
        counts += np.bincount(images.ravel(), minlength=levels)
    return counts


def _looked_at(split: Split) -> NDArray[np.int64]:
    """The images whose values are counted."""
    rows = np.linspace(0, len(split) - 1, min(len(split), _MOST_LOOKED_AT)).astype(np.int64)
    return np.unique(rows)


def histogram_bits_per_dim(data: ImageData) -> float:
    """Score the model in which every sub-pixel is independent, with its own histogram.

    For a site s with value v, ``p_s(v) = (n_s(v) + 1) / (N + levels)``, n_s counted on the N
    training images.

    Returns:
        Mean of ``-log2 p`` over all sub-pixels of the test images, in bits per sub-pixel; of the
        validation images if there are no test images, and of the training images themselves if
        there are no others.

    Raises:
        DataError: If images differ in size, so that they share no sites.

    Example:
        >>> from nextpixel.data.load import load_data
        >>> round(histogram_bits_per_dim(load_data("digits")), 1)
        2.4
    """
    instance_of("data", data, ImageData, "load_data(…) reads one")
    if data.shape is None:
        raise DataError(
            f"images of {data.source} differ in size, so that sites have no histograms; give ‹size›"
        )
    scored = next(split for split in (data.test, data.valid, data.train) if len(split))
    sites = data.channels * data.shape[0] * data.shape[1]
    # Sites whose values, or else whose histograms, fit into memory together.
    per_site = min(data.levels, len(data.train) + len(scored))
    step = max(1, _TABLE_VALUES // per_site)
    counted = _site_counts if per_site == data.levels else _occurring
    bits = 0.0
    for begin in range(0, sites, step):
        columns = slice(begin, min(begin + step, sites))
        times, n = counted(data.train, scored, columns, data.levels)
        log_p = np.log2(n + 1) - math.log2(len(data.train) + data.levels)
        bits -= float((times * log_p).sum())
    return bits / (len(scored) * sites)


Counts: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int64]]


def _site_counts(train: Split, scored: Split, columns: slice, levels: int) -> Counts:
    """How often each value is at each of some sites: in the scored images, and in training."""
    size = (columns.stop - columns.start) * levels
    counts = []
    for split in (scored, train):
        found = np.zeros(size, np.int64)
        for places in _places(split, columns, levels):
            found += np.bincount(places, minlength=size)
        counts.append(found)
    return counts[0], counts[1]


def _occurring(train: Split, scored: Split, columns: slice, levels: int) -> Counts:
    """As `_site_counts`, of the values alone that the scored images have."""
    places, times = np.unique(
        np.concatenate(list(_places(scored, columns, levels))), return_counts=True
    )
    known = np.sort(np.concatenate(list(_places(train, columns, levels))))
    n = np.searchsorted(known, places, "right") - np.searchsorted(known, places, "left")
    return times.astype(np.int64), n.astype(np.int64)


def _places(split: Split, columns: slice, levels: int) -> Iterator[NDArray[np.int64]]:
    """The values at some sites, each numbered by its site and itself, in blocks of images."""
    offsets = np.arange(columns.stop - columns.start) * levels
    for images in _read(split, np.arange(len(split))):
        yield (images.reshape(len(images), -1)[:, columns] + offsets).ravel()


def _read(split: Split, indices: NDArray[np.int64]) -> Iterator[Integers]:
    """Go through images in batches of bounded size; of one image where sizes differ."""
    one_size = getattr(split.images, "shape", None) is not None
    step = max(1, _BLOCK_VALUES // split.images[0].size) if one_size and len(split) else 1
    return (split.batch(indices[begin : begin + step]) for begin in range(0, len(indices), step))


def _splits(data: ImageData) -> dict[str, Split]:
    return {"train": data.train, "valid": data.valid, "test": data.test}


def _values(counts: NDArray[np.int64], table: NDArray[Any]) -> dict[str, Any]:
    known = (counts > 0) & ~np.isnan(table)
    if not known.any():
        return {"lowest": None, "highest": None, "mean": None}
    values = table[known]
    mean = float(counts[known] @ values / counts[known].sum())
    return {"lowest": values.min().item(), "highest": values.max().item(), "mean": mean}


def _counts(data: ImageData, split: Split) -> dict[str, Any]:
    sizes = sorted(split.sizes.tolist(), key=lambda size: (size[0] * size[1], size))
    labelled = split.labels is not None and len(data.classes) > 0
    counts = (
        np.bincount(split.labels[split.labels >= 0], minlength=len(data.classes)).tolist()
        if split.labels is not None
        else []
    )
    return {
        "smallest": sizes[0] if sizes else None,
        "largest": sizes[-1] if sizes else None,
        "classes": dict(zip(data.classes, counts, strict=True)) if labelled else {},
    }
