"""The border: every form of the same images gives the same numbers; all else is one sentence."""

import copy
import linecache
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from borders import rows_of
from cases import build, conditions, images, over
from PIL import Image
from test_bad_input import BOTH, CLASSES, GREY, MAPS, X, unchecked_types
from test_structure import ROOT
from torch import nn
from torch._subclasses import FakeTensorMode

from nextpixel import (
    GatedPixelCNN,
    MapCondition,
    Preparation,
    TrainConfig,
    VectorCondition,
    bits_per_dim,
    check_causality,
    complete,
    dequantised_bits_per_dim,
    draw_images,
    evaluate_model,
    histogram_bits_per_dim,
    initial_state,
    load,
    load_data,
    open_trained,
    resume_model,
    sample,
    score,
    train,
    train_model,
)
from nextpixel.analysis.anomaly import anomaly_map, surprise_map
from nextpixel.analysis.condition_worth import class_log_probabilities, condition_worth
from nextpixel.analysis.receptive_fields import effective_receptive_field, receptive_field
from nextpixel.analysis.typicality import hidden_statistics
from nextpixel.autoencoding import divergence, log_weights, reconstruct
from nextpixel.errors import UsageError
from nextpixel.inference.interpolation import between, interpolate
from nextpixel.layers.heads import Categorical
from nextpixel.scoring import (
    dequantised,
    dequantised_score,
    entropy_map,
    log_prob_map,
    scale_scores,
)
from nextpixel.settings.requests import SampleConfig, SampleRequest
from nextpixel.walk import fronts, walk


@pytest.fixture(autouse=True)
def _as_for_users() -> Iterator[None]:
    with unchecked_types():
        yield


def noise() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@over()
def test_every_form_of_the_same_images_gives_the_same_numbers(name: str) -> None:
    model = build(name)
    size = (6, 6) if name.startswith("autoencoder") else (3, 2)
    x, h = images(model, 2, size), conditions(model, 2, size)
    known = torch.ones(size, dtype=torch.bool)
    known[-1, -1] = False

    def scores(x: Any) -> list[Any]:
        return [score(model, x, h), dequantised_score(model, x, h, generator=noise())]

    def maps(x: Any, h: Any, known: Any) -> list[Any]:
        filled = complete(model, x, known, condition=h, generator=noise())
        return [log_prob_map(model, x, h), filled]

    expected = scores(x)
    array = x.numpy().astype(np.uint16)[..., ::-1][..., ::-1]
    for given in (x.to(torch.uint8), x.to(torch.int16), x.int(), array):
        assert all(map(torch.equal, scores(given), expected))
    both = maps(x, h, known)
    assert all(map(torch.equal, maps(array, h, known.numpy()), both))
    alone = maps(x[0].numpy().astype(np.int16), rows_of(h, slice(1)), known.tolist())
    torch.testing.assert_close(alone[0], both[0][0], rtol=1e-9, atol=1e-9)
    assert alone[1].shape == (1, *x.shape[1:])


@over()
def test_log_prob_refuses_what_the_model_does_not_know_and_reads_values_once(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, size = build(name), (6, 6)
    x, h = images(model, 2, size), conditions(model, 2, size)
    read: list[str] = []
    with monkeypatch.context() as patch:
        for reader in ("tolist", "item", "__bool__", "__int__", "__float__"):
            patch.setattr(torch.Tensor, reader, noted(reader, read))
        -model(x, h).log_prob(x)
    assert read == ["tolist"]
    for wrong in (x + model.levels, x - 1 - x.min()):
        with pytest.raises(UsageError, match=f"this model knows 0 … {model.levels - 1}"):
            model(wrong, h).log_prob(wrong)
    for floats in (x / model.levels, x.double()):
        with pytest.raises(TypeError, match=f"give integers 0 … {model.levels - 1}"):
            model(floats, h)
        with pytest.raises(TypeError, match=f"give integers 0 … {model.levels - 1}"):
            model(x, h).log_prob(floats)
    for place, part in enumerate(model.conditions):
        values = list(h)
        if part.count is None:
            values[place] = values[place].clone()
            values[place].view(2, -1)[1, 0] = torch.inf
        else:
            values[place] = values[place] * 0 + part.count
        with pytest.raises(UsageError, match="not finite|knows the"):
            model(x, tuple(values)).log_prob(x)


def noted(reader: str, read: list[str]) -> Callable[[torch.Tensor], Any]:
    """A method that brings values to Python, and is noted."""
    method = getattr(torch.Tensor, reader)

    def note(self: torch.Tensor) -> Any:
        read.append(reader)
        return method(self)

    return note


USUAL: dict[str, tuple[dict[str, Any], torch.Tensor, str]] = {
    "ToTensor": ({"levels": 256}, X / 4, r"\(x \* 255\).round\(\).long\(\) of reals"),
    "black and white": ({"levels": 2}, X * 0 + 255, "value 255.*x.long\\(\\) \\* 2 // 256"),
    "bytes": ({"levels": 16, "head": "logistic"}, X + 255, "value 255.*knows 0 … 15"),
    "spins": ({"levels": 2}, X - 1, r"value -1.*\(x \+ 1\) // 2"),
    "one image of two": ({"levels": 4}, X[:1], "distribution is of"),
}


@pytest.mark.parametrize("name", USUAL)
def test_a_training_loop_refuses_the_usual_mistakes(name: str) -> None:
    keywords, x, sentence = USUAL[name]
    model = GatedPixelCNN(features=4, layers=1, **keywords)
    with pytest.raises((UsageError, TypeError), match=sentence):
        model(X if len(x) == 1 or x.is_floating_point() else x).log_prob(x)


def test_values_are_not_read_while_operations_are_recorded_or_transformed() -> None:
    logits, x = torch.randn(2, 4, 3, 3), X + 9

    def nats(logits: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return Categorical(logits, 1, 4).log_prob(x)

    with FakeTensorMode(allow_non_fake_inputs=True):
        assert (
            nats(torch.zeros(2, 4, 3, 3), torch.zeros(X.shape, dtype=torch.int64)).shape == X.shape
        )
    one = torch.func.vmap(lambda of, x: nats(of[None], x[None])[0])(logits, X)
    torch.testing.assert_close(one, nats(logits, X))
    assert nats(logits.to("meta"), x.to("meta")).shape == X.shape
    with pytest.raises(UsageError, match="value 9"):
        nats(logits, x)


PICTURE = Image.fromarray(np.array([[0, 3, 1], [2, 1, 0]], np.uint8))


def test_pictures_lists_and_single_images_are_images() -> None:
    x = torch.tensor(np.asarray(PICTURE)).view(1, 1, 2, 3)
    expected = score(GREY, x)
    for given in (PICTURE, x[0, 0], x[0], np.asarray(PICTURE).tolist()):
        assert score(GREY, given).shape == () and score(GREY, given) == expected[0]
    assert torch.allclose(score(GREY, [PICTURE, x[0].numpy()]), expected.expand(2))
    assert entropy_map(GREY, PICTURE).shape == (1, 2, 3) and score(GREY, x[:0]).shape == (0,)
    colours = GatedPixelCNN(channels=3, features=6, layers=1)
    assert torch.equal(
        score(colours, PICTURE.convert("RGB")), score(colours, x.expand(1, 3, 2, 3))[0]
    )
    binary = GatedPixelCNN(levels=2, features=4, layers=1)
    assert score(binary, PICTURE.point(lambda v: 255 * (v > 0)).convert("1")) == score(
        binary, (x > 0).long()[0]
    )


def test_numbers_lists_and_arrays_are_conditions() -> None:
    expected = score(CLASSES, X, torch.tensor([1, 1]))
    for given in (1, np.int16(1), [1, 1], np.array([1, 1], np.uint16), (1, 1), (torch.tensor(1),)):
        assert torch.equal(score(CLASSES, X, given), expected)
    assert torch.equal(
        score(BOTH, X, (1, [0.5, 1.0])),
        score(BOTH, X, (torch.tensor([1, 1]), torch.tensor([[0.5, 1.0]] * 2))),
    )
    assert torch.equal(score(MAPS, X, np.ones((2, 2), int)), score(MAPS, X, X[:, :, :2, :2] + 1))


def test_a_walk_over_one_image_or_an_array_reads_what_is_written() -> None:
    x = np.zeros((1, 2, 3), np.int64)
    total = 0.0
    for site, log_pmf in walk(GREY, x):
        assert log_pmf.shape == (4,)
        x[site] = int(log_pmf.argmax())
        total += float(log_pmf.max())
    assert total == pytest.approx(float(score(GREY, x).sum()), rel=1e-5)
    for sites, log_pmf in fronts(GREY, x, rows=[False, True]):
        assert log_pmf.shape == (len(sites.rows), 4) and sites.rows.eq(1).all()


class Bar:
    """A bar like tqdm's: the second argument is a text."""

    def __init__(self, iterable: Any = None, desc: str | None = None, total: Any = None) -> None:
        assert desc is None
        self.iterable, self.total, self.seen = iterable, total, 0
        BARS.append(self)

    def __iter__(self) -> Iterator[Any]:
        for item in self.iterable:
            self.seen += 1
            yield item


BARS: list[Bar] = []


def test_a_bar_is_told_the_number_of_steps() -> None:
    sample(GREY, np.int64(2), np.array([3, 2]), progress=Bar, temperature=np.float32(1))
    assert BARS[-1].seen == BARS[-1].total > 1
    told: list[int] = []

    def show(steps: Iterable[Any], length: int) -> Iterable[Any]:
        told.append(length)
        return steps

    sample(GREY, 2, (3, 2), progress=show)
    assert told == [BARS[-1].total]


def test_integers_are_widened_before_noise_is_added() -> None:
    x = torch.tensor([[[[0, 255]]]])
    expected = dequantised(x, noise())
    for given in (x.to(torch.uint8), x.to(torch.int16), x.numpy().astype(np.uint8)):
        assert torch.equal(dequantised(given, noise()), expected)


# --- every function, with every wrong argument ---

VECTORS = GatedPixelCNN(levels=4, features=4, layers=1, condition=VectorCondition(2))
ENCODED = build("autoencoder-variational").float()
FROZEN = copy.deepcopy(GREY).requires_grad_(False)
SIX = torch.zeros(2, 2, 6, 6, dtype=torch.int64)
KNOWN = torch.ones(3, 3, dtype=torch.bool)
GENERATORS = [0, np.random.default_rng(0)]
MODELS = [None, "digits", nn.Linear(1, 1), copy.deepcopy(GREY).to("meta")]
IMAGES = [
    None, "a", 3, {}, [], [[1], [2, 3]], [object()], X.float(), X > 0, X + 9, X - 1, X[None],
    X[:, :, :0], X[:, :, :, :0], X.expand(2, 3, 3, 3), X.movedim(1, -1), X[:, 0], X.numpy() / 4,
    np.ma.masked_equal(X.numpy(), 0), np.full((2, 1, 3, 3), 2**63, np.uint64),
    [np.zeros((1, 2, 2), int), np.zeros((1, 3, 3), int)], PICTURE.convert("RGB"),
    X.to_sparse(), X.to("meta"),
]  # fmt: skip
CONDITIONS = [None, "a", {}, 1.5, 7, -2, [0, 1, 2], [0.5, 1], X, object(), (X, X), [[0], [1, 2]]]
SHAPES = [None, 3, "ab", (2,), (2, 3, 4), (2.0, 2), (0, 2), (2, -1), {}, X]
COUNTS = [None, 0, -1, 1.5, "2", [1], True, np.nan]
NUMBERS = [None, "1", -1, float("nan"), float("inf"), [1.0], 1j]
BARS_OF_NO_USE = [True, "tqdm", lambda steps, length: None]
MASKS = [None, "a", KNOWN.long(), KNOWN[:2, :2], [[True], [True, False]], KNOWN.numpy() / 2]
ROWS = ["a", [True], KNOWN, [1, 1, 1]]
SCORED = {"model": MODELS, "x": IMAGES, "condition": [1, "a", X]}
DRAWN = {"temperature": NUMBERS, "guidance": [*NUMBERS, 2.0], "generator": GENERATORS}
DRAWN |= {"batch_size": COUNTS, "progress": BARS_OF_NO_USE}
CODED = {
    "model": [*MODELS, GREY],
    "x": [None, "a", SIX.float(), SIX + 9, X],
    "generator": GENERATORS,
}


def visit(walked: Callable[..., Iterator[Any]]) -> Callable[..., Any]:
    return lambda *given, **keywords: list(walked(*given, **keywords))


ENTRIES: dict[str, tuple[Callable[..., Any], dict[str, Any], dict[str, list[Any]]]] = {
    "score": (score, {"model": GREY, "x": X}, SCORED),
    "score, given": (score, {"model": CLASSES, "x": X, "condition": 1}, {"condition": CONDITIONS}),
    "score, given a vector": (
        score,
        {"model": VECTORS, "x": X, "condition": [0.0, 1.0]},
        {"condition": [None, "a", 1, [1.0], [1, 2], [np.nan, 1.0], [np.inf, 1.0], X.float()]},
    ),
    "score, given two": (
        score,
        {"model": BOTH, "x": X, "condition": (1, [0.0, 1.0])},
        {"condition": [None, 1, (None, [0.0, 1.0]), (1, None), (1, [0.0, np.nan])]},
    ),
    "score, given a map": (
        score,
        {"model": MAPS, "x": X, "condition": np.zeros((2, 2), int)},
        {"condition": [None, 1, X, X[:, :, :2, :2] + 4, X[:, :, :2, :2].float(), PICTURE]},
    ),
    "scale_scores": (scale_scores, {"model": GREY, "x": X}, SCORED),
    "bits_per_dim": (bits_per_dim, {"model": GREY, "x": X}, SCORED | {"x": [*IMAGES, X[:0]]}),
    "log_prob_map": (log_prob_map, {"model": GREY, "x": X}, SCORED),
    "entropy_map": (entropy_map, {"model": GREY, "x": X}, SCORED),
    "surprise_map": (surprise_map, {"model": GREY, "x": X}, SCORED),
    "anomaly_map": (anomaly_map, {"model": GREY, "x": X}, SCORED | {"windows": [3, (), (0,), "a"]}),
    "hidden_statistics": (hidden_statistics, {"model": GREY, "x": X}, SCORED),
    "dequantised": (dequantised, {"x": X}, {"x": ["a", X / 4, None], "generator": GENERATORS}),
    "dequantised_score": (
        dequantised_score, {"model": GREY, "x": X}, SCORED | {"generator": GENERATORS},
    ),
    "dequantised_bits_per_dim": (
        dequantised_bits_per_dim, {"model": GREY, "x": X}, SCORED | {"x": [X[:0], X + 9]},
    ),
    "sample": (
        sample,
        {"model": GREY, "n": 1, "shape": (2, 2)},
        DRAWN | {"model": MODELS, "n": COUNTS[2:], "shape": SHAPES, "condition": [1, "a"]},
    ),
    "complete": (
        complete,
        {"model": GREY, "x": X, "known": KNOWN},
        DRAWN | SCORED | {"known": MASKS, "draws": COUNTS},
    ),
    "walk": (visit(walk), {"model": GREY, "x": X}, SCORED | {"rows": ROWS}),
    "fronts": (visit(fronts), {"model": GREY, "x": X}, SCORED | {"rows": ROWS, "x": [X.tolist()]}),
    "interpolate": (
        interpolate,
        {"model": VECTORS, "first": [0.0, 1.0], "last": [1.0, 0.0], "shape": (2, 2)},
        DRAWN
        | {"model": [*MODELS, GREY], "first": [None, "a", [1.0], 3]}
        | {"last": [None, [np.inf, 0.0], [np.nan] * 2], "shape": SHAPES}
        | {"steps": [*COUNTS, 1], "guidance": NUMBERS},
    ),
    "between": (
        between,
        {"first": [0, 1], "last": np.ones(2), "steps": 2},
        {"first": [None, "a", 3, [1.0], [np.nan] * 2, torch.ones(2, 2)], "steps": [*COUNTS, 1]},
    ),
    "histogram_bits_per_dim": (histogram_bits_per_dim, {}, {"data": [X, None]}),
    "GatedPixelCNN": (GatedPixelCNN, {}, {"levels": ["2", 1, None], "width": [3]}),
    "reconstruct": (
        reconstruct, {"model": ENCODED, "x": SIX}, CODED | {"draws": COUNTS},
    ),
    "log_weights": (
        log_weights, {"model": ENCODED, "x": SIX, "samples": 1}, CODED | {"samples": COUNTS},
    ),
    "divergence": (
        divergence, {"model": ENCODED, "x": SIX}, {"model": CODED["model"], "x": CODED["x"]},
    ),
    "class_log_probabilities": (
        class_log_probabilities,
        {"model": CLASSES, "x": X},
        {"model": [*MODELS, GREY], "x": IMAGES, "prior": ["a", [1.0], [np.nan] * 3]},
    ),
    "condition_worth": (condition_worth, {"model": CLASSES, "split": X}, {"split": [X, None, "a"]}),
    "check_causality": (
        check_causality,
        {"model": GREY},
        {"model": MODELS, "shape": SHAPES, "draws": COUNTS, "generator": GENERATORS}
        | {"channels": COUNTS[1:], "levels": COUNTS[1:], "condition": [1, "a", X]},
    ),
    "receptive_field": (
        receptive_field,
        {"model": GREY, "shape": (3, 3)},
        {"shape": SHAPES, "pixel": [3, (9, 0), (0, -1), (0.5, 1), "ab"], "condition": [1, "a"]},
    ),
    "effective_receptive_field": (
        effective_receptive_field, {"model": GREY, "x": X}, SCORED | {"pixel": [3, (9, 0)]},
    ),
    "load_data": (
        load_data,
        {"source": X.numpy()},
        {"preparation": ["a", {"sise": 3}, 3], "source": [None, 3, object()]},
    ),
    "train_model": (
        train_model,
        {"source": "digits"},
        {"model": [GREY, "row-lstm", {"modle": 1}], "training": ["fast", 3, {"stps": 1}]}
        | {"preparation": [3, {"sise": 3}], "out": [3]},
    ),
    "resume_model": (resume_model, {"folder": "x"}, {"folder": [None, GREY], "changes": ["a", 3]}),
    "evaluate_model": (evaluate_model, {"model": "mnist"}, {"model": [GREY], "request": ["a", {}]}),
    "draw_images": (
        draw_images,
        {"model": "mnist"},
        {"model": [None, GREY], "request": ["a", {"m": 1}], "config": [3, {"temperature": "1"}]},
    ),
    "open_trained": (open_trained, {"model": "mnist"}, {"model": [GREY, 3, None]}),
    "load": (load, {"path_or_name": "mnist"}, {"path_or_name": [GREY, 3, None]}),
    "initial_state": (
        initial_state,
        {"model": GREY, "config": TrainConfig(steps=1)},
        {"model": [*MODELS, FROZEN], "config": [3, {}, None]},
    ),
    "train": (visit(train), {"state": GREY, "data": X, "config": 3}, {"state": [GREY, None]}),
    "SampleConfig": (
        SampleConfig, {}, {"temperature": NUMBERS, "guidance": NUMBERS, "batch_size": COUNTS[1:]}
        | {"seed": [None, -1, "0", 1.5]},
    ),
    "SampleRequest": (SampleRequest, {}, {"n": COUNTS[1:-1], "columns": [0, "3"]}),
    "TrainConfig": (
        TrainConfig,
        {},
        {"steps": COUNTS[1:], "learning_rate": ["fast", -1, [1]], "ema_decay": ["a", 1.0, None]}
        | {"weight_decay": ["a", -1.0, None], "minutes": ["a", 0]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ENTRIES)
def test_a_wrong_argument_is_one_sentence(name: str) -> None:
    function, right, wrong = ENTRIES[name]
    silent = []
    for parameter, values in wrong.items():
        for value in values:
            what = f"{name}({parameter}={value!r:.50})"
            try:
                function(**(right | {parameter: value}))
            except (UsageError, TypeError) as error:
                frame = traceback.extract_tb(error.__traceback__)[-1]
                line = linecache.getline(frame.filename, frame.lineno or 0)
                ours = frame.filename.startswith(str(ROOT)) and "raise " in line
                assert ours and "\n" not in str(error), f"{what}: {error}"
            except Exception as error:
                raise AssertionError(f"{what}: {type(error).__name__}: {error}") from error
            else:
                silent.append(what)
    assert not silent


def test_some_of_a_preparation_are_its_fields() -> None:
    images = np.arange(40 * 4).reshape(40, 1, 2, 2).astype(np.uint8)
    data = load_data(images, {"levels": 4})
    assert (
        data.levels == 4
        and data.preparation == load_data(images, Preparation(levels=4)).preparation
    )


def test_maps_beyond_their_levels_are_no_unknown_maps() -> None:
    model = GatedPixelCNN(
        levels=4,
        features=4,
        layers=1,
        condition=MapCondition(1, scale=1, levels=3, categorical=True),
    )
    model(X, X - 1).log_prob(X)
    with pytest.raises(UsageError, match="value 3.*knows the values 0 … 2"):
        model(X, X + 3).log_prob(X)
