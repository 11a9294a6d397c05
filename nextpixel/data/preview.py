"""A sheet of pictures that shows what a model will see, to be looked at before it trains.

Each image stands beside its stored form, with its name, its class and what else belongs to it, by
split. Values are spread over black to white; of many bands the first three are shown in red, green
and blue, which are then false colours.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from nextpixel.data.errors import ImageError
from nextpixel.data.image_files import read_image
from nextpixel.data.lettering import font, shortened
from nextpixel.data.splits import Example, ImageData
from nextpixel.files.replacing import replace_file

__all__ = ["write_preview"]

_TILE, _GAP, _LINE = 112, 8, 15
_TEXT = 12
_COLUMNS = 4
_MOST_BANDS = 3
_MOST_DECODED = 2**24
"""Larger pictures are shown resized, because to decode them again takes seconds."""
_BRIGHTENED = 8
"""Images are brightened if the highest of their values is less than this share of the levels."""
_INK, _FAINT, _PAPER = (20, 20, 20), (110, 110, 110), (255, 255, 255)


def write_preview(data: ImageData, path: str | Path) -> None:
    """Write a sheet of up to eight images of each split as a picture of bounded size.

    Args:
        data: What `nextpixel.data.load.load_data` gives, with its examples.
        path: The file, which ends in ``.png``.

    Raises:
        DataError: If the data have no examples.
        OSError: If it cannot be written.
    """
    if not data.examples:
        raise ImageError("there are no examples to show; load the data with load_data")
    highest = max(int(example.prepared.max()) for example in data.examples)
    dark = _BRIGHTENED * max(highest, 1) < data.levels
    pictures = [
        _pictures(example, data, highest + 1 if dark else None) for example in data.examples
    ]
    cell = max(map(len, pictures)) * (_TILE + _GAP) + 2 * _GAP
    width = _GAP + _COLUMNS * cell
    blocks: list[tuple[int, Image.Image | None, str]] = []  # height, a row of cells or a line
    blocks += [(_LINE, None, line) for line in _head(data, highest if dark else None)]
    for name in ("train", "valid", "test"):
        places = [k for k, example in enumerate(data.examples) if example.split == name]
        count = len(getattr(data, name))
        if places:
            said = f"{name}: {len(places)} of {count:,} image{'s' * (count != 1)}"
            blocks += [(_GAP, None, ""), (_LINE + 4, None, said)]
        for begin in range(0, len(places), _COLUMNS):
            row = [(data.examples[k], pictures[k]) for k in places[begin : begin + _COLUMNS]]
            drawn = _row(row, cell, width)
            blocks.append((drawn.height, drawn, ""))
    sheet = Image.new("RGB", (width, sum(height for height, _, _ in blocks) + 2 * _GAP), _PAPER)
    draw, y = ImageDraw.Draw(sheet), _GAP
    for height, drawn_row, line in blocks:
        if drawn_row is not None:
            sheet.paste(drawn_row, (0, y))
        elif line:
            _write(draw, (_GAP, y), line, width - 2 * _GAP, _INK)
        y += height
    with replace_file(path, to_disk=False) as place:
        sheet.save(place, format="PNG")


def _head(data: ImageData, highest: int | None) -> list[str]:
    """What the sheet is of, and how it is to be read."""
    size = "several sizes" if data.shape is None else "{}×{}".format(*data.shape)
    channels = f"{data.channels} channel{'s' * (data.channels > 1)}"
    mapped = any(example.map is not None for example in data.examples)
    places = ("middle", "; right: the map") if mapped else ("right", "")
    head = [
        f"{data.source}: the model sees {size}, {channels}, {data.levels} levels",
        f"left: as stored; {places[0]}: as the model sees it{places[1]}",
    ]
    if data.channels not in (1, _MOST_BANDS):
        shown = "1, 2 and 3 as red, green and blue" if data.channels > _MOST_BANDS else "1 as grey"
        head.append(f"false colours: of {data.channels} channels {shown}")
    if highest is not None:
        head.append(f"brightened: of {data.levels} levels no value here is above {highest}")
    return head


def _pictures(example: Example, data: ImageData, levels: int | None) -> list[Image.Image]:
    """The stored image, the prepared one, and the map."""
    from_levels = levels or data.preparation.from_levels
    shown = [
        _picture(_stored(example, data), from_levels),
        _picture(example.prepared, levels or data.levels),
    ]
    return shown if example.map is None else [*shown, _picture(example.map, None)]


def _row(examples: list[tuple[Example, list[Image.Image]]], cell: int, width: int) -> Image.Image:
    """Cells side by side: pictures, and lines of text under them."""
    texts = [_texts(example) for example, _ in examples]
    tall = max(picture.height for _, pictures in examples for picture in pictures)
    row = Image.new("RGB", (width, tall + max(map(len, texts)) * _LINE + 2 * _GAP), _PAPER)
    draw = ImageDraw.Draw(row)
    for number, ((_, pictures), lines) in enumerate(zip(examples, texts, strict=True)):
        x = _GAP + number * cell
        for place, picture in enumerate(pictures):
            left = x + place * (_TILE + _GAP)
            row.paste(picture, (left, 1))
            draw.rectangle((left - 1, 0, left + picture.width, picture.height + 1), outline=_FAINT)
        for line, (text, ink) in enumerate(lines):
            _write(draw, (x, tall + 4 + line * _LINE), text, cell - 2 * _GAP, ink)
    return row


def _texts(example: Example) -> list[tuple[str, tuple[int, int, int]]]:
    """Its class, sizes and values, name and caption."""
    before, after = ("×".join(map(str, size)) for size in (example.stored_size, example.size))
    size = after if before == after else f"{before} → {after}"
    values = f"values {int(example.prepared.min())} to {int(example.prepared.max())}"
    vector = f", vector of {example.vector}" if example.vector else ""
    lines = [
        (example.label, _INK),
        (f"{size}, {values}{vector}", _FAINT),
        (example.name, _FAINT),
        (example.caption, _INK),
    ]
    return [(text, ink) for text, ink in lines if text]


def _stored(example: Example, data: ImageData) -> NDArray[Any]:
    """The picture as it lies in its folder, if it was resized; else the stored values."""
    height, width = example.stored_size
    if example.stored_size == example.size or not example.name or height * width > _MOST_DECODED:
        return example.stored
    folder = Path(str(data.source)).expanduser()
    if not folder.is_dir():
        return example.stored
    for path in (folder / example.name, folder / example.split / example.name):
        if path.is_file():
            try:
                return read_image(path, channels=data.channels)
            except (ImageError, OSError):
                break
    return example.stored


def _picture(values: NDArray[Any], levels: int | None) -> Image.Image:
    """An image (C, H, W) in colours, in a square of the size of a tile."""
    bands = values[:3] if len(values) >= _MOST_BANDS else values[:1].repeat(3, axis=0)
    low, high = (0.0, levels - 1.0) if levels is not None else (np.nan, np.nan)
    finite = bands[np.isfinite(bands)]
    if levels is None or not finite.size or finite.min() < low or finite.max() > high:
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    scaled = np.nan_to_num((bands - low) * (255 / max(high - low, 1e-12)))
    picture = Image.fromarray(np.moveaxis(np.rint(scaled).astype(np.uint8), 0, 2))
    longest = max(picture.size)
    if longest <= _TILE:
        scale = max(1, _TILE // longest)
        size = picture.width * scale, picture.height * scale
        return picture.resize(size, Image.Resampling.NEAREST)
    size = (
        max(1, picture.width * _TILE // longest),
        max(1, picture.height * _TILE // longest),
    )
    return picture.resize(size, Image.Resampling.BOX)


def _write(
    draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, room: int, ink: tuple[int, int, int]
) -> None:
    """A line of text, cut to the room there is."""
    draw.text(at, shortened(text, _TEXT, room), fill=ink, font=font(_TEXT))
