"""Sizes of pictures under this library's codec and under others, in one run.

    python benchmarks/codec_table.py kodim11.png kodim12.png --model photographs --write photographs
    python benchmarks/codec_table.py patches32.npz --model patches --count 64 --write patches
    python benchmarks/codec_table.py digits.npz --model mnist --count 1000 --write mnist

Takes picture files, or the test images of an .npz file; `--count` takes fewer, evenly spaced, as
files may be in the order of their classes or photographs. Every other codec gets each picture as a
file of its own and is set to its smallest lossless size; binary pictures are given to PNG as one
bit a pixel, and to zstd and brotli as bits or as bytes, whichever is smaller. WebP and JPEG XL also
get one sheet of all pictures of one size, which spares them the headers of small files, and shows
them the other pictures. PNG and WebP come with pillow, the others with the extra `codec-baselines`.
This library's streams hold all pictures of one size, with their container. Prints bits per
sub-pixel, bytes a picture, and processor seconds of encoding and decoding; `--write NAME` keeps
them in experiments/results/codec_NAME.json, from which experiments/tables.py makes the table of the
docs. Everything is decoded and compared.
"""

import argparse
import io
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from nextpixel import compress, decompress, load

Picture = NDArray[np.uint8]

MANY = 10
RESULTS = Path(__file__).parents[1] / "experiments" / "results"


@dataclass(frozen=True)
class Codec:
    """Both directions; decoding takes what was encoded and the picture that it was."""

    encode: Callable[[Picture], bytes]
    decode: Callable[[bytes, Picture], Picture]


def pillow(kind: str, **options: Any) -> Codec:
    def encode(picture: Picture) -> bytes:
        file, image = io.BytesIO(), Image.fromarray(picture)
        if kind == "PNG" and is_binary(picture):
            image = image.convert("1")
        image.save(file, kind, **options)
        return file.getvalue()

    def decode(data: bytes, picture: Picture) -> Picture:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("L" if picture.ndim == 2 else "RGB"))

    return Codec(encode, decode)


def is_binary(picture: Picture) -> bool:
    return set(np.unique(picture)) <= {0, 255}


def of_bytes(encode: Callable[[bytes], Any], decode: Callable[[bytes], Any]) -> Codec:
    def shortest(picture: Picture) -> bytes:
        forms = [picture.tobytes()]
        if is_binary(picture):
            forms.append(np.packbits(picture > 0).tobytes())
        return min((bytes(encode(form)) for form in forms), key=len)

    def restored(data: bytes, picture: Picture) -> Picture:
        values = np.frombuffer(decode(data), np.uint8)
        if len(values) < picture.size:
            values = np.unpackbits(values, count=picture.size) * np.uint8(255)
        return values.reshape(picture.shape)

    return Codec(shortest, restored)


def codecs() -> dict[str, Codec]:
    """What is installed, by name."""
    found = {
        "PNG": pillow("PNG", optimize=True),
        "WebP": pillow("WEBP", lossless=True, quality=100, method=6),
    }
    try:
        import imagecodecs as other
    except ModuleNotFoundError:
        print("JPEG XL, zstd and brotli need: pip install 'nextpixel[codec-baselines]'")
        return found
    return found | {
        "JPEG XL, effort 9": Codec(
            lambda x: bytes(other.jpegxl_encode(x, lossless=True, effort=9)),
            lambda data, x: other.jpegxl_decode(data).reshape(x.shape),
        ),
        "zstd 22": of_bytes(lambda data: other.zstd_encode(data, level=22), other.zstd_decode),
        "brotli 11": of_bytes(
            lambda data: other.brotli_encode(data, level=11), other.brotli_decode
        ),
    }


def sheet(pictures: list[Picture]) -> Picture:
    """All pictures of one size side by side in rows, about as wide as high; black where none is."""
    height, width, *colours = pictures[0].shape
    columns = math.ceil(math.sqrt(len(pictures) * height / width))
    rows = math.ceil(len(pictures) / columns)
    tiles = np.zeros((rows * columns, height, width, *colours), np.uint8)
    tiles[: len(pictures)] = pictures
    tiled = tiles.reshape(rows, columns, *tiles.shape[1:]).swapaxes(1, 2)
    return np.ascontiguousarray(tiled.reshape(rows * height, columns * width, *colours))


def pictures_of(paths: list[Path], count: int | None, levels: int) -> list[Picture]:
    """Pictures (H, W) or (H, W, 3); for other codecs values are spread over 0 … 255."""
    if paths[0].suffix == ".npz":
        with np.load(paths[0]) as arrays:
            every = arrays["test_images"]
            few = len(every) if count is None else min(count, len(every))
            return list(every[np.linspace(0, len(every) - 1, few).round().astype(int)])
    mode = "RGB" if levels == 256 else "L"
    return [np.asarray(Image.open(path).convert(mode)) for path in paths[:count]]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pictures", nargs="+", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--count", type=int)
    parser.add_argument("--what", default="pictures", help="what they are, for the table")
    parser.add_argument("--write", metavar="NAME", help="experiments/results/codec_NAME.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = load(arguments.model)
    pictures = pictures_of(arguments.pictures, arguments.count, model.levels)
    values, rows = sum(picture.size for picture in pictures), {}

    def row(name: str, size: int, encoding: float, decoding: float) -> None:
        rows[name] = {
            "bits_per_dim": 8 * size / values,
            "bytes_a_picture": size / len(pictures),
            "processor_seconds": encoding,
            "decoding_seconds": decoding,
        }
        print(name, json.dumps(rows[name]), flush=True)

    spread = 255 // (model.levels - 1)
    shown = [picture * np.uint8(spread) for picture in pictures]
    forms = {name: (codec, shown) for name, codec in codecs().items()}
    if len(pictures) > MANY and len({picture.shape for picture in pictures}) == 1:
        whole = [sheet(shown)]
        forms |= {
            f"{name}, one sheet": (codec, whole)
            for name, (codec, _) in forms.items()
            if name.startswith(("WebP", "JPEG XL"))
        }
    for name, (codec, given) in forms.items():
        began = time.process_time()
        files = list(map(codec.encode, given))
        encoded = time.process_time()
        restored = list(map(codec.decode, files, given))
        decoded = time.process_time()
        assert all(map(np.array_equal, restored, given)), name
        row(name, sum(map(len, files)), encoded - began, decoded - encoded)
    size, encoding, decoding = 0, 0.0, 0.0
    for shape in sorted({picture.shape for picture in pictures}):
        stack = torch.from_numpy(np.stack([x for x in pictures if x.shape == shape])).long()
        x = stack[:, None] if stack.ndim == 3 else stack.permute(0, 3, 1, 2)
        began = time.process_time()
        data = compress(model, x)
        encoded = time.process_time()
        print(f"{len(data):,} bytes of {x.numel():,} in {encoded - began:.0f} s", flush=True)
        same = torch.equal(decompress(model, data), x)
        assert same
        size, encoding = size + len(data), encoding + encoded - began
        decoding += time.process_time() - encoded
    row(f"nextpixel, {arguments.model}", size, encoding, decoding)
    if arguments.write is not None:
        found = {
            "what": arguments.what,
            "pictures": len(pictures),
            "values": values,
            "codecs": rows,
        }
        out = RESULTS / f"codec_{arguments.write}.json"
        out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
