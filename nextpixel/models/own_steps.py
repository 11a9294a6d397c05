"""Steps of a user's own network: what they cost, and whether they are its full pass."""

import warnings
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from nextpixel.conditions.values import map_values, random_values
from nextpixel.errors import UsageError
from nextpixel.models.core import RasterModel

__all__ = ["check_steps", "say_cost"]


def check_steps(network: RasterModel, like: Tensor, steps_of: Callable[..., Iterable[Any]]) -> None:
    """Raises UsageError unless steps of a network give what its full pass gives.

    They are compared on the last two rows of one tiny random image.
    """
    size = min(4, like.shape[2]), min(6, like.shape[3])
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(
        network.levels, (1, network.channels, *size), generator=generator, device="cpu"
    )
    values = random_values(network.conditions, 1, size, generator)
    x, values = x.to(like.device), map_values(lambda value: value.to(like.device), values)
    name, wrap = type(network).__name__, "; mend them, or give as_model(…) of it, without steps"
    unknown = torch.zeros(x.shape, dtype=torch.bool, device="cpu")
    unknown[:, :, -2:] = True
    try:
        full = network(x, values)
        for step in steps_of(network, x, values, unknown):
            found, front = step.log_pmf(), step.front
            rows, columns, _ = (
                part[0] for part in front.skew.pixels(torch.tensor([front.time], device="cpu"))
            )
            rows, columns = rows[step.slots.cpu()], columns[step.slots.cpu()]
            wanted = full.log_pmf(x, step.channel)[0, :, rows, columns].T
            found = found[step.slots] if found.shape == (front.lanes, network.levels) else found
            if found.shape != wanted.shape:
                raise ValueError(f"a step gives {tuple(found.shape)}, not {tuple(wanted.shape)}")
            error = float((found.exp() - wanted.exp()).abs().max())
            if not error <= torch.finfo(wanted.dtype).eps ** 0.5:
                site = step.channel, int(rows[0]), int(columns[0])
                raise UsageError(
                    f"the steps of {name} are not its full pass: at {site} (channel, row, column)"
                    f" a probability differs by {error:.2g}, as if a layer ignored the cache{wrap}"
                )
    except UsageError:
        raise
    except (RuntimeError, ValueError, TypeError, LookupError, AttributeError, Warning) as error:
        said = " ".join(str(error).split())[:120]
        raise UsageError(f"{name} cannot go step by step ({said}){wrap}") from error


def say_cost(steps: int) -> None:
    """Warns that each of so many steps is a full pass."""
    if not steps:
        return
    warnings.warn(
        f"this module keeps nothing from step to step: {steps:,} steps are as many full passes,"
        " where the models of nextpixel take about the time of one; the guide 'Write your own"
        " model' tells how to keep it",
        stacklevel=2,
    )
