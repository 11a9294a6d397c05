"""What several commands begin with: a model, its data, a device, a progress bar."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    import torch

    from nextpixel.data import ImageData, Split
    from nextpixel.models.core import ImageModel

__all__ = ["class_indices", "counted_bar", "open_model", "open_split", "pick_device", "progress_bar"]

Item = TypeVar("Item")


def pick_device(name: str) -> "torch.device":
    """The device of that name; "auto" takes an accelerator if there is one."""
    import torch

    if name == "auto":
        return torch.accelerator.current_accelerator() or torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):
        raise ValueError(f"device {name!r} is not there; use auto, cpu, cuda or cuda:1") from None
    return device


def open_model(path: str, device: str) -> tuple["ImageModel", dict[str, Any]]:
    """A trained model on its device, and what its checkpoint says of it."""
    from nextpixel.checkpoint import load, read_metadata

    return load(path, device=pick_device(device)), read_metadata(path)


def open_split(
    metadata: dict[str, Any], source: str | None, split: str, *, labelled: bool
) -> tuple["ImageData", "Split", str]:
    """The data, the part of them that is asked for, and what to call it.

    Of the training data it is a split. Of another source, prepared in the same way, it is that split if the source has
    splits of its own, otherwise all of it. If `labelled`, classes are those that the model was trained on.
    """
    from nextpixel.data import load_data

    preparation = dict(metadata.get("data") or {})
    if source is None and "source" not in preparation:
        raise ValueError("the checkpoint does not say what data it was trained on; give --data")
    if source is not None:
        preparation |= {"source": source, "validation": 0, "test": 0}
        preparation.pop("from_levels", None)
        if not labelled:
            preparation["labels"] = False
    with counted_bar("Reading") as progress:
        pictures = load_data(preparation.pop("source"), **preparation, progress=progress)
    part: Split = getattr(pictures, split)
    if source is not None and not len(pictures.valid) and not len(pictures.test):
        part, split = pictures.train, "all"
    if not len(part):
        raise ValueError(f"{pictures.source} has no {split} images; choose another --split")
    trained_on = list(metadata.get("classes") or [])
    if labelled and source is not None and part.labels is not None and list(pictures.classes) != trained_on:
        unknown = [name for name in pictures.classes if name not in trained_on]
        if unknown:
            known = ", ".join(trained_on)
            raise ValueError(f"{pictures.source} has the class {unknown[0]!r}, but the model knows only {known}")
        numbers = np.array([trained_on.index(name) for name in pictures.classes])
        part = replace(part, labels=numbers[part.labels])
    return pictures, part, split


def class_indices(network: "ImageModel", metadata: dict[str, Any], name: str) -> list[int]:
    """The class of that name or number as --class gives it; "all" stands for all of them."""
    from nextpixel.layers.conditioning import ClassCondition

    if not isinstance(network.condition, ClassCondition):
        raise ValueError("--class was given, but this model is not conditioned on classes; leave it out")
    classes, count = list(metadata.get("classes") or []), network.condition.classes
    if name == "all":
        return list(range(count))
    if name in classes:
        return [classes.index(name)]
    if name.isdecimal() and int(name) < count:
        return [int(name)]
    known = ", ".join(classes) if classes else f"0 to {count - 1}"
    raise ValueError(f"--class {name!r} is not a class of this model; use all, or one of {known}")


def progress_bar(description: str) -> Callable[[Iterable[Item], int], Iterator[Item]]:
    """Wraps an iteration of known length in a progress bar on standard error."""

    def wrap(items: Iterable[Item], total: int) -> Iterator[Item]:
        from rich.console import Console
        from rich.progress import track

        console = Console(stderr=True)
        yield from track(items, description, total, console=console, transient=True, disable=not console.is_terminal)

    return wrap


@contextmanager
def counted_bar(description: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on standard error that is told how many are done, and of how many; shown after the first word."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(description, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
