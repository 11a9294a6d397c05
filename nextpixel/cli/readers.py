"""How text becomes a value, where cyclopts does not know or rounds."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from nextpixel.errors import UsageError

__all__ = [
    "READERS",
    "SHORT_OUT",
    "Device",
    "Enlarge",
    "Json",
    "Model",
    "Out",
    "Several",
    "Whole",
    "converter",
    "parse_size",
]

_LONGEST_SIDE = 65_536


class Several:
    """An option that may be repeated."""


def _whole(text: str) -> int:
    """An integer; cyclopts would round 1.5."""
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{text:.40} is not a whole number") from None


def _share_or_number(text: str) -> int | float:
    number = float(text)
    return int(number) if number >= 1 and number.is_integer() else number


def _size(text: str) -> tuple[int, int]:
    sides = text.lower().replace("×", "x").split("x")
    if not (len(sides) in (1, 2) and all(side.isdecimal() and len(side) < 10 for side in sides)):
        raise ValueError(
            f"{text} is not a size; use one side such as 32, or height and width such as 48x64"
        )
    height, width = int(sides[0]), int(sides[-1])
    if not (0 < height <= _LONGEST_SIDE and 0 < width <= _LONGEST_SIDE):
        raise ValueError(f"{text} is not a size; sides are from 1 to {_LONGEST_SIDE} pixels")
    return height, width


def _pixel(text: str) -> tuple[int, int]:
    sides = text.lower().replace("×", "x").split("x")
    if not (len(sides) == 2 and all(side.isdecimal() and len(side) < 10 for side in sides)):
        raise ValueError(f"{text:.40} is not a pixel; give its row and column, such as 14x3")
    return int(sides[0]), int(sides[1])


def _size_or_auto(text: str) -> tuple[int, int] | str:
    return text if text == "auto" else _size(text)


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)


def _table(text: str) -> tuple[int | float, ...] | str:
    return text if text == "auto" else tuple(_number(part) for part in text.split(","))


def _channels(text: str) -> tuple[int, ...]:
    return tuple(_whole(part) for part in text.split(","))


def parse_size(text: str) -> tuple[int, int]:
    """A side such as 32, or 48x64 for height and width.

    Raises:
        UsageError: it is neither.
    """
    try:
        return _size(text)
    except ValueError as error:
        raise UsageError(f"‹size›: {error}") from None


def converter(read: Callable[[str], Any], *, several: bool) -> Callable[[Any, Any], Any]:
    """A reader as cyclopts takes it, of one token or of `several`."""
    if several:
        return lambda _, tokens: tuple(read(token.value) for token in tokens)
    return lambda _, tokens: read(tokens[0].value)


READERS: dict[Any, tuple[Any, Callable[[str], Any] | None]] = {
    "range": (tuple[float, float], None),
    "size": (str, _size_or_auto),
    "values": (str, _table),
    "missing": (str, _number),
    "pixels": (Several, _pixel),
    "only": (Several, str),
    "known": (str, _channels),
    "field_pixel": (str, _pixel),
    "validation": (float, _share_or_number),
    "test": (float, _share_or_number),
    (int,): (int, _whole),
    (int, tuple[int, int]): (str, _size),
}
"""The readers of options, by name or type: what cyclopts takes the text for, and the function,
if it cannot read that itself."""


Model = Annotated[
    str, Parameter(help="A run folder, a checkpoint, or the name of a pretrained model.")
]
Device = Annotated[str, Parameter(help="`auto`, `cpu`, `cuda`, `cuda:1` …")]
Json = Annotated[bool, Parameter(help="Print one JSON object.")]
SHORT_OUT = Parameter(alias="-o")
"""What every ‹out› is also called."""
Out = Annotated[
    Path,
    Parameter(help="A `.png` for a picture, or an `.npy` for the values of the training data."),
    SHORT_OUT,
]
Whole = Annotated[int, Parameter(converter=converter(_whole, several=False))]
Enlarge = Annotated[
    Whole, Parameter(help="Show each pixel as a square with a side of this many pixels.")
]
"""Parameters that several commands share."""
