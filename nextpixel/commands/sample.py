"""nextpixel sample: pictures drawn from a trained model."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

__all__ = ["sample"]


def sample(
    model: str,
    /,
    *,
    out: Path = Path("samples.png"),
    n: int = 64,
    size: str | None = None,
    class_: Annotated[str | None, Parameter(name="--class")] = None,
    temperature: float = 1.0,
    seed: int = 0,
    columns: int | None = None,
    scale: int = 1,
    batch_size: int = 256,
    device: str = "auto",
) -> None:
    """Draw pictures from a trained model.

    Parameters
    ----------
    model
        A run folder or a checkpoint.
    out
        A .png for all pictures in a grid, an .npy for the integers (n, C, H, W), or a folder for one file each.
    n
        Number of pictures; with `--class all`, of each class.
    size
        One side, or HEIGHTxWIDTH; by default that of the training images.
    class_
        For a class-conditional model: a class by name or number, or all. By default all, a row each.
    temperature
        1 draws from the model; less gives likelier pictures, 0 the likeliest value of every sub-pixel.
    seed
        The same seed gives the same pictures.
    columns
        Pictures per row of the grid.
    scale
        Enlarge the pictures of a grid so many times.
    batch_size
        Pictures drawn at once.
    device
        auto, cpu, cuda, cuda:1 …
    """
    import torch

    from nextpixel import sampling
    from nextpixel.commands.opening import class_indices, open_model, progress_bar
    from nextpixel.commands.options import parse_size
    from nextpixel.commands.output import check_out, write_pictures

    for name, number in (("n", n), ("scale", scale), ("columns", columns or 1)):
        if number < 1:
            raise ValueError(f"--{name} (={number}) must be at least 1")
    check_out(out, (".png", ".npy", ""))
    network, metadata = open_model(model, device)
    shape = parse_size(size) if size else metadata.get("shape")
    if shape is None:
        raise ValueError("the model was trained on pictures of several sizes; give --size, such as 32 or 48x64")
    condition = None
    if class_ is not None or network.condition is not None:
        chosen = class_indices(network, metadata, class_ or "all")
        if class_ is None:
            n = max(1, n // len(chosen))
        columns = columns or (n if len(chosen) > 1 else None)
        condition = torch.tensor(chosen).repeat_interleave(n)
        n = len(condition)
    x = sampling.sample(
        network,
        n,
        (shape[0], shape[1]),
        condition=condition,
        temperature=temperature,
        generator=torch.Generator().manual_seed(seed),
        batch_size=batch_size,
        progress=progress_bar("Drawing"),
    )
    write_pictures(out, x.cpu().numpy(), network.levels, columns=columns, scale=scale)
    print(f"{n} pictures of {shape[0]}×{shape[1]}: {out}")
