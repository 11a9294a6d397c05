"""A run from start to end in one call, as `nextpixel train` does it.

    >>> from nextpixel.training.start import train_model
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp()) / "run"
    >>> choice = ModelChoice(network={"features": 8, "layers": 2})
    >>> result = train_model("digits", choice, TrainConfig(steps=2), out=folder)
    >>> result.folder == folder, result.split, result.images
    (True, 'test', 179)

For a loop or a model of your own, use its parts: `nextpixel.training.runs.run` and
`nextpixel.training.loop.train`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import torch

from nextpixel.checkpoint import load_trainable
from nextpixel.data.annotations import TextEncoder
from nextpixel.data.load import load_data
from nextpixel.data.splits import ImageData
from nextpixel.devices import pick_device, seeded
from nextpixel.errors import UsageError
from nextpixel.models.trainable import Trainable
from nextpixel.settings.choice import KINDS, ModelChoice
from nextpixel.settings.preparation import Preparation
from nextpixel.settings.source import IN_MEMORY, file_and_dataset
from nextpixel.settings.training import LENGTHS, MAY_CHANGE, TrainConfig
from nextpixel.training.build import build_model, memory_bytes
from nextpixel.training.defaults import with_crop, with_kind
from nextpixel.training.distributed import is_first_process, rank_and_processes
from nextpixel.training.evaluation import evaluate
from nextpixel.training.loop import Step, TrainingError
from nextpixel.training.memory import is_out_of_memory, parts_that_fit
from nextpixel.training.runs import reopen, run

__all__ = ["Progress", "TrainPlan", "TrainResult", "follow_plan", "resume_model", "train_model"]


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainPlan:
    """What is about to be trained: everything is chosen, and nothing is written yet.

    Attributes:
        folder: of the run.
        model: the untrained model, on its device.
        data: what it is trained on.
        config: how.
        resume: whether the folder holds a run to go on with.
        other_data: whether it may go on with data that have changed.
    """

    folder: Path
    model: Trainable
    data: ImageData
    config: TrainConfig
    resume: bool = False
    other_data: bool = False


Progress = Callable[[TrainPlan, Iterator[Step]], Iterator[Step]]
"""Wraps the steps of a run to show them, such as ``lambda plan, steps: tqdm(steps)``."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainResult:
    """The result of a run.

    Attributes:
        folder: of the run; `nextpixel.load` and every command take it.
        model: the best weights, in evaluation mode. Processes of torchrun other than the first
            return the last weights, and no bits_per_dim.
        data: what it was trained on.
        config: how.
        valid_bits_per_dim: the best validation during this call; None if there was none.
        split: "test", or "valid" if there are no test images; None if there are neither.
        images: number of images in that split.
        bits_per_dim: `nextpixel.training.evaluation.evaluate` of the model on all of that split;
            `model.figure` tells what it means. None without a split.
    """

    folder: Path
    model: Trainable
    data: ImageData
    config: TrainConfig
    valid_bits_per_dim: float | None
    split: str | None
    images: int
    bits_per_dim: float | None


def train_model(
    source: Any,
    model: ModelChoice | None = None,
    training: TrainConfig | None = None,
    *,
    preparation: Preparation | Mapping[str, Any] | None = None,
    text_encoder: TextEncoder | str | None = None,
    out: str | Path | None = None,
    conditional: bool | None = None,
    categorical_maps: bool = False,
    device: str | torch.device = "auto",
    tensorboard: bool = False,
    reading: Callable[[int, int], None] | None = None,
    progress: Progress | None = None,
) -> TrainResult:
    """Trains a model on a source of images in a new run folder, and evaluates it.

    Args:
        source: the images, and what belongs to them: anything that
            `nextpixel.data.load.load_data` takes, also images in memory.
        model: which model; what it leaves open is chosen to suit the images.
        training: how; None trains for ten minutes.
        preparation: how the images are prepared: a `Preparation`, or some of its fields. With
            fields or None, large images and images of several sizes become squares of 32 pixels, or
            keep their sizes if `training` has a crop, unless the fields say otherwise.
        text_encoder: the function that makes vectors of captions; None for the default.
        out: the run's folder; None for ``runs/`` and the name of the source, with a number if that
            exists.
        conditional: whether to condition the model on what the data gives (classes, vectors,
            captions, maps); None does so if there is any.
        categorical_maps: whether the integers of maps are categories, such as those of segments.
        device: "auto", "cpu", "cuda", "cuda:1" …
        tensorboard: also write for TensorBoard.
        reading: called with how many images have been decoded, and of how many.
        progress: wraps the steps of the run, to show them.

    Raises:
        UsageError: something does not fit together, or the training diverged.
        FileNotFoundError: there is no such source.
    """
    model, training = model or ModelChoice(), training or TrainConfig()
    given = None if isinstance(preparation, Preparation) else dict(preparation or {})
    if not isinstance(preparation, Preparation):
        preparation = _preparation(given or {}, model, training)
    data = load_data(source, preparation, text_encoder=text_encoder, progress=reading)
    if not len(data.train):
        raise UsageError(f"{data.source} has no training images, only a split for testing")
    if preparation.map_levels is not None and data.map_levels is None:
        raise UsageError(f"‹map_levels› was given, but {data.source} has no maps; leave it out")
    cropped = kind = ""
    if given is not None:
        training, cropped = with_crop(training, data, model, given)
    model, kind = with_kind(model, data)
    data = replace(data, notes=(*data.notes, *filter(None, (kind, cropped))))
    with seeded(training.seed):
        network = build_model(
            data,
            model,
            conditional=conditional,
            categorical_maps=categorical_maps,
            crop=training.crop,
        )
    plan = TrainPlan(
        folder=Path(out) if out is not None else _free_folder(str(data.source)),
        model=network.to(pick_device(device)),
        data=data,
        config=training,
    )
    return _evaluated(plan, follow_plan(plan, tensorboard=tensorboard, progress=progress))


def resume_model(
    folder: str | Path,
    changes: Mapping[str, Any] | None = None,
    *,
    source: Any = None,
    annotations: Mapping[str, Any] | None = None,
    text_encoder: TextEncoder | str | None = None,
    other_data: bool = False,
    device: str | torch.device = "auto",
    tensorboard: bool = False,
    progress: Progress | None = None,
) -> TrainResult:
    """Continues a run as if it had not stopped, and evaluates it.

    Args:
        folder: of the run.
        changes: fields of `TrainConfig` to change, among `MAY_CHANGE`: the length of the run, and
            what rescues one that diverged.
        source: where the same images are now, if they moved; or the same images, if the run was
            of images in memory.
        annotations: where the files that belong to them are now, if they moved, by the fields of
            `Source`: labels, vectors, captions, maps, embedding.
        text_encoder: the function that encodes captions, unless it is the default.
        other_data: go on although the data have changed since the run began.
        device: as in `train_model`.
        tensorboard: as in `train_model`.
        progress: as in `train_model`.

    Raises:
        UsageError: a change is not possible, or the training diverged.
        FileNotFoundError: there is no such run.
    """
    changes = dict(changes or {})
    if fixed := [name for name in changes if name not in MAY_CHANGE]:
        raise UsageError(f"‹{fixed[0]}› cannot change when a run is resumed; leave it out")
    network, data, config = reopen(
        folder, source=source, text_encoder=text_encoder, **dict(annotations or {})
    )
    other_length = dict.fromkeys(LENGTHS) if changes.keys() & set(LENGTHS) else {}
    plan = TrainPlan(
        folder=Path(folder),
        model=network.to(pick_device(device)),
        data=data,
        config=TrainConfig(**asdict(config) | other_length | changes),
        resume=True,
        other_data=other_data,
    )
    return _evaluated(plan, follow_plan(plan, tensorboard=tensorboard, progress=progress))


def follow_plan(
    plan: TrainPlan, *, tensorboard: bool = False, progress: Progress | None = None
) -> float | None:
    """Trains what was planned. The folder then holds the best weights.

    Returns:
        The best validation during this call, in bits/dim; None if there was none.

    Raises:
        TrainingError: the training diverged; the message says where the run is kept.
    """
    _check_memory(plan)
    steps = run(
        plan.folder,
        plan.model,
        plan.data,
        plan.config,
        resume=plan.resume,
        other_data=plan.other_data,
        tensorboard=tensorboard,
    )
    best: float | None = None
    try:
        for step in steps if progress is None else progress(plan, steps):
            if step.valid_bits_per_dim is not None:
                found = step.valid_bits_per_dim
                best = found if best is None else min(best, found)
    except TrainingError as error:
        raise TrainingError(f"{error.sentence}; the run is kept in {plan.folder}") from error
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        # The traceback holds on to all that filled the memory.
        steps, error.__traceback__, error.__context__ = iter(()), None, None
    else:
        return best
    raise TrainingError(_out_of_memory(plan))


def _out_of_memory(plan: TrainPlan) -> str:
    """What fits, in a sentence."""
    config = plan.config
    plan.model.zero_grad()
    parts = None if rank_and_processes()[1] > 1 else parts_that_fit(plan.model, plan.data, config)
    fact = f"‹batch_size={config.batch_size}› does not fit into memory"
    if parts is None:
        return f"{fact}; use smaller images, a smaller ‹crop› or a smaller model"
    size = -(-config.batch_size // parts)
    return (
        f"{fact}, but {size} image{'s' * (size > 1)} at a time do; go on in {plan.folder} with"
        f" ‹resume› and ‹accumulate={parts}›, which trains the same, or start anew with"
        f" ‹batch_size={size}›"
    )


def _check_memory(plan: TrainPlan) -> None:
    """Raises UsageError if one part of a batch alone cannot fit into memory."""
    config, data = plan.config, plan.data
    sides = (config.crop, config.crop) if config.crop else data.shape
    if sides is None or plan.model.device.type != "cpu":
        return
    images = config.batch_size // config.accumulate
    widest = max(p.shape[0] for p in plan.model.parameters() if p.ndim)
    needed = 2.0 * images * sides[0] * sides[1] * widest
    if needed > (memory := memory_bytes()):
        raise UsageError(
            f"‹batch_size={config.batch_size}› takes at least {needed / 2**30:,.0f} GiB, but there"
            f" are {memory / 2**30:.0f} GiB of memory; make it smaller, or ‹accumulate› larger"
        )


def _evaluated(plan: TrainPlan, best: float | None) -> TrainResult:
    """Evaluates the best weights of a finished run on all of the test split."""
    data = plan.data
    splits = {"test": data.test, "valid": data.valid}
    name = next((name for name, split in splits.items() if len(split)), None)
    model, bits = plan.model, None
    if is_first_process() or rank_and_processes()[1] > 1:  # all evaluate if they are still a group
        model = load_trainable(plan.folder, device=plan.model.device)
        bits = evaluate(model, splits[name]) if name else None
    return TrainResult(
        folder=plan.folder,
        model=model,
        data=data,
        config=plan.config,
        valid_bits_per_dim=best,
        split=name,
        images=len(splits[name]) if name else 0,
        bits_per_dim=bits,
    )


def _preparation(given: dict[str, Any], model: ModelChoice, training: TrainConfig) -> Preparation:
    """The preparation with these fields, and a size that suits the training if none was given."""
    defaults = {} if model.kind == "auto" else KINDS[model.kind]
    categorical = (defaults | dict(model.network)).get("value_features") is not None
    if categorical and given.get("resize") == "average":
        raise UsageError(
            "‹resize=average› averages values, which ‹value_features› takes for categories; use"
            " ‹resize=nearest›"
        )
    if categorical and given.get("size") is not None:
        given = {"resize": "nearest"} | given
    if training.crop is not None:
        return Preparation(**{"ragged": "size" not in given} | given)
    return Preparation(**{"size": None if categorical else "auto"} | given)


def _free_folder(source: str) -> Path:
    """runs/ and the source's name, with a number if such a run exists already."""
    folder = Path("runs") / (_stem(source) or "run").replace(":", "-")
    numbers = (folder.with_name(f"{folder.name}-{k}") for k in count(2))
    return folder if not folder.exists() else next(path for path in numbers if not path.exists())


def _stem(source: str) -> str:
    return "memory" if source == IN_MEMORY else Path(file_and_dataset(source)[0]).stem
