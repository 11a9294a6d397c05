"""What `reproduce` writes: every figure by other means, and the settings of the papers."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from nextpixel import bits_per_dim, dequantised_bits_per_dim, load
from nextpixel.data.load import load_data
from nextpixel.papers.recipe import Recipe
from nextpixel.papers.recipes import RECIPES
from nextpixel.papers.reproduce import reproduce_recipe
from nextpixel.training.metrics import read_metrics

TINY = {"channels": 1, "levels": 4, "features": 6, "layers": 1, "kernel_size": 3}


def recipe_of(unit: str, objective: str, **keywords: Any) -> Recipe:
    training = {
        "steps": 12,
        "batch_size": 4,
        "optimizer": "adamw",
        "learning_rate": 0.3,  # so high that the last weights are not the best
        "schedule": "constant",
        "warmup_steps": 0,
        "ema_decay": 0.0,
        "evaluate_every": 1,
        "objective": objective,
    }
    return Recipe(
        name="tiny",
        source="none",
        data="cifar10",
        size=(4, 5),
        model=("GatedPixelCNN", TINY | keywords),
        training=training,
        unit=unit,
    )


@pytest.mark.parametrize(
    ("unit", "objective", "keywords"),
    [
        ("bits/dim", "probability", {}),
        ("nats", "probability", {}),
        ("bits/dim", "density", {"head": "logistic"}),
    ],
)
def test_every_figure_of_a_result_is_found_again(
    unit: str, objective: str, keywords: dict[str, Any], tmp_path: Path
) -> None:
    generator, source = np.random.default_rng(0), tmp_path / "x.npz"
    numbers = {"train": 40, "valid": 41, "test": 42}
    arrays = {
        f"{name}_images": generator.integers(4, size=(n, 4, 5)) for name, n in numbers.items()
    }
    np.savez(source, **{name: images.astype(np.uint8) for name, images in arrays.items()})
    recipe = recipe_of(unit, objective, **keywords)
    result = reproduce_recipe(recipe, source, runs=tmp_path, results=tmp_path, test=True)
    model, data = load(tmp_path / "tiny"), load_data(source, recipe.preparation)
    for name in numbers:
        x = np.asarray(getattr(data, name).images)
        found = result["figures"][name] / (math.log(2) * 20 if unit == "nats" else 1)
        exact = bits_per_dim(model, tensor(x))
        if objective == "probability":
            assert found == pytest.approx(exact, rel=1e-5)
        else:  # the noise differs, by less than densities differ from probabilities
            density = dequantised_bits_per_dim(model, tensor(np.repeat(x, 5, axis=0)))
            assert abs(found - density) < abs(exact - density) / 3
    validations = {
        line["step"]: line["valid_bits_per_dim"]
        for line in read_metrics(tmp_path / "tiny")
        if "valid_bits_per_dim" in line
    }
    best = min(validations, key=lambda step: validations[step])
    assert result["best_step"] == best < result["steps"] == 12
    assert result["images"] == numbers and result["train_images_scored"] == 40
    assert result["figures_are"] == ("densities" if objective == "density" else "probabilities")
    scale = math.log(2) * 20 if unit == "nats" else 1
    assert [line[2] for line in result["validations"]] == pytest.approx(
        [value * scale for value in validations.values()]
    )


def test_the_papers_settings_are_theirs() -> None:
    """[1] trains by RMSProp at a constant rate in batches of 16, [2] for 200,000 updates of 128."""
    first = [r for r in RECIPES.values() if r.source.startswith("[1]") and not r.small]
    second = [r for r in RECIPES.values() if r.source.startswith("[2], table") and not r.small]
    assert len(first) > 5 and second
    for recipe in first:
        config = recipe.config()
        assert (config.optimizer, config.schedule, config.ema_decay) == ("rmsprop", "constant", 0)
        if recipe.data in ("mnist-binarised", "cifar10"):
            assert config.batch_size == 16
    for recipe in second:
        assert (recipe.config().steps, recipe.config().batch_size) == (200_000, 128)


def tensor(x: NDArray[np.integer[Any]]) -> Tensor:
    return torch.from_numpy(x.astype(np.int64))
