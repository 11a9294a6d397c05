"""nextpixel train: a model of images, in a run folder."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from nextpixel.cli.options import Given
from nextpixel.cli.progress import counted_bar, training_bar
from nextpixel.cli.readers import SHORT_OUT, Device
from nextpixel.cli.words import figure_words, images_words, note_lines, plan_lines, seconds_words
from nextpixel.errors import UsageError
from nextpixel.settings.choice import ModelChoice
from nextpixel.settings.networks import NetworkSettings
from nextpixel.settings.preparation import Preparation
from nextpixel.settings.source import Source
from nextpixel.settings.training import TrainConfig

if TYPE_CHECKING:
    from nextpixel.training.loop import Step
    from nextpixel.training.start import TrainPlan, TrainResult

__all__ = ["train"]


def train(
    source: str | None = None,
    *,
    out: Annotated[Path | None, SHORT_OUT] = None,
    resume: Path | None = None,
    start_from: Annotated[str | None, Parameter(name="--from")] = None,
    other_data: bool = False,
    config: Path | None = None,
    conditional: Annotated[bool | None, Parameter(negative="--no-conditional")] = None,
    categorical_maps: bool = False,
    annotations: Given[Source] = Given(),  # noqa: B008
    preparation: Given[Preparation] = Given(),  # noqa: B008
    model: Given[ModelChoice] = Given(),  # noqa: B008
    network: Given[NetworkSettings] = Given(),  # noqa: B008
    training: Given[TrainConfig] = Given(),  # noqa: B008
    device: Device = "auto",
    tensorboard: bool = False,
    quiet: bool = False,
) -> None:
    """Train a model on images.

    Without options it chooses the model size for you, prints it, and trains for ten minutes.

    Parameters
    ----------
    source
        A folder, .zip or .tar of pictures (sub-folders are classes), one picture, an .npz, .npy or
        .h5 file (also `file.h5:train/data`), `hf:NAME`, or `digits`.
    out
        The run's folder, which every other command takes. Default: runs/ and the name of the
        source, numbered if necessary.
    resume
        Continue the run in this folder as if it had not stopped. Only these options may change: the
        length, learning rate, warm-up, clipping, precision, recomputation, accumulation, how often
        it validates, and patience. If the data have moved, or the run was trained elsewhere, give
        SOURCE again, and `--labels`, `--vectors`, `--captions`, `--maps` or `--embedding`.
    start_from
        Start from the weights of this checkpoint, run folder or pretrained model, such as
        `nextpixel:mnist`: fine-tune it on SOURCE. Its architecture and the preparation of its
        images are kept; options such as `--size` change the preparation. New classes begin as
        unknown.
    other_data
        Resume although the images have changed since the run began.
    config
        A TOML file with any of these options: `batch_size = 64` is `--batch-size 64`. Options on
        the command line take precedence.
    conditional
        Condition the model on the classes, vectors, captions or maps of the data. Default: if there
        are any.
    categorical_maps
        The integers of maps are categories, such as those of segments.
    tensorboard
        Also write for TensorBoard, with samples.
    quiet
        Print only the result.
    """
    from nextpixel.training.distributed import is_first_process
    from nextpixel.training.start import resume_model, train_model

    progress = _show if is_first_process() and not quiet else None
    evaluating = None if progress is None else _announce
    encoder = preparation.values().get("text_encoder")
    if resume is not None:
        given = preparation.values() | model.values() | network.values()
        given.pop("text_encoder", None)
        other = {
            "out": out,
            "start_from": start_from,
            "conditional": conditional,
            "categorical_maps": categorical_maps,
        }
        given |= {name: value for name, value in other.items() if value not in (None, False)}
        if conditional is False:
            given["no_conditional"] = False
        if given:
            raise UsageError(
                f"‹resume› continues the run as it began: leave out ‹{next(iter(given))}›"
            )
        result = resume_model(
            resume,
            training.values(),
            source=source,
            annotations=annotations.values(),
            text_encoder=encoder,
            other_data=other_data,
            device=device,
            tensorboard=tensorboard,
            progress=progress,
            evaluating=evaluating,
        )
    elif source is not None:
        with counted_bar("Reading", quiet=quiet) as reading:
            result = train_model(
                Source(source, **annotations.values()),
                ModelChoice(**model.values(), network=network.values()),
                TrainConfig(**training.values()),
                preparation=preparation.values(),
                start_from=start_from,
                text_encoder=encoder,
                out=out,
                conditional=conditional,
                categorical_maps=categorical_maps,
                device=device,
                tensorboard=tensorboard,
                reading=reading,
                progress=progress,
                evaluating=evaluating,
            )
    else:
        raise UsageError(
            "give a source of images, such as a folder or digits, or ‹resume› with the folder of a"
            " run"
        )
    if is_first_process():
        if result.bits_per_dim is not None:
            figure = figure_words(result.model, result.bits_per_dim)
            which = f"all {images_words(result.images)}"
            if result.evaluated < result.images:
                which = (
                    f"{result.evaluated:,} of {result.images:,} images; on all: nextpixel evaluate"
                )
                which += f" {shlex.quote(str(result.folder))}"
            print(f"{result.split:<9} {figure}, on {which}")
        for line in note_lines(result.warnings, "caution"):
            print(line)
        folder = shlex.quote(str(result.folder))
        command = "reconstruct" if result.model.figure.kind == "error" else "sample"
        again = f"train --resume {folder} --minutes {_longer(result)}"
        print(f"next      nextpixel {f'{command} {folder}' if result.usable else again}")


def _longer(result: "TrainResult") -> str:
    """A length in minutes that trains the run for longer, at least ten minutes more."""
    return f"{2 * (result.config.minutes or 5) + 10:g}"


def _announce(images: int, total: int, seconds: float) -> None:
    """Says that the evaluation begins, if it takes a while."""
    if seconds > 2:
        of = "" if images == total else f" of {total:,}, as all would take too long"
        print(f"evaluates {images_words(images)}{of}: about {seconds_words(seconds)}", flush=True)


def _show(plan: "TrainPlan", steps: "Iterator[Step]") -> "Iterator[Step]":
    """Prints what is trained, and shows how far it is."""
    for line in plan_lines(plan):
        print(line, flush=True)
    yield from training_bar(plan, steps)
