"""How callers and files state what a model is conditioned on, as the tuple that models hold."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any, TypeAlias

from nextpixel.conditions.kinds import ClassCondition, Condition, MapCondition, VectorCondition
from nextpixel.errors import UsageError

__all__ = ["ConditionLike", "as_conditions", "conditions_to_json"]

_MOST = 64
"""Conditions of a model: more than any has, and few enough that a wrong file costs little."""

ConditionLike: TypeAlias = Condition | Sequence[Any] | Mapping[str, Any] | None
"""None, one condition or several, or what `conditions_to_json` makes of them."""


def as_conditions(condition: ConditionLike) -> tuple[Condition, ...]:
    """The tuple of what a caller gives: None, one or several conditions, or their JSON form.

    Raises:
        UsageError: the JSON form is of no kind, a number is out of range, or there are too many.
        TypeError: it is something else.
    """
    if condition is None:
        return ()
    if isinstance(condition, Condition):
        return (condition,)
    if isinstance(condition, Mapping):
        for kind in (ClassCondition, VectorCondition, MapCondition):
            # Files of earlier versions lack the fields that came later.
            needed = {field.name for field in fields(kind) if field.default is MISSING}
            if needed <= condition.keys() <= {field.name for field in fields(kind)}:
                return (kind(**condition),)
        raise UsageError(f"condition (={condition}) must be of the form {{'classes': 10}}")
    if isinstance(condition, Sequence) and not isinstance(condition, str):
        if len(condition) > _MOST:
            raise UsageError(
                f"‹condition› must be at most {_MOST} conditions, not {len(condition):,}; join"
                " vectors to one, and maps to channels of one"
            )
        if all(isinstance(part, Condition | Mapping) for part in condition):
            return tuple(as_conditions(part)[0] for part in condition)
    raise TypeError(
        f"condition (={condition!r}) must be None, a condition such as ClassCondition(10) or"
        " VectorCondition(64), or a tuple of several"
    )


def conditions_to_json(conditions: tuple[Condition, ...]) -> Any:
    """Plain JSON values, for `as_conditions`: null, an object, or a list of several."""
    parts = [part.to_json() for part in conditions]
    return parts if len(parts) > 1 else parts[0] if parts else None
