"""Completions: hidden parts of images, filled in several times by a trained model."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from nextpixel import sampling
from nextpixel.conditions.kinds import ClassCondition, of_kind
from nextpixel.data.image_files import read_image
from nextpixel.errors import UsageError
from nextpixel.inference.conditions import class_numbers
from nextpixel.inference.drawing import Drawn, Working, beside_images, enough_memory, images_of
from nextpixel.inference.selection import data_of
from nextpixel.inference.trained import Trained, open_trained
from nextpixel.settings.requests import CompletionRequest, DataRequest, SampleConfig
from nextpixel.training.batches import conditioned

__all__ = ["complete_images", "hidden_part"]

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
    the draws.

    Args:
        model, config, device, reading, progress, working: as for `draw_images`.
        request: how many images, which part of them is hidden, and their class.
        data: the images.

    Raises:
        UsageError: something does not fit the model, or the images differ in size.
    """
    trained = open_trained(model, device=device)
    network, source = trained.distribution, trained.card.source
    if (network.conditions and not network.given_by_data) or (source and source.embedding):
        raise UsageError(
            f"{trained.name} is conditioned on a code of the whole image, its hidden part included;"
            " use reconstruct"
        )
    trained.check_guidance(config.guidance)
    labelled = None if request.class_ is None else False
    chosen = data_of(trained, data, labelled=labelled, progress=reading)
    part, rows = chosen.split, np.arange(min(request.n, len(chosen.split)))
    x = images_of(part, rows, chosen)
    known = _known(request, x.shape[2], x.shape[3])
    by_class = of_kind(network.conditions, ClassCondition)
    if request.class_ is not None:
        number = class_numbers(trained, request.class_)[0]
        part = replace(part, labels=np.full(len(part), number, np.int64))
    elif by_class and part.labels is None:
        raise UsageError(
            f"the model is conditioned on classes, but {chosen.source} has none; give ‹class_›"
        )
    if working is not None:
        hidden_sites = int((~np.broadcast_to(known, x.shape[-2:])).sum())
        working(len(x) * request.draws * network.channels * hidden_sites)
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
    return beside_images(trained, chosen, [x[:, None], hidden[:, None]], drawn.cpu().numpy())


def hidden_part(name: str, height: int, width: int) -> NDArray[np.bool_]:
    """A mask (height, width) that is True in a part: a half, or the central quarter.

    Example:
        >>> hidden_part("left", 2, 3).astype(int).tolist()
        [[1, 0, 0], [1, 0, 0]]
    """
    parts = {
        "bottom": (slice(height // 2, None), slice(None)),
        "top": (slice(None, height // 2), slice(None)),
        "left": (slice(None), slice(None, width // 2)),
        "right": (slice(None), slice(width // 2, None)),
        "centre": (slice(height // 4, height - height // 4), slice(width // 4, width - width // 4)),
    }
    if name not in parts:
        raise UsageError(f"‹hide={name}› must be one of {', '.join(parts)}")
    hidden = np.zeros((height, width), bool)
    hidden[parts[name]] = True
    return hidden


def _known(request: CompletionRequest, height: int, width: int) -> NDArray[np.bool_]:
    """Where images are known."""
    if request.mask is None:
        return ~hidden_part(request.hide, height, width)
    values = read_image(Path(request.mask), channels=1)[0]
    known: NDArray[np.bool_] = values >= 128
    if known.shape != (height, width):
        raise UsageError(
            f"‹mask={request.mask}› is {known.shape[0]}×{known.shape[1]}, but the images are"
            f" {height}×{width}"
        )
    if known.all() or (not known.any() and values.any()):
        hidden = "nothing" if known.all() else "everything"
        raise UsageError(
            f"‹mask={request.mask}› hides {hidden}: its values are {values.min()} … {values.max()},"
            " but hidden pixels are below 128 and known ones are not"
        )
    return known
