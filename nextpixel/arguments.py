"""Arguments of a plain kind: whole numbers, finite numbers, objects of a class.

Python passes anything to anything, so a wrong one is refused here in one sentence, before it fails
somewhere inside.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import fields
from numbers import Integral, Real
from operator import index
from pathlib import Path
from typing import Any, TypeGuard, TypeVar

from nextpixel.errors import UsageError

__all__ = [
    "drawing_factor",
    "instance_of",
    "is_number",
    "path_of",
    "plain",
    "record_of",
    "shown",
    "whole_number",
]

Kind = TypeVar("Kind")


def shown(value: object) -> str:
    """A value on one short line, for a sentence."""
    text = " ".join(repr(value).split()).replace("›", ">")
    return text if len(text) <= 60 else f"{text[:57]}..."


def whole_number(name: str, value: Any, least: int, most: int | None = None) -> int:
    """An integer of Python, numpy or torch as Python's.

    Raises:
        UsageError: it is no integer, or not in least … most.
    """
    try:
        number = None if isinstance(value, bool) else index(value)
    except TypeError:
        number = None
    if number is None:
        raise UsageError(f"‹{name}› must be an integer, not {shown(value)}")
    if number < least:
        raise UsageError(f"‹{name}› must be at least {least}, not {number:,}")
    if most is not None and number > most:
        raise UsageError(f"‹{name}› must be at most {most:,}, not {number:,}")
    return number


def drawing_factor(name: str, value: Any) -> float:
    """A temperature or a guidance: a finite number of at least 0, of Python, numpy or torch.

    Raises:
        UsageError: it is no number, negative, infinite or NaN.
    """
    if getattr(value, "ndim", None) == 0:
        value = value.item()
    if not (is_number(value) and 0 <= value < math.inf):
        raise UsageError(
            f"‹{name}={shown(value)}› must be a finite number of at least 0; 1 draws from the"
            " model itself"
        )
    return value


def is_number(value: object) -> TypeGuard[float]:
    """Whether it is a real number, and no boolean."""
    return isinstance(value, Real) and not isinstance(value, bool)


def plain(value: Any) -> Any:
    """A number of numpy as Python's, which JSON can hold; everything else as it is."""
    if not is_number(value):
        return value
    return int(value) if isinstance(value, Integral) else float(value)


def instance_of(name: str, value: Any, kind: type, advice: str = "") -> Any:
    """An object of a class.

    Raises:
        UsageError: it is something else; the sentence ends in the advice.
    """
    if not isinstance(value, kind):
        article = "an" if kind.__name__[0] in "AEIOU" else "a"
        raise UsageError(
            f"‹{name}› must be {article} {kind.__name__}, not {shown(value)}{_after(advice)}"
        )
    return value


def path_of(name: str, value: Any, advice: str = "") -> str | Path:
    """The name of a file or folder.

    Raises:
        UsageError: it is something else; the sentence ends in the advice.
    """
    if isinstance(value, str):
        return value
    if not isinstance(value, os.PathLike):
        raise UsageError(
            f"‹{name}› must be the name of a file or folder, not {shown(value)}{_after(advice)}"
        )
    return Path(value)


def record_of(name: str, value: Any, kind: type[Kind]) -> Kind:
    """A dataclass, made of a mapping if some of its fields are given as one; None is all defaults.

    Raises:
        UsageError: it is something else, or a field is unknown or out of range.
    """
    if value is None:
        return kind()
    if not isinstance(value, Mapping):
        advice = f"give {kind.__name__}(…), or a mapping of its fields"
        return instance_of(name, value, kind, advice)  # type: ignore[no-any-return]
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    if unknown := [key for key in value if key not in known]:
        raise UsageError(
            f"‹{name}› has the field {shown(unknown[0])}, but a {kind.__name__} has only"
            f" {', '.join(known)}"
        )
    return kind(**value)


def _after(advice: str) -> str:
    return f"; {advice}" if advice else ""
