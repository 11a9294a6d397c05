"""Options of commands, made of the library's frozen dataclasses.

A field is the only home of an option: its name, type, default and help (the docstring under it)
become an option of the command line and a key of a file of options, and the dataclass itself checks
its value. `Given[TrainConfig]` annotates a command's parameter with the fields of that dataclass.
It holds those that were given, and no others, so that a command can tell a default from a choice.
"""

import ast
import inspect
import textwrap
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, is_dataclass, make_dataclass
from functools import cache
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Generic, TypeVar, get_args, get_type_hints

from cyclopts import Group, Parameter

from nextpixel.errors import UsageError

__all__ = ["BesideOptions", "Given", "flag", "parse_size", "shown_default"]

Settings = TypeVar("Settings")

_LONGEST_SIDE = 65_536


class Given(Generic[Settings]):
    """The fields of a frozen dataclass that were given on the command line, or in its file.

    `Given()` is none of them: the default of such a parameter.
    """

    def values(self) -> dict[str, Any]:
        """The fields that were given, by name."""
        return {}

    def __class_getitem__(cls, kind: Any) -> Any:
        """The annotation for the command line: every field optional, with its default in the help."""
        return _options_of(kind) if isinstance(kind, type) and is_dataclass(kind) else cls


class _GivenFields(Given[Any]):
    def values(self) -> dict[str, Any]:
        held = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        return {name: value for name, value in held.items() if value is not None}


@cache
def _options_of(kind: Any) -> Any:
    """A dataclass of the same fields, each None unless given, in a group of the help."""
    hints, helps = get_type_hints(kind), _docstrings(kind)
    options = [
        (field.name, _option(field.name, hints[field.name], field.default, helps[field.name]), None)
        for field in fields(kind)
    ]
    own = {
        "__module__": __name__,
        "__doc__": None,
    }  # cyclopts takes the module "types" for built-in
    name = f"Given{kind.__name__}"
    made = make_dataclass(name, options, bases=(_GivenFields,), namespace=own, kw_only=True)
    return Annotated[made, Parameter(name="*", group=Group(_GROUPS[kind.__name__]))]


_GROUPS = {
    "BesideOptions": "Conditions",
    "DataOptions": "Data",
    "EmbeddingConfig": "Training",
    "ModelSettings": "Model",
    "TrainConfig": "Training",
}


def _option(name: str, hint: Any, default: Any, text: str) -> Any:
    """The annotation of one option."""
    kinds = tuple(part for part in get_args(hint) or (hint,) if part is not NoneType)
    if get_args(hint) and isinstance(get_args(hint)[0], str):
        kinds = (hint,)
    kind, read = _READERS.get(name) or _READERS.get(kinds) or (kinds[0], None)
    converter = None if read is None else lambda _, tokens: read(tokens[0].value)
    negative = f"--no-{name.replace('_', '-')}" if kind is bool else None
    parameter = Parameter(
        help=text,
        show_default=shown_default(default) or False,
        converter=converter,
        negative=negative,
    )
    return Annotated[kind | None, parameter]


def shown_default(default: Any) -> str | None:
    """A default as the help shows it; None is told in the help text."""
    if default is None or default is MISSING:
        return None
    if isinstance(default, bool):
        return "yes" if default else "no"
    return f"{default:g}" if isinstance(default, float) else str(default)


def _docstrings(kind: type) -> dict[str, str]:
    """The docstring under each field, on one line."""
    found: dict[str, str] = {}
    for part in reversed(kind.__mro__[:-1]):
        body = ast.parse(textwrap.dedent(inspect.getsource(part))).body[0].body  # type: ignore[attr-defined]
        for line, following in zip(body, body[1:], strict=False):
            if isinstance(line, ast.AnnAssign) and isinstance(following, ast.Expr):
                text = ast.literal_eval(following.value)
                found[line.target.id] = " ".join(text.split())  # type: ignore[union-attr]
    return found


def _whole(text: str) -> int:
    """An integer; cyclopts would round 1.5."""
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{text:.40} is not a whole number") from None


def _share_or_number(text: str) -> float:
    number = float(text)
    return int(number) if number >= 1 and number.is_integer() else number


def _size(text: str) -> tuple[int, int]:
    sides = text.lower().replace("×", "x").split("x")
    if not (len(sides) in (1, 2) and all(side.isdecimal() for side in sides)):
        raise ValueError(
            f"{text} is not a size; use one side such as 32, or height and width such as 48x64"
        )
    height, width = int(sides[0]), int(sides[-1])
    if not (0 < height <= _LONGEST_SIDE and 0 < width <= _LONGEST_SIDE):
        raise ValueError(f"{text} is not a size; sides are from 1 to {_LONGEST_SIDE} pixels")
    return height, width


def parse_size(text: str) -> tuple[int, int]:
    """A side such as 32, or 48x64 for height and width.

    Raises:
        UsageError: it is neither.
    """
    try:
        return _size(text)
    except ValueError as error:
        raise UsageError(f"‹size›: {error}") from None


def flag(name: str) -> str:
    """A parameter of a function as the command line shows it."""
    return f"--{name.replace('_', '-')}"


_READERS: dict[Any, tuple[Any, Callable[[str], Any]]] = {
    "size": (str, _size),
    "validation": (float, _share_or_number),
    "test": (float, _share_or_number),
    (int,): (int, _whole),
}
"""How text becomes a value, by the field's name or type, where cyclopts does not know or rounds."""


@dataclass(frozen=True, kw_only=True)
class BesideOptions:
    """What accompanies the images of --data, for a model that is conditioned on it."""

    vectors: Path | None = None
    """A vector for each image of --data: an .npy file in their order, or a .csv table with a
    column file."""
    captions: Path | None = None
    """A text for each image of --data: a .txt file with a line each, or a .csv table with the
    columns file and text."""
    maps: Path | None = None
    """A map for each image of --data: an .npy file in their order, or a folder of images with the
    same names."""
    text_encoder: str | None = None
    """MODULE:FUNCTION that encoded the captions in training, unless that was the default."""
    embedding: Path | None = None
    """Where the checkpoint that the model was trained with (--embedding) is now, if it moved."""
