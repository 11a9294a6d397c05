"""Pictures in files: which files of a folder are pictures, their classes and their splits.

Files are sorted by name, so that a set does not depend on how a disk lists it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any, Protocol, runtime_checkable

from nextpixel.data.dicom import is_dicom
from nextpixel.data.errors import DataError
from nextpixel.data.folders import RUN, Seen, files_below, is_of_run, listing
from nextpixel.data.picture import Picture
from nextpixel.data.picture_arrays import decoded
from nextpixel.data.reading import UNDECODABLE
from nextpixel.data.storage import SPLIT_NAMES, Storage, Stored, split_of, stamp
from nextpixel.settings.preparation import Preparation

__all__ = [
    "FolderTree",
    "PictureTree",
    "is_picture",
    "may_be_dicom",
    "read_pictures",
    "read_tree",
]

_PICTURES = set(
    ".png .apng .jpg .jpeg .jpe .jfif .webp .bmp .dib .gif .tif .tiff .ppm .pgm .pbm .pnm .avif"
    " .jp2 .tga .pcx .dcm .dicom".split()
)
_DICOM = (".dcm", ".dicom")


@runtime_checkable
class PictureTree(Protocol):
    """Folders of pictures, on a disk or in an archive."""

    @property
    def root(self) -> Any:
        """The folder that is read; all others lie in it."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What was skipped."""

    def listing(self, place: Any) -> Sequence[Any]:
        """What lies in a folder, in the order of names."""

    def is_folder(self, place: Any) -> bool:
        """Whether this is a folder."""

    def files(self, entry: Any, seen: Seen | None = None) -> Iterator[Any]:
        """The pictures at or below a place, in the order of their names, those seen left out."""

    def picture(self, place: Any, label: str | None) -> Picture:
        """One of the pictures, of a class."""


@dataclass(frozen=True)
class FolderTree:
    """A folder on the disk.

    Attributes:
        root: The folder.
        dicom: Whether DICOM files are pictures; by the rules 1 and 2 of reading they are not.
    """

    root: Path
    dicom: bool = True
    notes = ()

    def __str__(self) -> str:
        return str(self.root)

    def listing(self, place: Path) -> list[Path]:
        """What lies in a folder, in the order of names."""
        return listing(place)

    def is_folder(self, place: Path) -> bool:
        """Whether this is a folder."""
        return place.is_dir()

    def files(self, entry: Path, seen: Seen | None = None) -> Iterator[Path]:
        """The pictures at or below a place, in the order of their names."""
        return files_below(entry, self.root, self.is_wanted, seen)

    def is_wanted(self, place: Path) -> bool:
        """Tell whether a file is a picture, by its name or its first bytes."""
        if is_picture(place):
            known = self.dicom or place.suffix.lower() not in _DICOM
            return known and not is_of_run(place)
        if not self.dicom or not may_be_dicom(place) or not place.is_file():
            return False
        try:
            with place.open("rb") as file:
                return is_dicom(file)
        except OSError:
            return False

    def picture(self, place: Path, label: str | None) -> Picture:
        """One of the pictures."""
        try:
            stamped = " ".join(map(str, stamp(place)))
        except OSError:
            stamped = ""  # A dangling link: reading it will say so.
        name = place.relative_to(self.root).as_posix()
        return Picture(name=name, where=str(place), open=lambda: place, stamp=stamped, label=label)


def read_tree(tree: PictureTree, preparation: Preparation, storage: Storage) -> Stored:
    """Read a folder of pictures.

    Sub-folders are classes, at any depth below; if they are called ``train``, ``valid`` and
    ``test``, or by one of the other names in `SPLIT_NAMES`, they are the splits, and their
    sub-folders the classes. A set of test images has ``test`` alone. Hidden files and what is not a
    picture are skipped.
    """
    folder = tree.root
    labels, entries = not preparation.ignore_labels, tree.listing(folder)
    seen: Seen = {}
    parts: dict[str, list[Picture]] = {}
    named = {
        split: entry
        for entry in entries
        if tree.is_folder(entry) and (split := split_of(entry.name))
    }
    strays = [
        entry for entry in entries if entry not in named.values() and next(tree.files(entry), None)
    ]
    if strays and "train" in named:
        raise DataError(
            f"{strays[0]} lies beside {named['train']}; move its pictures into one of the splits"
        )
    if named and not strays and (preparation.reading > 1 or "train" in named):
        for split in SPLIT_NAMES:
            if split in named:
                parts[split] = _folder_pictures(tree, named[split], labels, seen)
    else:
        parts["train"] = _folder_pictures(tree, folder, labels, seen)
    if not any(parts.values()) or ("train" in parts and not parts["train"]):
        if not named and isinstance(folder, Path) and (folder / RUN).is_file():
            raise DataError(
                f"{tree} is the folder of a run and holds no pictures; give ‹resume={tree}› alone"
                f" to continue it, or a folder of pictures with ‹start_from={tree}› to start from"
                " its weights"
            )
        raise DataError(
            f"{named.get('train', tree)} holds no pictures ({', '.join(sorted(_PICTURES))})"
        )
    parts = {split: part for split, part in parts.items() if part}
    stored = decoded(parts, None, preparation, storage)
    notes = (*tree.notes, *stored.notes)
    if empty := _empty_classes(tree, list(named.values()) or [folder]) if labels else []:
        notes += (f"no pictures in the folder{'s' * (len(empty) > 1)} {', '.join(empty)}",)
    return replace(stored, notes=notes)


def read_pictures(
    tree: PictureTree, place: PurePath, preparation: Preparation, storage: Storage
) -> Stored:
    """Read a set of the pictures in one file."""
    return decoded({"train": [tree.picture(place, None)]}, (), preparation, storage)


def is_picture(path: PurePath) -> bool:
    """Tell by its name whether a file is a picture, also one that cannot be decoded."""
    return path.suffix.lower() in _PICTURES | UNDECODABLE


def may_be_dicom(path: PurePath) -> bool:
    """Tell by its name whether a file may be a DICOM file without a suffix."""
    suffix = path.suffix[1:]
    return path.name != "DICOMDIR" and (not suffix or suffix.isdigit())


def _empty_classes(tree: PictureTree, parents: list[Any]) -> list[str]:
    """Sub-folders that would be classes if they held pictures, where others are."""
    folders = [
        entry for parent in parents for entry in tree.listing(parent) if tree.is_folder(entry)
    ]
    held = [next(tree.files(entry), None) for entry in folders]
    if not any(held):
        return []
    return [
        str(entry.relative_to(tree.root))
        for entry, one in zip(folders, held, strict=True)
        if not one
    ]


def _folder_pictures(tree: PictureTree, folder: Any, labels: bool, seen: Seen) -> list[Picture]:
    loose: list[Picture] = []
    labelled: list[Picture] = []
    for entry in tree.listing(folder):
        for place in tree.files(entry, seen):
            label = entry.name if labels and place != entry else None
            (loose if place == entry else labelled).append(tree.picture(place, label))
    if labels and loose and labelled:
        raise DataError(
            f"{folder} holds both pictures ({loose[0].name}) and sub-folders of pictures"
            f" ({labelled[0].name}), so that it is not clear whether sub-folders are classes; give"
            " ‹ignore_labels=True› if not, or move the loose pictures"
        )
    return sorted(loose + labelled, key=lambda picture: picture.name)
