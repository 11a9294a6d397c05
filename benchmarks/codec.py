"""What the lossless codec costs, beside a float32 pass and a sample of the same images, in one run.

    python benchmarks/codec.py [--threads 1] [--photograph 512x768] [--only mnist] [--write]

Small images are drawn from the models themselves; the photograph is smooth with a little noise.
Seconds are processor time, so that a busy machine changes them little; float32 and exact passes
take turns. MB are of the images at one byte a sub-pixel. Entropy coding is everything between a
model's outputs and the stream.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

import nextpixel
from nextpixel.codec import streams
from nextpixel.codec.compress import compress, decompress
from nextpixel.codec.exact import exact
from nextpixel.models.core import ImageModel
from nextpixel.papers.commit import commit

RESULT = Path(__file__).parent.parent / "experiments" / "results" / "codec_speed.json"
TURNS = 3


def seconds(call: Callable[[], Any]) -> tuple[float, Any]:
    """Processor time of a call, and its result."""
    begin = time.process_time()
    result = call()
    return time.process_time() - begin, result


@contextmanager
def clocked(*functions: tuple[Any, str]) -> Iterator[list[float]]:
    """Collects the times that functions of modules or classes take meanwhile."""
    spent: list[float] = []

    def each(results: Iterator[Any]) -> Iterator[Any]:
        while True:
            took, result = seconds(lambda: next(results, None))
            spent.append(took)
            if result is None:
                return
            yield result

    def with_clock(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            took, result = seconds(lambda: function(*arguments, **keywords))
            spent.append(took)
            return each(result) if isinstance(result, Iterator) else result

        return call

    before = [getattr(owner, name) for owner, name in functions]
    for (owner, name), function in zip(functions, before, strict=True):
        setattr(owner, name, with_clock(function))
    try:
        yield spent
    finally:
        for (owner, name), function in zip(functions, before, strict=True):
            setattr(owner, name, function)


def measure(model: ImageModel, images: torch.Tensor) -> dict[str, float]:
    """The figures of one model and its images."""
    megabytes, size = images.numel() / 1e6, (images.shape[2], images.shape[3])
    same = exact(model)
    ratios = []
    for _ in range(TURNS + 1):  # the first turn is for caches
        (exactly, _), (plainly, _) = (
            seconds(lambda of=of: nextpixel.score(of, images)) for of in (same, model)
        )
        ratios.append(exactly / plainly)
    with clocked((streams, "_bounds"), (streams, "encode")) as coding:
        encoding, data = seconds(lambda: compress(model, images))
    with clocked((streams, "every_cumulative"), (streams.Decoder, "decode")) as decoding_symbols:
        decoding, restored = seconds(lambda: decompress(model, data))
    assert torch.equal(restored, images)
    drawing, _ = seconds(lambda: nextpixel.sample(model, len(images), size))
    return {
        "float32_passes": round(statistics.median(ratios[1:]), 2),
        "encoding_mb_per_second": round(megabytes / encoding, 4),
        "decoding_mb_per_second": round(megabytes / decoding, 4),
        "coding_share_of_encoding": round(sum(coding) / encoding, 3),
        "coding_share_of_decoding": round(sum(decoding_symbols) / decoding, 3),
        "samples": round(decoding / drawing, 2),
    }


def photograph(height: int, width: int) -> torch.Tensor:
    """A smooth picture with a little noise."""
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    smooth = 128 + 60 * torch.sin(rows / 40) + 40 * torch.cos(columns / 25)
    noise = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    return (smooth + noise * 3).round().clamp(0, 255).long()


def main() -> None:
    """Measures what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--photograph", default="512x768")
    parser.add_argument("--only", default="")
    parser.add_argument(
        "--write", action="store_true", help=f"keep the figures of these models in {RESULT.name}"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    cases = [
        ("mnist", 64, (28, 28)),
        ("mnist-gated-pixel-cnn", 64, (28, 28)),
        ("mnist-pixel-cnn", 64, (28, 28)),
        ("mnist-row-lstm", 64, (28, 28)),
        ("patches", 64, (32, 32)),
        ("photographs", 1, tuple(map(int, arguments.photograph.split("x")))),
    ]
    found: dict[str, dict[str, Any]] = {}
    for name, count, size in cases:
        if arguments.only not in name:
            continue
        model = nextpixel.load(name)
        if count == 1:
            images = photograph(*size)
        else:
            generator = torch.Generator().manual_seed(0)
            images = nextpixel.sample(model, count, size, generator=generator)
        figures = measure(model, images)
        found[name] = {"images": f"{count} of {size[0]}×{size[1]}", **figures}
        print(name, found[name], flush=True)
    if arguments.write:
        kept = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {"models": {}}
        kept = {
            "command": f"python benchmarks/codec.py --threads {arguments.threads}"
            f" --photograph {arguments.photograph}",
            "commit": commit(),
            "threads": arguments.threads,
            "models": kept["models"] | found,
        }
        RESULT.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
