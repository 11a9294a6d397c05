"""Particles: how known pixels that come late inform a completion.

A walk draws every unknown site given what comes before it. K walkers draw side by side, and each is
weighed by the probability p(known value | past) that it gives to the known sites on its way. When
few walkers hold most of the weight, those are copied and the others end: a particle filter (Gordon,
Salmond and Smith, 1993; Doucet and Johansen, "A Tutorial on Particle Filtering and Smoothing",
2009, sections 3 and 4). As K grows, a walker drawn by its weight follows p(unknown | known), and
for every K the mean weight is an unbiased estimate of p(known) (Del Moral, 2004, section 7.4).

Two things differ from the textbook. Sites of a front are weighed together, because given the fronts
before it they are independent. Holes that do not see each other, nor a known pixel in common, are
walked by walkers of their own.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from nextpixel.devices import draw_noise, widest
from nextpixel.models.core import ImageModel, Scale

__all__ = ["Completion", "Walkers", "informative", "seeds", "systematic", "uniform"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Completion:
    """Completions, and how well the known pixels could inform them.

    Attributes:
        images: integers 0 … levels-1, (B, draws, C, H, W).
        log_evidence: an estimate of log p(known) in nats for each draw, from its own walkers: the
            mean of its exp is p(known). It is exact where no known sub-pixel follows an unknown
            one. For a model of several orders, p is that of the order in which the image was drawn,
            not their mixture.
        effective: how many different walkers the known pixels left, in effect, when they were
            fewest; of `particles`, which it also is where no known sub-pixel had to inform them.
            About 1 means that a single walker was kept, whatever it had drawn before: it collapsed.
    """

    images: Int[Tensor, "... draws C H W"]
    log_evidence: Float[Tensor, "... draws"]
    effective: Float[Tensor, "... draws"]


def informative(model: ImageModel, unknown: Tensor) -> Tensor:
    """The known sites (C, H, W) whose distributions may depend on an unknown one."""
    found, drawn = torch.zeros_like(unknown), False
    for scale in model.scales():
        step, apart = scale.step, scale.coarser
        here = unknown[:, ::step, ::step]
        counted = torch.ones_like(here)
        if apart is not None:
            counted[:, :: apart // step, :: apart // step] = False
        # What an unknown pixel of the scale before adds to this one is not followed any further.
        seen = torch.ones_like(here) if drawn else _seeing(scale, here)
        found[:, ::step, ::step] |= seen & ~here & counted
        drawn = drawn or bool((here & counted).any())
    return found


def _seeing(scale: Scale, unknown: Tensor) -> Tensor:
    """The sites (C, H, W) of a scale that have an unknown one in their field."""
    channels, height, width = unknown.shape
    above, beside = scale.network.reach.field or (height, width)
    pixels = unknown.any(dim=0).float()[None]
    above, beside = max(1, min(above, height)), max(1, min(beside, width))
    left = functional.max_pool1d(functional.pad(pixels, (beside, 0))[..., :-1], beside, 1)
    around = functional.max_pool1d(functional.pad(pixels, (beside, beside)), 2 * beside + 1, 1)
    rows = functional.pad(around.transpose(1, 2), (above, 0))[..., :-1]
    before = (left[0] + functional.max_pool1d(rows, above, 1)[0].T) > 0
    earlier = unknown.cumsum(dim=0) - unknown.long() > 0
    return before.expand(channels, -1, -1) | earlier


def uniform(shape: Sequence[int], generator: torch.Generator | None) -> Tensor:
    """Uniform numbers that stay below 1 when they are multiplied and rounded."""
    return draw_noise(torch.rand, shape, generator) * (1 - 2**-22)


def seeds(count: int, generator: torch.Generator | None) -> list[int]:
    """Seeds of generators, which depend on the state of one, but leave it as it is."""
    source = generator if generator is not None else torch.default_generator
    copied = torch.Generator(source.device)
    copied.set_state(source.get_state())
    first = torch.randint(2**62, (), generator=copied, device=source.device)
    own = torch.Generator().manual_seed(int(first))
    return [int(torch.randint(2**62, (), generator=own, device="cpu")) for _ in range(count)]


def systematic(weights: Tensor, number: float) -> Tensor:
    """Which walkers K of them go on from, (K,), by systematic resampling.

    Walker k is taken K·w_k times, rounded down or up, and that many times in the mean over uniform
    numbers. Those that are taken at all stay in their place.

    Args:
        weights: (K,), which sum to 1.
        number: uniform in [0, 1).
    """
    count = len(weights)
    ends = (weights.cumsum(dim=0) * count - number).ceil().long().clamp(0, count)
    ends[-1] = count  # whatever is lost by rounding
    times = ends.diff(prepend=ends.new_zeros(1))
    sources = torch.arange(count, device=weights.device)
    extra = sources.repeat_interleave((times - 1).clamp(min=0))
    sources[times == 0] = extra
    return sources


class Walkers:
    """The weights of K walkers in each of R runs that do not know of each other.

    Args:
        count: K.
        generators: of each run.
        device: of the weights.

    Attributes:
        effective: how many different walkers the weights left at least, (R,): walkers are different
            if something was drawn since they were copies.
    """

    def __init__(self, count: int, generators: list[torch.Generator], device: torch.device) -> None:
        self.count, self._generators = count, generators
        dtype = widest(device)
        runs = len(generators)
        self._past = torch.zeros(runs, dtype=dtype, device=device)
        self._log_weights = torch.zeros(runs, count, dtype=dtype, device=device)
        self._first = torch.arange(count, device=device).repeat(runs, 1)
        self._lineage, self._changed = self._first, False
        self.effective = torch.full((runs,), float(count), dtype=dtype, device=device)

    def drew(self) -> None:
        """To be said when all walkers have drawn a value of their own."""
        self._lineage = self._first

    def weigh(self, log_prob: Tensor) -> None:
        """Takes in the log-probability (R, K) of known values given each walker's past."""
        self._log_weights += log_prob
        self._changed = True

    @property
    def log_evidence(self) -> Tensor:
        """The estimate of log p(known sites weighed so far), (R,)."""
        return self._past + self._log_weights.logsumexp(dim=1) - math.log(self.count)

    def _weights(self) -> Tensor:
        """Normalised, (R, K); equal if all are zero."""
        nothing = self._log_weights.amax(dim=1, keepdim=True) == -torch.inf
        return self._log_weights.masked_fill(nothing, 0).softmax(dim=1)

    def sources(self) -> Tensor | None:
        """Which walkers go on, (R · K,), if the weights of some run have become too unequal."""
        if not self._changed:
            return None
        self._changed, weights = False, self._weights()
        together = torch.zeros_like(weights).scatter_add_(1, self._lineage, weights)
        self.effective = torch.minimum(self.effective, 1 / together.square().sum(dim=1))
        few = (2 / weights.square().sum(dim=1) < self.count).nonzero().flatten().tolist()
        if not few:
            return None
        sources, evidence = self._first.clone(), self.log_evidence
        for run in few:
            number = float(uniform((), self._generators[run]))
            sources[run] = systematic(weights[run], number)
            self._past[run], self._log_weights[run] = evidence[run], 0
        self._lineage = self._lineage.gather(1, sources)
        return (
            sources + self.count * torch.arange(len(sources), device=weights.device)[:, None]
        ).flatten()

    def chosen(self) -> Tensor:
        """One walker of each run, drawn by its weight: its place among all, (R,)."""
        numbers = torch.stack([uniform((), one) for one in self._generators])
        cdf = self._weights().cumsum(dim=1)
        numbers = numbers.to(cdf)[:, None] * cdf[:, -1:]
        places = torch.searchsorted(cdf, numbers, right=True)[:, 0]
        return places + self.count * torch.arange(len(places), device=places.device)
