"""Completions: hidden parts of images, filled in several times by a trained model."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from nextpixel.arguments import record_of
from nextpixel.completing import completed, evidence, needs_walkers
from nextpixel.conditions.kinds import ClassCondition
from nextpixel.errors import UsageError
from nextpixel.filling import Progress
from nextpixel.inference.conditions import class_numbers
from nextpixel.inference.drawing import (
    Drawn,
    Working,
    beside_images,
    classes_given,
    enough_memory,
    images_of,
)
from nextpixel.inference.masks import known_sites
from nextpixel.inference.selection import data_of
from nextpixel.inference.trained import Trained, open_trained
from nextpixel.models.core import ImageModel
from nextpixel.orders import named_order
from nextpixel.settings.requests import CompletionRequest, DataRequest, SampleConfig
from nextpixel.training.batches import conditioned
from nextpixel.training.memory import in_memory

__all__ = ["complete_images"]

Reading = Callable[[int, int], None]


def complete_images(
    model: str | Path | Trained,
    request: CompletionRequest = CompletionRequest(),  # noqa: B008  # It is frozen.
    config: SampleConfig = SampleConfig(),  # noqa: B008  # It is frozen.
    *,
    data: DataRequest = DataRequest(),  # noqa: B008
    device: str | torch.device = "auto",
    reading: Reading | None = None,
    progress: Progress | None = None,
    working: Working | None = None,
) -> Drawn:
    """Fill in hidden parts of images, several times each.

    If the hidden part is at the bottom, draws are from the exact conditional distribution;
    otherwise particles come near it, see `nextpixel.complete`. A row of the grid is an image, what
    the model was given, and the draws, or the draws alone.

    Args:
        model, config, device, reading, progress, working: as for `draw_images`.
        request: how many images, which part of them is hidden, and their class.
        data: the images.

    Raises:
        UsageError: something does not fit the model, or the images differ in size.
    """
    request = record_of("request", request, CompletionRequest)
    config = record_of("config", config, SampleConfig)
    trained = open_trained(model, device=device)
    network, source = trained.distribution, trained.card.source
    if (network.conditions and not network.given_by_data) or (source and source.embedding):
        raise UsageError(
            f"{trained.name} is conditioned on a code of the whole image, its hidden part included;"
            " use reconstruct"
        )
    trained.check_guidance(config.guidance)
    needed = tuple(
        part
        for part in network.given_by_data
        if request.class_ is None or not isinstance(part, ClassCondition)
    )
    instead = ", or the class of them all as ‹class_›"
    chosen = data_of(trained, data, needed=needed, instead=instead, progress=reading)
    part, rows = chosen.split, np.arange(min(request.n, len(chosen.split)))
    x = images_of(part, rows, chosen)
    known = known_sites(request, part, rows, network.channels)
    if request.class_ is not None:
        number = class_numbers(trained, request.class_)[0]
        part = replace(part, labels=np.full(len(part), number, np.int64))
    if working is not None:
        working(request.draws * int((~known).sum()))
    condition = conditioned(network, part, rows)[1]
    several = request.particles > 1 and config.temperature > 0
    order = named_order(config.order)
    walkers = several and needs_walkers(network, torch.from_numpy(known), order)
    with _enough_memory(x, request, config, request.particles if walkers else 1):
        found = completed(
            network,
            torch.from_numpy(x),
            torch.from_numpy(known),
            request.draws,
            request.particles,
            condition,
            order,
            config.temperature,
            config.guidance,
            torch.Generator().manual_seed(config.seed),
            config.batch_size,
            progress,
        )
        model_itself = config.temperature == config.guidance == 1
        nats = evidence(network, found) if walkers and model_itself else None
    drawn = found.completion.images
    given = _given(x, known, network)
    pieces = [] if request.only_result else [x[:, None], given[:, None]]
    labels = classes_given(network, part, rows)
    shown = beside_images(trained, chosen, pieces, drawn.cpu().numpy(), labels)
    return replace(
        shown,
        effective=found.completion.effective.numpy() if walkers else None,
        log_evidence=None if nats is None else nats.numpy(),
        orders=tuple(one.name for one in found.orders) if len(network.orders) > 1 else (),
    )


def _given(
    x: NDArray[np.int64], known: NDArray[np.bool_], network: ImageModel
) -> NDArray[np.int64]:
    """What is known of images, as a picture; known colours of a pixel stand for its other ones."""
    count = known.sum(axis=1, keepdims=True)
    mean = (x * known).sum(axis=1, keepdims=True) // np.maximum(count, 1)
    there = (count > 0) & (not network.categorical_values)
    return np.where(known, x, np.where(there, mean, network.levels // 2))


def _enough_memory(
    x: NDArray[np.int64], request: CompletionRequest, config: SampleConfig, walkers: int
) -> AbstractContextManager[None]:
    """A block that ends in a sentence if so many images, or walkers, cannot be drawn at once."""
    shape, at_once = (x.shape[2], x.shape[3]), max(1, config.batch_size // walkers)
    if walkers == 1 or min(at_once, len(x) * request.draws) > 1:
        return enough_memory(len(x) * request.draws * walkers, shape, config)
    return in_memory(
        f"{walkers} walkers of an image of {shape[0]}×{shape[1]} do not fit into memory; use fewer:"
        f" ‹particles={max(1, walkers // 4)}›"
    )
