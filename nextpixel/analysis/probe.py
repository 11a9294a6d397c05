"""Probe a model: find what each distribution depends on, by derivatives and by changes."""

import copy
import itertools
import math

import torch
from torch import Tensor, nn

from nextpixel.arguments import instance_of, whole_number
from nextpixel.border import ConditionGiven, admit_condition, checked_generator, tensor_of
from nextpixel.cache import Site, raster_order
from nextpixel.conditions.kinds import ClassCondition, of_kind
from nextpixel.conditions.values import Values, map_values, random_values
from nextpixel.devices import seeded
from nextpixel.errors import UsageError
from nextpixel.layers.distributions import Distribution
from nextpixel.models.core import ImageModel
from nextpixel.models.trainable import check_filled
from nextpixel.models.wrapping import FullPassModel, as_model, model_of, unwrap
from nextpixel.orders import Order, known_order
from nextpixel.turning import told, visiting_order
from nextpixel.walk import walk

__all__ = ["Probe", "as_probed"]

# By the precision of a model: the relative size below which a change counts as rounding, and the
# error that sums may have.
_TOLERANCES = {torch.float64: (1e-12, 1e-9), torch.float32: (2e-5, 1e-4)}
_CLASSES = 16


class Probe:
    """A model in float64, ready to be asked what its distributions depend on.

    A module that casts to float32 itself is asked in that precision.

    Args:
        model, channels, levels, condition, generator, order: as for `check_causality`.

    Attributes:
        order: in which the model goes through images. Images, shapes and sites are those of turned
            images, unless something else is said.
    """

    def __init__(
        self,
        model: nn.Module,
        channels: int | None,
        levels: int | None,
        condition: ConditionGiven,
        generator: torch.Generator | None,
        order: Order | None = None,
    ) -> None:
        check_filled(instance_of("model", model, nn.Module))
        whole = as_probed(model, channels, levels)
        self.order = known_order(whole.orders, order)
        self.channels, self.levels = whole.channels, whole.levels
        self._whole, self._dtype, self._begun = whole, torch.float64, False
        self.model = copy.deepcopy(whole).cpu().double()
        given = condition if isinstance(condition, tuple) else (condition,)
        self._given: Values = ()
        if condition is not None:
            self._given = tuple(self._turned(tensor_of("condition", value)) for value in given)
        # The conditions whose values are drawn, because none were given.
        self._drawn = whole.conditions if condition is None else ()
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

    def _turned(self, value: Tensor) -> Tensor:
        return self.order.square.turn(value.cpu()) if value.ndim == 4 else value.cpu()

    def _upright(self, value: Tensor) -> Tensor:
        return self.order.square.turn_back(value) if value.ndim == 4 else value

    def images(self, batch: int, shape: tuple[int, int]) -> Tensor:
        """Random images."""
        return torch.randint(self.levels, (batch, self.channels, *shape), generator=self.generator)

    @property
    def tolerance(self) -> float:
        """The error that sums of probabilities may have by rounding."""
        return _TOLERANCES[self._dtype][1]

    @property
    def original(self) -> nn.Module:
        """The module that is probed, as it was given, without wrappers."""
        return self._whole.module if isinstance(self._whole, FullPassModel) else self._whole

    def distribution(self, x: Tensor) -> Distribution:
        """The model's distributions, made of logits if that is what it gives."""
        first, self._begun = not self._begun, True
        try:
            return self._distribution(x)
        except RuntimeError:
            if not first:
                raise
        # Its own float32 met the weights in float64, unless the error stays.
        self.model = copy.deepcopy(self._whole).cpu().float().train(self.model.training)
        self._dtype = torch.float32
        return self._distribution(x)

    def _distribution(self, x: Tensor) -> Distribution:
        # A condition may be given of which the module does not tell the kind.
        if isinstance(self.model, FullPassModel):
            return self.model.full_pass(x, self.values(x))
        values = (*self.values(x), *told(self.model, [self.order] * len(x), x.device))
        return self.model(x, values)  # type: ignore[no-any-return]

    def log_pmf(self, distribution: Distribution, x: Tensor) -> Tensor:
        """The distribution of every sub-pixel, (B, levels, C, H, W)."""
        return torch.stack([distribution.log_pmf(x, c) for c in range(self.channels)], dim=2)

    def sites(self, shape: tuple[int, int]) -> list[Site]:
        """The sites in the order of the model's factorisation."""
        return visiting_order(self.model, *shape)

    def upright(self, site: Site, shape: tuple[int, int]) -> Site:
        """The site of an image that a site of the turned image is."""
        back = self.order.back
        return Site(back.colour(site.channel), *back.pixel(site.row, site.column, shape))

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
        order = torch.tensor([number[site] for site in self.sites(shape)])
        return found[order][:, order]

    def derivatives(self, shape: tuple[int, int], outputs: list[Site]) -> Tensor | None:
        """Which sites each output's distribution has a derivative for, (outputs, sites).

        There is one random image per output. None if the model takes only integers, for example
        because it has an embedding.
        """
        x = self.images(len(outputs), shape)
        self.distribution(x)  # An error here has nothing to do with derivatives.
        real = x.to(self._dtype).requires_grad_()
        try:
            distribution = self.distribution(real)
            log_pmf = self.log_pmf(distribution, real)
        except (RuntimeError, IndexError, TypeError):
            return None
        chosen = torch.stack(
            [log_pmf[n, :, c, row, column] for n, (c, row, column) in enumerate(outputs)]
        )
        projection = torch.randn(chosen.shape, generator=self.generator, dtype=chosen.dtype)
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
        sizes = change.permute(0, 2, 3, 1).flatten(1).T
        # More than rounding, relative to the largest change of a distribution or to 0.1.
        return sizes > _TOLERANCES[self._dtype][0] * sizes.amax(dim=1, keepdim=True).clamp(min=0.1)

    @torch.no_grad()
    def step_error(self, x: Tensor, log_pmf: Tensor) -> float | None:
        """Largest difference between a walk over x and the full pass; infinite without steps."""
        if isinstance(self.model, FullPassModel):
            return None
        x, log_pmf = self.order.turn_back(x), self.order.turn_back(log_pmf)
        values = map_values(self._upright, self.values(self.order.turn(x)))
        steps = walk(self.model, x, values, order=self.order)
        try:
            return max(float((step - log_pmf[:, :, *site]).abs().max()) for site, step in steps)
        except UsageError:  # the walk compared them first
            return math.inf

    def all_images(self, shape: tuple[int, int]) -> Tensor:
        """All images of a size, the last sub-pixel running fastest."""
        values = itertools.product(range(self.levels), repeat=self.channels * math.prod(shape))
        return torch.tensor(list(values)).view(-1, self.channels, *shape)

    @torch.no_grad()
    def total_probability(self, shape: tuple[int, int]) -> float:
        """Σ p(x) over all images of a size."""
        x = self.all_images(shape)
        return float(self.distribution(x).log_prob(x).sum(dim=(1, 2, 3)).exp().sum())

    @torch.no_grad()
    def change(
        self, shape: tuple[int, int], site: Site, source: Site, *, training: bool = False
    ) -> float:
        """By how many nats another value of one site changes the distribution of another."""
        self.model.train(training)
        largest = 0.0
        for _ in range(8):
            x = self.images(2, shape)
            other = x.clone()
            other[:, *source] = (x[:, *source] + 1) % self.levels
            with seeded(0):
                before = self.log_pmf(self.distribution(x), x)
            with seeded(0):
                after = self.log_pmf(self.distribution(other), other)
            largest = max(largest, float((after - before)[:, :, *site].abs().max()))
        self.model.eval()
        return largest


def as_probed(model: nn.Module, channels: int | None, levels: int | None) -> ImageModel:
    """The model that a caller means, who may say how many channels and levels a module has."""
    for name, given in (("channels", channels), ("levels", levels)):
        if given is not None:
            whole_number(name, given, 1 if name == "channels" else 2)
    model = unwrap(instance_of("model", model, nn.Module))
    if not isinstance(model, ImageModel):
        return as_model(model, channels=channels, levels=levels)
    for name, given in (("channels", channels), ("levels", levels)):
        if given is not None and given != (has := getattr(model, name)):
            raise UsageError(f"‹{name}={given}› was given, but this model has {has}; leave it out")
    return model_of(model)
