"""nextpixel train: a model of pictures, in a run folder."""

import os
import re
import shlex
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from cyclopts.types import ExistingFile

from nextpixel.cli import terminal
from nextpixel.cli.options import DataOptions, ModelOptions, TrainOptions, flag, given
from nextpixel.training.config import LENGTHS, MAY_CHANGE, TrainConfig

if TYPE_CHECKING:
    import torch

    from nextpixel.data.splits import ImageData
    from nextpixel.models.trainable import Trainable

__all__ = ["follow", "train"]


def train(
    source: str | None = None,
    *,
    out: Path | None = None,
    resume: Path | None = None,
    recipe: ExistingFile | None = None,
    conditional: bool | None = None,
    categorical_maps: bool = False,
    data: Annotated[DataOptions | None, Parameter(name="*")] = None,
    model: Annotated[ModelOptions | None, Parameter(name="*")] = None,
    training: Annotated[TrainOptions | None, Parameter(name="*")] = None,
    device: str = "auto",
    tensorboard: bool = False,
    quiet: bool = False,
) -> None:
    """Train a model on pictures.

    Without further options it picks sensible sizes, says which, and trains for ten minutes.

    Parameters
    ----------
    source
        `digits`, an .npz or .npy file, a folder of pictures (sub-folders are classes), or
        `hf:NAME`.
    out
        The run's folder; by default runs/ and the source's name, numbered if need be. Every later
        command takes it.
    resume
        Go on with the run in this folder, exactly as if it had not stopped. Its length may be
        changed, and what mends a run that diverged: learning rate, warm-up, clipping, precision,
        how often and how long it validates. Give SOURCE, and --labels, --vectors, --captions, --maps or
        --embedding, if the same data were moved, or if the run was trained elsewhere.
    recipe
        A TOML file with any of these options, `batch_size = 64` for `--batch-size 64`. Options
        given here go over it.
    conditional
        Condition the model on what the data gives: classes, vectors, captions, maps; by default if
        there is any.
    categorical_maps
        The integers of maps are names, such as those of segments, and not amounts.
    device
        auto, cpu, cuda, cuda:1 …
    tensorboard
        Also write for TensorBoard, with samples.
    quiet
        Print only the result.
    """
    from nextpixel.cli.opening import import_encoder, pick_device
    from nextpixel.training.loop import TrainingError
    from nextpixel.training.runs import reopen, run

    asked = given(training or TrainOptions())
    if resume is not None:
        fixed = (data or DataOptions()).keywords() | given(model or ModelOptions())
        encoder = fixed.pop("text_encoder", None)
        beside = {
            name: fixed.pop(name)
            for name in ("labels", "vectors", "captions", "maps", "embedding")
            if isinstance(fixed.get(name), Path)
        }
        fixed |= {
            name: value
            for name, value in (("out", out), ("conditional", conditional))
            if value is not None
        }
        fixed |= {name: value for name, value in asked.items() if name not in MAY_CHANGE}
        if fixed:
            raise ValueError(
                f"--resume goes on as the run began: leave out {flag(next(iter(fixed)))}"
            )
        network, pictures, config = reopen(
            resume,
            source=source,
            text_encoder=None if encoder is None else import_encoder(encoder),
            **beside,
        )
        other_length = dict.fromkeys(LENGTHS) if asked.keys() & set(LENGTHS) else {}
        config, folder = TrainConfig(**asdict(config) | other_length | asked), resume
    else:
        if source is None:
            raise ValueError(
                "give a source of pictures, such as a folder or digits, or --resume with a run's"
                " folder"
            )
        config = TrainConfig(**asked)
        model = model or ModelOptions()
        names = model.value_features is not None
        pictures = _load(source, data or DataOptions(), crop=config.crop is not None, names=names)
        network = _build(pictures, model, conditional, categorical_maps, config)
        folder = out or _free_folder(source)
    network.to(pick_device(device))
    first = _first_process()
    if first and not quiet:
        _introduce(network, pictures, config, folder)
    steps = run(
        folder, network, pictures, config, resume=resume is not None, tensorboard=tensorboard
    )
    try:
        best = follow(steps, config, quiet=quiet or not first)
    except TrainingError as error:
        raise ValueError(f"{error}; the run is kept in {folder}") from error
    if first:
        _conclude(folder, network.device, pictures, best)


def _load(source: str, options: DataOptions, *, crop: bool, names: bool) -> "ImageData":
    """The data; values that are names are never averaged."""
    from nextpixel.cli.opening import counted_bar, import_encoder
    from nextpixel.data.load import load_data

    if names and options.size is not None:
        raise ValueError(
            "--size averages values, but with --value-features they are names; leave out one of"
            " the two"
        )
    if crop:
        preparation = options.preparation(ragged=options.size is None)
    else:
        preparation = options.preparation(size=None if names else "auto")
    encoder = None if options.text_encoder is None else import_encoder(options.text_encoder)
    with counted_bar("Reading") as progress:
        return load_data(
            options.source(source), preparation, text_encoder=encoder, progress=progress
        )


def _build(
    pictures: "ImageData",
    options: ModelOptions,
    conditional: bool | None,
    categorical_maps: bool,
    config: TrainConfig,
) -> "Trainable":
    """A model for these pictures: what was not asked for is chosen to suit them."""
    from nextpixel import MapCondition, MultiScale
    from nextpixel.conditions import of_kind
    from nextpixel.devices import seeded
    from nextpixel.models.registry import MODELS
    from nextpixel.training.batches import conditions_of

    keywords = given(options)
    name, scale = keywords.pop("model", "gated-pixel-cnn"), keywords.pop("scale", None)
    kind: Callable[..., Any] = MODELS[_KINDS[name]]
    if name.endswith("autoencoder"):
        if conditional:
            raise ValueError(
                f"--conditional does not apply to --model {name}, whose condition is its own code"
            )
        kind = partial(
            _autoencoder,
            kind,
            pictures.shape or (None if config.crop is None else (config.crop, config.crop)),
        )
        conditional = False
    conditions = (
        conditions_of(pictures, categorical_maps=categorical_maps)
        if conditional is not False
        else ()
    )
    if conditional and not conditions:
        raise ValueError(
            f"--conditional was given, but {pictures.source} has no classes, vectors, captions or"
            " maps; leave it out"
        )
    if "features" not in keywords and name != "convolutional-autoencoder":
        features = 48 if name in ("gated-pixel-cnn", "pixel-cnn-autoencoder") else 32
        keywords["features"] = -(-features // pictures.channels) * pictures.channels
    keywords |= {"channels": pictures.channels, "levels": pictures.levels}
    if not name.endswith("autoencoder"):
        keywords["condition"] = conditions
    try:
        with seeded(config.seed):
            model = kind(**keywords)
            if scale is None:
                return model  # type: ignore[no-any-return]
            if name.endswith("autoencoder"):
                raise ValueError(f"--scale does not apply to --model {name}; leave it out")
            if scale < 2:
                raise ValueError(
                    f"--scale {scale} must be at least 2; leave it out for a single scale"
                )
            names = "value_features" in keywords
            small_image = MapCondition(
                pictures.channels, scale=scale, levels=pictures.levels, categorical=names
            )
            if of_kind(conditions, MapCondition):
                raise ValueError(
                    "--scale does not go with maps on the command line; leave out one of the two"
                )
            keywords["condition"] = small_image, *conditions
            return MultiScale(small=model, large=kind(**keywords))
    except TypeError as error:
        if (refused := re.search(r"unexpected keyword argument '(\w+)'", str(error))) is None:
            raise
        raise ValueError(
            f"{flag(refused[1])} does not apply to --model {name}; leave it out"
        ) from error


def _autoencoder(
    kind: Callable[..., Any],
    size: tuple[int, int] | None,
    *,
    code_size: int = 10,
    **keywords: Any,
) -> "Trainable":
    """An auto-encoder of either kind, whose decoder takes the keywords that are not its own."""
    from nextpixel import GatedPixelCNN, VectorCondition
    from nextpixel.models.autoencoder import ConvolutionalAutoencoder, PixelCNNAutoencoder

    if size is None:
        raise ValueError("auto-encoders need images of one size; give --size or --crop")
    if kind is ConvolutionalAutoencoder:
        return ConvolutionalAutoencoder(size=size, code_size=code_size, **keywords)
    own = {
        key: keywords.pop(key)
        for key in ("encoder_features", "variational", "free_bits")
        if key in keywords
    }
    return PixelCNNAutoencoder(
        decoder=GatedPixelCNN(condition=VectorCondition(code_size), **keywords), size=size, **own
    )


_KINDS = {
    "convolutional-autoencoder": "ConvolutionalAutoencoder",
    "pixel-cnn-autoencoder": "PixelCNNAutoencoder",
    "gated-pixel-cnn": "GatedPixelCNN",
    "pixel-cnn": "PixelCNN",
    "row-lstm": "RowLSTM",
    "diagonal-bilstm": "DiagonalBiLSTM",
}


def _free_folder(source: str) -> Path:
    """runs/ and the source's name, with a number if there is such a run already."""
    folder = Path("runs") / (Path(source).stem or "run").replace(":", "-")
    numbers = (folder.with_name(f"{folder.name}-{k}") for k in count(2))
    return folder if not folder.exists() else next(path for path in numbers if not path.exists())


def _first_process() -> bool:
    return os.environ.get("RANK", "0") == "0"


def _introduce(
    network: "Trainable", pictures: "ImageData", config: TrainConfig, folder: Path
) -> None:
    from nextpixel.cli.opening import size_words
    from nextpixel.models.core import AutoregressiveModel

    counts = (
        f"{len(pictures.train):,} / {len(pictures.valid):,} / {len(pictures.test):,} (train / valid"
        " / test)"
    )
    if pictures.held_out:
        counts += f", tested on {len(pictures.held_out)} classes that the embedding never saw"
    colours = f"{pictures.channels} channel{'s' * (pictures.channels > 1)}"
    print(
        f"data      {pictures.source}: {counts}, {size_words(pictures.shape)}, {colours},"
        f" {pictures.levels} levels"
    )
    own = ("features", "layers", "kernel_size", "dropout", "head", "code_size", "encoder_features")
    networks: list[Trainable] = [
        part for part in network.modules() if isinstance(part, AutoregressiveModel)
    ]
    networks = networks or [network]
    last = networks[-1]
    parts = ", ".join(f"{name} {value}" for name, value in last.config().items() if name in own)
    if len(networks) > 1:
        parts = f"{len(networks)} scales of {type(last).__name__}, each {parts}"
    parameters = sum(p.numel() for p in network.parameters())
    if network.given_by_data:
        conditions = " and ".join(part.describe() for part in network.given_by_data)
        parts += f", conditioned on {conditions}"
    print(f"model     {type(network).__name__}, {parameters:,} parameters: {parts}")
    length = next(
        f"{v:g} {k}"
        for k in ("steps", "epochs", "minutes")
        if (v := getattr(config, k)) is not None
    )
    crop = f", crops of {config.crop}" if config.crop else ""
    rate = f"{config.optimizer} {config.learning_rate:g} ({config.schedule})"
    print(f"training  {length}, batches of {config.batch_size}{crop}, {rate}, on {network.device}")
    print(f"run       {folder}", flush=True)


def follow(steps: Any, config: TrainConfig, *, quiet: bool) -> float | None:
    """Draws progress while a run goes on; returns the best validation figure."""
    from rich.progress import (
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    screen = terminal.console(stderr=True)
    columns = (
        TextColumn("step {task.fields[step]:>6}"),
        BarColumn(),
        TextColumn("train {task.fields[train]:.3f}  valid {task.fields[valid]} bits/dim"),
        TextColumn("{task.fields[speed]:.0f} images/s"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    best, smooth, began = None, None, None
    with Progress(
        *columns,
        console=screen,
        disable=quiet or not screen.is_terminal,
        redirect_stdout=False,
        redirect_stderr=False,
    ) as bar:
        task = bar.add_task("", total=1.0, step=0, train=float("nan"), valid="–", speed=0.0)
        for step in steps:
            began = began or (step.step - 1, step.seconds)
            smooth = (
                step.bits_per_dim if smooth is None else 0.95 * smooth + 0.05 * step.bits_per_dim
            )
            if step.valid_bits_per_dim is not None:
                best = (
                    step.valid_bits_per_dim if best is None else min(best, step.valid_bits_per_dim)
                )
                if not quiet and not screen.is_terminal:
                    print(
                        f"step {step.step}: train {smooth:.4f}, valid {step.valid_bits_per_dim:.4f}"
                        f" bits/dim, {step.seconds:.0f} s",
                        flush=True,
                    )
            elapsed = step.seconds - began[1]
            bar.update(
                task,
                completed=step.progress,
                step=step.step,
                train=smooth,
                valid="–" if best is None else f"{best:.3f}",
                speed=(
                    (step.step - 1 - began[0]) * config.batch_size / elapsed if elapsed > 0 else 0.0
                ),
            )
    return best


def _conclude(
    folder: Path, device: "torch.device", pictures: "ImageData", best: float | None
) -> None:
    from nextpixel.checkpoint import load_trainable
    from nextpixel.cli.opening import figure_words
    from nextpixel.training.loop import evaluate

    network = load_trainable(folder, device=device)
    split, part = ("test", pictures.test) if len(pictures.test) else ("valid", pictures.valid)
    if len(part):
        print(
            f"{split}      {figure_words(network, evaluate(network, part))}, on all {len(part):,}"
            " images"
        )
    following = "reconstruct" if network.figure.kind == "error" else "sample"
    print(f"next      nextpixel {following} {shlex.quote(str(folder))}")
