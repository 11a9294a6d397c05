"""Draws how the reduced recipes of a data set came down: validation against minutes of training.

    python experiments/curves.py

From experiments/results/*-small.json, which `nextpixel reproduce` writes; to mnist_small.png and
cifar10_small.png, beside them.
"""

import re

from common import RESULTS, reproduced
from matplotlib.figure import Figure


def main() -> None:
    for family in ("mnist", "cifar10"):
        runs = [run for run in reproduced() if re.fullmatch(f"{family}-.*-small", run["recipe"])]
        if not runs:
            continue
        runs.sort(key=lambda run: run["validations"][-1][2])  # the legend in the order of the ends
        figure = Figure(figsize=(7.5, 5.0), layout="constrained")
        axes = figure.subplots()
        for number, run in enumerate(runs):
            _, seconds, values = zip(*run["validations"], strict=True)
            name = run["recipe"].removeprefix(f"{family}-").removesuffix("-small")
            axes.plot(
                [s / 60 for s in seconds],
                values,
                marker="o",
                markersize=3.0,
                linestyle="-" if number % 2 else "--",
                label=f"{name}: {values[-1]:.2f}",
            )
        # What matters are the differences at the end, not the first fall, nor what never came down.
        best = runs[0]["validations"][-1][2]
        highest = max(value for run in runs for _, _, value in run["validations"])
        axes.set_ylim(0.995 * best, min(1.4 * best, 1.005 * highest))
        axes.set_xlabel("minutes of training, one thread")
        axes.set_ylabel(f"validation, {runs[0]['unit']}")
        axes.grid(alpha=0.3)
        axes.legend(title="in the order of their ends")
        figure.savefig(RESULTS / f"{family}_small.png", dpi=100)


if __name__ == "__main__":
    main()
