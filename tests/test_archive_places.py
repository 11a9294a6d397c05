"""Where archives and pictures are written: nothing half-written, nothing replaced, one sentence."""

import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nextpixel import GatedPixelCNN
from nextpixel.checkpoint import save
from nextpixel.cli.app import main
from nextpixel.codec.archive import compress_files
from nextpixel.codec.errors import CodecError
from nextpixel.codec.restore import decompress_files, has_model, list_archive
from nextpixel.errors import UsageError
from nextpixel.files.locking import one_process
from nextpixel.files.replacing import check_writable
from nextpixel.inference.archives import compress_pictures
from nextpixel.models.core import ImageModel
from nextpixel.settings.codec import CompressConfig, DecompressConfig

REPLACE = CompressConfig(overwrite=True)


@pytest.fixture(scope="module")
def model() -> ImageModel:
    torch.manual_seed(0)
    return GatedPixelCNN(levels=256, features=4, layers=1, kernel_size=3).eval()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures of grey noise."""
    place = tmp_path / "in"
    place.mkdir()
    for k in range(3):
        values = np.random.default_rng(k).integers(0, 256, (40, 50), dtype=np.uint8)
        Image.fromarray(values).save(place / f"{k}.png")
    return place


@pytest.fixture
def largest_file() -> Iterator[Callable[[int], None]]:
    """Bounds the files of this process; the bound is gone after the test."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def everything(place: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(place)): path.read_bytes() if path.is_file() else None
        for path in place.rglob("*")
    }


def fails(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What a command says, in one line, when it refuses."""
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    said = capsys.readouterr().err.strip()
    assert stop.value.code == 2 and "\n" not in said, said
    return said


def test_without_space_nothing_is_half_written(
    model: ImageModel,
    folder: Path,
    tmp_path: Path,
    largest_file: Callable[[int], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    checkpoint, archive = tmp_path / "m.safetensors", tmp_path / "a.npx"
    save(model, checkpoint)
    compress_files(model, [folder], archive)
    command = ["--model", str(checkpoint), "--overwrite"]
    before = everything(tmp_path)
    largest_file(3000)
    for out in (archive, tmp_path / "new.npx"):
        said = fails(["compress", str(folder), *command, "-o", str(out)], capsys)
        assert str(out) in said and "larger than files may be" in said
    assert everything(tmp_path) == before
    largest_file(1000)
    fails(["decompress", str(archive), "-o", str(tmp_path / "out"), *command[:2]], capsys)
    assert everything(tmp_path) == before  # the folder, too, as nothing was restored


def test_a_picture_that_does_not_fit_leaves_the_others_whole(
    model: ImageModel, folder: Path, tmp_path: Path, largest_file: Callable[[int], None]
) -> None:
    (folder / "z.jpg").write_bytes(bytes(9000))
    compress_files(model, [folder], tmp_path / "a.npx", CompressConfig(together=1))
    largest_file(5000)
    with pytest.raises(OSError, match=r"z\.jpg"):
        decompress_files(model, tmp_path / "a.npx", tmp_path / "out")
    found = everything(tmp_path / "out")
    assert found.keys() == {"0.png", "1.png", "2.png"}
    assert found == {name: (folder / name).read_bytes() for name in found}


def test_places_where_nothing_can_be_written(
    model: ImageModel, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = tmp_path / "m.safetensors"
    save(model, checkpoint)
    (tmp_path / "file").write_bytes(b"mine")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    before = everything(tmp_path)
    for out, said in (
        ("/proc/a.npx", "/proc"),  # a folder in which not even root may write
        (tmp_path / "none" / "a.npx", "does not exist"),
        (tmp_path / "file" / "a.npx", "file"),
        (folder, "is a folder; give the name of a file"),
        (tmp_path / "dangling", "exists"),
    ):
        command = ["compress", str(folder), "--model", str(checkpoint), "-o", str(out)]
        assert said in fails(command, capsys)
    with pytest.raises(ValueError, match="folder"):
        compress_files(model, [folder], folder, REPLACE)
    for place in (Path("/proc/a.npx"), tmp_path / "none" / "a.npx", folder):
        with pytest.raises((OSError, ValueError)):
            check_writable(place)
    check_writable(tmp_path / "file")
    assert everything(tmp_path) == before
    compress_files(model, [folder], tmp_path / "a.npx")
    for out in ("/proc/out", str(tmp_path / "file")):
        fails(
            ["decompress", str(tmp_path / "a.npx"), "-o", out, "--model", str(checkpoint)], capsys
        )


def test_a_link_is_replaced_and_what_it_leads_to_stays(
    model: ImageModel, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "target").write_bytes(b"mine")
    link = tmp_path / "a.npx"
    link.symlink_to(tmp_path / "target")
    with pytest.raises(CodecError, match="exists"):
        compress_files(model, [folder], link)
    compress_files(model, [folder], link, REPLACE)
    assert (tmp_path / "target").read_bytes() == b"mine" and not link.is_symlink()
    for place in ("/dev/null", tmp_path):  # /dev/stdout is such a link
        (link := tmp_path / f"{len(str(place))}.npx").symlink_to(place)
        with pytest.raises(UsageError, match="is a (device|folder), not a regular file"):
            compress_files(model, [folder], link, REPLACE)
        assert link.is_symlink()


def test_what_is_read_is_not_replaced(model: ImageModel, folder: Path, tmp_path: Path) -> None:
    before = everything(tmp_path)
    for sources in ([folder], [folder / "0.png"]):
        with pytest.raises(CodecError, match="itself read"):
            compress_files(model, sources, folder / "0.png", REPLACE)
    assert everything(tmp_path) == before
    archive = tmp_path / "0.png"
    compress_files(model, [folder], archive)
    with pytest.raises(CodecError, match="itself read"):
        decompress_files(model, archive, tmp_path, DecompressConfig(overwrite=True))
    assert everything(tmp_path) == before | {"0.png": archive.read_bytes()}


def test_what_appears_meanwhile_is_not_replaced(
    model: ImageModel, folder: Path, tmp_path: Path
) -> None:
    archive, out = tmp_path / "a.npx", tmp_path / "out"
    before = everything(tmp_path)
    with pytest.raises(CodecError, match=r"a\.npx exists"):
        compress_files(model, [folder], archive, progress=lambda *_: write(archive))
    assert everything(tmp_path) == before | {"a.npx": b"mine"}
    compress_files(model, [folder], archive, CompressConfig(overwrite=True, together=1))
    with pytest.raises(CodecError, match=r"2\.png exists"):
        decompress_files(model, archive, out, progress=lambda *_: write(out / "2.png"))
    assert everything(out).keys() == {"0.png", "2.png"} | {"1.png"}
    assert (out / "2.png").read_bytes() == b"mine"
    (out / "1.png").unlink()
    (out / "1.png").mkdir()
    with pytest.raises(CodecError, match=r"1\.png is a folder"):
        decompress_files(model, archive, out, DecompressConfig(overwrite=True))
    assert (out / "2.png").read_bytes() == b"mine"  # seen before anything is written


def write(path: Path) -> None:
    path.write_bytes(b"mine")


def test_one_process_writes_an_archive_and_removes_what_a_killed_one_left(
    model: ImageModel, folder: Path, tmp_path: Path
) -> None:
    save(model, checkpoint := tmp_path / "m.safetensors")
    archive, killed = tmp_path / "a.npx", ".nextpixel-4000000-1-x.tmp"
    for name in ("a.npx", "b.npx"):
        (tmp_path / f".{name}{killed}").mkdir()
    with one_process(archive), pytest.raises(UsageError, match="in use by process"):
        compress_pictures(checkpoint, [folder], archive)
    compress_pictures(checkpoint, [folder], archive)
    assert {p.name for p in tmp_path.glob(".*")} == {f".b.npx{killed}"}


def test_a_pipe_is_not_waited_for(model: ImageModel, folder: Path, tmp_path: Path) -> None:
    os.mkfifo(folder / "pipe.png")
    packed = compress_files(model, [folder], tmp_path / "a.npx")
    assert packed.left_out == [str(folder / "pipe.png")]
    with pytest.raises(CodecError, match="not a regular file"):
        compress_files(model, [folder / "pipe.png"], tmp_path / "b.npx")
    for read in (
        list_archive,
        has_model,
        lambda path: decompress_files(model, path, tmp_path / "x"),
    ):
        with pytest.raises(CodecError, match="is a FIFO, not a regular file; give an archive"):
            read(folder / "pipe.png")  # type: ignore[operator]


def test_pictures_that_are_not_in_the_archive_are_named(
    model: ImageModel, folder: Path, tmp_path: Path
) -> None:
    (folder / "real").mkdir()
    (folder / "real" / "3.png").write_bytes((folder / "0.png").read_bytes())
    (folder / "again").symlink_to(folder / "real")  # its pictures are those of again, once
    for name in (".hidden.png", ".deep/4.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"a picture")
    (folder / "same.png").symlink_to(folder / "0.png")
    (folder / "gone.png").symlink_to(folder / "nowhere")
    (folder / ".state").touch()
    packed = compress_files(model, [folder], tmp_path / "a.npx")
    assert packed.left_out == [str(folder / "gone.png")]
    found = {str(Path(path).relative_to(folder)) for path in packed.passed_over}
    assert found == {".hidden.png", ".deep/4.png", "same.png", "real/3.png"}
    assert {entry.name for entry in list_archive(tmp_path / "a.npx")} == {
        *("0.png", "1.png", "2.png", "again/3.png")
    }


def test_names_that_some_system_takes_for_one(
    model: ImageModel, folder: Path, tmp_path: Path
) -> None:
    archive = tmp_path / "a.npx"
    compress_files(model, [folder, folder / "0.png", folder / "0.png"], archive)  # once
    assert len(decompress_files(model, archive, tmp_path / "out")) == 3
    for name, said in (("A.PNG", "same name"), ("aux.png", "not safe"), ("nul .png", "not safe")):
        (folder / "a.png").write_bytes((folder / "0.png").read_bytes())
        (folder / name).write_bytes((folder / "1.png").read_bytes())
        with pytest.raises(CodecError, match=said):
            compress_files(model, [folder], archive, REPLACE)
        (folder / name).unlink()
    assert len(decompress_files(model, archive, tmp_path / "again")) == 3
