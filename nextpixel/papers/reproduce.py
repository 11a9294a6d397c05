"""A row of the papers' tables, trained, evaluated and written down in one call."""

import json
import math
import shlex
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nextpixel.checkpoint import Training, load, read_card
from nextpixel.data.load import load_data
from nextpixel.data.splits import Split, subset
from nextpixel.devices import pick_device, seeded
from nextpixel.errors import UsageError
from nextpixel.files.replacing import replace_file
from nextpixel.papers.commit import commit
from nextpixel.papers.recipe import DATA, Recipe, cost
from nextpixel.papers.recipes import RECIPES
from nextpixel.scoring import dequantised_score
from nextpixel.training.asked import check_same
from nextpixel.training.evaluation import evaluate
from nextpixel.training.metrics import read_metrics
from nextpixel.training.record import read_run
from nextpixel.training.runs import reopen
from nextpixel.training.start import Progress, TrainPlan, follow_plan
from nextpixel.training.state import STATE
from nextpixel.version import __version__

__all__ = ["TEST_EVALUATIONS", "find_recipes", "find_source", "reproduce_recipe"]

TEST_EVALUATIONS = "test_evaluations.jsonl"

_TRAIN_IMAGES_SCORED = 2_000
_SPLITS = ("train", "valid", "test")


def find_recipes(name: str) -> list[Recipe]:
    """The recipe of that name, or for "all-small" all that two CPU cores finish in hours.

    Raises:
        UsageError: there is none.
    """
    found = [recipe for recipe in RECIPES.values() if recipe.small and name == "all-small"]
    if not found and name not in RECIPES:
        raise UsageError(
            f"there is no recipe called {name}; nextpixel reproduce list shows all of them"
        )
    return found or [RECIPES[name]]


def find_source(recipe: Recipe, data: Path | None) -> Path:
    """The recipe's data set: `data` itself, or the file in that folder.

    Raises:
        UsageError: none was given.
        FileNotFoundError: the folder does not hold it.
    """
    wanted = DATA[recipe.data]
    if data is None:
        raise UsageError(f"{recipe.name} needs its data: give ‹data› with {wanted.what}")
    if not data.is_dir() or wanted.file is None:
        return data
    if not (data / wanted.file).exists():
        raise FileNotFoundError(f"{data} holds no {wanted.file}; it should be {wanted.what}")
    return data / wanted.file


def reproduce_recipe(
    recipe: Recipe,
    source: Path,
    *,
    runs: Path = Path("runs"),
    results: Path | None = None,
    test: bool = False,
    steps: int | None = None,
    device: str | torch.device = "auto",
    reading: Callable[[int, int], None] | None = None,
    progress: Progress | None = None,
    evaluating: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Trains a recipe, or resumes it, and evaluates it.

    A finished run is only evaluated. Choices are made on the validation split: the test split is
    evaluated only if asked for, and every such evaluation is recorded.

    Args:
        recipe: what to train.
        source: its data.
        runs: where its run folder goes, named like the recipe.
        results: the folder for NAME.json, or None.
        test: whether to evaluate the test split too. The figure is appended to
            `TEST_EVALUATIONS` in `results`; the same weights are not evaluated twice.
        steps: train for this number of updates only, to see that the recipe starts; nothing is
            evaluated or written to `results`.
        device: "auto", "cpu", "cuda", "cuda:1" …
        reading: called with how many images have been decoded, and of how many.
        progress: wraps the steps of the run, to show them.
        evaluating: called with how many images of a split have been scored, and of how many.

    Returns:
        The figures, options, command, commit and hours; with `steps` only the "run".

    Raises:
        UsageError: the data are of another size, the run was begun by another version of the
            recipe, or a test evaluation has no place to be recorded in.
    """
    if test and (results is None or steps is not None):
        raise UsageError(
            "every evaluation of the test split is recorded: give ‹results›, and leave out ‹steps›"
        )
    folder = runs / (recipe.name if steps is None else f"{recipe.name}-{steps}-steps")
    plan = _plan(recipe, source, folder, steps, device, reading)
    follow_plan(plan, progress=progress)
    if steps is not None:
        return {"run": str(folder)}
    result = _result(recipe, source, plan, evaluating)
    if results is not None:
        results.mkdir(parents=True, exist_ok=True)
        figure = _recorded(results, result)
        if figure is None and test:
            figure = _figure(recipe, plan, plan.data.test, evaluating)
            _record(results, result, figure)
        if figure is not None:
            result["figures"]["test"] = figure
        text = json.dumps(result, indent=1, ensure_ascii=False) + "\n"
        with replace_file(results / f"{recipe.name}.json") as place:
            place.write_text(text, encoding="utf-8")
    return result


def _plan(
    recipe: Recipe,
    source: Path,
    folder: Path,
    steps: int | None,
    device: str | torch.device,
    reading: Callable[[int, int], None] | None,
) -> TrainPlan:
    """The run to begin, or to resume."""
    config = recipe.config()
    if steps is not None:
        config = replace(config, steps=steps, epochs=None, minutes=None)
    resume = (folder / STATE).exists()
    if resume:
        model, data, begun = reopen(folder, source=str(source))
        try:
            check_same(folder, recipe.build("meta"), data, config)
        except ValueError as error:
            raise UsageError(
                f"{folder} was begun by another version of the recipe {recipe.name}: {error}"
            ) from error
        config = begun
    else:
        data = load_data(source, recipe.preparation, progress=reading)
        with seeded(config.seed):
            model = recipe.build()
    if data.shape != recipe.size:
        found = "several sizes" if data.shape is None else f"{data.shape[0]}×{data.shape[1]}"
        raise UsageError(
            f"{recipe.name} is of images of {recipe.size[0]}×{recipe.size[1]}, but those of"
            f" {source} are {found}; give {DATA[recipe.data].what}"
        )
    model = model.to(pick_device(device))
    return TrainPlan(folder=folder, model=model, data=data, config=config, resume=resume)


def _figure(
    recipe: Recipe,
    plan: TrainPlan,
    split: Split,
    progress: Callable[[int, int], None] | None,
) -> float:
    """The likelihood of a split in the recipe's unit."""
    model = load(plan.folder, device=plan.model.device)
    nats_of = dequantised_score if recipe.config().objective == "density" else None
    return evaluate(model, split, nats_of=nats_of, progress=progress) * _units_per_bit(recipe, plan)


def _units_per_bit(recipe: Recipe, plan: TrainPlan) -> float:
    """What bits per sub-pixel are multiplied by."""
    dims = plan.data.channels * math.prod(recipe.size)
    return math.log(2) * dims if recipe.unit == "nats" else 1.0


def _recorded(results: Path, result: dict[str, Any]) -> float | None:
    """The test figure of the same weights, if it was computed before."""
    path = results / TEST_EVALUATIONS
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for line in map(json.loads, lines):
        same = all(line[name] == result[name] for name in ("recipe", "unit"))
        if same and math.isclose(line["valid"], result["figures"]["valid"], rel_tol=1e-6):
            return float(line["test"])
    return None


def _record(results: Path, result: dict[str, Any], figure: float) -> None:
    line = {
        "recipe": result["recipe"],
        "date": datetime.now(UTC).date().isoformat(),
        "step": result["best_step"],
        "valid": result["figures"]["valid"],
        "test": figure,
        "unit": result["unit"],
        "commit": result["commit"],
        "version": result["version"],
    }
    with (results / TEST_EVALUATIONS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")


def _result(
    recipe: Recipe,
    source: Path,
    plan: TrainPlan,
    evaluating: Callable[[int, int], None] | None,
) -> dict[str, Any]:
    run, data = plan.folder, plan.data
    some = np.random.default_rng(0).permutation(len(data.train))[:_TRAIN_IMAGES_SCORED]
    seen = subset(data.train, np.sort(some))
    figures = {
        name: _figure(recipe, plan, split, evaluating)
        for name, split in (("train", seen), ("valid", data.valid))
        if len(split)
    }
    model, density = plan.model, recipe.config().objective == "density"
    scale = _units_per_bit(recipe, plan)
    metrics, asked = read_metrics(run), read_run(run)
    training = read_card(run).training
    assert isinstance(training, Training)  # the run has written it
    return {
        "recipe": recipe.name,
        "source": recipe.source,
        "data": {"name": recipe.data, "what": DATA[recipe.data].what, "file": source.name},
        "images": {name: len(getattr(data, name)) for name in _SPLITS},
        "unit": recipe.unit,
        "given": recipe.given,
        "figures_are": "densities" if density else "probabilities",
        "validations_are": "probabilities",
        "published": recipe.published,
        "published_on": recipe.published_on,
        "figures": figures,
        "train_images_scored": len(seen),
        "parameters": sum(p.numel() for p in model.parameters()),
        "hours": metrics[-1]["seconds"] / 3600,
        "steps": metrics[-1]["step"],
        "best_step": training.step,
        "seed": asked["training"]["seed"],
        "model": {"class": type(model).__name__, "config": model.config()},
        "training": asked["training"],
        "changes": asked.get("changes", []),
        "device": str(model.device),
        "threads": torch.get_num_threads(),
        "cost": asdict(cost(recipe)),
        "choices": list(recipe.choices),
        "command": f"nextpixel reproduce {recipe.name} --data {shlex.quote(source.name)}",
        "version": __version__,
        "commit": commit(),
        "validations": [
            [line["step"], line["seconds"], line["valid_bits_per_dim"] * scale]
            for line in metrics
            if "valid_bits_per_dim" in line
        ],
    }
