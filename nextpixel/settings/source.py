"""Where images come from, and the files of labels, vectors, captions and maps that belong to them.

What is in a `Source` belongs to these images. It is never carried over to others; what is, is in
`nextpixel.settings.preparation.Preparation`.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nextpixel.errors import UsageError
from nextpixel.settings.label_pattern import check_pattern
from nextpixel.settings.records import KEYS_OF_0_1, read_record, record_keys, write_record

__all__ = [
    "ANNOTATION_PLACES",
    "IN_MEMORY",
    "PLACES",
    "Annotations",
    "Source",
    "file_and_dataset",
]

IN_MEMORY = "memory:"
"""The source of images that a Python program held, which no name leads to."""

_IN_FILE = re.compile(r"(.+\.(?:h5|hdf5|hdf|he5)):([^:]+)", re.IGNORECASE | re.DOTALL)

ANNOTATION_PLACES = ("labels", "vectors", "captions", "maps", "embedding")
"""The fields of `Annotations` that name a file or folder."""

PLACES = ("images", *ANNOTATION_PLACES)
"""The fields of a `Source` that name a file, a folder or a data set."""


def file_and_dataset(name: str) -> tuple[str, str | None]:
    """Divide the name of a data set in an HDF5 file: ``x.h5:train/data``.

    Example:
        >>> file_and_dataset("x.h5:train/data"), file_and_dataset("x.h5")
        (('x.h5', 'train/data'), ('x.h5', None))
    """
    found = _IN_FILE.fullmatch(name)
    if found is None or os.path.exists(os.path.expanduser(name)):
        return name, None
    return found[1], found[2]


@dataclass(frozen=True, kw_only=True)
class Annotations:
    """What belongs to images and lies in files of its own, whatever the images are for.

    Paths are kept as they are given: a relative path is relative to the working folder of whoever
    uses it.
    """

    labels: str | Path | None = None
    """The labels of the images: a ``.csv``, ``.tsv`` or ``.parquet`` table with a column of labels
    and one of file names, or, for an ``.npy`` file of images, an ``.npy`` file in the same order.
    Images without a label are of an unknown class. By default ``labels.csv`` in a folder of
    pictures without sub-folders, or ``NAME_labels.csv`` or ``.npy`` beside NAME."""

    label_column: str | None = None
    """The column that holds the labels, by default label, class, category, target or y. An image
    can have several labels: name several columns, A,B,C, of zeros and ones, or write several labels
    in one cell, as in ``red;square``. The model is then conditioned on a vector of zeros and
    ones."""

    file_column: str | None = None
    """The column that names the images in tables of labels, vectors or captions, by default file,
    filename, image, path, name or id. It holds paths below the folder, or file names with or
    without their ending; for arrays, numbers from 0."""

    label_pattern: str | None = None
    """Take labels from file names: a regular expression with one group around the label, such as
    ``(.+)_[0-9]+``. It is searched for in the name of the file, or, if it contains a slash, in the
    path below the folder."""

    vectors: str | Path | None = None
    """A vector for each image: an ``.npy`` file in the order of the images, or a ``.csv``, ``.tsv``
    or ``.parquet`` table of numbers, whose column ``file`` names the images; without that column,
    rows are in their order."""

    captions: str | Path | None = None
    """A text for each image: a ``.txt`` file with a line for each image in order, or a ``.csv``,
    ``.tsv`` or ``.parquet`` table with a column ``text`` and, unless rows are in order, a column
    ``file``."""

    maps: str | Path | None = None
    """A map for each image, such as a mask or a sketch: an ``.npy`` file in the order of the
    images, or a folder of pictures with the names of the images."""

    embedding: str | Path | None = None
    """A checkpoint of ``nextpixel embed``, which makes a vector of every image. The vectors take
    the place of labels, and classes that the embedding never saw become the test split."""

    def __post_init__(self) -> None:
        for name in ANNOTATION_PLACES:
            if getattr(self, name) is not None:
                _check_place(self, name, f"‹{name}={getattr(self, name)!r:.60}›")
        for name in ("label_column", "file_column", "label_pattern"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, str) and value and "\0" not in value):
                raise UsageError(f"‹{name}={value!r:.60}› must be a text that is not empty")
        if self.label_pattern is not None:
            check_pattern(self.label_pattern)
            if other := next((n for n in ("labels", "label_column") if getattr(self, n)), None):
                raise UsageError(
                    f"‹label_pattern› and ‹{other}› both say where the labels are; give one of them"
                )


@dataclass(frozen=True)
class Source(Annotations):
    """Images and their annotations, as the user names them. ``str(source)`` is its images.

    Example:
        >>> source = Source("photos", captions="photos.csv")
        >>> str(source), Source.from_json(source.to_json()) == source
        ('photos', True)
    """

    images: str | Path
    """A folder of pictures, whose sub-folders are classes, or ``train``, ``valid`` and ``test``; a
    ``.zip`` or ``.tar`` of such a folder; one picture; an ``.npz``, ``.npy`` or ``.h5`` file, also
    one data set of it, ``file.h5:train/data``; ``hf:NAME`` or ``hf:NAME:CONFIGURATION``, a Hugging
    Face data set; ``digits`` (1797 handwritten digits: 8×8, 17 levels, 10 classes).
    Pictures are PNG, JPEG, TIFF, DICOM and others. A folder called digits is ``./digits``."""

    def __post_init__(self) -> None:
        super().__post_init__()
        # It is a positional argument on the command line.
        _check_place(self, "images", f"the source {self.images!r:.60}")

    def __str__(self) -> str:
        return str(self.images)

    @property
    def missing(self) -> str | None:
        """The first of its files and folders that does not exist, seen from the working folder."""
        for field in PLACES:
            name = getattr(self, field)
            if name is None or (field == "images" and _is_name(name)):
                continue
            if not Path(file_and_dataset(name)[0]).expanduser().exists():
                return str(name)
        return None

    def to_json(self) -> dict[str, Any]:
        """This source as JSON."""
        return write_record(self)

    @classmethod
    def from_json(cls, record: object) -> "Source":
        """Read what `to_json` wrote, or the record of version 0.1.0.

        Raises:
            UsageError: If the record is damaged.
        """
        if isinstance(record, dict) and "source" in record:
            keys = record_keys(record, cls, KEYS_OF_0_1)
            record = {name: keys.get(name) for name in ("vectors", "captions", "maps", "embedding")}
            record["images"] = keys["source"]
            if not isinstance(labels := keys.get("labels", True), bool):
                record["labels"] = labels
        return read_record(cls, record)


def _is_name(images: str) -> bool:
    """Whether images are named by something other than a file or folder."""
    return images in ("digits", IN_MEMORY) or images.startswith("hf:")


def _check_place(holder: Annotations, field: str, shown: str) -> None:
    """Make text of a path, and raise UsageError for what is no name."""
    value = getattr(holder, field)
    if isinstance(value, os.PathLike):
        text = os.fspath(value)
        # Only text can be the name of a source; a path is always a path.
        value = text if os.path.basename(text) != text else os.path.join(".", text)
        object.__setattr__(holder, field, value)
    if not (isinstance(value, str) and value and "\0" not in value):
        raise UsageError(f"{shown} must be the name of a file or folder")
