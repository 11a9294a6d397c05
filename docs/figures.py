"""The figures of the pages: `python docs/figures.py` writes all of them into docs/figures.

Receptive fields come from `nextpixel.analysis.receptive_fields` on real models, and the curves and
pictures from short trainings on the digits. One thread and fixed seeds make the same figures each
time, in about a minute.
"""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn
from torch.nn import functional

from nextpixel import (
    DiagonalBiLSTM,
    GatedPixelCNN,
    PixelCNN,
    RowLSTM,
    complete,
    load_data,
    sample,
    surprise_map,
)
from nextpixel.analysis.receptive_fields import receptive_field
from nextpixel.cache import Cache
from nextpixel.front.skew import Skew
from nextpixel.layers.inputs import OrdinalInput
from nextpixel.layers.masks import colour_mask
from nextpixel.scoring import log_prob_map
from nextpixel.steps import Step
from nextpixel.walk import walk

FOLDER = Path(__file__).parent / "figures"

SEEN, UNSEEN, TARGET, FUTURE, VERTICAL = "#4c78a8", "#e45756", "#222222", "#eeeeee", "#9ecae9"
LIGHT_BLUE, LIGHT_RED = "#c9d9ea", "#f4b6b2"
RGB = ["#d62728", "#2ca02c", "#1f77b4"]


def main() -> None:
    """Draws every figure."""
    torch.set_num_threads(1)
    matplotlib.use("Agg")
    matplotlib.rcParams |= {
        "svg.hashsalt": "nextpixel",
        "font.size": 9,
        "figure.facecolor": "white",
    }
    FOLDER.mkdir(exist_ok=True)
    masks()
    blind_spot()
    two_stacks()
    pixel_rnn()
    walk_in_progress()
    fronts_in_motion()
    completion_in_motion()
    images = digits("train")
    honest, honest_curve = train(seeded(), images)
    leaky = seeded()
    leaky.values = Unshifted(channels=1, levels=leaky.levels, colours=1)
    leaky, leaky_curve = train(leaky, images)
    leak(honest, honest_curve, leaky, leaky_curve)
    bits(honest)
    surprise(honest)


class MaskedStack(nn.Module):
    """A stack of masked 3×3 convolutions: mask A first, mask B after it, and nothing else."""

    channels, levels = 1, 2

    def __init__(self, layers: int, features: int = 8) -> None:
        super().__init__()
        widths = [1, *[features] * (layers - 1), self.levels]
        pairs = zip(widths[:-1], widths[1:], strict=True)
        self.weights = nn.ParameterList(nn.Parameter(torch.randn(o, i, 3, 3) / 3) for i, o in pairs)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, levels, H, W)."""
        h = x.to(self.weights[0].dtype)
        for layer, weight in enumerate(self.weights):
            centre = 1.0 if layer else 0.0
            mask = torch.tensor([[1.0, 1.0, 1.0], [1.0, centre, 0.0], [0.0, 0.0, 0.0]])
            h = functional.conv2d(h.tanh() if layer else h, weight * mask, padding=1)
        return h


class Unshifted(OrdinalInput):
    """An input with a fault: the vertical stack starts at its own row instead of one row behind."""

    def above(self, x: Tensor, cache: Cache | None, ahead: int = 0) -> Tensor:  # noqa: ARG002
        """The same rows, not one row behind."""
        return self.rows(x, cache)


def masks() -> None:
    """Mask types A and B of a 3×3 kernel, for three colours."""
    figure, axes = pyplot.subplots(2, 3, figsize=(6.2, 4.4))
    for row, mask_type in enumerate(("A", "B")):
        centre = colour_mask(3, 3, 3, mask_type)
        for reader in range(3):
            axis = axes[row, reader]
            colours = np.full((3, 3, 3), FUTURE, dtype=object)
            for r, c, source in np.ndindex(3, 3, 3):
                if r == 0 or (r, c) == (1, 0) or ((r, c) == (1, 1) and centre[reader, source]):
                    colours[r, c, source] = RGB[source]
            cells(axis, colours.reshape(3, 9), width=1 / 3)
            for tap in np.ndindex(3, 3):
                axis.add_patch(Rectangle(tap, 1, 1, fill=False, edgecolor="#666666"))
            axis.add_patch(Rectangle((1, 1), 1, 1, fill=False, edgecolor=TARGET, linewidth=2.5))
            plain(axis, 3, 3)
            axis.set_title(
                f"type {mask_type}, read by {('red', 'green', 'blue')[reader]}", color=RGB[reader]
            )
    figure.tight_layout()
    save(figure, "masks.svg")


def blind_spot() -> None:
    """What a pixel sees through a single masked stack, and through two stacks, at three depths."""
    shape, pixel = (9, 15), (8, 7)
    figure, axes = pyplot.subplots(2, 3, figsize=(8.4, 4.4))
    for column, layers in enumerate((2, 4, 8)):
        torch.manual_seed(0)
        stack = MaskedStack(layers)
        torch.manual_seed(0)
        gated = GatedPixelCNN(levels=2, features=8, layers=layers, kernel_size=3)
        for row, (name, model) in enumerate((("one masked stack", stack), ("two stacks", gated))):
            seen = receptive_field(model, shape, pixel=pixel)[0, 0]
            unseen = int((past(shape, pixel) & ~seen).sum())
            field(axes[row, column], seen, pixel)
            axes[row, column].set_title(f"{name}, {layers} layers: {unseen} unseen", fontsize=8)
    legend(figure, {"the pixel": TARGET, "seen": SEEN, "past, unseen": UNSEEN, "future": FUTURE})
    figure.tight_layout(rect=(0, 0.08, 1, 1))
    save(figure, "blind_spot.svg")


def two_stacks() -> None:
    """What each stack of a Gated PixelCNN contributes, found by cutting the other one."""
    shape, pixel = (6, 11), (5, 5)
    figure, axes = pyplot.subplots(1, 3, figsize=(8.4, 2.5))
    for axis, layers in zip(axes, (1, 2, 3), strict=True):
        torch.manual_seed(0)
        whole = GatedPixelCNN(levels=2, features=8, layers=layers, kernel_size=3)
        torch.manual_seed(0)
        cut = GatedPixelCNN(levels=2, features=8, layers=layers, kernel_size=3)
        for block in cut.blocks:
            nn.init.zeros_(block.link.weight)
        seen = receptive_field(whole, shape, pixel=pixel)[0, 0]
        horizontal = receptive_field(cut, shape, pixel=pixel)[0, 0]
        field(axis, seen, pixel, horizontal)
        axis.set_title(f"{layers} layer{'s' * (layers > 1)} of 3×3")
    legend(
        figure,
        {
            "the pixel": TARGET,
            "without the links: horizontal stack": SEEN,
            "only by the links: vertical stack": VERTICAL,
            "past, not yet in reach": UNSEEN,
        },
    )
    figure.tight_layout(rect=(0, 0.12, 1, 1))
    save(figure, "two_stacks.svg")


def pixel_rnn() -> None:
    """What one pixel sees through two layers of each model of the first paper."""
    shape, pixel = (9, 15), (8, 6)
    options = {"levels": 2, "features": 16, "layers": 2, "first_kernel_size": 3}
    models = {
        "PixelCNN": PixelCNN(**options),
        "Row LSTM": RowLSTM(**options),
        "Diagonal BiLSTM": DiagonalBiLSTM(**options),
        "… with complete_context": DiagonalBiLSTM(**options, complete_context=True),
    }
    figure, axes = pyplot.subplots(1, 4, figsize=(9.6, 2.2))
    for axis, (name, model) in zip(axes, models.items(), strict=True):
        seen = receptive_field(model, shape, pixel=pixel)[0, 0]
        field(axis, seen, pixel)
        axis.set_title(f"{name}: {int((past(shape, pixel) & ~seen).sum())} unseen", fontsize=8)
    legend(figure, {"the pixel": TARGET, "seen": SEEN, "past, unseen": UNSEEN, "future": FUTURE})
    figure.tight_layout(rect=(0, 0.12, 1, 1))
    save(figure, "pixel_rnn.svg")


def walk_in_progress() -> None:
    """What a walk has kept, where it is, and what it has not read."""
    height, width, row, column, reach = 8, 12, 5, 6, 2
    kinds = {
        "past, no longer needed": "#d4dfea",
        "rows that every layer keeps (k // 2)": VERTICAL,
        "row in progress": SEEN,
        "the site": TARGET,
        "not read": FUTURE,
    }
    figure, axis = pyplot.subplots(figsize=(7.2, 3.0), layout="constrained")
    colours = np.full((height, width), kinds["not read"], dtype=object)
    colours[:row] = kinds["past, no longer needed"]
    colours[row - reach : row] = kinds["rows that every layer keeps (k // 2)"]
    colours[row, :column] = kinds["row in progress"]
    colours[row, column] = kinds["the site"]
    cells(axis, colours)
    plain(axis, height, width)
    handles = [Patch(facecolor=colour, label=name) for name, colour in kinds.items()]
    figure.legend(handles=handles, loc="outside right center", frameon=False)
    save(figure, "walk.svg")


def fronts_in_motion() -> None:
    """A walk in raster order and one by fronts, a step of each in every frame."""
    side, reach = 12, PixelCNN(levels=2, features=4, layers=3).reach
    walks = []
    for name, raster in (("raster order", True), ("fronts", False)):
        skew = Skew.of(reach, range(side), side, batch=1, raster=raster)
        rows, columns, alive = skew.pixels(torch.tensor(skew.times))
        steps = [(r[here], c[here]) for r, c, here in zip(rows, columns, alive, strict=True)]
        walks.append((name, [step for step in steps if len(step[0])]))
    frames = []
    for time in range(max(len(steps) for _, steps in walks) + 12):
        panels = []
        for name, steps in walks:
            done = min(time + 1, len(steps))
            colours = np.full((side, side), FUTURE, dtype=object)
            for before in steps[:done]:
                colours[before] = VERTICAL
            if time < len(steps):
                colours[steps[time]] = TARGET
            panels.append(captioned(colours, f"{name}: step {done} of {len(steps)}"))
        frames.append(np.concatenate(panels, axis=1))
    moving(frames, "fronts.gif", milliseconds=90)


def completion_in_motion() -> None:
    """A completion of a scratch, a hole and a single pixel, a step in every frame."""
    torch.manual_seed(0)
    model = PixelCNN(levels=2, features=4, layers=1, first_kernel_size=5)
    known = torch.ones(14, 30, dtype=torch.bool)
    known[torch.arange(1, 9), torch.arange(3, 11)] = known[5:9, 18:22] = known[11, 27] = False
    visits: list[tuple[Step, Tensor, Tensor]] = []

    def record(steps: Iterable[Step], _: int) -> Iterator[Step]:
        for step in steps:
            rows, columns, _ = step.front.skew.pixels(torch.tensor([step.front.time]))
            rows, columns = (place[0][step.slots] for place in (rows, columns))
            visits.append((step, rows + step.part.rows.start, columns + step.part.columns.start))
            yield step

    x = torch.zeros(1, 1, *known.shape, dtype=torch.int64)
    complete(model, x, known, particles=1, progress=record)
    colours, frames = np.where(known, FUTURE, LIGHT_RED).astype(object), []
    for number, (step, rows, columns) in enumerate(visits, 1):
        part = colours[step.part.rows, :][:, step.part.columns]
        part[part == FUTURE] = LIGHT_BLUE
        colours[np.ix_(step.part.rows, step.part.columns)] = part
        shown = colours.copy()
        shown[rows, columns] = TARGET
        colours[rows, columns] = SEEN
        frames.append(captioned(shown, f"step {number} of {len(visits)}"))
    frames += [captioned(colours, f"{len(visits)} steps")] * 12
    moving(frames, "completion.gif", milliseconds=180)


def captioned(colours: np.ndarray, text: str, cell: int = 16) -> np.ndarray:
    """Cells with white lines between them, and a line of text above, (height, width, 3)."""
    height, width = colours.shape
    picture = Image.new("RGB", (width * cell + 24, height * cell + 36), "white")
    draw = ImageDraw.Draw(picture)
    draw.text((12, 6), text, "#222222", ImageFont.load_default(14))
    for row, column in np.ndindex(height, width):
        left, top = 12 + column * cell, 28 + row * cell
        draw.rectangle((left, top, left + cell - 2, top + cell - 2), colours[row, column])
    return np.asarray(picture)


def moving(frames: list[np.ndarray], name: str, milliseconds: int) -> None:
    """Writes an animation that begins anew at its end."""
    first, *others = (
        Image.fromarray(frame).convert("P", palette=Image.Palette.ADAPTIVE, colors=32)
        for frame in frames
    )
    first.save(FOLDER / name, save_all=True, append_images=others, duration=milliseconds, loop=0)
    print(f"{name}: {(FOLDER / name).stat().st_size / 1000:.0f} kB")


def leak(
    honest: GatedPixelCNN, honest_curve: list[float], leaky: GatedPixelCNN, leaky_curve: list[float]
) -> None:
    """Training curves and samples of a causal model, and of the same one with a fault."""
    figure = pyplot.figure(figsize=(8.4, 3.0), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.12)  # type: ignore[union-attr, call-arg]
    curves, *pictures = figure.subplots(1, 3, width_ratios=(1.5, 1, 1))
    for curve, name, colour in ((honest_curve, "causal", SEEN), (leaky_curve, "leaking", UNSEEN)):
        smooth = np.convolve(curve, np.ones(10) / 10, mode="valid")
        curves.plot(np.arange(len(smooth)) + 10, smooth, color=colour, label=name)
    curves.set(xlabel="step", ylabel="training loss, bits/dim", ylim=(0, None))
    curves.legend()
    for axis, model, name in zip(pictures, (honest, leaky), ("causal", "leaking"), strict=True):
        drawn = sample(model, 16, (8, 8), generator=torch.Generator().manual_seed(0))
        axis.imshow(sheet(drawn[:, 0], 4), cmap="gray", vmin=0, vmax=16)
        axis.set_title(f"16 samples, {name}")
        axis.axis("off")
    save(figure, "leak.svg")


def bits(model: GatedPixelCNN) -> None:
    """Test digits, how surprising each pixel was, and how uncertain the model was before it."""
    x = digits("test")[:4]
    surprise = -log_prob_map(model, x)[:, 0] / math.log(2)
    entropy = torch.zeros(surprise.shape)
    for (_, row, column), log_pmf in walk(model, x):
        entropy[:, row, column] = -(log_pmf.exp() * log_pmf).sum(dim=1) / math.log(2)
    figure, axes = pyplot.subplots(
        1, 3, figsize=(8.4, 2.7), width_ratios=(1, 1.15, 1.15), layout="constrained"
    )
    axes[0].imshow(sheet(x[:, 0], 2), cmap="gray", vmin=0, vmax=16)
    axes[0].set_title("4 test digits")
    for axis, values, name in (
        (axes[1], surprise, "bits spent"),
        (axes[2], entropy, "bits expected (entropy)"),
    ):
        shown = axis.imshow(sheet(values, 2), cmap="viridis", vmin=0, vmax=6)
        axis.set_title(f"{name}: mean {float(values.mean()):.2f}")
        figure.colorbar(shown, ax=axis, shrink=0.8, extend="max")
    for axis in axes:
        axis.axis("off")
    save(figure, "bits.svg")


def surprise(model: GatedPixelCNN) -> None:
    """Likelihood and z of digits, of sparse dots and of transposed digits; z around a blot."""
    x, generator = digits("test"), torch.Generator().manual_seed(0)
    dots = torch.where(torch.rand(x.shape, generator=generator) < 0.03, 8, 0)
    figure, axes = pyplot.subplots(
        1, 5, figsize=(9.6, 2.5), width_ratios=(1.5, 1.5, 0.8, 0.95, 0.95), layout="constrained"
    )
    for images, name, colour in (
        (x, "test digits", SEEN),
        (dots, "a few dots", UNSEEN),
        (x.transpose(2, 3), "transposed digits", VERTICAL),
    ):
        maps = surprise_map(model, images)
        spent = maps.surprise.mean(dim=(1, 2, 3)) / math.log(2)
        options = {"color": colour, "alpha": 0.7, "label": name}
        axes[0].hist(spent.numpy(), bins=np.linspace(0, 4.5, 40), **options)
        axes[1].hist(maps.z.numpy(), bins=np.linspace(-8, 12, 40), **options)
    axes[0].set(xlabel="bits/dim", title="raw likelihood", yticks=[])
    axes[1].set(xlabel="z = Σ(s - H) / √ΣV", title="against expectation", yticks=[])
    axes[1].legend(fontsize=7, frameon=False)
    blot = x[3:4].clone()
    blot[:, :, 3:5, 5:7] = 16 - blot[:, :, 3:5, 5:7]
    maps = surprise_map(model, blot)
    axes[2].imshow(blot[0, 0], cmap="gray", vmin=0, vmax=16)
    axes[2].set_title("a blot")
    for axis, values, name, low, high in (
        (axes[3], maps.surprise[0, 0] / math.log(2), "bits spent", 0, 10),
        (axes[4], maps.window_z(3)[0, 0], "z, 3×3 windows", -6, 6),
    ):
        shown = axis.imshow(values, cmap="viridis" if low == 0 else "RdBu_r", vmin=low, vmax=high)
        axis.set_title(name)
        figure.colorbar(shown, ax=axis, shrink=0.7, extend="max" if low == 0 else "both")
    for axis in axes[2:]:
        axis.axis("off")
    save(figure, "surprise.svg")


def seeded() -> GatedPixelCNN:
    """A small model of the digits."""
    torch.manual_seed(0)
    return GatedPixelCNN(levels=17, features=24, layers=4, kernel_size=3)


def train(
    model: GatedPixelCNN, images: Tensor, steps: int = 500
) -> tuple[GatedPixelCNN, list[float]]:
    """The model after some steps, and its training loss in bits per dimension."""
    generator = torch.Generator().manual_seed(0)
    optimiser = torch.optim.AdamW(model.parameters(), lr=4e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    curve = []
    for _ in range(steps):
        x = images[torch.randint(len(images), (64,), generator=generator)]
        loss = -model(x).log_prob(x).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        curve.append(float(loss.detach()) / math.log(2))
    return model.eval(), curve


def digits(split: str) -> Tensor:
    """The train or test images of the digits, (N, 1, 8, 8)."""
    data = load_data("digits")
    chosen = data.train if split == "train" else data.test
    return torch.from_numpy(np.asarray(chosen.images)).long()


def past(shape: tuple[int, int], pixel: tuple[int, int]) -> Tensor:
    """Which pixels come before one in raster order."""
    order = torch.arange(math.prod(shape)).view(shape)
    return order < order[pixel]


def field(axis: Axes, seen: Tensor, pixel: tuple[int, int], inner: Tensor | None = None) -> None:
    """Draw a receptive field; what is seen outside `inner` is that of the vertical stack."""
    height, width = seen.shape
    earlier = past((height, width), pixel)
    assert not (seen & ~earlier).any(), "a leak"
    colours = np.where(earlier, UNSEEN, FUTURE).astype(object)
    colours[seen.numpy()] = SEEN if inner is None else VERTICAL
    if inner is not None:
        colours[inner.numpy()] = SEEN
    colours[pixel] = TARGET
    cells(axis, colours)
    plain(axis, height, width)


def cells(axis: Axes, colours: np.ndarray, width: float = 1.0) -> None:
    """Draw coloured cells with white lines; a run of one colour is one rectangle."""
    height, columns = colours.shape
    for row in range(height):
        starts = [c for c in range(columns) if c == 0 or colours[row, c] != colours[row, c - 1]]
        for start, stop in zip(starts, [*starts[1:], columns], strict=True):
            place, size = (start * width, row), (stop - start) * width
            axis.add_patch(Rectangle(place, size, 1, facecolor=colours[row, start], linewidth=0))
    axis.hlines(range(1, height), 0, columns * width, color="white", linewidth=0.8)
    axis.vlines([c * width for c in range(1, columns)], 0, height, color="white", linewidth=0.8)


def plain(axis: Axes, height: int, width: int) -> None:
    """Rows from the top down, square cells, no frame."""
    axis.set(xlim=(-0.05, width + 0.05), ylim=(height + 0.05, -0.05), aspect="equal")
    axis.axis("off")


def legend(figure: Figure, colours: dict[str, str]) -> None:
    """One legend under all panels."""
    handles = [
        Patch(facecolor=colour, edgecolor="#999999", label=name) for name, colour in colours.items()
    ]
    figure.legend(handles=handles, loc="lower center", ncols=len(handles), frameon=False)


def sheet(images: Tensor, columns: int) -> np.ndarray:
    """Images (N, H, W) side by side, in rows, a blank line between them."""
    padded = functional.pad(images.double(), (1, 1, 1, 1), value=float("nan"))
    rows = [torch.cat(list(padded[i : i + columns]), dim=1) for i in range(0, len(padded), columns)]
    return torch.cat(rows).numpy()


def save(figure: Figure, name: str) -> None:
    """Writes a figure without the date, and tells its size."""
    figure.savefig(FOLDER / name, metadata={"Date": None})
    pyplot.close(figure)
    print(f"{name}: {(FOLDER / name).stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
