"""All scores of some pictures: what one row of a table holds, and the heat maps.

A picture of a class-conditional model is scored given its most probable class, whatever its label
is: so pictures without labels, and with wrong ones, are scored in one way.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from nextpixel.analysis.anomaly import anomaly_map
from nextpixel.analysis.components import PrincipalComponents
from nextpixel.analysis.condition_worth import class_log_probabilities
from nextpixel.analysis.typicality import Typicality
from nextpixel.arguments import shown
from nextpixel.conditions.kinds import ClassCondition, of_kind
from nextpixel.conditions.values import Values
from nextpixel.data.digest import DataDigest
from nextpixel.data.splits import Split
from nextpixel.errors import UsageError
from nextpixel.inference.complexity import file_bits
from nextpixel.inference.trained import Trained
from nextpixel.models.core import ImageModel
from nextpixel.scoring import score
from nextpixel.settings.scores import ScoreRequest
from nextpixel.training.batches import conditioned

__all__ = [
    "CALIBRATED",
    "COMBINED",
    "WITHIN",
    "Batch",
    "Measured",
    "Typical",
    "batch_of",
    "check_background",
    "how_scored",
    "how_tabled",
    "measured",
    "seen_in_training",
]

CALIBRATED = ("nats", "z", "anomaly", "typicality", "likely", "residual")
"""The scores whose values on normal pictures are kept. "likely" is -bits_per_dim."""

COMBINED = {"anomaly": 0.4, "typicality": 0.25, "likely": 0.15, "residual": 0.2}
"""The scores that decide, and their weights: what is surprising somewhere,
what is atypical as a whole, what is more likely than normal pictures are, such as smooth ones, as
`anomaly` looks at one side only, and what is unlike any mixture of normal pictures."""


WITHIN = {"nats": 1e-6, "anomaly": 1e-4, "typicality": 1e-4, "likely": 1e-6, "residual": 1e-6}
"""Differences of scores that count as none, in units of 1 + the score's size. Rounding depends on
how many pictures are scored at once: without this, a copy of normal pictures, such as a black
frame, could be stranger than all of them."""


class Batch(NamedTuple):
    """Pictures on a model's device.

    Args:
        x: integers (B, C, H, W).
        values: of the model's conditions.
        log_classes: log p(class | picture), (B, classes); None for models without classes.
    """

    x: Tensor
    values: Values
    log_classes: NDArray[np.float64] | None


class Typical(NamedTuple):
    """What is typical of normal pictures, as they look to the model and as they are.

    Args:
        hidden: their hidden maps.
        components: their principal components.
    """

    hidden: Typicality
    components: PrincipalComponents


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """The scores of B pictures of one size.

    Attributes:
        x: the pictures, (B, C, H, W).
        columns: numbers by the names of `score_table.COLUMNS` and `CALIBRATED`, each (B,).
        log_classes: as in `Batch`.
        heat: where the pictures are surprising, (B, H, W), in units of z.
    """

    x: NDArray[np.int64]
    columns: dict[str, NDArray[np.float64]]
    log_classes: NDArray[np.float64] | None
    heat: NDArray[np.float64]


def how_scored(request: ScoreRequest) -> dict[str, Any]:
    """The options on which scores depend, by name."""
    return {"classes": request.classes, "mirrored": request.mirrored}


def how_tabled(request: ScoreRequest) -> dict[str, Any]:
    """The options on which columns depend; the first format of files goes without saying."""
    chosen = {} if request.complexity == "png" else {"complexity": request.complexity}
    return how_scored(request) | chosen


def batch_of(trained: Trained, split: Split, *, classes: bool = True) -> Batch:
    """Pictures of one size, given their most probable class if the model has one.

    Args:
        trained: the model.
        split: the pictures.
        classes: whether to find the class; otherwise it counts as unknown.

    Raises:
        UsageError: classes are not to be found, but the model has never seen an unknown class.
    """
    network = trained.distribution
    places = list(of_kind(network.given_by_data, ClassCondition))
    if not places:
        return Batch(*conditioned(network, split, np.arange(len(split))), None)
    if len(places) > 1 or not classes:
        if not trained.card.condition_dropout:
            raise UsageError(
                f"{trained.name} has not seen unknown classes in training, so that it scores a"
                " picture only given a class; leave ‹classes=False› out"
            )
        return Batch(*_of_unknown_class(network, split), None)
    x, values = _of_unknown_class(network, split)
    log_p = class_log_probabilities(network, x, condition=values)
    best = log_p.argmax(dim=1).to(values[places[0]].device)
    values = (*values[: places[0]], best.to(values[places[0]].dtype), *values[places[0] + 1 :])
    return Batch(x, values, log_p.numpy())


def measured(
    trained: Trained,
    split: Split,
    request: ScoreRequest,
    *,
    typical: Typical | None = None,
    background: Trained | None = None,
) -> Measured:
    """All scores of pictures of one size, from a pass of each model, order and class.

    A model of several orders gives the nats of their mixture, and the means over orders of all that
    belongs to single sites: what was expected, and z.

    Args:
        trained: the model.
        split: the pictures, as the model takes them.
        request: how they are scored.
        typical: what is typical of normal pictures; None leaves its columns out.
        background: another model, for the ratio; None leaves that column out.

    Raises:
        UsageError: the model cannot score them.
    """
    network = trained.distribution
    x, values, log_classes = batch_of(trained, split, classes=request.classes)
    found = anomaly_map(network, x, values, mirrored=request.mirrored)
    nats, dims = found.nats.numpy(), x[0].numel() * math.log(2)
    expected = [maps.expectation.sum(dim=(1, 2, 3)).numpy() for maps in found.orders]
    pictures = x.cpu().numpy()
    bits = file_bits(pictures, network.levels, request.complexity)
    columns = {
        "nats": nats,
        "bits_per_dim": nats / dims,
        "expected_bits_per_dim": np.mean(expected, axis=0) / dims,
        "z": np.mean([maps.z.numpy() for maps in found.orders], axis=0),
        "anomaly": found.score.numpy(),
        "complexity_bits": nats / math.log(2) - bits,
        "likely": -nats / dims,
    }
    if typical is not None:
        columns["typicality"] = typical.hidden.distance(network, x, values).numpy()
        columns["residual"] = typical.components.residual(network, x).numpy()
    if background is not None:
        given = batch_of(background, split, classes=request.classes)
        log_p = score(background.distribution, given.x, given.values)
        columns["ratio_nats"] = nats + log_p.numpy()
    heat = found.heat.numpy()
    return Measured(x=pictures, columns=columns, log_classes=log_classes, heat=heat)


def check_background(trained: Trained, background: Trained) -> None:
    """Raises UsageError if two models do not see the same integers of a picture."""
    one, other = trained.model, background.model
    for what, mine, theirs in (
        ("channels", one.channels, other.channels),
        ("levels", one.levels, other.levels),
        ("prepared size", trained.card.shape, background.card.shape),
    ):
        if mine != theirs and None not in (mine, theirs):
            raise UsageError(
                f"‹background={shown(background.name)}› has {what} {theirs}, but {trained.name}"
                f" {mine}; give a model of the same preparation"
            )


def seen_in_training(trained: Trained, split: Split) -> list[str]:
    """For each picture "train" or "valid" if it was used so in training; otherwise ""."""
    if trained.card.digest is None or split.fingerprints is None:
        return [""] * len(split)
    digest = DataDigest.from_json(trained.card.digest)
    train, valid = (
        np.isin(split.fingerprints, digest.kept[name], kind="sort") for name in ("train", "valid")
    )
    return ["train" if t else "valid" if v else "" for t, v in zip(train, valid, strict=True)]


def _of_unknown_class(network: ImageModel, split: Split) -> tuple[Tensor, Values]:
    """Pictures and conditions, with the class unknown, whatever the labels of the split say."""
    unlabelled = replace(split, labels=np.full(len(split), -1, np.int64))
    return conditioned(network, unlabelled, np.arange(len(split)))
