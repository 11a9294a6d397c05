"""Completions: hidden parts of images, filled in several times by a trained model."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from nextpixel import sampling
from nextpixel.arguments import record_of
from nextpixel.conditions.kinds import ClassCondition
from nextpixel.errors import UsageError
from nextpixel.inference.conditions import class_numbers
from nextpixel.inference.drawing import (
    Drawn,
    Working,
    beside_images,
    classes_given,
    enough_memory,
    images_of,
)
from nextpixel.inference.masks import known_pixels
from nextpixel.inference.selection import data_of
from nextpixel.inference.trained import Trained, open_trained
from nextpixel.settings.requests import CompletionRequest, DataRequest, SampleConfig
from nextpixel.training.batches import conditioned

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
    progress: sampling.Progress | None = None,
    working: Working | None = None,
) -> Drawn:
    """Fill in hidden parts of images, several times each.

    If the hidden part is at the bottom, draws are from the exact conditional distribution;
    otherwise see `nextpixel.complete`. A row of the grid is an image, what the model was given, and
    the draws, or the draws alone.

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
    known = known_pixels(request, part, rows)
    if request.class_ is not None:
        number = class_numbers(trained, request.class_)[0]
        part = replace(part, labels=np.full(len(part), number, np.int64))
    if working is not None:
        working(request.draws * int((~np.broadcast_to(known, x.shape)).sum()))
    with enough_memory(len(x) * request.draws, (x.shape[2], x.shape[3]), config):
        drawn = sampling.complete(
            network,
            torch.from_numpy(x),
            torch.from_numpy(known),
            draws=request.draws,
            condition=conditioned(network, part, rows)[1],
            temperature=config.temperature,
            guidance=config.guidance,
            generator=torch.Generator().manual_seed(config.seed),
            batch_size=config.batch_size,
            progress=progress,
        )
    hidden = np.where(known, x, network.levels // 2)
    pieces = [] if request.only_result else [x[:, None], hidden[:, None]]
    labels = classes_given(network, part, rows)
    return beside_images(trained, chosen, pieces, drawn.cpu().numpy(), labels)
