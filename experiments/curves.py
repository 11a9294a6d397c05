"""Draws how the reduced recipes of a data set came down: validation against minutes of training.

    python experiments/curves.py

From experiments/results/*-small.json, which `nextpixel reproduce` writes; to mnist_small.png and
cifar10_small.png, beside them.
"""

import argparse
import re
from typing import Any

from common import RESULTS, reproduced
from plots import Curve, validation_curves


def main() -> None:
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    for family in ("mnist", "cifar10"):
        runs = [run for run in reproduced() if re.fullmatch(f"{family}-.*-small", run["recipe"])]
        if not runs:
            continue
        curves = [_curve(run) for run in runs]
        # What matters are the differences at the end, not the first fall, nor what never came down.
        best = min(min(curve.values) for curve in curves)
        validation_curves(
            curves,
            RESULTS / f"{family}_small.png",
            x="minutes of training, on one thread unless the legend says otherwise",
            y=f"validation, {runs[0]['unit']}",
            highest=1.4 * best,
        )


def _curve(run: dict[str, Any]) -> Curve:
    steps, seconds, values = zip(*run["validations"], strict=True)
    minutes = [s / 60 for s in seconds]
    threads = f", {run['threads']} threads" if run.get("threads", 1) > 1 else ""
    return Curve(
        name=run["recipe"].removesuffix("-small").partition("-")[2] + threads,
        x=minutes,
        values=values,
        selected=steps.index(run["best_step"]),
        restarts=[minutes[steps.index(change["step"])] for change in run.get("changes", [])],
    )


if __name__ == "__main__":
    main()
