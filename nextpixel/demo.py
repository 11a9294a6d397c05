"""A demonstration on 8×8 digits in about a minute: `python -m nextpixel.demo [FOLDER]`.

It trains a class-conditional Gated PixelCNN, prints its test likelihood beside baselines, and draws
samples, completions and the training curve.
"""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from nextpixel.analysis.plots import training_curve
from nextpixel.cli.progress import counted_bar, progress_bar, training_bar
from nextpixel.cli.terminal import printable, shown
from nextpixel.cli.words import plan_lines
from nextpixel.inference.completion import complete_images
from nextpixel.inference.drawing import draw_images
from nextpixel.inference.evaluation import Evaluation, evaluate_model
from nextpixel.inference.trained import open_trained
from nextpixel.settings.choice import ModelChoice
from nextpixel.settings.requests import CompletionRequest, SampleRequest
from nextpixel.settings.training import TrainConfig
from nextpixel.training.loop import Step
from nextpixel.training.metrics import read_metrics
from nextpixel.training.start import TrainPlan, train_model

__all__ = ["demo"]

# Only a run folder with this file in it is ever removed.
_MARKER = ".nextpixel-demo"

MODEL = ModelChoice(
    network={
        "features": 48,
        "layers": 5,
        "kernel_size": 3,
        "first_kernel_size": 5,
        "head_features": 96,
        "dropout": 0.25,
    }
)
TRAINING = TrainConfig(
    steps=500, batch_size=64, learning_rate=0.01, weight_decay=0.01, ema_decay=0.995
)


def demo(folder: Path) -> None:
    """Train, evaluate, sample and complete, and say where the results are.

    A run that an earlier demo left in the folder is replaced.

    Raises:
        FileExistsError: the folder holds a run that is not a demo's.
    """
    run = folder / "run"
    if os.path.lexists(run):
        if run.is_symlink() or not (run / _MARKER).is_file():
            raise FileExistsError(f"{run} is not of an earlier demo; give another folder")
        shutil.rmtree(run)
    run.mkdir(parents=True)
    (run / _MARKER).touch()
    train_model("digits", MODEL, TRAINING, out=run, progress=_show)
    trained = open_trained(run)
    with counted_bar("Evaluating") as evaluating:
        found = evaluate_model(trained, progress=evaluating)
    assert isinstance(found, Evaluation)
    baselines = {"a histogram per pixel": found.histogram_bits_per_dim or 0.0}
    for name, bits in {"the model": found.bits_per_dim, **baselines}.items():
        print(f"{name}: {bits:.4f} bits/dim on {found.images} test images")
    drawn = draw_images(trained, SampleRequest(n=100), progress=progress_bar("Drawing"))
    completed = complete_images(
        trained, CompletionRequest(n=10, draws=6), progress=progress_bar("Completing")
    )
    for name, images in (("samples", drawn), ("completions", completed)):
        images.save(folder / f"{name}.png", enlarge=4)
        print(f"{name}: {folder / name}.png")
    training_curve(read_metrics(run), folder / "curve.png", baselines=baselines)
    print(f"training curve: {folder / 'curve.png'}")


def _show(plan: TrainPlan, steps: Iterator[Step]) -> Iterator[Step]:
    for line in plan_lines(plan):
        print(line, flush=True)
    yield from training_bar(plan, steps)


if __name__ == "__main__":
    with shown():
        try:
            demo(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))
        except FileExistsError as error:
            sys.exit(printable(str(error)))
