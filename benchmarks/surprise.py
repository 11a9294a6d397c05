"""What surprise maps cost beside scores: `python benchmarks/surprise.py [--rounds 15]`.

Both are timed in turns on one thread, in processor time; the ratio is that of the fastest rounds.
Weights are random, except that log-scales of mixtures are moved to those of trained models.
"""

import argparse
import time
from collections.abc import Callable

import torch

from nextpixel import DiagonalBiLSTM, GatedPixelCNN, PixelCNN, RowLSTM, score, surprise_map
from nextpixel.models.core import ImageModel

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


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    print("| model | parameters | score, µs per pixel | surprise map / score |\n|---|---|---|---|")
    for name, make in MODELS.items():
        torch.manual_seed(0)
        model = make()
        if "logistics" in name:
            scales = slice(10 * (1 + model.channels), 10 * (1 + 2 * model.channels))
            torch.nn.init.constant_(model.head_out.bias[scales], LOG_SCALE)
        x = torch.randint(model.levels, (4, model.channels, 32, 32))
        seconds: dict[str, float] = {}
        for number in range(rounds + 1):
            for key, function in (("score", score), ("map", surprise_map)):
                start = time.process_time()
                function(model, x)
                if number:
                    took = time.process_time() - start
                    seconds[key] = min(seconds.get(key, took), took)
        parameters = sum(part.numel() for part in model.parameters())
        per_pixel = seconds["score"] / (len(x) * 32 * 32) * 1e6
        ratio = seconds["map"] / seconds["score"]
        print(f"| {name} | {parameters / 1000:.0f} k | {per_pixel:.1f} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    with torch.no_grad():
        main()
