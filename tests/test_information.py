"""What a condition is worth, held against enumeration and a source of known information."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from cases import build, conditions, images
from test_training import data_for

from nextpixel import ClassCondition, GatedPixelCNN, TrainConfig, initial_state, score, train
from nextpixel.analysis.condition_worth import class_log_probabilities, condition_worth
from nextpixel.analysis.uncertainty import standard_error
from nextpixel.conditions.kinds import of_kind
from nextpixel.data.splits import Split
from nextpixel.training.batches import conditioned


def test_the_classifier_is_bayes_rule() -> None:
    model = build("gated-classes")
    x = images(model, 4, (3, 3))
    joint = torch.stack([score(model, x, torch.tensor(h)) for h in range(3)], dim=1)
    prior = torch.tensor([0.5, 0.2, 0.3])
    expected = (joint.exp() * prior) / (joint.exp() * prior).sum(dim=1, keepdim=True)
    torch.testing.assert_close(
        class_log_probabilities(model, x, prior).exp(), expected, rtol=1e-6, atol=1e-9
    )
    torch.testing.assert_close(
        class_log_probabilities(model, x).exp().sum(dim=1), torch.ones(4).double()
    )
    with pytest.raises(ValueError, match="on one class, but this one is on vectors of 4"):
        class_log_probabilities(build("gated-vector"), x)
    with pytest.raises(ValueError, match=r"prior= has shape \(2,\); give 3 prob"):
        class_log_probabilities(model, x, prior[:2])


@pytest.mark.parametrize(
    "name", ["pixel-cnn-vector-and-classes", "multi-scale-conditions-for-both"]
)
def test_a_class_among_others_is_classified_given_the_others(name: str) -> None:
    model = build(name)
    x, given = images(model, 3, (4, 4)), conditions(model, 3, (4, 4))
    (place,) = of_kind(model.conditions, ClassCondition)
    others = [[*given[:place], torch.full((3,), h), *given[place + 1 :]] for h in range(2)]
    joint = torch.stack([score(model, x, tuple(values)) for values in others], dim=1).exp()
    found = class_log_probabilities(model, x, condition=given)
    torch.testing.assert_close(
        found.exp(), joint / joint.sum(dim=1, keepdim=True), rtol=1e-6, atol=1e-9
    )
    with pytest.raises(ValueError, match="give condition="):
        class_log_probabilities(model, x)
    split = data_for(model).valid
    worth = condition_worth(model, split)
    with_labels, own = conditioned(model, split, np.arange(len(split)))
    log_p = class_log_probabilities(model, with_labels, condition=own)
    right = log_p.argmax(dim=1) == torch.from_numpy(split.labels)
    assert worth.accuracy == pytest.approx(float(right.double().mean()))
    assert worth.class_bits is not None and worth.class_bits <= 1


@pytest.mark.parametrize(
    "name",
    ["gated-vector", "gated-classes", "row-lstm-vector-and-map", "multi-scale-conditions-for-both"],
)
def test_the_figures_are_means_of_scores(name: str) -> None:
    model = build(name)
    split = data_for(model).valid
    pairs = np.arange(len(split)) // 2
    worth = condition_worth(model, split, with_nothing=True, seed=3)
    together = condition_worth(model, split, seed=3, clusters=pairs)
    rows = np.random.default_rng(3).permutation(len(split))
    x, own = conditioned(model, split, rows)
    _, others = conditioned(model, split, np.roll(rows, -1))
    bits = [-score(model, x, condition) / math.log(2) for condition in (own, others)]
    assert worth.given == pytest.approx(float(bits[0].mean())) and worth.shuffled == pytest.approx(
        float(bits[1].mean())
    )
    assert worth.bits == pytest.approx(float((bits[1] - bits[0]).mean()))
    assert worth.standard_error == pytest.approx(
        float((bits[1] - bits[0]).std()) / math.sqrt(len(split))
    )
    saved = (bits[1] - bits[0]).numpy()
    assert together.bits == worth.bits and together.clusters == len(set(pairs))
    assert together.standard_error == pytest.approx(standard_error(saved, pairs[rows]))
    assert worth.nothing is not None and worth.images == len(split) and worth.clusters is None
    classes = bool(of_kind(model.conditions, ClassCondition))
    assert (worth.accuracy is not None) == (worth.class_bits is not None) == classes


def test_a_class_that_says_all_is_worth_its_bits() -> None:
    """Four classes of one shade each: the class saves two bits, and is always recognised."""
    labels = np.arange(64) % 4
    shades = np.broadcast_to(labels[:, None, None, None], (64, 1, 4, 4)).astype(np.uint8)
    split = Split(images=shades, labels=labels)
    torch.manual_seed(0)
    model = GatedPixelCNN(
        levels=4, features=12, layers=2, kernel_size=3, condition=ClassCondition(4)
    )
    data = data_for(model)
    data = replace(data, train=split, valid=split, shape=(4, 4))
    config = TrainConfig(
        steps=300, batch_size=32, learning_rate=2e-2, precision="float32", condition_dropout=0.2
    )
    list(train(initial_state(model, config), data, config))
    worth = condition_worth(model, split, with_nothing=True)
    assert worth.accuracy == 1 and worth.class_bits == pytest.approx(2, abs=0.05)
    assert worth.nothing is not None and worth.nothing - worth.given == pytest.approx(2, abs=0.3)
    assert worth.bits > 2


def test_what_has_no_worth() -> None:
    model = build("gated-classes")
    with pytest.raises(ValueError, match="unconditional"):
        condition_worth(build("gated"), data_for(build("gated")).valid)
    with pytest.raises(ValueError, match="at least 2 are needed"):
        condition_worth(model, data_for(model).valid, images=1)
    with pytest.raises(ValueError, match="one number for each of the"):
        condition_worth(model, data_for(model).valid, clusters=np.zeros(1, int))
