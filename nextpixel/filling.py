"""Unknown sites of images, drawn one after another: what sampling and completing share."""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nextpixel.arguments import drawing_factor, whole_number
from nextpixel.border import watched
from nextpixel.conditions.values import Values, index, unknown
from nextpixel.devices import OwnThreads, full_precision
from nextpixel.errors import UsageError
from nextpixel.front.place import Front
from nextpixel.lane_laws import Law, OfMixture, OfTable
from nextpixel.layers.heads import LogisticMixture
from nextpixel.models.core import ImageModel
from nextpixel.models.evaluation import evaluating
from nextpixel.particles import Walkers, uniform
from nextpixel.plan import Plan
from nextpixel.steps import Group, Step, Visit, apart

__all__ = ["Batch", "Crowd", "Progress", "batches", "fill"]

Progress = Callable[[Iterable[Step], int], Iterable[Step]]

# Steps after which values are checked: once for all, it costs nothing.
_CHECKED_TOGETHER = 256


@dataclass(eq=False)
class Crowd:
    """Walkers that go through each image together.

    Args:
        count: of each image.
        weighed: known sites by which they are weighed, (1, C, H, W), on the CPU.
        generators: of each image.

    Attributes:
        log_evidence, effective: of each image, see `Walkers`; of all groups of sites.
    """

    count: int
    weighed: Tensor
    generators: list[torch.Generator]

    def __post_init__(self) -> None:
        self.log_evidence = torch.zeros(len(self.generators), dtype=torch.float64, device="cpu")
        self.effective = torch.full_like(self.log_evidence, self.count)

    def noise(self, shape: torch.Size) -> Tensor:
        """Uniform numbers for all walkers, (images · count, …)."""
        return torch.cat([uniform((self.count, *shape[1:]), one) for one in self.generators])

    def take_in(self, walkers: Walkers) -> None:
        """Adds what a group of sites tells."""
        self.log_evidence += walkers.log_evidence.to(self.log_evidence)
        effective = walkers.effective.to(self.effective)
        self.effective = torch.minimum(self.effective, effective)


def batches(
    model: ImageModel,
    x: Tensor,
    known: Tensor | None,
    values: Values,
    temperature: float,
    guidance: float,
    noise: Tensor,
    batch_size: int,
    *,
    nats: Tensor | None = None,
    crowds: Sequence[tuple[slice, Crowd]] = (),
) -> list["Batch"]:
    """What draws the sub-pixels of x that are not known, in place; adds their log p to nats (B,).

    Each of the crowds fills some images; no crowd those before the first of them. Images may be
    turned; values then end in what the model is told of it. Noise is laid out in memory as x is.
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
    missing = (
        torch.ones(1, 1, 1, 1, dtype=torch.bool, device="cpu") if known is None else ~known.cpu()
    )
    missing = missing.expand(x.shape)
    alone = crowds[0][0].start if crowds else len(x)
    parts = [slice(k, min(k + batch_size, alone)) for k in range(0, alone, batch_size)]
    return [
        Batch(
            model,
            x[part],
            missing[part],
            index(values, part),
            noise[part],
            (temperature, guidance),
            None if nats is None else nats[part],
            crowd,
        )
        for part, crowd in [*((part, None) for part in parts), *crowds]
    ]


def fill(every: Sequence["Batch"], device: torch.device, progress: Progress | None) -> None:
    """Draws what is missing in all batches; progress is shown of all together."""
    steps = (step for batch in every for step in batch.fill())
    if progress is None or not every:
        with OwnThreads(), torch.inference_mode(), full_precision(device):
            for _ in steps:
                pass
    else:
        length = sum(len(batch.plan) for batch in every)
        for _ in watched(progress, apart(steps, device), length):
            pass


class Batch:
    """Images that are filled together; with guidance next to themselves without the condition.

    Args:
        model: the distribution.
        x: images (B, C, H, W), filled in place.
        missing: the sites to draw, (B, C, H, W), on the CPU; with a crowd those of all images.
        values: the model's conditions for each image.
        noise: uniform numbers (B, C, H, W), of the type in which to compute.
        how: temperature and guidance, see `sampling.sample`.
        nats: to which log p of what is drawn is added, (B,); not with guidance or a crowd.
        crowd: walkers of each image, of which one is kept; None draws each image once.
    """

    def __init__(
        self,
        model: ImageModel,
        x: Tensor,
        missing: Tensor,
        values: Values,
        noise: Tensor,
        how: tuple[float, float],
        nats: Tensor | None,
        crowd: Crowd | None,
    ) -> None:
        self._x, self._levels, self._nats, self._crowd = x, model.levels, nats, crowd
        self._temperature, self._guidance = _, guidance = how
        self._images = x
        self._halves = 1 if guidance == 1 else 2
        if guidance != 1:
            nothing = unknown(model.conditions, len(x), (x.shape[2], x.shape[3]))
            # The order that images are turned to is known to both.
            pairs = zip(values, (*nothing, *values[len(nothing) :]), strict=True)
            values = tuple(torch.cat([given, no.to(given)]) for given, no in pairs)
            self._images = torch.cat([x, x])
        self._noise = noise
        missing = missing.repeat(self._halves, 1, 1, 1) if crowd is None else missing[:1]
        self.plan = Plan(
            model,
            self._images,
            values,
            missing,
            raster=False,
            weighed=None if crowd is None else crowd.weighed,
            copies=1 if crowd is None else crowd.count,
        )

    def fill(self) -> Generator[Step, None, None]:
        """Draws what is missing."""
        for group in self.plan.groups():
            walkers, noise = None, self._noise
            if self._crowd is not None:
                crowd = self._crowd
                noise = crowd.noise(group.x.shape).to(noise)
                walkers = Walkers(crowd.count, crowd.generators, group.x.device)
            # Laid out as the images are: a site is at one place in both.
            noise = noise.repeat(self._halves, 1, 1, 1)
            for visit in group.visits:
                yield from self._fill(visit, visit.part.of(noise), walkers, group.x)
            if walkers is not None:
                self._keep_one(walkers, group)
        if self._crowd is None and self._images is not self._x:
            self._x.copy_(self._images[: len(self._x)])

    def _fill(
        self, visit: Visit, noise: Tensor, walkers: Walkers | None, images: Tensor
    ) -> Iterator[Step]:
        drawn: list[Tensor] = []
        front: Front | None = None

        def complete(front: Front) -> None:
            if walkers is not None:
                self._go_on(walkers, front, images)

        for step in visit.steps(complete):
            if step.front is not front:
                front = step.front
                every = range(noise.shape[1])
                colours = [(front.flat(front.x, c), front.flat(noise, c)) for c in every]
            sites, (x, numbers) = front.sites, colours[step.channel]
            law, before = self._law(step, front), x.index_select(0, sites)
            if walkers is not None and step.weighed is not None:
                walkers.weigh(self._of_known(law, before, step.weighed, walkers.count))
            if step.draws:
                value = self._drawn(law, numbers.index_select(0, sites), front)
                drawn.append(value)
                value = value.clamp(max=self._levels - 1)  # what follows may look it up in a table
                x.index_copy_(0, sites, torch.where(step.wanted, value, before))
                if (nats := self._nats) is not None:
                    of_value = law.nats(value).where(step.wanted, 0)
                    nats += of_value.view(-1, len(nats)).sum(dim=0, dtype=nats.dtype)
                if walkers is not None:
                    walkers.drew()
            if len(drawn) == _CHECKED_TOGETHER:
                self._check(drawn)
            yield step
        self._check(drawn)

    def _check(self, drawn: list[Tensor]) -> None:
        """Raises unless values exist, and forgets them."""
        # A sum that is NaN is never passed, so the index is past the last value.
        if drawn and int(torch.cat(drawn).amax()) >= self._levels:
            raise ValueError(
                "the model's probabilities are NaN: its weights are damaged; load or train others"
            )
        drawn.clear()

    def _law(self, step: Step, front: Front) -> Law:
        """The law of each lane; with guidance that of the lanes with the condition."""
        plain = self._guidance == 1 and self._temperature == 1
        if plain and isinstance(step.distribution, LogisticMixture):
            return OfMixture(step.distribution, step.given(), step.channel)
        log_pmf = step.log_pmf()
        if self._guidance != 1:
            halves = torch.unflatten(log_pmf.clamp(min=-1e9), 0, (-1, 2, front.batch // 2))
            knowing, ignorant = halves.unbind(1)
            mixed = self._guidance * knowing + (1 - self._guidance) * ignorant
            log_pmf = torch.log_softmax(mixed, dim=2).flatten(0, 1)
        return OfTable(log_pmf)

    def _drawn(self, law: Law, noise: Tensor, front: Front) -> Tensor:
        """Values of all lanes; those without the condition have the values of those with it."""
        if self._guidance == 1:
            return law.draw(noise, self._temperature)
        images = front.batch // 2
        noise = torch.unflatten(noise, 0, (-1, 2, images))[:, 0].flatten()
        value = law.draw(noise, self._temperature).view(-1, images)
        return torch.stack([value, value], dim=1).flatten()

    def _of_known(self, law: Law, values: Tensor, weighed: Tensor, count: int) -> Tensor:
        """The log-probability of the known values of each walker, (images, count)."""
        lanes = -1, self._halves, len(self._x) * count
        if self._guidance != 1:  # the law is of the lanes with the condition
            values = torch.unflatten(values, 0, lanes)[:, 0].flatten()
        found = law.nats(values, self._temperature).view(-1, lanes[2])
        weighed = torch.unflatten(weighed, 0, lanes)[:, 0]
        return torch.where(weighed, found, 0).sum(dim=0).view(-1, count)

    def _go_on(self, walkers: Walkers, front: Front, images: Tensor) -> None:
        """Copies walkers, with all that was computed for them, in the place of others."""
        sources = walkers.sources()
        if sources is None:
            return
        if self._halves > 1:
            sources = torch.cat([sources, sources + len(sources)])
        places = (sources != torch.arange(len(sources), device=sources.device)).nonzero().flatten()
        sources = sources[places]
        images[places] = images[sources]
        front.replace(places, sources)

    def _keep_one(self, walkers: Walkers, group: Group) -> None:
        assert self._crowd is not None
        self._crowd.take_in(walkers)
        group.part.of(self._x).copy_(group.x[walkers.chosen()])
