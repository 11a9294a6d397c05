"""The run folder: what was asked, what came out, and what it takes to go on.

::

    run.json            what was asked: data and its preparation, model, training, version
    metrics.jsonl       one JSON object for each logged step and each validation
    state.safetensors   all of `TrainState`, to resume
    best.safetensors    the averaged weights at the best validation: what every later command takes
    preview.png         examples of what the model sees, if the caller asks for it

The weights of the last step are in the state; a checkpoint of their own would be taken for a result
by mistake.

Invariant: the metrics are written before the best weights, those before the state. So whenever a
run is killed, the state is the oldest of the three, and going on from it writes the same lines and
the same weights again.
"""

import shlex
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nextpixel.arguments import instance_of, path_of, whole_number
from nextpixel.checkpoint import BEST, named, save
from nextpixel.data.annotations import TextEncoder
from nextpixel.data.digest import without_ancestors
from nextpixel.data.folders import PREVIEW
from nextpixel.data.load import load_data
from nextpixel.data.preview import write_preview
from nextpixel.data.splits import ImageData
from nextpixel.errors import Interrupted, UsageError
from nextpixel.files.card import ModelCard, Training, ancestors_of
from nextpixel.files.fields import CheckpointError
from nextpixel.files.replacing import remove_left_over
from nextpixel.files.tensors import read_header
from nextpixel.models.rebuilding import build
from nextpixel.models.trainable import Trainable
from nextpixel.settings.recorded import recorded
from nextpixel.settings.source import IN_MEMORY
from nextpixel.settings.training import TrainConfig, highest_rate
from nextpixel.training.asked import asked_of, changes_of, check_asked
from nextpixel.training.board import show_samples, summary_writer
from nextpixel.training.compatibility import check_fit
from nextpixel.training.distributed import (
    any_process,
    process_group,
    rank_and_processes,
    stop_requests,
    wait_for_all,
)
from nextpixel.training.folder import run_folder
from nextpixel.training.loop import Step, TrainState, initial_state, train
from nextpixel.training.metrics import append, lines_of, read_metrics, rewrite
from nextpixel.training.ownership import check_places
from nextpixel.training.record import RUN, is_own, read_run, write_run
from nextpixel.training.same_data import digest_to_go_on_with
from nextpixel.training.state import STATE, load_state, save_state

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from nextpixel.training.finetune import Start

__all__ = ["new_run", "reopen", "run"]

_ANCESTRY = ("ancestors", "ancestors_digest")


def run(
    folder: str | Path,
    model: Trainable,
    data: ImageData,
    config: TrainConfig,
    *,
    resume: bool = False,
    other_data: bool = False,
    log_every: int = 10,
    save_seconds: float = 60.0,
    tensorboard: bool = False,
    start: "Start | None" = None,
    preview: bool = False,
) -> Iterator[Step]:
    """Trains in a run folder, and yields every step.

    It writes metrics, the best weights and the state on the way.

    Under torchrun it makes the process group (nccl on CUDA, where each process takes the device of
    its local rank, else gloo); only the first process writes. A signal (SIGINT, which is Ctrl-C,
    SIGTERM, SIGHUP or SIGUSR1) saves the state after the step in progress; a second one stops at
    once. The state is also saved when the caller leaves the loop.

    Args:
        folder: made if necessary.
        model: a new model; if resumed, one of the same configuration, whose weights are replaced.
        data: what to train and validate on.
        config: how; if resumed, the same, except for what `MAY_CHANGE` lists: the length, the
            learning rate ...
        resume: continue from the state in the folder. On the CPU, in one process, the weights and
            metrics are those of a run that never stopped, except for timings, unless something was
            changed or the length is in minutes.
        other_data: resume with data that have changed since the run began.
        log_every: steps between lines in the metrics.
        save_seconds: least time between two saves of the state, apart from those at validations and
            at the end.
        tensorboard: also write scalars, and samples of every new best, for TensorBoard.
        start: what a new run starts from, if not from random weights: it is recorded.
        preview: also write preview.png, examples of what the model sees, before it trains.

    Raises:
        ValueError: the folder holds a run already, or (resuming) one that was asked for
            differently; another process trains in it, or there is no space for the run; or the
            model's class is none that a checkpoint can name.
        OSError: the disk is full, or the like; the folder holds the last good state.
        FileNotFoundError: there is no run to resume.
        CheckpointError: the state is damaged.
        TrainingError: see `train`.
        Interrupted: after such a signal, when the state is saved; a KeyboardInterrupt whose message
            says how to go on.
        ModuleNotFoundError: TensorBoard is not installed.
    """
    folder = Path(path_of("folder", folder)).expanduser()
    instance_of("data", data, ImageData, "load_data(…) reads one")
    instance_of("config", config, TrainConfig)
    config = replace(config, learning_rate=highest_rate(config))  # as it is recorded
    named(instance_of("model", model, Trainable))  # A class that no checkpoint can name.
    log_every = whole_number("log_every", log_every, 1)
    writer = summary_writer() if tensorboard else None
    asked = asked_of(model, data, config)
    if start is not None:
        asked |= {
            "ancestors": [asdict(ancestor) for ancestor in start.ancestors],
            "ancestors_digest": start.digest,
        }
    with (
        process_group(model, model.device),
        stop_requests() as stop_requested,
        run_folder(folder, model, config, resume=resume),
    ):
        first = rank_and_processes()[0] == 0
        state, asked = _prepare(
            folder, asked, model, data, config, resume=resume, other_data=other_data, first=first
        )
        if first and preview and data.examples:
            write_preview(data, folder / PREVIEW)
        board = None
        if first and writer is not None:
            board = writer(str(folder / "tensorboard"), purge_step=state.step + 1)
        logged, saved = (state.step, state.seconds), time.monotonic()
        try:
            for step in train(state, data, config):
                if first:
                    last = step.progress >= 1 or step.valid_bits_per_dim is not None
                    if step.step % log_every == 0 or step.step == 1 or last:
                        _log(folder, step, logged, config.batch_size, board)
                        logged = step.step, step.seconds
                    if step.improved:
                        _save_best(folder, state, step, asked)
                        if board is not None:
                            show_samples(board, state, data, config)
                    if last or time.monotonic() - saved >= save_seconds:
                        save_state(state, folder / STATE)
                        saved = time.monotonic()
                yield step
                if number := any_process(stop_requested(), model.device):
                    if first:
                        save_state(state, folder / STATE)
                    wait_for_all()
                    raise Interrupted(
                        f"stopped by {signal.Signals(number).name} after step {step.step} with the"
                        " state saved; to go on: nextpixel train --resume"
                        f" {shlex.quote(str(folder))}",
                        number,
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


def reopen(
    folder: str | Path,
    *,
    source: Any = None,
    labels: str | Path | None = None,
    label_column: str | None = None,
    file_column: str | None = None,
    label_pattern: str | None = None,
    vectors: str | Path | None = None,
    captions: str | Path | None = None,
    maps: str | Path | None = None,
    embedding: str | Path | None = None,
    text_encoder: TextEncoder | str | None = None,
) -> tuple[Trainable, ImageData, TrainConfig]:
    """Builds what `run(folder, …, resume=True)` needs: model, data and configuration.

    Places of data are taken from the run only if this user trained it here, and if they are on this
    machine; all others must be given.

    Args:
        folder: of the run.
        source: where the same images are now, or the images themselves.
        labels: where the same labels are now; `vectors`, `captions`, `maps` and `embedding`
            likewise.
        label_column, file_column, label_pattern: as in the run; they may be left out.
        text_encoder: the function that made vectors of captions, if it was not the bag of words.

    Raises:
        FileNotFoundError: the folder holds no run.
        CheckpointError: a file of the run is damaged.
        UsageError: a place of data must be given.
    """
    folder = Path(folder).expanduser()
    asked = read_run(folder)
    held = source is not None and not isinstance(source, str | Path)
    given: dict[str, Any] = {
        "images": IN_MEMORY if held else source,
        "labels": labels,
        "label_column": label_column,
        "file_column": file_column,
        "label_pattern": label_pattern,
        "vectors": vectors,
        "captions": captions,
        "maps": maps,
        "embedding": embedding,
    }
    said = {name: value for name, value in given.items() if value is not None}
    data_source, preparation = recorded(asked)
    assert data_source is not None  # `read_run` has looked
    check_places(data_source, said, own=is_own(folder), file=str(folder), source="source")
    data_source = replace(data_source, **said)
    if missing := data_source.missing:
        raise UsageError(
            f"the run is of {data_source}, but {missing} is not there, seen from {Path.cwd()}; say"
            " where it is: ‹source›"
        )
    name, keywords = asked["model"]["class"], asked["model"]["config"]
    header = read_header(folder / STATE)
    model = build(name, keywords, folder / RUN, header, part="model/")
    if not isinstance(model, Trainable):
        raise CheckpointError(f"{folder / RUN} is damaged: a run is not of the class {name}")
    images = source if held else data_source
    data = load_data(images, preparation, text_encoder=text_encoder)
    data, _ = without_ancestors(data, asked.get("ancestors_digest"))
    return model, data, TrainConfig(**asked["training"])


def _prepare(
    folder: Path,
    asked: dict[str, Any],
    model: Trainable,
    data: ImageData,
    config: TrainConfig,
    *,
    resume: bool,
    other_data: bool,
    first: bool,
) -> tuple[TrainState[Any], dict[str, Any]]:
    """The state to start from, and the request with what is kept of an earlier one.

    The first process also brings the folder there.
    """
    check_fit(model, data, config, rank_and_processes()[1])
    state = initial_state(model, config)
    if resume:
        before = read_run(folder)
        check_asked(folder, before, asked)
        others = digest_to_go_on_with(folder, before, asked, other_data=other_data)
        asked = asked | others
        load_state(state, folder / STATE)
        if others:  # A validation on other images is no standard for these.
            state.best_bits_per_dim, state.stale = None, 0
        asked = asked | {"changes": changes_of(before, asked, state.step)}
        asked |= {name: before[name] for name in _ANCESTRY if name in before}
    elif any_process(first and _holds_run(folder), model.device):  # all refuse together
        raise _held(folder)
    if first:
        remove_left_over(folder)
        kept = read_metrics(folder) if resume else []
        rewrite(folder, (line for line in kept if line["step"] <= state.step))
        if not resume:
            save_state(state, folder / STATE)
        write_run(folder, asked)
    return state, asked


def new_run(folder: str | Path) -> str | Path:
    """The folder, which holds no run.

    Raises:
        UsageError: it does.
    """
    if _holds_run(Path(folder).expanduser()):
        raise _held(folder)
    return folder


def _holds_run(folder: Path) -> bool:
    return (folder / RUN).exists()


def _held(folder: str | Path) -> UsageError:
    return UsageError(f"{folder} holds a run already; resume it, or choose another folder")


def _log(
    folder: Path,
    step: Step,
    before: tuple[int, float],
    batch_size: int,
    board: "SummaryWriter | None",
) -> None:
    """Appends to the metrics."""
    lines = lines_of(step, before, batch_size)
    append(folder, lines)
    if board is not None:
        for name, value in (
            item for line in lines for item in line.items() if item[0] not in ("step", "improved")
        ):
            board.add_scalar(name, value, step.step)


def _save_best(folder: Path, state: TrainState[Any], step: Step, asked: Mapping[str, Any]) -> None:
    training = Training(
        step=step.step,
        seconds=step.seconds,
        valid_bits_per_dim=step.valid_bits_per_dim,
        config=TrainConfig(**asked["training"]),
    )
    source, preparation = recorded(asked)
    card = ModelCard(
        source=source,
        preparation=preparation,
        digest=asked.get("digest"),
        ancestors=ancestors_of(asked.get("ancestors", ()), f"{folder / RUN}: ancestors"),
        ancestors_digest=asked.get("ancestors_digest"),
        classes=tuple(asked["classes"]),
        shape=asked["shape"] and tuple(asked["shape"]),
        training=training,
    )
    save(state.average, folder / BEST, card=card)
