"""What a stranger's file, folder or account may do to caches, outputs and what is published.

See docs/guides/security.md; `test_security.py` has what reads, runs and connects.
"""

import io
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loading import loaded
from PIL import Image
from test_security import fails, pictured

from nextpixel import GatedPixelCNN, Preparation, Source, load, load_data, save
from nextpixel.analysis.condition_worth import condition_worth
from nextpixel.analysis.plots import training_curve
from nextpixel.checkpoint import CheckpointError, read_card
from nextpixel.cli.app import main
from nextpixel.conditions.kinds import ClassCondition
from nextpixel.data import kept
from nextpixel.data.annotation_files import read_npy
from nextpixel.data.errors import DataError
from nextpixel.data.image_files import write_gif, write_image
from nextpixel.data.image_output import write_images
from nextpixel.data.statistics import histogram_bits_per_dim
from nextpixel.errors import UsageError
from nextpixel.files.card import Ancestor, ModelCard, Training
from nextpixel.files.replacing import check_links, replace_file
from nextpixel.inference.publishing import publish

posix = pytest.mark.skipif(os.name != "posix", reason="owners, permissions and links of POSIX")
root = pytest.mark.skipif(
    os.name != "posix" or os.getuid() != 0, reason="only root can make another user's files"
)
SMALL: dict[str, Any] = {"levels": 4, "features": 4, "layers": 1, "kernel_size": 3}
NOBODY = 65534
WHOLE: dict[str, Any] = {"validation": 0, "test": 0}


def mode(path: Path) -> int:
    return path.lstat().st_mode & 0o777


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of ten pictures, and a umask that lets everyone read."""
    before = os.umask(0)
    for k in range(10):
        pictured(tmp_path / "pictures" / f"{k}.png", k)
    os.umask(before)
    return tmp_path / "pictures"


def values(source: Path, cache: Path, **options: Any) -> list[int]:
    data = loaded(source, cache_folder=cache, **WHOLE, **options)
    return sorted(int(v) for v in np.asarray(data.train.images)[:, 0, 0, 0])


# --- caches ---


@posix
@pytest.mark.parametrize("umask", [0o000, 0o002, 0o022, 0o077])
def test_what_is_kept_is_private(umask: int, pictures: Path, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        assert values(pictures, tmp_path / "new" / "cache") == list(range(10))
    finally:
        os.umask(before)
    assert mode(tmp_path / "new" / "cache") == 0o700
    assert {mode(path) for path in (tmp_path / "new" / "cache").iterdir()} == {0o600}


@posix
@pytest.mark.parametrize("shared", [0o777, 0o1777, 0o775, 0o757])
def test_a_shared_folder_has_a_private_part(shared: int, pictures: Path, tmp_path: Path) -> None:
    cache = tmp_path / "shared"
    cache.mkdir()
    cache.chmod(shared)
    for _ in range(2):
        assert values(pictures, cache) == list(range(10))
    (part,) = cache.iterdir()
    assert mode(part) == 0o700 and mode(cache) == shared & 0o777
    assert {mode(path) for path in part.iterdir()} == {0o600}


@posix
@pytest.mark.parametrize("planted", ["link", "file", "open", "dangling"])
def test_nobody_can_make_the_private_part_before(
    planted: str, pictures: Path, tmp_path: Path
) -> None:
    cache, elsewhere = tmp_path / "shared", tmp_path / "elsewhere"
    cache.mkdir()
    cache.chmod(0o1777)
    elsewhere.mkdir()
    part = cache / f"nextpixel-{os.getuid()}"
    if planted == "link":
        part.symlink_to(elsewhere)
    elif planted == "dangling":
        part.symlink_to(tmp_path / "absent")
    elif planted == "file":
        part.write_text("x")
    else:
        part.mkdir()
        part.chmod(0o755)
    with pytest.raises(DataError, match="not a private folder of yours"):
        values(pictures, cache)
    assert not list(elsewhere.iterdir()) and not (tmp_path / "absent").exists()


@root
@pytest.mark.parametrize("owned", ["folder", "part", "file"])
def test_nothing_of_another_user_is_believed(owned: str, pictures: Path, tmp_path: Path) -> None:
    cache = tmp_path / "shared"
    cache.mkdir()
    values(pictures, cache)
    (file,) = cache.iterdir()
    if owned == "file":  # a hard link, or a file moved in while the folder was open
        poison(file)
        os.chown(file, NOBODY, NOBODY)
        assert values(pictures, cache) == list(range(10))
        return
    os.chown(cache, NOBODY, NOBODY)
    if owned == "part":
        (cache / "nextpixel-0").mkdir(mode=0o700)
        os.chown(cache / "nextpixel-0", NOBODY, NOBODY)
        with pytest.raises(DataError, match="not a private folder of yours"):
            values(pictures, cache)
    else:
        poison(file)
        assert values(pictures, cache) == list(range(10))
        assert mode(cache / "nextpixel-0") == 0o700


def poison(file: Path) -> None:
    """The array of a file becomes one of 99s."""
    data = bytearray(file.read_bytes())
    data[128:] = b"\x63" * (len(data) - 128)
    file.write_bytes(data)


@posix
@pytest.mark.parametrize("bits", [0o622, 0o620, 0o602, 0o666, 0o777])
def test_a_file_that_others_may_write_to_is_not_believed(
    bits: int, pictures: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    values(pictures, cache)
    (file,) = cache.iterdir()
    poison(file)
    file.chmod(bits)
    assert values(pictures, cache) == list(range(10)) and mode(file) == 0o600


DAMAGE = {
    "empty": lambda data: b"",
    "cut": lambda data: data[:-1],
    "longer": lambda data: data + b"x",
    "head": lambda data: b"\x93NUMPY\x09\x00" + data[8:],
    "size": lambda data: data.replace(b"160", b"161"),
    "type": lambda data: data.replace(b"|u1", b"|i1"),
    "object": lambda data: data.replace(b"'|u1'", b"'|O8'"),
    "shape": lambda data: data.replace(b"(160,)", b"(16,1)"),
    "code": lambda data: data.replace(b"(160,), ", b"open(1), "),
    "noise": lambda data: os.urandom(len(data)),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_file_is_made_anew(how: str, pictures: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    values(pictures, cache)
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    file.write_bytes(DAMAGE[how](whole))
    assert values(pictures, cache) == list(range(10)) and file.read_bytes() == whole


@posix
@pytest.mark.parametrize("kind", ["link", "dangling", "fifo", "hard"])
def test_what_is_planted_in_a_cache_is_replaced(kind: str, pictures: Path, tmp_path: Path) -> None:
    cache, precious = tmp_path / "cache", tmp_path / "precious"
    values(pictures, cache)
    (file,) = cache.iterdir()
    precious.write_bytes(b"years of work")
    file.unlink()
    if kind == "fifo":
        os.mkfifo(file)
    elif kind == "hard":
        os.link(precious, file)
    else:
        file.symlink_to(precious if kind == "link" else tmp_path / "absent")
    assert values(pictures, cache) == list(range(10))
    assert precious.read_bytes() == b"years of work" and not (tmp_path / "absent").exists()
    assert file.is_file() and not file.is_symlink()


@posix
def test_the_users_own_cache_is_closed(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    (tmp_path / "xdg" / "nextpixel").mkdir(parents=True)
    (tmp_path / "xdg" / "nextpixel").chmod(0o775)  # as version 0.1.0 made it
    load_data(pictures, Preparation(size=4), memory_bytes=0)
    assert mode(tmp_path / "xdg" / "nextpixel") == 0o700
    assert len(kept.kept_files()) == 1


def archive(path: Path, fill: int = 0, size: int = 2**21) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        with file.open("train_images.npy", "w") as member:
            images = np.full((size // 2**10, 32, 32), fill, np.uint8)
            np.lib.format.write_array(member, images)
    return path


def test_an_archive_is_unpacked_once(tmp_path: Path) -> None:
    path, cache = archive(tmp_path / "x.npz", 7), tmp_path / "cache"
    options: dict[str, Any] = {"memory_bytes": 2**20, "cache_folder": cache, **WHOLE}
    for second in range(3):
        os.utime(path, (second, second))
        assert int(np.asarray(loaded(path, **options).train.images)[0].max()) == 7
    loaded(path.rename(tmp_path / "y.npz"), **options)
    assert len(list(cache.iterdir())) == 1
    archive(path, 8)
    assert int(np.asarray(loaded(path, **options).train.images)[0].max()) == 8


def test_a_cache_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "cache"
    options: dict[str, Any] = {"memory_bytes": 2**20, "cache_folder": cache, **WHOLE}
    bomb = archive(tmp_path / "bomb.npz", size=2**26)
    assert bomb.stat().st_size < 2**17
    for limit in ("0.05", "0"):
        monkeypatch.setenv(kept.LIMIT, limit)
        with pytest.raises(DataError, match=r"takes 0.1 GB in the cache .* if you trust the file"):
            loaded(bomb, **options)
        assert not list(cache.rglob("*"))
    monkeypatch.setenv(kept.LIMIT, "0.007")  # three archives of 2.1 MB
    (cache / "thesis.npy").write_bytes(b"years of work")
    for fill in range(5):
        loaded(archive(tmp_path / f"{fill}.npz", fill), **options)
        for age, file in enumerate(reversed(kept.kept_files(cache))):
            os.utime(file.path, (10**9 - age, 10**9 - age))
        assert len(kept.kept_files(cache)) == min(fill + 1, 3)
    assert (cache / "thesis.npy").exists()
    for wrong in ("much", "-1", "nan", "inf", "1e99", ""):
        monkeypatch.setenv(kept.LIMIT, wrong)
        if wrong:
            with pytest.raises(DataError, match="must be a number of gigabytes"):
                kept.most_bytes()
        else:
            assert kept.most_bytes() == 32 * 10**9


def test_large_files_are_announced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setattr(kept, "_SAID_FROM", 2**20)
    path = archive(tmp_path / "x.npz")
    for _ in range(2):
        loaded(path, memory_bytes=0, cache_folder=tmp_path / "cache")
    (said,) = caplog.messages
    assert "train_images.npy of" in said and str(tmp_path / "cache") in said and "GB" in said


def test_the_cache_is_listed_and_cleared(
    pictures: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    main(["cache"])
    assert "kept 0 files" in capsys.readouterr().out
    loaded(archive(tmp_path / "x.npz"), memory_bytes=2**20)
    folder = kept.cache_folder()
    others = [folder / "thesis.npy", folder / ("0" * 31 + ".npy"), folder / "sub" / "x"]
    others[-1].parent.mkdir()
    for path in others:
        path.write_text("years of work")
    (folder / ("1" * 32 + ".npy")).mkdir()
    main(["cache"])
    assert re.search(
        r"kept 1 file, 0\.002 GB of at most 32 GB, in .*nextpixel", capsys.readouterr().out
    )
    main(["cache", "--json"])
    said = json.loads(capsys.readouterr().out)
    assert said["bytes"] == said["files"][0]["bytes"] > 2**21
    main(["cache", "--clear"])
    assert "removed 1 file," in capsys.readouterr().out
    assert not kept.kept_files() and all(path.exists() for path in others)


# --- outputs ---

GREY = np.zeros((2, 1, 4, 4), np.uint8)
WRITERS: dict[str, Any] = {
    "x.png": lambda path: write_image(path, GREY[0]),
    "x.gif": lambda path: write_gif(path, GREY),
    "x.npy": lambda path: write_images(path, GREY, 4),
    "grid.png": lambda path: write_images(path, GREY, 4),
    "curve.svg": lambda path: training_curve([{"step": 1, "train_bits_per_dim": 1.0}], path),
    "model.safetensors": lambda path: save(GatedPixelCNN(**SMALL), path),
}


@posix
@pytest.mark.parametrize("name", WRITERS)
def test_outputs_do_not_go_through_links(name: str, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("years of work")
    out = tmp_path / "out" / name
    out.parent.mkdir()
    for target in (precious, tmp_path / "absent"):
        out.unlink(missing_ok=True)
        out.symlink_to(target)
        WRITERS[name](out)
        assert out.is_file() and not out.is_symlink()
    assert precious.read_text() == "years of work" and not (tmp_path / "absent").exists()
    out.unlink()
    os.link(precious, out)
    WRITERS[name](out)
    assert precious.read_text() == "years of work"
    out.chmod(0o600)
    WRITERS[name](out)
    assert mode(out) == 0o600
    out.unlink()
    os.mkfifo(out)
    with pytest.raises(UsageError, match="not a regular file"):
        WRITERS[name](out)
    assert [path.name for path in out.parent.iterdir()] == [name]


@pytest.mark.parametrize("name", WRITERS)
def test_an_output_is_whole_or_as_before(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / name
    out.write_text("before")

    def broken(*_: Any) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises((OSError, ValueError), match="the disk is full"):
        WRITERS[name](out)
    assert out.read_text() == "before" and [path.name for path in tmp_path.iterdir()] == [name]


@posix
def test_a_folder_of_pictures_is_written_file_by_file(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("years of work")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "1.png").symlink_to(precious)
    with pytest.raises(UsageError, match=r"holds other things, such as '1\.png'"):
        write_images(tmp_path / "out", GREY, 4)
    assert precious.read_text() == "years of work"
    (tmp_path / "out" / "1.png").unlink()
    for _ in range(2):  # its own files it may replace
        write_images(tmp_path / "out", GREY, 4)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0.png", "1.png"]
    Image.new("L", (2, 2)).save(tmp_path / "out" / "0.png")  # somebody's, of the same name
    with pytest.raises(UsageError, match=r"holds other things, such as '0\.png'"):
        write_images(tmp_path / "out", GREY, 4)


@root
@pytest.mark.parametrize("name", WRITERS)
def test_links_of_others_are_not_followed(name: str, tmp_path: Path) -> None:
    (tmp_path / "private" / "inner").mkdir(parents=True)
    link = tmp_path / "out"
    link.symlink_to(tmp_path / "private")
    WRITERS[name](link / name)  # the user's own
    os.chown(link, NOBODY, NOBODY, follow_symlinks=False)
    before = list((tmp_path / "private").rglob("*"))
    for out in (link / name, link / "inner" / name):
        # Root's own links are the system's, and root is this test's user.
        with pytest.raises(UsageError, match="a link that another user made"):
            WRITERS[name](out)
    with pytest.raises(UsageError, match="a link that another user made"):
        check_links(link)
    assert list((tmp_path / "private").rglob("*")) == before


def test_a_failed_replacement_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyError), replace_file(tmp_path / "x", to_disk=False) as place:
        place.write_text("half")
        raise KeyError
    assert not list(tmp_path.iterdir())


# --- models ---


@pytest.mark.parametrize("kind", ["folder", "file", "run", "link"])
def test_nothing_hides_a_bundled_model(
    kind: str, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    parameters = sum(p.numel() for p in load("mnist").parameters())
    place = Path("mnist")
    if kind == "link":
        place.symlink_to("absent")
    elif kind == "file":
        save(GatedPixelCNN(**SMALL), place)
    else:
        place.mkdir()
        if kind == "run":
            save(GatedPixelCNN(**SMALL), place / "best.safetensors")
    assert sum(p.numel() for p in load("nextpixel:mnist").parameters()) == parameters
    for ask in (load, read_card):
        with pytest.raises(CheckpointError, match=r"give \./mnist or nextpixel:mnist"):
            ask("mnist")
    assert "./mnist or nextpixel:mnist" in fails(["info", "mnist"], capsys)
    if kind in ("file", "run"):
        assert load("./mnist").settings.features == 4
        assert load(Path("mnist")).settings.features == 4


@pytest.mark.parametrize("name", ["nextpixel:", "nextpixel:../x", "nextpixel:nothing"])
def test_the_name_space_has_bundled_models_alone(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save(GatedPixelCNN(**SMALL), tmp_path / "nextpixel:nothing")
    with pytest.raises(CheckpointError, match="not a model that comes with nextpixel"):
        load(name)


# --- publishing ---

SECRETS = ("Mustermann", "clinic", "secret", "diagnosis", "lesion", "helper:f")


@pytest.fixture
def private(tmp_path: Path) -> Path:
    card = ModelCard(
        source=Source("/home/secret/clinic.npz", captions="diagnosis.csv", maps="secret-maps"),
        preparation=Preparation(levels=4, text_encoder=("lesion", "secret")),
        classes=("Erika Mustermann", "Max Mustermann"),
        shape=(8, 8),
        training=Training(step=9, seconds=77.5, valid_bits_per_dim=1.0),
        held_out=("Otto Mustermann",),
        verification={"known": {"Mustermann": 1.0}},
        notes={"about": "made in the clinic", "data": None, "by": {"name": "secret"}},
    )
    path = tmp_path / "private.safetensors"
    model = GatedPixelCNN(**SMALL, condition=ClassCondition(2))
    more = {
        "notes": {"about": "made in the clinic"},
        "ancestors": (Ancestor(name="erika-mustermann.safetensors", step=7),),
        "digest": {"train": {"images": 0, "fingerprints": ""}},
    }
    save(model, path, card=ModelCard(**{**vars(card), **more}))
    return path


def test_a_published_copy_names_nobody(private: Path, tmp_path: Path, capsys: Any) -> None:
    assert any(secret.encode() in private.read_bytes() for secret in SECRETS)
    out = tmp_path / "clean.safetensors"
    main(["export", str(private), "-o", str(out)])
    said, data = capsys.readouterr().out, out.read_bytes()
    for secret in (*SECRETS, str(tmp_path)):
        assert secret.encode() not in data
    lost = "the names of 1 checkpoints that the training started from"
    for part in ("the source", "the names of 2 classes", "words", "1 notes", "held out", lost):
        assert re.search(f"dropped: .*{part}", said)
    for part in ("weights", "the number of its 2 classes", "the size", "training", "fingerprints"):
        assert re.search(f"kept: .*{part}", said)
    before, after = load(private), load(out)
    for name, value in before.state_dict().items():
        assert value.equal(after.state_dict()[name])
    card = read_card(out)
    assert card.classes == ("0", "1") and card.shape == (8, 8) and card.source is None
    assert isinstance(card.training, Training) and card.training.seconds is None
    main(["sample", str(out), "--class", "1", "--n", "2", "--out", str(tmp_path / "x.png")])


def test_what_is_asked_for_is_kept(private: Path, tmp_path: Path) -> None:
    kept_classes = publish(private, tmp_path / "a.safetensors", keep_classes=True).card
    assert kept_classes.classes == ("Erika Mustermann", "Max Mustermann")
    assert kept_classes.held_out and kept_classes.preparation is not None
    assert kept_classes.preparation.text_encoder is None
    kept_words = publish(private, tmp_path / "b.safetensors", keep_words=True).card
    assert kept_words.classes == ("0", "1") and kept_words.preparation is not None
    assert kept_words.preparation.text_encoder == ("lesion", "secret")
    assert not publish("nextpixel:mnist", tmp_path / "c.safetensors").card.notes


def test_an_export_is_a_checkpoint(private: Path, tmp_path: Path, capsys: Any) -> None:
    for name in ("x.png", "x", ".safetensors.zip"):
        assert "must end in .safetensors" in fails(
            ["export", str(private), "-o", str(tmp_path / name)], capsys
        )
    assert "does not exist" in fails(
        ["export", str(private), "-o", str(tmp_path / "no" / "x.safetensors")], capsys
    )


GPS = {1: "N", 2: (48.0, 8.0, 12.0), 3: "E", 4: (11.0, 34.0, 0.0)}


@pytest.mark.parametrize("out", ["x.png", "x.npy"])
def test_metadata_of_pictures_never_travels(out: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "SECRET-DESCRIPTION"
    exif[0x9286] = "SECRET-COMMENT"
    exif[0x8825] = GPS
    for k in range(10):
        picture = Image.fromarray(np.full((8, 8, 3), 20 * k, np.uint8))
        path = tmp_path / "photos" / f"{k}.jpg"
        path.parent.mkdir(exist_ok=True)
        picture.save(path, exif=exif, comment=b"SECRET-COMMENT", icc_profile=b"SECRET-PROFILE")
    assert b"SECRET" in path.read_bytes()
    model = GatedPixelCNN(**SMALL | {"features": 6}, channels=3)
    card = ModelCard(preparation=Preparation(levels=4, channels=3), shape=(8, 8))
    save(model, tmp_path / "m.safetensors", card=card)
    place = tmp_path / "out" / out
    place.parent.mkdir()
    data = ["--data", str(tmp_path / "photos"), "--out", str(place)]
    main(["complete", str(tmp_path / "m.safetensors"), "--n", "2", *data])
    written = [path for path in place.parent.rglob("*") if path.is_file()]
    assert written
    for path in written:
        assert b"SECRET" not in path.read_bytes()
        if path.suffix == ".png":
            with Image.open(path, formats=["PNG"]) as picture:
                assert not picture.getexif() and not picture.info


# --- bounds ---


@pytest.mark.parametrize("kind", ["npy", "npz", "names"])
def test_labels_count_no_more_classes_than_occur(kind: str, tmp_path: Path) -> None:
    images, labels = np.zeros((20, 4, 4), np.uint8), np.zeros(20, np.int32)
    path = tmp_path / ("x.npy" if kind == "npy" else "x.npz")

    def write(highest: int, names: int) -> Any:
        labels[3] = highest
        if kind == "npy":
            np.save(path, images)
            np.save(tmp_path / "x_labels.npy", labels)
        else:
            named = {"label_names": [str(k) for k in range(names)]} if kind == "names" else {}
            np.savez_compressed(path, train_images=images, train_labels=labels, **named)
        return loaded(path, **WHOLE)

    for highest in (1023, 1024, 2**16, 2**20 - 1, 10**9):
        if kind == "names" and highest > 1023:
            with pytest.raises(DataError, match="labels must lie in|name each class once"):
                write(highest, 2**17 if highest > 2**16 else 1024)
        else:
            assert len(write(highest, 1024).classes) == 2  # only classes that occur
    if kind == "names":
        assert write(5000, 6000).classes == ("0", "5000")
        np.savez(path, train_images=images, train_labels=labels * 0, label_names=["a", "a"])
        with pytest.raises(DataError, match="2, 1 of them different"):
            loaded(path)


@pytest.mark.parametrize("field", ["label_names", "train_captions", "train_labels"])
def test_items_that_take_no_bytes_are_refused(field: str, tmp_path: Path) -> None:
    """Such an array says how many items it has, and the file is as small as ever."""
    header = {"descr": "<U0", "fortran_order": False, "shape": (4, 10**11)}
    empty = io.BytesIO()
    np.lib.format.write_array_header_1_0(empty, header)
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        images = io.BytesIO()
        np.save(images, np.zeros((4, 2, 2), np.uint8))
        archive.writestr("train_images.npy", images.getvalue())
        archive.writestr(f"{field}.npy", empty.getvalue())
    with pytest.raises(DataError, match="take no bytes"):
        load_data(tmp_path / "x.npz")
    (tmp_path / "labels.npy").write_bytes(empty.getvalue())
    with pytest.raises(DataError, match=r"labels\.npy.*cannot be read"):
        read_npy(tmp_path / "labels.npy")


def test_many_images_may_have_many_classes(tmp_path: Path) -> None:
    labels = np.arange(3000)
    np.savez(tmp_path / "x.npz", train_images=np.zeros((3000, 2, 2), np.uint8), train_labels=labels)
    assert len(loaded(tmp_path / "x.npz").classes) == 3000


def test_very_many_classes_are_not_all_drawn_unasked(tmp_path: Path, capsys: Any) -> None:
    model = GatedPixelCNN(**SMALL, condition=ClassCondition(300_000))
    path = tmp_path / "m.safetensors"
    save(model, path, card=ModelCard(shape=(2, 2)))
    arguments = ["sample", str(path), "--n", "4", "--out", str(tmp_path / "x.png")]
    main(arguments)  # four images, of the first four classes
    said = fails([*arguments[:2], "--per-class", "1"], capsys)
    assert "300,000 classes" in said and "--class all" in said
    main([*arguments, "--class", "299999"])
    data = np.zeros((20, 2, 2), np.uint8)
    np.savez(tmp_path / "x.npz", train_images=data, train_labels=np.arange(20))
    split = loaded(tmp_path / "x.npz", **WHOLE).train
    with pytest.raises(UsageError, match=r"6,000,000 likelihoods; use at most images=6"):
        condition_worth(model, split)


@pytest.mark.parametrize("shape", [(3000, 3000), (2**40, 2**40)])
def test_very_large_images_are_not_drawn_unasked(
    shape: tuple[int, int], tmp_path: Path, capsys: Any
) -> None:
    """How large images are is up to whoever made the checkpoint."""
    path = tmp_path / "m.safetensors"
    save(GatedPixelCNN(**SMALL), path, card=ModelCard(shape=shape))
    arguments = ["sample", str(path), "--n", "1", "--out", str(tmp_path / "x.png")]
    assert f"{shape[0]}×{shape[1]} pixels; give --size" in fails(arguments, capsys)
    main([*arguments, "--size", "4"])


@pytest.mark.parametrize(
    ("levels", "images", "side"), [(65536, 1, 96), (65536, 7, 40), (256, 3, 64), (4, 30, 5)]
)
def test_a_histogram_is_read_in_few_passes(
    levels: int, images: int, side: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import nextpixel.data.statistics as statistics

    generator = np.random.default_rng(0)
    x = generator.integers(0, levels, (images, side, side)).astype(np.uint16)
    x[0, 0, 0] = levels - 1
    test = x[: max(1, images // 2)]
    np.savez(tmp_path / "x.npz", train_images=x, test_images=test)
    data = loaded(tmp_path / "x.npz", validation=0)
    assert data.levels == levels
    passes = []
    monkeypatch.setattr(statistics, "_TABLE_VALUES", 2**14)
    inner = statistics._read
    monkeypatch.setattr(statistics, "_read", lambda *a: passes.append(1) or inner(*a))
    found = histogram_bits_per_dim(data)
    counts = (x[None] == test[:, None]).sum(axis=1)
    expected = -np.log2((counts + 1) / (images + levels)).mean()
    assert found == pytest.approx(float(expected))
    assert len(passes) <= 4 + 2 * (2 * images * side * side // 2**14)


@pytest.mark.parametrize(
    "text",
    ["a = " + "[" * 10_000, "a." * 8000 + "b = 1", "a." * 50_000 + "b = 1", "steps = " + "9" * 5000,
     "# " + "x" * 2**14, "a = 1\n" * 2, "\udcff", "\0",],
)  # fmt: skip
def test_a_file_of_options_is_read_or_refused(text: str, tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "r.toml"
    path.write_bytes(f"source = 'digits'\n{text}\n".encode(errors="surrogateescape"))
    said = fails(["train", "--config", str(path), "--out", str(tmp_path / "run")], capsys)
    assert "r.toml is not a TOML file" in said and not (tmp_path / "run").exists()


@posix
@pytest.mark.parametrize("name", ["metrics.jsonl", "run.json", "state.safetensors"])
@pytest.mark.parametrize("kind", ["fifo", "link"])
def test_a_run_folder_writes_nothing_elsewhere(
    kind: str, name: str, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.random.default_rng(0).integers(0, 4, (20, 4, 4)).astype(np.uint8))
    small = ["--features", "4", "--layers", "1", "--kernel-size", "3", "--quiet"]
    main(["train", "x.npy", "--steps", "1", "--out", "run", *small])
    precious, place = tmp_path / "precious", Path("run") / name
    precious.write_bytes(place.read_bytes())
    place.unlink()
    if kind == "fifo":
        os.mkfifo(place)
        fails(["train", "x.npy", "--resume", "run", "--steps", "2", "--quiet"], capsys)
    else:
        before = precious.read_bytes()
        place.symlink_to(precious)
        main(["train", "x.npy", "--resume", "run", "--steps", "2", "--quiet"])
        assert precious.read_bytes() == before and not place.is_symlink()


def test_info_shows_the_first_of_many_names(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "m.safetensors"
    names = tuple(f"class {k}" for k in range(3000))
    notes = {f"note {k}": "x" * 5000 for k in range(300)}
    model = GatedPixelCNN(levels=2, features=4, layers=1, kernel_size=3)
    save(model, path, card=ModelCard(classes=names, notes=notes))
    main(["info", str(path)])
    said = " ".join(capsys.readouterr().out.split())
    assert "class 199 … and 2,800 more: see --json" in said and "class 200," not in said
    assert "more entries: see --json" in said and len(said) < 1_000_000
    main(["info", str(path), "--json"])
    assert len(json.loads(capsys.readouterr().out)["classes"]) == 3000


# --- the Hub ---


class Hub:
    """A hub with one data set, whose settings are given."""

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        self.folder, self.settings = folder, settings

    def __call__(self) -> "Hub":
        return self

    def dataset_info(self, repository: str) -> Any:
        return type("Info", (), {"sha": "abc123"})

    def hf_hub_download(self, repository: str, file: str, **kinds: Any) -> str:
        from huggingface_hub.errors import EntryNotFoundError

        assert kinds == {"repo_type": "dataset", "revision": "abc123"}
        if file not in self.settings:
            raise EntryNotFoundError(file)
        (self.folder / file).write_text(self.settings[file])
        return str(self.folder / file)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    datasets = pytest.importorskip("datasets")
    import huggingface_hub

    calls: list[Any] = []

    def load_dataset(*arguments: Any, **keywords: Any) -> Any:
        calls.append((arguments, keywords))
        raise KeyError("nothing is here")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    return calls


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("file", ["README.md", ".huggingface.yaml"])
@pytest.mark.parametrize(
    "place",
    ["data_files: /etc/*.png", "data_files: [ok.png, ~/x.png]", "data_files: ../../other/x/*.png",
     "data_files: http://127.0.0.1/x.parquet", "data_files: hf://datasets/other/x/*.parquet",
     "data_files: zip://x.png::file:///x.zip", "data_files: C:\\x.png", "data_dir: /home",
     "data_dir: a/../..", "data_files: [{split: train, path: /etc/x.png}]", "data_files: 1",
     "data_files: [{split: train, path: [ok/*, /x]}]", "data_files: file:///etc/x.png",
     "data_files: '\\\\host\\share\\x.png'"],
)  # fmt: skip
def test_a_data_set_of_the_hub_stays_in_its_repository(
    place: str, file: str, tmp_path: Path, asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    text = f"configs:\n- config_name: default\n  data_files: ok/*\n- config_name: b\n  {place}\n"
    text = f"---\n{text}---\n# x\n" if file == "README.md" else text
    monkeypatch.setattr(huggingface_hub, "HfApi", Hub(tmp_path, {file: text}))
    with pytest.raises(DataError, match="says that its data are at .* not in its repository"):
        loaded("hf:somebody/something")
    assert not asked


@pytest.mark.filterwarnings("ignore")
def test_a_data_set_of_the_hub_is_loaded_at_the_commit_that_was_looked_at(
    tmp_path: Path, asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    good = (
        "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path:"
        " data/train-*\n  - split: test\n    path: [data/test-*]\n  data_dir: data\n---\n"
    )
    for settings in ({"README.md": good}, {}, {"README.md": "no metadata"}):
        monkeypatch.setattr(huggingface_hub, "HfApi", Hub(tmp_path, settings))
        with pytest.raises(DataError, match="nothing is here"):
            loaded("hf:somebody/something:small")
        assert asked.pop() == (("somebody/something", "small"), {"revision": "abc123"})


@pytest.mark.parametrize(
    "name", ["buckets/a/b", "hf://datasets/a/b", "a/b/c", "http://h/x", "../x", "a b", "x/", ""]
)
def test_a_name_of_the_hub_is_a_name(name: str, asked: list[Any], tmp_path: Path) -> None:
    with pytest.raises((DataError, FileNotFoundError)):
        loaded(f"hf:{name}")
    assert not asked


@pytest.mark.parametrize("name", ["pets", "some/pets"])
def test_a_folder_here_is_not_taken_for_a_data_set_of_the_hub(
    name: str, tmp_path: Path, asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).mkdir(parents=True)
    (Path(name) / "README.md").write_text("---\nconfigs: []\n---\n")
    with pytest.raises(DataError, match="also a file or folder here"):
        loaded(f"hf:{name}:default")
    assert not asked


# --- fuzz ---


def fuzzed(cases: int, seed: int, what: str = "checkpoints") -> dict[str, int]:
    """What came of random files in a process of its own; it fails if that does."""
    script = Path(__file__).with_name(f"fuzz_{what}.py")
    found = subprocess.run(
        [sys.executable, str(script), str(cases), str(seed)],
        capture_output=True, text=True,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr[-3000:]
    return dict(json.loads(found.stdout.splitlines()[-1]))


@posix
@pytest.mark.slow
def test_damaged_and_forged_archives_give_no_wrong_picture() -> None:
    came = fuzzed(2000, 1, "archives")
    assert came["cases"] == 2000 and came["refused"] > 3000 and came["megabytes"] <= 1024


@posix
def test_random_metadata_load_or_are_refused() -> None:
    came = fuzzed(40, 0)
    assert came["cases"] > 30 and came["megabytes"] <= 1024


@posix
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_very_much_random_metadata_load_or_are_refused() -> None:
    came = fuzzed(2000, 1)
    assert came["cases"] > 1600 and came["megabytes"] <= 1024
