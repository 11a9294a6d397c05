"""What the lossless codec costs, beside a float32 pass and a sample of the same images, in one run.

    python benchmarks/codec.py [--threads 1] [--photograph 512x768] [--only mnist]

Images are drawn from the models themselves, except for the photograph, which is smooth with a
little noise: the time does not depend on the values. Seconds are processor time, so that a busy
machine changes them little; MB are of the images at one byte a sub-pixel.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch

import nextpixel
from nextpixel.codec import streams
from nextpixel.codec.compress import compress, decompress
from nextpixel.codec.exact import exact
from nextpixel.models.core import ImageModel


def seconds(call: Callable[[], Any]) -> tuple[float, Any]:
    """Processor time of a call, and its result."""
    begin = time.process_time()
    result = call()
    return time.process_time() - begin, result


def clocked(module: Any, name: str, spent: list[float]) -> None:
    """Counts the time that a function of a module takes."""
    function = getattr(module, name)

    def call(*arguments: Any, **keywords: Any) -> Any:
        took, result = seconds(lambda: function(*arguments, **keywords))
        spent.append(took)
        return result

    setattr(module, name, call)


def measure(name: str, model: ImageModel, images: torch.Tensor, *, sampled: bool) -> None:
    """Prints one line."""
    megabytes, size = images.numel() / 1e6, (images.shape[2], images.shape[3])
    float_pass, _ = seconds(lambda: nextpixel.score(model, images))
    same = exact(model)
    exact_pass, _ = seconds(lambda: nextpixel.score(same, images))
    encoding, data = seconds(lambda: compress(model, images))
    spent: list[float] = []
    clocked(streams, "cumulative", spent)
    clocked(streams.Decoder, "decode", spent)
    decoding, restored = seconds(lambda: decompress(model, data))
    assert torch.equal(restored, images)
    line = (
        f"{name:32} pass {exact_pass / float_pass:5.2f} float32 passes"
        f"  encode {megabytes / encoding:7.4f} MB/s  decode {megabytes / decoding:7.4f} MB/s"
        f"  entropy coding {sum(spent) / decoding:4.0%}"
    )
    if sampled:
        drawing, _ = seconds(lambda: nextpixel.sample(model, len(images), size))
        line += f"  decode {decoding / drawing:5.2f} samples"
    print(line, flush=True)


def main() -> None:
    """Measures what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--photograph", default="512x768")
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    cases = [
        ("mnist", 64, (28, 28)),
        ("mnist-gated-pixel-cnn", 64, (28, 28)),
        ("mnist-row-lstm", 64, (28, 28)),
        ("patches", 64, (32, 32)),
    ]
    for name, count, size in cases:
        if arguments.only in name:
            model = nextpixel.load(name)
            generator = torch.Generator().manual_seed(0)
            images = nextpixel.sample(model, count, size, generator=generator)
            measure(f"{name}, {count} of {size[0]}×{size[1]}", model, images, sampled=True)
    if arguments.only in "photograph":
        height, width = map(int, arguments.photograph.split("x"))
        model = nextpixel.load("patches")
        rows, columns = torch.arange(height)[:, None], torch.arange(width)
        smooth = 128 + 60 * torch.sin(rows / 40) + 40 * torch.cos(columns / 25)
        images = (smooth + torch.randn(1, 3, height, width) * 3).round().clamp(0, 255).long()
        measure(f"photograph of {height}×{width}", model, images, sampled=False)


if __name__ == "__main__":
    main()
