"""The folder of a run while the run goes on: one process writes in it, and it has the space."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from nextpixel.errors import UsageError
from nextpixel.files.locking import one_process
from nextpixel.files.replacing import new_folder
from nextpixel.models.trainable import Trainable
from nextpixel.settings.training import TrainConfig
from nextpixel.training.distributed import any_process, rank_and_processes
from nextpixel.training.metrics import METRICS
from nextpixel.training.record import RUN
from nextpixel.training.state import STATE

__all__ = ["run_folder"]


@contextmanager
def run_folder(
    folder: Path, model: Trainable, config: TrainConfig, *, resume: bool
) -> Iterator[None]:
    """A block in which a run goes on in a folder, which is made if necessary.

    No other process may be in such a block for the same folder; the processes of torchrun are in it
    together. If the run does not begin, the folder is as it was before.

    Raises:
        UsageError: another process trains there, there is not enough space, or the folder
            disappeared.
    """
    refusal: Exception | None = None
    with ExitStack() as inside:
        if rank_and_processes()[0] == 0:
            try:
                inside.enter_context(_begun(folder, model, config, resume=resume))
            except (UsageError, OSError) as error:
                refusal = error
        if any_process(refusal is not None, model.device):  # all refuse together
            raise refusal or UsageError(f"the first process cannot write in {folder}, and says why")
        yield


@contextmanager
def _begun(folder: Path, model: Trainable, config: TrainConfig, *, resume: bool) -> Iterator[None]:
    if resume and not folder.is_dir():
        yield  # whoever reads the run says so
        return
    _check_space(folder, model, config, resume=resume)
    with new_folder(folder), one_process(folder):
        before = {path.name for path in folder.iterdir()}
        try:
            yield
        except BaseException as error:
            if not folder.is_dir():
                raise UsageError(
                    f"{folder} disappeared while the run was going on, or its disk did; nothing"
                    " more can be saved: bring it back and go on with ‹resume›, or start anew"
                ) from error
            if not (folder / RUN).exists():
                for name in {METRICS, STATE} - before:
                    (folder / name).unlink(missing_ok=True)
            raise


def _check_space(folder: Path, model: Trainable, config: TrainConfig, *, resume: bool) -> None:
    """Raises UsageError if the disk or a limit has no space for the files of a run.

    They are the best weights, and the state: the weights, their average and the moments of the
    optimizer. The new state is complete before the old one is removed.
    """
    weights = sum(t.numel() * t.element_size() for t in model.state_dict().values())
    state = (3 if config.optimizer == "rmsprop" else 4) * weights
    needed = weights + (1 if resume else 2) * state
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    disk = shutil.disk_usage(there)
    if 0 < disk.total and disk.free < needed:
        raise UsageError(
            f"the run needs {_size(needed)} on the disk of {folder}, which has {_size(disk.free)}"
            " free; free some space there, choose another folder, or use a smaller model"
        )
    if (most := _largest_file()) < state:
        raise UsageError(
            f"the run writes a file of {_size(state)}, but files have at most {_size(most)} here;"
            " raise the limit (ulimit -f), or use a smaller model"
        )


def _largest_file() -> float:
    """The bytes that a file of this process may have."""
    try:
        import resource
    except ImportError:  # Windows
        return float("inf")
    soft, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    return float("inf") if soft == resource.RLIM_INFINITY else float(soft)


def _size(count: int | float) -> str:
    unit, name = next(((u, n) for u, n in ((1e9, "GB"), (1e6, "MB")) if count >= u), (1e3, "kB"))
    return f"{count / unit:.3g} {name}"
