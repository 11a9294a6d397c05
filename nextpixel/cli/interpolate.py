"""nextpixel interpolate: a row of pictures from one picture's condition to another's."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from nextpixel.cli.options import BesideOptions
from nextpixel.cli.terminal import printable
from nextpixel.errors import UsageError

__all__ = ["interpolate"]


def interpolate(
    model: str,
    *,
    between: tuple[int, int] | None = None,
    rows: int = 4,
    steps: int = 8,
    data: str | None = None,
    split: Literal["train", "valid", "test"] = "test",
    keep_length: bool | None = None,
    out: Path = Path("interpolations.png"),
    temperature: float = 1.0,
    guidance: float = 1.0,
    seed: int = 0,
    enlarge: int = 1,
    beside: Annotated[BesideOptions | None, Parameter(name="*")] = None,
    device: str = "auto",
) -> None:
    """Go from one picture's condition to another's in small steps, all drawn with the same random
    numbers.

    Each row shows a picture, the draws on the way, and the other picture. It is the vector that
    changes; a class or map stays that of the first picture.

    Parameters
    ----------
    model
        A run folder or a checkpoint of a model of vectors: an auto-encoder, or one trained with
        --embedding.
    between
        The numbers of two pictures; by default rows of pictures that lie far apart in the data.
    rows
        How many rows, if --between does not name one.
    steps
        Draws on the way, both ends included.
    data
        Other pictures than the training data's, prepared in the same way.
    split
        Which part of the data; of other data without splits of their own, all are taken.
    keep_length
        Keep the length of the vectors between two ends on a sphere; by default for embeddings.
    out
        A .png, or an .npy for the integers (rows, steps, C, H, W).
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

    from nextpixel import interpolation
    from nextpixel.cli.opening import check_guidance, open_model, open_split
    from nextpixel.cli.output import check_out, write_pictures
    from nextpixel.condition_values import index
    from nextpixel.conditions import ClassCondition, VectorCondition, of_kind
    from nextpixel.training.batches import conditioned

    check_out(out, (".png", ".npy"))
    if rows < 1:
        raise UsageError(f"‹rows={rows}› must be at least 1")
    network, card = open_model(model, device)
    if not of_kind(network.conditions, VectorCondition):
        raise ValueError(
            f"{model} is not conditioned on a vector; give an auto-encoder, or train with"
            " --embedding"
        )
    check_guidance(guidance, card)
    labelled = bool(of_kind(network.conditions, ClassCondition))
    pictures, part, what = open_split(card, data, split, labelled=labelled, beside=beside)
    if between is None:
        places = np.arange(2 * rows) * max(1, len(part) // (2 * rows)) % len(part)
        pairs = [(int(places[k]), int(places[rows + k])) for k in range(rows)]
    else:
        pairs = [between]
    if not all(0 <= k < len(part) for pair in pairs for k in pair):
        raise ValueError(
            f"--between {between} is not there: {pictures.source}, {what}, has 0 … {len(part) - 1}"
        )
    if keep_length is None:
        source = card.source
        keep_length = source is not None and source.embedding is not None
    shown, drawn = [], []
    for pair in pairs:
        x, values = conditioned(network, part, np.array(pair))
        drawn.append(
            interpolation.interpolate(
                network,
                index(values, 0),
                index(values, 1),
                (x.shape[2], x.shape[3]),
                steps=steps,
                keep_length=keep_length,
                temperature=temperature,
                guidance=guidance,
                generator=torch.Generator().manual_seed(seed),
            ).cpu()
        )
        shown.append(torch.cat([x[:1].cpu(), drawn[-1], x[1:].cpu()]))
    if out.suffix == ".npy":
        write_pictures(out, torch.stack(drawn).numpy(), network.levels)
    else:
        write_pictures(
            out, torch.cat(shown).numpy(), network.levels, columns=steps + 2, scale=enlarge
        )
    print(
        f"{len(pairs)} rows of {steps} pictures between two of {printable(str(pictures.source))}: {out}"
    )
