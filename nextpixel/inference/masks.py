"""What of images a completion keeps: parts with a name, channels, and masks in pictures.

A mask is cropped and reduced exactly as its image was, and stays a mask: a pixel is hidden if any
part of it is hidden in the picture.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextpixel.data.folders import files_below, require_file
from nextpixel.data.image_files import read_image
from nextpixel.data.pictures import is_picture
from nextpixel.data.pixels import resize
from nextpixel.data.splits import Split
from nextpixel.data.table_files import row_of_each
from nextpixel.errors import UsageError
from nextpixel.settings.requests import CompletionRequest

__all__ = ["hidden_part", "known_pixels", "known_sites"]


def known_sites(
    request: CompletionRequest, part: Split, rows: NDArray[np.int64], channels: int
) -> NDArray[np.bool_]:
    """Where images of so many channels are known, (B, C, H, W).

    It is where their pixels are, and all of the channels that the request says are known.

    Args:
        request, part, rows: as for `known_pixels`.
        channels: C.

    Raises:
        UsageError: as `known_pixels`; or a channel is not there, or all are known.
    """
    everywhere = np.zeros((channels, 1, 1), np.bool_)
    assert isinstance(request.known, tuple)
    for channel in request.known:
        if channel >= channels:
            raise UsageError(
                f"‹known={channel}› is not a channel of these images, which have {channels}; give"
                f" numbers from 0 to {channels - 1}"
            )
        everywhere[channel] = True
    if everywhere.all():
        shown = ",".join(map(str, request.known))
        raise UsageError(
            f"‹known={shown}› are all channels, so that nothing is hidden; leave one out"
        )
    known = known_pixels(request, part, rows) | everywhere
    return np.broadcast_to(known, (len(rows), *known.shape[-3:])).copy()


def known_pixels(
    request: CompletionRequest, part: Split, rows: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Where pixels are known: (H, W) for all, or (B, 1, H, W) for each.

    Args:
        request: which part is hidden, or the masks.
        part: the images, of one size.
        rows: which of them.

    Raises:
        UsageError: a mask is missing, has another size, or hides nothing.
    """
    height, width = part.sizes[rows[0]].tolist()
    if request.mask is None:
        return ~hidden_part(request.hide, height, width)
    path = Path(request.mask).expanduser()
    files = _masks_of(path, part, rows) if path.is_dir() else [path] * len(rows)
    read = {file: _read_mask(file) for file in dict.fromkeys(files)}
    known = [
        _as_image(read[file], file, part, int(row), (height, width))
        for file, row in zip(files, rows, strict=True)
    ]
    return np.stack(known)[:, None]


def hidden_part(name: str, height: int, width: int) -> NDArray[np.bool_]:
    """A mask (height, width) that is True in a part: see `CompletionRequest.hide`.

    Example:
        >>> hidden_part("left", 2, 3).astype(int).tolist()
        [[1, 0, 0], [1, 0, 0]]
    """
    parts: dict[str, Any] = {
        "bottom": (slice(height // 2, None), slice(None)),
        "top": (slice(None, height // 2), slice(None)),
        "left": (slice(None), slice(None, width // 2)),
        "right": (slice(None), slice(width // 2, None)),
        "centre": (slice(height // 4, height - height // 4), slice(width // 4, width - width // 4)),
        "scratches": _lines(height, width),
        "between": np.arange(height)[:, None] % 2 + np.arange(width) % 2 > 0,
        "all": slice(None),
    }
    if name not in parts:
        raise UsageError(f"‹hide={name}› must be one of {', '.join(parts)}")
    hidden = np.zeros((height, width), bool)
    hidden[parts[name]] = True
    return hidden


def _lines(height: int, width: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows and columns of two steep lines and a flat one."""
    row, column = np.arange(height), np.arange(width)
    lines = (
        (row, (width // 6 + row // 2) % width),
        (row, (width - 1 - width // 6 - row // 3) % width),
        ((height // 3 + column // 4) % height, column),
    )
    rows, columns = (np.concatenate(places) for places in zip(*lines, strict=True))
    return rows, columns


def _masks_of(folder: Path, part: Split, rows: NDArray[np.int64]) -> list[Path]:
    """The picture in a folder that has the name of each image."""
    if not part.names:
        raise UsageError(
            f"‹mask={folder}› is a folder, but the images are in an array and have no names; give"
            " one mask for all of them"
        )
    files = list(files_below(folder, folder, is_picture))
    names = [part.names[row] for row in rows]
    shown = [file.relative_to(folder).as_posix() for file in files]
    places, _ = row_of_each(names, shown, str(folder))
    if missing := [name for name, place in zip(names, places, strict=True) if place < 0]:
        raise UsageError(
            f"‹mask={folder}› holds no mask for {missing[0]} ({len(missing)} of {len(names)}"
            " images); give masks the names of their images"
        )
    return [files[place] for place in places]


def _read_mask(path: Path) -> NDArray[np.bool_]:
    """Where a mask says that pixels are known, (height, width)."""
    require_file(path)
    x = read_image(path)
    if len(x) == 4 and x[3].min() < 255:
        values = x[3]  # What is transparent is hidden, whatever colour it would have.
    else:
        values = read_image(path, channels=1)[0]
    known: NDArray[np.bool_] = values >= (128 if values.max() < 256 else 2**15)
    if known.all() or (not known.any() and values.any()):
        hidden = "nothing" if known.all() else "everything"
        raise UsageError(
            f"‹mask={path}› hides {hidden}: its values are {values.min()} … {values.max()}, but"
            " hidden pixels are below 128 and known ones are not"
        )
    return known


def _as_image(
    known: NDArray[np.bool_], path: Path, part: Split, row: int, size: tuple[int, int]
) -> NDArray[np.bool_]:
    """A mask, cropped and reduced as an image was."""
    if known.shape == size:
        return known
    stored = part.stored_sizes[row] if part.stored_sizes else size
    if known.shape == stored:
        # Of a pixel that is hidden in part something is left, however it is rounded.
        hidden = resize((~known).astype(np.uint16)[None] * np.uint16(2**16 - 1), size)[0] > 0
        return np.asarray(~hidden)
    which = f"{part.names[row]} has" if part.names else "the images are"
    words = "{}×{}".format(*stored)
    if stored != size:
        words += ", and {}×{} as the model sees it".format(*size)
    raise UsageError(
        f"‹mask={path}› is {known.shape[0]}×{known.shape[1]}, but {which} {words}; give a mask of"
        f" {'one of these sizes' if stored != size else 'this size'}"
    )
