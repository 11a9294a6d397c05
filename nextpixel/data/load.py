"""Data sets: a source of images -> `ImageData`, integers 0 ... levels-1 in three splits.

The images and annotations of a source are read as they are stored, and then prepared.

Invariant: an image of a split depends on the source and `ImageData.preparation` alone, never on
which other images are read with it, nor on whether they are kept in memory or prepared batch by
batch from a memory map.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextpixel.data.annotation_files import constant_entries
from nextpixel.data.annotations import TextEncoder, annotated, captions_encoded
from nextpixel.data.arrays import read_arrays, read_digits
from nextpixel.data.assignment import split_notes, split_rows
from nextpixel.data.classes import unknown_labels, unseen_classes
from nextpixel.data.embedded import embedded
from nextpixel.data.errors import DataError
from nextpixel.data.examples import examples_of
from nextpixel.data.folders import require_file
from nextpixel.data.huggingface import is_saved_dataset, read_dataset
from nextpixel.data.labels import has_own_labels, labelled
from nextpixel.data.mapped import MappedImages
from nextpixel.data.maps import checked_maps, map_levels, standardised
from nextpixel.data.pictures import is_picture, read_folder, read_picture
from nextpixel.data.pixels import Integers
from nextpixel.data.splits import (
    ANNOTATIONS,
    ImageData,
    Split,
    annotations_of,
    crop_offsets,
)
from nextpixel.data.statistics import describe, histogram_bits_per_dim
from nextpixel.data.storage import Progress, Storage, Stored
from nextpixel.data.text_encoders import import_encoder
from nextpixel.settings.preparation import Preparation
from nextpixel.settings.source import Source

__all__ = [
    "DataError",
    "ImageData",
    "Preparation",
    "Source",
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
    source: str | Path | Source,
    preparation: Preparation = Preparation(),  # noqa: B008  # It is frozen.
    *,
    text_encoder: TextEncoder | str | None = None,
    memory_bytes: int = 2**31,
    cache_folder: str | Path | None = None,
    progress: Progress | None = None,
) -> ImageData:
    """Read a source, prepare its images, and split them.

    Args:
        source: Where the images come from: a name or path, or a `Source` if labels, vectors,
            captions or maps lie in files of their own.
        preparation: How they are prepared.
        text_encoder: The function that makes vectors of captions: of a list of texts an array (n,
            size), or of one text (size,); or its name, MODULE:FUNCTION, to import it. If None, the
            words of the preparation, or the 512 most frequent words of the training captions.
        memory_bytes: Beyond this, images stay in a memory map, and are prepared batch by batch.
        cache_folder: Where decoded pictures are kept, so that only the first call decodes them. If
            None, only those beyond `memory_bytes` are, in the folder ``nextpixel`` of
            ``$XDG_CACHE_HOME`` or ``~/.cache``. What is kept is private and bounded, see
            `nextpixel.data.kept`.
        progress: Called with the number of pictures that are decoded, and their total.

    Raises:
        FileNotFoundError: If the file or folder does not exist.
        DataError: If it cannot be used; the message names the file and says what to do.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "noise.npy"
        >>> np.save(path, np.random.default_rng(0).integers(0, 256, (50, 8, 8), dtype=np.uint8))
        >>> data = load_data(path, Preparation(levels=4))
        >>> len(data.train), len(data.valid), len(data.test), data.train.images.shape[1:]
        (37, 5, 8, (1, 8, 8))
        >>> data.preparation.from_levels, data.preparation.channels
        (256, 1)
    """
    source = source if isinstance(source, Source) else Source(source)
    if isinstance(text_encoder, str):
        text_encoder = import_encoder(text_encoder)
    storage = Storage.at(cache_folder, memory_bytes, progress)
    own = replace(preparation, ignore_labels=preparation.ignore_labels or has_own_labels(source))
    stored = annotated(_read(source, own, storage), source)
    stored = _with_train(labelled(stored, source, preparation))
    channels, shape = _common_shape(stored, source)
    from_levels, levels = _levels(stored, preparation, source)
    preparation = replace(
        preparation,
        size=shape if preparation.size == "auto" else preparation.size,
        channels=channels,
        levels=levels,
        from_levels=from_levels,
        split_by=preparation.split_by or ("index" if stored.in_order else "content"),
        skip_small=preparation.skip_small or stored.skip_small,
        attributes=preparation.attributes or stored.attributes or None,
    )
    rows = split_rows(stored.splits, preparation)
    in_memory = sum(_bytes(split.images) for split in stored.splits.values()) <= memory_bytes
    splits = {
        name: _prepared(stored, name, rows[name], preparation, source, in_memory)
        for name in _SPLITS
    }
    _require_same_annotations(splits, source)
    v = splits["train"].vectors
    constant = [] if v is None else constant_entries(v)
    splits, preparation = standardised(splits, preparation)
    splits, words = captions_encoded(splits, text_encoder, preparation)
    has_labels = any(split.labels is not None for split in splits.values())
    classes = stored.classes if has_labels else ()
    notes = [*stored.notes, *split_notes(stored.splits, rows, preparation)]
    if v is not None and constant:
        notes.append(
            f"{len(constant)} of {v.shape[1]} entries of the vectors differ by less than 1e-30 in"
            f" training, the first number {constant[0]} (from 0): they say nothing of an image"
        )
    if unknown := unknown_labels(splits):
        notes.append(unknown)
    if unseen := unseen_classes(splits["train"], classes):
        notes.append(f"no training images of the class{'es' * (len(unseen) > 1)} {_few(unseen)}")
    examples = examples_of(stored.splits, splits, rows, classes)
    held_out: tuple[str, ...] = ()
    if source.embedding is not None:
        splits, held_out = embedded(splits, source, classes)
        classes = ()
    return ImageData(
        source=source,
        preparation=replace(preparation, text_encoder=words),
        levels=levels,
        channels=channels,
        shape=shape,
        classes=classes,
        **splits,
        map_levels=map_levels([split.maps for split in splits.values()], str(source)),
        held_out=held_out,
        notes=tuple(notes),
        examples=examples,
    )


def _with_train(stored: Stored) -> Stored:
    """Give an empty training split to a source that has only others, such as a set for testing."""
    if "train" in stored.splits:
        return stored
    other = next(iter(stored.splits.values()))
    empty = np.arange(0)
    images = other.images[:0]
    train = Split(images=images, **annotations_of(other, empty))
    return replace(stored, splits={"train": train, **stored.splits})


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(names[:10]) + more


def _read(source: Source, preparation: Preparation, storage: Storage) -> Stored:
    """Find out what the source is, and read it."""
    name = str(source)
    if name == "digits":
        return read_digits(preparation, storage)
    if name.startswith("hf:"):
        return read_dataset(name[3:], preparation, storage, source.label_column)
    path = Path(name).expanduser()
    if not path.exists():
        if path.suffix or name != path.name:
            raise FileNotFoundError(
                f"{name}: there is no such file or folder; a source is {_ACCEPTED}"
            )
        raise DataError(f"{name!r} does not exist; accepted are {_ACCEPTED}")
    if path.is_dir():
        if is_saved_dataset(path):
            return read_dataset(str(path), preparation, storage, source.label_column)
        return read_folder(path, preparation, storage)
    require_file(path)
    if path.suffix.lower() in (".npz", ".npy"):
        given = source.labels is not None and not has_own_labels(source)
        labels = Path(str(source.labels)).expanduser() if given else None
        return read_arrays(path, labels, preparation, storage)
    if is_picture(path):
        return read_picture(path, preparation, storage)
    raise DataError(f"{name!r} is not an image source; accepted are {_ACCEPTED}")


def _common_shape(stored: Stored, source: Source) -> tuple[int, tuple[int, int] | None]:
    """The channels and (H, W) that all images share; (H, W) is None if sizes differ."""
    shapes: dict[tuple[int, ...], str] = {}
    ragged = False
    for name, split in stored.splits.items():
        if isinstance(split.images, np.ndarray):
            shapes.setdefault(split.images.shape[1:], name)
        else:
            ragged = True
            for k in range(len(split)):
                shapes.setdefault(split.images[k].shape, name)
    first, *others = shapes
    if others and not ragged:
        raise DataError(
            f"{shapes[first]} images of {source} have (channels, height, width) {first}, but"
            f" {shapes[others[0]]} images {others[0]}; make them equal, or give ‹size› if only"
            " sizes differ"
        )
    return first[0], None if others else (first[1], first[2])


def _levels(stored: Stored, preparation: Preparation, source: Source) -> tuple[int, int]:
    """How many levels the stored values have, and how many they are brought to."""
    given = None if preparation.binarise else preparation.levels
    from_levels = preparation.from_levels or stored.levels
    if from_levels is None:
        arrays = [np.asarray(split.images) for split in stored.splits.values()]
        from_levels = _inferred_levels(arrays, given, source)
    levels = 2 if preparation.binarise else given or from_levels
    if levels > from_levels:
        raise DataError(
            f"‹levels={levels}› must be at most the {from_levels} that {source} has; leave it out"
            " or reduce it"
        )
    return from_levels, levels


def _inferred_levels(arrays: list[Integers], levels: int | None, source: Source) -> int:
    """The number of levels of stored arrays; see `Preparation.from_levels`."""
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
            f"{source} holds values up to {highest}, which are not below"
            f" ‹levels={levels or 65536}›; if they measure brightness, give ‹from_levels› (a power"
            f" of two above {highest}, at most 65536) to quantise them"
        )
    return max(2, highest + 1)


def _any_from(arrays: list[Integers], limit: int) -> bool:
    return any(int(block.max()) >= limit for array in arrays for block in _blocks(array))


def _blocks(array: Integers) -> Iterator[Integers]:
    """Go through a memory map in pieces that fit into memory."""
    if not len(array):
        return iter(())
    step = max(1, _BLOCK_BYTES // (array[0].size * array.itemsize))
    return (array[begin : begin + step] for begin in range(0, len(array), step))


def _prepared(
    stored: Stored,
    name: str,
    rows: NDArray[np.int64],
    preparation: Preparation,
    source: Source,
    in_memory: bool,
) -> Split:
    """The images of a split at their levels, and their annotations."""
    origin = name if name in stored.splits else "train"
    split = stored.splits[origin]
    assert not isinstance(split.images, MappedImages)  # It is stored.
    mapped = MappedImages(
        split.images,
        rows,
        preparation,
        first=_SPLITS.index(origin) << 40,
        where=f"{origin} images of {source}",
    )
    size = None if mapped.shape is None else (mapped.shape[2], mapped.shape[3])
    annotations = annotations_of(split, rows)
    if "maps" in annotations:
        annotations["maps"] = checked_maps(annotations["maps"], f"maps of {source}", size)
    return Split(images=_held(mapped) if in_memory else mapped, **annotations)


def _require_same_annotations(splits: dict[str, Split], source: Source) -> None:
    for field in ANNOTATIONS:
        having = {name: split.has(field) for name, split in splits.items() if len(split)}
        if len(set(having.values())) > 1:
            without = next(name for name, has in having.items() if not has)
            advice = "give ‹ignore_labels=True›" if field == "labels" else "give them for all"
            raise DataError(
                f"{source} has no {field} for its {without} images but for others; {advice}"
            )


def _held(mapped: MappedImages) -> Integers | Sequence[Integers]:
    """The images in memory."""
    if mapped.shape is None:
        return [mapped[k] for k in range(len(mapped))]
    out = np.empty(mapped.shape, mapped.dtype)
    step = max(1, _BLOCK_BYTES // int(np.prod(mapped.shape[1:])))
    for begin in range(0, len(out), step):
        out[begin : begin + step] = mapped[begin : begin + step]
    return out


def _bytes(images: Any) -> int:
    return (
        images.nbytes if isinstance(images, np.ndarray) else sum(image.nbytes for image in images)
    )
