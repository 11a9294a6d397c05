"""Data sets: a source of images -> `ImageData`, integers 0 ... levels-1 in three splits.

The images and annotations of a source are read as they are stored, and then prepared.

Invariant: an image of a split depends on the source and `ImageData.preparation` alone, never on
which other images are read with it, nor on whether they are kept in memory or prepared batch by
batch from a memory map.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextpixel.arguments import record_of
from nextpixel.data.annotation_files import constant_entries
from nextpixel.data.annotations import TextEncoder, annotated, captions_encoded
from nextpixel.data.assignment import split_notes, split_rows
from nextpixel.data.classes import unknown_labels, unseen_classes
from nextpixel.data.embedded import embedded
from nextpixel.data.errors import DataError
from nextpixel.data.examples import examples_of
from nextpixel.data.in_memory import read_in_memory
from nextpixel.data.labels import has_own_labels, labelled
from nextpixel.data.mapped import MappedImages
from nextpixel.data.maps import checked_maps, map_levels, standardised
from nextpixel.data.pixels import Integers
from nextpixel.data.recognition import recognised
from nextpixel.data.sources import read_source
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
from nextpixel.data.values import is_mapped
from nextpixel.settings.preparation import Preparation
from nextpixel.settings.source import IN_MEMORY, Source

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

_SPLITS = ("train", "valid", "test")
_BLOCK_BYTES = 2**24


def load_data(
    source: Any,
    preparation: Preparation | Mapping[str, Any] | None = None,
    *,
    labels: Any = None,
    classes: Sequence[str] | None = None,
    vectors: Any = None,
    captions: Any = None,
    maps: Any = None,
    text_encoder: TextEncoder | str | None = None,
    memory_bytes: int = 2**31,
    cache_folder: str | Path | None = None,
    hold: bool = True,
    progress: Progress | None = None,
) -> ImageData:
    """Read a source, prepare its images, and split them.

    Args:
        source: Where the images come from: a name, a path or a `Source`; or the images: an array
            or tensor, a list of arrays or of pictures of Pillow, a data set that has a length and
            an index (of images, of pairs of image and label, or of mappings), or a mapping of
            splits, or of arrays by the names that an ``.npz`` file would have.
        preparation: How they are prepared: a `Preparation`, or some of its fields.
        labels: The label of each image, or, for a named source, the name of their file. Likewise
            `vectors`, `captions` and `maps`.
        classes: What the labels 0, 1 ... of images in memory are called.
        text_encoder: The function that makes vectors of captions: of a list of texts an array (n,
            size), or of one text (size,); or its name, MODULE:FUNCTION, to import it. If None, the
            words of the preparation, or the 512 most frequent words of the training captions.
        memory_bytes: Beyond this, images stay in a memory map, and are prepared batch by batch.
        cache_folder: Where decoded pictures are kept, so that only the first call decodes them. If
            None, only those beyond `memory_bytes` are, in the folder ``nextpixel`` of
            ``$XDG_CACHE_HOME`` or ``~/.cache``. What is kept is private and bounded, see
            `nextpixel.data.kept`.
        hold: Whether images that fit into memory are prepared at once. Otherwise they are prepared
            when they are asked for, so that values that do not fit are found only then.
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
    preparation = record_of("preparation", preparation, Preparation)
    if isinstance(text_encoder, str):
        text_encoder = import_encoder(text_encoder)
    storage = Storage.at(cache_folder, memory_bytes, progress)
    given = {"labels": labels, "vectors": vectors, "captions": captions, "maps": maps}
    given = {field: values for field, values in given.items() if values is not None}
    # A number of levels is that of a table, a range or an offset, not that of the files.
    is_other = is_mapped(replace(preparation, missing=None))
    as_stored = replace(preparation, from_levels=None) if is_other else preparation
    if isinstance(source, str | Path | Source):
        if classes is not None:
            raise DataError(f"‹classes› name the labels of images in memory, not of {source}")
        source = replace(source if isinstance(source, Source) else Source(source), **given)
        ignored = preparation.ignore_labels or has_own_labels(source)
        own = replace(as_stored, ignore_labels=ignored)
        stored = annotated(read_source(source, own, storage), source)
        stored = labelled(stored, source, preparation)
    else:
        stored = read_in_memory(source, given, classes, as_stored, storage)
        source = Source(IN_MEMORY)
    where = "the source in memory" if str(source) == IN_MEMORY else str(source)
    stored, preparation = recognised(_with_train(stored), preparation, where, storage)
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
    count = sum(_bytes(split.images) for split in stored.splits.values())
    in_memory = hold and count <= memory_bytes
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
    names = stored.classes if has_labels else ()
    notes = [*stored.notes, *split_notes(stored.splits, rows, preparation)]
    if v is not None and constant:
        notes.append(
            f"{len(constant)} of {v.shape[1]} entries of the vectors differ by less than 1e-30 in"
            f" training, the first number {constant[0]} (from 0): they say nothing of an image"
        )
    if unknown := unknown_labels(splits):
        notes.append(unknown)
    if unseen := unseen_classes(splits["train"], names):
        notes.append(f"no training images of the class{'es' * (len(unseen) > 1)} {_few(unseen)}")
    examples = examples_of(stored.splits, splits, rows, names)
    maps = [split.maps for split in splits.values()]
    levels_of_maps = map_levels(maps, str(source), preparation)
    if preparation.reading > 2:
        if preparation.map_levels is None and levels_of_maps not in (None, 2, 256):
            notes.append(
                f"no value of the maps is above {levels_of_maps - 1}: read as {levels_of_maps}"
                " levels; if there are more, give ‹map_levels›"
            )
        preparation = replace(preparation, map_levels=levels_of_maps)
    held_out: tuple[str, ...] = ()
    if source.embedding is not None:
        splits, held_out = embedded(splits, source, names)
        names = ()
    return ImageData(
        source=source,
        preparation=replace(preparation, text_encoder=words),
        levels=levels + (preparation.missing is not None),
        channels=channels,
        shape=shape,
        classes=names,
        **splits,
        map_levels=levels_of_maps,
        categorical=stored.categorical,
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
    assert from_levels is not None  # It is recognised.
    levels = 2 if preparation.binarise else given or from_levels
    if levels > from_levels:
        raise DataError(
            f"‹levels={levels}› must be at most the {from_levels} that {source} has; leave it out"
            " or reduce it"
        )
    return from_levels, levels


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
