"""Pictures in files: which files of a folder are pictures, their classes and their splits.

Files are sorted by name, so that a set does not depend on how a disk lists it.
"""

from dataclasses import replace
from pathlib import Path

from nextpixel.data.errors import DataError
from nextpixel.data.folders import Seen, files_below, listing, require_file
from nextpixel.data.picture import Picture
from nextpixel.data.picture_arrays import decoded
from nextpixel.data.reading import UNDECODABLE
from nextpixel.data.storage import SPLIT_NAMES, Storage, Stored, split_of, stamp
from nextpixel.settings.preparation import Preparation

__all__ = ["is_picture", "read_folder", "read_picture"]

_PICTURES = set(
    ".png .apng .jpg .jpeg .jpe .jfif .webp .bmp .dib .gif .tif .tiff .ppm .pgm .pbm .pnm .avif"
    " .jp2 .tga .pcx".split()
)


def read_folder(folder: Path, preparation: Preparation, storage: Storage) -> Stored:
    """Read a folder of pictures.

    Sub-folders are classes, at any depth below; if they are called ``train``, ``valid`` and
    ``test``, or by one of the other names in `SPLIT_NAMES`, they are the splits, and their
    sub-folders the classes. A set of test images has ``test`` alone. Hidden files and what is not a
    picture are passed over.
    """
    labels, entries = not preparation.ignore_labels, listing(folder)
    seen: Seen = {}
    parts: dict[str, list[Picture]] = {}
    named = {
        split: entry for entry in entries if entry.is_dir() and (split := split_of(entry.name))
    }
    strays = [
        entry
        for entry in entries
        if entry not in named.values() and next(files_below(entry, folder, is_picture), None)
    ]
    if strays and "train" in named:
        raise DataError(
            f"{strays[0]} lies beside {named['train']}; move its pictures into one of the splits"
        )
    if named and not strays and (preparation.reading > 1 or "train" in named):
        for split in SPLIT_NAMES:
            if split in named:
                parts[split] = _folder_pictures(named[split], folder, labels, seen)
    else:
        parts["train"] = _folder_pictures(folder, folder, labels, seen)
    if not any(parts.values()) or ("train" in parts and not parts["train"]):
        raise DataError(
            f"{named.get('train', folder)} holds no pictures ({', '.join(sorted(_PICTURES))})"
        )
    parts = {split: part for split, part in parts.items() if part}
    stored = decoded(parts, None, preparation, storage)
    if empty := _empty_classes(list(named.values()) or [folder], folder) if labels else []:
        notes = (
            *stored.notes,
            f"no pictures in the folder{'s' * (len(empty) > 1)} {', '.join(empty)}",
        )
        stored = replace(stored, notes=notes)
    return stored


def read_picture(path: Path, preparation: Preparation, storage: Storage) -> Stored:
    """Read a set of one picture."""
    require_file(path)
    return decoded({"train": [_file_picture(path, path.name, None)]}, (), preparation, storage)


def is_picture(path: Path) -> bool:
    """Tell by its name whether a file is a picture, also one that cannot be decoded."""
    return path.suffix.lower() in _PICTURES | UNDECODABLE


def _empty_classes(parents: list[Path], root: Path) -> list[str]:
    """Sub-folders that would be classes if they held pictures, where others are."""
    folders = [entry for parent in parents for entry in listing(parent) if entry.is_dir()]
    held = [next(files_below(entry, root, is_picture), None) for entry in folders]
    if not any(held):
        return []
    return [
        str(entry.relative_to(root)) for entry, one in zip(folders, held, strict=True) if not one
    ]


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
