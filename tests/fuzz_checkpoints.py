"""Checkpoints with random metadata, in a process of its own: `fuzz_checkpoints.py CASES SEED`.

Each is read in every way there is. It must load or be one sentence, within its seconds. The process
prints what came of the cases, and the most memory that it took.
"""

import contextlib
import io
import json
import resource
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cases import CASES, build
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from nextpixel.checkpoint import CheckpointError, load_trainable, read_card, save
from nextpixel.cli.app import main
from nextpixel.files.card import ModelCard, Training
from nextpixel.files.tensors import read_tensors, write_tensors
from nextpixel.models.embedding import Embedding
from nextpixel.settings.preparation import Preparation
from nextpixel.settings.source import Source
from nextpixel.settings.training import EmbeddingConfig, TrainConfig

SECONDS = 20  # of the processor, so that a busy machine is not taken for a hang
HUGE = [0, -1, 1, 2, 3, 7, 255, 256, 257, 65536, 2**20, 10**9, 2**31, 2**61 - 1, 2**63, 10**300]
NAMES = ["", "/", "../x", "hf:x", "~", "\0", "a" * 10_000, "\x1b[31m", "os:system", "ß\u202e", "1"]

leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(HUGE),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(NAMES),
    st.text(max_size=20),
)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)
deep = st.integers(1, 400).map(lambda n: json.loads("[" * n + "]" * n))
long = st.tuples(leaves, st.integers(1, 3000)).map(lambda pair: [pair[0]] * pair[1])


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every place in a JSON value: what holds it, and its name there."""
    keys: Any = value if isinstance(value, dict) else ()
    if isinstance(value, list):
        keys = range(len(value))
    found = [(value, key) for key in keys]
    return found + [place for key in keys for place in places(value[key])]


class TooSlow(BaseException):
    pass


def stop(*_: Any) -> None:
    raise TooSlow


@contextlib.contextmanager
def limited() -> Iterator[None]:
    """Raises TooSlow after so many seconds of work, or far more of waiting."""
    signal.signal(signal.SIGPROF, stop)
    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.alarm(20 * SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)


def most_memory() -> int:
    """The most bytes that this process has held.

    Linux hands `ru_maxrss` of the parent on through fork and exec, so the test's own process would
    be counted: `VmHWM` starts anew.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if "VmHWM" in line)
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes, on macOS


def fuzz(cases: int, number: int) -> dict[str, Any]:
    folder = Path(tempfile.mkdtemp())
    wholes = []
    trained = Training(step=3, seconds=1.0, config=TrainConfig(steps=3))
    embedding = Embedding(channels=1, levels=4, size=(8, 8), outputs=4, features=4)
    for model in (*map(build, CASES), embedding):
        path = folder / f"{len(wholes)}.safetensors"
        card = ModelCard(
            source=Source("x.npz", captions="c.txt"),
            preparation=Preparation(levels=4, size=(8, 8), text_encoder=("a", "b")),
            classes=("a", "b", "c"),
            shape=(8, 8),
            training=EmbeddingConfig() if model is embedding else trained,
            notes={"about": "a test", "test": {"bits": 1.5}},
        )
        save(model, path, card=card)
        tensors, header = read_tensors(path)
        wholes.append((tensors, json.dumps(dict(header.metadata))))
    came: Counter[str] = Counter()
    path = folder / "fuzzed.safetensors"

    @seed(number)
    @settings(
        max_examples=cases,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def one(data: st.DataObject) -> None:
        tensors, text = data.draw(st.sampled_from(wholes))
        metadata = json.loads(text)
        for _ in range(data.draw(st.integers(1, 3))):
            holder, key = data.draw(st.sampled_from(places(metadata)))
            how = data.draw(st.sampled_from(["replace", "delete", "add", "swap"]))
            if how == "replace":
                holder[key] = data.draw(st.one_of(values, leaves, deep, long))
            elif how == "delete":
                del holder[key]
            elif how == "add" and isinstance(holder, dict):
                names = st.one_of(st.sampled_from([*metadata, "condition", "model"]), st.text())
                holder[data.draw(names)] = data.draw(values)
            elif how == "swap":
                other, place = data.draw(st.sampled_from(places(json.loads(text))))
                holder[key] = other[place]
        if not metadata:
            return
        write_tensors(path, tensors, metadata)
        with limited():
            for read in (read_card, load_trainable):
                try:
                    read(path)
                    came["read"] += 1
                except CheckpointError as error:
                    assert "\n" not in str(error)
                    came["refused"] += 1
            try:
                with contextlib.redirect_stdout(io.StringIO()):
                    with contextlib.redirect_stderr(io.StringIO()) as said:
                        main(["info", str(path)])
                came["shown"] += 1
            except SystemExit as end:
                assert end.code == 2 and said.getvalue().count("\n") == 1, said.getvalue()
        came["cases"] += 1

    one()
    return dict(came) | {"megabytes": most_memory() // 2**20}


if __name__ == "__main__":
    print(json.dumps(fuzz(int(sys.argv[1]), int(sys.argv[2]))))
