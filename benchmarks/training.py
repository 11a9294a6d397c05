"""Images per second of one training step: forward, loss, backward, clipping, AdamW, weight average.

    python benchmarks/training.py
    python benchmarks/training.py --profile

The steps are those of `nextpixel.training.train` itself, on random images in memory; nothing is evaluated. All
variants of a case are open at once and take a few steps each in turn, A B A B, so that a change of the machine's speed
meets all of them. Medians say what a run gets; minima of the time per step are steadier on a machine that is shared.
With `--threads 1 --cpu-time`, processor seconds are counted: the figures to trust while other programs compute.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from nextpixel import GatedPixelCNN
from nextpixel.splits import ImageData, Split
from nextpixel.train_config import TrainConfig
from nextpixel.training import Step, initial_state, train

BATCH = 16
# Name, channels, levels, side, features and kernel size; 8 layers. The two kernels have half a million parameters more
# or less.
CASES = [
    ("28×28×1, 2 levels", 1, 2, 28, 48, 3),
    ("28×28×1, 2 levels", 1, 2, 28, 48, 5),
    ("32×32×3, 256 levels", 3, 256, 32, 48, 3),
    ("32×32×3, 256 levels", 3, 256, 32, 48, 5),
]
VARIANTS = [
    (f"{precision}, {layout}", {"precision": precision, "channels_last": layout == "channels-last"})
    for precision in ("float32", "bf16")
    for layout in ("contiguous", "channels-last")
]
# Which operators belong together, by part of their name; the first that fits counts.
GROUPS = {
    "convolution, backward": ("convolution_backward", "conv_backward"),
    "convolution, forward": ("mkldnn_conv", "convolution", "conv2d"),
    "softmax and loss": ("softmax", "log_sigmoid", "nll_loss", "cross_entropy", "binary_cross_entropy"),
    "gate": ("tanh", "sigmoid"),
    "optimiser and average": ("Optimizer", "adam", "foreach", "lerp", "norm"),
    "copies, casts, padding": ("copy_", "pad", "fill_", "zero_", "cat", "slice_backward", "clone"),
    "sums and products": ("add", "mul", "sum", "div", "relu", "threshold"),
}


def data(channels: int, levels: int, side: int) -> ImageData:
    """Random images, and no validation split."""
    images = np.random.default_rng(0).integers(levels, size=(256, channels, side, side), dtype=np.uint8)
    empty = Split(images=images[:0])
    return ImageData(
        source="random",
        levels=levels,
        channels=channels,
        shape=(side, side),
        classes=(),
        train=Split(images=images),
        valid=empty,
        test=empty,
        preparation={},
    )


def steps(model: GatedPixelCNN, images: ImageData, **options: object) -> Iterator[Step]:
    """Steps without end."""
    config = TrainConfig(steps=10**9, batch_size=BATCH, evaluate_every=10**9, **options)  # type: ignore[arg-type]
    return train(initial_state(model, config), images, config)


def in_turn(
    runs: dict[str, Iterator[Step]], turns: int, each: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Seconds of every step of each run: after two to warm up, `each` steps of one run, then of the next, and again."""
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
    """Milliseconds of a step by group of operators, each without what it calls, and the largest of the others."""
    for _ in range(3):
        next(run)
    with profile(activities=[ProfilerActivity.CPU]) as trace:
        for _ in range(count):
            next(run)
    spent = dict.fromkeys([*GROUPS, "other"], 0.0)
    for event in trace.key_averages():
        name = next((g for g, parts in GROUPS.items() if any(part in event.key for part in parts)), "other")
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
    return flags


def main() -> None:
    flags = parser(__doc__)
    flags.add_argument("--profile", action="store_true", help="print where the time of a step goes instead")
    arguments = flags.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"torch {torch.__version__}, threads: {arguments.threads}, batch {BATCH}, 8 layers\n")
    head = "| model | features, kernel | parameters | variant |"
    print(head + (" part | ms per step | share |" if arguments.profile else " images/s, best step | median |"))
    print("|---" * (7 if arguments.profile else 6) + "|")
    for case, channels, levels, side, features, kernel in CASES:
        images = data(channels, levels, side)
        runs = {}
        for name, options in VARIANTS:
            torch.manual_seed(0)
            model = GatedPixelCNN(
                channels=channels,
                levels=levels,
                features=features,
                layers=8,
                kernel_size=kernel,
                head_features=features,
            )
            runs[name] = steps(model, images, **options)
        row = f"| {case} | {features}, {kernel}×{kernel} | {sum(p.numel() for p in model.parameters()):,} |"
        if arguments.profile:
            for name in ("float32, channels-last", "bf16, channels-last"):
                spent = grouped(runs[name])
                for part, ms in sorted(spent.items(), key=lambda item: -item[1]):
                    print(f"{row} {name} | {part} | {ms:.1f} | {ms / sum(spent.values()):.0%} |", flush=True)
        else:
            for name, seconds in in_turn(runs, arguments.turns, 3, arguments.clock).items():
                figures = f"{BATCH / min(seconds):.0f} | {BATCH / statistics.median(seconds):.0f}"
                print(f"{row} {name} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
