"""The pictures of a source one after the other, each prepared as a model's training data were.

A folder of pictures is read file by file: memory does not grow with their number, sizes may differ,
and a picture that the model cannot take comes with the reason. Other sources, and those with files
of annotations, are read as `data_of` reads them.
"""

import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nextpixel.conditions.kinds import ClassCondition
from nextpixel.data.again import load_again, settled
from nextpixel.data.errors import DataError
from nextpixel.data.folders import Seen, files_below, listing
from nextpixel.data.pictures import FolderTree
from nextpixel.data.splits import ImageData, Split, joined, subset
from nextpixel.data.storage import SPLIT_WORDS, split_of
from nextpixel.data.table_files import TABLES
from nextpixel.data.tables import is_saved_dataset
from nextpixel.errors import UsageError
from nextpixel.inference.selection import Progress, data_of
from nextpixel.inference.trained import Trained
from nextpixel.settings.preparation import Preparation
from nextpixel.settings.requests import DataRequest
from nextpixel.settings.source import Annotations, Source

__all__ = ["Stream", "Taken", "stream_of"]

Wanted = Callable[[str], bool]
"""Whether the picture of a name is taken; of a file with several pages, the file and each page."""

_MOST_PIXELS = 2**17


@dataclass(frozen=True, kw_only=True, eq=False)
class Taken:
    """Some pictures of one size, or one that cannot be used.

    Attributes:
        names: what they are called in their source.
        labels: the names of their classes; "" for none.
        split: the pictures as the model takes them; None if it cannot.
        reason: why it cannot, in a sentence; otherwise "".
        files: how many files have been gone through up to these.
    """

    names: tuple[str, ...]
    labels: tuple[str, ...]
    split: Split | None = None
    reason: str = ""
    files: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Stream:
    """The pictures of a source.

    Attributes:
        source: its name.
        names: of the pictures, or of files, some of which may have several pages.
        taken: goes through those that are wanted, in the order of the source.
        digest: of the pictures of a source that is read at once; "" of a folder.
        changed: when the file of a picture was changed or put in its place, in nanoseconds since
            the epoch; 0 where `digest` tells.
    """

    source: str
    names: Sequence[str]
    taken: Callable[[Wanted], Iterator[Taken]]
    digest: str = ""
    changed: Callable[[str], int] = lambda _: 0

    def only(self, names: Collection[str]) -> Iterator[Taken]:
        """Goes through the pictures of these names, or of the files of these names."""
        files = {name.rpartition("#")[0] or name for name in names} | set(names)
        return self.taken(lambda name: name in files or name.rpartition("#")[0] in names)


def stream_of(
    trained: Trained, request: DataRequest, *, most: int = 32, reading: Progress | None = None
) -> Stream:
    """The pictures that a request names.

    Args:
        trained: the model. Labels need not be known; other conditions must come with the pictures.
        request: which pictures.
        most: how many are taken at once.
        reading: called with how many pictures are read, and of how many, where all are read first.

    Raises:
        UsageError: the source is unknown or not there, or lacks conditions.
    """
    if (root := _folder_alone(trained, request)) is not None:
        return _of_files(trained, request, root, most)
    needed = tuple(p for p in trained.model.given_by_data if not isinstance(p, ClassCondition))
    how = trained.card.preparation or Preparation()
    labels = request.data is not None or not how.ignore_labels
    chosen = data_of(
        trained, request, needed=needed, with_labels=labels, hold=False, progress=reading
    )
    _check_taken(trained, chosen.data)
    split, classes = chosen.split, chosen.data.classes

    def taken(wanted: Wanted) -> Iterator[Taken]:
        for rows in _rows(split, wanted, most):
            yield from _prepared(split, rows, classes, how)

    names = [_name(split, row) for row in range(len(split))]
    prints = b"" if split.fingerprints is None else split.fingerprints.tobytes()
    digest = hashlib.blake2b(prints, digest_size=16).hexdigest() if prints else ""
    return Stream(source=chosen.source, names=names, taken=taken, digest=digest)


def _folder_alone(trained: Trained, request: DataRequest) -> Path | None:
    """The folder of pictures, or the picture, of a request that needs no annotations."""
    given = [f.name for f in fields(Annotations) if getattr(request, f.name) is not None]
    others = [p for p in trained.model.given_by_data if not isinstance(p, ClassCondition)]
    if request.data is None or given or others:
        return None
    name = str(request.data)
    path = Path(name).expanduser()
    if name == "digits" or name.startswith("hf:") or not path.exists():
        return None
    if path.is_file():
        return path if FolderTree(path.parent).is_wanted(path) else None
    if is_saved_dataset(path):
        return None
    tables = [path / f"labels{ending}" for ending in TABLES]
    tables += [path.with_name(f"{path.name}_labels{ending}") for ending in TABLES]
    return None if any(table.exists() for table in tables) else path


def _of_files(trained: Trained, request: DataRequest, root: Path, most: int) -> Stream:
    tree, above, files = _listed(root, request.split)
    how = replace(
        trained.card.preparation or Preparation(),
        validation=0,
        test=0,
        ignore_labels=True,
        skip_broken=False,
        skip_small=False,
    )
    places = {_text(file.relative_to(tree.root).as_posix()): file for file in files}

    def one(name: str, number: int) -> Taken:
        file = places[name]
        inner = file.relative_to(above).parts
        label = _text(inner[0]) if len(inner) > 1 else ""
        try:
            data = load_again(Source(file), how)
            _check_taken(trained, data)
        except (UsageError, FileNotFoundError) as error:
            return Taken(names=(name,), labels=(label,), reason=str(error), files=number)
        pages = tuple(name + _text(page[len(file.name) :]) for page in data.train.names)
        labels = (label,) * len(pages)
        return Taken(names=pages, labels=labels, split=data.train, files=number)

    def taken(wanted: Wanted) -> Iterator[Taken]:
        held: list[Taken] = []
        for number, name in enumerate(places, start=1):
            if not wanted(name):
                continue
            for page in _pages(one(name, number), wanted):
                if held and not _fit(held, page, most):
                    yield _together(held)
                    held = []
                held.append(page)
        if held:
            yield _together(held)

    def changed(name: str) -> int:
        file = places.get(name) or places.get(name.rpartition("#")[0])
        if file is None or not file.exists():
            return 0
        about = file.stat()
        return max(about.st_mtime_ns, about.st_ctime_ns)  # a copy may keep the time of the original

    return Stream(source=str(request.data), names=list(places), taken=taken, changed=changed)


def _listed(root: Path, split: str) -> tuple[FolderTree, Path, list[Path]]:
    """The tree, the folder whose sub-folders are classes, and the files in the order of names."""
    if root.is_file():
        return FolderTree(root.parent), root.parent, [root]
    tree, above = FolderTree(root), root
    named = {split_of(entry.name): entry for entry in listing(root) if entry.is_dir()}
    named = {name: entry for name, entry in named.items() if name is not None}
    if split in named:
        above = named[split]
    elif named:
        raise UsageError(f"{root} has no {SPLIT_WORDS[split]} images; choose another ‹split›")
    seen: Seen = {}
    files = list(files_below(above, root, tree.is_wanted, seen))
    if not files:
        raise DataError(f"{above} holds no pictures; give another ‹data›")
    return tree, above, sorted(files, key=lambda file: file.relative_to(root).as_posix())


def _pages(whole: Taken, wanted: Wanted) -> Iterator[Taken]:
    """The pictures of a file one by one."""
    if whole.split is None or len(whole.names) == 1:
        yield whole
        return
    for row, (name, label) in enumerate(zip(whole.names, whole.labels, strict=True)):
        if wanted(name):
            part = subset(whole.split, np.array([row]))
            yield Taken(names=(name,), labels=(label,), split=part, files=whole.files)


def _fit(held: list[Taken], page: Taken, most: int) -> bool:
    """Whether a picture can be scored together with others."""
    first = held[0].split
    if first is None or page.split is None:
        return False
    sizes = np.concatenate([first.sizes, page.split.sizes])
    same = bool((sizes[0] == sizes[-1]).all())
    return same and len(held) < _at_once(sizes[0], most)


def _at_once(size: NDArray[np.int64], most: int) -> int:
    return max(1, min(most, _MOST_PIXELS // int(size.prod())))


def _together(held: list[Taken]) -> Taken:
    if len(held) == 1:
        return held[0]
    splits = [part.split for part in held if part.split is not None]
    return Taken(
        names=sum((part.names for part in held), ()),
        labels=sum((part.labels for part in held), ()),
        split=joined(splits),
        files=held[-1].files,
    )


def _rows(split: Split, wanted: Wanted, most: int) -> Iterator[NDArray[np.int64]]:
    """The rows of a split that are wanted: in each, pictures of one size that follow each other."""
    held: list[int] = []
    sizes = split.sizes
    for row in range(len(split)):
        if not wanted(_name(split, row)):
            continue
        same = held and (sizes[held[0]] == sizes[row]).all()
        if held and not (same and len(held) < _at_once(sizes[row], most)):
            yield np.array(held)
            held = []
        held.append(row)
    if held:
        yield np.array(held)


def _prepared(
    split: Split, rows: NDArray[np.int64], classes: tuple[str, ...], how: Preparation
) -> Iterator[Taken]:
    """Some pictures together; one by one if the values of one of them do not fit."""
    names = tuple(_name(split, row) for row in rows.tolist())
    files = int(rows[-1]) + 1
    labels = ("",) * len(rows)
    if split.labels is not None and classes:
        known = split.labels[rows].tolist()
        labels = tuple(_text(classes[k]) if k >= 0 else "" for k in known)
    try:
        part = subset(split, rows)
    except DataError as error:
        if len(rows) == 1:
            reason = settled(error.sentence, how)
            yield Taken(names=names, labels=labels, reason=reason, files=files)
        else:
            for row in rows:
                yield from _prepared(split, row[None], classes, how)
        return
    yield Taken(names=names, labels=labels, split=part, files=files)


def _name(split: Split, row: int) -> str:
    return _text(split.names[row]) if split.names else str(row)


def _text(name: str) -> str:
    """A name that every text file can hold; those of files may be any bytes."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def _check_taken(trained: Trained, data: ImageData) -> None:
    """Raises UsageError if the model does not take such pictures."""
    model = trained.model
    for what, theirs, own in (
        ("channels", data.channels, model.channels),
        ("levels", data.levels, model.levels),
    ):
        if theirs != own:
            raise UsageError(f"{data.source} has {theirs} {what}, but the model takes {own}")
    if model.size is not None and data.shape not in (None, model.size):
        raise UsageError(f"{data.source} is {data.shape}, but the model takes {model.size}")
