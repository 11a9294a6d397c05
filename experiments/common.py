"""What the experiments share: runs that go on where they stopped, and results as JSON."""

import itertools
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextpixel import TrainConfig
from nextpixel.checkpoint import load_trainable, read_card
from nextpixel.data.load import ImageData
from nextpixel.inference.evaluation import evaluate_model
from nextpixel.inference.worth import measure_condition
from nextpixel.models.trainable import Trainable
from nextpixel.settings.choice import ModelChoice
from nextpixel.settings.requests import DataRequest
from nextpixel.settings.source import Source
from nextpixel.settings.training import highest_rate
from nextpixel.training.record import read_run
from nextpixel.training.runs import run as run_in
from nextpixel.training.start import resume_model, train_model
from nextpixel.training.state import STATE

RESULTS = Path(__file__).parent / "results"


def trained(
    name: str,
    source: str | Source,
    model: ModelChoice,
    training: TrainConfig,
    *,
    conditional: bool | None = None,
    **preparation: Any,
) -> Path:
    """Train in the run folder runs/NAME, or go on with the run that stopped there.

    The rate is the one that is given, or 0.01 for Muon, at any length.
    """
    run = Path("runs") / name
    training = replace(training, learning_rate=highest_rate(training))
    if (run / STATE).exists():
        resume_model(run)
    else:
        train_model(
            source, model, training, preparation=preparation, out=run, conditional=conditional
        )
    return run


def trained_in(run: Path, model: Trainable, data: ImageData, training: TrainConfig) -> None:
    """Train a network of one's own in a run folder, or go on with the run that stopped there."""
    for _ in run_in(run, model, data, training, resume=(run / STATE).exists()):
        pass


def description(run: Path) -> dict[str, Any]:
    """What a run is: its options, parameters, and the figures of its training."""
    asked = read_run(run)
    return {
        "options": {part: asked[part] for part in ("preparation", "model", "training")},
        "parameters": sum(p.numel() for p in load_trainable(run).parameters()),
        "training": read_card(run).to_json().get("training"),
    }


def evaluated(run: Path, data: str | None = None) -> dict[str, Any]:
    """The figures of a run on the whole test split, or on other images."""
    return _named(evaluate_model(run, DataRequest(data=data)).to_json())


def worth(run: Path, images: int, cluster: str | None = None) -> dict[str, Any]:
    """How many bits the condition of a run saves, on so many images of the test split."""
    return _named(measure_condition(run, images=images, cluster=cluster).to_json())


def spread(count: int, of: int) -> NDArray[np.int64]:
    """Places of so many images, evenly spaced: files may be in the order of their classes."""
    return np.linspace(0, of - 1, min(count, of)).round().astype(np.int64)


def tiles(x: NDArray[np.uint8], side: int, step: int) -> list[NDArray[np.uint8]]:
    """Square windows of a picture (H, W, …), row by row; those that would not fit are left out."""
    return [
        x[top : top + side, left : left + side]
        for top in range(0, x.shape[0] - side + 1, step)
        for left in range(0, x.shape[1] - side + 1, step)
    ]


def updates_within(
    seconds: float, loops: Mapping[str, Iterator[Any]], place: Path
) -> dict[str, int]:
    """How many updates of each training fit into so much processor time; kept at a place.

    A few updates of each are taken, in turns, so that a busy machine slows them down alike.
    """
    if place.exists():
        return dict(json.loads(place.read_text(encoding="utf-8")))
    taken: dict[str, list[float]] = {name: [] for name in loops}
    for turn, name in itertools.product(range(13), loops):
        begin = time.process_time()
        next(loops[name])
        if turn >= 3:
            taken[name].append(time.process_time() - begin)
    updates = {name: round(seconds / float(np.median(taken[name]))) for name in loops}
    place.write_text(json.dumps(updates), encoding="utf-8")
    return updates


def reproduced() -> list[dict[str, Any]]:
    """What `nextpixel reproduce` has written to experiments/results, by name."""
    found = [
        json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))
    ]
    return [result for result in found if "recipe" in result]


def write(name: str, results: Mapping[str, Any]) -> None:
    """Keep results in experiments/results/NAME.json."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def _named(figures: dict[str, Any]) -> dict[str, Any]:
    """Figures without the place of the data."""
    return figures | {"source": Path(figures["source"]).name}
