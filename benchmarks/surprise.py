"""What surprise maps cost beside scores.

    python benchmarks/surprise.py [patches=PATCHES32.npz photographs=KODIM11.png RUN=KOLEKTOR.npz]

Both are timed in turns on one thread, in processor time; the ratio is that of the fastest rounds.
Weights are random, except that log-scales of mixtures are moved to those of trained models. Pairs
of a trained model and pictures, a picture or the test images of an .npz file, say what a user pays:
one batch of about 32,000 sub-pixels of real pictures. `--write` keeps the figures in
experiments/results/surprise_cost.json.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nextpixel import DiagonalBiLSTM, GatedPixelCNN, PixelCNN, RowLSTM, load, score, surprise_map
from nextpixel.models.core import ImageModel
from nextpixel.papers.commit import commit

MODELS: dict[str, Callable[[], ImageModel]] = {
    "Gated PixelCNN, 7 layers of 32, softmax": lambda: GatedPixelCNN(features=32, layers=7),
    "Gated PixelCNN, 7 layers of 30, RGB, softmax": lambda: GatedPixelCNN(
        channels=3, features=30, layers=7
    ),
    "Gated PixelCNN, 7 layers of 32, Bernoulli": lambda: GatedPixelCNN(
        levels=2, features=32, layers=7
    ),
    "Gated PixelCNN, 7 layers of 32, logistics": lambda: GatedPixelCNN(
        features=32, layers=7, head="logistic"
    ),
    "Gated PixelCNN, 12 layers of 60, RGB, logistics": lambda: GatedPixelCNN(
        channels=3, features=60, layers=12, head="logistic"
    ),
    "Gated PixelCNN, 7 layers of 30, RGB, logistics": lambda: GatedPixelCNN(
        channels=3, features=30, layers=7, head="logistic"
    ),
    "PixelCNN, 7 layers of 32, logistics": lambda: PixelCNN(features=32, layers=7, head="logistic"),
    "Row LSTM, 7 layers of 32, logistics": lambda: RowLSTM(features=32, layers=7, head="logistic"),
    "Diagonal BiLSTM, 4 layers of 16, logistics": lambda: DiagonalBiLSTM(
        features=16, layers=4, head="logistic"
    ),
}
LOG_SCALE = -3.5
"""Four of 256 values: what mixtures of photographs have."""
RESULTS = Path(__file__).parents[1] / "experiments" / "results"
SUB_PIXELS, SIDE = 32_000, 128


def untrained(name: str) -> tuple[ImageModel, Tensor]:
    """A model of `MODELS`, and random images."""
    torch.manual_seed(0)
    model = MODELS[name]()
    if "logistics" in name:
        scales = slice(10 * (1 + model.channels), 10 * (1 + 2 * model.channels))
        torch.nn.init.constant_(model.head_out.bias[scales], LOG_SCALE)
    return model, torch.randint(model.levels, (4, model.channels, 32, 32))


def trained(pair: str) -> tuple[ImageModel, Tensor]:
    """A trained model, and its pictures or the middle of one."""
    name, _, place = pair.rpartition("=")
    model = load(name)
    if Path(place).suffix == ".npz":
        with np.load(place) as arrays:
            pictures = arrays["test_images"]
    else:
        pictures = np.asarray(Image.open(place).convert("RGB" if model.channels == 3 else "L"))
        pictures = pictures[None]
    top, left = ((side - min(side, SIDE)) // 2 for side in pictures.shape[1:3])
    pictures = pictures[:, top : top + SIDE, left : left + SIDE]
    x = torch.from_numpy(pictures.astype(np.int64))
    x = x.movedim(3, 1) if x.ndim == 4 else x[:, None]
    return model, x[: max(1, SUB_PIXELS // x[0].numel())]


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("trained", nargs="*", metavar="MODEL=PICTURES")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--write", action="store_true", help="keep the figures")
    asked = parser.parse_args()
    rounds = asked.rounds
    torch.set_num_threads(1)
    rows = []
    print("| model | parameters | score, µs per pixel | surprise map / score |\n|---|---|---|---|")
    for name in (*MODELS, *asked.trained):
        model, x = untrained(name) if name in MODELS else trained(name)
        seconds: dict[str, float] = {}
        for number in range(rounds + 1):
            for key, function in (("score", score), ("map", surprise_map)):
                start = time.process_time()
                function(model, x)
                if number:
                    took = time.process_time() - start
                    seconds[key] = min(seconds.get(key, took), took)
        parameters = sum(part.numel() for part in model.parameters())
        per_pixel = seconds["score"] / x[:, 0].numel() * 1e6
        ratio = seconds["map"] / seconds["score"]
        if name not in MODELS:
            name = name.rpartition("=")[0].rpartition("/")[2]
        rows.append(
            {
                "model": name,
                "trained": name not in MODELS,
                "parameters": parameters,
                "score_microseconds_per_pixel": per_pixel,
                "map_by_score": ratio,
            }
        )
        print(f"| {name} | {parameters / 1000:.0f} k | {per_pixel:.1f} | {ratio:.2f} |", flush=True)
    if asked.write:
        measured = {"command": "python benchmarks/surprise.py --write …", "commit": commit()}
        RESULTS.joinpath("surprise_cost.json").write_text(
            json.dumps(measured | {"rounds": rounds, "rows": rows}, indent=1) + "\n"
        )


if __name__ == "__main__":
    with torch.no_grad():
        main()
