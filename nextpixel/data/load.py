"""Data sets: any source of images -> `ImageData`, integers 0 ... levels-1 split into train, valid
and test.

Sources: ``digits``; an ``.npz`` or ``.npy`` file; a folder of pictures, or one picture;
``hf:NAME``, a Hugging Face data set. What a source does not split is split here, by a hash of
(seed, index): the same in every version of numpy, for a checkpoint is compared on its test split
years later.

Invariant: an image of a split depends on the source and `ImageData.preparation` alone, never on
which other images are read with it, nor on whether they are kept in memory or prepared batch by
batch from a memory map.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nextpixel.data.annotations import (
    BagOfWords,
    TextEncoder,
    attach,
    checked_vectors,
    embedded,
    encode_captions,
    encoder_name,
)
from nextpixel.data.arrays import DataError, Source, Storage, read_arrays, read_digits
from nextpixel.data.folders import require_file
from nextpixel.data.maps import checked_maps
from nextpixel.data.pictures import (
    PictureOptions,
    is_picture,
    is_saved_dataset,
    read_dataset,
    read_folder,
    read_picture,
)
from nextpixel.data.preparation import Integers
from nextpixel.data.splits import ImageData, LevelRule, MappedImages, Split, crop_offsets, pair
from nextpixel.data.statistics import describe, histogram_bits_per_dim

__all__ = [
    "DataError",
    "ImageData",
    "Split",
    "crop_offsets",
    "describe",
    "histogram_bits_per_dim",
    "load_data",
]

_ACCEPTED = (
    "'digits', an .npz or .npy file, a folder of pictures or one picture, or 'hf:NAME' for a"
    " Hugging Face data set"
)
_SPLITS = ("train", "valid", "test")
_BLOCK_BYTES = 2**24


def load_data(
    source: str | Path,
    *,
    size: int | Sequence[int] | Literal["auto"] | None = None,
    levels: int | None = None,
    from_levels: int | None = None,
    binarise: Literal["threshold", "draw"] | None = None,
    channels: int | None = None,
    labels: bool | str | Path = True,
    vectors: str | Path | None = None,
    captions: str | Path | None = None,
    text_encoder: TextEncoder | Sequence[str] | None = None,
    embedding: str | Path | None = None,
    maps: str | Path | None = None,
    validation: int | float = 0.1,
    test: int | float = 0.1,
    seed: int = 0,
    ragged: bool = False,
    memory_bytes: int = 2**31,
    cache_folder: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ImageData:
    """Read a source, bring it to levels, and split it.

    Args:
        source: ``digits`` (scikit-learn's, 8x8, 17 levels, 10 classes); an ``.npz`` or ``.npy``
            file (`nextpixel.data.arrays.read_arrays`); a folder of pictures, whose sub-folders are
            classes, or ``train``, ``valid`` and ``test`` (`nextpixel.data.pictures.read_folder`);
            one picture; ``hf:NAME`` or ``hf:NAME:CONFIGURATION``. A folder called digits is
            ``./digits``.
        size: Crop every image centrally to this side or (height, width) and average areas; never
            enlarges. "auto" leaves images of one size up to 64 as they are, and makes others
            squares of 32, or of the shortest side of all; arrays of integers wider than a byte it
            leaves as they are, for codes have no average.
        levels: Reduce to so many levels, ``x * levels // from_levels``; None keeps what there are.
            The values of a file of arrays that are all below `levels` already are kept as they are.
        from_levels: The number of levels the stored values have. If None: 256 for pictures; for
            arrays 2 if nothing is above 1, else 256 for 8 bits, 65536 for uint16 that use their
            highest bit, else the highest value + 1 (wider integers are codes, which are not
            quantised unless `from_levels` says that they may be).
        binarise: Reduce to two levels: 1 from half of the levels on, or drawn with probability x /
            (from_levels - 1).
        channels: For pictures 1, 3 or 4, converting; if None, 4 if all have opacity and any is
            transparent, else 3 if any is coloured, else 1. For arrays a requirement, which also
            tells (N, C, H, W) from (N, H, W, C).
        labels: False ignores labels and sub-folders' names; a path is the ``.npy`` file of labels
            of one array.
        vectors: A file of a vector for each image, see `nextpixel.data.annotations.attach`. Those
            within an ``.npz`` file are found.
        captions: A file of a text for each image, see there.
        text_encoder: What makes vectors of captions: a function of a list of texts to an array (n,
            size), or of one text to (size,), or the words of a
            `nextpixel.data.annotations.BagOfWords`; None takes the 512 most frequent words of the
            training captions.
        embedding: The checkpoint of a `nextpixel.models.embedding.Embedding`, which makes a vector
            of every image. It takes the place of labels. If it was trained on this source, or on
            classes of the same names, the test split is all images of the classes that were held
            out of its training, which are in no other split.
        maps: A file or folder of a map for each image, see there: another image, a mask, a sketch.
            Integers have 2 levels if nothing in any split is above 1, else 256 for bytes, else the
            highest value + 1.
        validation: What of the training images becomes the validation split if the source has none:
            a fraction below 1, rounded down, or a number of images. 0 for none.
        test: The same for the test split.
        seed: Which split, and which draw.
        ragged: Accept pictures that differ in size, to train on crops of them.
        memory_bytes: Beyond this, images stay in a memory map, and are prepared batch by batch.
        cache_folder: Where decoded pictures are kept, so that only the first call decodes them. If
            None, only those beyond `memory_bytes` are, in the folder ``nextpixel`` of
            ``$XDG_CACHE_HOME`` or ``~/.cache``.
        progress: Called with how many pictures are decoded, and of how many.

    Raises:
        FileNotFoundError: If the file or folder does not exist.
        DataError: For everything else; the message names the file and says what to do.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "noise.npy"
        >>> np.save(path, np.random.default_rng(0).integers(0, 256, (50, 8, 8), dtype=np.uint8))
        >>> data = load_data(path, levels=4)
        >>> len(data.train), len(data.valid), len(data.test), data.train.images.shape[1:], data.levels
        (40, 5, 5, (1, 8, 8), 4)
    """
    if size == "auto" and ragged:
        raise DataError(
            "size='auto' makes all images one size, and ragged=True keeps their sizes; give one of"
            " the two"
        )
    _check_options(size, levels, from_levels, binarise, channels, seed, memory_bytes)
    folder = Path(
        cache_folder or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "nextpixel"
    ).expanduser()
    options = PictureOptions(
        size="auto" if isinstance(size, str) else None if size is None else pair(size),
        channels=channels,
        ragged=ragged,
        labels=bool(labels),
        storage=Storage(memory_bytes=memory_bytes, folder=folder, keep=cache_folder is not None),
        progress=progress,
    )
    place, read = _read(source, labels, options)
    read = attach(read, vectors=vectors, captions=captions, maps=maps)
    found_channels, shape = _common_shape(read, place)
    stored = _stored_levels(read, None if binarise else levels, from_levels, place)
    wanted = 2 if binarise else levels or stored
    if wanted > stored:
        raise DataError(
            f"levels (={wanted}) must be at most the {stored} that {place} has; leave it out or"
            " reduce it"
        )
    rule = LevelRule(from_levels=stored, levels=wanted, method=binarise, seed=seed)
    rows = _split_rows(read, {"valid": validation, "test": test}, seed)
    splits = {
        name: _prepared(read, name, rows[name], rule, memory_bytes, place) for name in _SPLITS
    }
    for field in ("labels", "vectors", "maps", "captions"):
        having = {name: _has(split, field) for name, split in splits.items() if len(split)}
        if len(set(having.values())) > 1:
            without = next(name for name, has in having.items() if not has)
            advice = "; give labels=False" if field == "labels" else "; give them for all"
            raise DataError(
                f"{place} has no {field} for its {without} images but for others{advice}"
            )
    encoder = _text_encoder(text_encoder, splits["train"].captions)
    if encoder is not None:
        splits = {name: _with_captions(split, encoder) for name, split in splits.items()}
    classes = read.classes if splits["train"].labels is not None else ()
    held_out: tuple[str, ...] = ()
    if embedding is not None:
        splits, held_out = embedded(splits, Path(embedding), place, classes)
        classes = ()
    return ImageData(
        source=str(source),
        levels=wanted,
        channels=found_channels,
        shape=shape,
        classes=classes,
        **splits,
        map_levels=_map_levels(
            [split.maps for split in splits.values() if split.maps is not None], place
        ),
        held_out=held_out,
        preparation={
            "source": place,
            "size": _size_kept(size, shape),
            "levels": wanted,
            "from_levels": stored,
            "binarise": binarise,
            "channels": found_channels,
            "labels": labels if isinstance(labels, bool) else _absolute(labels),
            "vectors": _absolute(vectors),
            "captions": _absolute(captions),
            "text_encoder": (
                encoder.words
                if isinstance(encoder, BagOfWords)
                else encoder and encoder_name(encoder)
            ),
            "embedding": _absolute(embedding),
            "maps": _absolute(maps),
            "validation": validation,
            "test": test,
            "seed": seed,
            "ragged": ragged,
        },
    )


def _has(split: Split, field: str) -> bool:
    return bool(split.captions) if field == "captions" else getattr(split, field) is not None


def _absolute(path: str | Path | None) -> str | None:
    """The path that finds the file from any working folder."""
    return None if path is None else str(Path(path).expanduser().resolve())


def _text_encoder(
    given: TextEncoder | Sequence[str] | None, captions: tuple[str, ...]
) -> TextEncoder | None:
    if not captions:
        return None
    if given is None:
        return BagOfWords.of(captions)
    if isinstance(given, str):
        raise DataError(
            f"the captions were encoded by {given}; give text_encoder=, that function, if you"
            " trust it"
        )
    return given if callable(given) else BagOfWords(given)


def _with_captions(split: Split, encoder: TextEncoder) -> Split:
    """The split with the vectors of its captions beside those that it has."""
    if not split.captions:
        return split
    parts = [] if split.vectors is None else [split.vectors]
    return replace(
        split, vectors=np.concatenate([*parts, encode_captions(encoder, split.captions)], axis=1)
    )


def _map_levels(maps: list[NDArray[Any]], place: str) -> int | None:
    """How many levels the integer maps of all splits have, by the rule for images; None for floats."""
    floats = [values.dtype.kind == "f" for values in maps]
    if any(floats) and not all(floats):
        raise DataError(
            f"the maps of {place} are floats in some splits and integers in others; make them the"
            " same"
        )
    if not maps or any(floats):
        return None
    highest = max(int(values.max(initial=1)) for values in maps)
    return 256 if highest > 1 and all(values.dtype == np.uint8 for values in maps) else highest + 1


def _size_kept(
    size: int | Sequence[int] | Literal["auto"] | None, shape: tuple[int, int] | None
) -> list[int] | None:
    """The size for `preparation`: "auto" as it turned out."""
    if isinstance(size, str):
        return shape and list(shape)
    return None if size is None else list(pair(size))


def _check_options(
    size: int | Sequence[int] | Literal["auto"] | None,
    levels: int | None,
    from_levels: int | None,
    method: str | None,
    channels: int | None,
    seed: int,
    memory_bytes: int,
) -> None:
    if size not in (None, "auto") and (
        (not isinstance(size, int) and (isinstance(size, str) or len(size) != 2))
        or min(pair(size)) < 1
    ):
        raise DataError(
            f"size (={size}) must be a number of pixels, at least 1, or (height, width)"
        )
    for name, value in (("levels", levels), ("from_levels", from_levels)):
        if value is not None and not 2 <= value <= 65536:
            raise DataError(f"{name} (={value}) must lie between 2 and 65536")
    if method not in (None, "threshold", "draw"):
        raise DataError(f"binarise (={method!r}) must be 'threshold', 'draw' or None")
    if method is not None and levels not in (None, 2):
        raise DataError(
            f"binarise gives 2 levels, but levels (={levels}) was asked for; give one of the two"
        )
    if channels is not None and channels < 1:
        raise DataError(f"channels (={channels}) must be at least 1")
    if not 0 <= seed < 2**63:
        raise DataError(f"seed (={seed}) must lie between 0 and 2**63 - 1")
    if memory_bytes < 0:
        raise DataError(f"memory_bytes (={memory_bytes}) must not be negative")


def _read(
    source: str | Path, labels: bool | str | Path, options: PictureOptions
) -> tuple[str, Source]:
    """Find out what the source is, and read it; also give the name that finds it from any working
    folder.
    """
    name, storage = str(source), options.storage
    if isinstance(labels, str | Path) and not name.endswith((".npy", ".npz")):
        raise DataError(
            f"labels (={labels}) go with an .npy or .npz file, but the source is {name}; leave"
            " them out"
        )
    if name == "digits":
        return name, read_digits(
            size=options.size, channels=options.channels, labels=options.labels, storage=storage
        )
    if name.startswith("hf:"):
        local = Path(name[3:]).expanduser()
        return f"hf:{local.resolve()}" if local.exists() else name, read_dataset(name[3:], options)
    path = Path(source).expanduser()
    if not path.exists():
        if path.suffix or name != path.name or isinstance(source, Path):
            raise FileNotFoundError(
                f"{source}: there is no such file or folder; a source is {_ACCEPTED}"
            )
        raise DataError(f"{name!r} is no source of images; accepted are {_ACCEPTED}")
    place = str(path.resolve())
    if path.is_dir():
        return place, (
            read_dataset(str(path), options)
            if is_saved_dataset(path)
            else read_folder(path, options)
        )
    require_file(path)
    if path.suffix.lower() in (".npz", ".npy"):
        return place, read_arrays(
            path, size=options.size, channels=options.channels, labels=labels, storage=storage
        )
    if is_picture(path):
        return place, read_picture(path, options)
    raise DataError(f"{name!r} is no source of images; accepted are {_ACCEPTED}")


def _common_shape(read: Source, place: str) -> tuple[int, tuple[int, int] | None]:
    """Find the channels and (H, W) that all images share; (H, W) is None where sizes may differ and
    do.
    """
    shapes: dict[tuple[int, ...], str] = {}
    ragged = False
    for name, split in read.splits.items():
        if isinstance(split.images, np.ndarray):
            shapes.setdefault(split.images.shape[1:], name)
        else:
            ragged = True
            for image in split.images:
                shapes.setdefault(image.shape, name)
    first, *others = shapes
    if others and not ragged:
        raise DataError(
            f"{shapes[first]} images of {place} have (channels, height, width) {first}, but"
            f" {shapes[others[0]]} images {others[0]}; make them equal, or give size= if only sizes"
            " differ"
        )
    return first[0], None if others else (first[1], first[2])


def _stored_levels(read: Source, levels: int | None, from_levels: int | None, place: str) -> int:
    """Find the number of levels that the stored values have; see `from_levels` of `load_data`."""
    if from_levels is not None or read.levels is not None:
        return from_levels or read.levels or 0
    arrays = [np.asarray(split.images) for split in read.splits.values()]
    if all(array.dtype.itemsize == 1 for array in arrays):
        if levels is not None and (levels > 256 or not _any_from(arrays, levels)):
            return levels
        return 256 if _any_from(arrays, 2) else 2
    highest = max(int(block.max()) for array in arrays for block in _blocks(array))
    if levels is not None and highest < levels:
        return levels
    if highest >= 2**15 and all(array.dtype == np.uint16 for array in arrays):
        return 65536
    if levels is not None or highest >= 65536:
        raise DataError(
            f"{place} holds values up to {highest}, which are not below levels"
            f" (={levels or 65536}); if they measure brightness, give from_levels= (a power of two"
            f" above {highest}, at most 65536) to quantise them"
        )
    return max(2, highest + 1)


def _any_from(arrays: list[Integers], limit: int) -> bool:
    return any(int(block.max()) >= limit for array in arrays for block in _blocks(array))


def _blocks(array: Integers) -> Iterator[Integers]:
    """Go through a memory map in pieces that fit into memory."""
    step = max(1, _BLOCK_BYTES // (array[0].size * array.itemsize))
    return (array[begin : begin + step] for begin in range(0, len(array), step))


def _split_rows(
    read: Source, wanted: dict[str, int | float], seed: int
) -> dict[str, NDArray[np.int64]]:
    """Choose the rows of each split; the test split first, so that it does not depend on the
    validation split.
    """
    count = len(read.splits["train"].images)
    left = _shuffled(count, seed)
    rows: dict[str, NDArray[np.int64]] = {}
    for name in ("test", "valid"):
        if name in read.splits:
            rows[name] = np.arange(len(read.splits[name].images))
            continue
        amount = wanted[name]
        if isinstance(amount, bool) or amount < 0 or (amount >= 1 and amount != int(amount)):
            keyword = "validation" if name == "valid" else name
            raise DataError(
                f"{keyword} (={amount}) must be a fraction from 0 to below 1, or a number of images"
            )
        size = int(amount) if amount >= 1 else int(count * amount)
        if size >= len(left):
            raise DataError(
                f"validation (={wanted['valid']}) and test (={wanted['test']}) leave none of the"
                f" {count} images to train on; use less"
            )
        rows[name], left = np.sort(left[:size]), left[size:]
    return {"train": np.sort(left), **rows}


def _shuffled(count: int, seed: int) -> NDArray[np.int64]:
    """Order 0 ... count-1 by a hash of (seed, index), the finaliser of splitmix64."""

    def mixed(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
        z = (z + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))

    keys = mixed(mixed(np.array([seed], np.uint64)) ^ np.arange(count, dtype=np.uint64))
    return np.argsort(keys, kind="stable")


def _prepared(
    read: Source, name: str, rows: NDArray[np.int64], rule: LevelRule, memory_bytes: int, place: str
) -> Split:
    origin = name if name in read.splits else "train"
    raw = read.splits[origin]
    mapped = MappedImages(
        raw.images,
        rows,
        rule,
        first=_SPLITS.index(origin) << 40,
        where=f"{origin} images of {place}",
    )
    size = None if mapped.shape is None else (mapped.shape[2], mapped.shape[3])
    images: Integers | MappedImages | Sequence[Integers] = mapped
    if sum(_bytes(split.images) for split in read.splits.values()) <= memory_bytes:
        images = _in_memory(mapped)
    return Split(
        images=images,
        labels=None if raw.labels is None else raw.labels[rows],
        vectors=(
            None
            if raw.vectors is None
            else checked_vectors(raw.vectors[rows], f"vectors of {place}")
        ),
        maps=None if raw.maps is None else checked_maps(raw.maps[rows], f"maps of {place}", size),
        captions=tuple(raw.captions[row] for row in rows.tolist()) if raw.captions else (),
        names=tuple(raw.names[row] for row in rows.tolist()) if raw.names else (),
    )


def _in_memory(mapped: MappedImages) -> Integers | Sequence[Integers]:
    if mapped.shape is None:
        return [mapped[k] for k in range(len(mapped))]
    out = np.empty(mapped.shape, mapped.dtype)
    step = max(1, _BLOCK_BYTES // int(np.prod(mapped.shape[1:])))
    for begin in range(0, len(out), step):
        out[begin : begin + step] = mapped[begin : begin + step]
    return out


def _bytes(images: Integers | Sequence[Integers]) -> int:
    return (
        images.nbytes if isinstance(images, np.ndarray) else sum(image.nbytes for image in images)
    )
