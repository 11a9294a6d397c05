"""How fast a model trains and is scored here, measured before time is promised.

A trial is of a copy: it changes neither the model nor torch's random state.
"""

import copy
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from nextpixel.data.splits import ImageData, Split, subset
from nextpixel.models.trainable import Trainable
from nextpixel.settings.choice import ModelChoice
from nextpixel.settings.training import TrainConfig
from nextpixel.training.compatibility import check_fit
from nextpixel.training.distributed import is_alone
from nextpixel.training.evaluation import evaluate
from nextpixel.training.loop import initial_state, train
from nextpixel.training.memory import check_memory, is_out_of_memory

__all__ = [
    "FEW_UPDATES",
    "bounded",
    "fitting",
    "seconds_per_image",
    "seconds_per_update",
    "updates_in_time",
]

FEW_UPDATES = 300
"""A run of fewer updates has hardly begun, and most models still draw noise."""

_SMALLER = ((32, 6), (24, 4), (16, 3))
"""Features and layers of smaller models than the default, the largest first."""
_LEAST_SECONDS = 60.0
_SHARE = 0.25
_TRIAL_IMAGES = 16


def seconds_per_update(model: Trainable, data: ImageData, config: TrainConfig) -> float | None:
    """How long an update takes, from up to three; None if it cannot be tried.

    Raises:
        UsageError: model, data and configuration do not fit together, or not into memory.
    """
    check_fit(model, data, config, 1)
    check_memory(model, data, config)
    empty = subset(data.train, np.arange(0))
    alone = replace(data, valid=empty, test=empty)
    trial = replace(config, minutes=None, epochs=None, steps=3, patience=None)
    took: list[float] = []
    try:
        last = time.monotonic()
        state = initial_state(copy.deepcopy(model), trial)
        for _ in train(state, alone, trial):
            took.append(time.monotonic() - last)
            if sum(took) > (config.minutes or 1.0):  # a sixtieth of the run
                break
            last = time.monotonic()
    except Exception as error:
        if not (is_out_of_memory(error) or isinstance(error, ValueError)):
            raise
        return None
    return min(took)


def updates_in_time(model: Trainable, data: ImageData, config: TrainConfig) -> int | None:
    """About how many updates a run of so many minutes has; None if it has another length."""
    if config.minutes is None or not is_alone():  # All processes need the same model.
        return None
    seconds = seconds_per_update(model, data, config)
    return None if seconds is None else max(1, round(60 * config.minutes / seconds))


def fitting(
    build: Callable[[ModelChoice], Trainable],
    choice: ModelChoice,
    data: ImageData,
    config: TrainConfig,
    device: torch.device,
) -> tuple[Trainable, int | None, tuple[str, ...]]:
    """The default model, or a smaller one if it cannot be trained in the minutes there are.

    Args:
        build: makes a model.
        choice: the model, which names no size.
        data: what it is trained on.
        config: how.
        device: where.

    Returns:
        The model, about how many updates it gets, and notes of what was chosen and why.
    """
    model = build(choice).to(device)
    first = updates = updates_in_time(model, data, config)
    if first is None or first >= FEW_UPDATES:
        return model, first, ()
    for features, layers in _SMALLER:
        width = -(-features // data.channels) * data.channels
        size = {"features": width, "layers": layers}
        model = build(replace(choice, network={**choice.network, **size})).to(device)
        updates = updates_in_time(model, data, config)
        if updates is None or updates >= FEW_UPDATES:
            break
    note = (
        f"the default model would get about {first} updates in {config.minutes:g} minutes here, so"
        " this one is smaller; choose another with ‹features› and ‹layers›"
    )
    return model, updates, (note,)


def seconds_per_image(model: Trainable, split: Split) -> float:
    """How long the evaluation of an image takes, from a few."""
    rows = np.linspace(0, len(split) - 1, min(len(split), _TRIAL_IMAGES)).astype(np.int64)
    few = subset(split, np.unique(rows))
    started = time.monotonic()
    evaluate(model, few)
    return (time.monotonic() - started) / len(few)


def bounded(split: Split, seconds: float, trained: float) -> Split:
    """All images of a split, or as many as can be evaluated in a quarter of the run.

    Args:
        split: the images.
        seconds: how long one of them takes.
        trained: how long the run took; an evaluation of a minute is always allowed.
    """
    most = int(max(_LEAST_SECONDS, _SHARE * trained) / max(seconds, 1e-9))
    if len(split) <= most:
        return split
    return subset(split, np.linspace(0, len(split) - 1, max(1, most)).astype(np.int64))
