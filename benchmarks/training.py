"""Images per second of one training step: forward, loss, backward, clipping, Muon, weight average.

    python benchmarks/training.py
    python benchmarks/training.py --profile

The steps are those of `nextpixel.training.loop.train` itself, on random images in memory; nothing
is evaluated. All variants of a case are open at once and take a few steps each in turn, A B A B, so
that a change of the machine's speed meets all of them. bf16 is left out where the CPU has no
instructions for it. Medians say what a run gets; minima of the time per step are steadier on a
machine that is shared. With `--threads 1 --cpu-time`, processor seconds are counted: the figures to
trust while other programs compute. `--write NAME` keeps the figures in
experiments/results/NAME.json. The tables of docs/results/speed.md come from training_steps and,
with `--profile`, training_profile.
"""

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from nextpixel import DiagonalBiLSTM, GatedPixelCNN, PixelCNN, RowLSTM
from nextpixel.data.splits import ImageData, Split
from nextpixel.devices import multiplies_bf16
from nextpixel.models.core import AutoregressiveModel
from nextpixel.papers.commit import commit
from nextpixel.settings.preparation import Preparation
from nextpixel.settings.source import Source
from nextpixel.settings.training import TrainConfig
from nextpixel.training.loop import Step, initial_state, train

BATCH = 16
RESULTS = Path(__file__).parent.parent / "experiments" / "results"
# Name, images (channels, levels, side), batch and model. The first ones of each kind have about
# half a million parameters; peers were measured on the same images and batch.
GREY, RGB = (1, 2, 28), (3, 256, 32)
CASES: list[tuple[str, tuple[int, int, int], int, Callable[..., AutoregressiveModel]]] = [
    (
        "gated 8 × 48, 3×3",
        GREY,
        BATCH,
        lambda **k: GatedPixelCNN(features=48, layers=8, kernel_size=3, **k),
    ),
    ("gated 8 × 48, 5×5", GREY, BATCH, lambda **k: GatedPixelCNN(features=48, layers=8, **k)),
    ("PixelCNN 12 × 64", GREY, BATCH, lambda **k: PixelCNN(features=64, layers=12, **k)),
    ("Row LSTM 7 × 48", GREY, BATCH, lambda **k: RowLSTM(features=48, layers=7, **k)),
    ("Diagonal BiLSTM 7 × 46", GREY, BATCH, lambda **k: DiagonalBiLSTM(features=46, layers=7, **k)),
    ("Diagonal BiLSTM 7 × 46", GREY, 64, lambda **k: DiagonalBiLSTM(features=46, layers=7, **k)),
    (
        "Diagonal BiLSTM 7 × 16",
        GREY,
        BATCH,
        lambda **k: DiagonalBiLSTM(features=16, head_features=32, layers=7, **k),
    ),
    (
        "Diagonal BiLSTM 7 × 16",
        GREY,
        128,
        lambda **k: DiagonalBiLSTM(features=16, head_features=32, layers=7, **k),
    ),
    (
        "gated 8 × 48, 3×3",
        RGB,
        BATCH,
        lambda **k: GatedPixelCNN(features=48, layers=8, kernel_size=3, **k),
    ),
    ("gated 8 × 48, 5×5", RGB, BATCH, lambda **k: GatedPixelCNN(features=48, layers=8, **k)),
    ("PixelCNN 12 × 63", RGB, BATCH, lambda **k: PixelCNN(features=63, layers=12, **k)),
    ("Row LSTM 7 × 48", RGB, BATCH, lambda **k: RowLSTM(features=48, layers=7, **k)),
    ("Diagonal BiLSTM 7 × 45", RGB, BATCH, lambda **k: DiagonalBiLSTM(features=45, layers=7, **k)),
]
VARIANTS = [
    (f"{precision}, {layout}", {"precision": precision, "channels_last": layout == "channels-last"})
    for precision in ("float32", *(["bf16"] if multiplies_bf16(torch.device("cpu")) else []))
    for layout in ("contiguous", "channels-last")
]
# Which operators belong together, by part of their name; the first that fits counts.
GROUPS = {
    "the scan's own loop": ("_Scan", "_RowScan"),
    "convolution, backward": ("convolution_backward", "conv_backward"),
    "convolution, forward": ("mkldnn_conv", "convolution", "conv2d"),
    "softmax and loss": (
        "softmax",
        "log_sigmoid",
        "nll_loss",
        "cross_entropy",
        "binary_cross_entropy",
    ),
    "products of scan and Muon": ("bmm", "addmm", "aten::mm"),
    "order of its cells": ("index",),
    "gates: tanh, σ": ("tanh", "sigmoid"),
    "optimiser and average": ("Optimizer", "adam", "foreach", "lerp", "norm"),
    "copies, casts, padding": ("copy_", "pad", "fill_", "zero_", "cat", "slice_backward", "clone"),
    "sums and products": ("add", "mul", "sum", "div", "relu", "threshold"),
}


def data(channels: int, levels: int, side: int) -> ImageData:
    """Random images, and no validation split."""
    images = np.random.default_rng(0).integers(
        levels, size=(256, channels, side, side), dtype=np.uint8
    )
    empty = Split(images=images[:0])
    return ImageData(
        source=Source("random"),
        levels=levels,
        channels=channels,
        shape=(side, side),
        classes=(),
        train=Split(images=images),
        valid=empty,
        test=empty,
        preparation=Preparation(),
    )


def steps(
    model: AutoregressiveModel, images: ImageData, batch_size: int = BATCH, **options: object
) -> Iterator[Step]:
    """Steps without end."""
    config = TrainConfig(steps=10**9, batch_size=batch_size, evaluate_every=10**9, **options)  # type: ignore[arg-type]
    return train(initial_state(model, config), images, config)


def in_turn(
    runs: dict[str, Iterator[Step]], turns: int, each: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Seconds of each step after a warm-up, `each` steps of one run and then of the next."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        for _ in range(2):
            next(run)
    for _ in range(turns):
        for name, run in runs.items():
            next(run)  # The caches are the previous run's.
            for _ in range(each):
                start = clock()
                next(run)
                seconds[name].append(clock() - start)
    return seconds


def grouped(run: Iterator[Step], count: int = 5) -> dict[str, float]:
    """Milliseconds of a step by group of operators, and of the largest other operators."""
    for _ in range(3):
        next(run)
    with profile(activities=[ProfilerActivity.CPU]) as trace:
        for _ in range(count):
            next(run)
    spent = dict.fromkeys([*GROUPS, "other"], 0.0)
    for event in trace.key_averages():
        name = next(
            (g for g, parts in GROUPS.items() if any(part in event.key for part in parts)), "other"
        )
        spent[name] += event.self_cpu_time_total / 1e3 / count
    return spent


def parser(description: str) -> argparse.ArgumentParser:
    """The flags that the benchmarks of training share."""
    flags = argparse.ArgumentParser(description=description.partition("\n")[0])
    flags.add_argument("--turns", type=int, default=5, help="turns for every variant")
    flags.add_argument("--threads", type=int, default=2)
    flags.add_argument(
        "--cpu-time",
        dest="clock",
        action="store_const",
        const=time.process_time,
        default=time.perf_counter,
        help="count processor seconds; for one thread",
    )
    flags.add_argument("--write", metavar="NAME", help="keep the figures in a file of results")
    return flags


def write(arguments: argparse.Namespace, **figures: object) -> None:
    """Keep figures in a file of results, with what they were measured with."""
    if arguments.write is None:
        return
    measured = {
        "command": f"python benchmarks/{Path(sys.argv[0]).name} {' '.join(sys.argv[1:])}".strip(),
        "commit": commit(),
        "processor": _processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "bf16": multiplies_bf16(torch.device("cpu")),
        "torch": torch.__version__,
        "threads": arguments.threads,
        "seconds_of": "processor" if arguments.clock is time.process_time else "wall clock",
    }
    path = RESULTS / f"{arguments.write}.json"
    path.write_text(json.dumps(measured | figures, indent=1) + "\n", encoding="utf-8")


def _processor() -> str:
    """The name of the processor."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def main() -> None:
    flags = parser(__doc__)
    flags.add_argument("--only", default="", help="models whose name contains this")
    flags.add_argument(
        "--profile", action="store_true", help="print where the time of a step goes instead"
    )
    arguments = flags.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"torch {torch.__version__}, threads: {arguments.threads}\n")
    rows: list[dict[str, object]] = []
    head = "| images | model | parameters | batch | variant |"
    print(
        head
        + (
            " part | ms per step | share |"
            if arguments.profile
            else " images/s, best step | median |"
        )
    )
    print("|---" * (8 if arguments.profile else 7) + "|")
    for name, (channels, levels, side), batch, build in CASES:
        if arguments.only not in name:
            continue
        images = data(channels, levels, side)
        runs = {}
        for variant, options in VARIANTS:
            torch.manual_seed(0)
            model = build(channels=channels, levels=levels)
            runs[variant] = steps(model, images, batch, **options)
        parameters = sum(p.numel() for p in model.parameters())
        case = {
            "images": f"{side}×{side}×{channels}, {levels} levels",
            "model": name,
            "parameters": parameters,
            "batch": batch,
        }
        row = f"| {side}×{side}×{channels}, {levels} levels | {name} | {parameters:,} | {batch} |"
        if arguments.profile:
            for variant in [name for name, options in VARIANTS if options["channels_last"]]:
                spent = grouped(runs[variant])
                shares = {part: ms / sum(spent.values()) for part, ms in spent.items()}
                rows.append(case | {"variant": variant, "shares": shares})
                for part, ms in sorted(spent.items(), key=lambda item: -item[1]):
                    print(
                        f"{row} {variant} | {part} | {ms:.1f} | {ms / sum(spent.values()):.0%} |",
                        flush=True,
                    )
        else:
            for variant, seconds in in_turn(runs, arguments.turns, 3, arguments.clock).items():
                best, median = batch / min(seconds), batch / statistics.median(seconds)
                rows.append(case | {"variant": variant, "best": best, "median": median})
                print(f"{row} {variant} | {best:.0f} | {median:.0f} |", flush=True)
        write(arguments, rows=rows)


if __name__ == "__main__":
    main()
