"""Images that share with given ones what a model is conditioned on, and images on the way between.

Conditional Image Generation with PixelCNN Decoders, sections 3.3 (portraits, interpolations) and
3.4 (auto-encoders).
"""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from nextpixel import sampling
from nextpixel.arguments import record_of
from nextpixel.conditions.kinds import VectorCondition, of_kind
from nextpixel.conditions.values import index, map_values
from nextpixel.errors import UsageError
from nextpixel.inference import interpolation
from nextpixel.inference.drawing import (
    Drawn,
    Working,
    beside_images,
    classes_given,
    drawn_images,
    images_of,
)
from nextpixel.inference.selection import Selection, data_of
from nextpixel.inference.trained import Trained, open_trained
from nextpixel.models.autoencoder import ConvolutionalAutoencoder
from nextpixel.models.core import ImageModel
from nextpixel.orders import named_order
from nextpixel.settings.requests import (
    DataRequest,
    InterpolationRequest,
    ReconstructionRequest,
    SampleConfig,
)
from nextpixel.training.batches import conditioned

__all__ = ["interpolate_images", "reconstruct_images"]

Reading = Callable[[int, int], None]


def reconstruct_images(
    model: str | Path | Trained,
    request: ReconstructionRequest = ReconstructionRequest(),  # noqa: B008  # It is frozen.
    config: SampleConfig = SampleConfig(),  # noqa: B008  # It is frozen.
    *,
    data: DataRequest = DataRequest(),  # noqa: B008
    device: str | torch.device = "auto",
    reading: Reading | None = None,
    progress: sampling.Progress | None = None,
    working: Working | None = None,
) -> Drawn:
    """Draw images that share with given ones what the model is conditioned on.

    That is the code of the image for an auto-encoder, its embedding for a model trained with one,
    and otherwise the class, vector or map that comes with it. A row of the grid is an image, its
    reconstruction by a convolutional auto-encoder if there is one, and the draws.

    Args:
        model, config, device, reading, progress, working: as for `draw_images`.
        request: how many images, and how many draws of each.
        data: the images.

    Raises:
        UsageError: the model is unconditional, or something does not fit it.
    """
    request = record_of("request", request, ReconstructionRequest)
    config = record_of("config", config, SampleConfig)
    trained = open_trained(model, device=device)
    network = trained.model
    other = None if request.beside is None else open_trained(request.beside, device=device).model
    if not network.conditions and isinstance(network, ImageModel):
        raise UsageError(
            f"{trained.name} holds an unconditional {type(network).__name__}; give an auto-encoder,"
            " or train one"
        )
    if other is not None and not isinstance(other, ConvolutionalAutoencoder):
        raise UsageError(
            f"‹beside={request.beside}› holds a {type(other).__name__}; give a convolutional"
            " auto-encoder"
        )
    trained.check_guidance(config.guidance)
    chosen = data_of(trained, data, progress=reading)
    count, n = len(chosen.split), min(request.n, len(chosen.split))
    # Neighbours in a source are often of one class.
    rows = np.linspace(0, count - 1, n).astype(np.int64) if request.spread else np.arange(n)
    x = images_of(chosen.split, rows, chosen)
    pieces = [x[:, None]]
    for encoder in (other, network):
        if isinstance(encoder, ConvolutionalAutoencoder):
            pieces.append(encoder.reconstruct(torch.from_numpy(x)).cpu().numpy()[:, None])
    if not isinstance(network, ImageModel):
        return beside_images(trained, chosen, pieces[:-1], pieces[-1])
    labels = classes_given(network, chosen.split, rows)
    _, values = conditioned(network, chosen.split, rows)
    repeated = map_values(lambda value: value.repeat_interleave(request.draws, dim=0), values)
    size = x.shape[2], x.shape[3]
    if working is not None:
        working(n * request.draws * network.channels * math.prod(size))
    drawn = drawn_images(network, n * request.draws, size, repeated, config, progress)
    return beside_images(
        trained, chosen, pieces, drawn.view(n, request.draws, *x.shape[1:]).cpu().numpy(), labels
    )


def interpolate_images(
    model: str | Path | Trained,
    request: InterpolationRequest = InterpolationRequest(),  # noqa: B008  # It is frozen.
    config: SampleConfig = SampleConfig(),  # noqa: B008  # It is frozen.
    *,
    data: DataRequest = DataRequest(),  # noqa: B008
    device: str | torch.device = "auto",
    reading: Reading | None = None,
    progress: sampling.Progress | None = None,
    working: Working | None = None,
) -> Drawn:
    """Go from the condition of one image to that of another in small steps.

    All draws of a row use the same random numbers. The vector changes; a class or map stays that of
    the first image. A row of the grid is an image, the draws, and the other image.

    Args:
        model, config, device, reading, progress, working: as for `draw_images`.
        request: between which images, and in how many steps.
        data: the images.

    Raises:
        UsageError: the model is not conditioned on a vector, or there is no such image.
    """
    request = record_of("request", request, InterpolationRequest)
    config = record_of("config", config, SampleConfig)
    trained = open_trained(model, device=device)
    network, source = trained.distribution, trained.card.source
    if not of_kind(network.conditions, VectorCondition):
        raise UsageError(
            f"{trained.name} is not conditioned on a vector; give an auto-encoder, or train with"
            " ‹embedding›"
        )
    trained.check_guidance(config.guidance)
    chosen = data_of(trained, data, progress=reading)
    keep_length = request.keep_length
    if keep_length is None:
        keep_length = source is not None and source.embedding is not None
    shown, drawn = [], []
    pairs = _pairs(request, chosen)
    for pair in pairs:
        images_of(chosen.split, np.array(pair), chosen)  # of one size
        x, values = conditioned(network, chosen.split, np.array(pair))
        if working is not None:
            working(request.steps * network.channels * x[0, 0].numel())
        on_the_way = interpolation.interpolate(
            network,
            index(values, 0),
            index(values, 1),
            (x.shape[2], x.shape[3]),
            steps=request.steps,
            keep_length=keep_length,
            order=named_order(config.order),
            temperature=config.temperature,
            guidance=config.guidance,
            generator=torch.Generator().manual_seed(config.seed),
            batch_size=config.batch_size,
            progress=progress,
        )
        drawn.append(on_the_way.cpu().numpy())
        shown.append(np.concatenate([x[:1].cpu().numpy(), drawn[-1], x[1:].cpu().numpy()]))
    return Drawn(
        images=np.stack(drawn),
        levels=network.levels,
        grid=np.concatenate(shown),
        columns=request.steps + 2,
        source=chosen.source,
        given=trained.given,
        preparation=trained.card.preparation,
    )


def _pairs(request: InterpolationRequest, chosen: Selection) -> list[tuple[int, int]]:
    """The numbers of the images between which to go."""
    count = len(chosen.split)
    if request.between is None:
        if count < 2:
            raise UsageError(
                f"{chosen.source}, {chosen.name}, has {count} image{'s' * (count != 1)}, and two"
                " are needed to go from one to another; choose another ‹split›"
            )
        rows = request.rows
        if count < 2 * rows:
            return [(k % count, (k + count // 2) % count) for k in range(rows)]
        places = np.arange(2 * rows) * max(1, count // (2 * rows)) % count
        return [(int(places[k]), int(places[rows + k])) for k in range(rows)]
    if not all(0 <= k < count for k in request.between):
        first, last = request.between
        raise UsageError(
            f"‹between={first} {last}› is not there: {chosen.source}, {chosen.name}, has images"
            f" 0 … {count - 1}"
        )
    return [request.between]
