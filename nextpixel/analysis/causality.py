"""Check that a model is a probability model: what leaks, what is unseen, what the sum is.

A model that sees a sub-pixel that it must predict has an excellent likelihood and cannot draw; one
that misses part of the past draws worse than it could. Neither shows in a training curve. The check
works on any model that maps integers (B, C, H, W) to distributions or logits, in float64: it
differentiates each output with respect to every input, and also changes every input to another
value, which finds what has no derivative, such as embeddings and rounding.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from nextpixel.analysis.probe import Probe
from nextpixel.arguments import whole_number
from nextpixel.border import ConditionGiven, checked_shape
from nextpixel.cache import Site
from nextpixel.orders import Order

__all__ = ["CausalityReport", "check_causality", "dependencies"]

_ENUMERATED_IMAGES = 1 << 12


@dataclass(frozen=True, kw_only=True)
class CausalityReport:
    """What `check_causality` found.

    Attributes:
        sites: the sub-pixels of the images probed, in the order of the model's factorisation:
            raster order, unless the model has several scales or another order was asked for.
        depends: whether the distribution of site o (row) changes with site i (column).
        leaks_in_training: leaks in training mode only, such as those of normalisation over a batch.
        normalisation_error: largest deviation of a site's total probability from 1.
        consistency_error: largest difference between `log_prob` and `log_pmf` at the value that x
            has, in nats.
        batch_error: largest change of a log-probability when an image is evaluated alone instead of
            in a batch.
        step_error: largest difference between a cached walk and the full pass, in nats; infinite if
            there are no right steps to walk by, None for a module whose steps are full passes.
        total_probability: Σ p(x) over all images of `enumerated` size, or None if no image is small
            enough to enumerate.
        enumerated: (H, W) of the images whose probabilities were summed.
        tolerance: the error that counts as rounding: 1e-9 in float64.
    """

    sites: tuple[Site, ...]
    depends: Bool[Tensor, "sites sites"]
    leaks_in_training: tuple[tuple[Site, Site], ...]
    normalisation_error: float
    consistency_error: float
    batch_error: float
    step_error: float | None
    total_probability: float | None
    enumerated: tuple[int, int] | None
    tolerance: float = 1e-9

    @property
    def leaks(self) -> tuple[tuple[Site, Site], ...]:
        """Pairs (site, what it must not see but does): itself or something later."""
        return _pairs(self.depends.triu(), self.sites)

    @property
    def unseen(self) -> tuple[tuple[Site, Site], ...]:
        """Pairs (site, what of its past it does not see)."""
        return _pairs((~self.depends).tril(-1), self.sites)

    @property
    def ok(self) -> bool:
        """Whether this is a normalised model of images.

        A model need not see all of the past: what it misses only costs bits.
        """
        errors = [
            self.normalisation_error,
            self.consistency_error,
            self.batch_error,
            self.step_error or 0.0,
        ]
        if self.total_probability is not None:
            errors.append(abs(self.total_probability - 1))
        return (
            not self.leaks
            and not self.leaks_in_training
            and all(error < self.tolerance for error in errors)
        )

    def __str__(self) -> str:
        sites = len(self.depends)
        channels, rows, columns = (max(axis) + 1 for axis in zip(*self.sites, strict=True))
        lines = [
            f"{channels} channel{'s' * (channels > 1)}, {rows}×{columns} pixels:",
            f"  leaks        {_pairs_found(self.leaks, 'sees')}",
            f"  in training  {_pairs_found(self.leaks_in_training, 'sees')}",
            f"  unseen past  {_pairs_found(self.unseen, 'never sees', sites * (sites - 1) // 2)}",
            (
                f"  each distribution sums to one within {self.normalisation_error:.0e}, log_prob"
                f" agrees with log_pmf within {self.consistency_error:.0e}, a batch with its items"
                f" within {self.batch_error:.0e}"
            ),
        ]
        if self.step_error == math.inf:
            lines.append("  its steps are not its full pass: a layer ignores the cache")
        elif self.step_error is not None:
            lines.append(
                f"  a cached walk agrees with the full pass within {self.step_error:.0e} nats"
            )
        if self.total_probability is None or self.enumerated is None:
            lines.append("  Σ p(x): too many values per pixel to enumerate even the smallest image")
        else:
            height, width = self.enumerated
            lines.append(
                f"  Σ p(x) over all {height}×{width} images = {self.total_probability:.12f}"
            )
        lines.append(
            "  causal and normalised" if self.ok else "  NOT a probability model of images"
        )
        return "\n".join(lines)


@torch.inference_mode(False)
@torch.enable_grad()
def check_causality(
    model: nn.Module,
    *,
    shape: tuple[int, int] = (4, 5),
    condition: ConditionGiven = None,
    channels: int | None = None,
    levels: int | None = None,
    draws: int = 3,
    generator: torch.Generator | None = None,
    order: Order | None = None,
) -> CausalityReport:
    """Finds what a model leaks and what it never sees, and whether its probabilities sum to one.

    Any module is accepted that `models.wrapping.as_model` takes; wrappers, such as
    DistributedDataParallel, are taken off. The check uses a copy in float64, or in float32 if the
    module casts to that itself; the original is not changed.

    Args:
        model: the model.
        shape: (H, W) of the images probed; take H ≠ W. The cost grows with (C·H·W)².
        condition: the condition of one image (batch 1) for a conditional model. None draws values
            of `model.conditions`: each of the first 16 classes in turn to look for leaks, and the
            last of them for the sums.
        channels: colours C; None takes `model.channels`.
        levels: values of a sub-pixel; None takes `model.levels`.
        draws: random images per site. A ReLU may block a path on one image and not on another.
        generator: source of randomness; None takes a fresh one with seed 0.
        order: in which the model goes through images, one that it knows; None takes the first.

    Example:
        >>> from nextpixel import GatedPixelCNN
        >>> report = check_causality(GatedPixelCNN(levels=3, features=8, layers=3))
        >>> report.leaks, report.unseen, round(report.total_probability, 9)
        ((), (), 1.0)
    """
    shape, draws = checked_shape(shape), whole_number("draws", draws, 1)
    probe = Probe(model, channels, levels, condition, generator, order)
    shape = probe.order.size(*shape)
    depends = probe.depends(shape, draws)
    in_training = probe.depends(shape, draws, training=True).triu() & ~depends
    x = probe.images(8, shape)
    with torch.no_grad():
        distribution = probe.distribution(x)
        log_prob = distribution.log_prob(x)
        log_pmf = probe.log_pmf(distribution, x)
        alone = torch.cat(
            [probe.distribution(x[i : i + 1]).log_prob(x[i : i + 1]) for i in range(len(x))]
        )
    enumerated = _largest_enumerable(probe.channels, probe.levels)
    sites = tuple(probe.upright(site, shape) for site in probe.sites(shape))
    return CausalityReport(
        sites=sites,
        depends=depends,
        leaks_in_training=_pairs(in_training, sites),
        normalisation_error=_largest(log_pmf.exp().sum(dim=1) - 1),
        consistency_error=_largest(log_pmf.gather(1, x[:, None])[:, 0] - log_prob),
        batch_error=_largest(alone - log_prob),
        step_error=probe.step_error(x, log_pmf),
        total_probability=None if enumerated is None else probe.total_probability(enumerated),
        enumerated=enumerated,
        tolerance=probe.tolerance,
    )


@torch.inference_mode(False)
@torch.enable_grad()
def dependencies(
    model: nn.Module,
    shape: tuple[int, int],
    *,
    condition: ConditionGiven = None,
    draws: int = 3,
    training: bool = False,
    order: Order | None = None,
) -> Bool[Tensor, "sites sites"]:
    """Whether the distribution of each site (row) depends on each site (column).

    Sites are in the model's order. Arguments as for `check_causality`.
    """
    shape, draws = checked_shape(shape), whole_number("draws", draws, 1)
    probe = Probe(model, None, None, condition, None, order)
    return probe.depends(probe.order.size(*shape), draws, training=training)


def _pairs(chosen: Tensor, sites: tuple[Site, ...]) -> tuple[tuple[Site, Site], ...]:
    """The chosen entries of a dependency matrix as sites."""
    return tuple((sites[o], sites[i]) for o, i in chosen.nonzero().tolist())


def _largest(difference: Tensor) -> float:
    return float(difference.abs().max())


def _largest_enumerable(channels: int, levels: int) -> tuple[int, int] | None:
    """The largest of a few tiny sizes that has few enough images."""
    for height, width in [(3, 4), (3, 3), (3, 2), (2, 2), (2, 1), (1, 1)]:
        if levels ** (channels * height * width) <= _ENUMERATED_IMAGES:
            return height, width
    return None


def _pairs_found(pairs: tuple[tuple[Site, Site], ...], verb: str, of: int | None = None) -> str:
    if not pairs:
        return "none"
    site, other = pairs[0]
    total = f" of {of}" if of else ""
    return (
        f"{len(pairs)}{total} pairs of sub-pixels; e.g. {tuple(site)} {verb} {tuple(other)}"
        " (channel, row, column)"
    )
