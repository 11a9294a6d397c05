"""nextpixel evaluate: how well a trained model predicts."""

import json as json_format
import math
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from nextpixel.cli.options import BesideOptions
from nextpixel.cli.progress import counted_bar

if TYPE_CHECKING:
    from torch import Tensor

    from nextpixel.data.splits import Split
    from nextpixel.models.autoencoder import PixelCNNAutoencoder
    from nextpixel.models.core import ImageModel
    from nextpixel.models.trainable import Trainable

__all__ = ["evaluate"]


def evaluate(
    model: str,
    *,
    data: str | None = None,
    split: Literal["train", "valid", "test"] = "test",
    importance_samples: int = 0,
    beside: Annotated[BesideOptions | None, Parameter(name="*")] = None,
    json: bool = False,
    device: str = "auto",
) -> None:
    """Bits per dimension of a trained model on all of a split, in float32.

    For --head logistic also those of its density, on dequantised pictures: what compares with
    continuous models.

    Parameters
    ----------
    model
        A run folder or a checkpoint.
    data
        Another source of pictures, prepared as the training data were; all of it is evaluated,
        unless it has splits of its own. By default the training data.
    split
        Which part of the data.
    importance_samples
        For a variational auto-encoder: also the bound with so many codes for each picture, which is
        tighter.
    json
        Print one JSON object.
    device
        auto, cpu, cuda, cuda:1 …
    """
    from rich.table import Table

    from nextpixel.cli.opening import condition_words, open_split, open_trainable
    from nextpixel.cli.terminal import console, printable
    from nextpixel.data.load import histogram_bits_per_dim
    from nextpixel.models.autoencoder import PixelCNNAutoencoder
    from nextpixel.models.core import ImageModel
    from nextpixel.scoring import dequantised_score, scale_scores
    from nextpixel.training.loop import evaluate as bits_per_dim_of

    network, card = open_trainable(model, device)
    if importance_samples < 0:
        raise ValueError(f"--importance-samples (={importance_samples}) must not be negative")
    pictures, part, what = open_split(
        card, data, split, labelled=bool(network.conditions), beside=beside
    )
    if pictures.channels != network.channels:
        raise ValueError(
            f"{pictures.source} has {pictures.channels} channels and the model {network.channels};"
            " give other --data"
        )
    tighter_bits = None
    bound = network.figure.kind == "bound"
    if importance_samples and bound:
        assert isinstance(network, PixelCNNAutoencoder)
        # The lower bound from the same codes: of a single draw each, noise could put it above the
        # tighter one.
        bits, tighter_bits = _bounds(network, part, importance_samples)
    else:
        with counted_bar("Evaluating") as progress:
            bits = bits_per_dim_of(network, part, progress=progress)
    if not isinstance(network, ImageModel):
        _reconstruction_error(network, str(pictures.source), what, len(part), bits, json=json)
        return
    continuous = not bound and all(
        scale.network.settings.head == "logistic" for scale in network.scales()
    )
    sub_pixels = int(sum(part.sizes.prod(axis=1))) * network.channels
    nats_per_bit = math.log(2) * sub_pixels / len(part)
    figures: dict[str, Any] = {
        "source": str(pictures.source),
        "split": what,
        "images": len(part),
        "bits_per_dim": bits,
        "nats_per_image": bits * nats_per_bit,
        "conditional": bool(network.conditions) and not bound,
        "uniform_bits_per_dim": math.log2(network.levels),
    }
    if bound:
        assert isinstance(network, PixelCNNAutoencoder)
        costs = partial(_code_cost, network)
        figures["code_nats_per_image"] = -nats_per_bit * bits_per_dim_of(
            network, part, nats_of=costs
        )
        if tighter_bits is not None:
            figures["importance_weighted_bits_per_dim"] = tighter_bits
    if continuous:
        with counted_bar("Evaluating") as progress:
            density = bits_per_dim_of(network, part, progress=progress, nats_of=dequantised_score)
        figures["dequantised_bits_per_dim"] = density
    scales = list(network.scales())
    for number, scale in enumerate(scales if len(scales) > 1 else ()):
        with counted_bar("Evaluating") as progress:
            share = bits_per_dim_of(
                network,
                part,
                progress=progress,
                nats_of=lambda *given, k=number: scale_scores(*given)[:, k],
            )
        figures.setdefault("scales", []).append(
            {"step": scale.step, "nats_per_image": share * nats_per_bit}
        )
    if data is None and split == "test" and pictures.shape is not None:
        figures["histogram_bits_per_dim"] = histogram_bits_per_dim(pictures)
    if json:
        print(json_format.dumps(figures))
        return
    print(f"{printable(str(pictures.source))}, {what}: {len(part):,} image{'s' * (len(part) > 1)}")
    table = Table()
    table.add_column("")
    table.add_column("bits/dim", justify="right")
    given = (
        ", at most (a bound)"
        if bound
        else f" given {kinds}"
        if (kinds := condition_words(network))
        else ""
    )
    table.add_row(f"the model{given}", f"{bits:.4f}")
    if tighter_bits is not None:
        table.add_row(f"at most, with {importance_samples} codes each", f"{tighter_bits:.4f}")
    if continuous:
        table.add_row("as a density, of dequantised pictures", f"{density:.4f}")
    if "histogram_bits_per_dim" in figures:
        table.add_row("a histogram per pixel", f"{figures['histogram_bits_per_dim']:.4f}")
    table.add_row("uniform", f"{figures['uniform_bits_per_dim']:.4f}")
    console().print(table)
    print(f"{figures['nats_per_image']:.2f} nats per image")
    if "code_nats_per_image" in figures:
        print(f"  {figures['code_nats_per_image']:.2f} of them for the code")
    for number, scale in enumerate(figures.get("scales", ())):
        which = "all pixels" if scale["step"] == 1 else f"one in {scale['step']} rows and columns"
        others = f"the others of {which}, given those before" if number else which
        print(f"  {scale['nats_per_image']:.2f} of them for {others}")


def _code_cost(network: "PixelCNNAutoencoder", _: "ImageModel", x: "Tensor", __: Any) -> "Tensor":
    from nextpixel.autoencoding import divergence

    return divergence(network, x)


def _bounds(network: "PixelCNNAutoencoder", part: "Split", samples: int) -> tuple[float, float]:
    """The lower bound and the importance-weighted one in bits/dim, from the same codes."""
    import torch

    from nextpixel.autoencoding import log_weights
    from nextpixel.training.loop import evaluate as bits_per_dim_of

    lower = []

    def tighter(_: "ImageModel", x: "Tensor", __: Any) -> "Tensor":
        weights = log_weights(
            network, x, samples=samples, generator=torch.Generator().manual_seed(0)
        )
        lower.append(weights.mean(dim=0).sum())
        return weights.logsumexp(dim=0) - math.log(samples)

    with counted_bar("Evaluating") as progress:
        bits = bits_per_dim_of(network, part, nats_of=tighter, progress=progress)
    sub_pixels = int(part.sizes.prod(axis=1).sum()) * network.channels
    return -float(torch.stack(lower).sum()) / (sub_pixels * math.log(2)), bits


def _reconstruction_error(
    network: "Trainable", source: str, what: str, images: int, bits: float, *, json: bool
) -> None:
    """The figure of a model without a likelihood."""
    figure = network.figure
    value = figure.value(bits)
    if json:
        print(
            json_format.dumps(
                {"source": source, "split": what, "images": images, figure.name: value}
            )
        )
        return
    scaled = value / ((network.levels - 1) / 2) ** 2
    print(f"{source}, {what}: {images:,} images")
    print(
        f"{figure.name.replace('_', ' ')} {value:.3f} {figure.unit}, {scaled:.5f} on [-1, 1]; not a"
        " likelihood"
    )
