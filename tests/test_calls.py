"""Evaluation is a property of a call: nothing surrounds it, and it leaves nothing behind."""

import copy
import itertools
import pickle
import random
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from cases import CASES, build, conditions, images, over
from torch import Tensor, nn

from nextpixel import (
    DiagonalBiLSTM,
    GatedPixelCNN,
    RowLSTM,
    TrainConfig,
    check_causality,
    complete,
    initial_state,
    sample,
    score,
    train,
)
from nextpixel.analysis.receptive_fields import effective_receptive_field, receptive_field
from nextpixel.autoencoding import lower_bound, reconstruct
from nextpixel.codec.compress import compress, decompress
from nextpixel.data.splits import ImageData, Split
from nextpixel.layers import constants
from nextpixel.models.autoencoder import PixelCNNAutoencoder
from nextpixel.models.core import ImageModel
from nextpixel.models.embedding import Embedding, embed
from nextpixel.models.evaluation import evaluating
from nextpixel.scoring import dequantised_score, entropy_map
from nextpixel.settings.preparation import Preparation
from nextpixel.settings.source import Source
from nextpixel.settings.training import EmbeddingConfig
from nextpixel.training.embedding import train_embedding
from nextpixel.walk import fronts, walk

every_case = over()
SIZES = {"autoencoder": (6, 6), "autoencoder-variational": (6, 6)}


def surroundings(model: nn.Module | None = None) -> tuple[Any, ...]:
    """All that belongs to the caller."""
    modes = () if model is None else tuple(part.training for part in model.modules())
    return (
        modes,
        torch.get_num_threads(),
        torch.get_rng_state().tolist(),
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.is_autocast_enabled("cpu"),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.are_deterministic_algorithms_enabled(),
        torch.get_float32_matmul_precision(),
    )


@contextmanager
def strange_surroundings(dtype: torch.dtype) -> Iterator[None]:
    """What a caller may have set."""
    torch.set_default_dtype(dtype)
    torch.use_deterministic_algorithms(True)
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
            yield
    finally:
        torch.set_float32_matmul_precision("highest")
        torch.use_deterministic_algorithms(False)
        torch.set_default_dtype(torch.float32)


def steps_of(model: ImageModel, x: Tensor, values: Any) -> Iterator[Tensor]:
    """The distributions of a walk over x; x is not changed."""
    return (log_pmf for _, log_pmf in walk(model, x, values))


@every_case
def test_calls_may_be_interleaved(name: str) -> None:
    """Two walks and a pass of training in between, and every part of the model in its own mode."""
    model, size = build(name), SIZES.get(name, (2, 2))
    chance = random.Random(name)
    x, values = images(model, 2, size), conditions(model, 2, size)
    alone = [list(itertools.islice(steps_of(model, part, values), 5)) for part in (x, x.flip(0))]
    scored = score(model, x, values)
    for part in model.modules():
        part.training = chance.random() < 0.7
    model.training = True
    before = surroundings(model)
    walks = [steps_of(model, part, values) for part in (x, x.flip(0))]
    together: list[list[Tensor]] = [[], []]
    turns = [0] * len(alone[0]) + [1] * len(alone[1])
    chance.shuffle(turns)
    for turn in turns:
        together[turn].append(next(walks[turn]))
        assert surroundings(model) == before
    assert torch.equal(score(model, x, values), scored)
    for found, wanted in zip(together, alone, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
    assert surroundings(model) == before


@every_case
def test_surroundings_change_nothing_and_do_not_change(name: str) -> None:
    """Scores and draws follow the weights alone: no default type, autocast, or precision."""
    torch.manual_seed(0)
    model, size = CASES[name](), SIZES.get(name, (2, 2))
    x, values = images(model, 2, size), conditions(model, 2, size)

    def results() -> list[Tensor]:
        generator = torch.Generator().manual_seed(1)
        return [
            score(model, x, values),
            sample(model, 2, size, condition=values, generator=generator),
            dequantised_score(model, x, values, generator=generator),
            next(fronts(model, x, values))[1],
        ]

    wanted = results()
    with strange_surroundings(torch.float64 if len(name) % 2 else torch.bfloat16):
        before = surroundings(model)
        found = results()
        assert surroundings(model) == before
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == other.dtype and torch.equal(one, other)


def test_codes_and_vectors_are_those_of_float32_without_dropout() -> None:
    model = build("autoencoder-variational").float().train()
    embedding = Embedding(levels=4, size=(8, 8), outputs=3, dropout=0.5)
    x, pictures = images(model, 2, (6, 6)), torch.randint(4, (2, 1, 8, 8))
    assert isinstance(model, PixelCNNAutoencoder)

    def results() -> list[Tensor]:
        generator = torch.Generator().manual_seed(1)
        return [
            lower_bound(model, x, generator=generator),
            reconstruct(model, x, generator=generator),
            embed(embedding, pictures),
        ]

    wanted = results()
    with strange_surroundings(torch.bfloat16):
        found = results()
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
    assert model.encoder.training and embedding.encoder.training


def test_nothing_is_left_behind() -> None:
    """Functions that look into a model, and steps of training, give the caller's state back."""
    model = build("gated-vector").float().train()
    model.encoder.eval()
    other = Embedding(levels=3, size=(4, 4), outputs=2, dropout=0.5).eval()
    x, values = images(model, 2, (4, 3)), conditions(model, 2, (4, 3))
    known = torch.rand(4, 3) < 0.5
    pixels = np.zeros((8, 1, 4, 4), np.uint8)
    split = Split(images=pixels, labels=np.arange(8, dtype=np.int64) % 2)
    config = EmbeddingConfig(steps=2, classes=2, each=2)

    def results() -> list[Any]:
        generator = torch.Generator().manual_seed(2)
        report = check_causality(model, shape=(2, 2), draws=1)
        return [
            report.depends,
            receptive_field(model, (3, 3)),
            effective_receptive_field(model, x, condition=values).strength,
            complete(model, x, known, condition=values, generator=generator),
            entropy_map(model, x, values),
            [step.loss for step in train_embedding(trained.pop(), split, config)],
            embed(other, torch.from_numpy(pixels)),
        ]

    trained = [copy.deepcopy(other) for _ in range(2)]
    wanted = results()
    with strange_surroundings(torch.float32):
        before = surroundings(model), surroundings(other)
        found = results()
        assert (surroundings(model), surroundings(other)) == before
    for one, wanted_one in zip(found, wanted, strict=True):
        assert torch.equal(torch.as_tensor(one), torch.as_tensor(wanted_one))


@pytest.mark.parametrize(
    ("training", "precision"), [(True, "float32"), (False, "float32"), (True, "bf16")]
)
def test_an_update_leaves_modes_alone(training: bool, precision: Any) -> None:
    """A frozen part of a model in training mode stays frozen; else all of it is trained.

    In a caller's autocast, torch would go on with the weights that it rounded in the first pass.
    """
    pictures = np.random.default_rng(0).integers(0, 2, (8, 1, 4, 4)).astype(np.uint8)
    few = Split(images=pictures)
    data = ImageData(
        source=Source("digits"),
        levels=2,
        channels=1,
        shape=(4, 4),
        classes=(),
        train=few,
        valid=few,
        test=few,
        preparation=Preparation(),
    )
    config = TrainConfig(steps=2, batch_size=4, precision=precision)
    torch.manual_seed(0)
    model = GatedPixelCNN(levels=2, features=8, layers=2, dropout=0.5).train(training)
    model.head_out.eval()
    twin, seen = copy.deepcopy(model), []
    model.head_out.register_forward_hook(lambda module, *_: seen.append(module.training))
    before = surroundings(model)
    losses = []
    for step in train(initial_state(model, config), data, config):
        losses.append(step.bits_per_dim)
        assert surroundings(model) == before
    assert seen[0] is not training
    with strange_surroundings(torch.bfloat16):
        with torch.inference_mode(False):
            state = initial_state(twin, config)
        assert [step.bits_per_dim for step in train(state, data, config)] == losses
    for one, other in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(one, other)


def test_threads_do_not_meet() -> None:
    """Draws, scores and an embedding's training at once give what each gives alone."""
    model = GatedPixelCNN(levels=3, features=8, layers=2, dropout=0.4).train()
    x = images(model, 2, (5, 6))
    torch.set_num_threads(2)

    def drawn(seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return sample(model, 2, (5, 6), generator=generator)

    wanted, scored = [drawn(seed) for seed in range(6)], score(model, x)
    with ThreadPoolExecutor(4) as pool:
        draws = [pool.submit(drawn, seed) for seed in range(6)]
        scores = [pool.submit(score, model, x) for _ in range(12)]
        while not all(future.done() for future in draws + scores):
            (-model(x).log_prob(x)).mean().backward()  # somebody else's training
        assert all(torch.equal(a.result(), b) for a, b in zip(draws, wanted, strict=True))
        assert all(torch.equal(a.result(), scored) for a in scores)
    assert torch.get_num_threads() == 2
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == 2
    assert {part.training for part in model.modules()} == {True}


class _Noisy(nn.Module):
    """Somebody's encoder: every kind of mode, and references to parts that are no sub-modules."""

    def __init__(self) -> None:
        super().__init__()
        self.drop, self.norm = nn.Dropout(0.5), nn.BatchNorm2d(2)
        self.stages, self.by_name = [self.drop, self.norm], {"drop": self.drop}
        self.applied = self.apply_all
        self.parts = nn.ModuleList(self.stages)

    def apply_all(self, x: Tensor) -> Tensor:
        for stage in (*self.stages, self.by_name["drop"], *self.parts):
            x = stage(x)
        return x + float(self.training)

    def forward(self, x: Tensor) -> Tensor:
        return self.applied(x)


def test_a_view_is_in_evaluation_mode_and_shares_all_tensors() -> None:
    module, x, seen = _Noisy(), torch.randn(4, 2, 3, 3), []
    module.norm.register_forward_hook(lambda *_: seen.append(1))
    wanted = copy.deepcopy(module).eval()(x)
    view = evaluating(module)
    assert torch.equal(view(x), wanted) and len(seen) == 2 + 2
    assert module.training and module.norm.num_batches_tracked == 0
    assert view.parts[0] is view.drop and view.stages[0] is view.drop
    assert [*map(id, view.parameters())] == [*map(id, module.parameters())]
    module.norm.weight = nn.Parameter(torch.full((2,), 3.0))
    assert view.norm.weight is module.norm.weight


@every_case
def test_deferred_initialisation_loses_nothing(name: str) -> None:
    """A model that is made without memory and then filled is the model, and so are its copies."""
    model, size = build(name), SIZES.get(name, (3, 4))
    x, values = images(model, 2, size), conditions(model, 2, size)
    with torch.device("meta"):
        made = CASES[name]()
    assert all(tensor.is_meta for tensor in itertools.chain(made.parameters(), made.buffers()))
    made = made.double().to_empty(device="cpu")
    with torch.no_grad():
        for tensor in itertools.chain(made.parameters(), made.buffers()):
            tensor.fill_(torch.nan)
    torch.manual_seed(0)
    made.reset_parameters()
    assert all(tensor.isfinite().all() for tensor in made.state_dict().values())
    drawn, directly = (
        torch.cat([p.detach().flatten() for p in of.parameters()]) for of in (made, CASES[name]())
    )
    assert float(drawn.std()) == pytest.approx(float(directly.std()), rel=0.3)
    made.load_state_dict(model.state_dict(), strict=True)
    wanted = score(model, x, values)
    for twin in (made, copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert torch.equal(score(twin, x, values), wanted)
    assert torch.allclose(score(made.half().double(), x, values), wanted, rtol=0.05)


def test_what_is_computed_from_shapes_is_bounded() -> None:
    """Any number of sizes of batches leaves no more than there is room for."""
    models = RowLSTM(levels=2, features=4, layers=1), DiagonalBiLSTM(levels=2, features=4, layers=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "_ROOM", 1 << 14)
        for batch in range(1, 7):
            for model in models:
                x = images(model, batch, (6, 6))
                nats = -model(x).log_prob(x).sum()
            assert sum(size for _, size in constants._KEPT.values()) <= 1 << 14
        nats.backward()  # it holds on to what has been forgotten


@pytest.mark.parametrize("name", ["gated-orders", "diagonal", "multi-scale"])
def test_the_default_device_is_the_callers_own_matter(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All is made where the model is, whatever the default device."""
    model = build(name)
    x, given = images(model, 2, (4, 3)), conditions(model, 2, (4, 3))
    known = torch.arange(3).expand(4, 3) == 1

    def found() -> list[Tensor]:
        one, other = (torch.Generator().manual_seed(k) for k in range(2))
        return [
            score(model, x, given),
            sample(model, 2, (4, 3), condition=given, generator=one),
            complete(model, x, known, condition=given, generator=other),
            decompress(model, compress(model, x, given)),
        ]

    before = found()
    monkeypatch.setattr(constants, "_KEPT", OrderedDict())
    with torch.device("meta"):
        after = found()
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
