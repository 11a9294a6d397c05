"""A run that is planned: everything is chosen, and nothing is written yet."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from nextpixel.data.splits import ImageData
from nextpixel.models.trainable import Trainable
from nextpixel.settings.training import TrainConfig
from nextpixel.training.distributed import rank_and_processes
from nextpixel.training.finetune import Start
from nextpixel.training.loop import Step, TrainingError
from nextpixel.training.memory import check_memory, is_out_of_memory, parts_that_fit
from nextpixel.training.runs import run

__all__ = ["Progress", "TrainPlan", "follow_plan"]


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
        start: the checkpoint that a new run starts from; None for random weights.
        updates: about how many there will be in the minutes of the run; None if nobody has tried.
    """

    folder: Path
    model: Trainable
    data: ImageData
    config: TrainConfig
    resume: bool = False
    other_data: bool = False
    start: Start | None = None
    updates: int | None = None


Progress = Callable[[TrainPlan, Iterator[Step]], Iterator[Step]]
"""Wraps the steps of a run to show them, such as ``lambda plan, steps: tqdm(steps)``."""


def follow_plan(
    plan: TrainPlan, *, tensorboard: bool = False, progress: Progress | None = None
) -> float | None:
    """Trains what was planned. The folder then holds the best weights.

    Returns:
        The best validation during this call, in bits/dim; None if there was none.

    Raises:
        TrainingError: the training diverged; the message says where the run is kept.
    """
    check_memory(plan.model, plan.data, plan.config)
    steps = run(
        plan.folder,
        plan.model,
        plan.data,
        plan.config,
        resume=plan.resume,
        other_data=plan.other_data,
        tensorboard=tensorboard,
        start=plan.start,
        preview=not plan.resume,
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
