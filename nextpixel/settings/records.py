"""Records: dataclasses as JSON, read back field by field.

A record comes from a file that may be damaged or foreign. Its keys are checked here, its values
where anybody's values are: in the dataclass.
"""

from dataclasses import MISSING, asdict, fields
from typing import TYPE_CHECKING, Any, TypeVar

from nextpixel.errors import UsageError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Kind = TypeVar("Kind", bound=DataclassInstance)
else:
    Kind = TypeVar("Kind")

__all__ = ["KEYS_OF_0_1", "read_record", "record_keys", "write_record"]

KEYS_OF_0_1 = frozenset(
    "source size levels from_levels binarise channels labels vectors captions text_encoder"
    " embedding maps validation test seed ragged".split()
)
"""Version 0.1.0 kept a source and its preparation in one record with these keys."""


def write_record(value: "DataclassInstance") -> dict[str, Any]:
    """The fields of a dataclass as JSON; tuples become lists."""
    return {
        name: list(field) if isinstance(field, tuple) else field
        for name, field in asdict(value).items()
    }


def read_record(kind: type[Kind], record: object) -> Kind:
    """Make a dataclass of a record. A key that is missing has its default.

    Raises:
        UsageError: If the record is not an object, has an unknown key or lacks a required one, or
            if the dataclass refuses a value.
    """
    keys = record_keys(record, kind, frozenset(field.name for field in fields(kind)))
    for field in fields(kind):
        if field.name not in keys and field.default is MISSING:
            raise UsageError(f"{_what(kind)} is damaged: it has no {field.name}")
    try:
        return kind(
            **{
                name: tuple(value) if isinstance(value, list) else value
                for name, value in keys.items()
            }
        )
    except (UsageError, TypeError) as error:  # TypeError where types are checked as code runs.
        raise UsageError(f"{_what(kind)} is damaged: {error}") from error


def record_keys(record: object, kind: type, known: frozenset[str]) -> dict[str, Any]:
    """The record, if it is an object of known keys."""
    if not isinstance(record, dict):
        raise UsageError(f"{_what(kind)} is damaged: it is not an object, but {record!r:.60}")
    if unknown := sorted(map(str, record.keys() - known)):
        raise UsageError(f"{_what(kind)} is damaged: it has the unknown key {unknown[0]!r}")
    return record


def _what(kind: type) -> str:
    return f"the record of the {kind.__name__.lower()}"
