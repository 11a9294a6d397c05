"""nextpixel evaluate: how well a trained model predicts."""

import json as json_format
from typing import TYPE_CHECKING

from nextpixel.cli.options import Given
from nextpixel.cli.progress import counted_bar
from nextpixel.cli.readers import Device, Json, Model, Whole
from nextpixel.cli.words import images_words
from nextpixel.cli.work import say_evaluation
from nextpixel.errors import UsageError
from nextpixel.settings.requests import DataRequest

if TYPE_CHECKING:
    from nextpixel.inference.evaluation import Evaluation

__all__ = ["evaluate"]


def evaluate(
    model: Model,
    *,
    request: Given[DataRequest] = Given(),  # noqa: B008
    against: Model | None = None,
    cluster: str | None = None,
    importance_samples: Whole = 0,
    order: str | None = None,
    json: Json = False,
    device: Device = "auto",
) -> None:
    """Measure the bits per dimension of a trained model on a whole split, in float32.

    With `--head logistic` it also measures those of the density, on dequantised images, which
    compare with continuous models.

    Parameters
    ----------
    against
        Compare with this model: prints the difference on the same images, in nats per image, and
        its standard error.
    cluster
        The column of the table of labels that says which images belong together, such as patches
        of one photograph, or `label` for their classes. Standard errors then count clusters
        instead of images.
    importance_samples
        For a variational auto-encoder: also measure the bound with this number of codes for each
        image, which is tighter.
    order
        For a model trained with `--orders`: evaluate this order alone. By default the mixture of
        all, and the mean of its members.
    """
    from nextpixel.inference.evaluation import ReconstructionError, evaluate_model

    if against is not None:
        for name, value in (("order", order), ("importance_samples", importance_samples)):
            if value:
                raise UsageError(
                    f"‹{name}={value}› is of the evaluation of one model; leave it out, or"
                    " ‹against›"
                )
        _print_comparison(model, against, DataRequest(**request.values()), cluster, json, device)
        return
    with counted_bar("Reading") as reading, counted_bar("Evaluating") as progress:
        found = evaluate_model(
            model,
            DataRequest(**request.values()),
            importance_samples=importance_samples,
            cluster=cluster,
            order=order,
            device=device,
            reading=reading,
            progress=progress,
            working=say_evaluation,
        )
    if json:
        print(json_format.dumps(found.to_json()))
        return
    print(f"{found.source}, {found.split}: {images_words(found.images)}")
    if isinstance(found, ReconstructionError):
        name = found.name.replace("_", " ")
        print(
            f"{name} {found.value:.3f} {found.unit}, {found.scaled:.5f} on [-1, 1]; not a"
            " likelihood"
        )
    else:
        _print_table(found, importance_samples, own_values="data" in request.values())


def _print_comparison(
    model: str, other: str, request: DataRequest, cluster: str | None, json: bool, device: str
) -> None:
    from dataclasses import asdict

    from nextpixel.inference.comparison import compare_models

    with counted_bar("Reading") as reading, counted_bar("Evaluating") as progress:
        found = compare_models(
            model,
            other,
            request,
            cluster=cluster,
            device=device,
            reading=reading,
            progress=progress,
        )
    if json:
        print(json_format.dumps(asdict(found)))
        return
    groups = "" if cluster is None else f" in {found.clusters:,} clusters"
    print(f"{found.source}, {found.split}: {images_words(found.images)}{groups}")
    print(f"{model}: {found.nats_per_image:.3f} nats per image")
    print(f"{other}: {found.other_nats_per_image:.3f} nats per image")
    print(
        f"difference {found.difference:+.3f} ± {found.standard_error:.3f} (standard error over"
        f" {'images' if cluster is None else 'clusters'}; it covers neither seeds nor recipes)"
    )


def _print_table(found: "Evaluation", importance_samples: int, *, own_values: bool) -> None:
    from rich.table import Table

    from nextpixel.cli.terminal import console

    table = Table()
    table.add_column("")
    table.add_column("bits/dim", justify="right")
    whose = "these" if own_values else "the training"
    given = ", at most (a bound)" if found.kind == "bound" else ""
    given = f" given {found.given}" if found.given else given
    for name, bits in (
        (f"the model{given}", found.bits_per_dim),
        (f"at most, with {importance_samples} codes each", found.importance_weighted_bits_per_dim),
        ("one of its orders, on average", found.members_bits_per_dim),
        ("as a density, of dequantised images", found.dequantised_bits_per_dim),
        (f"one histogram of {whose} values", found.one_histogram_bits_per_dim),
        ("a histogram per pixel", found.histogram_bits_per_dim),
        ("uniform", found.uniform_bits_per_dim),
    ):
        if bits is not None:
            table.add_row(name, f"{bits:.4f}")
    console().print(table)
    error, over = "", "images" if found.clusters is None else f"{found.clusters:,} clusters"
    if found.standard_error is not None:
        error = f" ± {found.standard_error:.2f} (standard error over {over})"
    print(f"{found.nats_per_image:.2f} nats per image{error}")
    if found.code_nats_per_image is not None:
        print(f"  {found.code_nats_per_image:.2f} of them for the code")
    for number, scale in enumerate(found.scales):
        which = "all pixels" if scale.step == 1 else f"one in {scale.step} rows and columns"
        others = f"the others of {which}, given those before" if number else which
        print(f"  {scale.nats_per_image:.2f} of them for {others}")
