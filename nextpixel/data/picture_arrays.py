"""Pictures -> one array for each split: what all pictures share is found before they are decoded.

Decoding takes two passes. The first reads only the heads of the files, and determines what all
pictures share: channels, size and depth. The second decodes in parallel into place, in memory or in
a memory-mapped file. Whatever is assumed or skipped is a note of the result.
"""

import math
import os
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextpixel.data.attempts import attempt, raise_all
from nextpixel.data.classes import named_classes
from nextpixel.data.decoding import convert
from nextpixel.data.depth import depth_of, levels_of, tell_few, tell_nodata
from nextpixel.data.errors import DataError
from nextpixel.data.fingerprints import fingerprint
from nextpixel.data.picture import (
    Picture,
    converted_channels,
    files_words,
    labels_of,
    listed,
    occurring_classes,
    require_equal,
    require_large,
    shared_channels,
    size_words,
)
from nextpixel.data.pixels import resize, subsample
from nextpixel.data.reading import image_heads, taking_turns
from nextpixel.data.splits import Split
from nextpixel.data.storage import Progress, Storage, Stored
from nextpixel.settings.preparation import Preparation, automatic_size, outliers, pair

__all__ = ["decoded"]

# What is kept of each picture behind the pixels: its fingerprint and its highest stored value.
_LARGE = 4
"""From so many times the size on, most of a picture is lost when it is reduced."""
_TRAILER = np.dtype([("fingerprint", "<u8"), ("highest", "<u2")])


def decoded(
    parts: dict[str, list[Picture]],
    classes: tuple[str, ...] | None,
    preparation: Preparation,
    storage: Storage,
) -> Stored:
    """Decode the pictures of each split, to one number of channels.

    Args:
        parts: The pictures.
        classes: Names of the labels 0, 1 ...; None where labels are the names themselves.
        preparation: How they are prepared.
        storage: Where they go.
    """
    files = [replace(p, split=split) for split, part in parts.items() for p in part]
    notes: list[str] = []
    with warnings.catch_warnings():
        for module in ("PIL", "pydicom"):  # On odd metadata; damaged pixels raise.
            warnings.filterwarnings("ignore", module=module)
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            pictures = _found(files, preparation, pool, storage.progress, notes)
            pictures, size, skipped = _sized(pictures, preparation, notes)
            asked = replace(preparation, size=size)
            nodata = tell_nodata(pictures, preparation, pool, notes)
            if preparation.size == "auto" and size is not None:
                _tell_reduced(pictures, asked, notes)
            images, trailer, levels = _images(pictures, asked, storage, pool, notes)
    names = classes
    if names is None:
        labels = [p.label if p.label is None else str(p.label) for p in pictures]
        names = named_classes(labels, preparation.reading)
    elif preparation.reading > 1:
        pictures, names = occurring_classes(pictures, names)
    splits: dict[str, Split] = {}
    begin = 0
    for split in parts:
        part = [picture for picture in pictures if picture.split == split]
        end = begin + len(part)
        splits[split] = Split(
            images=images[begin:end],
            labels=labels_of(part, names) if names else None,
            names=tuple(picture.name for picture in part),
            stored_sizes=tuple(picture.head.shape[1:] for picture in part),
            fingerprints=trailer["fingerprint"][begin:end].astype(np.uint64),
        )
        begin = end
    splits = {split: part for split, part in splits.items() if len(part)}
    return Stored(
        splits=splits,
        classes=names,
        levels=levels,
        notes=tuple(notes),
        skip_small=skipped,
        nodata=nodata,
    )


def _found(
    files: list[Picture],
    preparation: Preparation,
    pool: ThreadPoolExecutor,
    progress: Progress | None,
    notes: list[str],
) -> list[Picture]:
    """Read the heads of all files; of a stack every page is a picture."""
    reading = preparation.reading

    def pages(file: Picture) -> list[Picture]:
        heads = image_heads(file.open(), name=file.where, reading=reading)
        if len(heads) == 1:
            return [replace(file, head=heads[0])]
        return [
            replace(
                file,
                name=f"{file.name}#{head.page + 1}",
                where=f"{file.where}, page {head.page + 1}",
                stamp=f"{file.stamp} {head.page}",
                head=head,
            )
            for head in heads
        ]

    stacks, failures = attempt(pages, files, pool)
    pictures = [picture for stack in stacks for picture in stack]
    if failures or preparation.skip_broken:
        # Name those whose head is sound but whose pixels are not, too.
        sound, broken = attempt(lambda p: (p, p.read(reading).shape)[0], pictures, pool, progress)
        if not preparation.skip_broken or not sound:
            raise_all(failures + broken, len(files))
        pictures, failures = sound, failures + broken
    if failures:
        notes.append(listed("unreadable, and skipped", failures, len(files)))
    if many := [stack for stack in stacks if len(stack) > 1]:
        count = sum(map(len, many))
        notes.append(
            f"{files_words(len(many))} of several pages: each of {count} pages is a picture"
        )
    for note, count in Counter(note for p in pictures for note in p.head.notes).items():
        notes.append(f"{count} picture{'s' * (count != 1)}: {note}")
    if frames := [p for p in pictures if p.head.frames > 1]:
        passed = sum(p.head.frames - 1 for p in frames)
        notes.append(
            f"{files_words(len(frames))} with animations: the first frame is read, {passed} others"
            " are skipped"
        )
    return pictures


def _sized(
    pictures: list[Picture], preparation: Preparation, notes: list[str]
) -> tuple[list[Picture], tuple[int, int] | None, bool]:
    """The pictures that are large enough, their common size, and whether others are skipped."""
    asked, small = preparation.size, []
    if asked == "auto":
        sizes = [picture.head.shape[1:] for picture in pictures]
        small = outliers(sizes) if preparation.reading > 1 else []
        kept = [size for k, size in enumerate(sizes) if k not in set(small)]
        size = automatic_size(kept)
        words = f"much smaller than the others ({size_words(size or kept[0])})"
    else:
        size = None if asked is None else pair(asked)
        if size is not None:
            low, wide = size
            shapes = (picture.head.shape for picture in pictures)
            small = [k for k, (_, h, w) in enumerate(shapes) if h < low or w < wide]
            words = f"smaller than size {size_words(size)}"
            if not (preparation.skip_small or preparation.skip_broken):
                require_large(pictures, small, size)
    if small:
        shown = [f"{pictures[k].where} ({size_words(pictures[k].head.shape[1:])})" for k in small]
        notes.append(listed(f"{words}, and skipped", shown, len(pictures)))
        passed = set(small)
        pictures = [picture for k, picture in enumerate(pictures) if k not in passed]
        if not pictures:
            raise DataError(f"all {len(passed)} pictures are {words}; reduce ‹size›")
    if size is None and not preparation.ragged:
        require_equal(pictures)
    return pictures, size, bool(small)


def _takes_nearest(preparation: Preparation) -> bool:
    """Whether pictures are reduced without averages, which values of a table have not."""
    exact = preparation.values is not None or preparation.missing is not None
    return preparation.resize == "nearest" or (exact and preparation.resize != "average")


def _tell_reduced(pictures: list[Picture], preparation: Preparation, notes: list[str]) -> None:
    """Say what becomes of pictures whose size nobody gave."""
    size = pair(preparation.size)  # type: ignore[arg-type]
    sizes = {picture.head.shape[1:] for picture in pictures}
    if sizes == {size} or any(picture.head.real for picture in pictures):
        return
    first, equal = pictures[0].head.shape[1:], len(sizes) == 1
    cropped = "" if all(h * size[1] == w * size[0] for h, w in sizes) else "cropped centrally and "
    large = all(min(shape) >= _LARGE * max(size) for shape in sizes)
    nearest = _takes_nearest(preparation)
    method = "the nearest pixels are taken" if nearest else "areas are averaged"
    notes.append(
        f"pictures of {size_words(first) if equal else 'different sizes'} are {cropped}reduced to"
        f" {size_words(size)}, and {method};"
        + (f" ‹size={size_words(first)}› keeps them" if equal else " ‹size› sets another size")
        + ("" if nearest else ", ‹resize=nearest› takes single pixels instead")
        + (f"; to learn windows instead, train with ‹crop={max(size)}›" if large else "")
    )


def _images(
    pictures: list[Picture],
    preparation: Preparation,
    storage: Storage,
    pool: ThreadPoolExecutor,
    notes: list[str],
) -> tuple[Any, NDArray[Any], int | None]:
    """Decode into an array (N, C, H, W), or a list of (C, H_i, W_i).

    Also give the fingerprint and highest value of each picture, and the number of levels.
    """
    reading = preparation.reading
    channels = shared_channels(pictures, preparation)
    notes += converted_channels(pictures, preparation, channels)
    size = None if preparation.size is None else pair(preparation.size)  # type: ignore[arg-type]
    sizes = [size or picture.head.shape[1:] for picture in pictures]
    resized = any(p.head.shape[1:] != s for p, s in zip(pictures, sizes, strict=True))
    levels, shift = depth_of(pictures, preparation, channels, resized, pool, notes)
    signed_bits = max(picture.head.signed_bits for picture in pictures)
    real = any(picture.head.real for picture in pictures)
    whole = {0: np.uint16, 16: np.int16, 32: np.int32}[signed_bits]
    dtype = np.dtype(np.uint8 if levels is not None else np.float32 if real else whole)
    if real and resized:
        size, sizes = None, [picture.head.shape[1:] for picture in pictures]
        require_equal(pictures)  # They are resized when it is known what floats mean.
    if levels == 256 and channels == 1:
        tell_few(pictures, preparation, notes)
    alpha = channels == 4 and not pictures[0].head.has_bands
    nearest = _takes_nearest(preparation)
    ends = np.cumsum([channels * height * width for height, width in sizes]).tolist()
    behind_bytes = len(pictures) * _TRAILER.itemsize
    pixels, extra = ends[-1], -(-behind_bytes // dtype.itemsize)

    def fill(flat: NDArray[Any]) -> None:
        # Through a view: what is written to parts of a record in place is seen in `flat`.
        behind = flat[pixels:].view(np.uint8)[:behind_bytes].view(_TRAILER)

        def decode(k: int) -> None:
            picture = pictures[k]
            bands, *sides = picture.head.shape
            with taking_turns(math.prod(sides) * max(1, bands // 4)):  # bands weigh like pixels
                x = picture.read(reading)
                behind[k] = fingerprint(x, alpha=picture.has_alpha), 0 if real else max(0, x.max())
                if shift and picture.head.levels is None:
                    x = (x >> shift).astype(np.uint8)
                if levels is not None and levels < 256:
                    x = x // (255 // (levels - 1))
                x = convert(x, channels)
                if size is not None:
                    x = subsample(x, size) if nearest else resize(x, size, alpha=alpha)
            flat[ends[k] - x.size : ends[k]] = x.ravel()

        raise_all(attempt(decode, range(len(pictures)), pool, storage.progress)[1], len(pictures))

    key = [
        [p.stamp for p in pictures],
        channels,
        size,
        min(reading, 2),
        levels,
        shift,
        "fingerprints",
    ]
    if nearest:
        key.append("nearest")
    flat = storage.build(pixels + extra, dtype, key, fill)
    trailer = np.array(np.asarray(flat[pixels:]).view(np.uint8)[:behind_bytes].view(_TRAILER))
    plain = flat[:pixels]
    if dtype.kind == "i" and plain.min() >= 0:
        plain, signed_bits = plain.astype(np.uint16), 0
    if levels is None and not (signed_bits or real):
        said = {picture.head.depth or 0 for picture in pictures}
        highest = int(trailer["highest"].max())
        levels = preparation.from_levels or (max(said) if all(said) else levels_of(highest, notes))
    if len(set(sizes)) == 1:
        return plain.reshape(len(pictures), channels, *sizes[0]), trailer, levels
    plain = np.asarray(plain)
    begins = [0, *ends[:-1]]
    images = [plain[a:b].reshape(channels, *s) for a, b, s in zip(begins, ends, sizes, strict=True)]
    return images, trailer, levels
