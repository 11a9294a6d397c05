"""Completions of images with any mask: which of them need walkers, and what these tell."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nextpixel.arguments import drawing_factor, whole_number
from nextpixel.border import (
    ConditionGiven,
    Images,
    Mask,
    admit_condition,
    admit_known,
    checked_generator,
)
from nextpixel.conditions.values import Values, index
from nextpixel.filling import Batch, Crowd, Progress, batches, fill
from nextpixel.models.core import ImageModel
from nextpixel.orders import Order, known_order
from nextpixel.particles import Completion, informative, seeds, uniform
from nextpixel.scoring import log_prob_map
from nextpixel.turning import best_order, turned

__all__ = ["Completed", "complete_with_evidence", "completed", "evidence", "needs_walkers"]

_log = logging.getLogger(__name__)


def complete_with_evidence(
    model: nn.Module,
    x: Images,
    known: Mask,
    *,
    draws: int = 1,
    particles: int = 32,
    condition: ConditionGiven = None,
    order: Order | None = None,
    generator: torch.Generator | None = None,
    batch_size: int = 256,
    progress: Progress | None = None,
) -> Completion:
    """Completes images as `complete` does, and tells how probable their known sub-pixels are.

    That compares models, classes or placements of a part by what is known of an image. It costs one
    more full pass for each draw. Different masks of a model of several orders compare only in one
    `order`, which None would choose for each.

    Args:
        model, x, known, draws, particles, condition, order, generator, batch_size, progress: as for
            `complete`.

    Returns:
        The completions, estimates of log p(known), and how many walkers were left; for one image
        (C, H, W) without the first dimension.

    Raises:
        ValueError, TypeError: as `complete`.

    Example:
        >>> from nextpixel import GatedPixelCNN
        >>> model = GatedPixelCNN(levels=4, features=8, layers=2)
        >>> x, known = torch.zeros(1, 1, 4, 5, dtype=torch.int64), torch.ones(4, 5).bool()
        >>> known[1, 1:3] = False
        >>> found = complete_with_evidence(model, x, known, draws=3)
        >>> found.images.shape, found.log_evidence.shape, found.effective.shape
        (torch.Size([1, 3, 1, 4, 5]), torch.Size([1, 3]), torch.Size([1, 3]))
    """
    drawing = 1.0, 1.0, generator, batch_size, progress
    found = completed(model, x, known, draws, particles, condition, order, *drawing)
    return found.of_one(replace(found.completion, log_evidence=evidence(model, found)))


class Completed(NamedTuple):
    """Completions; the evidence is of the known sites by which walkers were weighed.

    `rest` are the other known sites, (B, C, H, W); `values` those of the conditions; `orders` those
    of the images; `single` says that one image without a batch dimension was given.
    """

    completion: Completion
    rest: Tensor
    values: Values
    orders: list[Order]
    single: bool

    def of_one(self, batched: Completion) -> Completion:
        """Completions without the batch dimension, if the image was given so."""
        if not self.single:
            return batched
        return Completion(
            images=batched.images[0],
            log_evidence=batched.log_evidence[0],
            effective=batched.effective[0],
        )


def evidence(model: nn.Module, found: Completed) -> Float[Tensor, "B draws"]:
    """Estimates of log p(known) in nats, of completions at temperature and guidance 1."""
    images, rest = found.completion.images, found.rest[:, None].cpu()
    nats = torch.zeros(images.shape, dtype=torch.float64, device="cpu")
    for order, part in _by_order(found.orders):
        rows = torch.tensor(part, device=images.device).repeat_interleave(images.shape[1])
        values, x = index(found.values, rows), images[part].flatten(0, 1)
        nats[part] = log_prob_map(model, x, values, order=order).view(nats[part].shape)
    return found.completion.log_evidence + nats.masked_fill(~rest, 0).sum(dim=(2, 3, 4))


def needs_walkers(model: ImageModel, known: Tensor, order: Order | None = None) -> bool:
    """Whether known sites (B, C, H, W) of some image depend on unknown ones before them."""
    return any(
        share.weighed is not None
        for one, images in _by_order(_orders(model, known, order))
        for share in _shares(model, one.turn(known[images]).contiguous(), several=True)
    )


def _orders(model: ImageModel, known: Tensor, order: Order | None) -> list[Order]:
    """The order in which each image is drawn."""
    if order is not None or len(model.orders) == 1:
        return [known_order(model.orders, order)] * len(known)
    found: dict[bytes, Order] = {}
    masks = [mask.numpy().tobytes() for mask in known.cpu()]
    for key, mask in zip(masks, known, strict=True):
        if key not in found:
            found[key] = best_order(model, mask)
    return [found[key] for key in masks]


def _by_order(orders: list[Order]) -> list[tuple[Order, list[int]]]:
    """The images of each order."""
    images: dict[Order, list[int]] = {}
    for image, order in enumerate(orders):
        images.setdefault(order, []).append(image)
    return list(images.items())


def completed(
    model: nn.Module,
    x: Images,
    known: Mask,
    draws: int,
    particles: int,
    condition: ConditionGiven,
    order: Order | None,
    temperature: float,
    guidance: float,
    generator: torch.Generator | None,
    batch_size: int,
    progress: Progress | None,
) -> Completed:
    """Completes images: see `sampling.complete`."""
    model, x, known, single = admit_known(model, x, known)
    draws, particles = whole_number("draws", draws, 1), whole_number("particles", particles, 1)
    batch_size = whole_number("batch_size", batch_size, 1)
    temperature, generator = (
        drawing_factor("temperature", temperature),
        checked_generator(generator),
    )
    values = admit_condition(model, condition, len(x), (x.shape[2], x.shape[3]))
    several = particles > 1 and temperature > 0  # at temperature 0 all walkers are alike
    own = seeds(len(x) * draws, generator) if several else []
    noise = uniform((len(x) * draws, *x.shape[1:]), generator).view(len(x), draws, *x.shape[1:])
    filled, rest, orders = x.new_zeros(noise.shape), known.clone(), _orders(model, known, order)
    nats = torch.zeros(len(x), draws, dtype=torch.float64, device="cpu")
    effective = torch.full_like(nats, particles)
    every: list[Batch] = []
    drawn: list[tuple[Order, list[int], _Drawn]] = []
    for one, part in _by_order(orders):
        seen, given = turned(model, [one] * len(part), x[part], index(values, part))
        of_part = [seed for k in part for seed in own[k * draws : (k + 1) * draws]]
        found = _Drawn(
            model,
            seen.contiguous(),
            one.turn(known[part]).contiguous(),
            given,
            one.turn(noise[part]).to(x.device),
            of_part,
            particles,
            (temperature, guidance, batch_size),
        )
        every += found.batches
        drawn.append((one, part, found))
    fill(every, x.device, progress)
    for one, part, found in drawn:
        images, others, nats[part], effective[part] = found.results()
        filled[part], rest[part] = one.turn_back(images), one.turn_back(others)
    _warn_of_collapse(effective, particles)
    completion = Completion(images=filled, log_evidence=nats, effective=effective)
    return Completed(completion, rest, values, orders, single)


class _Drawn:
    """Images that are turned to one order, with noise (B, draws, C, H, W), and what draws them."""

    def __init__(
        self,
        model: ImageModel,
        x: Tensor,
        known: Tensor,
        values: Values,
        noise: Tensor,
        own: list[int],
        particles: int,
        options: tuple[float, float, int],
    ) -> None:
        self._known, self._shape, self._particles = known, noise.shape, particles
        temperature, guidance, batch_size = options
        draws, several = noise.shape[1], bool(own)
        self._shares = list(_shares(model, known.cpu(), several=several))
        # Images with one mask follow each other, those that need no walkers first.
        places = [k for share in self._shares for k in share.images]
        order = torch.tensor(places, dtype=torch.int64, device="cpu")
        rows = order.to(x.device).repeat_interleave(draws)
        runs = (order[:, None] * draws + torch.arange(draws, device="cpu")).flatten()
        noise = noise.flatten(0, 1)[runs.to(x.device)]
        self._runs, self._filled = runs, x.masked_fill(~known, 0)[rows]
        self._crowds: list[tuple[slice, Crowd]] = []
        begin = 0
        for share in self._shares:
            end = begin + len(share.images) * draws
            if share.weighed is not None:
                at_once = max(1, batch_size // particles)
                for start in range(begin, end, at_once):
                    part = slice(start, min(start + at_once, end))
                    generators = [torch.Generator().manual_seed(own[run]) for run in runs[part]]
                    crowd = Crowd(particles, share.weighed[None], generators)
                    self._crowds.append((part, crowd))
            begin = end
        drawing = temperature, guidance, noise, batch_size
        given = index(values, rows)
        self.batches = batches(
            model, self._filled, known[rows], given, *drawing, crowds=self._crowds
        )

    def results(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What was drawn, when all batches are filled.

        Returns:
            The images (B, draws, C, H, W), the known sites by which no walkers were weighed (B, C,
            H, W), and the evidence and the effective number of walkers, (B, draws) each.
        """
        nats = torch.zeros(len(self._runs), dtype=torch.float64)
        effective = torch.full_like(nats, self._particles)
        for part, crowd in self._crowds:
            nats[part], effective[part] = crowd.log_evidence, crowd.effective
        back = self._runs.argsort()
        nats, effective = (y[back].view(self._shape[:2]) for y in (nats, effective))
        rest = self._known.clone()
        for share in self._shares:
            if share.weighed is not None:
                rest[share.images] &= ~share.weighed.to(rest.device)
        return self._filled[back.to(rest.device)].view(self._shape), rest, nats, effective


class _Share(NamedTuple):
    """Images, and the known sites (C, H, W) by which walkers are weighed; None if by none."""

    images: list[int]
    weighed: Tensor | None


def _shares(model: ImageModel, known: Tensor, *, several: bool) -> Iterator[_Share]:
    """The images that need no walkers, then the others, by their masks."""
    by_mask: dict[bytes, list[int]] = {}
    for image, mask in enumerate(known):
        by_mask.setdefault(mask.numpy().tobytes() if several else b"", []).append(image)
    alone: list[int] = []
    others: list[_Share] = []
    for images in by_mask.values():
        weighed = informative(model, ~known[images[0]]) if several else None
        if weighed is None or not weighed.any():
            alone += images
        else:
            others.append(_Share(images, weighed))
    yield _Share(sorted(alone), None)
    yield from others


_COLLAPSED = 2.0
"""Walkers of which one has more than half of the weight of all."""


def _warn_of_collapse(effective: Tensor, particles: int) -> None:
    collapsed = int((effective < _COLLAPSED).any(dim=1).sum()) if particles > 1 else 0
    if collapsed:
        _log.warning(
            "in %d of %d images the known pixels left fewer than 2 of %d walkers, so that what was"
            " drawn before them need not agree with them; use more particles",
            collapsed,
            len(effective),
            particles,
        )
