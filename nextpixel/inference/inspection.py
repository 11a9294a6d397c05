"""What a trained model expects of chosen pixels of an image, and how far it looks."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nextpixel.analysis import plots
from nextpixel.analysis.receptive_fields import EffectiveField, effective_receptive_field
from nextpixel.arguments import record_of
from nextpixel.conditions.values import Values
from nextpixel.data.image_files import to_uint8
from nextpixel.errors import UsageError
from nextpixel.inference.selection import data_of
from nextpixel.inference.trained import Trained, open_trained
from nextpixel.models.core import ImageModel
from nextpixel.orders import Order, named_order
from nextpixel.scoring import entropy_map
from nextpixel.settings.requests import DataRequest, InspectionRequest
from nextpixel.training.batches import conditioned
from nextpixel.walk import walk

__all__ = ["Inspection", "inspect_model"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Inspection:
    """The predictions for some pixels of an image, and the effective receptive field of one.

    Attributes:
        source: the name of the source of the image.
        split: the split.
        image: the number of the image in the split.
        x: the image, (C, H, W).
        levels: the number of values of a sub-pixel.
        pixels: (row, column) of the pixels.
        probabilities: (pixels, C, levels), the distribution of each sub-pixel given those before.
        entropy_bits: of the distribution of each pixel.
        field: the effective receptive field; None if values are categories, which have no
            derivatives.
    """

    source: str
    split: str
    image: int
    x: NDArray[np.int64]
    levels: int
    pixels: tuple[tuple[int, int], ...]
    probabilities: NDArray[np.float64]
    entropy_bits: tuple[float, ...]
    field: EffectiveField | None

    def save(self, folder: str | Path) -> None:
        """Draw predictions.png and, if there is a field, effective_field.png in a folder.

        Raises:
            ImportError: matplotlib is not installed.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        plots.predictions(
            _rgb(to_uint8(self.x, self.levels)),
            self.pixels,
            self.probabilities,
            [self.x[:, row, column].tolist() for row, column in self.pixels],
            folder / "predictions.png",
        )
        if self.field is not None:
            strength = self.field.strength.numpy()
            plots.effective_field(strength, self.field.pixel, folder / "effective_field.png")


def inspect_model(
    model: str | Path | Trained,
    request: InspectionRequest = InspectionRequest(),  # noqa: B008  # It is frozen.
    *,
    data: DataRequest = DataRequest(),  # noqa: B008  # It is frozen.
    device: str | torch.device = "auto",
    reading: Callable[[int, int], None] | None = None,
) -> Inspection:
    """Look at the distributions of some pixels, and at what they depend on.

    Args:
        model: a run folder, a checkpoint, or the name of a pretrained model.
        request: which image and which pixels.
        data: the images; by default the test split of the training data.
        device: "auto", "cpu", "cuda", "cuda:1" …
        reading: called with how many images are read, and of how many.

    Raises:
        UsageError: there is no such image or pixel, or the data do not fit the model.
    """
    request = record_of("request", request, InspectionRequest)
    trained = open_trained(model, device=device)
    network, chosen = trained.distribution, data_of(trained, data, progress=reading)
    part, image = chosen.split, request.image
    if image >= len(part):
        raise UsageError(
            f"‹image={image}› is not there: {chosen.source}, {chosen.name}, has images 0 …"
            f" {len(part) - 1}"
        )
    x, condition = conditioned(network, part, np.array([image]))
    order = named_order(request.order)
    entropy = (entropy_map(network, x, condition, order=order)[0].sum(dim=0) / math.log(2)).numpy()
    for name, pixels in (("pixels", request.pixels or ()), ("field_pixel", (request.field_pixel,))):
        for pixel in pixels:
            if pixel is not None:
                _check_inside(pixel, entropy.shape, name)
    chosen_pixels = request.pixels or _spread(entropy)
    field = None
    if not network.categorical_values:
        # Images of one size fit together.
        same = np.flatnonzero((part.sizes == part.sizes[image]).all(axis=1))[: request.images]
        several, given = conditioned(network, part, same)
        field = effective_receptive_field(
            network, several, pixel=request.field_pixel, condition=given, order=order
        )
    return Inspection(
        source=chosen.source,
        split=chosen.name,
        image=image,
        x=x[0].cpu().numpy(),
        levels=network.levels,
        pixels=chosen_pixels,
        probabilities=_probabilities(network, x, condition, chosen_pixels, order),
        entropy_bits=tuple(float(entropy[pixel]) for pixel in chosen_pixels),
        field=field,
    )


def _probabilities(
    network: ImageModel,
    x: Tensor,
    condition: Values,
    pixels: Sequence[tuple[int, int]],
    order: Order | None,
) -> NDArray[np.float64]:
    """The distributions of some pixels of one image, (pixels, C, levels), given those before."""
    rows = torch.zeros(x.shape[2], dtype=torch.bool)
    rows[[row for row, _ in pixels]] = True
    found = np.zeros((len(pixels), network.channels, network.levels))
    for site, log_pmf in walk(network, x, condition, rows=rows, order=order):
        for number, pixel in enumerate(pixels):
            if pixel == (site.row, site.column):
                found[number, site.channel] = log_pmf[0].exp().cpu().double().numpy()
    return found


def _check_inside(pixel: tuple[int, int], shape: tuple[int, ...], name: str) -> None:
    row, column = pixel
    if not (0 <= row < shape[0] and 0 <= column < shape[1]):
        raise UsageError(
            f"‹{name}={row}x{column}› is outside the image, which has {shape[0]} rows and"
            f" {shape[1]} columns"
        )


def _spread(entropy: NDArray[Any]) -> tuple[tuple[int, int], ...]:
    """Six pixels of increasing entropy."""
    order = entropy.flatten().argsort()
    ranks = [round(k * (len(order) - 1) / 5) for k in range(6)]
    return tuple(divmod(int(order[rank]), entropy.shape[1]) for rank in ranks)


def _rgb(picture: NDArray[Any]) -> NDArray[Any]:
    """Three channels: grey is repeated, and channels beyond the third are left out."""
    return picture[:3] if len(picture) >= 3 else picture[:1].repeat(3, axis=0)
