"""Drift: whether the pictures of two sources have scores of one distribution."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from nextpixel.analysis.drift import TwoSamples, two_samples
from nextpixel.arguments import record_of, shown
from nextpixel.errors import UsageError
from nextpixel.inference.measuring import measured
from nextpixel.inference.normality import Normal
from nextpixel.inference.scores import normal_of
from nextpixel.inference.streaming import stream_of
from nextpixel.inference.trained import Trained, open_trained
from nextpixel.settings.requests import DataRequest
from nextpixel.settings.scores import ScoreRequest

__all__ = ["Drift", "compare_sources"]

Progress = Callable[[int, int], None]

_USED = ("fit", "fitted", "normal", "classes", "mirrored")


@dataclass(frozen=True, kw_only=True)
class Drift:
    """The scores of the pictures of two sources, compared.

    Attributes:
        sources: their names.
        columns: for each column of scores the test.
        failures: how many pictures of each source could not be used.
    """

    sources: tuple[str, str]
    columns: Mapping[str, TwoSamples]
    failures: tuple[int, int]

    @property
    def p_value(self) -> float:
        """The smallest p-value, times the number of columns: holds for all of them together."""
        return min(1.0, len(self.columns) * min(found.p_value for found in self.columns.values()))


def compare_sources(
    model: str | Path | Trained,
    against: str | Path,
    request: ScoreRequest = ScoreRequest(),  # noqa: B008  # It is frozen.
    *,
    data: DataRequest = DataRequest(),  # noqa: B008  # It is frozen.
    device: str | torch.device = "auto",
    reading: Progress | None = None,
    fitting: Progress | None = None,
    progress: Progress | None = None,
) -> Drift:
    """Test whether the pictures of two sources have scores of one distribution.

    The scores are z of the picture, the anomaly score, and, if they are fitted, typicality and
    the residual of principal components.

    Args:
        model: a run folder, a checkpoint, or the name of a pretrained model.
        against: the other source.
        request: how pictures are scored; what is about a table or alarms does not apply.
        data: the pictures; by default the test split of the training data.
        device, reading, fitting, progress: as for `score_images`.

    Raises:
        UsageError: a source is not there, or has no picture that the model takes; or the request
            asks for what a comparison does not give.
    """
    request = record_of("request", request, ScoreRequest)
    for field in fields(request):
        value = getattr(request, field.name)
        if field.name not in _USED and value != field.default:
            raise UsageError(
                f"‹{field.name}={shown(value)}› is for a table of scores, but two sources are"
                " compared; leave it out"
            )
    data = record_of("data", data, DataRequest)
    trained = open_trained(model, device=device)
    normal = normal_of(trained, request, data, reading=reading, progress=fitting)
    other = DataRequest(data=against, split=data.split, embedding=data.embedding)
    sides = [_scores(trained, one, request, normal, reading, progress) for one in (data, other)]
    first, second = (side[1] for side in sides)
    return Drift(
        sources=(sides[0][0], sides[1][0]),
        columns={name: two_samples(first[name], second[name]) for name in first},
        failures=(sides[0][2], sides[1][2]),
    )


def _scores(
    trained: Trained,
    data: DataRequest,
    request: ScoreRequest,
    normal: Normal | None,
    reading: Progress | None,
    progress: Progress | None,
) -> tuple[str, dict[str, NDArray[np.float64]], int]:
    """The name of a source, the scores of its pictures, and how many cannot be used."""
    stream = stream_of(trained, data, reading=reading)
    typical = None if normal is None else normal.typical
    names = ("z", "anomaly") if typical is None else ("z", "anomaly", "typicality", "residual")
    found, failures, reason = [], 0, ""
    for part in stream.taken(lambda _: True):
        if part.split is None:
            failures, reason = failures + 1, part.reason
        else:
            found.append(measured(trained, part.split, request, typical=typical).columns)
        if progress is not None:
            progress(part.files, len(stream.names))
    if not found:
        raise UsageError(f"no picture of {stream.source} can be used: {reason}")
    columns = {name: np.concatenate([one[name] for one in found]) for name in names}
    return stream.source, columns, failures
