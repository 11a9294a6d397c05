"""Where images come from, before levels and splits are settled: arrays in files, and scikit-learn's
digits.

A source gives `RawSplit`s: images (N, C, H, W) as stored, possibly views of a memory map. Pictures
(folders, the Hugging Face data sets) are in `nextpixel.data.pictures`; levels, splits and batches
in `nextpixel.data.load`.
"""

import hashlib
import importlib
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nextpixel.data.preparation import ImageError, Integers, resize

__all__ = [
    "SPLIT_NAMES",
    "DataError",
    "RawSplit",
    "Source",
    "Storage",
    "optional_package",
    "read_arrays",
    "read_digits",
    "split_of",
]


SPLIT_NAMES = {
    "train": ("train", "training"),
    "valid": ("valid", "val", "validation"),
    "test": ("test", "testing"),
}
"""The splits, and what folders, files and data sets call them."""

_MOST_CLASSES = 2**20


Size: TypeAlias = int | tuple[int, int] | Literal["auto"] | None


class DataError(ValueError):
    """A source of images that cannot be used as it is; the message says what to do."""


@dataclass(frozen=True, kw_only=True)
class RawSplit:
    """Images of one split as they are stored.

    Attributes:
        images: (N, C, H, W), or N arrays (C, H_i, W_i) when sizes differ.
        labels: (N,), or None.
        vectors: (N, size) of numbers, or None.
        captions: A text for each image, or ().
        maps: (N, M, h, w), integers or floats, or None.
        names: What each image is called in its source, or ().
        sizes: Height and width of each picture before it was resized, or ().
    """

    images: Integers | Sequence[Integers]
    labels: NDArray[np.int64] | None = None
    vectors: NDArray[Any] | None = None
    captions: tuple[str, ...] = ()
    maps: NDArray[Any] | None = None
    names: tuple[str, ...] = ()
    sizes: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Source:
    """What was read.

    Attributes:
        splits: By name: "train", and where the source has them "valid" and "test".
        classes: Their names, () without labels.
        levels: The number of levels that the source is known to have; None if its values must tell.
    """

    splits: Mapping[str, RawSplit]
    classes: tuple[str, ...] = ()
    levels: int | None = None


@dataclass(frozen=True, kw_only=True)
class Storage:
    """Where decoded images go: into memory, or into a memory-mapped file that is kept.

    Attributes:
        memory_bytes: What is larger goes into a file.
        folder: Where the files go; made when the first is needed.
        keep: Whether what is smaller goes into a file too, to be found the next time.
    """

    memory_bytes: int
    folder: Path
    keep: bool

    def build(
        self, size: int, dtype: np.dtype[Any], key: object, fill: Callable[[Integers], None]
    ) -> Integers:
        """Make a flat array of `size` values with `fill`, or find the file that an earlier call
        left for `key`.
        """
        needed = size * dtype.itemsize
        if needed <= self.memory_bytes and not self.keep:
            flat = np.empty(size, dtype)
            fill(flat)
            return flat
        path = self.path(key, ".npy")
        if not path.exists():
            self.reserve(needed)
            part = path.with_suffix(f".{os.getpid()}.part")
            try:
                mapped = np.lib.format.open_memmap(part, mode="w+", dtype=dtype, shape=(size,))
                fill(mapped)
                mapped.flush()
                os.replace(part, path)
            finally:
                part.unlink(missing_ok=True)
        return np.load(path, mmap_mode="r")  # type: ignore[no-any-return]

    def path(self, key: object, suffix: str) -> Path:
        """Name the file for a key, which is any value that JSON can hold."""
        digest = hashlib.blake2b(json.dumps(key).encode(), digest_size=16).hexdigest()
        return self.folder / (digest + suffix)

    def reserve(self, needed: int) -> None:
        """Make the folder and require room on its disk."""
        self.folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            raise DataError(
                f"the decoded images need {needed / 1e9:.1f} GB, but cache_folder {self.folder} has"
                f" {free / 1e9:.1f} GB free; give size= or another cache_folder="
            )


def read_digits(*, size: Size, channels: int | None, labels: bool, storage: Storage) -> Source:
    """Read scikit-learn's 1797 handwritten digits: 8x8, 17 levels, 10 classes."""
    bunch = optional_package("sklearn.datasets", extra="demo").load_digits()
    x = _arrange(bunch.images.astype(np.uint8), "digits", channels)
    split = RawSplit(
        images=_resized(x, size, "digits", ["digits"], storage),
        labels=bunch.target.astype(np.int64) if labels else None,
    )
    return Source(splits={"train": split}, classes=tuple("0123456789") if labels else (), levels=17)


def read_arrays(
    path: Path, *, size: Size, channels: int | None, labels: str | Path | bool, storage: Storage
) -> Source:
    """Read a `.npy` or `.npz` file.

    A `.npy` file, or an `.npz` file with one array, holds images (N, H, W), (N, H, W, C) or (N, C,
    H, W): of axes 1 and 3, the shorter is the channels, unless `channels` decides. Labels come from
    `labels`, or for ``images.npy`` from ``labels.npy`` or ``images_labels.npy`` beside it. An
    `.npz` file with splits holds ``train_images``, perhaps ``valid_images`` and ``test_images``,
    ``train_labels`` ..., and ``label_names``; perhaps also ``train_vectors`` (N, size),
    ``train_captions`` (texts) and ``train_maps`` (N, h, w), ....

    ``size="auto"`` leaves integers wider than a byte as they are: they may be codes, which are
    names and have no mean.
    """
    if path.suffix == ".npy":
        arrays: Mapping[str, NDArray[Any]] = {"images": _load_npy(path)}
    else:
        arrays = _ZippedArrays(path, storage)
    names: tuple[str, ...] = ()
    found: dict[str, tuple[NDArray[Any], NDArray[Any] | None]] = {}
    prefixes: dict[str, str] = {}
    if len(arrays) == 1 and not any(split_of(key.removesuffix("_images")) for key in arrays):
        (images,) = arrays.values()
        found["train"] = images, _load_labels(path, labels)
    else:
        if isinstance(labels, str | Path):
            raise DataError(
                f"labels (={labels}) go with a file of one array, but {path} holds its own; leave"
                " them out"
            )
        for key in arrays:
            split = split_of(key.removesuffix("_images")) if key.endswith("_images") else None
            if split:
                prefix = prefixes[split] = key.removesuffix("images")
                given = (
                    arrays[f"{prefix}labels"] if labels and f"{prefix}labels" in arrays else None
                )
                found[split] = arrays[key], given
        if "train" not in found:
            raise DataError(
                f"{path} holds the arrays {', '.join(sorted(arrays)) or '(none)'}, but train_images"
                " (and perhaps valid_images, test_images, train_labels, label_names) or one array"
                " alone is expected"
            )
        if labels and "label_names" in arrays:
            names = tuple(str(name) for name in np.ravel(arrays["label_names"]))
    splits: dict[str, RawSplit] = {}
    for split, (images, given) in found.items():
        where = f"{split}_images of {path}" if path.suffix == ".npz" else str(path)
        x = _arrange(images, where, channels)
        splits[split] = RawSplit(
            images=_resized(x, size, where, [_stamp(path), split], storage),
            labels=(
                None
                if given is None
                else _checked_labels(given, len(x), len(names), f"{split} labels of {path}")
            ),
            **_companions(arrays, prefixes.get(split), len(x), path),
        )
    return Source(splits=splits, classes=names or _numbered_classes(splits.values()))


def automatic_size(sizes: Sequence[tuple[int, int]]) -> tuple[int, int] | None:
    """What `size="auto"` means for these sizes: None if all are equal and at most 64, else a square
    of at most 32.
    """
    if len(set(sizes)) == 1 and max(sizes[0]) <= 64:
        return None
    side = min(32, *map(min, sizes))
    return side, side


def split_of(name: str) -> str | None:
    """Tell which split a name means: "val" is "valid"; None if it means none."""
    return next((split for split, names in SPLIT_NAMES.items() if name.lower() in names), None)


def optional_package(module: str, *, extra: str) -> Any:
    """Import a module of a package that comes with an extra of nextpixel."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise DataError(
            f"this source needs {package}; install it with: pip install 'nextpixel[{extra}]'"
        ) from error


def _load_npy(path: Path) -> NDArray[Any]:
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except (
        Exception
    ) as error:  # numpy parses the head as Python, which raises many kinds on damaged files.
        raise DataError(f"{path}: cannot be read as a .npy file ({_reason(error)})") from error


class _ZippedArrays(Mapping[str, NDArray[Any]]):
    """The arrays of an `.npz` file, each read when it is asked for; those of a file beyond the
    memory limit are then unpacked once and mapped.
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

    def __getitem__(self, name: str) -> NDArray[Any]:
        member = self._members[name]
        with _reported(self.path), zipfile.ZipFile(self.path) as archive:
            if not self._is_large:
                with archive.open(member) as file:
                    return np.lib.format.read_array(file, allow_pickle=False)
            target = self.storage.path([_stamp(self.path), member.filename], ".npy")
            if not target.exists():
                self.storage.reserve(member.file_size)
                part = target.with_suffix(f".{os.getpid()}.part")
                try:
                    with archive.open(member) as file, part.open("wb") as copy:
                        shutil.copyfileobj(file, copy, 2**20)
                    os.replace(part, target)
                finally:
                    part.unlink(missing_ok=True)
            return np.load(  # type: ignore[no-any-return]
                target,
                mmap_mode="r" if member.file_size > 2**20 else None,
                allow_pickle=False,
            )


@contextmanager
def _reported(path: Path) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # zipfile, zlib and numpy raise many kinds on damaged files.
        raise DataError(f"{path}: cannot be read as an .npz file ({_reason(error)})") from error


def _load_labels(path: Path, labels: str | Path | bool) -> NDArray[Any] | None:
    if labels is False:
        return None
    if labels is not True:
        given = Path(labels).expanduser()
        if not given.exists():
            raise FileNotFoundError(f"{given}: there is no such file of labels")
        if not given.is_file():
            raise DataError(f"{given} is not a regular file; give a .npy file of labels")
        return np.array(_load_npy(given))
    stem = path.stem
    names = [stem + "_labels"] + (
        [stem.removesuffix("images") + "labels"] if stem.endswith("images") else []
    )
    beside = [
        file
        for name in names
        if path.suffix == ".npy" and (file := path.with_name(name + ".npy")).is_file()
    ]
    return np.array(_load_npy(beside[0])) if beside else None


def _arrange(x: NDArray[Any], where: str, channels: int | None) -> Integers:
    """View an array as (N, C, H, W)."""
    if x.dtype == np.bool_:
        x = x.view(np.uint8)
    if x.dtype.kind not in "ui":
        raise DataError(
            f"{where} hold {x.dtype}, but levels are integers; convert them, for example to uint8 0"
            " ... 255"
        )
    if x.ndim not in (3, 4):
        raise DataError(
            f"{where} have shape {x.shape}, but (N, H, W), (N, H, W, C) or (N, C, H, W) is expected"
        )
    if 0 in x.shape:
        raise DataError(f"{where} have shape {x.shape}, which holds no image")
    if x.ndim == 3:
        x = x[:, None]
    else:
        first, last = x.shape[1], x.shape[3]
        if channels in (first, last):
            is_last = channels == last
        elif first == last:
            raise DataError(
                f"{where} have shape {x.shape}, in which axis 1 or 3 may be channels; give"
                " channels="
            )
        else:
            is_last = last < first
        x = np.moveaxis(x, 3, 1) if is_last else x
    if channels not in (None, x.shape[1]):
        raise DataError(
            f"{where} have {x.shape[1]} channels, but channels (={channels}) was asked for; leave"
            " it out or convert"
        )
    return x


def _resized(x: Integers, size: Size, where: str, key: object, storage: Storage) -> Integers:
    if size == "auto":
        size = automatic_size([(x.shape[2], x.shape[3])]) if x.dtype.itemsize == 1 else None
    if size is None:
        return x
    height, width = (size, size) if isinstance(size, int) else size
    shape = (*x.shape[:2], height, width)
    if shape == x.shape:
        return x

    def fill(flat: Integers) -> None:
        for image, small in zip(x, flat.reshape(shape), strict=True):
            small[...] = resize(image, (height, width))

    try:
        return storage.build(int(np.prod(shape)), x.dtype, [key, "resized", *shape], fill).reshape(
            shape
        )
    except ImageError as error:
        raise DataError(f"{where}: {error}") from error


def _checked_labels(
    labels: NDArray[Any], count: int, classes: int, where: str
) -> NDArray[np.int64]:
    if labels.dtype.kind not in "ui":
        raise DataError(
            f"{where} hold {labels.dtype}, but labels are integers 0 ... classes-1; number the"
            " classes"
        )
    if labels.shape not in ((count,), (count, 1)):
        raise DataError(
            f"{where} have shape {labels.shape}, but there are {count} images; ({count},) is"
            " expected"
        )
    low, high = int(labels.min()), int(labels.max())
    limit = classes or _MOST_CLASSES
    if low < 0 or high >= limit:
        meaning = (
            f"label_names names {classes} classes"
            if classes
            else "classes are numbered from 0 without gaps"
        )
        raise DataError(
            f"{where} range from {low} to {high}, but {meaning}; labels must lie in 0 ..."
            f" {limit - 1}"
        )
    return labels.reshape(count).astype(np.int64)


def _companions(
    arrays: Mapping[str, NDArray[Any]], prefix: str | None, count: int, path: Path
) -> dict[str, Any]:
    """The vectors, captions and maps beside the images of a split."""
    found = {
        field: arrays[f"{prefix}{field}"]
        for field in ("vectors", "captions", "maps")
        if f"{prefix}{field}" in arrays
    }
    for field, values in found.items():
        if len(values) != count:
            raise DataError(
                f"{prefix}{field} of {path} are {len(values)}, but there are {count} images"
            )
    if "captions" in found:
        found["captions"] = tuple(str(text) for text in np.ravel(found["captions"]))  # type: ignore[assignment]
    return found


def _numbered_classes(splits: Any) -> tuple[str, ...]:
    highest = max(
        (int(split.labels.max()) for split in splits if split.labels is not None), default=-1
    )
    return tuple(str(k) for k in range(highest + 1))


def _stamp(path: Path) -> list[Any]:
    status = path.stat()
    return [str(path.resolve()), status.st_size, status.st_mtime_ns]


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
