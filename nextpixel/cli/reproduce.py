"""nextpixel reproduce: a row of the papers' tables, trained, evaluated and written down."""

import json
import shlex
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nextpixel.data.splits import ImageData
    from nextpixel.models.core import ImageModel
    from nextpixel.papers.recipe import Recipe

__all__ = ["reproduce"]

_TRAIN_IMAGES_SCORED = 2_000


def reproduce(
    name: str = "list",
    /,
    *,
    data: Path | None = None,
    runs: Path = Path("runs"),
    results: Path = Path("experiments/results"),
    steps: int | None = None,
    device: str = "auto",
    quiet: bool = False,
) -> None:
    """Train what a row of the papers' tables reports, or go on with it; evaluate it on the whole
    test split.

    A run that was stopped goes on where it was; one that is finished is only evaluated.

    Parameters
    ----------
    name
        A recipe; all-small for all that two CPU cores finish in hours; list to print them all with
        what they cost.
    data
        The recipe's data set, or a folder that holds it: mnist_binarized.npz, cifar10.npz.
    runs
        Where run folders go, called as the recipe is.
    results
        Where NAME.json goes: figures, options, command, commit, hours.
    steps
        Train for so many updates only, to see that a recipe starts; nothing is written down.
    device
        auto, cpu, cuda, cuda:1 …
    quiet
        Print only the result.
    """
    from nextpixel.papers.recipes import RECIPES

    if name == "list":
        _print_list()
        return
    chosen = [
        recipe
        for recipe in RECIPES.values()
        if name in (recipe.name, "all-small" if recipe.small else None)
    ]
    if not chosen:
        raise ValueError(
            f"there is no recipe called {name}; nextpixel reproduce list prints them all"
        )
    sources = [
        _source(recipe, data) for recipe in chosen
    ]  # what is missing is said before hours of work
    for recipe, source in zip(chosen, sources, strict=True):
        run, model, pictures = _trained(recipe, source, runs, steps, device, quiet)
        if steps is not None:
            print(f"{recipe.name}: {steps} updates done, nothing written down; the run is {run}")
            continue
        result = _result(recipe, source, run, model, pictures)
        results.mkdir(parents=True, exist_ok=True)
        path = results / f"{recipe.name}.json"
        path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        said = (
            f"{result['figures'][recipe.published_on]:.3f} {recipe.unit} on {recipe.published_on}"
        )
        print(f"{recipe.name}: {said} (the paper: {recipe.published or 'none'}); written to {path}")


def _print_list() -> None:
    from rich.table import Table

    from nextpixel.cli.terminal import console
    from nextpixel.papers.recipe import cost
    from nextpixel.papers.recipes import RECIPES

    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in (
        "recipe",
        "from",
        "parameters",
        "GFLOP/image",
        "hours at 10 TFLOP/s",
        "the paper reports",
    ):
        table.add_column(column, justify="left" if column in ("recipe", "from") else "right")
    for recipe in RECIPES.values():
        price, minutes = cost(recipe), recipe.config().minutes
        hours = (
            "–" if price.hours is None else "< 0.1" if price.hours < 0.05 else f"{price.hours:,.1f}"
        )
        hours = hours if minutes is None else f"{minutes:.0f} minutes anywhere"
        published = "–"
        if recipe.published is not None:
            published = f"{recipe.published:.2f} {recipe.unit}, {recipe.published_on}"
        row = (
            recipe.name,
            recipe.source,
            f"{price.parameters:,}",
            f"{price.gigaflops_per_image:,.1f}",
            hours,
            published,
        )
        table.add_row(*row)
    console(width=150).print(table)
    print(
        "Names that end in -small are reduced, and finish in hours on two CPU cores. All figures"
        " are the papers'."
    )


def _source(recipe: "Recipe", data: Path | None) -> Path:
    from nextpixel.papers.recipe import DATA

    wanted = DATA[recipe.data]
    if data is None:
        raise ValueError(f"{recipe.name} needs its data: give --data with {wanted.what}")
    if not data.is_dir() or wanted.file is None or not (data / wanted.file).exists():
        if data.is_dir() and wanted.file is not None:
            raise FileNotFoundError(f"{data} holds no {wanted.file}; it should be {wanted.what}")
        return data
    return data / wanted.file


def _trained(
    recipe: "Recipe", source: Path, runs: Path, steps: int | None, device: str, quiet: bool
) -> tuple[Path, "ImageModel", "ImageData"]:
    """The run's folder, its best model and its data, when it is finished."""
    from nextpixel.checkpoint import load
    from nextpixel.cli.opening import counted_bar, pick_device, size_words
    from nextpixel.cli.train import follow
    from nextpixel.data.load import load_data
    from nextpixel.devices import seeded
    from nextpixel.papers.recipe import DATA
    from nextpixel.training.loop import TrainingError
    from nextpixel.training.runs import check_same, reopen, run
    from nextpixel.training.state import STATE

    folder = runs / (recipe.name if steps is None else f"{recipe.name}-{steps}-steps")
    config = recipe.config()
    if steps is not None:
        config = replace(config, steps=steps, epochs=None, minutes=None)
    resume = (folder / STATE).exists()
    if resume:
        model, pictures, begun = reopen(folder, source=str(source))
        try:
            check_same(folder, recipe.build("meta"), pictures, config)
        except ValueError as error:
            raise ValueError(
                f"{folder} was begun by another version of the recipe {recipe.name}: {error}"
            ) from error
        config = begun
    else:
        with counted_bar("Reading") as progress:
            pictures = load_data(source, recipe.preparation, progress=progress)
        with seeded(config.seed):
            model = recipe.build()
    if pictures.shape != recipe.size:
        raise ValueError(
            f"{recipe.name} is of images of {size_words(recipe.size)}, but those of {source} are "
            f"{size_words(pictures.shape)}; give {DATA[recipe.data].what}"
        )
    model.to(pick_device(device))
    if not quiet:
        print(f"{recipe.name}: {source}, in {folder}", flush=True)
    try:
        follow(run(folder, model, pictures, config, resume=resume), config, quiet=quiet)
    except TrainingError as error:
        raise ValueError(f"{error}; the run is kept in {folder}") from error
    return folder, load(folder, device=pick_device(device)), pictures


def _result(
    recipe: "Recipe", source: Path, run: Path, model: "ImageModel", pictures: "ImageData"
) -> dict[str, Any]:
    import math

    import numpy as np
    import torch

    from nextpixel import __version__
    from nextpixel.checkpoint import Training, read_card
    from nextpixel.cli.opening import counted_bar
    from nextpixel.data.splits import subset
    from nextpixel.papers.commit import commit
    from nextpixel.papers.recipe import DATA, cost
    from nextpixel.scoring import dequantised_score
    from nextpixel.training.loop import evaluate
    from nextpixel.training.metrics import read_metrics
    from nextpixel.training.record import read_run

    some = np.sort(np.random.default_rng(0).permutation(len(pictures.train))[:_TRAIN_IMAGES_SCORED])
    seen = subset(pictures.train, some)
    figures: dict[str, float] = {}
    dims = pictures.channels * math.prod(recipe.size)
    scale = math.log(2) * dims if recipe.unit == "nats" else 1.0
    nats_of = dequantised_score if recipe.config().objective == "density" else None
    for name, split in (("train", seen), ("valid", pictures.valid), ("test", pictures.test)):
        if len(split):
            with counted_bar(f"Evaluating {name}") as progress:
                figures[name] = evaluate(model, split, nats_of=nats_of, progress=progress) * scale
    metrics = read_metrics(run)
    training = read_card(run).training
    assert isinstance(training, Training)  # `run` wrote it
    asked = read_run(run)
    return {
        "recipe": recipe.name,
        "source": recipe.source,
        "data": {"name": recipe.data, "what": DATA[recipe.data].what, "file": source.name},
        "images": {name: len(getattr(pictures, name)) for name in ("train", "valid", "test")},
        "unit": recipe.unit,
        "given": recipe.given,
        "figures_are": "densities" if nats_of else "probabilities",
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
