"""Images in arrays: ``.npy`` and ``.npz`` files, and the digits that are part of the package."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextpixel.data.annotation_files import checked_vectors, read_npy
from nextpixel.data.classes import numbered
from nextpixel.data.errors import DataError
from nextpixel.data.fingerprints import fingerprints
from nextpixel.data.folders import require_file
from nextpixel.data.layouts import NamedArrays, layout_of, said_labels
from nextpixel.data.npz import ZippedArrays
from nextpixel.data.resizing import resized
from nextpixel.data.splits import Split
from nextpixel.data.storage import Storage, Stored, stamp
from nextpixel.data.values import is_one_hot
from nextpixel.settings.preparation import Preparation, automatic_size, pair

__all__ = ["read_arrays", "read_digits", "read_named"]

_MOST_CLASSES = 2**16


def read_digits(preparation: Preparation, storage: Storage) -> Stored:
    """Read the 1797 handwritten digits of ``digits.npz``: 8x8, 17 levels, 10 classes.

    They are the images of scikit-learn's `load_digits`, in its order. ``digits.txt`` has their
    source and licence.
    """
    with np.load(Path(__file__).with_name("digits.npz"), allow_pickle=False) as file:
        x = _arrange(file["images"], "digits", preparation.channels)
        labels = file["labels"].astype(np.int64)
    images = x
    if preparation.size not in (None, "auto"):
        size = pair(preparation.size)  # type: ignore[arg-type]
        nearest = preparation.resize == "nearest"
        images = resized(x, size, nearest=nearest, where="digits", key="digits", storage=storage)
    if preparation.ignore_labels:
        splits = {"train": Split(images=images, fingerprints=fingerprints(x))}
        return Stored(splits=splits, levels=17, in_order=True)
    splits = {"train": Split(images=images, labels=labels, fingerprints=fingerprints(x))}
    return Stored(splits=splits, classes=tuple("0123456789"), levels=17, in_order=True)


def read_arrays(
    path: Path, label_file: Path | None, preparation: Preparation, storage: Storage
) -> Stored:
    """Read an ``.npy`` or ``.npz`` file.

    An ``.npy`` file, or an ``.npz`` file with one array, holds images (N, H, W), (N, H, W, C) or
    (N, C, H, W): of axes 1 and 3 the shorter is the channels, unless ``preparation.channels``
    decides. Labels come from `label_file`, or for ``images.npy`` from ``labels.npy`` or
    ``images_labels.npy`` beside it. The arrays of an ``.npz`` file are told apart by their names,
    see `nextpixel.data.layouts`.
    """
    if path.suffix.lower() == ".npy":
        arrays = NamedArrays.held({"": read_npy(path)}, stamp(path))
    else:
        zipped = ZippedArrays(path, storage)
        arrays = NamedArrays(shapes=zipped.shapes, read=zipped.read, stamp=zipped.stamp)
    return read_named(arrays, str(path), label_file, preparation, storage)


def read_named(
    arrays: NamedArrays,
    where: str,
    label_file: Path | None,
    preparation: Preparation,
    storage: Storage,
    class_names: Sequence[str] = (),
) -> Stored:
    """Read images and annotations from named arrays.

    Args:
        arrays: The arrays.
        where: What errors call them.
        label_file: The labels of one array of images that has none beside it.
        preparation: How they are prepared.
        storage: Where resized images go.
        class_names: What labels 0, 1 ... are called, if no array tells.
    """
    layout = layout_of(arrays.shapes, where)
    names = () if preparation.ignore_labels else tuple(class_names)
    if layout.class_names is not None and not preparation.ignore_labels:
        names = tuple(str(name) for name in np.ravel(arrays.read(layout.class_names)))
        if len(set(names)) != len(names) or len(names) > _MOST_CLASSES:
            raise DataError(
                f"{layout.class_names} of {where} are {len(names)}, {len(set(names))} of them"
                f" different; name each class once, and at most {_MOST_CLASSES}"
            )
    if label_file is not None and (len(layout.splits) > 1 or "labels" in layout.splits["train"]):
        raise DataError(
            f"‹labels={label_file}› are for images without labels, but {where} holds its own; leave"
            " them out"
        )
    splits: dict[str, Split] = {}
    raw: dict[str, NDArray[Any] | None] = {}
    notes = list(layout.notes)
    attributes: tuple[str, ...] = ()
    for split, roles in layout.splits.items():
        name = f"{roles['images']} of {where}" if roles["images"] else where
        x = _arrange(arrays.read(roles["images"]), name, preparation.channels)
        fields = _annotations(arrays, roles, len(x), where)
        part = Split(
            images=_resized(x, preparation, name, [arrays.stamp, split], storage),
            fingerprints=fingerprints(x),
            **fields,
        )
        if not preparation.ignore_labels:
            labels = arrays.read(roles["labels"]) if "labels" in roles else None
            if labels is None and len(layout.splits) == 1:
                labels = _load_labels(Path(where), label_file)
            if labels is not None:
                raw[split], vectors, note = said_labels(labels, len(part))
                notes += [note] if note and note not in notes else []
                if vectors is not None:
                    width = vectors.shape[1]
                    attributes = names if len(names) == width else tuple(map(str, range(width)))
                    held = [] if part.vectors is None else [part.vectors]
                    part = replace(part, vectors=np.concatenate([*held, vectors], axis=1))
        splits[split] = part
    splits, classes = numbered(splits, raw, names, preparation.reading, where)
    return Stored(
        splits=splits,
        classes=classes,
        in_order="test" in splits,
        notes=tuple(notes),
        attributes=attributes,
    )


def _load_labels(path: Path, labels: Path | None) -> NDArray[Any] | None:
    """The labels that are given for an array, or that lie beside it."""
    if labels is not None:
        if not labels.exists():
            raise FileNotFoundError(f"{labels}: there is no such file of labels")
        require_file(labels)
        return np.array(read_npy(labels))
    names = [path.stem + "_labels"]
    if path.stem.endswith("images"):
        names.append(path.stem.removesuffix("images") + "labels")
    beside = [file for name in names if (file := path.with_name(name + ".npy")).is_file()]
    return np.array(read_npy(beside[0])) if beside and path.suffix == ".npy" else None


def _arrange(x: NDArray[Any], where: str, channels: int | None) -> NDArray[Any]:
    """View an array as (N, C, H, W). One-hot channels are found by their values."""
    if x.dtype == np.bool_:
        x = x.view(np.uint8)
    if x.dtype.kind not in "uif":
        raise DataError(
            f"{where}: the values are {x.dtype}, but numbers are expected; convert them, for"
            " example to uint8 0 ... 255"
        )
    if x.ndim not in (3, 4):
        raise DataError(
            f"{where}: the shape is {x.shape}, but (N, H, W), (N, H, W, C) or (N, C, H, W) is"
            " expected"
        )
    if 0 in x.shape:
        raise DataError(f"{where}: the shape is {x.shape}, which contains no image")
    if x.ndim == 3:
        x = x[:, None]
    else:
        first, last = x.shape[1], x.shape[3]
        axes = [axis for axis in (1, 3) if is_one_hot(x, axis)] if channels in (None, 1) else []
        if len(axes) == 1:
            is_last, channels = axes == [3], None
        elif channels in (first, last):
            is_last = channels == last
        elif first == last:
            raise DataError(
                f"{where}: the shape is {x.shape}, in which axis 1 or 3 may be channels; give"
                " ‹channels›"
            )
        else:
            is_last = last < first
        x = np.moveaxis(x, 3, 1) if is_last else x
    if channels not in (None, x.shape[1]):
        raise DataError(
            f"{where}: the number of channels is {x.shape[1]}; leave out"
            f" ‹channels={channels}›, or convert the images"
        )
    return x


def _resized(
    x: NDArray[Any], preparation: Preparation, where: str, key: object, storage: Storage
) -> NDArray[Any]:
    """By the rules 1 and 2 an array is resized as pictures are, before its values are known."""
    size = preparation.size
    if size == "auto":
        size = automatic_size([(x.shape[2], x.shape[3])]) if x.dtype.itemsize == 1 else None
    if size is None or preparation.reading > 2:
        return x
    return resized(x, pair(size), nearest=False, where=where, key=key, storage=storage)


def _annotations(
    arrays: NamedArrays, roles: Mapping[str, str], count: int, where: str
) -> dict[str, Any]:
    """The vectors, captions and maps beside the images of a split."""
    found: dict[str, Any] = {
        field: arrays.read(roles[field])
        for field in ("vectors", "captions", "maps")
        if field in roles
    }
    for field, values in found.items():
        if len(values) != count:
            raise DataError(
                f"{roles[field]} of {where} are {len(values)}, but there are {count} images"
            )
    if "vectors" in found:
        found["vectors"] = checked_vectors(found["vectors"], f"{roles['vectors']} of {where}")
    if "captions" in found:
        found["captions"] = tuple(str(text) for text in np.ravel(found["captions"]))
    return found
