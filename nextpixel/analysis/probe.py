"""Probe a model: find what each distribution depends on, by derivatives and by changes."""

import copy
import itertools
import math
from typing import Any, cast

import torch
from torch import Tensor, nn

from nextpixel.arguments import instance_of, whole_number
from nextpixel.border import ConditionGiven, admit_condition, checked_generator, tensor_of
from nextpixel.cache import Site, raster_order
from nextpixel.conditions.kinds import ClassCondition, as_conditions, of_kind
from nextpixel.conditions.values import Values, map_values, random_values
from nextpixel.devices import seeded
from nextpixel.errors import UsageError
from nextpixel.layers.heads import Categorical, Distribution
from nextpixel.models.core import ImageModel, visiting_order
from nextpixel.walk import walk

__all__ = ["Probe"]

# Relative size below which a change counts as rounding.
_TOLERANCE = 1e-12
_CLASSES = 16


class Probe:
    """A model in float64, ready to be asked what its distributions depend on.

    Args:
        model, channels, levels, condition, generator: as for `check_causality`.
    """

    def __init__(
        self,
        model: nn.Module,
        channels: int | None,
        levels: int | None,
        condition: ConditionGiven,
        generator: torch.Generator | None,
    ) -> None:
        instance_of("model", model, nn.Module)
        self.channels = _described(model, "channels", channels)
        self.levels = _described(model, "levels", levels)
        self.model = copy.deepcopy(model).cpu().double()
        given = condition if isinstance(condition, tuple) else (condition,)
        self._given: Values = ()
        if condition is not None:
            self._given = tuple(tensor_of("condition", value).cpu() for value in given)
        # The conditions whose values are drawn, because none were given.
        drawn = getattr(model, "conditions", None) if condition is None else None
        self._drawn = as_conditions(drawn)
        self._classes = of_kind(self._drawn, ClassCondition)
        self._draw = 0
        self.generator = checked_generator(generator) or torch.Generator().manual_seed(0)

    def values(self, x: Tensor) -> Values:
        """The same values of the conditions for every image of x; every class has its turn."""
        generator = torch.Generator().manual_seed(self._draw)
        drawn = list(random_values(self._drawn, 1, (x.shape[2], x.shape[3]), generator))
        for place, part in self._classes.items():
            drawn[place] = torch.tensor([self._draw % part.classes])
        given = self._given or tuple(drawn)
        if isinstance(self.model, ImageModel):
            return admit_condition(self.model, given, len(x), (x.shape[2], x.shape[3]))
        return map_values(lambda value: value.expand(len(x), *value.shape[1:]), given)

    def images(self, batch: int, shape: tuple[int, int]) -> Tensor:
        """Random images."""
        return torch.randint(self.levels, (batch, self.channels, *shape), generator=self.generator)

    def distribution(self, x: Tensor) -> Distribution:
        """The model's distributions, made of logits if that is what it gives."""
        values = self.values(x)
        # Modules of other authors take a single condition as a tensor.
        condition = values[0] if len(values) == 1 else values
        distribution = self.model(x, condition) if values else self.model(x)
        if not isinstance(distribution, Tensor):
            return cast(Distribution, distribution)
        if distribution.shape[1] != self.levels:
            wanted = f"(B, {self.levels}, {self.channels}, H, W)"
            raise UsageError(
                f"the model gave logits of shape {tuple(distribution.shape)}; expected {wanted}"
            )
        logits = distribution.reshape(len(x), self.levels, self.channels, *x.shape[2:])
        return Categorical(logits.transpose(1, 2).flatten(1, 2), self.channels, self.levels)

    def log_pmf(self, distribution: Distribution, x: Tensor) -> Tensor:
        """The distribution of every sub-pixel, (B, levels, C, H, W)."""
        return torch.stack([distribution.log_pmf(x, c) for c in range(self.channels)], dim=2)

    def order(self, shape: tuple[int, int]) -> list[Site]:
        """The sites in the order of the model's factorisation; raster order for other modules."""
        if isinstance(self.model, ImageModel):
            return visiting_order(self.model, *shape)
        return list(raster_order(self.channels, *shape))

    def depends(self, shape: tuple[int, int], draws: int, *, training: bool = False) -> Tensor:
        """The dependency matrix in the model's order, found on several random images."""
        self.model.train(training)
        sites = list(raster_order(self.channels, *shape))
        found = torch.zeros(len(sites), len(sites), dtype=torch.bool)
        classes = [part.classes for part in self._classes.values()]
        for draw in range(max(draws, min(max(classes, default=0), _CLASSES))):
            self._draw = draw
            derivatives = self.derivatives(shape, sites)
            if derivatives is not None:
                found |= derivatives
            # In training mode the items of a batch may differ by their dropout, or even depend on
            # each other, so they are taken one by one.
            found |= self.changes(shape, one_by_one=training)
        self.model.eval()
        number = {site: k for k, site in enumerate(sites)}
        order = torch.tensor([number[site] for site in self.order(shape)])
        return found[order][:, order]

    def derivatives(self, shape: tuple[int, int], outputs: list[Site]) -> Tensor | None:
        """Which sites each output's distribution has a derivative for, (outputs, sites).

        There is one random image per output. None if the model takes only integers, for example
        because it has an embedding.
        """
        x = self.images(len(outputs), shape)
        self.distribution(x)  # An error here has nothing to do with derivatives.
        real = x.double().requires_grad_()
        try:
            distribution = self.distribution(real)
            log_pmf = self.log_pmf(distribution, real)
        except (RuntimeError, IndexError, TypeError):
            return None
        chosen = torch.stack(
            [log_pmf[n, :, c, row, column] for n, (c, row, column) in enumerate(outputs)]
        )
        projection = torch.randn(chosen.shape, generator=self.generator, dtype=torch.float64)
        if not chosen.requires_grad:
            return None
        (gradient,) = torch.autograd.grad((chosen * projection).sum(), real, allow_unused=True)
        if gradient is None:
            return None
        # Without a connection it is exactly 0; a connection through many layers may be very weak.
        return gradient.permute(0, 2, 3, 1).flatten(1) != 0

    @torch.no_grad()
    def changes(self, shape: tuple[int, int], *, one_by_one: bool = False) -> Tensor:
        """Which distributions change when each site in turn gets another value, (sites, sites)."""
        sites = list(raster_order(self.channels, *shape))
        x = self.images(1, shape).repeat(len(sites) + 1, 1, 1, 1)
        shift = torch.randint(1, self.levels, (len(sites),), generator=self.generator)
        for n, (site, by) in enumerate(zip(sites, shift, strict=True)):
            x[n, *site] = (x[n, *site] + by) % self.levels
        distributions = []
        for start in range(0, len(x), 1 if one_by_one else len(x)):
            part = x[start : start + 1] if one_by_one else x
            with seeded(0):
                distribution = self.distribution(part)
            # The distribution of a site may depend on earlier colours of x, so each gets its own x.
            distributions.append(self.log_pmf(distribution, part))
        log_pmf = torch.cat(distributions)
        change = (log_pmf[:-1] - log_pmf[-1:]).abs().amax(dim=1)
        # Sums may run in another order for each item of a batch: log-probabilities then differ in
        # their last digits.
        return _noticeable(change.permute(0, 2, 3, 1).flatten(1).T)

    @torch.no_grad()
    def step_error(self, x: Tensor, log_pmf: Tensor) -> float | None:
        """Largest difference between a walk over x and the full pass."""
        if not isinstance(self.model, ImageModel):
            return None
        steps = walk(self.model, x, self.values(x))
        return max(float((step - log_pmf[:, :, *site]).abs().max()) for site, step in steps)

    @torch.no_grad()
    def total_probability(self, shape: tuple[int, int]) -> float:
        """Σ p(x) over all images of a size."""
        values = itertools.product(range(self.levels), repeat=self.channels * math.prod(shape))
        x = torch.tensor(list(values)).view(-1, self.channels, *shape)
        return float(self.distribution(x).log_prob(x).sum(dim=(1, 2, 3)).exp().sum())


def _described(model: nn.Module, name: str, given: int | None) -> int:
    value: Any = getattr(model, name, None) if given is None else given
    if value is None:
        raise UsageError(f"the model has no attribute {name!r}; give ‹{name}›")
    return whole_number(name, value, 1)


def _noticeable(sizes: Tensor) -> Tensor:
    """What is more than rounding, relative to the largest in its row or to 0.1."""
    return sizes > _TOLERANCE * sizes.amax(dim=1, keepdim=True).clamp(min=0.1)
