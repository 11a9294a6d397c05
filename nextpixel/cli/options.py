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
from nextpixel.models.choice import DECIDED_BY_DATA, NETWORKS
from nextpixel.models.settings import NetworkSettings

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
    members = NETWORKS if kind is NetworkSettings else {"": kind}
    helps = {label: _docstrings(member) for label, member in members.items()}
    options: dict[str, Any] = {}
    passed_over = _NO_OPTIONS.get(kind.__name__, ())
    shared = set(NetworkSettings.__dataclass_fields__) if kind is NetworkSettings else set()
    for label, member in members.items():
        hints = get_type_hints(member)
        for field in sorted(fields(member), key=lambda field: field.name in shared):  # own first
            if field.name in helps[label] and field.name not in (*options, *passed_over):
                own = [(each, part) for each, part in members.items() if field.name in helps[each]]
                text = _merged({each: helps[each][field.name] for each, _ in own}, members)
                default = _merged_default(
                    {each: part.__dataclass_fields__[field.name].default for each, part in own}
                )
                options[field.name] = _option(field.name, hints[field.name], default, text)
    made = make_dataclass(
        f"Given{kind.__name__}",
        [(name, option, None) for name, option in options.items()],
        bases=(_GivenFields,),
        namespace={"__module__": __name__, "__doc__": None},  # "types" would pass for built-in
        kw_only=True,
    )
    return Annotated[made, Parameter(name="*", group=_GROUPS[kind.__name__])]


_NO_OPTIONS = {
    "NetworkSettings": DECIDED_BY_DATA,
    "Preparation": ("ragged", "skip_small", "reading"),  # decided by a crop, the sizes, old files
    "Source": ("images",),  # has no name on the command line
}
_GROUPS = {
    name: Group(title, sort_key=key)
    for key, title, names in (
        (1, "Data", ("Source", "Preparation")),
        (2, "Model", ("ModelChoice", "NetworkSettings")),
        (3, "Training", ("EmbeddingConfig", "TrainConfig")),
    )
    for name in names
}


def _merged(texts: dict[str, str], members: dict[str, Any]) -> str:
    """What the help says of an option that means different things to different models."""
    same: dict[str, list[str]] = {}
    for label, text in texts.items():
        same.setdefault(text, []).append(label)
    if len(same) == 1 and len(texts) == len(members):
        return next(iter(same))
    return " ".join(f"For {', '.join(labels)}: {text}" for text, labels in same.items())


def _merged_default(defaults: dict[str, Any]) -> str | None:
    """The default, or those of each model that has one."""
    same: dict[str | None, list[str]] = {}
    for label, default in defaults.items():
        same.setdefault(shown_default(default), []).append(label)
    if len(same) == 1:
        return next(iter(same))
    shown = [f"{text} ({', '.join(labels)})" for text, labels in same.items() if text is not None]
    return ", ".join(shown)


def _option(name: str, hint: Any, default: str | None, text: str) -> Any:
    """The annotation of one option."""
    kinds = tuple(part for part in get_args(hint) or (hint,) if part is not NoneType)
    if isinstance(kinds[0], str):  # a Literal
        kinds = (hint,)
    kind, read = _READERS.get(name) or _READERS.get(kinds) or (kinds[0], None)
    converter = None if read is None else lambda _, tokens: read(tokens[0].value)
    negative = f"--no-{name.replace('_', '-')}" if kind is bool else None
    parameter = Parameter(
        help=text, show_default=default or False, converter=converter, negative=negative
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


def _share_or_number(text: str) -> int | float:
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


def _size_or_auto(text: str) -> tuple[int, int] | str:
    return text if text == "auto" else _size(text)


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
    "size": (str, _size_or_auto),
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
