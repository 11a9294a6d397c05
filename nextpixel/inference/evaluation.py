"""How well a trained model predicts the images of a split, as `nextpixel evaluate` prints it."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nextpixel.autoencoding import divergence, log_weights
from nextpixel.conditions.values import Values
from nextpixel.data.splits import Split
from nextpixel.data.statistics import histogram_bits_per_dim, one_histogram_bits_per_dim
from nextpixel.errors import UsageError
from nextpixel.inference.comparison import clusters_of, for_model, standard_error
from nextpixel.inference.selection import Selection, data_of
from nextpixel.inference.trained import Trained, open_trained
from nextpixel.models.autoencoder import PixelCNNAutoencoder
from nextpixel.models.core import AutoregressiveModel, ImageModel
from nextpixel.models.trainable import Trainable
from nextpixel.scoring import dequantised_score, scale_scores
from nextpixel.settings.requests import DataRequest, check_at_least
from nextpixel.training.evaluation import evaluate, log_probabilities
from nextpixel.training.memory import in_memory
from nextpixel.training.pace import seconds_per_image

__all__ = ["Evaluation", "ReconstructionError", "ScaleShare", "evaluate_model"]

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class ScaleShare:
    """What one scale of a multi-scale model costs.

    Attributes:
        step: one in so many rows and columns of the image belongs to it.
        nats_per_image: its share of the negative log-likelihood.
    """

    step: int
    nats_per_image: float


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The likelihood of the images of a split, in float32.

    Attributes:
        source: the name of the source of the images.
        split: "train", "valid", "test", or "all" of it.
        images: the number of images.
        kind: an exact likelihood, or a bound: the negative log-likelihood is at most this.
        given: what it is conditional on, such as "the class"; "" for nothing.
        bits_per_dim, nats_per_image: the mean of -log2 p over sub-pixels, of -log p over images.
        standard_error: of nats_per_image, over images or clusters of them; it covers neither the
            seed nor the recipe of the model. None for a single image or cluster.
        clusters: how many groups of images that belong together, if the request named them.
        uniform_bits_per_dim: that of uniform values, to compare with.
        one_histogram_bits_per_dim: that of one histogram of all values, fitted to the training
            images; of other data, to these images themselves.
        histogram_bits_per_dim: that of a histogram for each pixel, fitted to the training images;
            None for other splits and for images of several sizes.
        dequantised_bits_per_dim: that of the density of dequantised images, which compares with
            continuous models; None unless the head is a mixture of logistics.
        code_nats_per_image: the share of the code; None unless it is a bound.
        importance_weighted_bits_per_dim: a tighter bound, if it was asked for.
        scales: the shares of the scales of a multi-scale model; otherwise ().
    """

    source: str
    split: str
    images: int
    kind: Literal["likelihood", "bound"]
    given: str
    bits_per_dim: float
    nats_per_image: float
    uniform_bits_per_dim: float
    standard_error: float | None = None
    clusters: int | None = None
    one_histogram_bits_per_dim: float | None = None
    histogram_bits_per_dim: float | None = None
    dequantised_bits_per_dim: float | None = None
    code_nats_per_image: float | None = None
    importance_weighted_bits_per_dim: float | None = None
    scales: tuple[ScaleShare, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The figures that there are, by name."""
        figures = {k: v for k, v in asdict(self).items() if v is not None and v != ()}
        del figures["kind"], figures["given"]
        return figures | {"conditional": bool(self.given)}


@dataclass(frozen=True, kw_only=True)
class ReconstructionError:
    """How well a model without a likelihood reconstructs the images of a split.

    Attributes:
        source, split, images: as in `Evaluation`.
        name: of the figure, such as "mean_squared_error".
        value: the figure.
        unit: of the value.
        scaled: the figure for values that are scaled to [-1, 1].
    """

    source: str
    split: str
    images: int
    name: str
    value: float
    unit: str
    scaled: float

    def to_json(self) -> dict[str, Any]:
        """The figure, under its name."""
        of_what = {"source": self.source, "split": self.split, "images": self.images}
        return of_what | {self.name: self.value}


def evaluate_model(
    model: str | Path | Trained,
    request: DataRequest = DataRequest(),  # noqa: B008  # It is frozen.
    *,
    importance_samples: int = 0,
    cluster: str | None = None,
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
        return _evaluation(
            trained, request, chosen, of_what, groups, importance_samples, progress, working
        )


def _evaluation(
    trained: Trained,
    request: DataRequest,
    chosen: Selection,
    of_what: dict[str, Any],
    groups: NDArray[np.int64] | None,
    importance_samples: int,
    progress: Progress | None,
    working: Callable[[int, int, float], None] | None,
) -> Evaluation | ReconstructionError:
    """The figures of a model on chosen images."""
    network = trained.model
    sub_pixels = int(chosen.split.sizes.prod(axis=1).sum()) * network.channels
    if working is not None:
        seconds = len(chosen.split) * seconds_per_image(network, chosen.split)
        working(len(chosen.split), sub_pixels, seconds * max(1, importance_samples))
    each, tighter = _nats(network, chosen.split, importance_samples, progress)
    bits = math.fsum(each) / (sub_pixels * math.log(2))
    if not isinstance(network, ImageModel):
        figure, value = network.figure, network.figure.value(bits)
        scaled = value / ((network.levels - 1) / 2) ** 2
        return ReconstructionError(
            **of_what, name=figure.name, value=value, unit=figure.unit, scaled=scaled
        )
    nats = math.log(2) * sub_pixels / len(chosen.split)
    bound, error = _is_bound(network), standard_error(each, groups)
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
        dequantised_bits_per_dim=_density(network, chosen.split, progress),
        code_nats_per_image=(
            -nats * evaluate(network, chosen.split, nats_of=_code_cost) if bound else None
        ),
        importance_weighted_bits_per_dim=tighter,
        scales=_scales(network, chosen.split, nats, progress),
    )


def _nats(
    network: Trainable, part: Split, importance_samples: int, progress: Progress | None
) -> tuple[NDArray[np.float64], float | None]:
    """-log p of each image, and the bits per dimension of the tighter bound.

    Both bounds are of the same codes: with one code each, noise could put the first one below the
    tighter one.
    """
    if not (importance_samples and _is_bound(network)):
        return -log_probabilities(network, part, progress=progress), None
    lower: list[Tensor] = []

    def tighter(model: PixelCNNAutoencoder, x: Tensor, _: Values) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        weights = log_weights(model, x, samples=importance_samples, generator=generator)
        lower.append(weights.mean(dim=0))
        return weights.logsumexp(dim=0) - math.log(importance_samples)

    bits = evaluate(network, part, nats_of=tighter, progress=progress)
    # Images of an auto-encoder have one size, and are scored in order.
    return -torch.cat(lower).double().cpu().numpy(), bits


def _is_bound(network: Trainable) -> bool:
    return isinstance(network, PixelCNNAutoencoder) and network.figure.kind == "bound"


def _code_cost(network: PixelCNNAutoencoder, x: Tensor, _: Values) -> Tensor:
    return divergence(network, x)


def _one_histogram(request: DataRequest, chosen: Selection) -> float:
    fitted = chosen.data.train if request.data is None else chosen.split
    return one_histogram_bits_per_dim(fitted, chosen.split, chosen.data.levels)


def _histogram(request: DataRequest, chosen: Selection) -> float | None:
    own = request.data is None and request.split == "test"
    return histogram_bits_per_dim(chosen.data) if own and chosen.data.shape is not None else None


def _density(network: ImageModel, part: Split, progress: Progress | None) -> float | None:
    parts = [scale.network for scale in network.scales() if network.figure.kind != "bound"]
    logistic = [isinstance(p, AutoregressiveModel) and p.settings.head == "logistic" for p in parts]
    if not parts or not all(logistic):
        return None
    return evaluate(network, part, progress=progress, nats_of=dequantised_score)


def _scales(
    network: ImageModel, part: Split, nats_per_bit: float, progress: Progress | None
) -> tuple[ScaleShare, ...]:
    scales = list(network.scales())
    if len(scales) == 1:
        return ()
    costs = [
        evaluate(network, part, progress=progress, nats_of=partial(_scale_score, number))
        for number in range(len(scales))
    ]
    return tuple(
        ScaleShare(step=scale.step, nats_per_image=cost * nats_per_bit)
        for scale, cost in zip(scales, costs, strict=True)
    )


def _scale_score(number: int, network: ImageModel, x: Tensor, condition: Values) -> Tensor:
    return scale_scores(network, x, condition)[:, number]
