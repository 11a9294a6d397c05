"""Is it a probability model? What leaks, what is unseen, and do the probabilities sum to one.

A model that sees a sub-pixel it must predict has a superb likelihood and cannot draw; one that misses part of the past
draws worse than it could. Neither shows in a training curve. The probe here works on any model that maps integers
(B, C, H, W) to distributions or logits, in float64: each output is differentiated with respect to every input, and
every input is also changed outright, which sees through embeddings and rounding.
"""

import copy
import itertools
import math
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from torch import Tensor, nn

from nextpixel.cache import Site, raster_order
from nextpixel.heads import Categorical, Distribution
from nextpixel.images import grid
from nextpixel.models.core import AutoregressiveModel
from nextpixel.walk import walk

__all__ = ["CausalityReport", "check_causality", "dependencies", "receptive_field", "receptive_field_picture"]

# Relative size below which a derivative or a change counts as rounding.
_TOLERANCE = 1e-12
_CLASSES = 16
_ENUMERATED_IMAGES = 1 << 12


@dataclass(frozen=True, kw_only=True)
class CausalityReport:
    """What `check_causality` found.

    Attributes:
        channels: colours C of the images probed.
        shape: their (H, W).
        depends: whether the law of site o (row) changes with site i (column), sites in raster order.
        leaks_in_training: leaks seen in training mode alone, as from normalisation over a batch.
        normalisation_error: largest deviation of a law's total probability from 1, over all sites.
        consistency_error: largest difference between `log_prob` and `log_pmf` at the value that x has, in nats.
        batch_error: largest change of a log-probability when an image is evaluated alone instead of in a batch.
        step_error: largest difference between a cached walk and the full pass, in nats; None for a model that is not
            an `AutoregressiveModel`.
        total_probability: Σ p(x) over all images of `enumerated` size, or None if no image is small enough to
            enumerate.
        enumerated: (H, W) of the images whose probabilities were summed.
    """

    channels: int
    shape: tuple[int, int]
    depends: Bool[Tensor, "sites sites"]
    leaks_in_training: tuple[tuple[Site, Site], ...]
    normalisation_error: float
    consistency_error: float
    batch_error: float
    step_error: float | None
    total_probability: float | None
    enumerated: tuple[int, int] | None

    @property
    def leaks(self) -> tuple[tuple[Site, Site], ...]:
        """Pairs (site, what it must not see but does): itself or something later."""
        return _pairs(self.depends.triu(), self.channels, self.shape)

    @property
    def unseen(self) -> tuple[tuple[Site, Site], ...]:
        """Pairs (site, what of its past it does not see)."""
        return _pairs((~self.depends).tril(-1), self.channels, self.shape)

    @property
    def ok(self) -> bool:
        """Whether this is a normalised model of images. Not seeing all of the past is allowed: it only costs bits."""
        errors = [self.normalisation_error, self.consistency_error, self.batch_error, self.step_error or 0.0]
        if self.total_probability is not None:
            errors.append(abs(self.total_probability - 1))
        return not self.leaks and not self.leaks_in_training and all(error < 1e-9 for error in errors)

    def __str__(self) -> str:
        sites = len(self.depends)
        lines = [
            f"{self.channels} channel{'s' * (self.channels > 1)}, {self.shape[0]}×{self.shape[1]} pixels:",
            f"  leaks        {_pairs_found(self.leaks, 'sees')}",
            f"  in training  {_pairs_found(self.leaks_in_training, 'sees')}",
            f"  unseen past  {_pairs_found(self.unseen, 'never sees', sites * (sites - 1) // 2)}",
            f"  each law sums to one within {self.normalisation_error:.0e}, log_prob agrees with log_pmf within "
            f"{self.consistency_error:.0e}, a batch with its items within {self.batch_error:.0e}",
        ]
        if self.step_error is not None:
            lines.append(f"  a cached walk agrees with the full pass within {self.step_error:.0e} nats")
        if self.total_probability is None or self.enumerated is None:
            lines.append("  Σ p(x): too many values per pixel to enumerate even the smallest image")
        else:
            height, width = self.enumerated
            lines.append(f"  Σ p(x) over all {height}×{width} images = {self.total_probability:.12f}")
        lines.append("  causal and normalised" if self.ok else "  NOT a probability model of images")
        return "\n".join(lines)


def check_causality(
    model: nn.Module,
    *,
    shape: tuple[int, int] = (4, 5),
    condition: Tensor | None = None,
    channels: int | None = None,
    levels: int | None = None,
    draws: int = 3,
    generator: torch.Generator | None = None,
) -> CausalityReport:
    """Tells what a model leaks, what of the past it never sees, and whether its probabilities sum to one.

    The model may be anyone's: a module that maps integers (B, C, H, W), and the condition if there is one, to an object
    with `log_prob` and `log_pmf` as in `nextpixel.heads`, or to logits (B, levels, C, H, W) or (B, levels, H, W). It is
    copied to float64; the original is not touched.

    Args:
        model: the model.
        shape: (H, W) of the images probed; take H ≠ W. The cost grows with (C·H·W)².
        condition: one condition (of batch 1) for a conditional model; None takes each class in turn, of the
            first 16, to look for leaks, and the last of them for the sums.
        channels: colours C; None takes `model.channels`.
        levels: values of a sub-pixel; None takes `model.levels`.
        draws: random images per site. A ReLU may block a path on one image and not on another.
        generator: source of randomness; None takes a fresh one with seed 0.

    Example:
        >>> from nextpixel import GatedPixelCNN
        >>> report = check_causality(GatedPixelCNN(levels=3, features=8, layers=3))
        >>> report.leaks, report.unseen, round(report.total_probability, 9)
        ((), (), 1.0)
    """
    probe = _Probe(model, channels, levels, condition, generator)
    depends = probe.depends(shape, draws)
    in_training = probe.depends(shape, draws, training=True).triu() & ~depends
    x = probe.images(8, shape)
    with torch.no_grad():
        law = probe.law(x)
        log_prob = law.log_prob(x)
        log_pmf = probe.log_pmf(law, x)
        alone = torch.cat([probe.law(x[i : i + 1]).log_prob(x[i : i + 1]) for i in range(len(x))])
    enumerated = _largest_enumerable(probe.channels, probe.levels)
    return CausalityReport(
        channels=probe.channels,
        shape=shape,
        depends=depends,
        leaks_in_training=_pairs(in_training, probe.channels, shape),
        normalisation_error=_largest(log_pmf.exp().sum(dim=1) - 1),
        consistency_error=_largest(log_pmf.gather(1, x[:, None])[:, 0] - log_prob),
        batch_error=_largest(alone - log_prob),
        step_error=probe.step_error(x, log_pmf),
        total_probability=None if enumerated is None else probe.total_probability(enumerated),
        enumerated=enumerated,
    )


def dependencies(
    model: nn.Module, shape: tuple[int, int], *, condition: Tensor | None = None, draws: int = 3, training: bool = False
) -> Bool[Tensor, "sites sites"]:
    """Whether the law of each site (row) depends on each site (column), in raster order; see `check_causality`."""
    return _Probe(model, None, None, condition, None).depends(shape, draws, training=training)


def receptive_field(
    model: nn.Module,
    shape: tuple[int, int],
    *,
    pixel: tuple[int, int] | None = None,
    condition: Tensor | None = None,
    channels: int | None = None,
    levels: int | None = None,
) -> Bool[Tensor, "C C H W"]:
    """What the laws of one pixel's colours depend on.

    Args:
        model: any model, as for `check_causality`.
        shape: (H, W) of the image.
        pixel: (row, column); None takes the middle of the last row but one, below most of the image.
        condition, channels, levels: as for `check_causality`.

    Returns:
        For each colour of the pixel (first axis), whether it depends on each sub-pixel of the image.
    """
    row, column = _low_pixel(shape) if pixel is None else pixel
    probe = _Probe(model, channels, levels, condition, None)
    outputs = [Site(channel, row, column) for channel in range(probe.channels)]
    found = [probe.derivatives(shape, outputs) for _ in range(3)]
    seen = torch.stack([f for f in found if f is not None] or [probe.changes(shape)[_numbers(outputs, shape)]])
    return seen.any(dim=0).view(-1, *shape, probe.channels).permute(0, 3, 1, 2)


def receptive_field_picture(model: nn.Module, shape: tuple[int, int]) -> UInt8[np.ndarray, "3 height width"]:
    """Draws `receptive_field`: a panel for each colour that sees (down) and that is seen (across).

    Seen past is green, unseen past grey, the pixel's own colour black, a leak red, the future white.
    """
    row, column = _low_pixel(shape)
    seen = receptive_field(model, shape, pixel=(row, column)).numpy()
    channels = len(seen)
    order = np.arange(shape[0] * shape[1]).reshape(shape) * channels
    panels = []
    for reader, source in itertools.product(range(channels), repeat=2):
        here = (row * shape[1] + column) * channels + reader
        past, own, sees = order + source < here, order + source == here, seen[reader, source]
        colours = np.select(
            [past & sees, past, own & ~sees, sees], [[[[76]], [[175]], [[80]]], 200, 0, [[[220]], [[40]], [[40]]]], 255
        )
        panels.append(colours)
    return grid(np.stack(panels), columns=channels, levels=256, scale=8, background=128)


class _Probe:
    """A model in float64, ready to be asked."""

    def __init__(
        self,
        model: nn.Module,
        channels: int | None,
        levels: int | None,
        condition: Tensor | None,
        generator: torch.Generator | None,
    ) -> None:
        self.channels = _described(model, "channels", channels)
        self.levels = _described(model, "levels", levels)
        self.model = copy.deepcopy(model).cpu().double()
        described = getattr(model, "condition", None) if condition is None else None
        # How many classes to take in turn, if none was given; 0 for an unconditional model.
        self.classes = 0 if described is None else int(getattr(described, "classes", 1))
        if self.classes:
            condition = torch.zeros(1, dtype=torch.int64)
        self.condition = condition
        self.generator = torch.Generator().manual_seed(0) if generator is None else generator

    def images(self, batch: int, shape: tuple[int, int]) -> Tensor:
        """Random images."""
        return torch.randint(self.levels, (batch, self.channels, *shape), generator=self.generator)

    def law(self, x: Tensor) -> Distribution:
        """The model's distributions, made of logits if that is what it gives."""
        arguments = () if self.condition is None else (self.condition.expand(len(x), *self.condition.shape[1:]),)
        law = self.model(x, *arguments)
        if not isinstance(law, Tensor):
            return cast(Distribution, law)
        if law.shape[1] != self.levels:
            wanted = f"(B, {self.levels}, {self.channels}, H, W)"
            raise ValueError(f"the model gave logits of shape {tuple(law.shape)}; expected {wanted}")
        logits = law.reshape(len(x), self.levels, self.channels, *x.shape[2:])
        return Categorical(logits.transpose(1, 2).flatten(1, 2), self.channels)

    def log_pmf(self, law: Distribution, x: Tensor) -> Tensor:
        """The law of every sub-pixel, (B, levels, C, H, W)."""
        return torch.stack([law.log_pmf(x, c) for c in range(self.channels)], dim=2)

    def depends(self, shape: tuple[int, int], draws: int, *, training: bool = False) -> Tensor:
        """Dependency matrix, over several random images, by derivatives and by changes."""
        self.model.train(training)
        sites = list(raster_order(self.channels, *shape))
        found = torch.zeros(len(sites), len(sites), dtype=torch.bool)
        for draw in range(max(draws, min(self.classes, _CLASSES))):
            if self.classes:
                self.condition = torch.tensor([draw % self.classes])
            derivatives = self.derivatives(shape, sites)
            if derivatives is not None:
                found |= derivatives
            # In training mode items of a batch may differ by their dropout, or even know each other: one by one.
            found |= self.changes(shape, one_by_one=training)
        self.model.eval()
        return found

    def derivatives(self, shape: tuple[int, int], outputs: list[Site]) -> Tensor | None:
        """Which sites each output's law has a derivative for, on one random image per output: (outputs, sites).

        None if the model takes integers only, as one with an embedding does.
        """
        x = self.images(len(outputs), shape)
        self.law(x)  # What fails here is no matter of derivatives.
        real = x.double().requires_grad_()
        try:
            law = self.law(real)
            log_pmf = self.log_pmf(law, real)
        except (RuntimeError, IndexError, TypeError):
            return None
        chosen = torch.stack([log_pmf[n, :, c, row, column] for n, (c, row, column) in enumerate(outputs)])
        projection = torch.randn(chosen.shape, generator=self.generator, dtype=torch.float64)
        if not chosen.requires_grad:
            return None
        (gradient,) = torch.autograd.grad((chosen * projection).sum(), real, allow_unused=True)
        return None if gradient is None else _noticeable(gradient.permute(0, 2, 3, 1).flatten(1))

    @torch.no_grad()
    def changes(self, shape: tuple[int, int], *, one_by_one: bool = False) -> Tensor:
        """Which laws change when each site in turn is given another value: (sites, sites)."""
        sites = list(raster_order(self.channels, *shape))
        x = self.images(1, shape).repeat(len(sites) + 1, 1, 1, 1)
        shift = torch.randint(1, self.levels, (len(sites),), generator=self.generator)
        for n, (site, by) in enumerate(zip(sites, shift, strict=True)):
            x[n, *site] = (x[n, *site] + by) % self.levels
        laws = []
        for start in range(0, len(x), 1 if one_by_one else len(x)):
            part = x[start : start + 1] if one_by_one else x
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                law = self.law(part)
            # A law of a site may depend on earlier colours of x itself, so each is asked with its own x.
            laws.append(self.log_pmf(law, part))
        log_pmf = torch.cat(laws)
        change = (log_pmf[:-1] - log_pmf[-1:]).abs().amax(dim=1)
        return _noticeable(change.permute(0, 2, 3, 1).flatten(1).T)

    @torch.no_grad()
    def step_error(self, x: Tensor, log_pmf: Tensor) -> float | None:
        """Largest difference between a walk over x and the full pass."""
        if not isinstance(self.model, AutoregressiveModel):
            return None
        condition = None if self.condition is None else self.condition.expand(len(x))
        return max(_largest(step - log_pmf[:, :, *site]) for site, step in walk(self.model, x, condition))

    @torch.no_grad()
    def total_probability(self, shape: tuple[int, int]) -> float:
        """Σ p(x) over all images of a size."""
        values = itertools.product(range(self.levels), repeat=self.channels * math.prod(shape))
        x = torch.tensor(list(values)).view(-1, self.channels, *shape)
        return float(self.law(x).log_prob(x).sum(dim=(1, 2, 3)).exp().sum())


def _pairs(chosen: Tensor, channels: int, shape: tuple[int, int]) -> tuple[tuple[Site, Site], ...]:
    """The chosen entries of a dependency matrix as sites."""
    sites = list(raster_order(channels, *shape))
    return tuple((sites[o], sites[i]) for o, i in chosen.nonzero().tolist())


def _low_pixel(shape: tuple[int, int]) -> tuple[int, int]:
    """The middle of the last row but one, below most of the image."""
    return max(0, shape[0] - 2), shape[1] // 2


def _numbers(sites: list[Site], shape: tuple[int, int]) -> list[int]:
    """The places of the colours of one pixel in raster order."""
    return [(site.row * shape[1] + site.column) * len(sites) + site.channel for site in sites]


def _described(model: nn.Module, name: str, given: int | None) -> int:
    value: Any = getattr(model, name, None) if given is None else given
    if not isinstance(value, int):
        raise ValueError(f"the model has no attribute {name!r}; give {name}= to check_causality")
    return value


def _noticeable(sizes: Tensor) -> Tensor:
    """What is more than rounding, beside the largest in its row."""
    sizes = sizes.abs()
    return sizes > _TOLERANCE * sizes.amax(dim=1, keepdim=True).clamp(min=_TOLERANCE)


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
    return f"{len(pairs)}{total} pairs of sub-pixels; e.g. {tuple(site)} {verb} {tuple(other)} (channel, row, column)"
