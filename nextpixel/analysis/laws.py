"""Laws that a model of images obeys, each with what was found: see `nextpixel.testing`."""

import math
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from nextpixel.analysis.probe import Probe
from nextpixel.cache import Cache, Site
from nextpixel.checkpoint import load, named, save
from nextpixel.conditions.values import Values, index
from nextpixel.errors import UsageError
from nextpixel.layers.distributions import Distribution
from nextpixel.models.core import RasterModel
from nextpixel.models.wrapping import FullPassModel
from nextpixel.sampling import sample
from nextpixel.walk import fronts, walk

__all__ = ["Law", "chi_squared_z", "laws_of"]

_IMAGES = 1 << 12
"""How many images are enumerated, and how many are drawn, at most."""
_MOST_Z = 4.75
"""One false alarm in a million."""


@dataclass(frozen=True)
class Law:
    """One law, and whether a model obeys it.

    Attributes:
        name: of the law.
        status: whether the law holds, is broken, or was not tested.
        found: the largest error and where it is, or why the law was not tested.
    """

    name: str
    status: Literal["holds", "broken", "not tested"]
    found: str

    def __str__(self) -> str:
        status = self.status.upper() if self.status == "broken" else self.status
        return f"  {self.name:<18} {status:<10} {self.found}".rstrip()


def laws_of(probe: Probe, shape: tuple[int, int], draws: int, whole_past: bool) -> Iterator[Law]:
    """Tests one law after another, until one is broken without which others cannot be judged."""
    x = probe.images(4, shape)
    try:
        with torch.no_grad():
            distribution = probe.distribution(x)
            log_prob, log_pmf = distribution.log_prob(x), probe.log_pmf(distribution, x)
            again = probe.distribution(x).log_prob(x)
    except (UsageError, RuntimeError, TypeError, LookupError) as error:
        yield Law("output", "broken", " ".join(f"{type(error).__name__}: {error}".split()))
        return
    bad = torch.where(log_prob.isfinite(), log_prob, math.inf)
    sound = log_prob.shape == x.shape and log_pmf.shape[1] == probe.levels
    yield (
        _within("output", bad.clamp(min=0), probe.tolerance, "log_prob is {}")
        if sound
        else Law("output", "broken", f"log_prob has shape {tuple(log_prob.shape)}, and not of x")
    )
    if not sound or not log_prob.isfinite().all():
        return
    repeated = _within("repeatable", again - log_prob, probe.tolerance, "changes by {} nats")
    yield repeated
    if repeated.status == "broken":
        return
    yield from _of_pixels(probe, x, log_prob, log_pmf)
    yield from _of_dependence(probe, shape, draws, whole_past)
    with torch.no_grad():  # which had other conditions last
        distribution = probe.distribution(x)
        log_prob, log_pmf = distribution.log_prob(x), probe.log_pmf(distribution, x)
    yield _total(probe, shape)
    yield _batch(probe, x, log_prob)
    yield _steps(probe, x, log_pmf)
    yield _condition(probe, x, log_prob)
    yield _samples(probe, shape)
    yield _file(probe, x, log_prob)


def _of_pixels(probe: Probe, x: Tensor, log_prob: Tensor, log_pmf: Tensor) -> Iterator[Law]:
    sums = log_pmf.exp().sum(dim=1) - 1
    law = _within("normalised", sums, probe.tolerance, "the sum differs from 1 by {}")
    chosen = log_pmf.gather(1, x[:, None])[:, 0]
    same = _within(
        "normalised", chosen - log_prob, probe.tolerance, "log_prob differs from log_pmf by {} nats"
    )
    yield law if law.status == "broken" else same


def _of_dependence(
    probe: Probe, shape: tuple[int, int], draws: int, whole_past: bool
) -> Iterator[Law]:
    sites, found = probe.sites(shape), []
    depends = probe.depends(shape, draws)
    in_training = probe.depends(shape, draws, training=True)
    for seen, mode in ((depends, ""), (in_training & ~depends, " in training mode")):
        pairs = seen.triu().nonzero().tolist()
        if pairs:
            site, source = (sites[k] for k in pairs[0])
            what = "itself" if site == source else f"the later {_named(source)}"
            change = probe.change(shape, site, source, training=bool(mode))
            found.append(
                f"{_named(site)} sees {what}{mode}, by {change:.2g} nats; {len(pairs)} such pairs"
            )
    yield Law("causality", "broken" if found else "holds", "; ".join(found))
    unseen = (~depends).tril(-1).nonzero().tolist()
    count = len(sites) * (len(sites) - 1) // 2
    if not unseen:
        yield Law("past", "holds", "all of it is seen")
        return
    site, source = (sites[k] for k in unseen[0])
    words = f"{_named(site)} never sees {_named(source)}; {len(unseen)} of {count} pairs"
    yield Law("past", "broken" if whole_past else "holds", words)


def _total(probe: Probe, shape: tuple[int, int]) -> Law:
    size = _enumerable(probe, shape, _IMAGES)
    if size is None:
        return Law("total", "not tested", "too many images of the sizes that it takes")
    total, words = probe.total_probability(size), f"over all {size[0]}×{size[1]} images"
    status: Literal["holds", "broken"] = (
        "holds" if abs(total - 1) <= 10 * probe.tolerance else "broken"
    )
    return Law("total", status, f"Σ p(x) = {total:.9g} {words}")


@torch.no_grad()
def _batch(probe: Probe, x: Tensor, log_prob: Tensor) -> Law:
    alone = [probe.distribution(one[None]).log_prob(one[None]) for one in x]
    return _within(
        "batch", torch.cat(alone) - log_prob, probe.tolerance, "changes by {} nats alone"
    )


@torch.no_grad()
def _steps(probe: Probe, x: Tensor, log_pmf: Tensor) -> Law:
    model, values = probe.model, probe.values(x)
    if isinstance(model, FullPassModel):
        return Law("steps", "not tested", "the module has none: every step is a full pass")
    error = torch.zeros(x.shape, dtype=log_pmf.dtype)
    try:
        for site, found in walk(model, x, values):
            error[:, *site] = (found - log_pmf[:, :, *site]).abs().amax(dim=1)
        for at, several in fronts(model, x, values):
            wanted = log_pmf[:, :, at.channel, at.rows, at.columns].transpose(1, 2)
            worst = (several - wanted).abs().amax(dim=2)
            error[:, at.channel, at.rows, at.columns] += worst
        if isinstance(model, RasterModel):
            cache = Cache(len(x), model.colours, x.shape[2], x.shape[3])
            for start, stop in ((0, 1), (1, x.shape[2])):
                if start < stop:
                    cache.move_to_rows(start, stop)
                    rows, own = slice(start, stop), x[:, :, start:stop]
                    law: Distribution = model(x, values, cache)
                    wanted = log_pmf.gather(1, x[:, None])[:, 0, :, rows]
                    error[:, :, rows] += (law.log_prob(own) - wanted).abs()
    except (UsageError, RuntimeError, TypeError, LookupError) as problem:
        return Law("steps", "broken", " ".join(str(problem).split()))
    return _within("steps", error, probe.tolerance, "differs by {} nats from the full pass")


@torch.no_grad()
def _condition(probe: Probe, x: Tensor, log_prob: Tensor) -> Law:
    model, values = probe.model, probe.values(x)
    if not model.conditions:
        return Law("condition", "not tested", "the model declares none")
    for k, part in enumerate(model.conditions):
        count = part.count
        if count is None:
            other = values[k] + 1
        elif count > 1:
            other = (values[k] + 1) % count
        else:
            other = part.unknown(len(x), (x.shape[2], x.shape[3])).to(values[k].device)
        changed = (*values[:k], other, *values[k + 1 :])
        change = (model(x, changed).log_prob(x) - log_prob).abs().max()
        if not change > probe.tolerance:
            which = f"condition {k}, {part.describe()}, changes no likelihood"
            return Law("condition", "broken", which)
    return Law("condition", "holds", "")


@torch.no_grad()
def _samples(probe: Probe, shape: tuple[int, int]) -> Law:
    size = _enumerable(probe, shape, _IMAGES // 4)
    values = index(probe.values(probe.images(1, size or shape)), slice(1))
    if size is None or len(values) != len(probe.model.conditions):
        return Law("samples", "not tested", "too many images, or conditions not declared")
    every = probe.all_images(size)
    n = min(_IMAGES, 64 * len(every))
    given: Values = tuple(value.expand(len(every), *value.shape[1:]) for value in values)
    expected = probe.model(every, given).log_prob(every).sum(dim=(1, 2, 3)).exp() * n
    generator = torch.Generator().manual_seed(1)
    try:
        drawn = sample(
            probe.model,
            n,
            size,
            condition=values or None,
            order=probe.order,
            generator=generator,
            batch_size=n,
        )
    except (ValueError, RuntimeError) as error:
        return Law("samples", "broken", " ".join(str(error).split()))
    place = probe.levels ** torch.arange(every[0].numel()).flip(0)
    observed = (drawn.flatten(1) * place).sum(dim=1).bincount(minlength=len(every))
    z = chi_squared_z(observed, expected.double())
    words = f"of {n} {size[0]}×{size[1]} images: χ² is {z:.1f} deviations off"
    return Law("samples", "holds" if z < _MOST_Z else "broken", words)


@torch.no_grad()
def _file(probe: Probe, x: Tensor, log_prob: Tensor) -> Law:
    try:
        model = named(probe.model)
    except UsageError:
        return Law("file", "not tested", "its class is not in nextpixel.models.registry.MODELS")
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.safetensors"
            save(model, path)
            again = load(path)(x, probe.values(x)).log_prob(x)
    except (ValueError, RuntimeError, TypeError) as error:
        return Law("file", "broken", " ".join(str(error).split()))
    return _within("file", again - log_prob, probe.tolerance, "changes by {} nats when loaded")


def _within(name: str, error: Tensor, tolerance: float, words: str) -> Law:
    """A law on errors (B, C, H, W): broken beyond a tolerance, at the site of the largest."""
    sizes = error.abs().nan_to_num(math.inf)
    largest = float(sizes.max())
    if largest <= tolerance:
        return Law(name, "holds", "")
    place = int(sizes.amax(dim=0).flatten().argmax())
    row, column = divmod(place % (error.shape[2] * error.shape[3]), error.shape[3])
    site = Site(place // (error.shape[2] * error.shape[3]), row, column)
    return Law(name, "broken", f"at {_named(site)} {words.format(f'{largest:.2g}')}")


def _named(site: Site) -> str:
    return f"(channel {site.channel}, row {site.row}, column {site.column})"


def _enumerable(probe: Probe, shape: tuple[int, int], most: int) -> tuple[int, int] | None:
    """The largest of some sizes that the model takes and of which there are few images."""
    sizes = [(3, 4), (3, 3), (3, 2), (2, 2), (1, 2), (2, 1), (1, 1)]
    takes: Callable[[tuple[int, int]], bool] = partial(_takes, probe)
    few = (s for s in (shape, *sizes) if probe.levels ** (probe.channels * s[0] * s[1]) <= most)
    return next(filter(takes, few), None)


@torch.no_grad()
def _takes(probe: Probe, size: tuple[int, int]) -> bool:
    x = probe.images(1, size)
    try:
        return probe.distribution(x).log_prob(x).shape == x.shape
    except Exception:  # noqa: BLE001 (whatever a module says about a size that it does not take)
        return False


def chi_squared_z(observed: Tensor, expected: Tensor) -> float:
    """Pearson's χ² of counts as a standard normal deviate (Wilson & Hilferty, 1931).

    Args:
        observed, expected: counts (n,); cells are merged until 5 are expected in each.

    Example:
        >>> chi_squared_z(torch.tensor([50.0, 50]), torch.tensor([50.0, 50])) < 0
        True
    """
    order = expected.argsort()
    cells = (expected[order].cumsum(0) / 5).floor().clamp(max=expected.sum() // 5 - 1)
    cells = torch.where(expected[order] >= 5, torch.arange(len(order)) + 10 * _IMAGES, cells)
    cell = cells.unique(return_inverse=True)[1]  # type: ignore[no-untyped-call]
    merged = torch.zeros(2, int(cell.max()) + 1, dtype=torch.float64)
    both = torch.stack([observed[order], expected[order]]).double()
    seen, wanted = merged.index_add_(1, cell, both)
    statistic = float(((seen - wanted) ** 2 / wanted.clamp(min=1e-9)).sum())
    freedom = max(1, len(seen) - 1)
    spread = 2 / (9 * freedom)
    return float(((statistic / freedom) ** (1 / 3) - (1 - spread)) / math.sqrt(spread))
