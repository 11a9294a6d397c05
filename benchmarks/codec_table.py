"""Sizes of pictures under this library's codec and under others, in one run.

    python benchmarks/codec_table.py PICTURES.png … --model photographs
    python benchmarks/codec_table.py digits.npz --model mnist --count 1000

Takes picture files, or the test images of an .npz file. Every other codec gets each picture as a
file of its own and is set to its smallest lossless size; binary pictures are given to PNG as one
bit a pixel, and to zstd and brotli as bits or as bytes, whichever is smaller. PNG and WebP come
with pillow, the others with the extra `codec-baselines`. This library's streams hold all pictures
of one size, with their container. Prints bits per sub-pixel, bytes a picture and processor seconds
of encoding; `--out FILE.json` keeps them.
"""

import argparse
import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from nextpixel import compress, decompress, load

Picture = NDArray[np.uint8]


def pillow(kind: str, **options: Any) -> Callable[[Picture], bytes]:
    def encode(picture: Picture) -> bytes:
        file, image = io.BytesIO(), Image.fromarray(picture)
        if kind == "PNG" and set(np.unique(picture)) <= {0, 255}:
            image = image.convert("1")
        image.save(file, kind, **options)
        return file.getvalue()

    return encode


def of_bytes(encode: Callable[[bytes], bytes]) -> Callable[[Picture], bytes]:
    def shortest(picture: Picture) -> bytes:
        forms = [picture.tobytes()]
        if set(np.unique(picture)) <= {0, 255}:
            forms.append(np.packbits(picture > 0).tobytes())
        return min(map(encode, forms), key=len)

    return shortest


def codecs() -> dict[str, Callable[[Picture], bytes]]:
    """What is installed, by name."""
    found = {
        "PNG": pillow("PNG", optimize=True),
        "WebP": pillow("WEBP", lossless=True, quality=100, method=6),
    }
    try:
        import imagecodecs
    except ModuleNotFoundError:
        print("JPEG XL, zstd and brotli need: pip install 'nextpixel[codec-baselines]'")
        return found
    return found | {
        "JPEG XL, effort 9": lambda x: imagecodecs.jpegxl_encode(x, lossless=True, effort=9),
        "zstd 22": of_bytes(lambda data: imagecodecs.zstd_encode(data, level=22)),
        "brotli 11": of_bytes(lambda data: imagecodecs.brotli_encode(data, level=11)),
    }


def pictures_of(paths: list[Path], count: int | None, levels: int) -> list[Picture]:
    """Pictures (H, W) or (H, W, 3); for other codecs values are spread over 0 … 255."""
    if paths[0].suffix == ".npz":
        with np.load(paths[0]) as arrays:
            return list(arrays["test_images"][:count])
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
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    model = load(arguments.model)
    pictures = pictures_of(arguments.pictures, arguments.count, model.levels)
    values, rows = sum(picture.size for picture in pictures), {}

    def row(name: str, encode: Callable[[], int]) -> None:
        began = time.process_time()
        size = encode()
        rows[name] = {
            "bits_per_dim": 8 * size / values,
            "bytes_a_picture": size / len(pictures),
            "processor_seconds": time.process_time() - began,
        }
        print(name, json.dumps(rows[name]), flush=True)

    spread = 255 // (model.levels - 1)
    for name, encode in codecs().items():
        row(name, lambda encode=encode: sum(len(encode(x * spread)) for x in pictures))
    shapes = {picture.shape for picture in pictures}
    streams = []
    for shape in shapes:
        stack = torch.from_numpy(np.stack([x for x in pictures if x.shape == shape]))
        streams.append(stack[:, None] if stack.ndim == 3 else stack.permute(0, 3, 1, 2))
    coded: list[bytes] = []

    def ours() -> int:
        coded.extend(compress(model, x) for x in streams)
        return sum(map(len, coded))

    row(f"nextpixel, {arguments.model}", ours)
    began = time.process_time()
    restored = [decompress(model, data) for data in coded]
    assert all(torch.equal(x.long(), y.long()) for x, y in zip(streams, restored, strict=True))
    decoding = time.process_time() - began
    print(f"restored exactly in {decoding:.0f} processor seconds")
    if arguments.out is not None:
        found = {
            "what": arguments.what,
            "pictures": len(pictures),
            "values": values,
            "codecs": rows,
            "decoding_seconds": decoding,
        }
        arguments.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
