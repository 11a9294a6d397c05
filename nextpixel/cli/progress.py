"""Progress on standard error: a bar on a terminal, else a line now and then, as a log needs it.

A line comes after two seconds, then every ten, and less often when the work takes hours.
"""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TypeVar

from nextpixel.cli import terminal

if TYPE_CHECKING:
    from nextpixel.training.loop import Step
    from nextpixel.training.start import TrainPlan

__all__ = ["Show", "counted_bar", "progress_bar", "training_bar"]

Item = TypeVar("Item")

_SILENT_SECONDS, _SECONDS_BETWEEN = 2.0, 10.0


def progress_bar(description: str) -> Callable[[Iterable[Item], int], Iterator[Item]]:
    """Wraps an iteration of known length in a progress bar on standard error."""

    def wrap(items: Iterable[Item], total: int) -> Iterator[Item]:
        from rich.progress import track

        screen = terminal.console(stderr=True)
        if screen.is_terminal:
            yield from track(items, description, total, console=screen, transient=True)
            return
        said = _Lines(description)
        said.show(0, total)
        for done, item in enumerate(items, start=1):
            yield item
            said.show(done, total)

    return wrap


class _Lines:
    """What is being done in a log, if it takes longer than two seconds."""

    def __init__(self, description: str) -> None:
        self._description = description
        self._began: float | None = None
        self._due = _SILENT_SECONDS

    def show(self, done: int, total: int, note: str = "") -> None:
        """Print a line if it is time for one."""
        now = time.monotonic()
        self._began = now if self._began is None else self._began
        seconds = now - self._began
        if seconds >= self._due and done < total:
            share = f"{done:,} of {total:,} ({done / total:.0%})"
            more = f", {note}" if note else ""
            line = f"{self._description}: {share}, {seconds:.0f} s{more}"
            print(line, file=sys.stderr, flush=True)
            self._due = _after(seconds)


def _after(seconds: float) -> float:
    """When the next line is due: a log of hours has hundreds of lines, not thousands."""
    return seconds + max(_SECONDS_BETWEEN, seconds / 20)


class Show(Protocol):
    """Told how many are done, of how many, and what else to show."""

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """Shows it."""


@contextmanager
def counted_bar(description: str, *, quiet: bool = False) -> Iterator[Show]:
    """A progress bar that is told how many are done, and of how many; none if `quiet`.

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
    if quiet or not screen.is_terminal:
        yield (lambda done, total, note="": None) if quiet else _Lines(description).show
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    bar = Progress(
        *columns,
        console=screen,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    task = bar.add_task(description, total=None, note="")

    def show(done: int, total: int, note: str = "") -> None:
        bar.start()
        bar.update(task, completed=done, total=total, note=note)
        if done >= total:
            bar.stop()

    try:
        yield show
    finally:
        bar.stop()


def training_bar(plan: "TrainPlan", steps: "Iterator[Step]") -> "Iterator[Step]":
    """Shows a run while its steps go by; without a terminal, prints lines.

    There is one for each validation, and in between as in other logs.
    """
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
    best, smooth, began, due = None, None, None, _SILENT_SECONDS
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
            passed = step.seconds - began[1]
            if not screen.is_terminal and (valid is not None or passed >= due):
                figures = f"train {smooth:.4f}" + ("" if valid is None else f", valid {valid:.4f}")
                done = f"step {step.step} ({step.progress:.0%})"
                print(f"{done}: {figures} bits/dim, {step.seconds:.0f} s", flush=True)
                due = _after(passed)
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
