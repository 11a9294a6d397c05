"""The run folder: what was asked, what came out, and what it takes to go on.

::

    run.json            what was asked: data and its preparation, model, training, version
    metrics.jsonl       one JSON object for each logged step and each validation
    state.safetensors   all of `TrainState`, to resume
    best.safetensors    the averaged weights at the best validation: what every later command takes

The weights of the last step are in the state; a checkpoint of their own would be taken for a result
by mistake.

Invariant: the metrics are written before the best weights, those before the state. So whenever a
run is killed, the state is the oldest of the three, and going on from it writes the same lines and
the same weights again.
"""

import json
import os
import shlex
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from nextpixel import __version__
from nextpixel.checkpoint import (
    BEST,
    CheckpointError,
    build,
    load_weights,
    read_tensors,
    replace_file,
    save,
    write_tensors,
)
from nextpixel.data.annotations import TextEncoder
from nextpixel.data.image_files import grid
from nextpixel.data.load import load_data
from nextpixel.data.recorded import recorded
from nextpixel.data.splits import ImageData
from nextpixel.distributed import (
    any_process,
    process_group,
    rank_and_processes,
    stop_requests,
    wait_for_all,
)
from nextpixel.errors import UsageError
from nextpixel.models.core import ImageModel
from nextpixel.models.trainable import Trainable
from nextpixel.sampling import sample
from nextpixel.training.batches import tensors
from nextpixel.training.compatibility import check_fit
from nextpixel.training.config import MAY_CHANGE, TrainConfig
from nextpixel.training.loop import Step, TrainState, initial_state, train

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = [
    "STATE",
    "check_same",
    "load_state",
    "read_metrics",
    "read_run",
    "reopen",
    "run",
    "save_state",
]

RUN, METRICS, STATE = "run.json", "metrics.jsonl", "state.safetensors"

_SCALARS = ("step", "seconds", "best_bits_per_dim", "stale", "next_evaluation")


def run(
    folder: str | Path,
    model: Trainable,
    data: ImageData,
    config: TrainConfig,
    *,
    resume: bool = False,
    log_every: int = 10,
    save_seconds: float = 60.0,
    tensorboard: bool = False,
) -> Iterator[Step]:
    """Trains in a run folder: yields every step, and writes metrics, the best weights and the state
    on the way.

    Under torchrun it makes the process group (nccl on CUDA, where each process takes the device of
    its local rank, else gloo); only the first process writes. Ctrl-C (SIGINT, SIGTERM) saves the
    state after the step in progress; a second one stops at once. The state is also saved when the
    caller leaves the loop.

    Args:
        folder: made if need be.
        model: a new model; if resumed, one of the same configuration, whose weights are replaced.
        data: what to train and validate on.
        config: how; if resumed, what it was, but for what `MAY_CHANGE` lists: the length, the
            learning rate ...
        resume: go on from the state in the folder. On the CPU, in one process, the weights and
            metrics are those of a run that never stopped, except for timings, unless something was
            changed or the length is in minutes.
        log_every: steps between lines in the metrics.
        save_seconds: least time between two saves of the state, apart from those at validations and
            at the end.
        tensorboard: also write scalars, and samples of every new best, for TensorBoard.

    Raises:
        ValueError: the folder holds a run already, or (resuming) one that was asked for
            differently.
        FileNotFoundError: there is no run to resume.
        CheckpointError: the state is damaged.
        TrainingError: see `train`.
        KeyboardInterrupt: after SIGINT or SIGTERM, when the state is saved; its message says how to
            go on.
        ModuleNotFoundError: TensorBoard is not installed.
    """
    folder = Path(folder).expanduser()
    if log_every < 1:
        raise ValueError(f"log_every (={log_every}) must be at least 1")
    summary_writer = _summary_writer() if tensorboard else None
    asked = _describe(model, data, config)
    with process_group(model, model.device), stop_requests() as stop_requested:
        first = rank_and_processes()[0] == 0
        state = _prepare(folder, asked, model, data, config, resume=resume, first=first)
        board = None
        if first and summary_writer is not None:
            board = summary_writer(str(folder / "tensorboard"), purge_step=state.step + 1)
        logged, saved = (state.step, state.seconds), time.monotonic()
        try:
            for step in train(state, data, config):
                if first:
                    last = step.progress >= 1 or step.valid_bits_per_dim is not None
                    if step.step % log_every == 0 or step.step == 1 or last:
                        _log(folder / METRICS, step, logged, config.batch_size, board)
                        logged = step.step, step.seconds
                    if step.improved:
                        _save_best(folder, state, step, asked)
                        if board is not None:
                            _show_samples(board, state, data, config)
                    if last or time.monotonic() - saved >= save_seconds:
                        save_state(state, folder / STATE)
                        saved = time.monotonic()
                yield step
                if any_process(stop_requested(), model.device):
                    if first:
                        save_state(state, folder / STATE)
                    wait_for_all()
                    raise KeyboardInterrupt(
                        f"stopped after step {step.step} with the state saved; to go on: "
                        f"nextpixel train --resume {shlex.quote(str(folder))}"
                    )
        except GeneratorExit:
            if first:
                save_state(state, folder / STATE)
            raise
        finally:
            if board is not None:
                board.close()
        if first:
            save_state(state, folder / STATE)


def read_run(folder: str | Path) -> dict[str, Any]:
    """What was asked of a run, as JSON.

    Returns:
        "version", "source" and "preparation" (as JSON), "classes", "shape" (of whole images, or of
        crops), "model" (its "class" and "config"), "training" (the keywords of
        `TrainConfig`), and if it was resumed "changes", what was changed after which "step".

    Raises:
        FileNotFoundError: the folder holds no run.
    """
    path = Path(folder).expanduser() / RUN
    if not path.is_file():
        raise FileNotFoundError(
            f"{path.parent} holds no run ({RUN} is missing); give the folder of a run"
        )
    try:
        return json.loads(path.read_text(encoding="utf-8"))  # type: ignore[no-any-return]
    except ValueError as error:
        raise CheckpointError(
            f"{path} is damaged ({error}); start a new run in another folder"
        ) from error


def reopen(
    folder: str | Path,
    *,
    source: str | None = None,
    text_encoder: TextEncoder | None = None,
    embedding: Path | None = None,
) -> tuple[Trainable, ImageData, TrainConfig]:
    """Makes again what `run(folder, model, data, config, resume=True)` needs: an untrained model,
    the data, and how.

    Args:
        folder: of the run.
        source: where the same data are now, if they were moved.
        text_encoder: the function that made vectors of captions, if it was not the bag of words.
        embedding: where the same embedding is now, if it was moved.
    """
    asked = read_run(folder)
    model = build(asked["model"]["class"], asked["model"]["config"], Path(folder) / RUN)
    assert isinstance(model, Trainable)  # runs are of nothing else
    data_source, preparation = recorded(asked)
    if data_source is None:
        raise CheckpointError(f"{Path(folder) / RUN} does not say what data it is of")
    moved = {"images": source, "embedding": embedding}
    data_source = replace(data_source, **{k: v for k, v in moved.items() if v is not None})
    if missing := data_source.missing:
        raise UsageError(
            f"the run is of {data_source}, but {missing} is not there, seen from {Path.cwd()}; say"
            " where it is: ‹source›"
        )
    data = load_data(data_source, preparation, text_encoder=text_encoder)
    return model, data, TrainConfig(**asked["training"])


def read_metrics(folder: str | Path) -> list[dict[str, Any]]:
    """The lines of the metrics so far. Each has "step" and "seconds".

    Logged steps further have "train_bits_per_dim" (of one batch, in training mode),
    "learning_rate", "gradient_norm" and "images_per_second"; validations have "valid_bits_per_dim"
    and "improved".
    """
    path = Path(folder).expanduser() / METRICS
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    # A line without its end was being written when the run was killed.
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def save_state(state: TrainState, path: str | Path) -> None:
    """Writes a training state to one safetensors file, atomically."""
    tensors = {f"model/{name}": tensor for name, tensor in state.model.state_dict().items()}
    tensors |= {f"average/{name}": tensor for name, tensor in state.average.state_dict().items()}
    for name, parameter in state.model.named_parameters():
        tensors |= {
            f"optimizer/{name}/{key}": value
            for key, value in state.optimizer.state[parameter].items()
        }
    scalars = {name: getattr(state, name) for name in _SCALARS}
    write_tensors(
        path,
        tensors,
        {
            "format": 1,
            "version": __version__,
            "optimizer": type(state.optimizer).__name__,
            "state": scalars,
        },
    )


def load_state(state: TrainState, path: str | Path) -> None:
    """Brings a state from `initial_state` to where the saved one was.

    Raises:
        CheckpointError: the file is missing, damaged, foreign, or of another model or optimiser.
    """
    path = Path(path)
    tensors, metadata = read_tensors(path)
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "average": {}, "optimizer": {}}
    for name, tensor in tensors.items():
        part, _, rest = name.partition("/")
        parts.setdefault(part, {})[rest] = tensor
    own_class = type(state.optimizer).__name__
    if not isinstance(metadata.get("state"), dict) or metadata.get("optimizer") != own_class:
        raise CheckpointError(
            f"{path} is not the state of a training with {own_class}; give that of the same run"
        )
    load_weights(state.model, parts["model"], path)
    load_weights(state.average, parts["average"], path)
    moments: dict[int, dict[str, Tensor]] = {}
    number_of = {
        p: i
        for i, p in enumerate(p for group in state.optimizer.param_groups for p in group["params"])
    }
    for name, parameter in state.model.named_parameters():
        own = {
            key.removeprefix(f"{name}/"): t
            for key, t in parts["optimizer"].items()
            if key.startswith(f"{name}/")
        }
        # Moments lie in memory as their parameters do, which fused updates rely on.
        own = {
            k: torch.empty_like(parameter).copy_(t) if t.shape == parameter.shape else t
            for k, t in own.items()
        }
        if own:
            moments[number_of[parameter]] = own
    state.optimizer.load_state_dict(state.optimizer.state_dict() | {"state": moments})
    for name in _SCALARS:
        setattr(state, name, metadata["state"][name])


def _describe(model: Trainable, data: ImageData, config: TrainConfig) -> dict[str, Any]:
    """What is asked, as JSON."""
    asked = {
        "version": __version__,
        "source": data.source.to_json(),
        "preparation": data.preparation.to_json(),
        "classes": data.classes,
        "shape": data.shape or (config.crop and (config.crop, config.crop)),
        "model": {"class": type(model).__name__, "config": model.config()},
        "training": asdict(config),
    }
    return json.loads(json.dumps(asked))  # type: ignore[no-any-return]


def _prepare(
    folder: Path,
    asked: dict[str, Any],
    model: Trainable,
    data: ImageData,
    config: TrainConfig,
    *,
    resume: bool,
    first: bool,
) -> TrainState:
    """The state to start from. The first process also brings the folder there."""
    check_fit(model, data, config, rank_and_processes()[1])
    state = initial_state(model, config)
    if resume:
        before = read_run(folder)
        _check_same(folder, before, asked)
        load_state(state, folder / STATE)
        asked = asked | {"changes": _changes(before, asked, state.step)}
    elif any_process(first and (folder / RUN).exists(), model.device):  # all refuse together
        raise ValueError(f"{folder} holds a run already; resume it, or choose another folder")
    if first:
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(".*.tmp"):
            shutil.rmtree(left)
        kept = (
            [line for line in read_metrics(folder) if line["step"] <= state.step] if resume else []
        )
        with replace_file(folder / METRICS) as path:
            path.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        if not resume:
            save_state(state, folder / STATE)
        with replace_file(folder / RUN) as path:
            path.write_text(json.dumps(asked, indent=2) + "\n", encoding="utf-8")
    return state


_MAY_MOVE = ("source", "images"), ("source", "embedding")


def check_same(folder: Path, model: Trainable, data: ImageData, config: TrainConfig) -> None:
    """Raises ValueError, naming the difference, if the run in a folder is of another model, other
    data or training.

    What `MAY_CHANGE` lists may differ.
    """
    _check_same(folder, read_run(folder), _describe(model, data, config))


def _changes(before: dict[str, Any], now: dict[str, Any], step: int) -> list[dict[str, Any]]:
    """What `MAY_CHANGE` lists was changed after which updates, in the order of time: [before,
    after].
    """
    old, new = asdict(TrainConfig()) | before["training"], now["training"]
    changed = {name: [old[name], new[name]] for name in MAY_CHANGE if old[name] != new[name]}
    return [*before.get("changes", []), *([{"step": step} | changed] if changed else [])]


def _check_same(folder: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Raises ValueError if a run is resumed with another model, other data, or trained another way."""
    source, preparation = recorded(before)
    before = before | {
        "source": {} if source is None else source.to_json(),
        "preparation": preparation.to_json(),
    }
    for part in ("source", "preparation", "model", "training"):
        # What the version that began the run did not know yet was as it is by default.
        default = asdict(TrainConfig()) if part == "training" else {}
        old, new = _flat(default | before.get(part, {})), _flat(now[part])
        for key in sorted(old.keys() | new.keys()):
            if key not in old and not new[key]:
                continue
            may_change = key in MAY_CHANGE if part == "training" else (part, key) in _MAY_MOVE
            if old.get(key) != new.get(key) and not may_change:
                raise ValueError(
                    f"{folder} was run with {part} {key}={old.get(key)!r}, but is resumed with"
                    f" {new.get(key)!r}; give the same, or start a new run in another folder"
                )


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= (
            _flat(value, f"{prefix}{key}.")
            if isinstance(value, dict)
            else {f"{prefix}{key}": value}
        )
    return flat


def _log(
    path: Path,
    step: Step,
    before: tuple[int, float],
    batch_size: int,
    board: "SummaryWriter | None",
) -> None:
    """Appends to the metrics."""
    images_per_second = (step.step - before[0]) * batch_size / max(step.seconds - before[1], 1e-9)
    lines: list[dict[str, Any]] = [
        {
            "step": step.step,
            "seconds": round(step.seconds, 3),
            "train_bits_per_dim": step.bits_per_dim,
            "learning_rate": step.learning_rate,
            "gradient_norm": step.gradient_norm,
            "images_per_second": round(images_per_second, 2),
        }
    ]
    if step.valid_bits_per_dim is not None:
        head = {"step": step.step, "seconds": round(step.seconds, 3)}
        lines.append(
            head | {"valid_bits_per_dim": step.valid_bits_per_dim, "improved": step.improved}
        )
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(json.dumps(line) + "\n" for line in lines))
        file.flush()
        os.fsync(file.fileno())
    if board is not None:
        for name, value in (
            item for line in lines for item in line.items() if item[0] not in ("step", "improved")
        ):
            board.add_scalar(name, value, step.step)


def _save_best(folder: Path, state: TrainState, step: Step, asked: dict[str, Any]) -> None:
    figures = {name: getattr(step, name) for name in ("step", "seconds", "valid_bits_per_dim")}
    extra = {name: asked[name] for name in ("source", "preparation", "classes", "shape")}
    save(
        state.average,
        folder / BEST,
        extra=extra | {"training": figures | {"config": asked["training"]}},
    )


def _summary_writer() -> "type[SummaryWriter]":
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ModuleNotFoundError(
            "TensorBoard is not installed; install nextpixel[tensorboard], or leave tensorboard out"
        ) from error
    return SummaryWriter


def _show_samples(
    board: "SummaryWriter", state: TrainState, data: ImageData, config: TrainConfig
) -> None:
    """Draws sixteen images from the averaged weights, given what is given of the first training
    images.
    """
    if not isinstance(state.average, ImageModel):
        return  # it draws no images
    shape = data.shape or (config.crop or 32, config.crop or 32)
    rows = np.arange(16) % len(data.train)
    x, given = tensors(
        data.train, rows, state.average.device, state.average.given_by_data, config.crop
    )
    condition = state.average.infer(x, given)
    drawn = sample(
        state.average,
        16,
        shape,
        condition=condition,
        generator=torch.Generator().manual_seed(config.seed),
    )
    board.add_image("samples", grid(drawn.cpu().numpy(), levels=data.levels), state.step)
