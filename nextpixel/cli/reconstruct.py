"""nextpixel reconstruct: new pictures that share with a given one what a model is conditioned on."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from nextpixel.cli.options import BesideOptions
from nextpixel.errors import UsageError

__all__ = ["reconstruct"]


def reconstruct(
    model: str,
    *,
    beside: str | None = None,
    companions: Annotated[BesideOptions | None, Parameter(name="*")] = None,
    data: str | None = None,
    split: Literal["train", "valid", "test"] = "test",
    n: int = 8,
    draws: int = 4,
    out: Path = Path("reconstructions.png"),
    spread: bool = False,
    temperature: float = 1.0,
    guidance: float = 1.0,
    seed: int = 0,
    enlarge: int = 1,
    device: str = "auto",
) -> None:
    """Draw new pictures that share with each given one what a model is conditioned on.

    For an auto-encoder that is the code of the picture; for a model trained with --embedding the
    embedding of the picture, for portraits of somebody of whom there is one picture; for others the
    class, vector or map that comes with it. A .png shows a row for each picture: the original, the
    reconstruction of a convolutional auto-encoder if there is one, and the draws.

    Parameters
    ----------
    model
        A run folder or a checkpoint of an auto-encoder, or of any conditional model.
    beside
        The same of a convolutional-autoencoder, to show its reconstructions beside.
    data
        Other pictures than the training data's, prepared in the same way.
    split
        Which part of the data; of other data without splits of their own, all are taken.
    n
        Number of pictures, the first ones.
    draws
        Draws of each picture.
    spread
        Take pictures evenly spread over all of that part, and not the first ones.
    out
        A .png, or an .npy for the integers (n, draws, C, H, W).
    temperature
        1 draws from the model; less gives likelier pictures.
    guidance
        How much the condition counts; other values than 1 are for models trained with
        --condition-dropout.
    seed
        The same seed gives the same pictures.
    enlarge
        Enlarge the pictures so many times.
    device
        auto, cpu, cuda, cuda:1 …
    """
    import numpy as np
    import torch

    from nextpixel import sampling
    from nextpixel.cli.opening import (
        check_guidance,
        condition_words,
        open_split,
        open_trainable,
    )
    from nextpixel.cli.output import check_out, write_pictures
    from nextpixel.cli.progress import progress_bar
    from nextpixel.condition_values import map_values
    from nextpixel.models.autoencoder import ConvolutionalAutoencoder
    from nextpixel.models.core import ImageModel
    from nextpixel.training.batches import conditioned

    check_out(out, (".png", ".npy"))
    if draws < 1:
        raise UsageError(f"‹draws={draws}› must be at least 1")
    network, card = open_trainable(model, device)
    other = open_trainable(beside, device)[0] if beside else None
    if not network.conditions and isinstance(network, ImageModel):
        raise ValueError(
            f"{model} holds an unconditional {type(network).__name__}; give an auto-encoder, or"
            " train one"
        )
    if other is not None and not isinstance(other, ConvolutionalAutoencoder):
        raise ValueError(
            f"--beside {beside} holds a {type(other).__name__}; give a convolutional auto-encoder"
        )
    check_guidance(guidance, card)
    pictures, part, _ = open_split(
        card, data, split, labelled=bool(network.given_by_data), beside=companions
    )
    n = min(n, len(part))
    if n < 1:
        raise UsageError(f"‹n={n}› must be at least 1")
    # Different classes, people and so on lie together in many sources.
    rows = np.linspace(0, len(part) - 1, n).astype(np.int64) if spread else np.arange(n)
    x = torch.from_numpy(part.batch(rows).astype(np.int64))
    columns = [x[:, None]]
    for encoder in (other, network):
        if isinstance(encoder, ConvolutionalAutoencoder):
            columns.append(encoder.reconstruct(x)[:, None].cpu())
    if isinstance(network, ImageModel):
        _, values = conditioned(network, part, rows)
        drawn = sampling.sample(
            network,
            n * draws,
            (x.shape[2], x.shape[3]),
            condition=map_values(lambda value: value.repeat_interleave(draws, dim=0), values),
            temperature=temperature,
            guidance=guidance,
            generator=torch.Generator().manual_seed(seed),
            progress=progress_bar("Drawing"),
        )
        columns.append(drawn.view(n, draws, *x.shape[1:]).cpu())
    if out.suffix == ".npy":
        write_pictures(out, columns[-1].numpy(), network.levels)
    else:
        table = torch.cat(columns, dim=1)
        write_pictures(
            out, table.flatten(0, 1).numpy(), network.levels, columns=table.shape[1], scale=enlarge
        )
    given = condition_words(network) or "its code"
    print(
        f"{n} pictures of {pictures.source} and {columns[-1].shape[1]} given {given} of each: {out}"
    )
