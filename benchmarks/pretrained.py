"""What it costs to draw from the models that come with nextpixel, in processor seconds.

    python benchmarks/pretrained.py [--write]

One thread; processor time, so that other programs on the machine hardly matter. The least of three
turns. `--write` keeps the figures in experiments/results/sampling_seconds.json.
"""

import argparse
import json
import time
from pathlib import Path

import torch

from nextpixel import load, sample

SHAPES = {"mnist": (28, 28), "fashion-mnist": (28, 28), "emoji": (32, 32), "patches": (32, 32)}
BATCHES = (1, 16, 64)
RESULT = Path(__file__).parent.parent / "experiments" / "results" / "sampling_seconds.json"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true")
    write = parser.parse_args().write
    torch.set_num_threads(1)
    models: dict[str, dict[str, object]] = {}
    for name, shape in SHAPES.items():
        model = load(name)
        condition = None if name in ("mnist", "patches") else torch.tensor(0)
        seconds = {}
        for batch in BATCHES:
            turns = []
            for _ in range(3):
                start = time.process_time()
                sample(model, batch, shape, condition=condition)
                turns.append(time.process_time() - start)
            seconds[str(batch)] = round(min(turns), 3)
        models[name] = {"shape": [model.channels, *shape], "processor_seconds": seconds}
        print(name, seconds, flush=True)
    found = {"command": "python benchmarks/pretrained.py --write", "threads": 1, "models": models}
    if write:
        RESULT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
