"""What a stranger's file may do: nothing that runs, writes, phones or hangs.

See docs/guides/security.md.
"""

import ast
import io
import json
import os
import shutil
import socket
import struct
import sys
import threading
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loading import loaded
from PIL import Image

import nextpixel
from nextpixel.cli import terminal
from nextpixel.cli.app import main
from nextpixel.data.errors import DataError, ImageError
from nextpixel.data.image_files import MOST_PIXELS, read_image, taking_turns
from nextpixel.data.tables import ParquetRows, picture_file
from nextpixel.data.text_encoders import import_encoder
from nextpixel.demo import demo
from nextpixel.papers.commit import commit

ROOT = Path(nextpixel.__file__).parent

posix = pytest.mark.skipif(os.name != "posix", reason="FIFOs and links of POSIX")


def pictured(path: Path, value: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 4), value, np.uint8)).save(path, "PNG")
    return path


def greys(split: Any) -> list[int]:
    """The value of each image, which is one of `pictured`."""
    return [int(value) for value in np.asarray(split.images)[:, 0, 0, 0]]


def load_beside(source: Path, field: str, path: Path) -> Any:
    beside: Any = {field: path}
    return loaded(source, **beside)


def fails(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    return " ".join(capsys.readouterr().err.split())


@pytest.fixture
def connections() -> Iterator[tuple[int, list[Any]]]:
    """The port of a server on this machine, and who connected to it."""
    came: list[Any] = []
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, address = server.accept()
            except OSError:
                return
            came.append(address)
            connection.close()

    threading.Thread(target=serve, daemon=True).start()
    yield server.getsockname()[1], came
    server.close()


# --- recipes ---


@pytest.mark.parametrize(
    "line",
    [
        'text_encoder = "os:system"',
        'text-encoder = "os:system"',
        '"--text-encoder" = "os:system"',
        'TEXT_ENCODER = "os:system"',
        '"text_encoder" = ["os:system"]',
        '[data]\ntext_encoder = "os:system"',
        '[train.data]\n"text-encoder" = "os:system"',
        'data.text_encoder = "os:system"',
        '[[data]]\ntext_encoder = "os:system"',
        'text_encoder = { module = "os", function = "system" }',
        "text_encoder = 1",
        'textencoder = "helper:f"',
        '"\\u0074ext_encoder" = "helper:f"',
        "text_encoder = {}",
        "text_encoder = []",
    ],
)
def test_a_recipe_names_no_code(
    line: str, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    marker = tmp_path / "it-ran"
    for name in ("helper", "os_", "text"):
        (tmp_path / f"{name}.py").write_text(f"open({str(marker)!r}, 'w')\ndef f(t): pass\n")
    np.savez(
        "x.npz",
        train_images=np.zeros((20, 4, 4), np.uint8),
        train_captions=[f"touch {marker}"] * 20,
    )
    (tmp_path / "r.toml").write_text(f'source = "x.npz"\nsteps = 1\n{line}\n')
    for more in ([], ["--text-encoder", "nowhere:f"]):
        said = fails(["train", "--recipe", "r.toml", *more], capsys)
        assert "r.toml sets" in said and "names code to run" in said
    assert fails(["train", "--recipe=r.toml"], capsys) and not marker.exists()
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("key", ["out", "resume", "OUT", "--out"])
@pytest.mark.parametrize("place", ["../out", "/nowhere/out", "~/out", "link/out", "a/../../out"])
def test_a_recipe_writes_below_the_working_folder(
    key: str, place: str, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "link").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path))
    Path("r.toml").write_text(f'source = "digits"\nsteps = 1\n"{key}" = "{place}"\n')
    assert "outside the working folder" in fails(["train", "--recipe", "r.toml"], capsys)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here"]


def test_what_a_recipe_may_set_the_command_line_may_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    pictures = np.arange(20 * 16, dtype=np.uint8).reshape(20, 4, 4)
    np.save("x.npy", pictures)
    small = 'source = "x.npy"\nsteps = 1\nfeatures = 4\nlayers = 1\nkernel_size = 3\n'
    Path("r.toml").write_text(f'{small}out = "inner/run"\n')
    main(["train", "--recipe", "r.toml", "--quiet"])
    assert (tmp_path / "here" / "inner" / "run" / "run.json").exists()
    Path("r.toml").write_text(f'{small}out = "../outer"\n')
    main(["train", "--recipe", "r.toml", "--quiet", "--out", "../outer"])
    assert (tmp_path / "outer" / "run.json").exists()


@pytest.mark.parametrize(
    "source",
    ["hf:somebody/something", " HF:x", "http://127.0.0.1:{port}/x.npz", "\\\\\\\\host\\\\share",
     "//host/share", "file://host/x", "s3://bucket/x"],
)  # fmt: skip
def test_a_recipe_reaches_no_network(
    source: str, tmp_path: Path, capsys: Any, connections: tuple[int, list[Any]]
) -> None:
    port, came = connections
    for key in ("source", "captions", "embedding"):
        recipe = tmp_path / "r.toml"
        recipe.write_text(f'{key} = "{source.format(port=port)}"\n')
        said = fails(["train", "--recipe", str(recipe), "--out", str(tmp_path / "run")], capsys)
        assert "not on this machine" in said
    assert not came


@posix
def test_a_recipe_is_a_regular_file(tmp_path: Path, capsys: Any) -> None:
    os.mkfifo(tmp_path / "r.toml")
    assert "not a regular file" in fails(["train", "--recipe", str(tmp_path / "r.toml")], capsys)


def test_the_working_folder_shadows_no_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "installed").mkdir()
    (tmp_path / "here" / "goodenc.py").write_text("def f(texts): return 'bad'\n")
    (tmp_path / "here" / "only_here.py").write_text("def f(texts): return 'here'\n")
    (tmp_path / "installed" / "goodenc.py").write_text("def f(texts): return 'good'\n")
    monkeypatch.chdir(tmp_path / "here")
    for first in ("", ".", str(tmp_path / "here")):  # as `python -m nextpixel` has it
        monkeypatch.setattr(sys, "path", [first, str(tmp_path / "installed"), *sys.path])
        before = list(sys.path)
        monkeypatch.delitem(sys.modules, "goodenc", raising=False)
        assert import_encoder("goodenc:f")("") == "good"
        assert import_encoder("only_here:f")("") == "here"
        for wrong in ("goodenc:g", "nowhere:f", ".goodenc:f", "", ":"):
            with pytest.raises(ValueError, match="cannot be imported"):
                import_encoder(wrong)
        assert sys.path == before


def test_the_commit_is_that_of_a_repository_that_tracks_the_package(tmp_path: Path) -> None:
    package, git = tmp_path / "nextpixel", tmp_path / ".git"
    (git / "refs" / "heads").mkdir(parents=True)
    package.mkdir()
    hashed = "ab" * 20
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    (git / "refs" / "heads" / "main").write_text(hashed + "\n")
    (git / "index").write_bytes(b"DIRC other/file\0")
    assert commit(package) is None
    (git / "index").write_bytes(b"DIRC nextpixel/papers/commit.py\0")
    assert commit(package) == hashed
    (git / "refs" / "heads" / "main").unlink()
    (git / "packed-refs").write_text(f"# pack-refs\n{'cd' * 20} refs/heads/main\n")
    assert commit(package) == "cd" * 20
    (tmp_path / "tree" / "nextpixel").mkdir(parents=True)
    (tmp_path / "tree" / ".git").write_text(f"gitdir: {git / 'worktrees' / 't'}\n")
    (git / "worktrees" / "t").mkdir(parents=True)
    shutil.copy(git / "index", git / "worktrees" / "t")
    (git / "worktrees" / "t" / "HEAD").write_text("ref: refs/heads/main\n")
    (git / "worktrees" / "t" / "commondir").write_text("../..\n")
    assert commit(tmp_path / "tree" / "nextpixel") == "cd" * 20
    (tmp_path / "secret").write_text("not a hash\n")
    for head in ("ref: ../../secret", "ref: /etc/passwd", "", "\x1b[31m", hashed + "x"):
        (git / "HEAD").write_text(head)
        assert commit(package) is None


# --- folders ---


@pytest.fixture
def quiet_datasets() -> Any:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    return datasets


README = """---
configs:
- config_name: default
  data_files: {files}
---
"""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "files",
    [
        "http://127.0.0.1:{port}/x.parquet",
        "https://127.0.0.1:{port}/x.parquet",
        "hf://datasets/somebody/something/x.parquet",
        "../../private/*.png",
        "{root}/private/*.png",
        "zip://x.png::http://127.0.0.1:{port}/x.zip",
    ],
)
@pytest.mark.parametrize("prefix", ["", "hf:"])
def test_a_folder_with_a_parquet_file_is_those_files_alone(
    files: str,
    prefix: str,
    tmp_path: Path,
    quiet_datasets: Any,
    connections: tuple[int, list[Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    port, came = connections
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
    pictured(tmp_path / "private" / "secret.png", 99)
    folder = tmp_path / "given" / "pictures"
    pictured(folder / "cats" / "1.png", 7)
    table(quiet_datasets, [3] * 10).to_parquet(folder / "data" / "part.parquet")
    (folder / "README.md").write_text(
        README.format(files=json.dumps(files.format(port=port, root=tmp_path)))
    )
    (folder / "pictures.py").write_text(f"open({str(tmp_path / 'it-ran')!r}, 'w')\n")
    data = loaded(f"{prefix}{folder}", test=0)
    assert set(greys(data.train)) == {3}
    assert not came and not (tmp_path / "it-ran").exists()


def table(datasets: Any, values: list[int]) -> Any:
    pictures = [Image.fromarray(np.full((4, 4), v, np.uint8)) for v in values]
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])}
    )
    rows = {"image": pictures, "label": [k % 2 for k in range(len(values))]}
    return datasets.Dataset.from_dict(rows, features=features)


def test_a_small_parquet_file_has_few_rows(tmp_path: Path, quiet_datasets: Any) -> None:
    """A column of copies takes no bytes, and every row would be a picture to decode."""
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    png = pictured(tmp_path / "x.png").read_bytes()
    kind = arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())])
    features = quiet_datasets.Features({"image": quiet_datasets.Image()})
    rows = arrow.array([{"bytes": png, "path": None}] * 100_000, kind)
    schema = features.arrow_schema
    path = tmp_path / "given" / "x.parquet"
    path.parent.mkdir()
    parquet.write_table(arrow.Table.from_arrays([rows], schema=schema), path)
    assert path.stat().st_size < 100_000
    with pytest.raises(DataError, match=r"100,000 rows in parquet files of [\d,]+ bytes"):
        loaded(path.parent)


@pytest.mark.filterwarnings("ignore")
def test_parquet_files_are_read_by_row_groups_and_splits(
    tmp_path: Path, quiet_datasets: Any
) -> None:
    for name, values in (
        ("data/train-00000-of-00002", range(10)),
        ("data/train-00001-of-00002", range(10, 17)),
        ("data/validation-00000-of-00001", range(50, 53)),
        ("data/test-00000-of-00001", range(60, 64)),
    ):
        path = tmp_path / f"{name}.parquet"
        path.parent.mkdir(exist_ok=True)
        table(quiet_datasets, list(values)).to_parquet(path, batch_size=3)
    data = loaded(tmp_path)
    assert greys(data.train) == list(range(17))
    assert greys(data.valid) == [50, 51, 52]
    assert greys(data.test) == [60, 61, 62, 63]
    assert data.classes == ("a", "b")
    assert data.train.labels is not None and data.train.labels.tolist()[9:12] == [1, 0, 1]
    table(quiet_datasets, [1]).to_parquet(tmp_path / "data" / "other.parquet")
    with pytest.raises(DataError, match=r"other\.parquet lies beside .* says no split"):
        loaded(tmp_path)
    (tmp_path / "data" / "other.parquet").write_bytes(b"PAR1broken")
    with pytest.raises(DataError, match=r"says no split|cannot be read as a parquet file"):
        loaded(tmp_path)


@pytest.mark.filterwarnings("ignore")
def test_a_cell_is_that_of_its_row_and_column_in_any_order(
    tmp_path: Path, quiet_datasets: Any
) -> None:
    files = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    for file, values in zip(files, (range(8), range(8, 13)), strict=True):
        table(quiet_datasets, list(values)).to_parquet(file, batch_size=3)
    rows = ParquetRows.of(files)
    columns = {name: rows.column(name) for name in ("image", "label")}
    assert len(rows) == 13 and [len(column) for column in columns.values()] == [13, 13]
    for row in (0, 0, 2, 3, 7, 8, 12, 1, 11, 4):
        for name, column in columns.items():
            assert rows.cell(row, name) == column[row], (row, name)


@pytest.mark.parametrize(
    "named",
    ["/etc/passwd", "{root}/private.png", "../private.png", "in/../../private.png", "link.png",
     "dirlink/private.png", "http://127.0.0.1:1/x.png", "file:///etc/passwd", "~/private.png", "",
     "a\0b", "hf://datasets/x/y.png", "zip://x::http://127.0.0.1/x", "..", None],
)  # fmt: skip
def test_a_cell_names_files_of_its_folder_alone(named: str | None, tmp_path: Path) -> None:
    pictured(tmp_path / "private.png")
    folder = tmp_path / "set"
    pictured(folder / "in" / "1.png")
    (folder / "link.png").symlink_to(tmp_path / "private.png")
    (folder / "dirlink").symlink_to(tmp_path)
    path = named and named.format(root=tmp_path)
    with pytest.raises((ImageError, FileNotFoundError)):
        read_image(picture_file({"bytes": None, "path": path}, [folder.resolve()], "picture 0"))
    found = picture_file({"bytes": None, "path": "in/1.png"}, [folder.resolve()], "picture 0")
    assert read_image(found).shape == (1, 4, 4)


@pytest.mark.filterwarnings("ignore")
def test_a_saved_data_set_names_its_own_files_alone(tmp_path: Path, quiet_datasets: Any) -> None:
    table(quiet_datasets, [9] * 9).save_to_disk(tmp_path / "private")
    arrow = next((tmp_path / "private").glob("*.arrow"))
    for case, name in enumerate(
        [str(arrow), f"../private/{arrow.name}", "..", "x/../../private/a", "http://h/x", "l.arrow"]
    ):
        folder = tmp_path / f"set{case}"
        shutil.copytree(tmp_path / "private", folder)
        (folder / "l.arrow").symlink_to(arrow)
        state = json.loads((folder / "state.json").read_text())
        state["_data_files"] = [{"filename": name}]
        (folder / "state.json").write_text(json.dumps(state))
        with pytest.raises(DataError, match="names|link"):
            loaded(folder)
        # With the head of a set of splits beside it, `datasets` would still take this one.
        (folder / "dataset_dict.json").write_text('{"splits": []}')
        with pytest.raises(DataError, match="names|link"):
            loaded(folder)
    for splits in (["../private"], [str(tmp_path / "private")], ["."], "..", {"../private": 1}):
        folder = tmp_path / "dict"
        folder.mkdir(exist_ok=True)
        (folder / "dataset_dict.json").write_text(json.dumps({"splits": splits}))
        with pytest.raises(DataError, match="names|damaged"):
            loaded(folder)


@posix
def test_links_do_not_leave_a_folder_of_pictures(tmp_path: Path) -> None:
    private = pictured(tmp_path / "private" / "1.png")

    def refused(where: str, target: str | Path) -> None:
        folder = tmp_path / "set"
        pictured(folder / "cats" / "1.png")
        link = folder / where
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)
        with pytest.raises(DataError, match="is a link"):
            loaded(folder)
        shutil.rmtree(folder)

    refused("dogs", private.parent)
    refused("cats/2.png", private)
    refused("dogs", "../private")
    refused("cats/2.png", "../../private/1.png")
    refused("cats/deep/2.png", private)
    refused("dogs", "/")
    refused("dogs", "..")
    refused("cats/2.png", "/dev/zero")
    refused("cats/2.png", "/proc/self/mem")
    refused("cats/2.png", tmp_path / "private" / "nothing.png")
    refused("cats/2.png", "2.png")
    refused("train", private.parent)
    folder = tmp_path / "maps"
    pictured(folder / "pictures" / "1.png")
    (folder / "maps").mkdir()
    (folder / "maps" / "1.png").symlink_to(private)
    with pytest.raises(DataError, match="is a link"):
        loaded(folder / "pictures", maps=folder / "maps", test=0, validation=0)


@posix
@pytest.mark.timeout(60)
def test_folders_linked_to_each_other_are_read_once(tmp_path: Path) -> None:
    for k in range(12):
        pictured(tmp_path / "set" / f"f{k:02}" / "1.png", k)
    for k in range(12):
        for other in range(12):
            (tmp_path / "set" / f"f{k:02}" / f"to{other}").symlink_to(f"../f{other:02}")
    (tmp_path / "set" / "f00" / "root").symlink_to("..")
    (tmp_path / "set" / "f00" / "2.png").symlink_to("../f03/1.png")
    data = loaded(tmp_path / "set", test=0, validation=0)
    assert len(data.train) == 12 and sorted(greys(data.train)) == [*range(12)]
    os.link(tmp_path / "set" / "f00" / "1.png", tmp_path / "set" / "f00" / "3.png")
    assert len(loaded(tmp_path / "set", test=0, validation=0).train) == 13
    deep = tmp_path / "deep"
    pictured(deep / "/".join("d" * 900) / "1.png")
    assert len(loaded(deep, test=0, validation=0).train) == 1


@posix
@pytest.mark.timeout(60)
def test_only_regular_files_are_read(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for suffix in ("png", "npy", "npz", "tif", "PNG"):
        fifo = tmp_path / f"source.{suffix}"
        os.mkfifo(fifo)
        with pytest.raises(ValueError, match="is a FIFO, not a regular file"):
            loaded(fifo)
    with pytest.raises(ImageError, match="is a FIFO"):
        read_image(tmp_path / "source.png")
    pictured(tmp_path / "set" / "1.png")
    os.mkfifo(tmp_path / "set" / "notes.txt")  # is not looked at
    assert len(loaded(tmp_path / "set", test=0, validation=0).train) == 1
    os.mkfifo(tmp_path / "set" / "2.png")
    with pytest.raises(DataError, match=r"2\.png is a FIFO"):
        loaded(tmp_path / "set")
    (tmp_path / "set" / "2.png").unlink()
    (tmp_path / "set" / "3.png").symlink_to("2.fifo")
    os.mkfifo(tmp_path / "set" / "2.fifo")
    with pytest.raises(DataError, match=r"3\.png is a FIFO"):
        loaded(tmp_path / "set")
    (tmp_path / "set" / "3.png").unlink()
    with socket.socket(socket.AF_UNIX) as unix:
        monkeypatch.chdir(tmp_path / "set")  # the names of sockets are short
        unix.bind("4.png")
        with pytest.raises(DataError, match=r"4\.png is a socket"):
            loaded(tmp_path / "set")
    (tmp_path / "set" / "4.png").unlink()
    os.mkfifo(tmp_path / "set" / "x.parquet")
    with pytest.raises(DataError, match=r"x\.parquet is a FIFO"):
        loaded(tmp_path / "set")
    np.save(tmp_path / "x.npy", np.zeros((9, 4, 4), np.uint8))
    for field in ("vectors", "captions", "maps"):
        os.mkfifo(tmp_path / field)
        with pytest.raises(ValueError, match="is a FIFO"):
            load_beside(tmp_path / "x.npy", field, tmp_path / field)
    with pytest.raises(DataError, match="not a regular file"):
        loaded(tmp_path / "x.npy", labels=tmp_path / "maps")
    os.mkfifo(tmp_path / "x_labels.npy")
    assert loaded(tmp_path / "x.npy").train.labels is None
    for device in ("/dev/zero", "/dev/null", "/dev/tty"):
        if Path(device).exists():
            (tmp_path / "device.png").symlink_to(device)
            with pytest.raises(ValueError, match="a device, not a regular file"):
                loaded(tmp_path / "device.png")
            (tmp_path / "device.png").unlink()
    assert "not a regular file" in fails(["data", str(tmp_path / "source.png")], capsys)


# --- formats ---


EPS = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 9 9
%%EndComments
(MARKER) (w) file closefile
showpage
"""


@pytest.mark.parametrize("name", ["photo.png", "photo.jpg", "photo.tga", "photo.webp", "photo.gif"])
def test_postscript_reaches_no_program(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "it-ran"
    programs = tmp_path / "bin"
    programs.mkdir()
    for program in ("gs", "gswin32c", "gswin64c", "convert", "djpeg"):
        (programs / program).write_text(f"#!/bin/sh\ntouch {marker}\n")
        (programs / program).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    path = tmp_path / "set" / name
    path.parent.mkdir()
    path.write_bytes(EPS)
    for read in (read_image, loaded, lambda p: loaded(p.parent)):
        with pytest.raises(ValueError, match="cannot be read as a picture"):
            read(path)
    assert not marker.exists()
    with pytest.raises(ImageError):
        read_image(io.BytesIO(EPS))


@pytest.mark.parametrize("kind", ["ICO", "ICNS", "SGI", "XBM", "SPIDER", "PDF"])
def test_a_picture_is_of_a_listed_format(kind: str, tmp_path: Path) -> None:
    mode = {"XBM": "1", "SPIDER": "F"}.get(kind, "RGB")
    Image.new(mode, (32, 32)).save(tmp_path / "x.bin", kind)
    os.replace(tmp_path / "x.bin", tmp_path / "x.png")
    with pytest.raises(ImageError, match="cannot be read as a picture"):
        read_image(tmp_path / "x.png")


def png(width: int, height: int, colour: int = 0, depth: int = 8) -> bytes:
    """A PNG of zeros, which is small however large the picture is."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    row = 1 + width * depth * {0: 1, 2: 3, 3: 1, 6: 4}[colour] // 8
    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(row)) for _ in range(min(height, 64))) + packer.flush()
    palette = chunk(b"PLTE", bytes(768)) if colour == 3 else b""
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + palette + chunk(b"IDAT", rows) + chunk(
        b"IEND", b""
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("colour", [0, 2, 3, 6])
@pytest.mark.parametrize(
    "size", [(8193, 8192), (2**26 + 1, 1), (1, 2**26 + 1), (30000, 30000), (2**31 - 1, 2**31 - 1)]
)
def test_a_picture_has_a_limit_of_pixels(
    size: tuple[int, int], colour: int, tmp_path: Path
) -> None:
    assert size[0] * size[1] > MOST_PIXELS
    width, height = size
    file = io.BytesIO(png(8, 8, colour))
    data = file.getvalue().replace(struct.pack(">II", 8, 8), struct.pack(">II", width, height))
    head = data[12:29]
    data = data[:29] + struct.pack(">I", zlib.crc32(head)) + data[33:]
    (tmp_path / "bomb.png").write_bytes(data)
    for read in (read_image, loaded, lambda p: loaded(p.parent, size=8)):
        with pytest.raises(ValueError, match="pixels"):
            read(tmp_path / "bomb.png")


def test_large_pictures_are_decoded_as_small_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    x = generator.integers(0, 256, (37, 53, 4), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(x).save(file, "PNG")
    whole = [read_image(io.BytesIO(file.getvalue()), channels=c) for c in (1, 3, 4)]
    monkeypatch.setattr("nextpixel.data.decoding._BLOCK_PIXELS", 100)
    monkeypatch.setattr("nextpixel.data.reading._LARGE_PIXELS", 10)
    with taking_turns(11), taking_turns(11):  # one thread may hold its turn twice
        pass
    for channels, expected in zip((1, 3, 4), whole, strict=True):
        found = read_image(io.BytesIO(file.getvalue()), channels=channels)
        np.testing.assert_array_equal(found, expected)


def test_arrays_are_unpacked_when_asked_for(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, shape in (
            ("train_images", (20, 256, 256)),
            ("bomb", (2**26,)),
            ("train_vectors", (20, 2)),
        ):
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, np.zeros(shape, np.uint8))
        archive.writestr("evil.npy", b"\x93NUMPY broken")
        archive.writestr("../../outside.npy", b"x")
    cache = tmp_path / "cache" / "inner"
    data = loaded(tmp_path / "x.npz", memory_bytes=2**20, cache_folder=cache)
    assert np.asarray(data.train.images).shape[1:] == (1, 256, 256)
    assert data.train.vectors is not None and data.train.vectors.shape[1] == 2
    assert 2**20 < sum(path.stat().st_size for path in cache.rglob("*")) < 2**21
    assert sorted(path.name for path in tmp_path.rglob("*.npy")) == sorted(
        path.name for path in cache.iterdir()
    )


@pytest.mark.parametrize("kind", ["object", "pickle", "fake"])
def test_no_array_is_unpickled(kind: str, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "it-ran",)

    array = np.array([[[Evil()]]], dtype=object)
    for suffix, write in (("npy", np.save), ("npz", np.savez)):
        path = tmp_path / f"x.{suffix}"
        if kind == "object":
            write(path, array, allow_pickle=True)
        else:
            path.write_bytes(array.dumps() if kind == "pickle" else b"\x93NUMPY" + array.dumps())
        with pytest.raises(DataError, match="cannot be read"):
            loaded(path)
        np.save(tmp_path / "good.npy", np.zeros((9, 4, 4), np.uint8))
        if suffix == "npy":
            for field in ("vectors", "maps", "labels"):
                with pytest.raises(DataError):
                    load_beside(tmp_path / "good.npy", field, path)
    assert not (tmp_path / "it-ran").exists()


# --- terminal ---


EVIL = (
    "\x1b]0;title\x07 \x1b[8mhidden\x1b[0m \x9b31m \u202ertl \r over \x00 \u2028 \udcff"
    " [red]x[/red]"
)


def test_printable() -> None:
    assert terminal.printable("plain ×é中") == "plain ×é中"
    assert terminal.printable("a\nb\tc") == r"a\x0ab\x09c"
    assert terminal.printable("a\nb\tc\r", lines=True) == "a\nb\\x09c\\x0d"
    assert terminal.printable("\x1b\x9b\u202e\udcff\U000e0001") == r"\x1b\x9b\u202e\udcff\U000e0001"


def test_everything_printed_is_shown(capsys: Any) -> None:
    with terminal.shown():
        print(EVIL)
        print(EVIL, file=sys.stderr)
        terminal.console(width=400).print(EVIL)
        terminal.console(width=400, stderr=True).print(EVIL)
    out, err = capsys.readouterr()
    for text in (out, err):
        assert all(c.isprintable() or c == "\n" for c in text)
        assert text.count(r"\x1b]0;title") == 2 and text.count("[red]x") == 2


def test_a_terminal_gets_colours_of_ours_alone() -> None:
    from rich.table import Table

    file = io.StringIO()
    console = terminal._Console(file=file, force_terminal=True, width=400, markup=False)
    grid = Table("[b]head[/b]" + EVIL)
    grid.add_row(EVIL, style="bold")
    console.print(grid)
    assert "\x1b[1m" in file.getvalue()
    for evil in ("\x1b]", "\x1b[8m", "\x9b", "\x07", "\r", "\u202e", "\udcff"):
        assert evil not in file.getvalue()


def test_names_of_classes_and_files_are_shown(tmp_path: Path, capsys: Any) -> None:
    evil = "\x1b]0;t\x07\x1b[8mcat\nnext rm -rf"
    for k in range(10):
        pictured(tmp_path / "set" / evil / f"{k}.png", k)
    main(["data", str(tmp_path / "set")])
    out = capsys.readouterr().out
    assert r"\x1b]0;t\x07\x1b[8mcat\x0anext rm -rf 8" in out and "\x1b" not in out
    (tmp_path / "set" / evil / "broken\x1b[8m.png").write_bytes(b"x")
    said = fails(["data", str(tmp_path / "set")], capsys)
    assert r"broken\x1b[8m.png" in said and "\x1b" not in said
    recipe = tmp_path / "r.toml"
    recipe.write_text('"a\\u001b[31m" = 1\nsource = "digits"\n')
    assert "\x1b" not in fails(["train", "--recipe", str(recipe)], capsys)
    assert "\x1b" not in fails(["train", "--recipe", str(tmp_path / "\x1b[31m")], capsys)
    assert "\x1b" not in fails(["sample", "\x1b[31m"], capsys)


def test_suggested_commands_are_quoted(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = "a; touch it-ran $(touch it-ran)"
    for k in range(16):
        pictured(tmp_path / name / str(k % 4) / f"{k}.png", k)
    small = ["--steps", "1", "--classes", "2", "--each", "2", "--features", "4"]
    main(["embed", name, "--out", "e $x.safetensors", *small])
    expected = f"nextpixel train '{name}' --embedding 'e $x.safetensors'"
    assert expected in capsys.readouterr().out


# --- what is deleted ---


def test_the_demo_removes_only_its_own_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stop(Exception):
        pass

    def stop(*_: Any, **__: Any) -> None:
        raise Stop

    monkeypatch.setattr("nextpixel.demo.train_model", stop)
    precious = tmp_path / "run" / "thesis.txt"
    precious.parent.mkdir()
    precious.write_text("years of work")
    with pytest.raises(FileExistsError, match="not of an earlier demo"):
        demo(tmp_path)
    assert precious.exists()
    (tmp_path / "other").mkdir()
    with pytest.raises(Stop):
        demo(tmp_path / "other")
    with pytest.raises(Stop):
        demo(tmp_path / "other")  # its own
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "run").symlink_to(tmp_path / "other" / "run")
    with pytest.raises(FileExistsError):
        demo(tmp_path / "links")
    (tmp_path / "file").mkdir()
    (tmp_path / "file" / "run").write_text("x")
    with pytest.raises(FileExistsError):
        demo(tmp_path / "file")


# --- structure ---

# What nobody may call here, by the end of its dotted name, and where and why it is allowed.
FORBIDDEN = (
    "eval exec compile __import__ import_module spec_from_file_location run_path run_module"
    " load_source pickle.load pickle.loads Unpickler dill joblib.load torch.load os.system os.popen"
    " os.execv os.spawnv extractall unpack_archive path.insert site.addsitedir load_dataset"
    " from_pretrained hub.load urlopen urlretrieve requests.get create_connection fromfile"
    " yaml.load loadtxt genfromtxt"
).split()
MODULES = {"pickle", "dill", "cloudpickle", "joblib", "subprocess", "marshal", "shelve", "code",
           "urllib", "requests", "http", "socket", "ctypes", "runpy", "pty", "imp"}  # fmt: skip
ALLOWED = {
    ("__init__", "import_module"): "the module is a value of a literal table",
    ("data.storage", "import_module"): "callers name the module by a literal; checked below",
    ("data.text_encoders", "import_module"): "what the user gives as --text-encoder",
    ("data.hub", "load_dataset"): "hf:NAME, which the user asks for",
    (
        "training.allocator",
        "ctypes",
    ): "sets one number of the C library's; no name comes from data",
}


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def suspicious(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.partition(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom):
            if (node.module or "").partition(".")[0] in MODULES:
                yield str(node.module)
            yield from (
                a.name
                for a in node.names
                if any(f".{node.module}.{a.name}".endswith(f".{bad}") for bad in FORBIDDEN)
                and a.name != "import_module"
            )
        elif isinstance(node, ast.Call):
            name = dotted(node.func)
            for bad in FORBIDDEN:
                # `model.eval()` and `re.compile` are other things than the built-in functions.
                builtin = bad in ("eval", "exec", "compile")
                if name == bad or (not builtin and name.endswith(f".{bad}")):
                    yield bad
            for keyword in node.keywords:
                true = not (isinstance(keyword.value, ast.Constant) and not keyword.value.value)
                if keyword.arg in ("shell", "allow_pickle", "trust_remote_code") and true:
                    yield f"{keyword.arg}=True"
            arguments = {keyword.arg for keyword in node.keywords}
            if name == "Image.open" and "formats" not in arguments:
                yield "Image.open without formats"
            if (
                name == "np.load"
                and "allow_pickle" not in arguments
                and "mmap_mode" not in arguments
            ):
                yield "np.load without allow_pickle=False"
            if name == "optional_package" and not isinstance(node.args[0], ast.Constant):
                yield "optional_package of a name that is not literal"


def test_the_library_calls_nothing_that_runs_what_it_reads() -> None:
    found = set()
    for path in ROOT.rglob("*.py"):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        found |= {(name, bad) for bad in suspicious(ast.parse(path.read_text(encoding="utf-8")))}
    assert found <= ALLOWED.keys(), found - ALLOWED.keys()
    assert ALLOWED.keys() <= found, "these are no longer needed"


@pytest.mark.parametrize(
    "code",
    ["eval(x)", "exec(x)", "__import__(x)", "importlib.import_module(x)", "import pickle",
     "from pickle import loads", "torch.load(x)", "np.load(x)", "np.load(x, allow_pickle=True)",
     "np.load(x, allow_pickle=flag)", "f(shell=True)", "archive.extractall()", "import subprocess",
     "sys.path.insert(0, x)", "os.system(x)", "Image.open(x)", "tarfile.open(x).extractall()",
     "from os import system", "datasets.load_dataset(x)", "import urllib.request"],
)  # fmt: skip
def test_the_structural_test_sees(code: str) -> None:
    assert list(suspicious(ast.parse(code)))


@pytest.mark.parametrize(
    "code", ["model.eval()", "re.compile(x)", "np.load(x, allow_pickle=False)"]
)
def test_the_structural_test_does_not_see(code: str) -> None:
    assert not list(suspicious(ast.parse(code)))
