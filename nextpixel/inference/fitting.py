"""A model of a user's own pictures, to be stored with them.

Its bytes count. A larger model predicts better, but it takes about a byte for each weight, so its
size is bounded by that of the pictures. All pictures are trained on: what the model knows of them
by heart is a gain here. After training, its weights are made as coarse as pays.
"""

import copy
import io
import math
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from nextpixel.codec.errors import CodecError
from nextpixel.codec.exact import WEIGHTS, bound_sums, exact
from nextpixel.codec.pictures import shown
from nextpixel.codec.stored_model import coarse, pack_model
from nextpixel.codec.survey import Survey
from nextpixel.data.splits import ImageData, Split
from nextpixel.devices import pick_device, seeded
from nextpixel.errors import Interrupted, UsageError
from nextpixel.models.core import AutoregressiveModel, ImageModel
from nextpixel.settings.choice import ModelChoice
from nextpixel.settings.preparation import Preparation
from nextpixel.settings.source import IN_MEMORY, Source
from nextpixel.settings.training import TrainConfig
from nextpixel.training.build import build_model
from nextpixel.training.compatibility import check_fit
from nextpixel.training.distributed import stop_requests
from nextpixel.training.evaluation import evaluate
from nextpixel.training.loop import Step, TrainingError, initial_state, train
from nextpixel.training.memory import check_memory
from nextpixel.training.pace import FEW_UPDATES, updates_in_time
from nextpixel.training.plan import Progress, TrainPlan

__all__ = ["Fit", "fit_model"]

_SIZES = ((48, 8), (32, 6), (24, 4), (16, 3), (12, 2), (8, 2))
"""Features and layers, the largest first."""
_SHARE = 0.02
"""Weights for each byte of the pictures as PNG files."""
_LEAST_BYTES = 50_000
"""As PNG files; below, no model earns its bytes."""
_WINDOW = 64
_LARGE = 2 * _WINDOW * _WINDOW
_NARROW = 32
_FLAT = 0.5
"""With more pixels that equal the one to the left, pictures are drawings: any value may follow, and
a softmax tells which. Photographs have 0.05 to 0.2."""
_SAMPLED = 24
_SAMPLE_SIDE = 96
_COARSEST = 5
_FEW_LEVELS = 16
_UPDATES_OF_SOFTMAX = 1000
"""A softmax of many levels learns them one by one, and takes longer for it."""
_BATCH_PIXELS = 1 << 14
_BOUNDED_EVERY = 0.05  # of the training


@dataclass(frozen=True, kw_only=True, eq=False)
class Fit:
    """A model of some pictures, and what it is worth.

    Attributes:
        model: its weights are as coarse as they will be stored.
        updates: how many it was trained for.
        ended: what ended the training before its time; "" for nothing, and for a signal.
        model_bytes: what it takes in an archive.
        archive_bytes: of the archive with it, estimated from windows of the pictures; model
            included.
        others: of archives with other models, by their names, likewise.
        png_bytes: of the pictures as PNG files, likewise.
    """

    model: ImageModel
    updates: int
    ended: str
    model_bytes: int
    archive_bytes: int
    others: Mapping[str, int]
    png_bytes: int

    @property
    def pays(self) -> bool:
        """Whether no other model makes a smaller archive."""
        return all(self.archive_bytes < other for other in self.others.values())


def fit_model(
    found: Survey,
    minutes: float,
    *,
    start_from: ImageModel | None = None,
    others: Mapping[str, ImageModel] | None = None,
    device: str | torch.device = "auto",
    progress: Progress | None = None,
) -> Fit:
    """Trains a model on pictures that it will be stored with.

    Ctrl-C ends the training, and the weights of that moment are taken.

    Args:
        found: the pictures.
        minutes: how long.
        start_from: the model whose weights it starts from; None chooses a new one.
        others: models to compare it with, by name; those of other colours or levels are left out.
        device: "auto", "cpu", "cuda", "cuda:1" …
        progress: wraps the steps of the training, to show them.

    Raises:
        CodecError: the pictures are too few for a model of their own.
        Interrupted: another signal than that of Ctrl-C asked to stop.
        UsageError: a model does not fit the pictures, or the training diverged.
    """
    png_bytes = round(_png_share(found) * found.sub_pixels)
    if png_bytes < _LEAST_BYTES:
        raise CodecError(
            f"the pictures take about {png_bytes:,} bytes as PNG files, and a model of their own"
            f" pays from about {_LEAST_BYTES:,} on; leave out ‹fit›"
        )
    data, config = _data(found, minutes)
    place = pick_device(device)
    if start_from is not None:
        networks = (p for p in start_from.modules() if isinstance(p, AutoregressiveModel))
        if config.crop is not None and any(p.settings.position_waves for p in networks):
            raise UsageError(
                "the model knows where in an image a pixel is, but these pictures are large or of"
                " several sizes, so that it would be trained on windows of them; give another"
                " ‹model›, or leave it out"
            )
        network = copy.deepcopy(start_from).to(place).train()
        updates = updates_in_time(network, data, config)
    else:
        network, updates = _chosen(data, config, _SHARE * png_bytes, place)
    plan = TrainPlan(folder=Path(), model=network, data=data, config=config, updates=updates)
    model, done, ended = _trained(plan, progress)
    sample = _sample(found.pictures)
    best, best_bytes, model_bytes = model, math.inf, 0
    for places in range(WEIGHTS, _COARSEST - 1, -1):
        candidate = coarse(model, places)
        try:
            stored = len(pack_model(exact(candidate)))
        except UsageError:  # rounding has brought a sum beyond the bound
            break
        total = stored + _bytes(candidate, sample, found)
        if total >= best_bytes:
            break
        best, best_bytes, model_bytes = candidate, total, stored
    return Fit(
        model=best,
        updates=done,
        ended=ended,
        model_bytes=model_bytes,
        archive_bytes=round(best_bytes),
        others={
            name: round(_bytes(other.to(place), _as_shown(sample, found, other.levels), found))
            for name, other in (others or {}).items()
            if other.channels == found.channels
            and other.levels in (found.levels, 256)
            and not other.given_by_data
        },
        png_bytes=png_bytes,
    )


def _trained(plan: TrainPlan, progress: Progress | None) -> tuple[ImageModel, int, str]:
    """The averaged weights at the end, after how many updates that was, and what ended it early.

    Weights are kept within the bound of exact sums as they are trained, so that none of the minutes
    is lost. A training that diverges ends with the weights before.
    """
    check_fit(plan.model, plan.data, plan.config, 1)
    check_memory(plan.model, plan.data, plan.config)
    state = initial_state(plan.model, plan.config)
    ended = ""
    with stop_requests() as requested:

        def diverging() -> Iterator[Step]:
            nonlocal ended
            try:
                yield from train(state, plan.data, plan.config)
            except TrainingError as error:
                if not state.step:
                    raise
                ended = error.sentence.partition(",")[0]

        def steps() -> Iterator[Step]:
            due = _BOUNDED_EVERY
            for step in diverging():
                yield step
                if step.progress >= due:
                    bound_sums(state.model)
                    due += _BOUNDED_EVERY
                if number := requested():
                    if number == signal.SIGINT:
                        return
                    raise Interrupted("stopped while it trained; nothing is written", number)

        for _ in steps() if progress is None else progress(plan, steps()):
            pass
    assert isinstance(state.average, ImageModel)
    bound_sums(state.average)
    return state.average, state.step, ended


def _data(found: Survey, minutes: float) -> tuple[ImageData, TrainConfig]:
    """The pictures as training data, whole if they are small and of one size, and how to train."""
    pictures = list(found.pictures)
    sizes = {picture.shape[1:] for picture in pictures}
    height, width = next(iter(sizes))
    images: NDArray[np.uint8] | list[NDArray[np.uint8]]
    shape, crop = None, None
    if len(sizes) == 1:
        images, shape = np.stack(pictures), (height, width)
    else:
        images = [x for x in pictures if min(x.shape[1:]) >= _NARROW] or pictures
    if len(sizes) > 1 or height * width > _LARGE:
        height = width = crop = min(_WINDOW, *(min(x.shape[1:]) for x in images))
    batch_size = max(4, min(32, _BATCH_PIXELS // (height * width)))
    config = TrainConfig(minutes=minutes, batch_size=batch_size, crop=crop)
    empty = Split(images=np.stack(pictures[:1])[:0])
    preparation = Preparation(
        channels=found.channels, levels=found.levels, from_levels=256, ragged=shape is None
    )
    return (
        ImageData(
            source=Source(IN_MEMORY),
            levels=found.levels,
            channels=found.channels,
            shape=shape,
            classes=(),
            train=Split(images=images),
            valid=empty,
            test=empty,
            preparation=preparation,
        ),
        config,
    )


def _chosen(
    data: ImageData, config: TrainConfig, most: float, device: torch.device
) -> tuple[ImageModel, int | None]:
    """The largest model of at most so many weights that is trained in time, or the smallest."""
    heads: list[tuple[str | None, int]] = [("logistic", FEW_UPDATES)]
    if data.levels <= _FEW_LEVELS:
        heads = [(None, FEW_UPDATES)]
    elif _is_flat(data):
        heads = [("softmax", _UPDATES_OF_SOFTMAX), *heads]
    for head, enough in heads:
        for size in _SIZES:
            model = _built(data, config, head, size).to(device)
            weights = sum(p.numel() for p in model.parameters())
            if weights <= most or size == _SIZES[-1]:
                updates = updates_in_time(model, data, config)
                if updates is None or updates >= enough:
                    return model, updates
    return model, updates


def _built(
    data: ImageData, config: TrainConfig, head: str | None, size: tuple[int, int]
) -> ImageModel:
    colours = 1 if head == "logistic" else data.channels
    network = {
        "features": -(-size[0] // colours) * colours,
        "layers": size[1],
        "head": head,
        "linear_prediction": head == "logistic",
        "position_waves": 3 if config.crop is None else 0,
    }
    with seeded(config.seed):
        choice = ModelChoice(kind="photograph", network=network)
        model = build_model(data, choice, crop=config.crop)
    assert isinstance(model, ImageModel)
    return model


def _is_flat(data: ImageData) -> bool:
    """Whether most pixels equal their neighbours, as in drawings."""
    equal = [
        (x[:, :, 1:] == x[:, :, :-1]).all(axis=0).mean()
        for x in (data.train.images[k] for k in range(min(64, len(data.train))))
        if x.shape[2] > 1
    ]
    return bool(equal) and float(np.mean(equal)) > _FLAT


def _sample(pictures: tuple[NDArray[np.uint8], ...]) -> Split:
    """Central windows of an even choice of the pictures."""
    few = pictures[:: -(-len(pictures) // _SAMPLED)]
    windows = []
    for x in few:
        top, left = (max(0, (side - _SAMPLE_SIDE) // 2) for side in x.shape[1:])
        windows.append(x[:, top : top + _SAMPLE_SIDE, left : left + _SAMPLE_SIDE])
    return Split(images=windows)


def _as_shown(sample: Split, found: Survey, levels: int) -> Split:
    """The windows for a model of the same levels, or of the 256 that files have."""
    if levels == found.levels:
        return sample
    windows = (sample.images[k] for k in range(len(sample)))
    return Split(images=[shown(found.levels)[x].astype(np.uint8) for x in windows])


def _bytes(model: ImageModel, sample: Split, found: Survey) -> float:
    """Of all pictures with a model, without its own."""
    return evaluate(model, sample) * found.sub_pixels / 8


def _png_share(found: Survey) -> float:
    """Bytes of a PNG file for each sub-pixel."""
    few = found.pictures[:: -(-len(found.pictures) // _SAMPLED)]
    total = 0
    for x in few:
        pixels = shown(found.levels)[x].astype(np.uint8).transpose(1, 2, 0)
        file = io.BytesIO()
        Image.fromarray(pixels[:, :, 0] if len(x) == 1 else pixels).save(file, "PNG")
        total += file.tell()
    return total / sum(x.size for x in few)
