"""nextpixel train: a model of images, in a run folder."""

import math
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from nextpixel.cli.options import Given
from nextpixel.cli.progress import counted_bar, training_bar
from nextpixel.cli.readers import Device
from nextpixel.cli.words import figure_words, images_words, note_lines, plan_lines, worse_notes
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

_QUICKLY_COUNTED = 10**8
"""Pixels whose histograms take about a second."""


def train(
    source: str | None = None,
    *,
    out: Path | None = None,
    resume: Path | None = None,
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
        Go on with the run in this folder as if it had not stopped. The length of the run may
        change, and what rescues a run that diverged: learning rate, warm-up, clipping, precision,
        recomputation, how often it validates and its patience. Give SOURCE, and `--labels`,
        `--vectors`, `--captions`, `--maps` or `--embedding`, if the same data moved or the run was
        trained elsewhere.
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
    encoder = preparation.values().get("text_encoder")
    if resume is not None:
        given = preparation.values() | model.values() | network.values()
        given.pop("text_encoder", None)
        other = {"out": out, "conditional": conditional, "categorical_maps": categorical_maps}
        given |= {name: value for name, value in other.items() if value not in (None, False)}
        if conditional is False:
            given["no_conditional"] = False
        if given:
            raise UsageError(f"‹resume› goes on as the run began: leave out ‹{next(iter(given))}›")
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
        )
    elif source is not None:
        with counted_bar("Reading", quiet=quiet) as reading:
            result = train_model(
                Source(source, **annotations.values()),
                ModelChoice(**model.values(), network=network.values()),
                TrainConfig(**training.values()),
                preparation=preparation.values(),
                text_encoder=encoder,
                out=out,
                conditional=conditional,
                categorical_maps=categorical_maps,
                device=device,
                tensorboard=tensorboard,
                reading=reading,
                progress=progress,
            )
    else:
        raise UsageError(
            "give a source of images, such as a folder or digits, or ‹resume› with the folder of a"
            " run"
        )
    if is_first_process():
        if result.bits_per_dim is not None:
            figure = figure_words(result.model, result.bits_per_dim)
            print(f"{result.split:<9} {figure}, on all {images_words(result.images)}")
            if not quiet:
                for line in note_lines(_worse(result, result.bits_per_dim)):
                    print(line)
        command = "reconstruct" if result.model.figure.kind == "error" else "sample"
        print(f"next      nextpixel {command} {shlex.quote(str(result.folder))}")


def _worse(result: "TrainResult", bits: float) -> tuple[str, ...]:
    """A note if the model is worse than one that learnt nothing of how pixels depend on others."""
    from nextpixel.data.statistics import histogram_bits_per_dim

    data = result.data
    if result.model.figure.kind != "likelihood":
        return ()
    quick = data.shape is not None and len(data.train) * math.prod(data.shape) <= _QUICKLY_COUNTED
    histogram = histogram_bits_per_dim(data) if quick else None
    return worse_notes(bits, math.log2(data.levels), histogram)


def _show(plan: "TrainPlan", steps: "Iterator[Step]") -> "Iterator[Step]":
    """Prints what is trained, and shows how far it is."""
    for line in plan_lines(plan):
        print(line, flush=True)
    yield from training_bar(plan, steps)
