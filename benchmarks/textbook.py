"""Training steps of PixelCNN and Row LSTM beside textbook implementations, in one run.

    python benchmarks/textbook.py --threads 1 --cpu-time --write training_textbook

The textbook models are our own stand-ins for what is public as notebooks and scripts, in the style
of `benchmarks/peers.py`: square kernels whose unused taps a mask multiplies by zero, float32, NCHW,
Adam, and for the Row LSTM one convolution along each row and autograd's own backward pass. Widths
and depths are ours, and so are all values that count. Steps are taken in turn, A B A B, in a
process that keeps freed memory, as `nextpixel train` does.
"""

import statistics
from collections.abc import Callable, Iterator
from typing import Any

import torch
from peers import MaskedSquare, Peer, parameters, plain_steps
from torch import Tensor, nn
from training import BATCH, GREY, RGB, data, in_turn, parser, steps, write

from nextpixel import PixelCNN, RowLSTM
from nextpixel.devices import multiplies_bf16
from nextpixel.models.core import AutoregressiveModel
from nextpixel.training.allocator import keep_freed_memory


class TextbookPixelCNN(nn.Module):
    """Logits (B, levels, C, H, W), or (B, C, H, W) for two levels."""

    def __init__(self, ours: Any) -> None:
        super().__init__()
        of, channels = ours.settings, ours.channels
        self.levels, self.channels, h = ours.levels, channels, of.features
        k = of.first_kernel_size
        self.first = MaskedSquare(channels, 2 * h, (k, k), channels, "A")
        self.layers = nn.ModuleList(self.layer(h, channels) for _ in range(of.layers))
        self.up = nn.ModuleList(
            MaskedSquare(h, 2 * h, (1, 1), channels, "B") for _ in range(of.layers)
        )
        outputs = channels * (1 if ours.levels == 2 else ours.levels)
        self.head = nn.Sequential(
            nn.ReLU(),
            MaskedSquare(2 * h, of.head_features, (1, 1), channels, "B"),
            nn.ReLU(),
            MaskedSquare(of.head_features, outputs, (1, 1), channels, "B"),
        )

    def layer(self, h: int, channels: int) -> nn.Module:
        """From 2h maps to h."""
        return nn.Sequential(
            nn.ReLU(),
            MaskedSquare(2 * h, h, (1, 1), channels, "B"),
            nn.ReLU(),
            MaskedSquare(h, h, (3, 3), channels, "B"),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Integers to logits."""
        y = self.first(x.float() / (self.levels - 1) * 2 - 1)
        for layer, up in zip(self.layers, self.up, strict=True):
            y = y + up(layer(y))
        logits: Tensor = self.head(y)
        if self.levels == 2:
            return logits
        return logits.unflatten(1, (self.levels, self.channels))


class RowLayer(nn.Module):
    """Row after row of an LSTM with a convolution along the row above."""

    def __init__(self, h: int, channels: int) -> None:
        super().__init__()
        self.input_to_state = MaskedSquare(2 * h, 4 * h, (1, 3), channels, "B")
        self.state_to_state = nn.Conv1d(h, 4 * h, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """2h maps to h."""
        gates = self.input_to_state(x)
        c = h = gates.new_zeros(len(x), gates.shape[1] // 4, x.shape[3])
        rows = []
        for row in gates.unbind(2):
            o, f, i, g = (row + self.state_to_state(h)).chunk(4, dim=1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            rows.append(h)
        return torch.stack(rows, dim=2)


class TextbookRowLSTM(TextbookPixelCNN):
    """The same with LSTMs from row to row."""

    def layer(self, h: int, channels: int) -> nn.Module:
        """From 2h maps to h."""
        return RowLayer(h, channels)


MODELS: list[
    tuple[str, Callable[..., AutoregressiveModel], Callable[[AutoregressiveModel], nn.Module]]
] = [
    ("PixelCNN 8 × 72", lambda **k: PixelCNN(features=72, layers=8, **k), TextbookPixelCNN),
    ("Row LSTM 7 × 48", lambda **k: RowLSTM(features=48, layers=7, **k), TextbookRowLSTM),
]


def main() -> None:
    flags = parser(__doc__)
    flags.add_argument("--only", default="", help="models whose name contains this")
    arguments = flags.parse_args()
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    precisions = ["float32", *(["bf16"] if multiplies_bf16(torch.device("cpu")) else [])]
    rows: list[dict[str, object]] = []
    print("| images | model | implementation | parameters | images/s, best step | median |")
    print("|---|---|---|---|---|---|")
    for name, build, textbook in MODELS:
        for channels, levels, side in (GREY, RGB):
            if arguments.only not in name:
                continue
            images, sizes = data(channels, levels, side), {}
            runs: dict[str, Iterator[Any]] = {}
            for precision in precisions:
                torch.manual_seed(0)
                ours = build(channels=channels, levels=levels)
                runs[precision] = steps(ours, images, precision=precision)
                sizes[precision] = parameters(ours)
            theirs = textbook(ours)
            x = torch.from_numpy(images.train.images).long()
            runs["textbook"] = plain_steps(Peer(theirs, theirs, 1), x)
            sizes["textbook"] = parameters(theirs)
            case = f"{side}×{side}×{channels}, {levels} levels"
            seconds = in_turn(runs, arguments.turns, 2, arguments.clock)
            for variant, found in seconds.items():
                best, median = BATCH / min(found), BATCH / statistics.median(found)
                figures = {"best": best, "median": median, "parameters": sizes[variant]}
                rows.append({"images": case, "model": name, "variant": variant, **figures})
                print(
                    f"| {case} | {name} | {variant} | {sizes[variant]:,} | {best:.1f} |"
                    f" {median:.1f} |",
                    flush=True,
                )
            write(arguments, batch=BATCH, rows=rows)


if __name__ == "__main__":
    main()
