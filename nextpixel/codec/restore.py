"""From an archive to files: all of them, or some by name.

What is damaged does not keep the others from being restored.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from nextpixel.codec.archive import check_other
from nextpixel.codec.compress import Coder
from nextpixel.codec.container import CODED, FILE, Reader
from nextpixel.codec.entries import Entry, check_names
from nextpixel.codec.errors import CodecError
from nextpixel.codec.fields import Fields
from nextpixel.codec.pictures import restored_file
from nextpixel.codec.stored_model import unpack_model
from nextpixel.errors import UsageError
from nextpixel.files.regular import kind_of
from nextpixel.files.replacing import check_links, new_folder, replace_file
from nextpixel.models.core import ImageModel
from nextpixel.settings.codec import DecompressConfig

__all__ = [
    "Listed",
    "archive_model",
    "decompress_files",
    "has_model",
    "list_archive",
    "model_inside",
    "needs_model",
    "verify_archive",
]

Progress = Callable[[int, int], None]
"""Told how many are done, and of how many."""


@dataclass(frozen=True)
class Listed:
    """An entry of an archive.

    Attributes:
        name: its relative path.
        size: (H, W), or None if it is a file that is kept as it is.
        share: its share of the bytes of its block.
        how: "coded", "plain" or "file".
    """

    name: str
    size: tuple[int, int] | None
    share: float
    how: str


@contextmanager
def _opened(path: Path) -> Iterator[Reader]:
    if (kind := kind_of(path)) is not None:
        raise CodecError(f"{path} is {kind}, not a regular file; give an archive")
    with path.open("rb") as file:
        try:
            reader = Reader(file)
        except CodecError as error:
            raise CodecError(f"{path}: {error.sentence}") from None
        yield reader


def archive_model(archive: str | Path) -> str:
    """What the model of an archive is called; "" if nothing is known, or if it is inside.

    Raises:
        CodecError: it is no archive, or damaged.
    """
    with _opened(Path(archive)) as reader:
        return reader.header.model


def has_model(archive: str | Path) -> bool:
    """Whether an archive holds its model.

    Raises:
        CodecError: it is no archive, or damaged.
    """
    with _opened(Path(archive)) as reader:
        return reader.holds_model


def needs_model(archive: str | Path) -> bool:
    """Whether an archive holds more than files that are kept as they are, which need no model.

    Raises:
        CodecError: it is no archive, or damaged.
    """
    with _opened(Path(archive)) as reader:
        return reader.needs_model


def model_inside(archive: str | Path, *, device: str | torch.device = "cpu") -> ImageModel | None:
    """The model that an archive holds; None if it holds none.

    Args:
        archive: of `compress_files`.
        device: where to put the model.

    Raises:
        CodecError: it is no archive, or damaged.
    """
    with _opened(Path(archive)) as reader:
        body = reader.model()
        return None if body is None else unpack_model(body, Path(archive)).to(device)


def list_archive(archive: str | Path) -> list[Listed]:
    """The entries of an archive, by name. It needs no model.

    Raises:
        CodecError: it is no archive, or damaged.
    """
    listed = []
    with _opened(Path(archive)) as reader:
        for number, entries in enumerate(reader.entries):
            if not entries:
                continue  # the model, or none at all
            kind, body = reader.block(number, most=_DIMENSIONS)
            how = {CODED: "coded", FILE: "file"}.get(kind, "plain")
            size = None
            if kind != FILE:
                _, height, width = _dimensions(body)
                size = height, width
            share = reader.length(number) / max(1, len(entries))
            for place, entry in enumerate(entries):
                listed.append(Listed(_name(entry, number, place), size, share, how))
    return sorted(listed, key=lambda entry: entry.name)


_DIMENSIONS = 27  # bytes of three integers, at most


def _dimensions(body: bytes) -> tuple[int, int, int]:
    fields = Fields(body)
    return fields.varint(), fields.varint(), fields.varint()


def _name(entry: Entry, block: int, place: int) -> str:
    """The name of an entry; one that came from an array gets numbers."""
    return entry.name or f"{block:06}-{place:02}.png"


def decompress_files(
    model: ImageModel | None,
    archive: str | Path,
    folder: str | Path,
    config: DecompressConfig = DecompressConfig(),  # noqa: B008
    *,
    device: str | torch.device = "cpu",
    progress: Progress | None = None,
) -> list[Path]:
    """Restores the pictures of an archive into a folder.

    What is damaged is named at the end, when all others are restored.

    Args:
        model: the one that compressed them; None takes the one in the archive. Files that are kept
            as they are need none.
        archive: of `compress_files`.
        folder: where to; it is made if it does not exist.
        config: which.
        device: where to put a model that comes from the archive.
        progress: told how many pictures are done.

    Returns:
        The files that were written.

    Raises:
        CodecError: the archive is of another model, damaged, truncated or foreign; it has no such
            picture; or a file exists.
        OSError: the disk is full, or the like.
    """
    folder, written = Path(folder), []
    with new_folder(folder):
        for name, data in _files(model, Path(archive), folder, config, device, progress):
            path = folder / name
            check_links(path.parent)
            path.parent.mkdir(parents=True, exist_ok=True)
            with replace_file(path, to_disk=False) as temporary:
                temporary.write_bytes(data)
                _check_place(path, config.overwrite)  # another process may have made it meanwhile
            written.append(path)
    return written


def _check_place(path: Path, overwrite: bool) -> None:
    """Raises CodecError if there is something that must not, or cannot, be replaced."""
    if os.path.lexists(path) and not overwrite:
        raise CodecError(f"{path} exists; give another folder, or ‹overwrite=True›")
    if (kind := kind_of(path)) is not None:
        raise CodecError(f"{path} is {kind}, not a file to replace; give another folder")


def verify_archive(
    model: ImageModel | None,
    archive: str | Path,
    *,
    device: str | torch.device = "cpu",
    progress: Progress | None = None,
) -> int:
    """Decodes all pictures of an archive, and writes nothing: how many there are.

    Args: as `decompress_files`.

    Raises:
        CodecError: something is damaged; it says what.
    """
    every = _files(model, Path(archive), None, DecompressConfig(), device, progress)
    return sum(1 for _ in every)


def _files(
    model: ImageModel | None,
    archive: Path,
    folder: Path | None,
    config: DecompressConfig,
    device: str | torch.device,
    progress: Progress | None,
) -> Iterator[tuple[str, bytes]]:
    """The files of an archive; raises at its end if some are damaged."""
    only = config.only or ()
    with _opened(archive) as reader:
        if model is None:
            coder = _coder_inside(reader, archive, device)
        else:
            coder = Coder(model)
            coder.check(reader.header)
        blocks = [
            [_name(entry, number, place) for place, entry in enumerate(entries)]
            for number, entries in enumerate(reader.entries)
        ]
        names = [name for block in blocks for name in block]
        check_names(names)
        missing = set(only) - set(names)
        if missing:
            raise CodecError(
                f"there is no picture {sorted(missing)[0]}; see nextpixel archive list"
            )
        wanted = set(only) or set(names)
        if folder is not None:
            for name in filter(wanted.__contains__, names):
                _check_place(folder / name, config.overwrite)
                check_other(folder / name, [archive])
        done, damaged = 0, []
        for number, block in enumerate(blocks):
            if wanted.isdisjoint(block):
                continue
            try:
                for place, data in enumerate(_decoded(coder, reader, number)):
                    if block[place] in wanted:
                        yield block[place], data
            except CodecError:
                damaged += [name for name in block if name in wanted]
            done += len(wanted.intersection(block))
            if progress is not None:
                progress(done, len(wanted))
        if damaged:
            more = f" and {len(damaged) - 1:,} others" if len(damaged) > 1 else ""
            raise CodecError(f"{damaged[0]}{more} cannot be restored: the data is damaged")


def _coder_inside(reader: Reader, archive: Path, device: str | torch.device) -> Coder | None:
    """The coder of the model in an archive; None if it is damaged: other files can be restored.

    An archive of such files alone has no model.
    """
    try:
        body = reader.model()
        if body is not None:
            coder = Coder(unpack_model(body, archive).to(device))
            coder.check(reader.header)
            return coder
    except UsageError:
        return None
    if not reader.needs_model:
        return None
    raise CodecError(f"{archive} does not hold its model, nor says which it is: give ‹model›")


def _decoded(coder: Coder | None, reader: Reader, number: int) -> list[bytes]:
    """The files of a block."""
    kind, body = reader.block(number)
    entries = reader.entries[number]
    if kind == FILE:
        if len(entries) != 1:
            raise CodecError("the compressed data's index is damaged")
        return [body]
    if coder is None:
        raise CodecError("the model in the compressed data is damaged")
    images = coder.decode(kind, body, len(entries))
    levels = coder.model.levels
    return [restored_file(x, entry.note, levels) for x, entry in zip(images, entries, strict=True)]
