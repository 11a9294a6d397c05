"""The steps of a walk, and the parts of an image that they go through."""

from collections.abc import Callable, Generator, Iterable, Iterator
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from nextpixel.devices import OwnThreads, full_precision
from nextpixel.front.place import Front
from nextpixel.layers.distributions import Distribution

__all__ = ["Group", "Part", "Step", "Visit", "apart"]

Item = TypeVar("Item")


def apart(steps: Generator[Item, None, None], device: torch.device) -> Iterator[Item]:
    """Steps that are computed without gradients and in full precision.

    In between, where the caller's code runs, all modes and the number of threads are the caller's.
    """
    threads = OwnThreads()
    try:
        while True:
            with threads, torch.inference_mode(), full_precision(device):
                step = next(steps, None)
            if step is None:
                return
            yield step
    finally:
        with threads:
            steps.close()


class Part(NamedTuple):
    """Every `step`-th row and column of an image, and of those some rows and columns."""

    step: int
    rows: range
    columns: range

    def of(self, x: Tensor) -> Tensor:
        """The part of images (B, C, H, W): a view."""
        rows, columns = self.rows, self.columns
        few = x[:, :, :: self.step, :: self.step]
        return few[:, :, rows.start : rows.stop, columns.start : columns.stop]


class Step(NamedTuple):
    """One colour of one front.

    `distribution` is of all lanes; `wanted` tells which of them have an unknown site, (lanes,), and
    `draws` whether any has; `weighed` tells which have a known one that counts, or is None; `part`
    cuts (B, C, H, W) to the pixels that the front goes through.
    """

    channel: int
    front: Front
    distribution: Distribution
    wanted: Tensor
    draws: bool
    weighed: Tensor | None
    part: Part

    def log_pmf(self) -> Tensor:
        """The log-probabilities of all values in every lane, (lanes, levels)."""
        return self.distribution.log_pmf(self.given(), self.channel).flatten(1)

    def given(self) -> Tensor:
        """What the distribution depends on: earlier colours of each lane, or x if it needs none."""
        front, x = self.front, self.front.x
        # What colours of a pixel that are predicted at once depend on.
        if front.colours == 1 and self.channel:
            earlier = range(self.channel)
            values = [front.flat(x, c).index_select(0, front.sites) for c in earlier]
            x = torch.stack(values, dim=1)[:, :, None, None]
        return x

    @property
    def slots(self) -> Tensor:
        """Which slots have an unknown site in some image, (n,)."""
        return self.wanted.view(self.front.skew.slots, -1).any(dim=1)


class Visit(NamedTuple):
    """A part of images that is gone through.

    `part` cuts whole images to it; `x` are its pixels; `steps` goes through them, and calls its
    argument whenever all colours of a front are complete.
    """

    part: Part
    x: Tensor
    steps: Callable[[Callable[[Front], None] | None], Iterator[Step]]


class Group(NamedTuple):
    """Parts whose sites depend on each other, but not on those of other groups.

    `part` cuts images to all of them; `x` are these pixels: of the images, or of copies of them,
    and then a visit's own are cut from them.
    """

    part: Part
    x: Tensor
    visits: Iterable[Visit]
