"""What a sample costs, as a multiple of one forward pass of the same batch, in one run.

    python benchmarks/sampling.py [--threads 1] [--only Row] [--write]
    python benchmarks/sampling.py --arithmetic [--only 28×28] [--write]

A loop that calls the whole network for every sub-pixel costs 784 passes for 28×28×1 and 3072 for
32×32×3. The floor is about 1: the same arithmetic, once per site. Figures are minima of several
turns, taken in turn so that a change of the machine's speed meets both. --arithmetic counts the
operations of convolutions and matrix products of one image instead of seconds: of a walk site by
site, and of one by fronts, as multiples of those of a pass.
"""

import argparse
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from nextpixel import (
    DiagonalBiLSTM,
    GatedPixelCNN,
    MapCondition,
    MultiScale,
    PixelCNN,
    RowLSTM,
    fronts,
    sample,
    walk,
)
from nextpixel.models.core import ImageModel
from nextpixel.papers.commit import commit

RESULT = Path(__file__).parent.parent / "experiments" / "results" / "sampling_passes.json"
ARITHMETIC = RESULT.with_name("sampling_arithmetic.json")


def two_scales(levels: int) -> ImageModel:
    """A small and a large model, whose passes cover a quarter of the pixels and all of them."""
    shared = {"levels": levels, "features": 32, "layers": 7, "kernel_size": 3}
    given = MapCondition(1, scale=2, levels=levels)
    return MultiScale(small=GatedPixelCNN(**shared), large=GatedPixelCNN(**shared, condition=given))


# The widths of the paper's model for binary MNIST.
PAPERS = {"features": 16, "head_features": 32}
CASES: list[tuple[str, Callable[[], ImageModel], tuple[int, int]]] = [
    (
        "gated 7 × 32, 28×28×1",
        lambda: GatedPixelCNN(features=32, layers=7, kernel_size=3),
        (28, 28),
    ),
    (
        "gated 7 × 33, 32×32×3",
        lambda: GatedPixelCNN(channels=3, features=33, layers=7, kernel_size=3),
        (32, 32),
    ),
    ("PixelCNN 7 × 32, 28×28×1", lambda: PixelCNN(features=32, layers=7), (28, 28)),
    ("Row LSTM 7 × 32, 28×28×1", lambda: RowLSTM(features=32, layers=7), (28, 28)),
    ("Diagonal BiLSTM 7 × 32, 28×28×1", lambda: DiagonalBiLSTM(features=32, layers=7), (28, 28)),
    (
        "Diagonal BiLSTM 7 × 16, 28×28×1, binary",
        lambda: DiagonalBiLSTM(levels=2, layers=7, **PAPERS),
        (28, 28),
    ),
    ("PixelCNN 7 × 33, 32×32×3", lambda: PixelCNN(channels=3, features=33, layers=7), (32, 32)),
    ("Row LSTM 7 × 33, 32×32×3", lambda: RowLSTM(channels=3, features=33, layers=7), (32, 32)),
    (
        "Diagonal BiLSTM 7 × 33, 32×32×3",
        lambda: DiagonalBiLSTM(channels=3, features=33, layers=7),
        (32, 32),
    ),
    (
        "gated 7 × 32, logistic mixture, 32×32×3",
        lambda: GatedPixelCNN(channels=3, features=32, layers=7, kernel_size=3, head="logistic"),
        (32, 32),
    ),
    ("two scales of gated 7 × 32, 28×28×1", lambda: two_scales(256), (28, 28)),
    (
        "gated 8 × 54, 32×32×3",
        lambda: GatedPixelCNN(channels=3, features=54, layers=8, kernel_size=3),
        (32, 32),
    ),
]


def seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


@torch.no_grad()
def measure(
    model: ImageModel, batch: int, shape: tuple[int, int], turns: int = 5
) -> tuple[float, float]:
    """Seconds of a forward pass with its likelihood, and of a sample."""
    x = torch.randint(model.levels, (batch, model.channels, *shape))
    forward, draw = [], []
    for _ in range(turns):
        forward.append(seconds(lambda: model(x).log_prob(x)))
        draw.append(seconds(lambda: sample(model, batch, shape)))
    return min(forward), min(draw)


def keep(found: Mapping[str, object], place: Path) -> None:
    place.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def operations(function: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counted, torch.no_grad():
        function()
    return counted.get_total_flops()


def arithmetic(only: str) -> dict[str, dict[str, float]]:
    """Operations of walks through one image, as multiples of those of a pass."""
    found = {}
    for name, build, shape in CASES:
        if only in name:
            model = build().eval()
            x = torch.randint(model.levels, (1, model.channels, *shape))
            one = operations(lambda model=model, x=x: model(x))
            found[name] = {
                "site by site": operations(lambda model=model, x=x: list(walk(model, x))) / one,
                "fronts": operations(lambda model=model, x=x: list(fronts(model, x))) / one,
            }
            print(name, found[name], flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument(
        "--write", action="store_true", help=f"keep the figures in {RESULT.parent.name}"
    )
    parser.add_argument("--arithmetic", action="store_true", help="count operations")
    arguments = parser.parse_args()
    if arguments.arithmetic:
        asked = f" --only {arguments.only!r}" if arguments.only else ""
        counted = {
            "command": f"python benchmarks/sampling.py --arithmetic{asked}",
            "commit": commit(),
            "unit": "operations of convolutions and matrix products, of a forward pass",
            "models": arithmetic(arguments.only),
        }
        if arguments.write:
            keep(counted, ARITHMETIC)
        return
    threads = arguments.threads
    torch.set_num_threads(threads)
    print(f"torch {torch.__version__}, threads: {threads}\n")
    print("| model | parameters | batch | one pass, ms | sample, ms | passes | images/s |")
    print("|---|---|---|---|---|---|---|")
    passes: dict[str, dict[str, float]] = {}
    for name, build, shape in CASES:
        if arguments.only not in name:
            continue
        for batch in (1, 16, 64):
            torch.manual_seed(0)
            model = build().eval()
            parameters = sum(p.numel() for p in model.parameters())
            forward, draw = measure(model, batch, shape)
            passes.setdefault(name, {})[str(batch)] = round(draw / forward, 1)
            figures = (
                f"{forward * 1e3:.1f} | {draw * 1e3:.0f} | {draw / forward:.1f} |"
                f" {batch / draw:.1f}"
            )
            print(f"| {name} | {parameters:,} | {batch} | {figures} |", flush=True)
    if arguments.write:
        if arguments.only:  # the other cases stay as they are
            passes = json.loads(RESULT.read_text(encoding="utf-8"))["models"] | passes
        found = {
            "command": f"python benchmarks/sampling.py --threads {threads}",
            "commit": commit(),
            "threads": threads,
            "unit": "forward passes of the same batch",
            "models": passes,
        }
        keep(found, RESULT)


if __name__ == "__main__":
    main()
