"""Training and sampling side by side with public implementations, in one run.

    python benchmarks/peers.py                          # two threads
    python benchmarks/peers.py --threads 1 --cpu-time   # while other programs compute
    python benchmarks/peers.py --write training_speed   # keeps the figures for README

Public implementations are measured if they can be imported, otherwise a sentence says how to get
them; whatever they import beyond torch only for their data sets and logs is faked. Besides them
there is the usual way, a textbook Gated PixelCNN in the style that most public code shares, of the
very same architecture: square kernels whose unused taps a mask multiplies by zero, float32, NCHW,
and a sampling loop that runs the whole network for every sub-pixel. It is our own stand-in for
implementations that exist as notebooks and scripts only, and nobody else's code.

Every implementation has 8 layers and the same features where it lets us choose, otherwise the
nearest parameter count. Training is a step on 16 random images, taken in turn by all, A B A B;
sampling is of 16 images. Peers sample too slowly to wait for: a few passes of their loop are timed
and multiplied by the number that it needs. nextpixel's samples are drawn in full.
"""

import importlib
import math
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from unittest.mock import MagicMock

import torch
from torch import Tensor, nn
from torch.nn import functional
from training import BATCH, data, in_turn, parser, steps, write

from nextpixel import GatedPixelCNN, sample

LAYERS, FEATURES, KERNEL = 8, 48, 3
CASES = [("28×28×1, 2 levels", 1, 2, 28), ("32×32×3, 256 levels", 3, 256, 32)]
PASSES = 4
# Imported by peers for data sets and logs; absent ones are replaced by objects that accept
# anything.
NOT_NEEDED = (
    "torchvision",
    "torchvision.utils",
    "torchvision.datasets",
    "torchvision.transforms",
    "tensorboard",
)
NOT_NEEDED += (
    "torch.utils.tensorboard",
    "tqdm",
    "imageio",
    "matplotlib",
    "matplotlib.pyplot",
    "IPython",
)


class MaskedSquare(nn.Conv2d):
    """A square or 1×k convolution that a mask makes causal."""

    mask: Tensor

    def __init__(
        self, inputs: int, outputs: int, size: tuple[int, int], channels: int, kind: str
    ) -> None:
        """Mask by `kind`, "rows above", "A" or "B"; channel k has colour k mod `channels`."""
        super().__init__(inputs, outputs, size, padding=(size[0] // 2, size[1] // 2))
        mask = torch.ones_like(self.weight)
        row, column = size[0] // 2, size[1] // 2
        mask[:, :, row + 1 :] = 0
        if kind in ("A", "B"):
            reader, source = (
                torch.arange(outputs)[:, None] % channels,
                torch.arange(inputs)[None] % channels,
            )
            mask[:, :, row, column + 1 :] = 0
            mask[:, :, row, column] = (source < reader if kind == "A" else source <= reader).float()
        self.register_buffer("mask", mask)

    def forward(self, x: Tensor) -> Tensor:
        """The convolution with masked weights."""
        return functional.conv2d(x, self.weight * self.mask, self.bias, padding=self.padding)


class UsualBlock(nn.Module):
    """A gated layer of both stacks."""

    def __init__(self, inputs: int, features: int, kernel: int, channels: int, first: bool) -> None:
        super().__init__()
        self.first = first
        self.vertical = MaskedSquare(inputs, 2 * features, (kernel, kernel), channels, "rows above")
        self.horizontal = MaskedSquare(
            inputs, 2 * features, (1, kernel), channels, "A" if first else "B"
        )
        self.link = nn.Conv2d(2 * features, 2 * features, 1)
        self.out = MaskedSquare(features, features, (1, 1), channels, "B")

    def forward(self, v: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """The outputs of both stacks."""
        y = self.vertical(v)
        z = self.horizontal(h) + self.link(y)
        (a, b), (c, d) = y.chunk(2, dim=1), z.chunk(2, dim=1)
        out = self.out(torch.tanh(c) * torch.sigmoid(d))
        return torch.tanh(a) * torch.sigmoid(b), out if self.first else h + out


class UsualGatedPixelCNN(nn.Module):
    """The textbook model: logits (B, levels, C, H, W), or (B, C, H, W) for two levels."""

    def __init__(self, channels: int, levels: int, features: int, layers: int, kernel: int) -> None:
        super().__init__()
        self.channels, self.levels = channels, levels
        self.blocks = nn.ModuleList(
            UsualBlock(
                features if layer else channels, features, kernel, channels, first=layer == 0
            )
            for layer in range(layers)
        )
        self.hidden = MaskedSquare(features, features, (1, 1), channels, "B")
        self.out = MaskedSquare(
            features, channels * (1 if levels == 2 else levels), (1, 1), channels, "B"
        )

    def forward(self, x: Tensor) -> Tensor:
        """Integers to logits."""
        h = x.float() / (self.levels - 1) * 2 - 1
        v = functional.pad(h, (0, 0, 1, 0))[:, :, :-1]
        for block in self.blocks:
            v, h = block(v, h)
        y = self.out(self.hidden(h.relu()).relu())
        return y if self.levels == 2 else y.unflatten(1, (self.levels, self.channels))


@dataclass
class Peer:
    """An implementation: its parameters, its logits, and its passes for a pixel of a sample."""

    model: nn.Module
    logits: Callable[[Tensor], Tensor]
    passes_per_pixel: int
    bf16: bool = False


def the_usual_way(channels: int, levels: int, target: int) -> Peer:
    model = UsualGatedPixelCNN(channels, levels, FEATURES, LAYERS, KERNEL)
    return Peer(model, model, channels)


def the_usual_way_in_bf16(channels: int, levels: int, target: int) -> Peer:
    model = UsualGatedPixelCNN(channels, levels, FEATURES, LAYERS, KERNEL).to(
        memory_format=torch.channels_last
    )
    return Peer(
        model, lambda x: model(x.contiguous(memory_format=torch.channels_last)), channels, bf16=True
    )


def pytorch_generative_gated(channels: int, levels: int, target: int) -> Peer:
    models = importlib.import_module("pytorch_generative.models")
    outputs = channels * (1 if levels == 2 else levels)
    model = models.GatedPixelCNN(channels, outputs, LAYERS - 1, FEATURES, FEATURES)
    return Peer(model, _independent_colours(model, channels, levels), 1)


def pytorch_generative_plain(channels: int, levels: int, target: int) -> Peer:
    models = importlib.import_module("pytorch_generative.models")
    outputs = channels * (1 if levels == 2 else levels)
    build = [
        lambda f=f: models.PixelCNN(channels, outputs, LAYERS - 1, f, FEATURES)
        for f in range(32, 160, 8)
    ]
    model = min((b() for b in build), key=lambda m: abs(parameters(m) - target))
    return Peer(model, _independent_colours(model, channels, levels), 1)


def pythae_plain(channels: int, levels: int, target: int) -> Peer:
    flows = importlib.import_module("pythae.models.normalizing_flows")
    config = flows.PixelCNNConfig(
        input_dim=(channels, 32, 32), n_embeddings=levels, n_layers=LAYERS, kernel_size=KERNEL
    )
    model = flows.PixelCNN(config)  # 64 features, whatever one asks.
    return Peer(model, lambda x: model.net(x.float()).unflatten(1, (levels, channels)), 1)


# Name, how to get it, how to build it.
PEERS: list[tuple[str, str, Callable[[int, int, int], Peer]]] = [
    ("the usual way, Gated (our stand-in)", "", the_usual_way),
    ("the same in bf16, channels-last", "", the_usual_way_in_bf16),
    (
        "pytorch-generative, Gated, colours independent",
        "put a clone on PYTHONPATH",
        pytorch_generative_gated,
    ),
    (
        "pytorch-generative, PixelCNN, colours independent",
        "put a clone on PYTHONPATH",
        pytorch_generative_plain,
    ),
    (
        "pythae, PixelCNN, colours independent",
        "pip install --no-deps pythae; pip install pydantic",
        pythae_plain,
    ),
]


def _independent_colours(
    model: nn.Module, channels: int, levels: int
) -> Callable[[Tensor], Tensor]:
    """Logits of a model of real numbers that gives a softmax for each colour above two levels."""

    def logits(x: Tensor) -> Tensor:
        y: Tensor = model(x.float() / (levels - 1))
        return y if levels == 2 else y.unflatten(1, (levels, channels))

    return logits


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def plain_steps(peer: Peer, images: Tensor) -> Iterator[float]:
    """Steps without end, as public code takes them: Adam on the mean loss of a batch."""
    optimizer = torch.optim.Adam(peer.model.parameters(), lr=1e-3)
    peer.model.train()
    while True:
        x = images[torch.randperm(len(images))[:BATCH]]
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=peer.bf16):
            y = peer.logits(x).float()
        binary = y.ndim == 4
        loss = (
            functional.binary_cross_entropy_with_logits(y, x.float())
            if binary
            else functional.cross_entropy(y, x)
        )
        loss.backward()
        optimizer.step()
        yield loss.item() / math.log(2)


@torch.no_grad()
def plain_sample_seconds(peer: Peer, x: Tensor, clock: Callable[[], float]) -> float:
    """Seconds for 16 samples if every sub-pixel takes a full pass, from a few passes."""
    peer.model.eval()
    x, seconds = x[:BATCH].clone(), []
    for column in range(PASSES + 1):
        start = clock()
        with torch.autocast("cpu", torch.bfloat16, enabled=peer.bf16):
            y = peer.logits(x)[..., 0, column].float()  # (B, levels, C), or (B, C)
        probabilities = (
            y.softmax(1) if y.ndim == 3 else torch.stack([1 - y.sigmoid(), y.sigmoid()], dim=1)
        )
        draws = torch.multinomial(probabilities.transpose(1, 2).flatten(0, 1), 1)
        x[:, :, 0, column] = draws.view(len(x), -1)
        seconds.append(clock() - start)
    peer.model.train()
    return min(seconds[1:]) * peer.passes_per_pixel * x.shape[2] * x.shape[3]


def ready(channels: int, levels: int, target: int) -> dict[str, Peer]:
    """The peers that can be imported; says of the others how to get them."""
    peers = {}
    for name, how, build in PEERS:
        torch.manual_seed(0)
        try:
            peers[name] = build(channels, levels, target)
        except ImportError as error:
            print(f"(Left out: {name}: {error}. To measure it: {how}.)", file=sys.stderr)
    return peers


def fake_what_is_not_needed() -> None:
    for name in NOT_NEEDED:
        try:
            importlib.import_module(name)
        except ImportError:
            sys.modules[name] = MagicMock()


def main() -> None:
    arguments = parser(__doc__).parse_args()
    clock = arguments.clock
    torch.set_num_threads(arguments.threads)
    fake_what_is_not_needed()
    print(f"torch {torch.__version__}, threads: {arguments.threads}, batch {BATCH}")
    print(f"{LAYERS} layers, {FEATURES} features, {KERNEL}×{KERNEL} kernels\n")
    print(
        "| images | implementation | parameters | training images/s, best step | median | sampling"
        " images/s |"
    )
    print("|---|---|---|---|---|---|")
    cases: dict[str, dict[str, dict[str, float]]] = {}
    for case, channels, levels, side in CASES:
        images = data(channels, levels, side)
        torch.manual_seed(0)
        ours = GatedPixelCNN(
            channels=channels, levels=levels, features=FEATURES, layers=LAYERS, kernel_size=KERNEL
        )
        peers = ready(channels, levels, parameters(ours))
        x = torch.from_numpy(images.train.images).long()
        runs: dict[str, Iterator[Any]] = {"nextpixel": steps(ours, images)}
        runs |= {name: plain_steps(peer, x) for name, peer in peers.items()}
        sizes = {"nextpixel": parameters(ours)} | {
            name: parameters(peer.model) for name, peer in peers.items()
        }
        training = in_turn(runs, arguments.turns, 2, clock)
        sampling: dict[str, float] = dict.fromkeys(runs, math.inf)
        for _ in range(2):
            start = clock()
            sample(ours, BATCH, (side, side))
            sampling["nextpixel"] = min(sampling["nextpixel"], clock() - start)
            for name, peer in peers.items():
                sampling[name] = min(sampling[name], plain_sample_seconds(peer, x, clock))
        for name, seconds in training.items():
            rates = BATCH / min(seconds), BATCH / statistics.median(seconds), BATCH / sampling[name]
            cases.setdefault(case, {})[name] = {
                "parameters": sizes[name],
                "training": rates[0],
                "training_median": rates[1],
                "sampling": rates[2],
            }
            figures = f"{rates[0]:.0f} | {rates[1]:.0f} | {rates[2]:.2g}"
            print(f"| {case} | {name} | {sizes[name]:,} | {figures} |", flush=True)
        gated = [name for name in peers if "Gated" in name]
        for kind, of in (("all", list(peers)), ("Gated in float32", gated)):
            train_ratio = min(min(training[n]) for n in of) / min(training["nextpixel"])
            sample_ratio = min(sampling[n] for n in of) / sampling["nextpixel"]
            print(
                f"| {case} | **nextpixel / best of {kind}** | | **{train_ratio:.1f}×** | |"
                f" **{sample_ratio:.0f}×** |",
                flush=True,
            )
        shape = {"batch": BATCH, "layers": LAYERS, "features": FEATURES, "kernel_size": KERNEL}
        write(arguments, **shape, images_per_second=cases)


if __name__ == "__main__":
    main()
