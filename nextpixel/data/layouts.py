"""Which of the named arrays of a file are images, labels and so on, and of which split.

People call them ``train_images``, ``x_train``, ``X``, ``data``, ``arr_0`` or ``train/images``. A
name is divided into words; one may say the split, and another what the array holds. An array whose
name says nothing is taken for the images only if it alone can hold images.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextpixel.data.errors import DataError
from nextpixel.data.storage import SPLIT_NAMES, split_of

__all__ = ["Layout", "NamedArrays", "layout_of", "said_labels"]

_ROLES = {
    "images": "images image imgs img pictures picture pixels x data values samples inputs features",
    "labels": "labels label y targets target classes class category categories",
    "vectors": "vectors vector",
    "captions": "captions caption",
    "maps": "maps map",
}
_ROLE_OF = {word: role for role, words in _ROLES.items() for word in words.split()}
_WORD = re.compile("[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_MOST_NAMED = 8


@dataclass(frozen=True, kw_only=True, eq=False)
class NamedArrays:
    """Arrays that are read when they are asked for.

    Attributes:
        shapes: The shape of each array by its name.
        read: Gives one of them.
        stamp: Changes when the arrays do; JSON.
    """

    shapes: Mapping[str, tuple[int, ...]]
    read: Callable[[str], NDArray[Any]]
    stamp: object

    @classmethod
    def held(cls, arrays: Mapping[str, Any], stamp: object) -> "NamedArrays":
        """Arrays in memory, or mapped."""
        shapes = {name: values.shape for name, values in arrays.items()}
        return cls(shapes=shapes, read=arrays.__getitem__, stamp=stamp)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The arrays of each split by what they hold.

    Attributes:
        splits: By split and role ("images", "labels", "vectors", "captions", "maps"), the name of
            the array.
        class_names: The array of the names of classes, or None.
        passed: The names of the arrays that are skipped.
    """

    splits: Mapping[str, Mapping[str, str]]
    class_names: str | None = None
    passed: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What is skipped, in a sentence."""
        if not self.passed:
            return ()
        shown = ", ".join(self.passed[:_MOST_NAMED]) + " …" * (len(self.passed) > _MOST_NAMED)
        many = len(self.passed) > 1
        return (f"the array{'s' * many} {shown} {'are' if many else 'is'} skipped",)


def layout_of(shapes: Mapping[str, tuple[int, ...]], where: str) -> Layout:
    """Tell the arrays of a file apart by their names, and by their shapes where names say nothing.

    Args:
        shapes: The shape of each array by its name.
        where: What errors call the file.

    Raises:
        DataError: If no array can hold images, or it is not clear which does.

    Example:
        >>> layout_of({"x_train": (9, 8, 8), "y_train": (9,), "X_test": (2, 8, 8)}, "x.npz").splits
        {'train': {'images': 'x_train', 'labels': 'y_train'}, 'test': {'images': 'X_test'}}
    """
    if len(shapes) == 1:
        (name,) = shapes
        return Layout(splits={_meaning(name)[0] or "train": {"images": name}})
    names = next((name for name in shapes if _is_class_names(name)), None)
    found: dict[tuple[str | None, str], list[str]] = {}
    for name in shapes:
        if name != names:
            split, role = _meaning(name)
            if role is not None and (role != "images" or len(shapes[name]) > 1):
                found.setdefault((split, role), []).append(name)
    splits = [split for split in SPLIT_NAMES if (split, "images") in found]
    images = [name for (_, role), group in found.items() if role == "images" for name in group]
    if not images:
        images = [name for name, shape in shapes.items() if len(shape) in (3, 4) and name != names]
        taken = {name for group in found.values() for name in group}
        images = [name for name in images if name not in taken] or images
        if len(images) == 1:
            found[_meaning(images[0])[0], "images"] = images
            splits = [split for split in SPLIT_NAMES if (split, "images") in found]
    _require_clear(found, bool(splits), images, shapes, where)
    chosen: dict[str, dict[str, str]] = {}
    keys: list[str | None] = [*splits] if splits else [None]
    for split in keys:
        roles = {}
        for role in _ROLES:
            group = found.get((split, role), [])
            if len(group) == 1:
                roles[role] = group[0]
        chosen[split or "train"] = roles
    used = {name for roles in chosen.values() for name in roles.values()} | {names}
    passed = tuple(name for name in shapes if name not in used)
    return Layout(splits=chosen, class_names=names, passed=passed)


def said_labels(
    labels: NDArray[np.generic], count: int
) -> tuple[NDArray[np.generic] | None, NDArray[np.float32] | None, str | None]:
    """The labels (N,) of an array, or its vectors if each image has several labels.

    Of `count` images, rows (N, K) of one 1 and zeros are classes 0 ... K-1; rows of any number of
    ones are vectors.

    Returns:
        The labels or None, the vectors or None, and a note of what was taken for what.
    """
    several = labels.ndim == 2 and len(labels) == count and labels.shape[1] > 1
    if not several or labels.dtype.kind not in "uifb" or not np.isin(labels, (0, 1)).all():
        return labels, None, None
    if (labels.sum(axis=1, dtype=np.int64) == 1).all():
        note = f"the labels are {labels.shape[1]} columns with one 1 in each row: read as classes"
        return labels.argmax(axis=1), None, note
    note = f"each image may have several of {labels.shape[1]} labels: read as vectors of 0 and 1"
    return None, labels.astype(np.float32), note


def _require_clear(
    found: Mapping[tuple[str | None, str], list[str]],
    has_splits: bool,
    images: list[str],
    shapes: Mapping[str, tuple[int, ...]],
    where: str,
) -> None:
    """Raise `DataError` if there are no images, or two arrays for one thing."""
    groups = [g for (split, role), g in found.items() if role == "images"]
    loose = found.get((None, "images"), [])
    if not groups:
        wanted = "images, or x_train and perhaps y_train, x_test …"
        if len(images) > 1:
            raise DataError(
                f"{where} holds the arrays {_listed(images, shapes)}, and it is not clear which are"
                f" the images; call them {wanted}"
            )
        flat = [name for name in shapes if _meaning(name)[1] == "images"]
        if flat:
            raise DataError(
                f"{flat[0]} of {where} has the shape {shapes[flat[0]]}, but one array of numbers"
                " (N, H, W), (N, H, W, C) or (N, C, H, W) is expected; objects of Python and"
                " references are not read"
            )
        held = _listed(list(shapes), shapes) or "(none)"
        raise DataError(f"{where} holds the arrays {held}, but {wanted} is expected")
    clash = next((group for group in groups if len(group) > 1), None)
    if clash is None and has_splits and loose:
        clash = [*loose, *images[:1]]
    if clash is None:
        labels = (group for (_, role), group in found.items() if role == "labels")
        clash = next((group for group in labels if len(group) > 1), None)
    if clash is not None:
        raise DataError(
            f"{where} holds the arrays {_listed(clash, shapes)}, and it is not clear which to take;"
            " keep one of them, or give it a name of its own"
        )


def _meaning(name: str) -> tuple[str | None, str | None]:
    """The split and the role that a name says. A split alone names its images."""
    split = role = None
    words = [word.lower() for word in _WORD.findall(name)]
    for word in words:
        if word[:1] in "xy" and split_of(word[1:]):
            split, role = split_of(word[1:]), _ROLE_OF[word[0]]
        elif split_of(word):
            split = split or split_of(word)
        elif word in _ROLE_OF:
            # The last word says what it is: "image_labels" are labels.
            role = _ROLE_OF[word]
    if role is None and split is not None and len(words) == 1:
        role = "images"
    return split, role


def _is_class_names(name: str) -> bool:
    words = [word.lower() for word in _WORD.findall(name)]
    return words in (["label", "names"], ["class", "names"], ["target", "names"])


def _listed(names: list[str], shapes: Mapping[str, tuple[int, ...]]) -> str:
    shown = ", ".join(f"{name} {shapes[name]}" for name in names[:_MOST_NAMED])
    return shown + f" and {len(names) - _MOST_NAMED} more" * (len(names) > _MOST_NAMED)
