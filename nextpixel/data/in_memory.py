"""Images in memory: arrays, tensors, lists, data sets that are indexed, and splits of these.

What is taken for an array is anything that numpy converts, also a tensor on a device; torch is not
imported. A data set is anything of a length and an index, whose items are an image, an image and
its label, or a mapping.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nextpixel.data.arrays import read_named
from nextpixel.data.errors import DataError
from nextpixel.data.layouts import NamedArrays, layout_of, said_labels
from nextpixel.data.picture import Picture
from nextpixel.data.picture_arrays import decoded
from nextpixel.data.storage import Storage, Stored
from nextpixel.settings.preparation import Preparation

__all__ = ["read_in_memory"]

_WHERE = "the source in memory"
_ACCEPTED = (
    "an array or tensor (N, H, W), (N, H, W, C) or (N, C, H, W), a list of pictures, a data set"
    " with a length and an index, or splits of these by name"
)


def read_in_memory(
    images: Any,
    annotations: Mapping[str, Any],
    classes: Sequence[str] | None,
    preparation: Preparation,
    storage: Storage,
) -> Stored:
    """Read images that the caller holds.

    Args:
        images: An array or tensor; a list of arrays or pictures; a data set; a mapping of arrays
            by the names that an ``.npz`` file has, or of splits.
        annotations: "labels", "vectors", "captions" and "maps" of the images, those that are given.
        classes: What labels 0, 1 ... are called; None if the labels or the data set say it.
        preparation: How they are prepared.
        storage: Where what is made of them goes.

    Raises:
        DataError: If they are something else.
    """
    columns, names = _columns(images, storage)
    if given := {field: _column(values) for field, values in annotations.items()}:
        if set(columns) != {"images"}:
            raise DataError(
                f"‹{next(iter(given))}› is for images that have no names and annotations of their"
                " own; put it among them"
            )
        columns |= given
    names = tuple(str(name) for name in classes) if classes is not None else names
    if any(isinstance(column, list) for column in columns.values()):
        return _pictures(columns, names, preparation, storage)
    large = sum(x.nbytes for x in columns.values()) > storage.memory_bytes or storage.keep
    stamp = {name: _digest(x) for name, x in columns.items()} if large else {}
    arrays = NamedArrays.held(columns, stamp)
    return read_named(arrays, _WHERE, None, preparation, storage, names)


def _columns(images: Any, storage: Storage) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Arrays, or lists of pictures, by names as in an ``.npz`` file; and the names of classes."""
    if isinstance(images, Mapping):
        columns: dict[str, Any] = {}
        classes: tuple[str, ...] = ()
        for key, value in images.items():
            if isinstance(value, Mapping) or _is_pair(value) or _is_set(value):
                parts, found = _columns(value, storage)
                alone = set(parts) == {"images"}
                columns |= {f"{key}" if alone else f"{key}/{name}": x for name, x in parts.items()}
                classes = classes or found
            else:
                columns[str(key)] = _column(value)
        return columns, classes
    if _is_pair(images):
        return {"images": _column(images[0]), "labels": _column(images[1])}, ()
    if _is_array(images):
        return {"images": _numpy(images)}, ()
    if hasattr(images, "__len__") and hasattr(images, "__getitem__"):
        return _items(images, storage)
    raise DataError(f"images are of the type {type(images).__name__}; give {_ACCEPTED}")


def _items(images: Any, storage: Storage) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The columns of a list or data set, which is gone through once."""
    if not len(images):
        raise DataError(f"the {type(images).__name__} of images is empty; give at least one")
    rows: dict[str, list[Any]] = {}
    total = 0
    for k in range(len(images)):
        item = images[k]
        if isinstance(item, Mapping):
            row = {str(key): value for key, value in item.items()}
        elif isinstance(item, tuple | list) and not isinstance(images, list) and len(item) == 1:
            row = {"images": item[0]}
        elif isinstance(item, tuple) and len(item) > 1:
            row = {"images": item[0], "labels": item[1]}
        else:
            row = {"images": item}
        if k and row.keys() != rows.keys():
            raise DataError(
                f"item {k} of the images has {', '.join(row)}, but the first {', '.join(rows)}"
            )
        for key, value in row.items():
            held = value.copy() if isinstance(value, Image.Image) else value
            rows.setdefault(key, []).append(held)
            total += _size(value)
        if total > storage.memory_bytes and not isinstance(images, list | tuple):
            raise DataError(
                f"the first {k + 1:,} of {len(images):,} images take {total / 1e9:.1f} GB of"
                " memory; save them as an .npy file or a folder of pictures, which need not fit"
                " into it, or raise ‹memory_bytes›"
            )
        if storage.progress and (k % 1000 == 999 or k + 1 == len(images)):
            storage.progress(k + 1, len(images))
    columns = {key: _column(values) for key, values in rows.items()}
    return {key: x for key, x in columns.items() if x is not None}, _class_names(images, columns)


def _class_names(images: Any, columns: Mapping[str, Any]) -> tuple[str, ...]:
    """What a data set calls its classes: by ``classes``, or by the features of a column."""
    named = getattr(images, "classes", None)
    for key, feature in (getattr(images, "features", None) or {}).items():
        if key in columns and hasattr(feature, "names"):
            named = feature.names
    if isinstance(named, list | tuple) and all(isinstance(name, str) for name in named):
        return tuple(named)
    return ()


def _column(values: Any) -> Any:
    """One array of all values, or a list of pictures; None for what is neither."""
    if _is_array(values):
        return _numpy(values)
    if not isinstance(values, list | tuple) or not len(values):
        raise DataError(f"values are of the type {type(values).__name__}; give an array or a list")
    if any(isinstance(value, Image.Image) for value in values):
        return [_picture(value) for value in values]
    if _is_array(values[0]):
        held = [_numpy(value) for value in values]
        if len({x.shape for x in held}) > 1:
            return [_picture(x) for x in held]
        masked = any(isinstance(x, np.ma.MaskedArray) for x in held)
        return np.ma.stack(held) if masked else np.stack(held)
    try:
        array = np.asarray(values)
    except (ValueError, TypeError):
        return None
    return None if array.dtype.kind not in "biufUS" else array


def _picture(value: Any) -> Image.Image:
    """An image of a list in which sizes may differ, as a picture."""
    if isinstance(value, Image.Image):
        return value
    x = _numpy(value)
    if np.ma.is_masked(x):
        raise DataError(
            "images differ in size, and one has masked values; fill them, or give images of one"
            " size"
        )
    if x.ndim == 3 and x.shape[0] in (1, 3, 4) and x.shape[2] not in (1, 3, 4):
        x = np.moveaxis(x, 0, 2)
    if x.ndim == 3 and x.shape[2] == 1:
        x = x[..., 0]
    grey = x.ndim == 2 and x.dtype in (np.uint8, np.uint16, np.bool_)
    if not (grey or (x.ndim == 3 and x.shape[2] in (3, 4) and x.dtype == np.uint8)):
        raise DataError(
            f"images differ in size, and one is {x.dtype} of shape {x.shape}; give bytes (H, W) or"
            " (H, W, 3), or images of one size"
        )
    return Image.fromarray(np.ascontiguousarray(x))


def _pictures(
    columns: dict[str, Any], classes: tuple[str, ...], preparation: Preparation, storage: Storage
) -> Stored:
    """Pictures of several sizes or kinds, as a folder of them is read."""
    layout = layout_of({name: _shape(column) for name, column in columns.items()}, _WHERE)
    parts: dict[str, list[Picture]] = {}
    further: dict[str, dict[str, Any]] = {}
    notes = list(layout.notes)
    for split, roles in layout.splits.items():
        pictures = columns[roles["images"]]
        if not isinstance(pictures, list):
            pictures = [_picture(x) for x in pictures]
        rows = {role: columns[name] for role, name in roles.items() if role != "images"}
        for role, values in rows.items():
            if len(values) != len(pictures):
                raise DataError(
                    f"{roles[role]} are {len(values)}, but there are {len(pictures)} images"
                )
        labels = None if preparation.ignore_labels else rows.pop("labels", None)
        if labels is not None:
            labels, rows["vectors"], note = said_labels(labels, len(pictures))
            notes += [note] if note and note not in notes else []
        further[split] = {role: values for role, values in rows.items() if values is not None}
        parts[split] = [
            Picture(
                name=f"{k}",
                where=f"{split} image {k}",
                open=_opener(picture),
                stamp=_digest(picture) if storage.keep else "",
                label=_label(None if labels is None else labels[k], classes),
            )
            for k, picture in enumerate(pictures)
        ]
    stored = decoded(parts, classes or None, preparation, storage)
    splits = {
        name: replace(part, **_rows(further[name], part.names))
        for name, part in stored.splits.items()
    }
    return replace(stored, splits=splits, in_order="test" in splits, notes=(*notes, *stored.notes))


def _rows(further: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The annotations of those pictures that were not skipped."""
    rows = np.array([int(name.partition("#")[0]) for name in names], np.int64)
    return {
        role: tuple(map(str, values[rows])) if role == "captions" else values[rows]
        for role, values in further.items()
    }


def _label(value: Any, classes: tuple[str, ...]) -> str | int | None:
    if value is None:
        return None
    return int(value) if classes and not isinstance(value, str) else str(value)


def _opener(picture: Image.Image) -> Callable[[], Image.Image]:
    return lambda: picture


def _is_array(values: Any) -> bool:
    if isinstance(values, Image.Image | type) or isinstance(values, str | bytes):
        return False
    return hasattr(values, "__array__") or hasattr(values, "detach") or np.isscalar(values)


def _is_pair(values: Any) -> bool:
    """Whether these are images and their labels, as ``(x_train, y_train)``."""
    if not isinstance(values, tuple) or len(values) != 2 or not all(map(_is_array, values)):
        return False
    (x, y) = (np.shape(value) for value in values)
    return len(x) >= 3 and 1 <= len(y) <= 2 and x[0] == y[0]


def _is_set(values: Any) -> bool:
    """Whether this is a data set of items, and no plain list of values."""
    if _is_array(values) or isinstance(values, list | tuple | str | bytes):
        return False
    return hasattr(values, "__len__") and hasattr(values, "__getitem__")


def _numpy(values: Any) -> NDArray[Any]:
    """An array, with its mask, also of a tensor on a device, in a graph or of bfloat16."""
    if isinstance(values, np.ma.MaskedArray):
        return values
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        # numpy has no bfloat16, and float32 holds all its values.
        values = values.float() if str(values.dtype) == "torch.bfloat16" else values
    x = np.asarray(values)
    if x.dtype == object and all(isinstance(value, str) for value in x.flat):
        return x.astype(str)  # As a column of pandas is.
    return x


def _shape(column: Any) -> tuple[int, ...]:
    return (len(column), 0, 0) if isinstance(column, list) else column.shape


def _size(value: Any) -> int:
    if isinstance(value, Image.Image):
        return value.width * value.height * len(value.getbands())
    return int(getattr(value, "nbytes", 8))


def _digest(values: NDArray[Any] | Image.Image) -> str:
    held = values if isinstance(values, np.ndarray) else np.asarray(values)
    digest = hashlib.blake2b(repr((held.shape, held.dtype)).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(held).view(np.uint8).data)
    return digest.hexdigest()
