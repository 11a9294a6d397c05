"""Typed fields of JSON: what a file says, checked name by name before anything is done with it."""

import inspect
import json
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin

from nextpixel.errors import UsageError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Record = TypeVar("Record", bound=DataclassInstance)
else:
    Record = TypeVar("Record")
Result = TypeVar("Result")

__all__ = ["CheckpointError", "checked", "checked_keywords", "parsed", "read_record"]

_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a string"}
_LARGEST = 2**63
_DEEPEST = 64


class CheckpointError(UsageError):
    """A file is missing, damaged, not a checkpoint of nextpixel, or of a newer version of it."""


def parsed(text: str | bytes, place: str) -> dict[str, Any]:
    """Reads a JSON object.

    Args:
        text: the JSON.
        place: the file, for the error.

    Raises:
        CheckpointError: the text is not JSON, or not an object.
    """
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        raise CheckpointError(f"{place} is damaged: it is not JSON ({_line(error)})") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{place} is damaged: it is not a JSON object")
    level: list[Any] = [value]
    for _ in range(_DEEPEST):
        level = [
            item
            for holder in level
            for item in (holder.values() if isinstance(holder, dict) else holder)
            if isinstance(item, dict | list)
        ]
    if level:
        raise CheckpointError(f"{place} is damaged: it is nested more than {_DEEPEST} deep")
    return value


def checked(value: Any, kind: Any, field: str) -> Any:
    """The value as a kind: a type, a `Literal`, a union, a tuple, a sequence, a mapping or `Any`.

    Lists become tuples where the kind is a tuple.

    Args:
        value: from JSON.
        kind: as an annotation says it.
        field: the file and the field, for the error.

    Raises:
        CheckpointError: the value is not of that kind.

    Example:
        >>> checked([28, 28], tuple[int, int] | None, "model.safetensors: shape")
        (28, 28)
    """
    origin, parts = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin in (Union, types.UnionType):
        for part in parts:
            try:
                return checked(value, part, field)
            except CheckpointError:
                continue
    elif origin is Literal:
        if any(value == part and type(value) is type(part) for part in parts):
            return value
    elif origin is tuple and isinstance(value, list | tuple):
        kinds = [parts[0]] * len(value) if parts[-1] is ... else parts
        if len(kinds) == len(value):
            pairs = enumerate(zip(value, kinds, strict=True))
            return tuple(checked(item, part, f"{field}[{k}]") for k, (item, part) in pairs)
    elif origin is Sequence and isinstance(value, list | tuple):
        return [checked(item, parts[0], f"{field}[{k}]") for k, item in enumerate(value)]
    elif origin is Mapping and isinstance(value, dict):
        return {name: checked(item, parts[1], f"{field}.{name}") for name, item in value.items()}
    elif kind is float and type(value) in (int, float) and abs(value) < _LARGEST:
        # No number of ours is larger; NaN and infinity fail here, too.
        return value
    elif kind is int and type(value) is int and abs(value) < _LARGEST:
        return value
    elif kind in (bool, str) and type(value) is kind:
        return value
    elif value is None and kind in (None, types.NoneType):
        return None
    elif (
        isinstance(kind, type)
        and not isinstance(value, int | float | str)
        and isinstance(value, kind)
    ):
        return value  # a part that was already built
    raise CheckpointError(f"{field} is {_shown(value)}, but must be {_words(kind)}")


def read_record(kind: type[Record], record: Any, field: str, *, others: bool = False) -> Record:
    """A dataclass from JSON, each of its fields checked; those that are missing have defaults.

    Args:
        kind: the dataclass.
        record: an object of its fields.
        field: the file and the field that holds the record, for the error.
        others: ignore fields that the dataclass does not have.

    Raises:
        CheckpointError: a field is unknown, missing, of a wrong type or out of range.
    """
    if not isinstance(record, dict):
        raise CheckpointError(f"{field} is {_shown(record)}, but must be an object")
    if others:
        record = {name: value for name, value in record.items() if name in _names(kind)}
    return checked_keywords(kind, record, field)


def checked_keywords(
    function: Callable[..., Result], keywords: Mapping[str, Any], field: str
) -> Result:
    """What a function or class gives for keywords from a file, each checked by its annotation.

    Raises:
        CheckpointError: a keyword is unknown or missing, or its value is refused.
    """
    kinds = _annotations(function)
    values = {}
    for name, value in keywords.items():
        if name not in kinds:
            raise CheckpointError(
                f"{field} has the field {name!r}, which this version of nextpixel does not know;"
                " the file is damaged or was written by a newer version"
            )
        values[name] = checked(value, kinds[name], f"{field}.{name}")
    try:
        return function(**values)
    except Exception as error:  # whatever a constructor raises, the file is what made it do so
        raise CheckpointError(f"{field} is refused ({_line(error)})") from error


def _names(kind: "type[DataclassInstance]") -> set[str]:
    return {field.name for field in fields(kind)}


def _annotations(function: Callable[..., Any]) -> dict[str, Any]:
    """The keywords of a function or class, with their types."""
    parameters = inspect.signature(function, eval_str=True).parameters
    return {name: parameter.annotation for name, parameter in parameters.items()}


def _words(kind: Any) -> str:
    """A kind in words, for an error."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_words(part) for part in parts))
    if origin is Literal:
        return " or ".join(json.dumps(part) for part in parts)
    if origin in (tuple, Sequence):
        of = _words(parts[0]).removeprefix("a ")
        return (
            f"a list of {of}s" if parts[-1] is ... or origin is Sequence else f"{len(parts)} {of}s"
        )
    if kind in (None, types.NoneType):
        return "null"
    return _WORDS.get(kind, "an object")


def _shown(value: Any) -> str:
    text = json.dumps(value, default=lambda part: f"a {type(part).__name__}")
    return text if len(text) <= 40 else f"{text[:40]}…"


def _line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number")
