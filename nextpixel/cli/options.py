"""Options of commands, made of the library's frozen dataclasses.

A field is the only home of an option: its name, type, default and help (the docstring under it)
become an option of the command line and a key of a file of options, and the dataclass itself checks
its value. `Given[TrainConfig]` annotates a command's parameter with the fields of that dataclass.
It holds those that were given, and no others, so that a command can tell a default from a choice.
"""

from dataclasses import fields, is_dataclass, make_dataclass
from functools import cache
from types import NoneType
from typing import Annotated, Any, Generic, TypeVar, get_args, get_type_hints

from cyclopts import Group, Parameter

from nextpixel.cli.helps import docstrings, flag, merged_defaults, merged_texts
from nextpixel.cli.readers import READERS, SHORT_OUT, Several, converter
from nextpixel.settings.choice import DECIDED_BY_DATA, NETWORKS
from nextpixel.settings.networks import NetworkSettings

__all__ = ["Given"]

Settings = TypeVar("Settings")


class Given(Generic[Settings]):
    """The fields of a frozen dataclass that were given on the command line, or in its file.

    `Given()` is none of them: the default of such a parameter.
    """

    def values(self) -> dict[str, Any]:
        """The fields that were given, by name."""
        return {}

    def __class_getitem__(cls, kind: Any) -> Any:
        """The annotation for the command line: every field optional, its default in the help."""
        return _options_of(kind) if isinstance(kind, type) and is_dataclass(kind) else cls


class _GivenFields(Given[Any]):
    def values(self) -> dict[str, Any]:
        held = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        own = {inner: name for name, inner in _RENAMED.items()}
        return {own.get(name, name): value for name, value in held.items() if value is not None}


@cache
def _options_of(kind: Any) -> Any:
    """A dataclass of the same fields, each None unless given, in a group of the help."""
    members = NETWORKS if kind is NetworkSettings else {"": kind}
    helps = {label: docstrings(member) for label, member in members.items()}
    options: dict[str, Any] = {}
    passed_over = _NO_OPTIONS.get(kind.__name__, ())
    shared = set(NetworkSettings.__dataclass_fields__) if kind is NetworkSettings else set()
    for label, member in members.items():
        hints = get_type_hints(member)
        for field in sorted(fields(member), key=lambda field: field.name in shared):  # own first
            if field.name in helps[label] and field.name not in (*options, *passed_over):
                own = [(each, part) for each, part in members.items() if field.name in helps[each]]
                text = merged_texts({each: helps[each][field.name] for each, _ in own}, members)
                default = merged_defaults(
                    {each: part.__dataclass_fields__[field.name].default for each, part in own}
                )
                options[field.name] = _option(field.name, hints[field.name], default, text)
    made = make_dataclass(
        f"Given{kind.__name__}",
        [(_RENAMED.get(name, name), option, None) for name, option in options.items()],
        bases=(_GivenFields,),
        namespace={"__module__": __name__, "__doc__": None},  # "types" would pass for built-in
        kw_only=True,
    )
    return Annotated[made, Parameter(name="*", group=_GROUPS[kind.__name__])]


_NO_OPTIONS = {
    "NetworkSettings": DECIDED_BY_DATA,
    # Decided by a crop, the sizes, old files, the labels and the maps.
    "Preparation": ("ragged", "skip_small", "reading", "attributes", "map_scale"),
    "Source": ("images",),  # has no name on the command line
    "ScoredData": ("data", "maps"),  # the source, and --condition-maps
}
_RENAMED = {"values": "values_"}
"""Fields whose names `Given` has for itself."""

_MAY_BE_NEGATIVE = ("range", "offset", "values", "missing")
_GROUPS = {
    name: Group(title, sort_key=key)
    for key, title, names in (
        (1, "Data", ("Source", "Preparation", "DataRequest", "ScoredData")),
        (2, "Model", ("ModelChoice", "NetworkSettings")),
        (3, "Training", ("EmbeddingConfig", "TrainConfig")),
        (3, "Drawing", ("SampleConfig",)),
        (0, "Archive", ("CompressConfig", "DecompressConfig")),
        (0, "Images", ("SampleRequest", "CompletionRequest", "ReconstructionRequest")),
        (0, "Images", ("InterpolationRequest", "InspectionRequest")),
        (0, "Scores", ("ScoreRequest",)),
    )
    for name in names
}


def _option(name: str, hint: Any, default: str | None, text: str) -> Any:
    """The annotation of one option."""
    kinds = tuple(part for part in get_args(hint) or (hint,) if part is not NoneType)
    if isinstance(kinds[0], str):  # a Literal
        kinds = (hint,)
    kind, read = READERS.get(kinds) or READERS.get(name) or (kinds[0], None)
    negative = flag(f"no_{name}") if kind is bool else ()
    parameter = Parameter(
        name=flag(name),
        alias=SHORT_OUT.alias if name == "out" else None,
        help=text,
        show_default=default or False,
        converter=None if read is None else converter(read, several=kind is Several),
        negative=negative,
        allow_leading_hyphen=name in _MAY_BE_NEGATIVE,
    )
    kind = tuple[str, ...] if kind is Several else kind
    return Annotated[kind | None, parameter]
