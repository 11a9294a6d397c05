"""Classes: which labels occur, in which order, and their numbers 0 ... classes-1."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextpixel.data.errors import DataError
from nextpixel.data.splits import Split

__all__ = [
    "LABEL_COLUMNS",
    "MOST_CLASSES",
    "named_classes",
    "natural_order",
    "numbered",
    "unknown_labels",
    "unseen_classes",
]

LABEL_COLUMNS = (
    "label",
    "labels",
    "class",
    "classes",
    "category",
    "target",
    "class_name",
    "y",
)
"""What a column of labels is called."""
MOST_CLASSES = 2**16


def natural_order(name: str) -> tuple[Any, ...]:
    """A key that sorts names by the numbers in them: 2 before 10, and img9 before img10.

    Example:
        >>> sorted(["10", "2", "b", "1"], key=natural_order)
        ['1', '2', '10', 'b']
    """
    # Text and numbers alternate, so that text is only ever compared with text.
    parts = re.split("([0-9]+)", name)
    return (*(int(part) if k % 2 else part for k, part in enumerate(parts)), name)


def named_classes(labels: Sequence[str | None], reading: int) -> tuple[str, ...]:
    """The classes that occur, in order; see `Preparation.reading`."""
    found = {label for label in labels if label is not None}
    return tuple(sorted(found) if reading == 1 else sorted(found, key=natural_order))


def numbered(
    splits: Mapping[str, Split],
    raw: Mapping[str, NDArray[Any] | None],
    names: tuple[str, ...],
    reading: int,
    where: str,
) -> tuple[dict[str, Split], tuple[str, ...]]:
    """Give splits the labels that a file holds for them: integers or texts.

    Args:
        splits: The images.
        raw: The labels of each split as they are stored; None without.
        names: What label_names calls 0, 1 ...; () if classes are called what their labels are.
        reading: See `Preparation.reading`.
        where: What errors call the file.

    Returns:
        The splits, and the names of the classes: by the rules 2 those that occur in any split.

    Raises:
        DataError: If labels are neither integers from 0 on, or -1 if unknown, nor texts, or not one
            for each image.
    """
    labels = {
        name: _checked(values, len(splits[name]), len(names), f"{name} labels of {where}")
        for name, values in raw.items()
        if values is not None
    }
    if not labels:
        return dict(splits), ()
    if len({values.dtype.kind == "U" for values in labels.values()}) > 1:
        raise DataError(f"the labels of {where} are texts in some splits and integers in others")
    everything = np.unique(np.concatenate(list(labels.values())))
    known = everything[everything != ("" if everything.dtype.kind == "U" else -1)]
    if len(everything) and not len(known):
        raise DataError(f"all labels of {where} are unknown; give ‹ignore_labels=True›")
    everything = known
    if everything.dtype.kind == "U":
        classes = named_classes(everything.tolist(), 2)
        place = {name: k for k, name in enumerate(classes)} | {"": -1}
        found = {
            split: np.array([place[name] for name in values.tolist()], np.int64)
            for split, values in labels.items()
        }
    elif reading == 1:
        highest = int(everything.max(initial=-1))
        if highest >= MOST_CLASSES:
            raise DataError(f"{where} has the label {highest}; at most {MOST_CLASSES:,} are read")
        classes = names or tuple(str(k) for k in range(highest + 1))
        found = labels
    else:
        classes = tuple(names[k] if names else str(k) for k in everything.tolist())
        found = {
            split: np.where(values < 0, -1, np.searchsorted(everything, values)).astype(np.int64)
            for split, values in labels.items()
        }
    if len(classes) > MOST_CLASSES:
        raise DataError(f"{where} has {len(classes):,} classes; at most {MOST_CLASSES:,} are read")
    done = {
        name: replace(split, labels=found[name]) if name in found else split
        for name, split in splits.items()
    }
    return done, classes


def unknown_labels(splits: Mapping[str, Split]) -> str | None:
    """A note of how many images are of an unknown class; None if all classes are known."""
    labels = [split.labels for split in splits.values() if split.labels is not None]
    unknown, count = sum(int((part < 0).sum()) for part in labels), sum(map(len, labels))
    if not unknown:
        return None
    return f"{unknown:,} of {count:,} images have no label: their class is unknown"


def unseen_classes(train: Split, classes: tuple[str, ...]) -> tuple[str, ...]:
    """Classes without any training image: a model learns nothing of them."""
    if train.labels is None or not len(train):
        return ()
    counts = np.bincount(train.labels[train.labels >= 0], minlength=len(classes))
    return tuple(name for name, count in zip(classes, counts, strict=False) if not count)


def _checked(labels: NDArray[Any], count: int, names: int, where: str) -> NDArray[Any]:
    if labels.dtype.kind == "S":
        labels = np.char.decode(labels, "utf-8", "replace")
    if labels.dtype.kind not in "uibU":
        raise DataError(
            f"{where} hold {labels.dtype}, but labels are integers or texts; convert them"
        )
    if not labels.ndim or len(labels) != count or labels.size != count:
        raise DataError(
            f"{where} have shape {labels.shape}, but there are {count} images; ({count},) is"
            " expected"
        )
    labels = labels.reshape(count)
    if labels.dtype.kind == "U" or not count:
        return labels if labels.dtype.kind == "U" else labels.astype(np.int64)
    low, high, limit = int(labels.min()), int(labels.max()), names or 2**62
    if low == -1 and high == 1 and not (labels == 0).any():
        raise DataError(
            f"{where} are -1 and 1, but -1 says that a label is unknown; write 0 and 1 for two"
            " classes"
        )
    if low < -1 or high >= limit:
        meaning = f"label_names names {names} classes; labels must lie in 0 ... {names - 1}"
        raise DataError(
            f"{where} range from {low} to {high}, but"
            f" {meaning if names else 'labels are 0 and above, or -1 where unknown'}"
        )
    return labels.astype(np.int64)
