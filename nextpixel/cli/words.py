"""What a run and its result are, in words."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from nextpixel.cli.helps import flag
from nextpixel.cli.terminal import printable
from nextpixel.errors import UsageError
from nextpixel.settings.preparation import Preparation
from nextpixel.settings.records import write_record
from nextpixel.settings.training import highest_rate

if TYPE_CHECKING:
    from nextpixel.models.trainable import Trainable
    from nextpixel.training.start import TrainPlan

__all__ = [
    "figure_words",
    "images_words",
    "note_lines",
    "plan_lines",
    "preparation_words",
    "seconds_words",
    "taken_words",
]

_SHOWN = ("features", "layers", "kernel_size", "dropout", "head", "code_size", "encoder_features")


def images_words(count: int) -> str:
    """A number of images, such as "1 image" and "1,797 images"."""
    return f"{count:,} image{'s' * (count != 1)}"


def taken_words(taken: int, available: int) -> str:
    """How many of the images of a source were taken, where nobody said how many."""
    return f"{taken:,} of the {available:,} images were taken: give --n {available} for all"


def figure_words(model: "Trainable", bits: float) -> str:
    """What an evaluation found: an exact likelihood, a bound, or an error of reconstruction."""
    from nextpixel.inference.trained import given_words

    figure = model.figure
    if figure.kind == "error":
        return f"{figure.name.replace('_', ' ')} {figure.value(bits):.3f} {figure.unit}"
    if figure.kind == "bound":
        return f"at most {bits:.4f} bits/dim (a bound)"
    return f"{bits:.4f} bits/dim" + (f" given {words}" if (words := given_words(model)) else "")


def plan_lines(plan: "TrainPlan") -> "Iterator[str]":
    """The data, the model, how it is trained, and where the run is, a line each."""
    from nextpixel.data.folders import PREVIEW

    data, config = plan.data, plan.config
    counts = " / ".join(f"{len(split):,}" for split in (data.train, data.valid, data.test))
    counts += " (train / valid / test)"
    if data.held_out:
        counts += f", tested on {len(data.held_out)} classes that the embedding never saw"
    size = "several sizes" if data.shape is None else f"{data.shape[0]}×{data.shape[1]}"
    colours = f"{data.channels} channel{'s' * (data.channels > 1)}"
    values = f"{size}, {colours}, {data.levels} levels"
    yield f"data      {printable(str(data.source))}: {counts}, {values}"
    yield from note_lines(data.notes)
    yield f"model     {_model_words(plan.model)}"
    lengths = ((name, getattr(config, name)) for name in ("steps", "epochs", "minutes"))
    length = next(f"{value:g} {name}" for name, value in lengths if value is not None)
    if plan.updates is not None:
        length += f" (about {plan.updates:,} updates)"
    crop = f", crops of {config.crop}" if config.crop else ""
    rate = f"{config.optimizer} {highest_rate(config):g} ({config.schedule})"
    batches = f"batches of {config.batch_size}{crop}"
    yield f"training  {length}, {batches}, {rate}, on {plan.model.device}"
    shown = f", what the model sees: {plan.folder / PREVIEW}" if data.examples else ""
    yield f"run       {plan.folder}{shown}"


def preparation_words(preparation: Mapping[str, Any]) -> dict[str, Any]:
    """What a preparation records beyond the defaults."""
    default = write_record(Preparation())
    return {
        name: value
        for name, value in preparation.items()
        if name not in default or value != default[name]
    }


def seconds_words(seconds: float) -> str:
    """A time, such as "40 seconds" and "2.5 minutes"."""
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    minutes = seconds / 60
    return f"{minutes:.1f} minutes" if minutes < 90 else f"{minutes / 60:.1f} hours"


def note_lines(notes: tuple[str, ...], head: str = "note") -> Iterator[str]:
    """What was assumed of the data or skipped, a line each, with parameters as options."""
    for note in notes:
        shown = UsageError(note).shown(flag)
        yield f"{head:<9} {printable(shown)}"


def _model_words(model: "Trainable") -> str:
    from nextpixel.models.core import AutoregressiveModel

    networks: list[Trainable] = [
        part for part in model.modules() if isinstance(part, AutoregressiveModel)
    ] or [model]
    last = networks[-1]
    parts = ", ".join(f"{name} {value}" for name, value in last.config().items() if name in _SHOWN)
    if len(networks) > 1:
        parts = f"{len(networks)} scales of {type(last).__name__}, each {parts}"
    if len(model.orders) > 1:
        parts += f", in {len(model.orders)} orders"
    parameters = sum(p.numel() for p in model.parameters())
    given = " and ".join(part.describe() for part in model.given_by_data)
    conditions = f", conditioned on {given}" if given else ""
    return f"{type(model).__name__}, {parameters:,} parameters: {parts}{conditions}"
