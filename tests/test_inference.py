"""A command is one call that Python can make, and an option means one thing in all commands."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from borders import nextpixel

from nextpixel import TrainConfig, load_data, train_model
from nextpixel.cli.app import app
from nextpixel.cli.helps import flag, shown_default
from nextpixel.data.splits import Split
from nextpixel.errors import UsageError
from nextpixel.inference.completion import complete_images
from nextpixel.inference.drawing import draw_images
from nextpixel.inference.evaluation import Evaluation, evaluate_model
from nextpixel.inference.inspection import inspect_model
from nextpixel.inference.masks import hidden_part
from nextpixel.inference.reconstruction import _pairs
from nextpixel.inference.selection import Selection
from nextpixel.inference.trained import open_trained
from nextpixel.inference.worth import measure_condition
from nextpixel.settings.choice import ModelChoice
from nextpixel.settings.requests import (
    CompletionRequest,
    DataRequest,
    InspectionRequest,
    InterpolationRequest,
    ReconstructionRequest,
    SampleConfig,
    SampleRequest,
)
from nextpixel.training.defaults import with_kind

REQUESTS: dict[str, list[type]] = {
    "evaluate": [DataRequest],
    "sample": [SampleRequest, SampleConfig, DataRequest],
    "complete": [CompletionRequest, SampleConfig, DataRequest],
    "reconstruct": [ReconstructionRequest, SampleConfig, DataRequest],
    "interpolate": [InterpolationRequest, SampleConfig, DataRequest],
    "inspect": [InspectionRequest, DataRequest],
    "condition-worth": [DataRequest],
}
SHARED = {"--device", "--enlarge", "--json", "--model", "--temperature", "--guidance", "--data"}
SHARED |= {"--split", "--vectors", "--captions", "--maps", "--embedding", "--text-encoder"}
SHARED |= {"--batch-size"}


def options_of(command: str) -> dict[str, Any]:
    found = app[command].assemble_argument_collection()
    return {name: argument for argument in found for name in argument.names}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "digits"
    small = ModelChoice(network={"features": 6, "layers": 1, "kernel_size": 3})
    train_model("digits", small, TrainConfig(steps=2, batch_size=16), out=folder)
    return folder


@pytest.mark.parametrize("command", REQUESTS)
def test_the_fields_of_requests_are_options(command: str) -> None:
    options = options_of(command)
    for kind in REQUESTS[command]:
        for field in fields(kind):
            parameter = options[flag(field.name)].parameter
            assert parameter.help
            assert parameter.show_default == (shown_default(field.default) or False)


@pytest.mark.parametrize("name", sorted(SHARED))
def test_a_shared_option_means_one_thing(name: str) -> None:
    helps = {
        options[name].parameter.help
        for options in map(options_of, [*REQUESTS, "info", "check"])
        if name in options
    }
    assert len(helps) == 1
    if name == "--model":
        assert helps == {"A run folder, a checkpoint, or the name of a pretrained model."}


def test_a_command_prints_what_the_call_returns(run: Path, tmp_path: Path) -> None:
    trained = open_trained(run)
    evaluation = evaluate_model(trained, DataRequest(split="valid"))
    assert isinstance(evaluation, Evaluation)
    assert json.loads(nextpixel("evaluate", run, "--split", "valid", "--json")) == (
        evaluation.to_json()
    )
    worth = measure_condition(trained, images=5)
    said = json.loads(nextpixel("condition-worth", run, "--images", 5, "--json"))
    assert said == worth.to_json() and said["images"] == 5
    drawn = draw_images(trained, SampleRequest(n=2, class_="3"), SampleConfig(seed=4))
    out = tmp_path / "x.npy"
    nextpixel("sample", run, "--n", 2, "--class", "3", "--seed", 4, "--out", out)
    assert np.array_equal(np.load(out), drawn.images)
    drawn.save(out)
    assert np.array_equal(np.load(out), drawn.images)
    found = inspect_model(trained, InspectionRequest(image=1, images=2, pixels=((2, 3), (4, 0))))
    assert np.allclose(found.probabilities.sum(axis=2), 1) and len(found.entropy_bits) == 2
    said_of_pixels = nextpixel("inspect", run, "--image", 1, "--out", tmp_path / "inspect")
    assert "image 1: predictions at 6 pixels" in said_of_pixels


def test_completions_may_be_guided_and_drawn_in_batches(run: Path) -> None:
    request = CompletionRequest(n=3, draws=1)
    whole = complete_images(run, request).images
    parts = complete_images(run, request, SampleConfig(batch_size=2)).images
    assert whole.shape == (3, 1, 1, 8, 8) and np.array_equal(whole, parts)
    with pytest.raises(UsageError, match="guidance=2 needs a model that has seen unknown"):
        complete_images(run, request, SampleConfig(guidance=2.0))


def test_the_size_of_samples_is_a_number(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        nextpixel("sample", "fashion-mnist", "--size", "auto")
    assert "auto is not a size" in capsys.readouterr().err


def test_the_data_of_a_pretrained_model_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        nextpixel("evaluate", "fashion-mnist")
    said = capsys.readouterr().err
    assert "fashion-mnist was trained on fashion.npz, made of Fashion-MNIST" in said
    assert "as --data, such as a folder of grey pictures of 28×28" in said
    assert "in classes called T-shirt/top, Trouser, Pullover …" in said


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (SampleConfig, {"temperature": -1.0}, "temperature=-1.0 must be a finite number"),
        (SampleConfig, {"guidance": float("nan")}, "guidance=nan must be a finite number"),
        (SampleConfig, {"seed": -1}, "seed=-1 must be from 0"),
        (SampleConfig, {"batch_size": 0}, "batch_size=0 must be at least 1"),
        (SampleRequest, {"n": 0}, "n=0 must be at least 1"),
        (CompletionRequest, {"class_": "all"}, "class_=all is for samples"),
        (CompletionRequest, {"draws": 0}, "draws=0 must be at least 1"),
        (CompletionRequest, {"known": (0, -1)}, "known= must be at least 0, not -1"),
        (InterpolationRequest, {"steps": 1}, "steps=1 must be at least 2"),
        (InspectionRequest, {"image": -1}, "image=-1 must be at least 0"),
    ],
)
def test_requests_check_their_fields(kind: type, values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        kind(**values)


def test_the_hidden_part_is_where_it_says() -> None:
    assert hidden_part("top", 4, 2).tolist() == [[True, True]] * 2 + [[False, False]] * 2
    assert hidden_part("right", 1, 4).tolist() == [[False, False, True, True]]
    assert hidden_part("centre", 4, 4).sum() == 4
    assert hidden_part("between", 2, 3).tolist() == [[False, True, False], [True, True, True]]
    assert hidden_part("all", 1, 2).all() and hidden_part("scratches", 1, 1).all()
    assert hidden_part("scratches", 24, 24).sum() < 24 * 24 / 8
    with pytest.raises(UsageError, match="hide=middle must be one of"):
        hidden_part("middle", 2, 2)


def test_images_per_class_need_classes() -> None:
    with pytest.raises(UsageError, match="per_class=3 is for models conditioned on classes, and"):
        draw_images(open_trained("nextpixel:mnist-pixel-cnn"), SampleRequest(per_class=3))


@pytest.mark.parametrize("count", [2, 3, 4, 5, 7, 8, 9, 100])
def test_pairs_are_of_two_images_each(count: int) -> None:
    split = Split(images=np.zeros((count, 1, 2, 2), np.uint8))
    found = _pairs(
        InterpolationRequest(), Selection(data=load_data("digits"), split=split, name="test")
    )
    assert len(found) == 4 and all(first != last < count for first, last in found)


def test_one_image_has_no_pair() -> None:
    split = Split(images=np.zeros((1, 1, 2, 2), np.uint8))
    chosen = Selection(data=load_data("digits"), split=split, name="test")
    with pytest.raises(UsageError, match="has 1 image, and two are needed"):
        _pairs(InterpolationRequest(), chosen)


@pytest.mark.parametrize("model", ["gated-pixel-cnn", "convolutional-autoencoder"])
def test_kinds_without_an_order_need_a_network_that_can_have_them(model: Any) -> None:
    network = {"head": "logistic"} if model == "gated-pixel-cnn" else {}
    with pytest.raises(UsageError, match="kind='codes' is for values without an order, and "):
        with_kind(ModelChoice(model=model, kind="codes", network=network), load_data("digits"))
