"""How many bits a trained model's condition saves, as `nextpixel condition-worth` prints it."""

from collections.abc import Callable
from pathlib import Path

import torch

from nextpixel.analysis.condition_worth import condition_worth
from nextpixel.inference.comparison import clusters_of, for_model
from nextpixel.inference.figures import MeasuredWorth
from nextpixel.inference.selection import data_of
from nextpixel.inference.trained import Trained, open_trained
from nextpixel.settings.requests import DataRequest, check_at_least

__all__ = ["MeasuredWorth", "measure_condition"]

Progress = Callable[[int, int], None]


def measure_condition(
    model: str | Path | Trained,
    request: DataRequest = DataRequest(),  # noqa: B008  # It is frozen.
    *,
    images: int = 1000,
    cluster: str | None = None,
    seed: int = 0,
    device: str | torch.device = "auto",
    reading: Progress | None = None,
    progress: Progress | None = None,
) -> MeasuredWorth:
    """Measure how many bits a trained model's condition saves, and classify with it.

    Args:
        model: a run folder, a checkpoint, or the name of a pretrained model.
        request: the images; by default the test split of the training data.
        images: the number of images, drawn at random.
        cluster: what says which images belong together, for the standard error; see
            `nextpixel.inference.comparison.clusters_of`.
        seed: of the choice of images, and of whose conditions are exchanged.
        device: "auto", "cpu", "cuda", "cuda:1" …
        reading: called with how many images are read, and of how many.
        progress: called with how many images are scored, and of how many.

    Raises:
        UsageError: the model is unconditional, there are fewer than two images, or not every image
            says which cluster it belongs to.
    """
    check_at_least(2, images=images)
    check_at_least(0, seed=seed)
    trained = open_trained(model, device=device)
    network = trained.distribution
    chosen = data_of(trained, for_model(trained, request, cluster), progress=reading)
    worth = condition_worth(
        network,
        chosen.split,
        images=images,
        seed=seed,
        with_nothing=trained.card.condition_dropout > 0,
        clusters=clusters_of(trained, chosen, request, cluster),
        progress=progress,
    )
    given = trained.given or "its mean code"
    return MeasuredWorth(source=chosen.source, split=chosen.name, given=given, worth=worth)
