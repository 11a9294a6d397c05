"""What every option of training changes, what randomness depends on, and what follows its image."""

import math
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from borders import data_of_splits, recorder, split_of_arrays, tensors_of
from torch import Tensor

from nextpixel import (
    ClassCondition,
    GatedPixelCNN,
    MapCondition,
    RowLSTM,
    TrainConfig,
    VectorCondition,
    initial_state,
    train,
)
from nextpixel.data.splits import ImageData
from nextpixel.models.core import ImageModel
from nextpixel.models.embedding import Embedding
from nextpixel.training.batches import dropout_seed
from nextpixel.training.embedding import EmbeddingConfig, train_embedding
from nextpixel.training.loop import Step

SIDE, CLASSES = 6, 5
# Every window and its mirror image are told by the pattern, every image by what it is added to.
PATTERN = np.random.default_rng(0).integers(8, size=(SIDE, SIDE))


def telling_data(n: int = 20) -> ImageData:
    """Images that say which one they are, and what stands beside them, at every pixel."""
    number = np.arange(n)
    images = (8 * number[:, None, None] + PATTERN).astype(np.uint8)[:, None]
    vectors = np.stack([number, number**2], axis=1) / 10
    train_split = split_of_arrays(images, number % CLASSES, vectors, 255 - images)
    return data_of_splits(train_split, levels=256, classes=CLASSES, map_levels=256)


CONDITION = (
    ClassCondition(CLASSES),
    VectorCondition(2),
    MapCondition(1, scale=1, levels=256, features=2),
)


def batches_of(processes_rank: int = 0, **options: Any) -> list[tuple[Tensor, list[Tensor], int]]:
    """What a model is given in training."""
    torch.manual_seed(0)
    model = GatedPixelCNN(levels=256, features=4, layers=1, condition=CONDITION)
    config = TrainConfig(**{"steps": 12, "batch_size": 10, "ema_decay": 0.0} | options)
    state = initial_state(model, config)
    calls = recorder(state.model)
    list(train(state, telling_data(), config))
    return [(x, list(values), seed) for x, values, seed in calls]


def windows_of(x: Tensor) -> list[tuple[int, int, int, bool]]:
    """The number, the upper left corner and the mirroring of each window of `telling_data`."""
    side, found = x.shape[-1], []
    for image in x[:, 0].numpy():
        (number,) = set((image // 8).flatten().tolist())
        places = [
            (number, top, left, mirrored)
            for top in range(SIDE - side + 1)
            for left in range(SIDE - side + 1)
            for mirrored in (False, True)
            for window in [PATTERN[top : top + side, left : left + side]]
            if np.array_equal(image % 8, window[:, ::-1] if mirrored else window)
        ]
        (place,) = places
        found.append(place)
    return found


@pytest.mark.parametrize(
    "options",
    [
        {"flip": True},
        {"crop": 4},
        {"crop": 4, "flip": True, "accumulate": 3},
        {"flip": True, "condition_dropout": 0.3, "channels_last": False},
    ],
    ids=str,
)
def test_what_stands_beside_an_image_follows_it(options: dict[str, Any]) -> None:
    some_known = [False] * 3
    for x, (labels, vectors, maps), _ in batches_of(**options):
        numbers = torch.tensor([window[0] for window in windows_of(x)])
        wanted = torch.stack([numbers, numbers**2], dim=1) / 10
        known = labels >= 0, vectors.isfinite().all(dim=1), (maps >= 0).flatten(1).all(dim=1)
        if "condition_dropout" not in options:
            assert all(bool(part.all()) for part in known)
        assert torch.equal(labels[known[0]], numbers[known[0]] % CLASSES)
        torch.testing.assert_close(vectors[known[1]], wanted[known[1]].to(vectors))
        assert torch.equal(maps[known[2]], 255 - x[known[2]])
        some_known = [a or bool(b.any()) for a, b in zip(some_known, known, strict=True)]
    assert all(some_known)


def test_small_maps_are_mirrored_with_their_images() -> None:
    """A map of half the size: its pixel is that of the four it stands for."""
    blocks = np.random.default_rng(0).integers(8, size=(12, 1, 3, 3)).astype(np.uint8)
    images = blocks.repeat(2, axis=2).repeat(2, axis=3)
    data = data_of_splits(split_of_arrays(images, maps=blocks), levels=8, map_levels=8)
    condition = MapCondition(1, scale=2, levels=8, features=2)
    model = GatedPixelCNN(levels=8, features=4, layers=1, condition=condition)
    config = TrainConfig(steps=4, batch_size=6, flip=True)
    state = initial_state(model, config)
    calls = recorder(state.model)
    list(train(state, data, config))
    assert len(calls) == 4
    for x, (maps,), _ in calls:
        assert torch.equal(x[:, :, ::2, ::2], maps)


RANDOM: dict[str, tuple[dict[str, Any], Callable[[Tensor, list[Tensor], int], object]]] = {
    "which images": ({}, lambda x, _, seed: tuple(w[0] for w in windows_of(x))),
    "windows": ({"crop": 4}, lambda x, _, seed: tuple(w[1:3] for w in windows_of(x))),
    "mirrors": ({"flip": True}, lambda x, _, seed: tuple(w[3] for w in windows_of(x))),
    "dropped conditions": (
        {"condition_dropout": 0.4},
        lambda x, values, seed: tuple((values[0] < 0).tolist()),
    ),
    "noise": ({"condition_noise": 0.5}, lambda x, values, seed: tuple(values[1][:, 0].tolist())),
    "replaced values": ({"value_noise": 0.3}, lambda x, _, seed: tuple(x.flatten().tolist())),
    "dropout": ({}, lambda x, _, seed: seed),
}


def test_noise_has_the_asked_deviation_in_deviations_of_each_entry() -> None:
    plain, noisy = (batches_of(steps=60, condition_noise=noise) for noise in (0.0, 0.5))
    differences = []
    for (x, (labels, vectors, maps), _), (same, (*others, last), _) in zip(
        plain, noisy, strict=True
    ):
        assert torch.equal(x, same) and torch.equal(labels, others[0]) and torch.equal(maps, last)
        differences.append(others[1] - vectors)
    deviations = telling_data().train.vectors.std(axis=0)
    seen = torch.cat(differences) / torch.from_numpy(deviations)
    assert len(seen) > 300
    torch.testing.assert_close(seen.mean(dim=0), torch.zeros(2), atol=0.1, rtol=0)
    torch.testing.assert_close(seen.std(dim=0), torch.full((2,), 0.5), atol=0.08, rtol=0)


def test_replaced_values_are_as_many_as_asked_and_drawn_evenly() -> None:
    plain, noisy = (batches_of(steps=60, value_noise=share) for share in (0.0, 0.4))
    levels = telling_data().levels
    was, x = (torch.stack([call[0] for call in calls]) for calls in (plain, noisy))
    # One of the values is the one that was there.
    differs = 0.4 * (levels - 1) / levels
    share = (was != x).double().mean(dim=0)  # at each place of a batch
    assert abs(share.mean() - differs) < 4.5 * (differs * (1 - differs) / was.numel()) ** 0.5
    assert share.min() > 0 and share.max() < 1
    drawn = torch.bincount(x[was != x], minlength=levels)
    assert (drawn > 0).all() and len(drawn) == levels


@pytest.mark.parametrize("kind", RANDOM)
def test_what_is_random_differs_by_step_and_by_seed_and_by_nothing_else(kind: str) -> None:
    options, seen = RANDOM[kind]
    first, again, other = (
        [seen(*call) for call in batches_of(seed=seed, **options)] for seed in (0, 0, 1)
    )
    assert first == again
    assert len(set(first)) > 9  # of 12; ten flips are alike in two of 12 steps once in 15 times
    assert len(set(first) & set(other)) < 4


def test_each_process_has_dropout_of_its_own() -> None:
    seeds = {
        dropout_seed(seed, step, rank)
        for seed in range(3)
        for step in range(4)
        for rank in range(5)
    }
    assert len(seeds) == 3 * 4 * 5


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_takes_its_share_and_draws_its_own_dropout(
    rank: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = [(windows_of(x), values, seed) for x, values, seed in batches_of(flip=True, crop=4)]
    monkeypatch.setattr(
        "nextpixel.training.loop.training_parts", _of_two_processes(rank), raising=True
    )
    share = [(windows_of(x), values, seed) for x, values, seed in batches_of(flip=True, crop=4)]
    for (all_windows, all_values, _), (windows, values, _) in zip(whole, share, strict=True):
        assert windows == all_windows[rank::2]
        assert torch.equal(values[0], all_values[0][rank::2])


def _of_two_processes(rank: int) -> Callable[..., Any]:
    from nextpixel.training.batches import training_parts

    def parts(split: Any, config: Any, step: int, _: int, __: int, *rest: Any, **known: Any) -> Any:
        return training_parts(split, config, step, rank, 2, *rest, **known)

    return parts


def test_windows_and_shares_are_even() -> None:
    """Every corner is drawn, half are mirrored, and conditions are dropped as often as asked."""
    calls = batches_of(steps=60, crop=4, flip=True, condition_dropout=0.3)
    windows = [window for x, _, _ in calls for window in windows_of(x)]
    corners = {window[1:3] for window in windows}
    assert corners == {(top, left) for top in range(3) for left in range(3)}
    # Shares of 600 draws: five standard deviations are 0.10.
    assert abs(np.mean([window[3] for window in windows]) - 0.5) < 0.10
    alone = 0.3 + 0.7 * 0.3
    unknown = torch.stack(
        [
            torch.cat([values[0] < 0 for _, values, _ in calls]),
            torch.cat([values[1].isnan().all(dim=1) for _, values, _ in calls]),
            torch.cat([(values[2] < 0).flatten(1).all(dim=1) for _, values, _ in calls]),
        ]
    )
    for share in unknown.double().mean(dim=1).tolist():
        assert abs(share - alone) < 0.10
    together = float(unknown.all(dim=0).double().mean())
    assert abs(together - (0.3 + 0.7 * 0.3**3)) < 0.10


def small_data(channels: int = 1, n: int = 24, seed: int = 0) -> ImageData:
    """Noise around a level for each class, with a vector."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(3, size=n)
    noise = generator.integers(2, size=(n, channels, 5, 6))
    images = (labels[:, None, None, None] + noise).astype(np.uint8)
    vectors = generator.normal(5, 3, size=(n, 2))
    part = split_of_arrays(images[:-8], labels[:-8], vectors[:-8])
    valid = split_of_arrays(images[-8:], labels[-8:], vectors[-8:])
    return data_of_splits(part, valid, levels=4, classes=3)


def logistic_model() -> ImageModel:
    torch.manual_seed(0)
    return GatedPixelCNN(
        levels=4,
        features=4,
        layers=2,
        kernel_size=3,
        head="logistic",
        dropout=0.1,
        condition=(ClassCondition(3), VectorCondition(2)),
    )


BASE: dict[str, Any] = {"steps": 12, "batch_size": 6, "evaluate_every": 5}
STILL = {"learning_rate": 1e-30, "ema_decay": 0.0, "evaluate_every": 1}
# For every option: what is given beside it, and another value of it.
OTHER_TRAINING: dict[str, tuple[dict[str, Any], object]] = {
    "steps": ({}, 13),
    "epochs": ({"steps": None}, 3),
    "minutes": ({"steps": None, "epochs": None}, 1e-9),
    "batch_size": ({}, 7),
    "accumulate": ({}, 2),
    "objective": ({}, "density"),
    "optimizer": ({}, "adamw"),
    "learning_rate": ({}, 0.02),
    "weight_decay": ({}, 0.5),
    "warmup_steps": ({}, 5),
    "schedule": ({}, "constant"),
    "clip_norm": ({}, 0.01),
    "ema_decay": ({}, 0.0),
    "precision": ({"precision": "float32"}, "bf16"),
    "recompute": ({}, True),
    "channels_last": ({}, False),
    "crop": ({}, 4),
    "flip": ({}, True),
    "condition_dropout": ({}, 0.5),
    "condition_noise": ({}, 0.5),
    "value_noise": ({}, 0.25),
    "seed": ({}, 1),
    "evaluate_every": ({}, 4),
    "patience": (STILL, 2),
}


def trace(config: TrainConfig) -> list[Any]:
    """All that can be seen of a run, but for its seconds."""
    state = initial_state(logistic_model(), config)
    calls = recorder(state.model)
    saved = 0

    def count(tensor: Tensor) -> Tensor:
        nonlocal saved
        saved += 1
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        steps: list[Step] = list(train(state, small_data(), config))
    told = [tuple((asdict(step) | {"seconds": 0}).items()) for step in steps]
    weights = [p.detach().double().sum().item() for p in state.model.parameters()]
    average = [p.detach().double().sum().item() for p in state.average.parameters()]
    return [told, weights, average, saved, [(x.stride(), x.sum().item()) for x, _, _ in calls]]


traced = cache(trace)


@pytest.mark.parametrize("name", [field.name for field in fields(TrainConfig)])
def test_every_option_of_training_changes_something(name: str) -> None:
    beside, other = OTHER_TRAINING[name]
    if name == "minutes":
        config = TrainConfig(**BASE | beside | {"minutes": other})
        assert len(list(train(initial_state(logistic_model(), config), small_data(), config))) == 1
        return
    usual = {"epochs": 1} if name == "epochs" else {}
    config = TrainConfig(**BASE | beside | usual)
    assert traced(config) != trace(replace(config, **{name: other}))


def test_the_same_configuration_gives_the_same_run() -> None:
    assert traced(TrainConfig(**BASE)) == trace(TrainConfig(**BASE))


def test_lengths_are_what_they_say() -> None:
    ends = {
        "steps": ({"steps": 7}, 7),
        "epochs": ({"epochs": 3}, 8),  # 16 images three times over, in batches of 6
        "patience": ({"steps": 12, "patience": 2} | STILL, 3),
        "accumulate": ({"steps": 4, "accumulate": 3}, 4),
    }
    for name, (options, wanted) in ends.items():
        config = TrainConfig(**{"batch_size": 6} | options)
        steps = list(train(initial_state(logistic_model(), config), small_data(), config))
        assert len(steps) == wanted, name
        assert [step.step for step in steps] == list(range(1, wanted + 1))
        if name != "patience":
            assert steps[-1].progress == 1.0
            assert steps[-1].valid_bits_per_dim is not None


@pytest.mark.parametrize("every", [1, 4, 5, None])
def test_validations_are_when_they_are_due(every: int | None) -> None:
    config = TrainConfig(steps=40, batch_size=2, evaluate_every=every, ema_decay=0.0)
    steps = list(train(initial_state(logistic_model(), config), small_data(), config))
    found = [step.step for step in steps if step.valid_bits_per_dim is not None]
    assert found == [k for k in range(1, 41) if k % (every or 2) == 0 or k == 40]
    best = math.inf
    for step in steps:
        if step.valid_bits_per_dim is not None:
            assert step.improved == (step.valid_bits_per_dim < best)
            best = min(best, step.valid_bits_per_dim)
        else:
            assert not step.improved


@pytest.mark.parametrize("optimizer", ["muon", "adamw", "rmsprop"])
@pytest.mark.parametrize("kind", [GatedPixelCNN, RowLSTM])
def test_weights_decay_and_biases_do_not_whatever_the_optimiser(
    optimizer: Any, kind: Callable[..., ImageModel]
) -> None:
    config = TrainConfig(optimizer=optimizer, weight_decay=0.5, learning_rate=0.01)
    torch.manual_seed(0)
    model = kind(levels=4, features=4, layers=1, condition=(ClassCondition(2), VectorCondition(2)))
    state = initial_state(model, config)
    named = dict(state.model.named_parameters())
    for parameter in named.values():
        torch.nn.init.normal_(parameter)
        parameter.grad = torch.zeros_like(parameter)
    before = {name: parameter.detach().clone() for name, parameter in named.items()}
    state.optimizer.step()
    for name, parameter in named.items():
        if "bias" in name:
            assert torch.equal(parameter, before[name]), name
        else:
            assert float(parameter.detach().norm()) < float(before[name].norm()), name
            if optimizer != "rmsprop":
                torch.testing.assert_close(parameter.detach(), before[name] * (1 - 0.01 * 0.5))
    trained = [id(p) for group in state.optimizer.param_groups for p in group["params"]]
    assert sorted(trained) == sorted(id(p) for p in state.model.parameters())


@pytest.mark.parametrize("optimizer", ["muon", "adamw", "rmsprop"])
def test_every_parameter_moves_whatever_the_optimiser(optimizer: Any) -> None:
    config = TrainConfig(**BASE | {"optimizer": optimizer})
    state = initial_state(logistic_model(), config)
    before = [p.detach().clone() for p in state.model.parameters()]
    averages = [p.detach().clone() for p in state.average.parameters()]
    list(train(state, small_data(), config))
    for was, p, mean, average in zip(
        before, state.model.parameters(), averages, state.average.parameters(), strict=True
    ):
        assert not torch.equal(was, p) and not torch.equal(mean, average)


def test_the_average_has_all_that_the_model_has() -> None:
    condition = VectorCondition(2)
    model = GatedPixelCNN(levels=4, features=4, layers=1, condition=condition)
    config = TrainConfig(steps=2, batch_size=6, ema_decay=0.0)
    state = initial_state(model, config)
    fresh = [buffer.clone() for buffer in state.model.buffers()]
    list(train(state, small_data(), config))
    own, average = state.model.state_dict(), state.average.state_dict()
    assert own.keys() == average.keys()
    for name, value in own.items():
        assert torch.equal(value, average[name]), name
    changed = [not torch.equal(a, b) for a, b in zip(fresh, state.model.buffers(), strict=True)]
    assert any(changed), "the vectors' scale is learnt from the data"


def embedding_trace(config: EmbeddingConfig) -> list[Any]:
    torch.manual_seed(0)
    model = Embedding(levels=256, size=(SIDE, SIDE), outputs=3, features=4)
    seen: list[Tensor] = []
    model.register_forward_pre_hook(lambda _, given: seen.append(given[0].clone()))
    steps = list(train_embedding(model, telling_data(30).train, config))
    weights = [p.detach().double().sum().item() for p in model.parameters()]
    pictures = [x.tolist() for x in seen]
    return [[(step.loss, step.active) for step in steps], weights, pictures]


EMBEDDING = EmbeddingConfig(steps=6, classes=3, each=2)
OTHER_EMBEDDING: dict[str, object] = {
    "steps": 7,
    "classes": 4,
    "each": 3,
    "margin": 0.9,
    "learning_rate": 0.01,
    "weight_decay": 0.5,
    "flip": True,
    "shift": 1,
    "seed": 1,
}


@pytest.mark.parametrize("name", [field.name for field in fields(EmbeddingConfig)])
def test_every_option_of_an_embedding_changes_something(name: str) -> None:
    other = replace(EMBEDDING, **{name: OTHER_EMBEDDING[name]})
    usual, changed = embedding_trace(EMBEDDING), embedding_trace(other)
    assert usual == embedding_trace(EMBEDDING)
    assert usual[:2] != changed[:2]
    if name in ("classes", "each", "flip", "shift", "seed"):
        assert usual[2] != changed[2]
    if name == "margin":
        assert changed[0][0][0] > usual[0][0][0] + 0.3  # a wider margin costs more at once
    if name in ("learning_rate", "weight_decay", "margin"):
        assert usual[2] == changed[2]


@pytest.mark.parametrize("by", [1, 2])
def test_shifts_reach_both_ends_and_batches_are_drawn_anew(by: int) -> None:
    config = replace(EMBEDDING, steps=40, shift=by)
    pictures = [torch.tensor(x) for x in embedding_trace(config)[2]]
    padded = np.pad(PATTERN, by, mode="edge")
    found, batches = set(), set()
    for x in pictures:
        batches.add(tuple((x[:, 0, 2, 2] // 8).tolist()))
        for image in (x[:, 0] % 8).numpy():
            found |= {
                (top, left)
                for top in range(2 * by + 1)
                for left in range(2 * by + 1)
                if np.array_equal(image, padded[top : top + SIDE, left : left + SIDE])
            }
    assert found == {(a, b) for a in range(2 * by + 1) for b in range(2 * by + 1)}
    assert len(batches) > 35


def test_recorded_conditions_are_tensors() -> None:
    """What the laws above look at is there at all."""
    assert all(len(tensors_of(tuple(values))) == 3 for _, values, _ in batches_of(steps=1))
