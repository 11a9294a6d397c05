"""From files to an archive.

Pictures of one size are coded in blocks, and so memory is bounded by the blocks in progress. The
archive is written whole or not at all.
"""

import math
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from nextpixel.codec.compress import Coder, images_together
from nextpixel.codec.container import FILE, MODEL, Writer
from nextpixel.codec.entries import Entry, check_name, check_names, folded
from nextpixel.codec.errors import CodecError
from nextpixel.codec.exact import WEIGHTS
from nextpixel.codec.pictures import AS_IT_IS, SUFFIXES, FilePicture, read_picture
from nextpixel.codec.stored_model import coarse, pack_model
from nextpixel.conditions.values import Values, broadcast
from nextpixel.data.folders import files_below
from nextpixel.files.regular import kind_of
from nextpixel.files.replacing import replace_file
from nextpixel.models.core import ImageModel
from nextpixel.settings.codec import CompressConfig

__all__ = ["Packed", "check_new", "check_other", "compress_files", "files_of"]

_MOST_PENDING = 1 << 26  # bytes of pictures that wait for others of their size


@dataclass
class Packed:
    """What became of the files of an archive.

    Attributes:
        pictures: how many were coded.
        sub_pixels: of these.
        coded_bytes: of their blocks; names and notes are in the index.
        png_bytes: of the same pictures as PNG files.
        webp_bytes: of the same pictures as lossless WebP files; None if Pillow writes none.
        model_bytes: of the block with the model; 0 if it is not in the archive.
        estimates: of `compress_pictures` with ‹fit›: the bytes of the archive with the model of
            the pictures, as "fit", and with others, by their names.
        ended: with ‹fit›: what ended the training before its time; "" for nothing.
        kept: the files that are kept as they are, by the reason.
        left_out: the files of a folder that are no pictures.
        passed_over: the pictures of a folder that are hidden, or links to others of it.
        source_bytes: of all files.
        archive_bytes: of the archive.
    """

    pictures: int = 0
    sub_pixels: int = 0
    coded_bytes: int = 0
    png_bytes: int = 0
    webp_bytes: int | None = 0
    model_bytes: int = 0
    estimates: dict[str, int] = field(default_factory=dict)
    ended: str = ""
    kept: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    left_out: list[str] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)
    source_bytes: int = 0
    archive_bytes: int = 0

    @property
    def bits_per_dim(self) -> float:
        """Of the blocks of the pictures that were coded; names and notes are in the index."""
        return 8 * self.coded_bytes / self.sub_pixels if self.sub_pixels else math.nan


Progress = Callable[[int, int, Packed], None]
"""Told how many files are in the archive so far, of how many, and what became of them."""


def compress_files(
    model: ImageModel,
    sources: Sequence[str | Path],
    out: str | Path,
    config: CompressConfig = CompressConfig(),  # noqa: B008
    *,
    name: str = "",
    condition: Values = (),
    progress: Progress | None = None,
) -> Packed:
    """Puts pictures into an archive.

    Args:
        model: any model of nextpixel.
        sources: files, and folders of which all pictures are taken, with their sub-folders.
        out: the archive.
        config: how.
        name: what the model is called, for whoever restores the pictures; unused if the model is
            in the archive.
        condition: one value of each of the model's conditions; () for unknown.
        progress: told how many files are in the archive so far, of how many, and what became of
            them.

    Raises:
        CodecError: a file that was named is no picture, a name occurs twice or cannot be stored, or
            the archive exists. An unreadable picture of a folder is kept as it is.
        UsageError: the model's arithmetic cannot be made exact.
        OSError: the disk is full, or the like.
    """
    out, packed = Path(out), Packed()
    check_new(out, config.overwrite)
    files = files_of(sources, packed)
    check_other(out, files.values())
    given = set(map(Path, sources))
    coder = Coder(coarse(model, WEIGHTS) if config.include_model else model)
    with replace_file(out) as temporary, temporary.open("wb") as file:
        writer = Writer(file, coder.header("" if config.include_model else name))
        work = _Packing(writer, coder, config, condition, packed)
        for entry, path in files.items():
            work.add(entry, _read(path, model, given))
            if progress is not None:
                progress(work.written, len(files), packed)
        for _ in work.finish():
            if progress is not None:
                progress(work.written, len(files), packed)
        before = writer.size
        if config.include_model and packed.pictures:
            writer.add(MODEL, pack_model(coder.model), [])
        packed.model_bytes = writer.size - before
        writer.finish()
        packed.archive_bytes = writer.size
        check_new(out, config.overwrite)  # another process may have made it meanwhile
    return packed


def check_new(out: Path, overwrite: bool) -> None:
    """Raises CodecError if a file, a folder or a link exists that must not be replaced."""
    if out.is_dir() and not out.is_symlink():
        raise CodecError(f"{out} is a folder; give the name of a file, such as {out}.npx")
    if os.path.lexists(out) and not overwrite:
        raise CodecError(f"{out} exists; give another name, or ‹overwrite=True›")


def check_other(out: Path, read: Iterable[Path]) -> None:
    """Raises CodecError if a file that is to be written is one of those that are read."""
    if out.exists() and any(path.exists() and out.samefile(path) for path in read):
        raise CodecError(f"{out} is itself read, so it is not replaced; give another name")


def _read(path: Path, model: ImageModel, given: set[Path]) -> FilePicture:
    """A picture; one of a folder that cannot be read must not stop the others."""
    try:
        return read_picture(path, model.channels, model.levels)
    except CodecError:
        if path in given:
            raise
    # Not above, where the error would still hold what was read.
    return FilePicture(path.read_bytes(), reason="it cannot be read as a picture")


def files_of(sources: Sequence[str | Path], packed: Packed | None = None) -> dict[str, Path]:
    """The files by their names in the archive; says in `packed` which are not in it, and why.

    Raises:
        CodecError: there are none, one does not exist, or two would have the same name.
    """
    if not sources:
        raise CodecError("there is nothing to compress; give pictures, or folders of pictures")
    packed = Packed() if packed is None else packed
    files: dict[str, Path] = {}
    taken: dict[str, Path] = {}
    for source in map(Path, sources):
        if not source.exists():
            raise CodecError(f"{source} does not exist{_quoted(source, sources)}")
        if not source.is_dir() and (kind := kind_of(source)) is not None:
            raise CodecError(f"{source} is {kind}, not a regular file; leave it out")
        found = [(source.name, source)]
        if source.is_dir():
            every = list(files_below(source, source, lambda _: True))
            pictures = [
                path for path in every if path.suffix.lower() in SUFFIXES and path.is_file()
            ]
            packed.left_out += map(str, sorted(set(every).difference(pictures)))
            packed.passed_over += map(str, _passed_over(source, set(every)))
            found = [(path.relative_to(source).as_posix(), path) for path in pictures]
        for entry, path in found:
            check_name(entry)
            other = taken.setdefault(folded(entry), path)
            if other is not path and not (entry in files and other.samefile(path)):
                raise CodecError(
                    f"{path} and {other} would have the same name in the archive, {entry}; compress"
                    " the folder that holds both"
                )
            files[entry] = path
    if not files:
        raise CodecError(f"there are no pictures in {', '.join(map(str, sources))}")
    check_names(list(files))
    return files


def _passed_over(folder: Path, seen: set[Path]) -> Iterator[Path]:
    """The pictures of a folder that `files_below` does not find, and the folders it finds once."""
    for place, folders, names in os.walk(folder):
        folders.sort()
        links = (name for name in folders if (Path(place) / name).is_symlink())
        for path in (Path(place) / name for name in sorted([*names, *links])):
            if path.is_symlink() and path.is_dir():
                if not any(path in other.parents for other in seen):
                    yield path
            elif path.suffix.lower() in SUFFIXES and path not in seen:
                yield path


def _quoted(missing: Path, sources: Sequence[str | Path]) -> str:
    """What to do about a name that a shell took for several."""
    words = list(map(str, sources))
    first = words.index(str(missing)) if str(missing) in words else len(words)
    for last in range(first + 2, len(words) + 1):
        if Path(whole := " ".join(words[first:last])).exists():
            return f", but {whole} does; put a name that holds spaces in quotes"
    return ""


class _Packing:
    """Blocks in progress: pictures that wait for others of their size."""

    def __init__(
        self,
        writer: Writer,
        coder: Coder,
        config: CompressConfig,
        condition: Values,
        packed: Packed,
    ) -> None:
        self._writer, self._coder, self._config = writer, coder, config
        self._condition, self._packed = condition, packed
        self._waiting: dict[tuple[int, ...], list[tuple[str, FilePicture]]] = defaultdict(list)
        self._pending, self.written = 0, 0

    def add(self, name: str, picture: FilePicture) -> None:
        """Takes a picture in."""
        self._packed.source_bytes += len(picture.data)
        if picture.values is None:
            self._keep(name, picture, picture.reason)
            return
        shape = tuple(picture.values.shape)
        self._waiting[shape].append((name, picture))
        self._pending += _held(picture)
        if len(self._waiting[shape]) == (
            self._config.together or images_together(picture.values.numel())
        ):
            self._write(shape)
        elif self._pending > _MOST_PENDING:
            for _ in self.finish():
                pass

    def finish(self) -> Iterator[None]:
        """Writes all that wait, block by block."""
        for shape in list(self._waiting):
            self._write(shape)
            yield

    def _write(self, shape: tuple[int, ...]) -> None:
        waiting = self._waiting.pop(shape)
        x = torch.stack([picture.values for _, picture in waiting if picture.values is not None])
        self._pending -= sum(_held(picture) for _, picture in waiting)
        model, size = self._coder.model, (shape[1], shape[2])
        given = self._condition or tuple(part.unknown(1, size) for part in model.conditions)
        values = broadcast(model.conditions, given, len(x), size, torch.device("cpu"))
        kind, body = self._coder.encode(x, values)
        notes = sum(len(picture.note) for _, picture in waiting)
        if len(body) + notes >= sum(len(picture.data) for _, picture in waiting):
            for name, picture in waiting:
                self._keep(name, picture, "the file is smaller than what the model makes of it")
            return
        before = self._writer.size
        entries = [Entry(name, picture.note) for name, picture in waiting]
        self._writer.add(kind, body, entries)
        self._packed.archive_bytes = self._writer.size
        self.written += len(x)
        self._packed.pictures += len(x)
        self._packed.sub_pixels += x.numel()
        self._packed.coded_bytes += self._writer.size - before
        self._packed.png_bytes += sum(picture.png_bytes for _, picture in waiting)
        for _, picture in waiting:
            known = self._packed.webp_bytes is not None and picture.webp_bytes is not None
            self._packed.webp_bytes = (
                (self._packed.webp_bytes or 0) + (picture.webp_bytes or 0) if known else None
            )

    def _keep(self, name: str, picture: FilePicture, reason: str) -> None:
        self.written += 1
        self._packed.kept[reason].append(name)
        self._writer.add(FILE, picture.data, [Entry(name, AS_IT_IS)])
        self._packed.archive_bytes = self._writer.size


def _held(picture: FilePicture) -> int:
    """The bytes of a picture that waits: a small one may have much metadata."""
    values = 0 if picture.values is None else picture.values.numel()
    return len(picture.data) + len(picture.note) + values
