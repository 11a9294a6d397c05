"""Progress bars on standard error; none where that is not a terminal."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from nextpixel.cli import terminal

if TYPE_CHECKING:
    from nextpixel.training.loop import Step
    from nextpixel.training.start import TrainPlan

__all__ = ["counted_bar", "progress_bar", "training_bar"]

Item = TypeVar("Item")


def progress_bar(description: str) -> Callable[[Iterable[Item], int], Iterator[Item]]:
    """Wraps an iteration of known length in a progress bar on standard error."""

    def wrap(items: Iterable[Item], total: int) -> Iterator[Item]:
        from rich.progress import track

        screen = terminal.console(stderr=True)
        yield from track(
            items,
            description,
            total,
            console=screen,
            transient=True,
            disable=not screen.is_terminal,
        )

    return wrap


@contextmanager
def counted_bar(description: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar that is told how many are done, and of how many.

    It appears with the first word of progress, and disappears with the last.
    """
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    screen = terminal.console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    bar = Progress(
        *columns,
        console=screen,
        transient=True,
        disable=not screen.is_terminal,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    task = bar.add_task(description, total=None)

    def show(done: int, total: int) -> None:
        bar.start()
        bar.update(task, completed=done, total=total)
        if done >= total:
            bar.stop()

    try:
        yield show
    finally:
        bar.stop()


def training_bar(plan: "TrainPlan", steps: "Iterator[Step]") -> "Iterator[Step]":
    """Shows a run while its steps go by; without a terminal, prints a line for each validation."""
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
        disable=not screen.is_terminal,
        redirect_stdout=False,
        redirect_stderr=False,
    ) as bar:
        task = bar.add_task("", total=1.0, step=0, train=float("nan"), valid="–", speed=0.0)
        for step in steps:
            began = began or (step.step - 1, step.seconds)
            loss, valid = step.bits_per_dim, step.valid_bits_per_dim
            smooth = loss if smooth is None else 0.95 * smooth + 0.05 * loss
            if valid is not None:
                best = valid if best is None else min(best, valid)
                if not screen.is_terminal:
                    figures = f"train {smooth:.4f}, valid {valid:.4f} bits/dim"
                    print(f"step {step.step}: {figures}, {step.seconds:.0f} s", flush=True)
            elapsed, images = (
                step.seconds - began[1],
                (step.step - 1 - began[0]) * plan.config.batch_size,
            )
            bar.update(
                task,
                completed=step.progress,
                step=step.step,
                train=smooth,
                valid="–" if best is None else f"{best:.3f}",
                speed=images / elapsed if elapsed > 0 else 0.0,
            )
            yield step
