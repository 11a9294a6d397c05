"""A demonstration on scikit-learn's digits in about a minute: `python -m nextpixel.demo [FOLDER]`.

It trains a class-conditional Gated PixelCNN, prints its test likelihood beside baselines, and draws
samples, completions and the training curve.
"""

import os
import shlex
import shutil
import sys
from pathlib import Path

from nextpixel.analysis.plots import training_curve
from nextpixel.cli.app import main
from nextpixel.cli.terminal import printable
from nextpixel.data.statistics import histogram_bits_per_dim
from nextpixel.training.metrics import read_metrics

__all__ = ["demo"]

# Only a run folder with this file in it is ever removed.
_MARKER = ".nextpixel-demo"

RECIPE = {
    "steps": 500,
    "batch-size": 64,
    "weight-decay": 0.01,
    "ema-decay": 0.995,
    "features": 48,
    "layers": 5,
    "kernel-size": 3,
    "first-kernel-size": 5,
    "head-features": 96,
    "dropout": 0.25,
}


def demo(folder: Path) -> None:
    """Run the commands a user would, and print them.

    A run that an earlier demo left in the folder is replaced.

    Raises:
        FileExistsError: If the folder holds a run that is not a demo's.
    """
    run = folder / "run"
    if os.path.lexists(run):
        if run.is_symlink() or not (run / _MARKER).is_file():
            raise FileExistsError(f"{run} is not of an earlier demo; give another folder")
        shutil.rmtree(run)
    run.mkdir(parents=True)
    (run / _MARKER).touch()
    options = [word for name, value in RECIPE.items() for word in (f"--{name}", str(value))]
    _command("train", "digits", "--out", str(run), *options)
    _command("evaluate", str(run))
    _command(
        "sample", str(run), "--n", "100", "--enlarge", "4", "--out", str(folder / "samples.png")
    )
    completions = str(folder / "completions.png")
    _command(
        "complete", str(run), "--n", "10", "--draws", "6", "--enlarge", "4", "--out", completions
    )
    from nextpixel.data.load import load_data

    baselines = {"a histogram per pixel": histogram_bits_per_dim(load_data("digits"))}
    training_curve(read_metrics(run), folder / "curve.png", baselines=baselines)
    print(f"training curve: {folder / 'curve.png'}")


def _command(*arguments: str) -> None:
    print(f"\n$ nextpixel {shlex.join(arguments)}", flush=True)
    main(arguments)


if __name__ == "__main__":
    try:
        demo(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))
    except FileExistsError as error:
        sys.exit(printable(str(error)))
