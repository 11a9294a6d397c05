"""Unknown sites of images, drawn one after another: what sampling and completing share."""

from collections.abc import Callable, Generator, Iterable

import torch
from torch import Tensor

from nextpixel.arguments import drawing_factor, whole_number
from nextpixel.border import watched
from nextpixel.conditions.values import Values, index, unknown
from nextpixel.devices import OwnThreads, full_precision, widest
from nextpixel.errors import UsageError
from nextpixel.front.place import Front
from nextpixel.models.core import ImageModel
from nextpixel.models.evaluation import evaluating
from nextpixel.plan import Plan, Step, apart

__all__ = ["Progress", "fill", "inverse_cdf"]

Progress = Callable[[Iterable[Step], int], Iterable[Step]]


def fill(
    model: ImageModel,
    x: Tensor,
    known: Tensor | None,
    values: Values,
    noise: Tensor,
    temperature: float,
    guidance: float,
    batch_size: int,
    progress: Progress | None,
    nats: Tensor | None = None,
) -> Tensor:
    """Draws the sub-pixels of x that are not known, in place; adds their log p to nats (B,).

    Args:
        model: any model.
        x: images (B, C, H, W), integers, that may be turned.
        known: True where x is known, (B, C, H, W); None if nothing is.
        values: of the model's conditions, and what it is told of turned images.
        noise: uniform numbers (B, C, H, W), laid out in memory as x is.
        temperature, guidance, batch_size, progress: as for `sampling.sample`.
        nats: None if nobody asks.

    Raises:
        ValueError: a number is out of range, or the model's weights are NaN.
    """
    temperature = drawing_factor("temperature", temperature)
    guidance = drawing_factor("guidance", guidance)
    batch_size = whole_number("batch_size", batch_size, 1)
    if guidance != 1 and not model.conditions:
        raise UsageError(
            f"‹guidance={guidance}› is towards a condition, but this model has none; leave it at 1"
        )
    model = evaluating(model)
    noise = noise.to(torch.promote_types(model.dtype, torch.float32))
    missing = torch.ones(1, 1, 1, 1, dtype=torch.bool) if known is None else ~known.cpu()
    missing = missing.expand(x.shape)
    batches = [
        _Batch(
            model,
            x[part],
            missing[part],
            index(values, part),
            noise[part],
            guidance,
            None if nats is None else nats[part],
        )
        for part in (slice(start, start + batch_size) for start in range(0, len(x), batch_size))
    ]
    steps = (step for batch in batches for step in batch.fill(temperature))
    if progress is None:
        with OwnThreads(), torch.inference_mode(), full_precision(x.device):
            for _ in steps:
                pass
    else:
        for _ in watched(progress, apart(steps, x.device), sum(len(b.plan) for b in batches)):
            pass
    return x


# Steps after which values are checked: once for all, it costs nothing.
_CHECKED_TOGETHER = 256


class _Batch:
    """Images that are filled together; with guidance next to themselves without the condition."""

    def __init__(
        self,
        model: ImageModel,
        x: Tensor,
        missing: Tensor,
        values: Values,
        noise: Tensor,
        guidance: float,
        nats: Tensor | None,
    ) -> None:
        self._x, self._levels, self._guidance, self._nats = x, model.levels, guidance, nats
        self._images, copies = x, 1
        if guidance != 1:
            nothing = unknown(model.conditions, len(x), (x.shape[2], x.shape[3]))
            # The order that images are turned to is known to both.
            pairs = zip(values, (*nothing, *values[len(nothing) :]), strict=True)
            values = tuple(torch.cat([given, no.to(given)]) for given, no in pairs)
            self._images, copies = torch.cat([x, x]), 2
        # Laid out as the images are: a site is at one place in both.
        self._noise = noise.repeat(copies, 1, 1, 1)
        missing = missing.repeat(copies, 1, 1, 1)
        self.plan = Plan(model, self._images, values, missing, raster=False)

    def fill(self, temperature: float) -> Generator[Step, None, None]:
        """Draws what is missing, and adds its log-probability to that of each image."""
        drawn: list[Tensor] = []
        front: Front | None = None
        for step in self.plan.steps():
            if step.front is not front:
                front, part = step.front, step.part.of(self._noise)
                every = range(part.shape[1])
                colours = [(front.flat(front.x, c), front.flat(part, c)) for c in every]
            sites, (x, noise) = front.sites, colours[step.channel]
            uniform, log_pmf = noise.index_select(0, sites), step.log_pmf()
            if self._guidance == 1:
                value = inverse_cdf(log_pmf, uniform, temperature)
            else:
                value = self._guided(log_pmf, uniform, temperature)
            drawn.append(value)
            value = value.clamp(max=self._levels - 1)  # what comes next may look it up in a table
            x.index_copy_(0, sites, torch.where(step.wanted, value, x.index_select(0, sites)))
            if (nats := self._nats) is not None:
                of_value = log_pmf.gather(1, value[:, None])[:, 0].where(step.wanted, 0)
                nats += of_value.view(-1, len(nats)).sum(dim=0, dtype=nats.dtype)
            if len(drawn) == _CHECKED_TOGETHER:
                self._check(drawn)
            yield step
        self._check(drawn)
        if self._images is not self._x:
            self._x.copy_(self._images[: len(self._x)])

    def _check(self, drawn: list[Tensor]) -> None:
        """Raises unless values exist, and forgets them."""
        # A sum that is NaN is never passed, so the index is past the last value.
        if drawn and int(torch.cat(drawn).amax()) >= self._levels:
            raise ValueError(
                "the model's probabilities are NaN: its weights are damaged; load or train others"
            )
        drawn.clear()

    def _guided(self, log_pmf: Tensor, noise: Tensor, temperature: float) -> Tensor:
        """Values of lanes with the condition, and of those without, which are the same."""
        guidance, halves = self._guidance, (-1, 2, len(self._x))
        knowing, ignorant = torch.unflatten(log_pmf.clamp(min=-1e9), 0, halves).unbind(1)
        mixed = torch.log_softmax(guidance * knowing + (1 - guidance) * ignorant, dim=2)
        of_one = torch.unflatten(noise, 0, halves)[:, 0].flatten()
        value = inverse_cdf(mixed.flatten(0, 1), of_one, temperature)
        value = torch.unflatten(value, 0, halves[::2])
        return torch.stack([value, value], dim=1).flatten()


def inverse_cdf(log_pmf: Tensor, uniform: Tensor, temperature: float = 1.0) -> Tensor:
    """The values (B,) at which the distribution functions (B, levels) pass uniform numbers (B,).

    Never a value of probability zero, if the number is below 1 by more than rounding. Temperature 0
    takes the likeliest value.
    """
    if temperature == 0:
        return log_pmf.argmax(dim=1)
    if temperature != 1:
        log_pmf = log_pmf.to(widest(log_pmf.device)) / temperature
    # Faster than exp, and the values lie side by side.
    cdf = torch.softmax(log_pmf, dim=1).cumsum(dim=1)
    total = cdf[:, -1:]
    return torch.searchsorted(cdf, total * uniform.view(-1, 1), right=True).view(-1)
