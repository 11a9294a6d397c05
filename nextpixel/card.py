"""Model cards: what a checkpoint says about itself.

A card is data and nothing else. It never names a place to write, and it names what a model was
trained on without saying where on somebody's disk that lies: opening data is up to whoever knows
where they are, see `nextpixel.training.ownership`.

Every field is checked when a card is read. A field that this version does not know, such as one of
a newer version or one of the author's own, is kept in `ModelCard.notes`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from nextpixel import __version__
from nextpixel.fields import CheckpointError, checked, read_record
from nextpixel.files import FORMAT, TensorHeader
from nextpixel.training.config import TrainConfig
from nextpixel.training.embedding import EmbeddingConfig

__all__ = ["PLACES", "ModelCard", "Training", "card_of", "checked_data", "place_name"]

PLACES = ("source", "labels", "vectors", "captions", "maps", "embedding")
"""The fields of a record of data that name files or folders."""

_DATA: dict[str, Any] = {
    "source": str,
    "size": tuple[int, int] | int | Literal["auto"] | None,
    "levels": int | None,
    "from_levels": int | None,
    "binarise": Literal["threshold", "draw"] | None,
    "channels": int | None,
    "labels": bool | str,
    "vectors": str | None,
    "captions": str | None,
    "text_encoder": str | tuple[str, ...] | None,
    "embedding": str | None,
    "maps": str | None,
    "validation": float,
    "test": float,
    "seed": int,
    "ragged": bool,
}
"""The keywords of `nextpixel.data.load.load_data` that files may record: none names a place to
write."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """How the weights came about."""

    step: int
    """The update after which the weights were saved."""
    seconds: float | None = None
    """Wall-clock time until then."""
    valid_bits_per_dim: float | None = None
    """On the validation split; None without one."""
    config: TrainConfig | None = None
    """The configuration of the run."""


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """All that a checkpoint says beside its weights.

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
    source: str | None = None
    """The name of the data, without their folder."""
    data: Mapping[str, Any] | None = None
    """How the data were prepared: keywords of `nextpixel.data.load.load_data`. Of files and folders
    only the names are kept."""
    classes: tuple[str, ...] = ()
    """The names of the classes."""
    shape: tuple[int, int] | None = None
    """The height and width of the images; None if they differ."""
    training: Training | EmbeddingConfig | None = None
    """The figures of the training; of an embedding, its configuration."""
    held_out: tuple[str, ...] = ()
    """Of an embedding: the classes that it never saw."""
    verification: Mapping[str, Any] | None = None
    """Of an embedding: how well it tells classes apart."""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """Further JSON: fields of the author's own, or of a newer version."""
    own: bool = False
    """Whether this user's own run said where the data are. It is never read from a file: see
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
            plain["source"] = place_name(self.source)
        if self.data is not None:
            named = {
                name: place_name(value) if name in PLACES and isinstance(value, str) else value
                for name, value in self.data.items()
            }
            plain["data"] = named
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
        "source": str | None,
        "classes": tuple[str, ...],
        "shape": tuple[int, int] | None,
        "held_out": tuple[str, ...],
        "verification": Mapping[str, Any] | None,
    }
    for name in ("model", "config", "version"):
        if name not in record:
            raise CheckpointError(f"{place} {name} is missing")
    given = {
        name: checked(record.pop(name), kind, f"{place} {name}")
        for name, kind in known.items()
        if name in record
    }
    given["data"] = checked_data(record.pop("data", None), f"{place} data")
    given["training"] = _training(record.pop("training", None), given["model"], f"{place} training")
    if given.get("shape") is not None and min(given["shape"]) < 1:
        raise CheckpointError(f"{place} shape is {list(given['shape'])}, but must be at least 1×1")
    _check_figures(given.get("verification"), f"{place} verification")
    if taken := {"notes", "own", "weights_sha256"} & record.keys():
        raise CheckpointError(f"{place} {min(taken)} is not one that a file may have")
    return ModelCard(weights_sha256=header.sha256, notes=record, **given)


def checked_data(record: Any, place: str) -> dict[str, Any] | None:
    """A record of data, if every field is one that may be recorded and has its type."""
    if record is None:
        return None
    record = checked(record, Mapping[str, Any], place)
    if unknown := sorted(record.keys() - _DATA.keys()):
        raise CheckpointError(f"{place}.{unknown[0]} is not a field of recorded data")
    return {name: checked(value, _DATA[name], f"{place}.{name}") for name, value in record.items()}


def place_name(place: str) -> str:
    """What a file, folder or data set is called, without the folders above it."""
    kind, colon, rest = place.partition(":")
    if kind == "hf" and colon and not rest.startswith(("/", "~", ".")):
        return place
    return place.replace("\\", "/").rstrip("/").rpartition("/")[2]


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
