"""Pictures in files, decoded once into one array.

Decoding takes two passes. The first reads only the headers of the files, and determines what all
pictures share: channels and size. The second decodes in parallel into place, in memory or in a
memory-mapped file. Files are sorted by name, so that a set does not depend on how a disk lists it.
"""

import io
import math
import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nextpixel.data.errors import DataError, ImageError
from nextpixel.data.folders import Seen, files_below, listing, require_file
from nextpixel.data.image_files import image_shape, read_image, taking_turns
from nextpixel.data.pixels import Integers, resize
from nextpixel.data.preparation import Preparation, automatic_size, pair
from nextpixel.data.splits import Split
from nextpixel.data.storage import (
    SPLIT_NAMES,
    Progress,
    Storage,
    Stored,
    split_of,
    stamp,
)

__all__ = ["Picture", "decoded", "is_picture", "read_folder", "read_picture"]

Result = TypeVar("Result")

_PICTURES = set(
    ".png .apng .jpg .jpeg .jpe .jfif .webp .bmp .dib .gif .tif .tiff .ppm .pgm .pbm .pnm .avif"
    " .jp2 .tga .pcx".split()
)
# Left out in silence, half of somebody's photographs would be missing: so they are errors.
_PICTURES_WITHOUT_DECODER = set(".heic .heif .jxl .dng .cr2 .cr3 .nef .arw .raf .orf .rw2".split())
_BLOCK = 1024


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One undecoded picture.

    Attributes:
        name: What it is called within its set.
        where: What errors call it.
        open: Gives its file.
        stamp: Changes when the content does.
        label: Its class, or None.
    """

    name: str
    where: str
    open: Callable[[], Path | io.BytesIO]
    stamp: str
    label: str | int | None = None


def read_folder(folder: Path, preparation: Preparation, storage: Storage) -> Stored:
    """Read a folder of pictures.

    Sub-folders are classes, at any depth below; if there is a sub-folder ``train``, then ``train``,
    ``valid`` and ``test`` are the splits, and their sub-folders the classes. Hidden files and what
    is no picture are skipped.
    """
    labels, entries = not preparation.ignore_labels, listing(folder)
    seen: Seen = {}
    parts: dict[str, list[Picture]] = {}
    named = {
        split: entry for entry in entries if entry.is_dir() and (split := split_of(entry.name))
    }
    if "train" in named:
        strays = [
            entry
            for entry in entries
            if entry not in named.values() and next(files_below(entry, folder, is_picture), None)
        ]
        if strays:
            raise DataError(
                f"{strays[0]} lies beside {named['train']}; move its pictures into one of the"
                " splits"
            )
        for split in SPLIT_NAMES:
            if split in named:
                parts[split] = _folder_pictures(named[split], folder, labels, seen)
    else:
        parts["train"] = _folder_pictures(folder, folder, labels, seen)
    if not parts["train"]:
        raise DataError(
            f"{named.get('train', folder)} holds no pictures ({', '.join(sorted(_PICTURES))})"
        )
    classes = sorted({str(p.label) for part in parts.values() for p in part if p.label is not None})
    parts = {split: part for split, part in parts.items() if part}
    return decoded(parts, tuple(classes), preparation, storage)


def read_picture(path: Path, preparation: Preparation, storage: Storage) -> Stored:
    """Read a set of one picture."""
    require_file(path)
    return decoded({"train": [_file_picture(path, path.name, None)]}, (), preparation, storage)


def is_picture(path: Path) -> bool:
    """Tell by its name whether a file is a picture.

    Raises:
        DataError: If it is one in a format that cannot be decoded.
    """
    suffix = path.suffix.lower()
    if suffix in _PICTURES_WITHOUT_DECODER and suffix not in Image.registered_extensions():
        raise DataError(
            f"{path}: pictures in {suffix} cannot be decoded; convert it to PNG or JPEG, or move it"
            " away"
        )
    return suffix in _PICTURES or suffix in _PICTURES_WITHOUT_DECODER


def decoded(
    parts: dict[str, list[Picture]],
    classes: tuple[str, ...],
    preparation: Preparation,
    storage: Storage,
) -> Stored:
    """Decode the pictures of each split, to one number of channels."""
    pictures = [picture for part in parts.values() for picture in part]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")  # On odd metadata; damaged pixels raise.
        workers = min(8, os.cpu_count() or 1)
        with ThreadPoolExecutor(workers) as pool:
            images, sizes = _images(pictures, preparation, storage, pool)
    splits, begin = {}, 0
    for split, part in parts.items():
        splits[split] = Split(
            images=images[begin : begin + len(part)],
            labels=_labels(part, classes) if classes else None,
            names=tuple(picture.name for picture in part),
            stored_sizes=tuple(sizes[begin : begin + len(part)]),
        )
        begin += len(part)
    return Stored(splits=splits, classes=classes, levels=256)


def _images(
    pictures: list[Picture], preparation: Preparation, storage: Storage, pool: ThreadPoolExecutor
) -> tuple[Any, list[tuple[int, int]]]:
    """Decode into an array (N, C, H, W), or a list of (C, H_i, W_i); also give the files' sizes."""
    if preparation.channels not in (None, 1, 3, 4):
        raise DataError(
            f"‹channels={preparation.channels}› must be 1, 3 or 4 for pictures, or left out"
        )
    try:
        shapes = _attempt(
            lambda picture: image_shape(picture.open(), name=picture.where), pictures, pool
        )
    except DataError:
        # Name those whose header is sound but whose pixels are not, too.
        _attempt(
            lambda picture: read_image(picture.open(), name=picture.where).shape, pictures, pool
        )
        raise
    channels = preparation.channels or _choose_channels(pictures, [shape[0] for shape in shapes])
    own = sizes = [shape[1:] for shape in shapes]
    asked = preparation.size
    size = automatic_size(sizes) if asked == "auto" else None if asked is None else pair(asked)
    if size is not None:
        _require_large(pictures, sizes, size)
        sizes = [size] * len(pictures)
    elif not preparation.ragged:
        _require_equal(pictures, sizes)
    ends = np.cumsum([channels * height * width for height, width in sizes]).tolist()

    def fill(flat: Integers) -> None:
        def decode(k: int) -> None:
            picture = pictures[k]
            with taking_turns(math.prod(own[k])):
                x: Integers = read_image(picture.open(), channels=channels, name=picture.where)
                if size is not None:
                    x = resize(x, size, alpha=channels == 4)
            flat[ends[k] - x.size : ends[k]] = x.ravel()

        _attempt(decode, range(len(pictures)), pool, storage.progress)

    key = [[picture.stamp for picture in pictures], channels, size]
    flat = storage.build(ends[-1], np.dtype(np.uint8), key, fill)
    if len(set(sizes)) == 1:
        return flat.reshape(len(pictures), channels, *sizes[0]), own
    plain = np.asarray(flat)
    begins = [0, *ends[:-1]]
    return [
        plain[a:b].reshape(channels, *s) for a, b, s in zip(begins, ends, sizes, strict=True)
    ], own


def _attempt(
    action: Callable[[Any], Result],
    items: Sequence[Any],
    pool: ThreadPoolExecutor,
    progress: Progress | None = None,
) -> list[Result]:
    """Do all, and report all failures in one error, so that many files can be mended at once."""
    results: list[Result] = []
    failures: list[str] = []

    def one(item: Any) -> tuple[Result | None, str | None]:
        try:
            return action(item), None
        except (ImageError, FileNotFoundError) as error:
            return None, str(error)

    for begin in range(0, len(items), _BLOCK):
        for result, failure in pool.map(one, items[begin : begin + _BLOCK]):
            if failure is None:
                results.append(result)  # type: ignore[arg-type]
            else:
                failures.append(failure)
        if progress:
            progress(min(begin + _BLOCK, len(items)), len(items))
    if len(failures) == 1:
        raise DataError(failures[0])
    if failures:
        more = f"; and {len(failures) - 5} more" if len(failures) > 5 else ""
        raise DataError(
            f"{len(failures)} of {len(items)} pictures cannot be read:"
            f" {'; '.join(failures[:5])}{more}"
        )
    return results


def _choose_channels(pictures: list[Picture], natural: list[int]) -> int:
    """Choose 4 if all have opacity and any is transparent, else 3 if any is coloured, else 1.

    What counts is the pixels: grey scans saved as RGB need one channel, and two more would flatter
    bits/dim.
    """
    if set(natural) == {4} and any(
        x is not None and x[3].min() < 255 for x in (_sound(picture, 4) for picture in pictures)
    ):
        return 4
    coloured = (
        picture for picture, channels in zip(pictures, natural, strict=True) if channels > 1
    )
    for x in (_sound(picture, 3) for picture in coloured):
        if x is not None and ((x[0] != x[1]).any() or (x[1] != x[2]).any()):
            return 3
    return 1


def _sound(picture: Picture, channels: int) -> NDArray[np.uint8] | None:
    """Decode a picture; None if it is broken, which decoding all pictures reports."""
    try:
        return read_image(picture.open(), channels=channels, name=picture.where)
    except (ImageError, FileNotFoundError):
        return None


def _require_large(
    pictures: list[Picture], sizes: list[tuple[int, int]], size: tuple[int, int]
) -> None:
    small = [k for k, (height, width) in enumerate(sizes) if height < size[0] or width < size[1]]
    if small:
        height, width = sizes[small[0]]
        raise DataError(
            f"{len(small)} of {len(pictures)} pictures are smaller than size {size[0]}x{size[1]},"
            f" the first {pictures[small[0]].where} ({height}x{width}), and pictures are never"
            f" enlarged; remove them or use size {min(min(s) for s in sizes)} or less"
        )


def _require_equal(pictures: list[Picture], sizes: list[tuple[int, int]]) -> None:
    for picture, size in zip(pictures, sizes, strict=True):
        if size != sizes[0]:
            raise DataError(
                f"pictures differ in size: {pictures[0].where} has {sizes[0][0]}x{sizes[0][1]}"
                f" pixels, {picture.where} {size[0]}x{size[1]}; give ‹size› to crop and reduce"
                f" them all (at most {min(min(s) for s in sizes)}), or ‹ragged=True› to keep their"
                " sizes and train on crops"
            )


def _labels(pictures: list[Picture], classes: tuple[str, ...]) -> NDArray[np.int64] | None:
    if all(picture.label is None for picture in pictures):
        return None
    index = {name: k for k, name in enumerate(classes)}
    labels = np.array(
        [index.get(p.label, -1) if isinstance(p.label, str) else p.label for p in pictures]
    )
    if labels.min() < 0 or labels.max() >= len(classes):
        bad = pictures[int(np.argmax((labels < 0) | (labels >= len(classes))))]
        raise DataError(
            f"{bad.where} has the label {bad.label}, but labels must lie in 0 ..."
            f" {len(classes) - 1}"
        )
    return labels.astype(np.int64)


def _folder_pictures(folder: Path, root: Path, labels: bool, seen: Seen) -> list[Picture]:
    loose: list[Picture] = []
    labelled: list[Picture] = []
    for entry in listing(folder):
        for path in files_below(entry, root, is_picture, seen):
            label = entry.name if labels and path != entry else None
            (loose if path == entry else labelled).append(
                _file_picture(path, path.relative_to(root).as_posix(), label)
            )
    if labels and loose and labelled:
        raise DataError(
            f"{folder} holds both pictures ({loose[0].name}) and sub-folders of pictures"
            f" ({labelled[0].name}), so that it is not clear whether sub-folders are classes; give"
            " ‹ignore_labels=True› if not, or move the loose pictures"
        )
    return sorted(loose + labelled, key=lambda picture: picture.name)


def _file_picture(path: Path, name: str, label: str | None) -> Picture:
    try:
        stamped = " ".join(map(str, stamp(path)))
    except OSError:
        stamped = ""  # A dangling link: reading it will say so.
    return Picture(name=name, where=str(path), open=lambda: path, stamp=stamped, label=label)
