"""Recipes: every one is sound at its full size, and starts at a reduced one."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from loading import loaded

from nextpixel.cli.app import main
from nextpixel.models.registry import build
from nextpixel.papers.recipe import DATA, cost
from nextpixel.papers.recipes import RECIPES
from nextpixel.training.loop import TrainConfig, initial_state, train

every_recipe = pytest.mark.parametrize("name", RECIPES)


def reduced(keywords: dict[str, Any]) -> dict[str, Any]:
    """The same construction, tiny."""
    least = {
        "features": 6,
        "head_features": 6,
        "layers": 1,
        "classes": 2,
        "size": 3,
        "encoder_features": 2,
    }
    small: dict[str, Any] = {}
    for key, value in keywords.items():
        if isinstance(value, dict):
            small[key] = reduced(value)
        elif key == "size" and isinstance(value, list):
            small[key] = [8, 8]
        else:
            small[key] = min(value, least[key]) if key in least else value
    return small


@every_recipe
def test_the_full_shape_is_sound(name: str) -> None:
    recipe = RECIPES[name]
    assert recipe.name == name and recipe.data in DATA
    model = recipe.build("meta")
    price = cost(recipe)
    assert price.parameters == sum(p.numel() for p in model.parameters()) > 0
    assert price.gigaflops_per_image > 0
    config = recipe.config()
    known = config.steps is not None or (
        config.epochs is not None and DATA[recipe.data].train_images is not None
    )
    assert (price.hours is not None) == known
    assert recipe.small == name.endswith("-small")
    assert recipe.published is None or recipe.published_on in ("valid", "test")
    assert recipe.choices  # no paper gives everything


@every_recipe
def test_it_starts(name: str, tmp_path: Path) -> None:
    recipe = RECIPES[name]
    kind, keywords = recipe.model
    torch.manual_seed(0)
    model = build(kind, reduced(keywords))
    generator = np.random.default_rng(0)
    channels = 1 if recipe.levels == 2 else 3
    arrays: dict[str, Any] = {
        "train_images": generator.integers(recipe.levels, size=(12, 8, 8, channels), dtype=np.uint8)
    }
    if "classes" in str(keywords):
        arrays["train_labels"] = np.arange(12) % 2
    if name == "portraits":
        arrays["train_vectors"] = generator.random((12, 3))
    np.savez(tmp_path / "x.npz", **arrays)
    load = recipe.load | {"validation": 2}
    data = loaded(tmp_path / "x.npz", levels=recipe.levels, channels=channels, **load)
    given = {
        key: value
        for key, value in recipe.training.items()
        if key not in ("steps", "epochs", "minutes")
    }
    config = TrainConfig(**given | {"steps": 2, "batch_size": 4})
    steps = list(train(initial_state(model, config), data, config))  # type: ignore[arg-type]
    assert len(steps) == 2 and all(np.isfinite(step.bits_per_dim) for step in steps)


def test_a_known_cost() -> None:
    """The paper's 7 layers of 16: parameters by hand, and six operations each at every pixel."""
    h, colours = 16, 1
    first = 2 * h * colours * (7 * 3 + 3) + 2 * h
    gates = 2 * (2 * h * 4 * h + 4 * h) + 2 * 2 * h * 4 * h + 4 * h
    up = skip = h * 2 * h
    head = (2 * h * 32 + 32) + (32 + 1)
    price = cost(RECIPES["mnist-diagonal-bilstm-7-layers"])
    assert price.parameters == first + 7 * (gates + up + skip) + head
    assert price.gigaflops_per_image == pytest.approx(6 * price.parameters * 784 / 1e9)
    assert price.images == 100 * 50_000


def test_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["reproduce"])
    listed = capsys.readouterr().out
    assert "mnist-diagonal-bilstm-7-layers" in listed and "79.20 nats, test" in listed
    generator = np.random.default_rng(0)
    arrays = {
        f"{split}_images": generator.integers(2, size=(6, 28, 28), dtype=np.uint8)
        for split in ("train", "valid", "test")
    }
    np.savez(tmp_path / "mnist_binarized.npz", **arrays)
    monkeypatch.setitem(RECIPES["mnist-diagonal-bilstm-1-layer"].model[1], "features", 2)
    monkeypatch.setitem(RECIPES["mnist-diagonal-bilstm-1-layer"].training, "epochs", 1)
    options = [
        "--data",
        str(tmp_path),
        "--runs",
        str(tmp_path / "runs"),
        "--results",
        str(tmp_path / "results"),
    ]
    written = tmp_path / "results" / "mnist-diagonal-bilstm-1-layer.json"
    main(["reproduce", "mnist-diagonal-bilstm-1-layer", *options, "--steps", "1", "--quiet"])
    assert not (tmp_path / "results").exists()
    main(["reproduce", "mnist-diagonal-bilstm-1-layer", *options, "--quiet"])
    assert "test" not in json.loads(written.read_text())["figures"]
    for more in (["--test"], ["--test"], []):  # from now on it is only evaluated
        main(["reproduce", "mnist-diagonal-bilstm-1-layer", *options, "--quiet", *more])
    looks = (tmp_path / "results" / "test_evaluations.jsonl").read_text().splitlines()
    result = json.loads(written.read_text())
    assert [json.loads(look)["test"] for look in looks] == [result["figures"]["test"]]
    assert result["published"] == 80.75 and result["unit"] == "nats" and result["steps"] == 1
    assert (
        result["figures"].keys() == {"train", "valid", "test"}
        and 400 < result["figures"]["test"] < 700
    )
    assert str(tmp_path) not in json.dumps(result)
    assert (
        result["images"] == {"train": 6, "valid": 6, "test": 6}
        and result["training"]["epochs"] == 1
    )
    monkeypatch.setitem(RECIPES["mnist-diagonal-bilstm-1-layer"].training, "batch_size", 3)
    with pytest.raises(SystemExit):
        main(["reproduce", "mnist-diagonal-bilstm-1-layer", *options, "--quiet"])
    assert "begun by another version of the recipe" in capsys.readouterr().err
    with np.load(tmp_path / "mnist_binarized.npz") as small:
        np.savez(tmp_path / "small.npz", **{name: small[name][:, :20] for name in small})
    with pytest.raises(SystemExit):
        main(["reproduce", "mnist-pixel-cnn", *options[2:], "--data", str(tmp_path / "small.npz")])
    assert "of images of 28×28, but those of" in capsys.readouterr().err
    for arguments, message in (
        (["reproduce", "nothing"], "no recipe called nothing"),
        (["reproduce", "mnist-pixel-cnn"], "give --data with the original static binarisation"),
        (["reproduce", "cifar10-row-lstm", "--data", str(tmp_path)], "holds no cifar10.npz"),
    ):
        with pytest.raises(SystemExit):
            main(arguments)
        assert message in capsys.readouterr().err


def test_the_small_scale_of_two_costs_a_quarter() -> None:
    recipe = RECIPES["imagenet64-multi-scale"]
    small, large = (scale.network for scale in recipe.build("meta").scales())
    few, many = (sum(p.numel() for p in network.parameters()) for network in (small, large))
    assert cost(recipe).gigaflops_per_image == pytest.approx(
        6 * (few * 32**2 + many * 64**2) / 1e9, rel=0.01
    )
