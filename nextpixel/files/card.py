"""Model cards: what a checkpoint says about itself.

A card is data and nothing else. It never names a place to write, and it names what a model was
trained on without saying where on somebody's disk that lies. Whether data may be opened is decided
in `nextpixel.training.ownership`.

Every field is checked when a card is read. A field that this version does not know, because a newer
version or the author added it, is kept in `ModelCard.notes`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from nextpixel.errors import UsageError
from nextpixel.files.fields import CheckpointError, checked, read_record
from nextpixel.files.tensors import FORMAT, TensorHeader
from nextpixel.settings.preparation import Preparation
from nextpixel.settings.recorded import recorded
from nextpixel.settings.source import PLACES, Source, file_and_dataset
from nextpixel.settings.training import EmbeddingConfig, TrainConfig
from nextpixel.version import __version__

__all__ = [
    "ModelCard",
    "Ancestor",
    "Training",
    "ancestors_of",
    "card_of",
    "checked_source",
    "place_name",
    "source_names",
]

_LOCAL = ("hf:/", "hf:~", "hf:.", "hf:\\")


@dataclass(frozen=True, kw_only=True)
class Training:
    """How the weights were trained."""

    step: int
    """The update after which the weights were saved."""
    seconds: float | None = None
    """Wall-clock time until then."""
    valid_bits_per_dim: float | None = None
    """On the validation split; None without one."""
    config: TrainConfig | None = None
    """The configuration of the run."""


@dataclass(frozen=True, kw_only=True)
class Ancestor:
    """A checkpoint that the training started from."""

    name: str
    """What the checkpoint was called."""
    weights_sha256: str | None = None
    """The SHA-256 of its weights."""
    step: int | None = None
    """The update after which its weights were saved."""


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """Everything that a checkpoint states besides its weights.

    `nextpixel.checkpoint.save` fills in the first five fields.

    Example:
        >>> card = ModelCard(classes=("cat", "dog"), shape=(32, 32), notes={"about": "pets"})
        >>> card.to_json()["classes"], card.to_json()["about"]
        (['cat', 'dog'], 'pets')
    """

    model: str = ""
    """The class of the model, a name in `nextpixel.models.registry.MODELS`."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """The keywords that rebuild the model."""
    format: int = FORMAT
    """The number of the file's format."""
    version: str = __version__
    """The version of nextpixel that wrote the file."""
    weights_sha256: str | None = None
    """The SHA-256 over the names, shapes, types and bytes of the weights; None in files of version
    0.1.0."""
    source: Source | None = None
    """What the model was trained on. A checkpoint keeps the names of files and folders without the
    folders above them."""
    preparation: Preparation | None = None
    """How the data were prepared."""
    digest: Mapping[str, Any] | None = None
    """Which images were trained, validated and tested on: a `nextpixel.data.digest.DataDigest`."""
    classes: tuple[str, ...] = ()
    """The names of the classes."""
    shape: tuple[int, int] | None = None
    """The height and width of the images; None if they differ."""
    training: Training | EmbeddingConfig | None = None
    """The figures of the training; of an embedding, its configuration."""
    ancestors: tuple[Ancestor, ...] = ()
    """The checkpoint that the training started from, the one that that started from, and so on."""
    ancestors_digest: Mapping[str, Any] | None = None
    """Which images the ancestors were trained on."""
    held_out: tuple[str, ...] = ()
    """Of an embedding: the classes that it never saw."""
    verification: Mapping[str, Any] | None = None
    """Of an embedding: how well it tells classes apart."""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """Further JSON: fields of the author's own, or of a newer version."""
    own: bool = False
    """Whether this user's own run states where the source is. It is never read from a file: see
    `nextpixel.training.record.own_card`."""

    def __post_init__(self) -> None:
        own = {item.name for item in fields(self)} | {"sha256"}
        if taken := sorted(own & self.notes.keys()):
            raise CheckpointError(f"notes use the name {taken[0]!r} of a field; use another name")

    @property
    def condition_dropout(self) -> float:
        """The share of training images whose condition was unknown to the model."""
        config = self.training.config if isinstance(self.training, Training) else None
        return 0.0 if config is None else config.condition_dropout

    def to_json(self) -> dict[str, Any]:
        """The card as JSON: the metadata of a checkpoint."""
        plain: dict[str, Any] = asdict(self)
        notes: dict[str, Any] = plain.pop("notes")
        del plain["weights_sha256"], plain["own"]
        if self.source is not None:
            plain["source"] = source_names(self.source).to_json()
        if self.preparation is not None:
            plain["preparation"] = self.preparation.to_json()
        optional = {item.name for item in fields(self)} - {"model", "config", "format", "version"}
        kept = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in plain.items()
            if name not in optional or value not in (None, (), {})
        }
        return kept | notes


def card_of(header: TensorHeader, path: Path) -> ModelCard:
    """The card in the metadata of a file, every field checked.

    Raises:
        CheckpointError: a field has a wrong type or value; names the file and the field.
    """
    place = f"{path} is damaged: its field"
    record = dict(header.metadata)
    if "state" in record:
        raise CheckpointError(
            f"{path} is the state of a training run, to go on from; give the run's folder"
        )
    known: dict[str, Any] = {
        "model": str,
        "config": Mapping[str, Any],
        "format": int,
        "version": str,
        "classes": tuple[str, ...],
        "shape": tuple[int, int] | None,
        "held_out": tuple[str, ...],
        "verification": Mapping[str, Any] | None,
        "digest": Mapping[str, Any] | None,
        "ancestors_digest": Mapping[str, Any] | None,
    }
    for name in ("model", "config", "version"):
        if name not in record:
            raise CheckpointError(f"{place} {name} is missing")
    given = {
        name: checked(record.pop(name), kind, f"{place} {name}")
        for name, kind in known.items()
        if name in record
    }
    if isinstance(record.get("source"), str):
        del record["source"]  # version 0.1.0 gave its name twice
    given["source"], given["preparation"] = checked_source(record, f"{path} is damaged")
    for name in ("data", "source", "preparation"):
        record.pop(name, None)
    given["ancestors"] = ancestors_of(record.pop("ancestors", ()), f"{place} ancestors")
    given["training"] = _training(record.pop("training", None), given["model"], f"{place} training")
    if given.get("shape") is not None and min(given["shape"]) < 1:
        raise CheckpointError(f"{place} shape is {list(given['shape'])}, but must be at least 1×1")
    _check_figures(given.get("verification"), f"{place} verification")
    if taken := {"notes", "own", "weights_sha256"} & record.keys():
        raise CheckpointError(f"{place} {min(taken)} is not one that a file may have")
    return ModelCard(weights_sha256=header.sha256, notes=record, **given)


def checked_source(
    record: Mapping[str, Any], place: str
) -> tuple[Source | None, Preparation | None]:
    """The source and the preparation in a card or `run.json`; raises CheckpointError."""
    if isinstance(record.get("source"), str) and "data" in record:
        record = {name: value for name, value in record.items() if name != "source"}
    try:
        source, preparation = recorded(record)
    except UsageError as error:
        raise CheckpointError(f"{place}: {' '.join(str(error).split())}") from error
    said = record.get("data") is not None or record.get("preparation") is not None
    return source, preparation if said else None


def ancestors_of(record: Any, place: str) -> tuple[Ancestor, ...]:
    """The ancestors in a card or `run.json`; raises CheckpointError."""
    items = checked(record, tuple[Mapping[str, Any], ...], place)
    return tuple(read_record(Ancestor, item, place, others=True) for item in items)


def source_names(source: Source) -> Source:
    """A source without the folders that it lies in."""
    places = {name: getattr(source, name) for name in PLACES}
    return replace(source, **{name: place and place_name(place) for name, place in places.items()})


def place_name(place: str) -> str:
    """What a file, folder or data set is called, without the folders above it."""
    if place == "digits" or (place.startswith("hf:") and not place.startswith(_LOCAL)):
        return place
    file, dataset = file_and_dataset(place)
    name = file.replace("\\", "/").rstrip("/").rpartition("/")[2]
    name = f"./{name}" if name in ("", "digits") or name.startswith("hf:") else name
    return name if dataset is None else f"{name}:{dataset}"


def _training(record: Any, model: str, place: str) -> Training | EmbeddingConfig | None:
    if record is None:
        return None
    if model == "Embedding":
        return read_record(EmbeddingConfig, record, place, others=True)
    record = checked(record, Mapping[str, Any], place)
    if record.get("config") is not None:
        config = read_record(TrainConfig, record["config"], f"{place}.config", others=True)
        figures = {name: value for name, value in record.items() if name != "config"}
        training: Training = read_record(Training, figures, place, others=True)
        return Training(**{**asdict(training), "config": config})
    return read_record(Training, record, place, others=True)


def _check_figures(verification: Mapping[str, Any] | None, place: str) -> None:
    for name, value in (verification or {}).items():
        kind = float | None | Mapping[str, float | bool | str]
        checked(value, kind, f"{place}.{name}")
