"""Small files whose configurations ask for large models are refused after little work."""

import json
import math
import zlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode

from nextpixel import GatedPixelCNN
from nextpixel.codec.compress import Coder
from nextpixel.codec.errors import CodecError
from nextpixel.codec.fields import text, varint
from nextpixel.codec.stored_model import unpack_model
from nextpixel.models import registry
from nextpixel.models.rebuilding import shapes_of
from tests.cases import build, over

PLACE = Path("a.npx")
TINY: dict[str, Any] = {"levels": 4, "features": 2, "layers": 1}


def deeper(config: Any, layers: int) -> Any:
    """A configuration with so many layers in every network."""
    if not isinstance(config, dict):
        return config
    return {key: layers if key == "layers" else deeper(v, layers) for key, v in config.items()}


VARIED = (
    *("gated", "gated-all-conditions", "gated-logistic-linear", "pixel-cnn-rgb-classes"),
    *("row-lstm-vector-and-map", "diagonal-complete-classes", "multi-scale-nested", "autoencoder"),
)


@over(VARIED)
def test_the_tensors_of_a_deep_network_follow_from_three_layers(name: str) -> None:
    model = build(name)
    kind, config = type(model).__name__, json.loads(json.dumps(model.config()))
    with torch.device("meta"):
        made = registry.build(kind, deeper(config, 5)).state_dict()
    assert shapes_of(kind, deeper(config, 5), PLACE) == {k: tuple(v.shape) for k, v in made.items()}
    networks = len([key for key in made if key.endswith("head_out.weight")])
    assert len(made) >= 25 * networks  # a layer has at least five, which files are checked by


class Counted(TorchFunctionMode):
    """Counts the calls of torch, and so the work that is done with tensors."""

    calls = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += 1
        return func(*args, **(kwargs or {}))


def claiming(
    name: str, config: dict[str, Any], tensors: int = 3000, weights: int = 1 << 17
) -> bytes:
    """The body of a model with so many tensors, of names that are nobody's, in about 25 kB."""
    shapes = {f"{k:x}": () for k in range(tensors - 1)} | {"z": (weights,)}
    said = json.dumps({"model": name, "config": config})
    head = [text(said), varint(tensors)]
    for key in sorted(shapes):
        head += [text(key), *map(varint, (len(shapes[key]), *shapes[key], 0))]
    count = sum(math.prod(shape) for shape in shapes.values())
    deflate = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS, 9, zlib.Z_HUFFMAN_ONLY)
    stored = deflate.compress(bytes(count)) + deflate.flush()
    return b"".join([*head, varint(len(stored)), stored])


def nested(depth: int, layers: int) -> dict[str, Any]:
    """Scales within scales."""
    network = {"model": "PixelCNN", **TINY, "layers": layers}
    given = {"maps": 1, "scale": 2, "levels": 4, "features": 1}
    config: dict[str, Any] = network
    for _ in range(depth):
        large = network | {"condition": given}
        config = {"model": "MultiScale", "small": config, "large": large}
    return {key: value for key, value in config.items() if key != "model"}


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("GatedPixelCNN", TINY | {"layers": 3000}),
        ("GatedPixelCNN", TINY | {"layers": 600}),
        ("GatedPixelCNN", TINY | {"condition": [{"maps": 1, "scale": 256}] * 900}),
        ("GatedPixelCNN", TINY | {"condition": [{"classes": 2}] * 900}),
        ("MultiScale", nested(60, 9)),
        ("MultiScale", nested(12, 40)),
        (
            "PixelCNN",
            TINY | {"channels": 1024, "features": 1024, "colour_orders": 1024, "orders": 8},
        ),
    ],
    ids=["deep", "less deep", "maps", "classes", "scales", "fewer scales", "orders"],
)
def test_a_large_model_in_a_small_file_is_refused_unbuilt(
    name: str, config: dict[str, Any]
) -> None:
    body = claiming(name, config)
    assert len(body) < 70_000
    with Counted() as counted, pytest.raises(CodecError, match="model in the compressed data"):
        unpack_model(body, PLACE)
    assert counted.calls < 8000  # 3,000 layers took 200,000


@pytest.mark.parametrize("size", [(1, 1 << 17), (1 << 17, 1)])
def test_a_picture_with_an_endless_side_is_refused(size: tuple[int, int]) -> None:
    model = GatedPixelCNN(**TINY, position_waves=1)
    coder = Coder(model)
    body = b"".join(map(varint, (1, *size, 2, 1, 0))) + bytes(4) + b"\0\0\0\x80" + bytes(4)
    with pytest.raises(CodecError, match="a side is longer than 65,536"):
        coder.decode(1, body, 1)
    x = torch.zeros(1, 1, *size, dtype=torch.int64)
    kind, plain = coder.encode(x, ())  # is stored without the model
    assert torch.equal(coder.decode(kind, plain, 1), x) and len(plain) < 200
    body = b"".join(map(varint, (1025, 1, 1, 2, 1, 0))) + bytes(12)
    with pytest.raises(CodecError, match="damaged"):  # more images than a block has
        coder.decode(1, body, 1025)
