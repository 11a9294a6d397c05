"""nextpixel reproduce: a row of the papers' tables, trained, evaluated and written down."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from nextpixel.cli.readers import Device, Whole

if TYPE_CHECKING:
    from nextpixel.training.loop import Step
    from nextpixel.training.start import TrainPlan

__all__ = ["reproduce"]


def reproduce(
    name: str = "list",
    /,
    *,
    data: Path | None = None,
    runs: Path = Path("runs"),
    results: Path = Path("experiments/results"),
    test: bool = False,
    steps: Whole | None = None,
    device: Device = "auto",
    quiet: bool = False,
) -> None:
    """Train a row of the papers' tables, or resume it, and evaluate it.

    A run that was stopped is resumed; one that is finished is only evaluated. The validation split
    decides between runs; ask for the test split once, when the recipe is final.

    Parameters
    ----------
    name
        The recipe to run; `all-small` runs all that two CPU cores finish in hours, and `list` lists
        the recipes with their costs.
    data
        The recipe's data set, or a folder that holds it: mnist_binarized.npz, cifar10.npz.
    runs
        Where run folders go, named like the recipes.
    results
        Where NAME.json goes: figures, options, command, commit, hours.
    test
        Evaluate the test split too. Each such evaluation is recorded in test_evaluations.jsonl in
        the results.
    steps
        Train for this number of updates only, to see that a recipe starts. Nothing is written to
        the results.
    quiet
        Print only the result.
    """
    from nextpixel.cli.progress import counted_bar
    from nextpixel.papers.reproduce import find_recipes, find_source, reproduce_recipe

    if name == "list":
        _print_list()
        return
    recipes = find_recipes(name)
    sources = [find_source(recipe, data) for recipe in recipes]  # before hours of work
    for recipe, source in zip(recipes, sources, strict=True):
        with (
            counted_bar("Reading", quiet=quiet) as reading,
            counted_bar("Evaluating", quiet=quiet) as evaluating,
        ):
            result = reproduce_recipe(
                recipe,
                source,
                runs=runs,
                results=None if steps else results,
                test=test,
                steps=steps,
                device=device,
                reading=reading,
                progress=None if quiet else _show,
                evaluating=evaluating,
            )
        if steps is not None:
            print(f"{recipe.name}: {steps} updates done in {result['run']}; no result written")
            continue
        split = "test" if "test" in result["figures"] else "valid"
        figure = f"{result['figures'][split]:.3f} {recipe.unit} on {split}"
        paper = f"the paper: {recipe.published or 'none'} on {recipe.published_on}"
        written = results / f"{recipe.name}.json"
        print(f"{recipe.name}: {figure} ({paper}); written to {written}")


def _show(plan: "TrainPlan", steps: "Iterator[Step]") -> "Iterator[Step]":
    from nextpixel.cli.progress import training_bar

    print(f"{plan.folder.name}: {plan.data.source}, in {plan.folder}", flush=True)
    yield from training_bar(plan, steps)


def _print_list() -> None:
    from rich.table import Table

    from nextpixel.cli.terminal import console
    from nextpixel.papers.recipe import cost
    from nextpixel.papers.recipes import RECIPES

    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("recipe", "from"):
        table.add_column(column)
    for column in ("parameters", "GFLOP/image", "hours at 10 TFLOP/s", "the paper reports"):
        table.add_column(column, justify="right")
    for recipe in RECIPES.values():
        price, minutes = cost(recipe), recipe.config().minutes
        hours = "–" if price.hours is None else f"{price.hours:,.1f}"
        if price.hours is not None and price.hours < 0.05:
            hours = "< 0.1"
        published = "–"
        if recipe.published is not None:
            published = f"{recipe.published:.2f} {recipe.unit}, {recipe.published_on}"
        table.add_row(
            recipe.name,
            recipe.source,
            f"{price.parameters:,}",
            f"{price.gigaflops_per_image:,.1f}",
            hours if minutes is None else f"{minutes:.0f} minutes anywhere",
            published,
        )
    console(width=150).print(table)
    print(
        "Names that end in -small are reduced, and finish in hours on two CPU cores. All figures"
        " are the papers'."
    )
