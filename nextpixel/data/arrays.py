"""Images in arrays: ``.npy`` and ``.npz`` files, and scikit-learn's digits."""

import hashlib
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from nextpixel.data.annotation_files import checked_vectors, read_npy, require_bytes
from nextpixel.data.classes import numbered
from nextpixel.data.errors import DataError
from nextpixel.data.fingerprints import fingerprints
from nextpixel.data.folders import require_file
from nextpixel.data.kept import keep, open_kept
from nextpixel.data.resizing import resized
from nextpixel.data.splits import Split
from nextpixel.data.storage import (
    Storage,
    Stored,
    optional_package,
    split_of,
    stamp,
)
from nextpixel.data.values import is_one_hot
from nextpixel.settings.preparation import Preparation, automatic_size, pair

__all__ = ["read_arrays", "read_digits"]

_MOST_CLASSES = 2**16
_SMALL_BYTES = 2**20
"""Arrays up to this are read into memory, however large the others of their file are."""


def read_digits(preparation: Preparation, storage: Storage) -> Stored:
    """Read scikit-learn's 1797 handwritten digits: 8x8, 17 levels, 10 classes."""
    bunch = optional_package("sklearn.datasets", extra="demo").load_digits()
    x = _arrange(bunch.images.astype(np.uint8), "digits", preparation.channels)
    images = x
    if preparation.size not in (None, "auto"):
        size = pair(preparation.size)  # type: ignore[arg-type]
        nearest = preparation.resize == "nearest"
        images = resized(x, size, nearest=nearest, where="digits", key="digits", storage=storage)
    if preparation.ignore_labels:
        splits = {"train": Split(images=images, fingerprints=fingerprints(x))}
        return Stored(splits=splits, levels=17, in_order=True)
    labels = bunch.target.astype(np.int64)
    splits = {"train": Split(images=images, labels=labels, fingerprints=fingerprints(x))}
    return Stored(splits=splits, classes=tuple("0123456789"), levels=17, in_order=True)


def read_arrays(
    path: Path, label_file: Path | None, preparation: Preparation, storage: Storage
) -> Stored:
    """Read an ``.npy`` or ``.npz`` file.

    An ``.npy`` file, or an ``.npz`` file with one array, holds images (N, H, W), (N, H, W, C) or
    (N, C, H, W): of axes 1 and 3 the shorter is the channels, unless ``preparation.channels``
    decides. Labels come from `label_file`, or for ``images.npy`` from ``labels.npy`` or
    ``images_labels.npy`` beside it.

    An ``.npz`` file with splits holds ``train_images``, perhaps ``valid_images`` and
    ``test_images``, and ``label_names``; for each split perhaps also ``train_labels`` (N,),
    ``train_vectors`` (N, size), ``train_captions`` (texts) and ``train_maps`` (N, h, w).
    """
    if path.suffix.lower() == ".npy":
        return _one_array(path, read_npy(path), label_file, preparation, storage)
    arrays = _ZippedArrays(path, storage)
    if len(arrays) == 1 and not any(split_of(key.removesuffix("_images")) for key in arrays):
        (images,) = arrays.values()
        return _one_array(path, images, label_file, preparation, storage, arrays.stamp)
    if label_file is not None:
        raise DataError(
            f"‹labels={label_file}› are for a file of one array, but {path} holds its own; leave"
            " them out"
        )
    names: tuple[str, ...] = ()
    if "label_names" in arrays and not preparation.ignore_labels:
        names = tuple(str(name) for name in np.ravel(arrays["label_names"]))
        if len(set(names)) != len(names) or len(names) > _MOST_CLASSES:
            raise DataError(
                f"label_names of {path} are {len(names)}, {len(set(names))} of them different; name"
                f" each class once, and at most {_MOST_CLASSES}"
            )
    splits: dict[str, Split] = {}
    raw: dict[str, NDArray[Any] | None] = {}
    for key in arrays:
        split = split_of(key.removesuffix("_images")) if key.endswith("_images") else None
        if split is None:
            continue
        where = f"{split}_images of {path}"
        x = _arrange(arrays[key], where, preparation.channels)
        prefix = key.removesuffix("images")
        if prefix + "labels" in arrays and not preparation.ignore_labels:
            raw[split] = arrays[prefix + "labels"]
        splits[split] = Split(
            images=_resized(x, preparation, where, [arrays.stamp, split], storage),
            fingerprints=fingerprints(x),
            **_annotations(arrays, prefix, len(x), path),
        )
    if not splits:
        raise DataError(
            f"{path} holds the arrays {', '.join(sorted(arrays)) or '(none)'}, but train_images"
            " (and perhaps valid_images, test_images, train_labels, label_names) or one array"
            " alone is expected"
        )
    splits, classes = numbered(splits, raw, names, preparation.reading, str(path))
    return Stored(splits=splits, classes=classes, in_order="test" in splits)


def _one_array(
    path: Path,
    images: NDArray[Any],
    labels: Path | None,
    preparation: Preparation,
    storage: Storage,
    stamped: object = None,
) -> Stored:
    """A file of one array, and its labels."""
    x = _arrange(images, str(path), preparation.channels)
    given = None if preparation.ignore_labels else _load_labels(path, labels)
    split = Split(
        images=_resized(x, preparation, str(path), [stamped or stamp(path), "train"], storage),
        fingerprints=fingerprints(x),
    )
    splits, classes = numbered(
        {"train": split}, {"train": given}, (), preparation.reading, str(path)
    )
    return Stored(splits=splits, classes=classes)


class _ZippedArrays(Mapping[str, NDArray[Any]]):
    """The arrays of an ``.npz`` file, each read when it is asked for.

    The large ones of a file beyond the memory limit are unpacked once, and mapped. They are named
    by the content of the archive, so that a copy of it, or a new time stamp, unpacks nothing.
    """

    def __init__(self, path: Path, storage: Storage) -> None:
        self.path, self.storage = path, storage
        with _reported(path), zipfile.ZipFile(path) as archive:
            members = [m for m in archive.infolist() if m.filename.endswith(".npy")]
        self._members = {member.filename.removesuffix(".npy"): member for member in members}
        self._is_large = sum(member.file_size for member in members) > storage.memory_bytes

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, name: object) -> bool:
        return name in self._members

    @cached_property
    def digest(self) -> str:
        """What the archive holds, in short."""
        with _reported(self.path), self.path.open("rb") as file:
            return hashlib.file_digest(file, "blake2b").hexdigest()

    @property
    def stamp(self) -> object:
        """What changes when the arrays do; the digest if something of them is kept."""
        return self.digest if self._is_large or self.storage.keep else stamp(self.path)

    def __getitem__(self, name: str) -> NDArray[Any]:
        member = self._members[name]
        with _reported(self.path), zipfile.ZipFile(self.path) as archive:
            if not self._is_large or member.file_size <= _SMALL_BYTES:
                with archive.open(member) as file:
                    return require_bytes(np.lib.format.read_array(file, allow_pickle=False))
            target = self.storage.path([self.digest, member.filename])
            if (kept := open_kept(target, member.file_size, None)) is not None:
                return kept

            def unpack(copy: IO[bytes]) -> None:
                with archive.open(member) as file:
                    shutil.copyfileobj(file, copy, 2**20)

            what = f"{member.filename} of {self.path}"
            keep(target, member.file_size, what, unpack)
            if (kept := open_kept(target, member.file_size, None)) is None:
                target.unlink(missing_ok=True)
                raise DataError(f"{what} is not an array; remove it")
            return kept


@contextmanager
def _reported(path: Path) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # zipfile, zlib and numpy raise many kinds on damaged files.
        raise DataError(f"{path}: cannot be read as an .npz file ({_reason(error)})") from error


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
    arrays: Mapping[str, NDArray[Any]], prefix: str, count: int, path: Path
) -> dict[str, Any]:
    """The vectors, captions and maps beside the images of a split."""
    found: dict[str, Any] = {
        field: arrays[prefix + field]
        for field in ("vectors", "captions", "maps")
        if prefix + field in arrays
    }
    for field, values in found.items():
        if len(values) != count:
            raise DataError(
                f"{prefix}{field} of {path} are {len(values)}, but there are {count} images"
            )
    if "vectors" in found:
        found["vectors"] = checked_vectors(found["vectors"], f"{prefix}vectors of {path}")
    if "captions" in found:
        found["captions"] = tuple(str(text) for text in np.ravel(found["captions"]))
    return found


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
