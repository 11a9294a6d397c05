import copy
import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from cases import CASES, over
from torch import nn

from nextpixel import (
    ClassCondition,
    GatedPixelCNN,
    MapCondition,
    VectorCondition,
    bits_per_dim,
    dequantised_bits_per_dim,
    score,
)
from nextpixel.data.splits import ImageData, Split
from nextpixel.errors import UsageError
from nextpixel.layers.masked_conv import MaskedConv2d
from nextpixel.models.autoencoder import ConvolutionalAutoencoder
from nextpixel.models.core import ImageModel
from nextpixel.models.wrapping import as_model
from nextpixel.settings.preparation import Preparation
from nextpixel.settings.source import Source
from nextpixel.settings.training import learning_rate, total_steps
from nextpixel.training import memory
from nextpixel.training.batches import batch_indices, training_parts
from nextpixel.training.compatibility import check_fit
from nextpixel.training.defaults import with_rate
from nextpixel.training.loop import (
    Step,
    TrainConfig,
    TrainingError,
    TrainState,
    evaluate,
    initial_state,
    train,
)

CPU = torch.device("cpu")


def split(
    n: int, shape: tuple[int, ...] = (1, 6, 5), *, levels: int = 4, classes: int = 0, seed: int = 0
) -> Split:
    """Images with something to learn: noisy ramps, steeper in higher classes."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(max(classes, 1), size=n)
    ramp = np.arange(math.prod(shape)).reshape(shape) / math.prod(shape) * levels
    noise = generator.random((n, *shape))
    images = np.clip(ramp * (1 + labels[:, None, None, None]) / 2 + noise, 0, levels - 1).astype(
        np.uint8
    )
    return Split(images=images, labels=labels if classes else None)


def dataset(
    n: int = 40, shape: tuple[int, ...] = (1, 6, 5), *, levels: int = 4, classes: int = 0
) -> ImageData:
    train, valid = (split(k, shape, levels=levels, classes=classes, seed=k) for k in (n, n // 4))
    return ImageData(
        source=Source("ramps"),
        levels=levels,
        channels=shape[0],
        shape=shape[1:],
        classes=tuple("abcdefgh"[:classes]),
        train=train,
        valid=valid,
        test=split(5, shape, levels=levels, classes=classes, seed=2),
        preparation=Preparation(),
    )


def ragged() -> Split:
    return Split(
        images=[
            split(1, (1, h, w), seed=h * w).images[0]
            for h, w in [(6, 5), (7, 9), (6, 5), (8, 6)] * 3
        ]
    )


def network(seed: int = 0, **keywords: Any) -> GatedPixelCNN:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return GatedPixelCNN(
            **{"levels": 4, "features": 12, "layers": 2, "kernel_size": 3} | keywords
        )


def fit(
    config: TrainConfig, data: ImageData | None = None, **keywords: Any
) -> tuple[TrainState[GatedPixelCNN], list[Step]]:
    state = initial_state(network(**keywords), config)
    return state, list(train(state, data or dataset(), config))


def weights(model: ImageModel) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        (
            {"steps": 5, "epochs": 1},
            "steps=5 and epochs=1 both set the length; give only one",
        ),
        ({"steps": 0}, r"steps=0 must be a whole number of at least 1"),
        ({"minutes": -1.0}, r"minutes=-1.0 must be more than 0"),
        ({"steps": 1, "batch_size": 0}, r"batch_size=0"),
        (
            {"steps": 1, "batch_size": 2, "accumulate": 3},
            r"accumulate=3 must be at most batch_size=2",
        ),
        ({"steps": 1, "learning_rate": math.nan}, r"learning_rate=nan must be more than 0"),
        ({"steps": 1, "clip_norm": 0.0}, r"clip_norm=0.0"),
        ({"steps": 1, "weight_decay": -0.1}, r"weight_decay=-0.1 must not be negative"),
        ({"steps": 1, "seed": -1}, r"seed=-1"),
        ({"steps": 1, "ema_decay": 1.0}, r"ema_decay=1.0 must be at least 0 and less than 1"),
        ({"steps": 1, "crop": 0}, r"crop=0"),
        ({"steps": 1, "patience": 0}, r"patience=0"),
    ],
)
def test_config_errors_say_what_is_accepted(keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainConfig(**keywords)


@pytest.mark.parametrize(
    ("config", "data", "model", "message"),
    [
        ({}, dataset(levels=8), {}, "levels=4 but the data levels=8"),
        ({}, dataset(shape=(3, 4, 4)), {}, "channels=1 but the data channels=3"),
        ({}, dataset(), {"condition": ClassCondition(2)}, "2 classes, but the data has none"),
        ({"crop": 9}, dataset(), {}, "crop"),
        ({"crop": 4}, dataset(), {"position_waves": 1}, "position_waves= encode the position"),
        ({}, replace(dataset(), train=ragged(), shape=None), {}, "differ in size; give crop="),
        ({"patience": 1}, replace(dataset(), valid=split(0)), {}, "needs a validation split"),
    ],
    ids=["levels", "channels", "classes", "crop", "positions", "ragged", "patience"],
)
def test_what_does_not_fit_is_refused(
    config: Any, data: ImageData, model: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        fit(TrainConfig(steps=1, **config), data, **model)


@pytest.mark.parametrize(("processes", "accumulate"), [(1, 4), (2, 2), (4, 1)])
def test_no_part_of_any_process_may_be_empty(processes: int, accumulate: int) -> None:
    config = TrainConfig(steps=1, batch_size=4, accumulate=accumulate)
    check_fit(network(), dataset(), config, processes)
    with pytest.raises(ValueError, match="no part may be empty"):
        check_fit(network(), dataset(), replace(config, batch_size=accumulate), processes + 1)
    with pytest.raises(ValueError, match="no part may be empty"):
        check_fit(network(), dataset(), config, processes + 1)


@pytest.mark.parametrize(("images", "batch"), [(10, 4), (3, 8), (7, 7)])
def test_every_epoch_has_every_image_once(images: int, batch: int) -> None:
    steps = 3 * images
    order = np.concatenate(
        [batch_indices(images, batch, seed=5, step=step) for step in range(steps)]
    )
    epochs = order.reshape(-1, images)
    assert (np.sort(epochs, axis=1) == np.arange(images)).all()
    assert len({tuple(epoch) for epoch in epochs}) > 1
    assert (batch_indices(images, batch, seed=5, step=2) == order[2 * batch : 3 * batch]).all()
    assert (batch_indices(100, 50, seed=5, step=0) != batch_indices(100, 50, seed=6, step=0)).any()


def test_windows_and_mirrors_come_from_the_images_for_any_number_of_processes() -> None:
    images = ragged()
    config = TrainConfig(steps=1, batch_size=12, crop=4, flip=True, accumulate=2)
    parts = list(training_parts(images, config, 3, 0, 1, CPU, ()))
    assert [len(x) for x, _ in parts] == [6, 6]
    whole = torch.cat([x for x, _ in parts])
    plain = mirrored = 0
    for window, row in zip(whole.numpy(), batch_indices(12, 12, seed=0, step=3), strict=True):
        image = images.images[row]
        _, height, width = image.shape
        found = [
            image[:, i : i + 4, j : j + 4] for i in range(height - 3) for j in range(width - 3)
        ]
        plain += any((window == piece).all() for piece in found)
        mirrored += any((window[:, :, ::-1] == piece).all() for piece in found)
    assert plain + mirrored >= 12 and plain and mirrored
    shares = [
        torch.cat([x for x, _ in training_parts(images, config, 3, rank, 3, CPU, ())])
        for rank in range(3)
    ]
    for rank, share in enumerate(shares):
        assert torch.equal(share, whole[rank::3])


def test_learning_rate_rises_linearly_and_falls_as_a_cosine() -> None:
    config = TrainConfig(steps=1000, learning_rate=2.0, warmup_steps=3)
    rates = [
        learning_rate(config, step, progress, 1000)
        for step, progress in [(0, 0.0), (1, 0.0), (2, 0.0), (3, 0.0)]
    ]
    assert rates == [0.5, 1.0, 1.5, 2.0]
    assert [round(learning_rate(config, 500, p, 1000), 9) for p in (0.25, 0.5, 1.0)] == [
        1.707106781,
        1.0,
        0.0,
    ]
    assert learning_rate(replace(config, schedule="constant"), 500, 0.5, 1000) == 2.0
    assert learning_rate(replace(config, warmup_steps=None), 0, 0.0, 50) == pytest.approx(2 / 6)
    assert learning_rate(replace(config, warmup_steps=None), 0, 0.0, None) == pytest.approx(2 / 101)


@pytest.mark.parametrize(
    ("total", "updates"), [(5, 0), (10, 1), (999, 99), (1000, 100), (1010, 100), (50_000, 100)]
)
def test_the_rate_rises_for_a_tenth_of_the_run_and_a_hundred_updates_at_most(
    total: int, updates: int
) -> None:
    for config, length in (
        (TrainConfig(steps=total, schedule="constant", learning_rate=1.0), total),
        (TrainConfig(minutes=1.0, schedule="constant", learning_rate=1.0), None),
    ):
        shares = [step / total for step in range(updates + 2)]  # updates take equally long
        rates = [learning_rate(config, k, share, length) for k, share in enumerate(shares)]
        risen = [(k + 1) / ((updates if length else 100) + 1) for k in range(updates + 2)]
        if length is None:
            risen = [max(rate, 10 * share) for rate, share in zip(risen, shares, strict=True)]
        assert rates == pytest.approx([min(1, rate) for rate in risen])
        assert rates[-1] == 1


def test_total_steps() -> None:
    assert total_steps(TrainConfig(steps=7), 100) == 7
    assert total_steps(TrainConfig(epochs=3, batch_size=8), 10) == 4
    assert total_steps(TrainConfig(minutes=1.0), 10) is None


@pytest.mark.parametrize("channels", [1, 3])
def test_loss_is_bits_per_dim_of_the_batch(channels: int) -> None:
    data = dataset(shape=(channels, 6, 5), classes=2)
    config = TrainConfig(steps=1, batch_size=16, precision="float32")
    model = network(channels=channels, condition=ClassCondition(2))
    rows = batch_indices(40, 16, seed=0, step=0)
    x, labels = (
        torch.from_numpy(data.train.images[rows]).long(),
        torch.from_numpy(data.train.labels[rows]),
    )
    expected = bits_per_dim(model, x, labels)
    (step,) = train(initial_state(model, config), data, config)
    assert step.bits_per_dim == pytest.approx(expected, abs=1e-5)


def test_training_learns() -> None:
    state, steps = fit(TrainConfig(steps=60, batch_size=20, learning_rate=0.01))
    assert (
        steps[-1].valid_bits_per_dim is not None
        and steps[-1].valid_bits_per_dim < 1.2 < 1.8 < steps[0].bits_per_dim
    )
    assert steps[-1].valid_bits_per_dim == evaluate(state.average, dataset().valid)
    assert sum(step.valid_bits_per_dim is not None for step in steps) == 20


@pytest.mark.parametrize("other", [{"accumulate": 3}, {"channels_last": False}, {"accumulate": 8}])
def test_parts_and_memory_layout_change_only_the_rounding(other: dict[str, Any]) -> None:
    config = TrainConfig(steps=5, batch_size=8, precision="float32")
    plain, plain_steps = fit(config)
    changed, changed_steps = fit(replace(config, **other))
    for a, b in zip(plain_steps, changed_steps, strict=True):
        assert a.bits_per_dim == pytest.approx(b.bits_per_dim, abs=1e-5)
    assert torch.allclose(weights(plain.average), weights(changed.average), atol=1e-4)


def test_bf16_agrees_with_float32() -> None:
    config = TrainConfig(steps=5, batch_size=8)
    exact, fast = (
        fit(replace(config, precision=p))[1][-1].bits_per_dim for p in ("float32", "bf16")
    )
    assert exact != fast
    assert exact == pytest.approx(fast, abs=0.02)


trainable = over(names=[name for name in CASES if name != "gated-all-conditions"])  # two maps


def data_for(model: ImageModel) -> ImageData:
    """Images of 6×6 with all that the model is conditioned on."""
    parts = {type(part): part for part in model.conditions}
    classes = parts[ClassCondition].classes if ClassCondition in parts else 0
    data = dataset(levels=model.levels, shape=(model.channels, 6, 6), classes=classes)
    generator = torch.Generator().manual_seed(0)
    splits = {}
    for name in ("train", "valid", "test"):
        own = getattr(data, name)
        drawn = {
            kind.annotation: parts[kind].random(len(own), (6, 6), generator).numpy()
            for kind in (VectorCondition, MapCondition)
            if kind in parts
        }
        splits[name] = replace(own, **drawn)
    return replace(
        data, **splits, map_levels=parts[MapCondition].levels if MapCondition in parts else None
    )


@trainable
def test_every_model_trains_in_both_precisions_alike(name: str) -> None:
    """From the same weights the same losses, in float32 and under autocast; weights move."""
    torch.manual_seed(0)
    model = CASES[name]()
    data = data_for(model)
    losses = []
    for precision in ("float32", "bf16"):
        config = TrainConfig(steps=3, batch_size=8, precision=precision)  # type: ignore[arg-type]
        copied = copy.deepcopy(model)
        losses.append(
            [step.bits_per_dim for step in train(initial_state(copied, config), data, config)]
        )
        assert not torch.equal(weights(copied), weights(model))
    assert losses[0] == pytest.approx(losses[1], abs=0.05)


@trainable
def test_recomputing_changes_memory_and_nothing_else(name: str) -> None:
    torch.manual_seed(0)
    model = CASES[name]()
    data = data_for(model)
    trained = []
    for recompute in (False, True):
        config = TrainConfig(steps=2, batch_size=8, precision="float32", recompute=recompute)
        copied = copy.deepcopy(model)
        list(train(initial_state(copied, config), data, config))
        trained.append(weights(copied))
    assert torch.equal(*trained)


@pytest.mark.parametrize("name", ["gated", "pixel-cnn", "row-lstm", "diagonal"])
def test_recomputing_keeps_less(name: str) -> None:
    torch.manual_seed(0)
    model, kept = CASES[name]().train(), []
    x = torch.zeros(4, model.channels, 12, 12, dtype=torch.int64)
    for model.recompute in (False, True):
        tensors: dict[int, int] = {}
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t, tensors=tensors: (tensors.update({t.data_ptr(): t.nbytes}), t)[1], lambda t: t
        ):
            model(x)
        kept.append(sum(tensors.values()))
    assert kept[1] < 0.7 * kept[0]


def test_the_loss_of_a_density_is_that_of_dequantised_images() -> None:
    torch.manual_seed(0)
    data = dataset()
    model = GatedPixelCNN(levels=4, features=8, layers=2, head="logistic")
    config = TrainConfig(
        steps=20, batch_size=20, precision="float32", objective="density", learning_rate=0.01
    )
    steps = list(train(initial_state(model, config), data, config))
    torch.manual_seed(0)
    untrained = GatedPixelCNN(levels=4, features=8, layers=2, head="logistic")
    rows = batch_indices(40, 20, seed=0, step=0)
    x = torch.from_numpy(data.train.images[rows]).long()
    expected = np.mean([dequantised_bits_per_dim(untrained, x) for _ in range(20)])
    assert steps[0].bits_per_dim == pytest.approx(expected, abs=0.1)
    assert steps[0].bits_per_dim > bits_per_dim(untrained, x)
    assert steps[-1].bits_per_dim < steps[0].bits_per_dim
    with pytest.raises(ValueError, match="head='softmax', whose density is its probability"):
        fit(TrainConfig(steps=1, objective="density"))


def test_same_seed_same_weights_and_torch_random_state_is_left_alone() -> None:
    config = TrainConfig(steps=4, batch_size=8, crop=4, flip=True)
    before = torch.get_rng_state()
    first, _ = fit(config, dropout=0.5)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(7)
    second, _ = fit(config, dropout=0.5)
    third, _ = fit(replace(config, seed=1), dropout=0.5)
    assert torch.equal(weights(first.model), weights(second.model))
    assert not torch.equal(weights(first.model), weights(third.model))


def test_dropout_differs_between_steps() -> None:
    same_images = replace(dataset(), train=split(1))
    config = TrainConfig(steps=4, batch_size=1, learning_rate=1e-30, precision="float32")
    assert len({step.bits_per_dim for step in fit(config, same_images, dropout=0.5)[1]}) == 4
    assert len({step.bits_per_dim for step in fit(config, same_images)[1]}) == 1


def test_averaged_weights_follow_the_formula() -> None:
    config = TrainConfig(steps=30, batch_size=4, ema_decay=0.5, evaluate_every=100)
    state = initial_state(network(), config)
    expected = weights(state.model).double()
    for t, _ in enumerate(train(state, dataset(), config)):
        decay = min(0.5, (1 + t) / (10 + t))
        expected = decay * expected + (1 - decay) * weights(state.model).double()
        assert torch.allclose(weights(state.average).double(), expected, atol=1e-6)
    none, _ = fit(replace(config, ema_decay=0.0, steps=2))
    assert torch.equal(weights(none.average), weights(none.model))


def test_rmsprop_and_weight_decay_on_weights_only() -> None:
    config = TrainConfig(steps=1, optimizer="rmsprop", weight_decay=0.1)
    state = initial_state(network(), config)
    assert isinstance(state.optimizer, torch.optim.RMSprop)
    decayed, others = state.optimizer.param_groups
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.1, 0)
    assert min(p.ndim for p in decayed["params"]) >= 2 > max(p.ndim for p in others["params"])
    before = weights(state.model)
    list(train(state, dataset(), config))
    assert not torch.equal(weights(state.model), before)


def test_gradient_is_clipped() -> None:
    config = TrainConfig(steps=1, batch_size=8, clip_norm=1e-3)
    state = initial_state(network(), config)
    seen: list[float] = []
    for parameter in state.model.parameters():
        parameter.register_post_accumulate_grad_hook(
            lambda p: seen.append(float(p.grad.square().sum()))
        )
    applied: list[float] = []
    state.optimizer.register_step_pre_hook(
        lambda *_: applied.append(
            math.sqrt(sum(float(p.grad.square().sum()) for p in state.model.parameters()))
        )
    )
    (step,) = train(state, dataset(), config)
    assert step.gradient_norm == pytest.approx(math.sqrt(sum(seen)), rel=1e-4)
    assert step.gradient_norm > 1e-2
    assert applied == [pytest.approx(1e-3, rel=1e-3)]


def test_stops_when_validation_does_not_improve() -> None:
    ones = Split(images=np.full((4, 1, 6, 5), 3, np.uint8))
    zeros = Split(images=np.zeros((4, 1, 6, 5), np.uint8))
    config = TrainConfig(steps=100, batch_size=4, learning_rate=0.01, evaluate_every=2, patience=3)
    state, steps = fit(config, replace(dataset(), train=ones, valid=zeros))
    best = [step for step in steps if step.improved][-1]
    assert len(steps) == best.step + 3 * 2 < 30
    assert state.best_bits_per_dim == best.valid_bits_per_dim < steps[-1].valid_bits_per_dim


def test_without_validation_split_the_latest_weights_are_best() -> None:
    _, steps = fit(TrainConfig(steps=4, evaluate_every=2), replace(dataset(), valid=split(0)))
    assert [(step.improved, step.valid_bits_per_dim) for step in steps] == [
        (False, None),
        (True, None),
    ] * 2


def test_minutes_end_by_the_clock_and_the_rate_falls_with_it() -> None:
    _, steps = fit(
        TrainConfig(minutes=1 / 60, batch_size=4, warmup_steps=0, learning_rate=1.0, clip_norm=1e-6)
    )
    assert 0.9 < steps[-2].seconds <= 1.0 < steps[-1].seconds < 3.0
    assert steps[-1].progress == 1 and steps[-1].learning_rate < 0.1 < 0.9 < steps[0].learning_rate
    assert 1 < sum(step.valid_bits_per_dim is not None for step in steps) <= 21


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_and_is_not_applied(bad: float) -> None:
    config = TrainConfig(steps=5, batch_size=8, learning_rate=0.3, warmup_steps=0)
    state = initial_state(network(), config)
    steps = train(state, dataset(), config)
    next(steps)
    with torch.no_grad():
        state.model.head_out.bias[0] = bad
    before = weights(state.model)
    with pytest.raises(
        TrainingError,
        match=r"step 2: the loss is \S+ bits/dim .* rate of 0.\d+.* such as learning_rate=0.1",
    ):
        next(steps)
    assert torch.equal(weights(state.model).nan_to_num(), before.nan_to_num())
    assert state.step == 1
    assert all(p.grad is None for p in state.model.parameters())


@pytest.mark.parametrize("channels", [1, 3])
def test_evaluate_is_exact_over_all_images(channels: int) -> None:
    model = network(channels=channels, condition=ClassCondition(2), dropout=0.5).train()
    images = split(7, (channels, 6, 5), classes=2)
    nats = [
        float(
            score(
                model,
                torch.from_numpy(images.images[i : i + 1]).long(),
                torch.from_numpy(images.labels[i : i + 1]),
            )
        )
        for i in range(7)
    ]
    expected = -math.fsum(nats) / (7 * channels * 30 * math.log(2))
    calls: list[tuple[int, int]] = []
    for batch_size in (1, 3, 7, 64):
        bits = evaluate(
            model, images, batch_size=batch_size, progress=lambda *done: calls.append(done)
        )
        assert bits == pytest.approx(expected, abs=1e-6)
    assert model.training
    assert calls[7:10] == [(3, 7), (6, 7), (7, 7)]


def test_evaluate_weighs_images_of_different_sizes_by_their_sub_pixels() -> None:
    model = network()
    images = ragged()
    nats = [float(score(model, torch.from_numpy(image)[None].long())) for image in images.images]
    expected = -math.fsum(nats) / (sum(image.size for image in images.images) * math.log(2))
    assert evaluate(model, images, batch_size=2) == pytest.approx(expected, abs=1e-6)


def test_evaluate_refuses_an_empty_split() -> None:
    with pytest.raises(ValueError, match="empty"):
        evaluate(network(), split(0))


def test_trains_on_windows_of_pictures_of_different_sizes_with_many_levels() -> None:
    images = [
        np.random.default_rng(k).integers(0, 300, (1, 5 + k, 6)).astype(np.uint16) for k in range(4)
    ]
    data = replace(
        dataset(levels=300), train=Split(images=images), valid=Split(images=images), shape=None
    )
    _, steps = fit(TrainConfig(steps=2, batch_size=3, crop=5), data, levels=300)
    assert steps[-1].valid_bits_per_dim == pytest.approx(math.log2(300), abs=1)


def test_the_average_takes_buffers_as_they_are() -> None:
    """Such as the running statistics of a batch normalisation, of which there is no mean."""

    class Normed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = MaskedConv2d(1, 8, 3, channels=1, mask_type="A")
            self.norm = nn.BatchNorm2d(8)
            self.last = MaskedConv2d(8, 4, 1, channels=1, mask_type="B")

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(self.norm(self.first(x.float())).relu())  # type: ignore[no-any-return]

    config = TrainConfig(steps=3, batch_size=8, precision="float32")
    state = initial_state(as_model(Normed(), channels=1, levels=4), config)
    list(train(state, dataset(), config))
    kept, now = dict(state.average.named_buffers()), dict(state.model.named_buffers())
    name = next(name for name in now if name.endswith("running_mean"))
    assert now[name].any() and torch.equal(kept[name], now[name])
    assert all(torch.equal(kept[name], value) for name, value in now.items())


def test_maps_that_do_not_fit_the_mirror_image_are_refused() -> None:
    """A width of 7 and a map of 4: pixel 0 of the mirrored map would lie where pixel -1 was."""
    data = dataset(shape=(1, 6, 7))
    maps = np.zeros((1, 1, 3, 4), np.int64)
    data = replace(
        data,
        map_levels=3,
        **{
            name: replace(part, maps=maps.repeat(len(part), axis=0))
            for name in ("train", "valid", "test")
            for part in [getattr(data, name)]
        },
    )
    model = network(condition=MapCondition(1, scale=2, levels=3))
    check_fit(model, data, TrainConfig(steps=1), 1)
    with pytest.raises(UsageError, match="width 7 cannot be mirrored together with a map of scale"):
        check_fit(model, data, TrainConfig(steps=1, flip=True), 1)


def test_memory_is_that_of_layers_as_large_as_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """The widest layer of an auto-encoder sees few pixels."""
    monkeypatch.setattr(memory, "memory_bytes", lambda: 2**30)
    data = dataset(n=4, shape=(1, 128, 128))
    config = TrainConfig(steps=1, batch_size=32)
    small = ConvolutionalAutoencoder(levels=4, size=(128, 128), code_size=10)
    memory.check_memory(small, data, config)
    wide = GatedPixelCNN(levels=4, features=1024, layers=1, kernel_size=3)
    with pytest.raises(UsageError, match="batch_size=32 takes at least 2 GiB"):
        memory.check_memory(wide, data, config)


@pytest.mark.parametrize(
    ("optimizer", "length", "rate"),
    [
        ("muon", {"steps": 300}, 0.02),
        ("muon", {"steps": 2000}, 0.01),
        ("muon", {"epochs": 800, "batch_size": 4}, 0.005),  # of 40 images
        ("muon", {"steps": 10**6}, 0.003),
        ("muon", {"minutes": 1.0}, 0.00632),  # about 5,000 updates
        ("adamw", {"steps": 300}, 1e-3),
        ("rmsprop", {"minutes": 1.0}, 1e-3),
    ],
)
def test_the_usual_rate_falls_with_the_length(
    optimizer: Any, length: dict[str, Any], rate: float
) -> None:
    config = TrainConfig(optimizer=optimizer, **length)
    assert with_rate(config, dataset(), 5000).learning_rate == pytest.approx(rate, rel=1e-3)
    given = replace(config, learning_rate=0.123)
    assert with_rate(given, dataset(), 5000) is given
    (first,) = itertools.islice(train(initial_state(network(), config), dataset(), config), 1)
    plain = replace(config, learning_rate=0.01 if optimizer == "muon" else 1e-3)
    assert first.learning_rate == learning_rate(plain, 0, 0.0, total_steps(config, 40))


def test_a_length_without_updates_has_the_plain_default() -> None:
    config = with_rate(TrainConfig(minutes=1.0), dataset(), None)
    assert config.learning_rate == 0.01
