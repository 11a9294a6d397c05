"""A total over parts is that of the whole: of images, of rows, of batches, of sizes, of scales."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from borders import data_of_splits, rows_of, small_passes, split_of_arrays
from cases import build, conditions, images

from nextpixel import (
    ClassCondition,
    GatedPixelCNN,
    PixelCNN,
    bits_per_dim,
    dequantised_bits_per_dim,
    score,
)
from nextpixel.analysis.condition_worth import class_log_probabilities, condition_worth
from nextpixel.autoencoding import importance_weighted_bound, log_weights, lower_bound
from nextpixel.models.embedding import Embedding, embed
from nextpixel.scoring import (
    dequantised,
    dequantised_score,
    log_prob_map,
    scale_scores,
)
from nextpixel.training.evaluation import evaluate

NAMES = [
    "gated-rgb",
    "gated-logistic",
    "gated-all-conditions",
    "row-lstm-rgb-classes",
    "diagonal-classes-and-map",
    "multi-scale-conditions-for-both",
    "multi-scale-nested",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "rows", [1, pytest.param(2, marks=pytest.mark.slow), 7], ids=lambda rows: f"{rows}rows"
)
def test_totals_do_not_depend_on_what_is_scored_at_once(
    name: str, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One row, two rows (which leave a single one), or one image at a time; 5 images of 5×3."""
    model = build(name)
    x, values = images(model, 5, (5, 3)), conditions(model, 5, (5, 3))
    noise = lambda: torch.Generator().manual_seed(4)  # noqa: E731

    def totals() -> list[torch.Tensor]:
        return [
            score(model, x, values),
            scale_scores(model, x, values),
            log_prob_map(model, x, values),
            dequantised_score(model, x, values, generator=noise()),
            torch.tensor(bits_per_dim(model, x, values)),
            torch.tensor(dequantised_bits_per_dim(model, x, values, generator=noise())),
        ]

    whole = totals()
    with small_passes(rows, monkeypatch):
        parts = totals()
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)
    nats, by_scale, maps, density, bits, dequantised_bits = whole
    torch.testing.assert_close(by_scale.sum(dim=1), nats)
    torch.testing.assert_close(maps.sum(dim=(1, 2, 3)), nats)
    per_bit = x.numel() * math.log(2)
    assert float(bits) == pytest.approx(-float(nats.sum()) / per_bit)
    assert float(dequantised_bits) == pytest.approx(-float(density.sum()) / per_bit)


@pytest.mark.parametrize("name", ["gated-rgb", "gated-logistic", "gated-classes"])
@torch.no_grad()
def test_a_score_is_the_sum_of_the_logarithms_of_the_chosen_probabilities(name: str) -> None:
    model = build(name)
    x, values = images(model, 3, (3, 4)), conditions(model, 3, (3, 4))
    law, total = model(x, values), torch.zeros(3, dtype=torch.float64)
    for b, c, row, column in torch.cartesian_prod(
        *map(torch.arange, (3, model.channels, 3, 4))
    ).tolist():
        total[b] += law.log_pmf(x, c)[b, int(x[b, c, row, column]), row, column]
    torch.testing.assert_close(score(model, x, values), total)
    y = dequantised(x, torch.Generator().manual_seed(0))
    assert torch.equal(y.floor().long(), x)
    density = dequantised_score(model, x, values, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        density, law.log_density(y.double()).sum(dim=(1, 2, 3)), rtol=1e-5, atol=1e-5
    )


def model_of_classes(channels: int = 3) -> Any:
    torch.manual_seed(0)
    model = GatedPixelCNN(
        channels=channels, levels=4, features=6, layers=1, condition=ClassCondition(3)
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "of_vector" in name:
                parameter.normal_()
    return model


@pytest.mark.parametrize("batch_size", [1, 2, 5, 64])
def test_an_evaluation_is_over_all_images_of_all_sizes(batch_size: int) -> None:
    model = model_of_classes()
    generator = np.random.default_rng(0)
    sizes = [(4, 5), (5, 4), (4, 5), (3, 3), (4, 5), (5, 4), (4, 5)]
    pictures = [generator.integers(4, size=(3, *size)).astype(np.uint8) for size in sizes]
    labels = np.arange(7) % 3
    told: list[tuple[int, int]] = []
    found = evaluate(
        model,
        split_of_arrays(pictures, labels),
        batch_size=batch_size,
        progress=lambda *done: told.append(done),
    )
    nats = sum(
        float(score(model, torch.from_numpy(x)[None].long(), torch.tensor([label])))
        for x, label in zip(pictures, labels, strict=True)
    )
    assert found == pytest.approx(-nats / (sum(x.size for x in pictures) * math.log(2)), rel=1e-5)
    assert told[-1] == (7, 7) and [done for done, _ in told] == sorted({done for done, _ in told})
    ones = evaluate(
        model,
        split_of_arrays(pictures, labels),
        batch_size=batch_size,
        nats_of=lambda _, x, __: torch.ones(len(x)),
    )
    assert ones == pytest.approx(-7 / (sum(x.size for x in pictures) * math.log(2)))


def test_what_a_condition_is_worth_is_over_all_its_images() -> None:
    """More than one batch of 64, and one image at a time where sizes differ."""
    model, generator = model_of_classes(channels=1), np.random.default_rng(0)
    x, labels = generator.integers(4, size=(70, 1, 3, 4)).astype(np.uint8), np.arange(70) % 3
    data = data_of_splits(split_of_arrays(x, labels), levels=4, classes=3)
    told: list[tuple[int, int]] = []
    worth = condition_worth(
        model, data.train, with_nothing=True, progress=lambda *done: told.append(done)
    )
    tensor, classes = torch.from_numpy(x).long(), torch.from_numpy(labels)
    per_class = torch.stack([score(model, tensor, torch.tensor([k])) for k in range(3)], dim=1)
    given = per_class.gather(1, classes[:, None])[:, 0]
    assert worth.images == 70 and told[-1] == (70, 70)
    assert worth.given == pytest.approx(-float(given.mean()) / math.log(2), rel=1e-5)
    assert worth.nothing == pytest.approx(
        -float(score(model, tensor, torch.tensor([-1])).mean()) / math.log(2), rel=1e-5
    )
    assert worth.accuracy == pytest.approx(float((per_class.argmax(1) == classes).double().mean()))
    about = (given - per_class.logsumexp(dim=1) + math.log(3)).mean() / math.log(2)
    assert worth.class_bits == pytest.approx(float(about), rel=1e-4, abs=1e-5)
    assert worth.bits == pytest.approx(worth.shuffled - worth.given, rel=1e-5)
    few = condition_worth(model, data.train, images=9, seed=1)
    assert few.images == 9 and few.given != worth.given
    assert condition_worth(model, data.train, images=9, seed=2).given != few.given
    ragged = split_of_arrays([*x], labels)
    one_by_one = condition_worth(model, ragged, with_nothing=True)
    assert one_by_one.given == pytest.approx(worth.given, rel=1e-5)
    assert one_by_one.accuracy == worth.accuracy


def test_the_standard_error_is_that_of_a_mean() -> None:
    """The saving of each image by a plain loop; two images can only exchange conditions."""
    model = model_of_classes(channels=1)
    x = np.random.default_rng(0).integers(4, size=(2, 1, 3, 4)).astype(np.uint8)
    worth = condition_worth(model, split_of_arrays(x, np.array([0, 1])))
    tensor = torch.from_numpy(x).long()
    own = score(model, tensor, torch.tensor([0, 1]))
    others = score(model, tensor, torch.tensor([1, 0]))
    saved = ((own - others) / math.log(2)).tolist()
    mean = sum(saved) / 2
    deviation = math.sqrt(sum((value - mean) ** 2 for value in saved))  # n - 1 = 1
    assert worth.bits == pytest.approx(mean, rel=1e-4)
    assert worth.shuffled == pytest.approx(-float(others.mean()) / math.log(2), rel=1e-5)
    assert worth.standard_error == pytest.approx(deviation / math.sqrt(2), rel=1e-4)


def test_the_classifier_weighs_its_prior() -> None:
    model = model_of_classes(channels=1).double()
    x = images(model, 4, (3, 4))
    prior = torch.tensor([0.7, 0.1, 0.2], dtype=torch.float64)
    joint = [
        [
            math.log(prior[h]) + float(score(model, x[k : k + 1], torch.tensor([h])))
            for h in range(3)
        ]
        for k in range(4)
    ]
    found = class_log_probabilities(model, x, prior.float())
    for row, values in zip(found.tolist(), joint, strict=True):
        total = math.log(sum(map(math.exp, values)))
        assert row == pytest.approx([value - total for value in values], rel=1e-5, abs=1e-5)


def test_bounds_of_a_batch_are_means_over_their_codes() -> None:
    model = build("autoencoder-variational")
    x = images(model, 3, (6, 6))
    seeded = lambda: torch.Generator().manual_seed(0)  # noqa: E731
    weights = log_weights(model, x, samples=4, generator=seeded())
    assert weights.shape == (4, 3)
    tighter = importance_weighted_bound(model, x, samples=4, generator=seeded())
    expected = [math.log(sum(map(math.exp, column)) / 4) for column in weights.T.tolist()]
    assert tighter.tolist() == pytest.approx(expected)
    one = torch.stack(
        [lower_bound(model, x, samples=1, generator=torch.Generator().manual_seed(k)) for k in (1,)]
    )
    generator = torch.Generator().manual_seed(1)
    mean, log_deviation = model.posterior(x)
    code = mean + log_deviation.exp() * torch.randn(mean.shape, generator=generator)
    normal = torch.distributions.Normal
    cost = torch.distributions.kl_divergence(
        normal(mean, log_deviation.exp()), normal(torch.zeros(2), torch.ones(2))
    )
    torch.testing.assert_close(
        one[0], score(model, x, code) - cost.sum(dim=1), rtol=1e-5, atol=1e-5
    )
    prior, posterior = normal(torch.zeros(2), torch.ones(2)), normal(mean, log_deviation.exp())
    ratio = (prior.log_prob(code) - posterior.log_prob(code)).sum(dim=1)
    alone = log_weights(model, x, samples=1, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(alone[0], score(model, x, code) + ratio, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_the_density_of_a_bound_costs_what_its_probabilities_cost(training: bool) -> None:
    """A density that is constant between integers is the probability, with a code's cost or not."""
    model = build("autoencoder-variational").train(training)
    x = images(model, 3, (6, 6))

    def law() -> Any:
        torch.manual_seed(0)
        return model(x)

    found = law().log_prob(x)
    torch.testing.assert_close(law().log_density(x + 0.5), found)
    code_cost = (model.decoder(x, _code(model, x)).log_prob(x) - found).sum(dim=(1, 2, 3))
    assert (code_cost > 0).all()


def _code(model: Any, x: torch.Tensor) -> torch.Tensor:
    torch.manual_seed(0)
    mean, log_deviation = model.posterior(x)
    return mean + log_deviation.exp() * torch.randn_like(mean)


@pytest.mark.parametrize("batch_size", [1, 3, 256])
def test_embeddings_of_many_batches_are_those_of_one(batch_size: int) -> None:
    torch.manual_seed(0)
    model = Embedding(levels=4, size=(5, 6), outputs=3, features=4, dropout=0.5).train()
    x = torch.randint(4, (7, 1, 5, 6))
    vectors = embed(model, x, batch_size=batch_size)
    assert model.training and vectors.shape == (7, 3)
    for k in range(7):
        torch.testing.assert_close(embed(model, x[k : k + 1])[0], vectors[k])
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(7))


def test_conditions_of_parts_are_those_of_their_images() -> None:
    """The helper that the laws above divide conditions with does divide them."""
    model = PixelCNN(levels=3, features=4, layers=1, condition=ClassCondition(3))
    values = conditions(model, 4, (2, 2))
    assert rows_of(values, slice(1, 3)) is not None
    x = images(model, 4, (2, 2))
    torch.testing.assert_close(
        score(model, x[1:3], rows_of(values, slice(1, 3))), score(model, x, values)[1:3]
    )
