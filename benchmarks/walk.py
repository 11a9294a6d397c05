"""What walks cost, as multiples of one forward pass of the same pictures, in one run.

    python benchmarks/walk.py [--only 28]

Samples of one picture and of 64, by fronts and in raster order; and completions of a hole and of
scratches in a photograph. One thread; processor time, and minima of turns in which all are measured
one after another, so that a change of the machine's speed meets all.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial

import torch

from nextpixel import GatedPixelCNN, complete, sample, score
from nextpixel.front.skew import Skew
from nextpixel.models.core import AutoregressiveModel
from nextpixel.walk import walk


def gated() -> AutoregressiveModel:
    return GatedPixelCNN(features=32, layers=7, kernel_size=3).eval()


def colours() -> AutoregressiveModel:
    return GatedPixelCNN(
        channels=3, levels=256, features=42, layers=7, kernel_size=3, first_kernel_size=7
    ).eval()


# Name, model, batch, size, turns, whether the raster walk is short enough to measure.
SAMPLES: list[tuple[str, Callable[[], AutoregressiveModel], int, tuple[int, int], int, bool]] = [
    ("gated 7 × 32, 28×28×1", gated, 1, (28, 28), 9, True),
    ("gated 7 × 32, 28×28×1", gated, 64, (28, 28), 3, True),
    ("gated 7 × 42, 32×32×3", colours, 1, (32, 32), 5, True),
    ("gated 7 × 42, 32×32×3", colours, 64, (32, 32), 2, True),
    ("gated 7 × 42, 64×64×3", colours, 1, (64, 64), 5, True),
    ("gated 7 × 42, 512×768×3", colours, 1, (512, 768), 1, False),
]


def seconds(function: Callable[..., object], *arguments: object) -> float:
    start = time.process_time()
    function(*arguments)
    return time.process_time() - start


def raster(model: AutoregressiveModel, x: torch.Tensor) -> None:
    for _ in walk(model, x):
        pass


def samples(only: str) -> None:
    print("| model and picture | batch | steps | rows at once | one pass, ms | raster | fronts |")
    print("|---|---|---|---|---|---|---|")
    for name, build, batch, size, turns, measured in SAMPLES:
        if only not in name:
            continue
        torch.manual_seed(0)
        model = build()
        x = torch.randint(model.levels, (batch, model.channels, *size))
        passes, in_order, by_fronts = [], [], []
        for _ in range(turns):
            passes.append(seconds(score, model, x))
            by_fronts.append(seconds(sample, model, batch, size))
            if measured:
                in_order.append(seconds(raster, model, x))
        one = min(passes)
        skew = Skew.of(model.reach, range(size[0]), size[1], batch, raster=False)
        steps = len(skew.times) * model.colours
        lanes = size[0] * size[1] / len(skew.times)
        plain = f"{min(in_order) / one:.1f}" if measured else "–"
        print(
            f"| {name} | {batch} | {steps:,} | {lanes:.1f} | {one * 1e3:.1f} | {plain} |"
            f" {min(by_fronts) / one:.2f} |",
            flush=True,
        )


def completions() -> None:
    model, height, width = colours(), 512, 768
    x = torch.randint(256, (1, 3, height, width))
    hole = torch.ones(height, width, dtype=torch.bool)
    hole[300:332, 400:432] = False
    scratches = torch.ones(height, width, dtype=torch.bool)
    scratches[torch.arange(height), torch.arange(height)] = False
    scratches[100] = False
    print("\n| unknown of 512×768×3 | pixels | particles | seconds |")
    print("|---|---|---|---|")
    # Walkers of the scratches would go through nearly all of the photograph, many minutes.
    for name, known, particles in (
        ("a hole of 32×32", hole, 1),
        ("a hole of 32×32", hole, 32),
        ("two scratches", scratches, 1),
    ):
        drawn = partial(complete, model, x, known, particles=particles)
        least = min(seconds(drawn) for _ in range(2))
        print(f"| {name} | {int((~known).sum()):,} | {particles} | {least:.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="samples whose name contains this")
    only = parser.parse_args().only
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, one thread; passes are multiples of one forward pass\n")
    samples(only)
    if not only:
        completions()


if __name__ == "__main__":
    main()
