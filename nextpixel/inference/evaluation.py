"""How well a trained model predicts the images of a split, as `nextpixel evaluate` prints it."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nextpixel.analysis.uncertainty import standard_error
from nextpixel.autoencoding import divergence, log_weights
from nextpixel.conditions.values import Values
from nextpixel.data.splits import Split
from nextpixel.data.statistics import histogram_bits_per_dim, one_histogram_bits_per_dim
from nextpixel.errors import UsageError
from nextpixel.inference.comparison import clusters_of, for_model
from nextpixel.inference.figures import Evaluation, ReconstructionError, ScaleShare
from nextpixel.inference.selection import Selection, data_of
from nextpixel.inference.trained import Trained, open_trained
from nextpixel.models.autoencoder import PixelCNNAutoencoder
from nextpixel.models.core import AutoregressiveModel, ImageModel
from nextpixel.models.trainable import Trainable
from nextpixel.orders import Order, known_order
from nextpixel.scoring import dequantised_score, mixed, order_scores, scale_scores, score
from nextpixel.settings.requests import DataRequest, check_at_least
from nextpixel.training.evaluation import evaluate, log_probabilities
from nextpixel.training.memory import in_memory
from nextpixel.training.pace import seconds_per_image

__all__ = ["Evaluation", "ReconstructionError", "ScaleShare", "evaluate_model"]

Progress = Callable[[int, int], None]


def evaluate_model(
    model: str | Path | Trained,
    request: DataRequest = DataRequest(),  # noqa: B008  # It is frozen.
    *,
    importance_samples: int = 0,
    cluster: str | None = None,
    order: str | None = None,
    device: str | torch.device = "auto",
    reading: Progress | None = None,
    progress: Progress | None = None,
    working: Callable[[int, int, float], None] | None = None,
) -> Evaluation | ReconstructionError:
    """Evaluate a trained model on all images of a split.

    Args:
        model: a run folder, a checkpoint, or the name of a pretrained model.
        request: the images; by default the test split of the training data.
        importance_samples: for a variational auto-encoder: also the bound with this number of codes
            for each image, which is tighter.
        cluster: what says which images belong together, for the standard error; see
            `nextpixel.inference.comparison.clusters_of`.
        order: of a model of several orders, the one to evaluate; None evaluates their mixture.
        device: "auto", "cpu", "cuda", "cuda:1" …
        reading: called with how many images are read, and of how many.
        progress: called with how many images are scored, and of how many.
        working: called first with the number of images, that of their sub-pixels, and about how
            many seconds they take.

    Raises:
        UsageError: the data are not there, or do not fit the model.

    Example:
        >>> import tempfile
        >>> from nextpixel import TrainConfig
        >>> from nextpixel.settings.choice import ModelChoice
        >>> from nextpixel.training.start import train_model
        >>> small = ModelChoice(network={"features": 8, "layers": 1})
        >>> run = Path(tempfile.mkdtemp()) / "run"
        >>> trained = train_model("digits", small, TrainConfig(steps=1), out=run)
        >>> found = evaluate_model(run)
        >>> found.images, found.split, found.given
        (179, 'test', 'the class')
    """
    check_at_least(0, importance_samples=importance_samples)
    trained = open_trained(model, device=device)
    network = trained.model
    one = None if order is None else known_order(network.orders, Order.named(order))
    if one is not None and network.figure.kind != "likelihood":
        raise UsageError("‹order› is for models with an exact likelihood; leave it out")
    chosen = data_of(trained, for_model(trained, request, cluster), progress=reading)
    if chosen.data.channels != network.channels:
        raise UsageError(
            f"{chosen.source} has {chosen.data.channels} channels and the model"
            f" {network.channels}; give other ‹data›"
        )
    of_what: dict[str, Any] = {
        "source": chosen.source,
        "split": chosen.name,
        "images": len(chosen.split),
    }
    groups = clusters_of(trained, chosen, request, cluster)
    if groups is not None and not isinstance(network, ImageModel):
        raise UsageError("‹cluster› is for likelihoods, which this model has not; leave it out")
    with in_memory(
        "there is not enough memory to score these images with this model; close other programs,"
        " or use another ‹device›"
    ):
        options = groups, importance_samples, one, progress, working
        return _evaluation(trained, request, chosen, of_what, *options)


def _evaluation(
    trained: Trained,
    request: DataRequest,
    chosen: Selection,
    of_what: dict[str, Any],
    groups: NDArray[np.int64] | None,
    importance_samples: int,
    order: Order | None,
    progress: Progress | None,
    working: Callable[[int, int, float], None] | None,
) -> Evaluation | ReconstructionError:
    """The figures of a model on chosen images."""
    network = trained.model
    sub_pixels = int(chosen.split.sizes.prod(axis=1).sum()) * network.channels
    if working is not None:
        seconds = len(chosen.split) * seconds_per_image(network, chosen.split)
        working(len(chosen.split), sub_pixels, seconds * max(1, importance_samples))
    each, tighter, members = _nats(network, chosen.split, importance_samples, order, progress)
    bits, error = _bits_per_dim(each, network, chosen.split), standard_error(each, groups)
    if not isinstance(network, ImageModel):
        figure, value = network.figure, network.figure.value(bits)
        scaled = value / ((network.levels - 1) / 2) ** 2
        return ReconstructionError(
            **of_what, name=figure.name, value=value, unit=figure.unit, scaled=scaled
        )
    nats = math.log(2) * sub_pixels / len(chosen.split)
    bound = isinstance(network, PixelCNNAutoencoder) and network.figure.kind == "bound"
    return Evaluation(
        **of_what,
        kind="bound" if bound else "likelihood",
        given=trained.given,
        bits_per_dim=bits,
        nats_per_image=bits * nats,
        uniform_bits_per_dim=math.log2(network.levels),
        standard_error=error if math.isfinite(error) else None,
        clusters=None if groups is None else len(np.unique(groups)),
        one_histogram_bits_per_dim=_one_histogram(request, chosen),
        histogram_bits_per_dim=_histogram(request, chosen),
        dequantised_bits_per_dim=_density(network, chosen.split, order, progress),
        code_nats_per_image=(
            -nats * evaluate(network, chosen.split, nats_of=_code_cost) if bound else None
        ),
        importance_weighted_bits_per_dim=tighter,
        members_bits_per_dim=members,
        scales=_scales(network, chosen.split, nats, order, progress),
    )


def _nats(
    network: Trainable,
    part: Split,
    importance_samples: int,
    order: Order | None,
    progress: Progress | None,
) -> tuple[NDArray[np.float64], float | None, float | None]:
    """-log p of each image; bits/dim of the tighter bound, and of the mean member of a mixture.

    Both bounds are of the same codes: with one code each, noise could put the first one below the
    tighter one.
    """
    beside: list[Tensor] = []

    def tighter(model: PixelCNNAutoencoder, x: Tensor, _: Values) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        weights = log_weights(model, x, samples=importance_samples, generator=generator)
        beside.append(weights.mean(dim=0))
        return weights.logsumexp(dim=0) - math.log(importance_samples)

    def mixture(model: ImageModel, x: Tensor, condition: Values) -> Tensor:
        nats = order_scores(model, x, condition)
        beside.append(nats.mean(dim=1))
        return mixed(nats)

    nats_of: Callable[..., Tensor] | None
    if network.figure.kind == "bound":
        nats_of = tighter if importance_samples else None
    elif order is not None:
        nats_of = partial(score, order=order)
    else:
        nats_of = mixture if len(network.orders) > 1 else None
    each = -log_probabilities(network, part, nats_of=nats_of, progress=progress)
    if not beside:
        return each, None, None
    other = -torch.cat(beside).double().cpu().numpy()
    if nats_of is tighter:  # Images of an auto-encoder have one size, so both are in order.
        return other, _bits_per_dim(each, network, part), None
    return each, None, _bits_per_dim(other, network, part)


def _bits_per_dim(each: NDArray[np.float64], network: Trainable, part: Split) -> float:
    """Of nats of each image."""
    sub_pixels = int(part.sizes.prod(axis=1).sum()) * network.channels
    return math.fsum(each) / (sub_pixels * math.log(2))


def _code_cost(network: PixelCNNAutoencoder, x: Tensor, _: Values) -> Tensor:
    return divergence(network, x)


def _one_histogram(request: DataRequest, chosen: Selection) -> float:
    fitted = chosen.data.train if request.data is None else chosen.split
    return one_histogram_bits_per_dim(fitted, chosen.split, chosen.data.levels)


def _histogram(request: DataRequest, chosen: Selection) -> float | None:
    own = request.data is None and request.split == "test"
    return histogram_bits_per_dim(chosen.data) if own and chosen.data.shape is not None else None


def _density(
    network: ImageModel, part: Split, order: Order | None, progress: Progress | None
) -> float | None:
    parts = [scale.network for scale in network.scales() if network.figure.kind != "bound"]
    logistic = [isinstance(p, AutoregressiveModel) and p.settings.head == "logistic" for p in parts]
    if not parts or not all(logistic):
        return None
    return evaluate(
        network, part, progress=progress, nats_of=partial(dequantised_score, order=order)
    )


def _scales(
    network: ImageModel,
    part: Split,
    nats_per_bit: float,
    order: Order | None,
    progress: Progress | None,
) -> tuple[ScaleShare, ...]:
    scales = list(network.scales())
    if len(scales) == 1 or (order is None and len(network.orders) > 1):
        return ()
    costs = [
        evaluate(network, part, progress=progress, nats_of=partial(_scale_score, number, order))
        for number in range(len(scales))
    ]
    return tuple(
        ScaleShare(step=scale.step, nats_per_image=cost * nats_per_bit)
        for scale, cost in zip(scales, costs, strict=True)
    )


def _scale_score(
    number: int, order: Order | None, network: ImageModel, x: Tensor, condition: Values
) -> Tensor:
    return scale_scores(network, x, condition, order=order)[:, number]
