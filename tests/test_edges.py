"""The edges of the machine: full disks, limits, locks, signals, logs, and what is no regular file.

Each fault is a real one.
"""

import io
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from test_structure import ROOT

from nextpixel import Preparation, TrainConfig, load_data
from nextpixel.cli.app import main
from nextpixel.cli.progress import counted_bar
from nextpixel.data.image_output import write_images
from nextpixel.errors import Interrupted, UsageError
from nextpixel.files.locking import one_process
from nextpixel.files.replacing import replace_file
from nextpixel.settings.choice import ModelChoice
from nextpixel.training.distributed import stop_requests
from nextpixel.training.metrics import append, read_metrics
from nextpixel.training.record import read_run
from nextpixel.training.start import train_model

posix = pytest.mark.skipif(os.name != "posix", reason="limits, FIFOs and signals of POSIX")
SMALL = ["--features", "4", "--layers", "1", "--kernel-size", "3", "--batch-size", "4"]
SMALL += ["--evaluate-every", "100"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of images, and a run on it."""
    folder = tmp_path_factory.mktemp("world")
    images = np.random.default_rng(0).integers(0, 4, (12, 4, 4)).astype(np.uint8)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        np.save("x.npy", images)
        main(["train", "x.npy", "--steps", "2", "--out", "run", "--levels", "4", "--quiet", *SMALL])
    return folder


@pytest.fixture
def here(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with both."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(world / "x.npy", "x.npy")
    shutil.copytree(world / "run", "run")
    return tmp_path


@pytest.fixture
def largest() -> Iterator[Callable[[int], None]]:
    """Sets the bytes that a file may have in this process."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 200 kB."""
    place, mount = tmp_path / "disk", shutil.which("mount")
    place.mkdir()
    if mount is None or not hasattr(os, "getuid") or os.getuid() != 0:
        pytest.skip("only root mounts a disk")
    made = [mount, "-t", "tmpfs", "-o", "size=200k", "none", str(place)]
    if subprocess.run(made, capture_output=True, check=False).returncode:
        pytest.skip("this machine mounts no disk")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def fails(arguments: list[str], capsys: Any, code: int = 2) -> str:
    """What a command says on its way out: one line."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    said = capsys.readouterr().err
    assert caught.value.code == code and said.count("\n") == 1, said
    return str(said)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- space ---


def test_a_full_disk_is_one_sentence_and_leaves_no_half_file(
    small_disk: Path, here: Path, capsys: Any
) -> None:
    (small_disk / "rest").write_bytes(bytes(shutil.disk_usage(small_disk).free))
    for name in ("x.npy", "x.png", "folder"):
        words = ["sample", "run", "--n", "2", "--size", "4", "--out", str(small_disk / name)]
        assert "the disk is full; free some" in fails(words, capsys)
        assert [path.name for path in small_disk.iterdir()] == ["rest"]
    (small_disk / "rest").unlink()
    big = ["--features", "48", "--layers", "1"]
    said = fails(["train", "x.npy", "--out", str(small_disk / "new"), *big], capsys)
    assert "the run needs" in said and "free some space" in said
    assert not list(small_disk.iterdir())
    shutil.copytree(here / "run", small_disk / "run")
    before = files(small_disk / "run")
    (small_disk / "rest").write_bytes(bytes(4096 * (shutil.disk_usage(small_disk).free // 4096)))
    fails(["train", "--resume", str(small_disk / "run"), "--steps", "4", "--quiet"], capsys)
    assert files(small_disk / "run") == before


@posix
def test_a_limit_on_files_is_one_sentence_and_keeps_what_was_there(
    here: Path, largest: Callable[[int], None], capsys: Any
) -> None:
    Path("o.npy").write_bytes(b"before")
    before = files(here)
    largest(200)
    words = ["sample", "run", "--n", "90", "--size", "4", "--out"]
    assert "ulimit -f" in fails([*words, "o.npy"], capsys)
    assert "o.png: the file would be larger" in fails([*words, "o.png"], capsys)
    assert "copy.safetensors: the file" in fails(
        ["export", "run", "-o", "copy.safetensors"], capsys
    )
    said = fails(["train", "--resume", "run", "--steps", "4"], capsys)
    assert "the run writes a file of" in said and "ulimit -f" in said
    assert files(here) == before
    with pytest.raises(OSError, match="cache"):  # and no SIGBUS
        load_data("x.npy", Preparation(size=3), memory_bytes=0, cache_folder=here / "cache")
    assert not list((here / "cache").iterdir())
    line = {"step": 3, "seconds": 0.0}
    with pytest.raises(OSError, match="metrics"):
        append(here / "run", [line] * 40)
    assert files(here / "run")["metrics.jsonl"] == before["metrics.jsonl"]


def test_a_run_that_does_not_begin_leaves_no_folder(
    here: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device", "run/state.safetensors")

    monkeypatch.setattr("nextpixel.training.runs.save_state", full)
    words = ["train", "x.npy", "--steps", "2", "--out", "runs/run", "--quiet", *SMALL]
    assert "the disk is full" in fails(words, capsys)
    assert not Path("runs").exists()


def test_a_folder_that_disappears_is_one_sentence(here: Path, capsys: Any) -> None:
    def away(_: Any, steps: Any) -> Any:
        yield next(steps)
        shutil.rmtree("new")
        yield from steps

    with pytest.raises(UsageError, match="new disappeared while the run was going on"):
        train_model(
            "x.npy",
            ModelChoice(network={"features": 4, "layers": 1}),
            TrainConfig(steps=3, batch_size=4),
            out="new",
            progress=away,
        )


def test_long_names_are_possible_and_longer_ones_are_named(tmp_path: Path, capsys: Any) -> None:
    write_images(tmp_path / ("x" * 240 + ".npy"), np.zeros((1, 1, 2, 2), np.uint8), 2)
    with pytest.raises(OSError, match="File name too long"), replace_file(tmp_path / ("x" * 300)):
        pass
    assert len(list(tmp_path.iterdir())) == 1


WRITING = re.compile(
    r"""\b(np\.save|savez|savefig|write_text|write_bytes|tofile|json\.dump\(|mkstemp|O_WRONLY|O_RDWR"""
    r"""|save_file\(|SummaryWriter\(|picture\.save|open\([^)\n]*["'](w|a|x|r\+)[bt+]*["'])"""
)


def test_files_are_written_in_one_place() -> None:
    """Whatever writes a file does it with `replace_file`, or is named here with the reason."""
    allowed = {
        "locking.py",  # the owner of a lock
        "kept.py",  # a private cache, with a move of its own
        "ownership.py",  # the key, made once and exclusively
        "metrics.py",  # appends, all or nothing
        "terminal.py",  # /dev/null
        "load.py",  # an example
        "scores.py",  # an example
        "complexity.py",  # into memory
        "pictures.py",  # into memory
    }
    texts = {path: path.read_text(encoding="utf-8") for path in ROOT.rglob("*.py")}
    writing = {path.name for path, text in texts.items() if WRITING.search(text)}
    replacing = {path.name for path, text in texts.items() if "with replace_file(" in text}
    assert {"image_files.py", "tensors.py", "plots.py", *allowed} <= writing
    assert writing - replacing <= allowed


# --- locks ---


def test_two_processes_do_not_train_in_one_folder(here: Path, capsys: Any) -> None:
    hold = (
        "import sys, time; from pathlib import Path; from nextpixel.files.locking import"
        " one_process\nwith one_process(Path('run')): print('held', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE)
    try:
        assert other.stdout is not None and other.stdout.readline() == b"held\n"
        before = files(here / "run")
        said = fails(["train", "--resume", "run", "--steps", "4", "--quiet"], capsys)
        assert f"run is in use by process {other.pid} on {platform.node()}" in said
        assert files(here / "run") == before
    finally:
        other.kill()
        other.wait()
        other.stdout.close()  # type: ignore[union-attr]
    main(["train", "--resume", "run", "--steps", "4", "--quiet"])
    assert not (here / "run" / ".lock").exists()


def test_a_lock_is_of_one_call_and_does_not_outlive_it(tmp_path: Path) -> None:
    with one_process(tmp_path), pytest.raises(UsageError, match=f"by process {os.getpid()} on"):
        with one_process(tmp_path):
            raise AssertionError
    with pytest.raises(KeyError), one_process(tmp_path / "e.safetensors"):
        assert (tmp_path / ".e.safetensors.lock").exists()
        raise KeyError
    assert not list(tmp_path.iterdir())


@posix
def test_where_there_are_no_locks_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import fcntl

    def no_locks(*_: Any) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with one_process(tmp_path):
        pass
    assert "has no locks" in caplog.text


@posix
def test_what_stands_in_the_place_of_a_lock_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".lock")
    with pytest.raises(UsageError, match="is no file of one"), one_process(tmp_path):
        pass


# --- output ---


def stream(encoding: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_what_a_log_cannot_show_ends_nothing(
    encoding: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = os.fsdecode("☃ \N{PARTY POPPER} ".encode() + b"\xff.npy")
    os.rename("x.npy", name)
    out, err = stream(encoding), stream(encoding)
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    main(["train", name, "--steps", "1", "--out", "new", *SMALL])
    main(["data", name])
    with pytest.raises(SystemExit):
        main(["data", "☃×.npy"])
    text = out.buffer.getvalue().decode(encoding)
    assert r"\u2603 \U0001f389 \udcff.npy" in text and (r"4\xd74" in text) == (encoding == "ascii")
    assert r"\u2603" in err.buffer.getvalue().decode(encoding)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_output_that_is_lost_ends_no_run(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    err = stream("utf-8")
    monkeypatch.setattr(sys, "stderr", err)
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(SystemExit) as caught:
            main(["train", "x.npy", "--steps", "1", "--out", "new", *SMALL])
    assert caught.value.code == 1 and b"output could not be written" in err.buffer.getvalue()
    assert (here / "new" / "best.safetensors").exists()
    read, write = os.pipe()
    os.close(read)
    with open(write, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        main(["train", "--resume", "run", "--steps", "3"])  # a reader that has enough: no fault
    monkeypatch.setattr(sys, "stdout", None)  # closed, as Python has it
    main(["train", "--resume", "run", "--steps", "4"])
    assert read_metrics(here / "run")[-1]["step"] == 4


def test_a_log_has_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    with counted_bar("Reading") as show:
        for second in range(3601):
            clock[0] = float(second)
            show(second, 3600)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Reading: 2 of 3,600 (0%), 2 s" and 50 < len(lines) < 150
    with counted_bar("Reading", quiet=True) as show:
        show(0, 9)
        clock[0] += 100
        show(5, 9)
    assert not capsys.readouterr().err


# --- signals ---

SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"]


@posix
@pytest.mark.parametrize("name", SIGNALS)
def test_a_signal_saves_the_run_and_says_so(
    name: str, here: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = getattr(signal, name)

    def soon(plan: Any, steps: Any) -> Iterator[Any]:
        for step in steps:
            if step.step == 2:
                os.kill(os.getpid(), number)
            yield step

    monkeypatch.setattr("nextpixel.cli.train._show", soon)
    words = ["train", "x.npy", "--steps", "9", "--out", "new", *SMALL]
    said = fails(words, capsys, 128 + number)
    assert f"stopped by {name} after step 2 with the state saved" in said
    assert "--resume new" in said and read_metrics(here / "new")


@posix
@pytest.mark.parametrize("name", SIGNALS)
def test_a_signal_to_another_command_leaves_no_half_file(
    name: str, here: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = getattr(signal, name)
    write = np.lib.format.write_array_header_1_0

    def interrupted(*arguments: Any) -> None:
        write(*arguments)
        os.kill(os.getpid(), number)

    monkeypatch.setattr(np.lib.format, "write_array_header_1_0", interrupted)
    before = signal.getsignal(number)
    said = fails(["sample", "run", "--n", "2", "--out", "o.npy"], capsys, 128 + number)
    assert said == f"nextpixel: stopped by {name}\n"
    assert sorted(path.name for path in here.iterdir()) == ["run", "x.npy"]
    assert signal.getsignal(number) == before


@posix
def test_a_second_signal_stops_at_once_and_an_ignored_one_does_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def now(number: int, _: object) -> None:
        raise Interrupted("now", number)

    before = signal.signal(signal.SIGTERM, now), signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_requests() as requested:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not requested()
            os.kill(os.getpid(), signal.SIGUSR1)
            assert requested() == signal.SIGUSR1
            with pytest.raises(Interrupted):
                os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGHUP, before[1])


# --- special files, names and options ---


@posix
@pytest.mark.timeout(60)
def test_only_regular_files_are_opened(here: Path, capsys: Any) -> None:
    os.mkfifo("f")
    os.mkfifo("f.png")
    for words in (
        ["info", "f"],
        ["evaluate", "/dev/zero"],
        ["data", "f"],
        ["train", "x.npy", "--config", "f"],
        ["train", "x.npy", "--embedding", "f", "--out", "new"],
        ["train", "x.npy", "--labels", "f", "--out", "new"],
        ["complete", "run", "--mask", "f"],
        ["sample", "run", "--out", "f.png"],
        ["sample", "run", "--out", "f"],
        ["reproduce", "mnist-small", "--data", "f"],
        ["train", "x.npy", "--out", "f", *SMALL, "--quiet"],
    ):
        said = fails(words, capsys)
        assert "Errno" not in said and "does not exist" not in said, said
    (here / "run" / "run.json").unlink()
    os.mkfifo(here / "run" / "run.json")
    assert "run.json is a FIFO" in fails(["train", "--resume", "run"], capsys)
    assert not Path("new").exists()


def test_pictures_are_not_put_beside_other_things(here: Path, capsys: Any) -> None:
    before = files(here / "run")
    said = fails(["sample", "run", "--n", "2", "--out", "run"], capsys)
    assert "--out run is a folder that holds other things" in said
    assert files(here / "run") == before
    said = fails(["sample", "run", "--n", "2", "--out", "x.npy/o.png"], capsys)
    assert "x.npy/o.png: a part of this path is a file" in said
    for _ in range(2):
        main(["sample", "run", "--n", "2", "--out", "new"])
    assert len(files(here / "new")) == 2


def test_broken_files_are_counted_and_recorded(here: Path, capsys: Any) -> None:
    pictures = here / "set"
    pictures.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (8, 64, 64), dtype=np.uint8)
    for k, x in enumerate(noise):
        Image.fromarray(x[:8, :8]).save(pictures / f"{k}.png")
    Image.fromarray(noise[0]).save(pictures / "cut.jpg")
    (pictures / "cut.jpg").write_bytes((pictures / "cut.jpg").read_bytes()[:900])
    Image.new("1", (15000, 13000)).save(pictures / "bomb.png")
    (pictures / "a\nb.png").write_bytes(b"x")
    (pictures / "empty.png").touch()
    (pictures / "phone.heic").write_bytes(b"    ftypheic")
    reasons = [
        "a b.png",
        "holds more than",
        "empty.png: cannot be read as a picture (it is empty)",
        ".heic cannot be",
        "truncated",
    ]
    if os.name == "posix":
        os.mkfifo(pictures / "fifo.png")
        (pictures / "link.png").symlink_to("nowhere")
        reasons += ["fifo.png is a FIFO", "link.png is a link that leads nowhere"]
    said = fails(["data", "set"], capsys)
    assert f"{len(reasons)} of" in said and all(reason in said for reason in reasons), said
    main(["train", "set", "--skip-broken", "--steps", "1", "--out", "new", "--quiet", *SMALL])
    (note,) = (note for note in read_run(here / "new")["notes"] if "skipped" in note)
    assert f"{len(reasons)} of" in note and "phone.heic" in note


WRONG_OPTIONS = {
    "source = 'x.npy'\na = " + "[" * 3000 + "]" * 3000: "r.toml is not a TOML file: it is nested",
    "[training]\nsteps = 1": "line 1: [training] is a table",
    "source = 'x.npy'\nminutes = inf": "line 2: minutes is Infinity, but must be a finite number",
    "\n\nsteps = 2020-01-01": "line 3: steps is",
    "features = 'many'": "line 1: Invalid value for [features]: many",
    "source = 'x.npy'\n\nsteps = 0": "line 3: --steps 0 must be",
    "batch-sise = 3": "line 1: batch-sise is not an option of train; use batch_size",
    "#" * 20_000: "more than 16,384 bytes",
}


@pytest.mark.parametrize("text", WRONG_OPTIONS, ids=lambda text: WRONG_OPTIONS[text][:20])
def test_a_wrong_option_is_named_with_its_line(text: str, here: Path, capsys: Any) -> None:
    Path("r.toml").write_text(text)
    assert WRONG_OPTIONS[text] in fails(["train", "--config", "r.toml", "--out", "new"], capsys)
    assert not Path("new").exists()


def test_options_that_are_no_text_name_their_file(here: Path, capsys: Any) -> None:
    Path("r.toml").write_bytes(b"# \xff")
    assert "r.toml is not a TOML file: 'utf-8'" in fails(["train", "--config", "r.toml"], capsys)


def test_signals_are_left_alone_in_other_threads(here: Path) -> None:
    thread = threading.Thread(target=main, args=(["cache"],))
    thread.start()
    thread.join()
