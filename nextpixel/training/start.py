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

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import torch

from nextpixel.arguments import instance_of, path_of, record_of
from nextpixel.checkpoint import load_trainable, read_card
from nextpixel.data.annotations import TextEncoder
from nextpixel.data.load import load_data
from nextpixel.data.splits import ImageData
from nextpixel.devices import pick_device, seeded
from nextpixel.errors import UsageError
from nextpixel.models.trainable import Trainable
from nextpixel.settings.choice import KINDS, ModelChoice
from nextpixel.settings.preparation import Preparation
from nextpixel.settings.source import IN_MEMORY, Source, file_and_dataset
from nextpixel.settings.training import LENGTHS, MAY_CHANGE, TrainConfig
from nextpixel.training.build import build_model
from nextpixel.training.defaults import with_crop, with_head, with_kind, with_rate
from nextpixel.training.distributed import is_first_process, rank_and_processes
from nextpixel.training.evaluation import evaluate
from nextpixel.training.finetune import Start, start_from_checkpoint
from nextpixel.training.metrics import read_metrics
from nextpixel.training.pace import bounded, fitting, seconds_per_image, updates_in_time
from nextpixel.training.plan import Progress, TrainPlan, follow_plan
from nextpixel.training.runs import new_run, reopen
from nextpixel.training.verdict import verdict

__all__ = ["Progress", "TrainPlan", "TrainResult", "follow_plan", "resume_model", "train_model"]


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
        bits_per_dim: `nextpixel.training.evaluation.evaluate` of the model on those images;
            `model.figure` tells what it means. None without a split.
        evaluated: number of images that it was evaluated on: all, or an even choice of them if all
            would take longer than a quarter of the run.
        warnings: what speaks against using the model as it is, a sentence each; parameters stand in
            them as in `UsageError`.
        usable: whether the model is better than one histogram, after more than a few updates.
    """

    folder: Path
    model: Trainable
    data: ImageData
    config: TrainConfig
    valid_bits_per_dim: float | None
    split: str | None
    images: int
    bits_per_dim: float | None
    evaluated: int = 0
    warnings: tuple[str, ...] = ()
    usable: bool = True


Evaluating = Callable[[int, int, float], None]
"""Is told how many images will be evaluated, of how many, and in about how many seconds."""


def train_model(
    source: Any,
    model: ModelChoice | Mapping[str, Any] | None = None,
    training: TrainConfig | Mapping[str, Any] | None = None,
    *,
    preparation: Preparation | Mapping[str, Any] | None = None,
    start_from: str | Path | None = None,
    text_encoder: TextEncoder | str | None = None,
    out: str | Path | None = None,
    conditional: bool | None = None,
    categorical_maps: bool = False,
    device: str | torch.device = "auto",
    tensorboard: bool = False,
    reading: Callable[[int, int], None] | None = None,
    progress: Progress | None = None,
    evaluating: Evaluating | None = None,
) -> TrainResult:
    """Trains a model on a source of images in a new run folder, and evaluates it.

    Args:
        source: the images, and what belongs to them: anything that
            `nextpixel.data.load.load_data` takes, also images in memory.
        model: which model: a `ModelChoice`, or some of its fields; what it leaves open is chosen to
            suit the images. For a model of your own, see `nextpixel.train`.
        training: how: a `TrainConfig`, or some of its fields; None trains for ten minutes.
        preparation: how the images are prepared: a `Preparation`, or some of its fields. With
            fields or None, large images and images of several sizes become squares of 32 pixels, or
            keep their sizes if `training` has a crop, unless the fields say otherwise.
        start_from: a checkpoint, a run folder or a pretrained model whose weights the run starts
            from. Its architecture and its preparation are taken, except for the fields of
            `preparation`; see `nextpixel.training.finetune`.
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
        evaluating: called before the evaluation with the number of images, of how many, and the
            seconds that it will take.

    Raises:
        UsageError: something does not fit together, or the training diverged.
        FileNotFoundError: there is no such source.
    """
    model = record_of("model", model, ModelChoice)
    training = record_of("training", training, TrainConfig)
    if preparation is not None:
        record_of("preparation", preparation, Preparation)
    out = None if out is None else new_run(path_of("out", out))  # before anything is read
    given = None if isinstance(preparation, Preparation) else dict(preparation or {})
    start, updates = None, None
    if start_from is not None:
        start = _start(
            source,
            model,
            training,
            preparation,
            start_from,
            text_encoder=text_encoder,
            conditional=conditional,
            categorical_maps=categorical_maps,
            progress=reading,
        )
        data, network = start.data, start.model
        _check_trainable(data)
    else:
        if not isinstance(preparation, Preparation):
            preparation = _preparation(given or {}, model, training)
        data = load_data(source, preparation, text_encoder=text_encoder, progress=reading)
        _check_trainable(data)
        if preparation.map_levels is not None and data.map_levels is None:
            raise UsageError(f"‹map_levels› was given, but {data.source} has no maps; leave it out")
        cropped = ""
        if given is not None:
            training, cropped = with_crop(training, data, model, given)
        sized = model != ModelChoice(kind=model.kind)
        model, kind = with_kind(model, data)
        model, head = with_head(model, data)
        data = replace(data, notes=(*data.notes, *filter(None, (kind, head, cropped))))
        config = training

        def build(choice: ModelChoice) -> Trainable:
            with seeded(config.seed):
                return build_model(
                    data,
                    choice,
                    conditional=conditional,
                    categorical_maps=categorical_maps,
                    crop=config.crop,
                )

        if sized:
            network = build(model)
        else:
            network, updates, notes = fitting(build, model, data, training, pick_device(device))
            data = replace(data, notes=(*data.notes, *notes))
    network = network.to(pick_device(device))
    if updates is None:
        updates = updates_in_time(network, data, training)
    training = training if start else with_rate(training, data, updates)
    plan = TrainPlan(
        folder=Path(out) if out is not None else _free_folder(str(data.source)),
        model=network,
        data=data,
        config=training,
        start=start,
        updates=updates,
    )
    return _evaluated(
        plan, follow_plan(plan, tensorboard=tensorboard, progress=progress), evaluating
    )


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
    evaluating: Evaluating | None = None,
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
        progress, evaluating: as in `train_model`.

    Raises:
        UsageError: a change is not possible, or the training diverged.
        FileNotFoundError: there is no such run.
    """
    folder = path_of("folder", folder)
    changes = dict(instance_of("changes", changes or {}, Mapping))
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
    return _evaluated(
        plan, follow_plan(plan, tensorboard=tensorboard, progress=progress), evaluating
    )


def _evaluated(plan: TrainPlan, best: float | None, evaluating: Evaluating | None) -> TrainResult:
    """Evaluates the best weights of a finished run on the test split."""
    data = plan.data
    splits = {"test": data.test, "valid": data.valid}
    name = next((name for name, split in splits.items() if len(split)), None)
    model, bits, chosen = plan.model, None, splits[name] if name else data.test
    warnings: tuple[str, ...] = ()
    usable = True
    if is_first_process() or rank_and_processes()[1] > 1:  # all evaluate if they are still a group
        model = load_trainable(plan.folder, device=plan.model.device)
        alone = rank_and_processes()[1] == 1
        last = read_metrics(plan.folder)[-1] if alone else {}
        if alone and name is not None:
            seconds = seconds_per_image(model, chosen)
            chosen = bounded(chosen, seconds, last["seconds"])
            if evaluating is not None:
                evaluating(len(chosen), len(splits[name]), seconds * len(chosen))
        bits = None if name is None else evaluate(model, chosen)
        if alone:
            earlier = sum(one.step or 0 for one in read_card(plan.folder).ancestors)
            warnings, usable = verdict(model, data, name, bits, earlier + last["step"])
    return TrainResult(
        folder=plan.folder,
        model=model,
        data=data,
        config=plan.config,
        valid_bits_per_dim=best,
        split=name,
        images=len(splits[name]) if name else 0,
        bits_per_dim=bits,
        evaluated=len(chosen),
        warnings=warnings,
        usable=usable,
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


def _check_trainable(data: ImageData) -> None:
    if not len(data.train):
        raise UsageError(f"{data.source} has no training images, only a split for testing")


def _start(
    source: Any,
    model: ModelChoice,
    training: TrainConfig,
    preparation: Preparation | Mapping[str, Any] | None,
    start_from: str | Path,
    *,
    categorical_maps: bool,
    **arguments: Any,
) -> Start:
    """The checkpoint and the data, if the model is not chosen anew."""
    network = dict(model.network)
    orders = {name: network.pop(name, None) for name in ("orders", "colour_orders")}
    chosen = [*network, *(n for n in ("scale", "variational") if getattr(model, n))]
    chosen += ["categorical_maps"] * categorical_maps
    chosen += [n for n in ("model", "kind") if getattr(model, n) != getattr(ModelChoice(), n)]
    if chosen:
        raise UsageError(f"‹start_from› takes the model of the checkpoint; leave out ‹{chosen[0]}›")
    source = Source(source) if isinstance(source, str | Path) else source
    if isinstance(preparation, Preparation):
        preparation = asdict(preparation)
    return start_from_checkpoint(
        start_from, source, preparation or {}, training, **orders, **arguments
    )


def _free_folder(source: str) -> Path:
    """runs/ and the source's name, with a number if such a run exists already."""
    folder = Path("runs") / (_stem(source) or "run").replace(":", "-")
    numbers = (folder.with_name(f"{folder.name}-{k}") for k in count(2))
    return folder if not folder.exists() else next(path for path in numbers if not path.exists())


def _stem(source: str) -> str:
    return "memory" if source == IN_MEMORY else Path(file_and_dataset(source)[0]).stem
