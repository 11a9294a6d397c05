"""Sources of every kind: in memory, named arrays, HDF5, archives, DICOM, TIFF and odd files."""

import contextlib
import io
import os
import shutil
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from nextpixel import TrainConfig, resume_model, train_model
from nextpixel.cli.app import main
from nextpixel.data.digest import DataDigest
from nextpixel.data.load import DataError, ImageData, Preparation, load_data
from nextpixel.errors import UsageError
from nextpixel.files.card import place_name
from nextpixel.settings.choice import ModelChoice
from nextpixel.settings.source import IN_MEMORY

RNG = np.random.default_rng(0)
WHOLE = Preparation(validation=0, test=0)
X = RNG.integers(0, 256, (30, 8, 9), dtype=np.uint8)
Y = np.arange(30) % 3
NAMES = ["a", "b", "c"]
PICTURES = [Image.fromarray(x) for x in X]
MULTI = (np.arange(120).reshape(30, 4) % 7 < 3).astype(np.uint8)


class Pairs(torch.utils.data.Dataset[Any]):
    """A data set of pictures and labels, as torchvision has them."""

    classes = NAMES

    def __len__(self) -> int:
        return 30

    def __getitem__(self, k: int) -> tuple[Image.Image, int]:
        return PICTURES[k], int(Y[k])


class Rows(Pairs):
    """A data set of mappings."""

    def __getitem__(self, k: int) -> Any:
        return {"label": torch.tensor(Y[k]), "pixel": torch.from_numpy(X[k])}


def same(data: ImageData, other: ImageData) -> None:
    """Require the same images, labels and splits."""
    for name in ("train", "valid", "test"):
        a, b = getattr(data, name), getattr(other, name)
        np.testing.assert_array_equal(np.asarray(a.images), np.asarray(b.images))
        np.testing.assert_array_equal(a.labels, b.labels)
    assert data.classes == other.classes
    ours, theirs = DataDigest.of(data), DataDigest.of(other)
    assert ours is not None and theirs is not None and ours.difference(theirs) is None


# ---------------------------------------- in memory


@pytest.mark.parametrize("held", [np.ma.array, lambda x, mask: list(np.ma.array(x, mask=mask))])
def test_masked_values_are_missing(held: Any) -> None:
    masked = held(X, mask=X > 250)
    with pytest.raises(DataError, match="values are masked; give missing=nan"):
        load_data(masked)
    data = load_data(masked, Preparation(validation=0, test=0, missing="nan"))
    np.testing.assert_array_equal(data.train.images[:, 0], np.minimum(X, 251))


def test_bfloat16_and_texts_of_pandas(tmp_path: Path) -> None:
    bright = Preparation(validation=0, test=0, range=(0, 1), levels=2)
    data = load_data(torch.from_numpy(X > 99).bfloat16(), bright, labels=np.array(NAMES, object)[Y])
    np.testing.assert_array_equal(data.train.images[:, 0], X > 99)
    assert data.classes == tuple(NAMES)
    np.savez(tmp_path / "x.npz", images=X, labels=np.array(NAMES, object)[Y])
    with pytest.raises(DataError, match="cannot be read, because labels holds objects of Python"):
        load_data(tmp_path / "x.npz")
    np.savez(tmp_path / "x.npz", images=np.array([*X, None], object)[:-1], labels=Y)
    with pytest.raises(DataError, match=r"images of .* has the shape \(30,\)"):
        load_data(tmp_path / "x.npz")


def test_what_becomes_of_colours_is_told(tmp_path: Path) -> None:
    colours = Image.fromarray(X[:8, :8, :3])
    for k, mode in enumerate(["RGB", "RGBA", "L", "CMYK"]):
        colours.convert(mode).save(tmp_path / f"{k}.tif")
    assert load_data(tmp_path, WHOLE).notes == (
        "1 picture: CMYK colours are converted to RGB",
        "1 of 4 pictures have opacity and the others none: transparent pixels are laid on white;"
        " ‹channels=4› keeps opacity",
        "1 of 4 pictures are grey, and become RGB as the others are",
    )
    for k in range(30):
        (tmp_path / f"{k}.png").write_bytes(b"?")
    with pytest.raises(DataError, match=r"/0.png, .*/26.png and 10 more: cannot be read") as caught:
        load_data(tmp_path)
    assert str(caught.value).count("unknown or damaged format") == 1


@pytest.mark.parametrize(
    "images",
    [
        (X, Y),
        {"images": X, "labels": Y},
        {"x": torch.from_numpy(X), "y": torch.from_numpy(Y)},
        {"train": {"images": list(X), "labels": list(Y)}},
        {"image": PICTURES, "label": list(Y)},
        torch.utils.data.TensorDataset(torch.from_numpy(X)[:, None], torch.from_numpy(Y)),
        Rows(),
    ],
    ids=["pair", "arrays", "tensors", "nested", "pictures", "tensor set", "mappings"],
)
def test_images_in_memory_are_those_of_a_file(tmp_path: Path, images: Any) -> None:
    np.savez(tmp_path / "x.npz", x=X, y=Y, label_names=NAMES)
    expected = load_data(tmp_path / "x.npz", Preparation(split_by="content"))
    given = images if isinstance(images, Pairs) else load_data(images, classes=NAMES)
    data = load_data(images) if isinstance(images, Pairs) else given
    same(data, expected)
    assert str(data.source) == IN_MEMORY


def test_annotations_are_given_beside_images_in_memory() -> None:
    data = load_data(X, WHOLE, labels=[f"c{k}" for k in Y], vectors=MULTI, captions=["hi"] * 30)
    assert data.classes == ("c0", "c1", "c2") and data.train.vectors is not None
    assert data.train.captions == ("hi",) * 30
    data = load_data(Pairs(), WHOLE)
    assert data.classes == tuple(NAMES) and data.train.labels is not None
    np.testing.assert_array_equal(data.train.labels, Y)


def test_splits_and_several_sizes_in_memory() -> None:
    data = load_data({"train": (X, Y), "test": Pairs()}, WHOLE)
    assert (len(data.train), len(data.test), len(data.classes)) == (30, 30, 3)
    ragged = [RNG.integers(0, 256, (8 + k, 8, 3), dtype=np.uint8) for k in range(4)]
    data = load_data(ragged, Preparation(size=4, validation=0, test=0), labels=[0, 1, 0, 1])
    assert np.asarray(data.train.images).shape == (4, 3, 4, 4) and data.classes == ("0", "1")


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ((x for x in X), "of the type generator; give an array"),
        (torch.utils.data.DataLoader(Pairs()), "of the type DataLoader"),
        ([], "list of images is empty"),
        (3, r"the shape is \(\)"),
        ({"images": PICTURES, "labels": Y[:3]}, "labels are 3, but there are 30 images"),
        ([X[0], X[0][:4].astype(np.float32)], "differ in size, and one is float32"),
    ],
)
def test_what_is_no_source_in_memory_is_refused(images: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_data(images)


def test_a_large_data_set_does_not_fill_the_memory() -> None:
    with pytest.raises(DataError, match=r"the first 13 of 30 images take 0.0 GB .* memory_bytes"):
        load_data(Pairs(), memory_bytes=1000)


def test_a_run_of_images_in_memory_resumes_with_the_same_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    choice, images = ModelChoice(network={"features": 4, "layers": 1}), {"images": X, "labels": Y}
    training = TrainConfig(steps=1, batch_size=4)
    small = {"size": None, "levels": 4, "from_levels": 256}
    run = train_model(images, choice, training, preparation=small, device="cpu").folder
    assert run == Path("runs/memory")
    resume_model(run, {"steps": 2}, source=images, device="cpu")
    with pytest.raises(UsageError, match="10 are missing"):
        fewer = {"images": X[:20], "labels": Y[:20]}
        resume_model(run, {"steps": 3}, source=fewer, device="cpu")
    with pytest.raises(DataError, match="given in memory, so that no name leads to them"):
        resume_model(run, {"steps": 3}, device="cpu")
    with pytest.raises(SystemExit) as caught:
        main(["evaluate", str(run), "--device", "cpu"])
    assert caught.value.code == 2 and "given in memory" in capsys.readouterr().err


# ---------------------------------------- named arrays


LAYOUTS: dict[str, dict[str, Any]] = {
    "keras": {"x_train": X, "y_train": Y, "x_test": X[:5], "y_test": Y[:5]},
    "capitals": {"X_Train": X, "Y_Train": Y, "XTest": X[:5], "yTest": Y[:5]},
    "sklearn": {"data": X, "target": Y},
    "letters": {"X": X, "y": Y},
    "words": {"images": X, "labels": Y, "mean": np.zeros(3)},
    "medmnist": {"train_images": X, "train_labels": Y[:, None], "test_images": X[:5]}
    | {"test_labels": Y[:5, None]},
    "one hot": {"train_images": X, "train_labels": np.eye(3)[Y]},
    "groups": {"train/images": X, "train/labels": Y, "test/images": X[:5], "test/labels": Y[:5]},
}


@pytest.mark.parametrize("suffix", ["npz", "h5"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_arrays_are_found_by_the_names_that_people_give(
    tmp_path: Path, layout: str, suffix: str
) -> None:
    path = written(tmp_path / f"x.{suffix}", LAYOUTS[layout])
    data = load_data(path, WHOLE)
    np.testing.assert_array_equal(np.asarray(data.train.images)[:, 0], X)
    assert data.train.labels is not None and data.classes == ("0", "1", "2")
    np.testing.assert_array_equal(data.train.labels, Y)
    has_test = any("test" in name.lower() for name in LAYOUTS[layout])
    assert len(data.test) == (5 if has_test else 0)
    assert data.notes == (("the array mean is skipped",) if layout == "words" else data.notes)


def written(path: Path, named: dict[str, Any]) -> Path:
    if path.suffix == ".npz":
        np.savez(path, **named)
    else:
        h5py = pytest.importorskip("h5py")
        with h5py.File(path, "w") as file:
            for name, values in named.items():
                file[name] = values
    return path


def test_several_labels_of_an_image_are_a_vector(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", train_images=X, train_labels=MULTI)
    data = load_data(tmp_path / "x.npz", WHOLE)
    assert data.classes == () and data.train.vectors is not None
    np.testing.assert_array_equal(data.train.vectors, MULTI)
    assert "several of 4 labels" in data.notes[0]
    assert data.preparation.attributes == ("0", "1", "2", "3")


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"a": X, "b": X}, r"a \(30, 8, 9\), b \(30, 8, 9\), and it is not clear which are"),
        ({"images": X, "data": X}, r"images \(30.*data \(30.*not clear which to take"),
        ({"ids": Y, "mean": Y}, r"holds the arrays ids \(30,\), mean \(30,\), but images"),
    ],
)
def test_what_is_not_clear_is_asked(tmp_path: Path, named: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_data(written(tmp_path / "x.npz", named))


# ---------------------------------------- HDF5


def test_a_data_set_of_a_file_is_named_and_nothing_leads_elsewhere(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    (tmp_path / "secret").write_bytes(bytes(1000))
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("train/data", data=X, chunks=(7, 8, 9), compression="gzip")
        file["loop"] = file["/"]
        file["link"] = h5py.ExternalLink("other.h5", "x")
        file["soft"] = h5py.SoftLink("/train")
        file.create_dataset("huge", (10**8, 28, 28), dtype="u1", chunks=(1, 28, 28))
        outside = [(str(tmp_path / "secret"), 0, 64)]
        file.create_dataset("outside", (4, 4, 4), dtype="u1", external=outside)
        layout = h5py.VirtualLayout((4, 4, 4), "u1")
        layout[:] = h5py.VirtualSource("other.h5", "x", (4, 4, 4))
        file.create_virtual_dataset("virtual", layout)
    source = f"{tmp_path}/x.h5:train/data"
    for options in ({}, {"memory_bytes": 100, "cache_folder": tmp_path / "cache"}):
        data = load_data(source, WHOLE, **options)  # type: ignore[arg-type]
        np.testing.assert_array_equal(np.asarray(data.train.images)[:, 0], X)
    assert data.source.missing is None and place_name(source) == "x.h5:train/data"
    for name, message in {
        "link/x": "has no link/x; / holds huge, loop, outside, train, virtual",
        "soft/data": "has no soft/data",
        "huge": "claims 78.4 GB, but the file stores almost nothing",
        "outside": "lies in other files",
        "virtual": "lies in other files",
    }.items():
        with pytest.raises(DataError, match=message):
            load_data(f"{tmp_path}/x.h5:{name}")
    (tmp_path / "bad.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(99))
    with pytest.raises(DataError, match="cannot be read as HDF5"):
        load_data(tmp_path / "bad.h5")


# ---------------------------------------- archives


def photos(root: Path) -> Path:
    for k, x in enumerate(X[:12]):
        place = root / ("test" if k % 3 else "train") / ("10" if k % 2 else "2")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(x).save(place / f"{k}.png")
    (root / "train" / ".DS_Store").write_bytes(b"x")
    (root / "Thumbs.db").write_bytes(b"x")
    (root / "__MACOSX").mkdir()
    (root / "__MACOSX" / "0.png").write_bytes(b"x")
    return root


@pytest.mark.parametrize("kind", ["zip", "tar", "gztar"])
@pytest.mark.parametrize("base", [None, "photos"])
def test_an_archive_of_a_folder_is_that_folder(tmp_path: Path, kind: str, base: str | None) -> None:
    root = photos(tmp_path / "photos")
    place = tmp_path if base else root
    path = shutil.make_archive(str(tmp_path / "x"), kind, root_dir=place, base_dir=base)
    data, folder = load_data(path, WHOLE), load_data(root, WHOLE)
    same(data, folder)
    assert data.classes == ("2", "10") and data.train.names == folder.train.names
    assert data.notes == folder.notes


def test_hostile_members_are_refused_or_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nextpixel.data.archives._MOST_BYTES", 2**16)
    sound = io.BytesIO()
    PICTURES[0].save(sound, "PNG")
    files = {
        "names": {"../x.png": sound.getvalue()},
        "absolute": {"/x.png": sound.getvalue()},
        "bomb": {"x.png": bytes(2**16 + 1)},
        "nested": {"inner.zip": b"PK"},
    }
    for name, message in {
        "names": "whose name leads out of the archive",
        "absolute": "whose name leads out of the archive",
        "bomb": "x.png takes more than 65,536 bytes",
        "nested": "holds no pictures",
    }.items():
        with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for member, content in files[name].items():
                archive.writestr(member, content)
        with pytest.raises(DataError, match=message):
            load_data(tmp_path / "x.zip")
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        kinds = (tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE)
        for k, kind in enumerate(kinds):
            name = f"a/{k}.png"
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            member.size = len(sound.getvalue()) if kind == tarfile.REGTYPE else 0
            tar.addfile(member, io.BytesIO(sound.getvalue()))
    data = load_data(tmp_path / "x.tar", WHOLE)
    assert len(data.train) == 1 and data.notes[0].startswith("3 links or special files")
    for name in ("b.zip", "b.tar", "b.tar.gz"):
        (tmp_path / name).write_bytes(b"garbage")
        with pytest.raises(DataError, match="cannot be read as an archive"):
            load_data(tmp_path / name)
    shutil.make_archive(str(tmp_path / "y"), "gztar", root_dir=photos(tmp_path / "photos"))
    with pytest.raises(DataError, match=r"unpacks to more than 0.0 GB"):
        load_data(tmp_path / "y.tar.gz", memory_bytes=1000)


def test_an_encrypted_member_is_said(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("x.png", b"x" * 99)
    raw = bytearray((tmp_path / "x.zip").read_bytes())
    raw[6] |= 1
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "x.zip").write_bytes(bytes(raw))
    with pytest.raises(DataError, match="x.png is encrypted"):
        load_data(tmp_path / "x.zip")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
def test_special_files_are_never_opened(tmp_path: Path) -> None:
    for suffix in ("npz", "npy", "h5", "zip", "tar.gz", "dcm", "tif", "png"):
        os.mkfifo(tmp_path / f"x.{suffix}")
        with pytest.raises(DataError, match="is a FIFO, not a regular file"):
            load_data(tmp_path / f"x.{suffix}")
    root = photos(tmp_path / "photos")
    os.mkfifo(root / "train" / "2" / "IM0001")  # It may be DICOM, but is not looked into.
    assert len(load_data(root, WHOLE).train) == 4


# ---------------------------------------- DICOM


def dicom(path: Path, x: Any, bits: int, kind: str = "MONOCHROME2", **tags: Any) -> Path:
    """Write values (H, W), (frames, H, W) or (H, W, 3) as a DICOM file of a patient."""
    pydicom = pytest.importorskip("pydicom")
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = "1.2.3"
    data.PatientName, data.PatientID = "Doe^Jane", "SECRET"
    frames = len(x) if x.ndim == 3 and x.shape[-1] != 3 else None
    data.Rows, data.Columns = x.shape[:2] if frames is None else x.shape[1:]
    data.SamplesPerPixel = 3 if x.ndim == 3 and frames is None else 1
    if data.SamplesPerPixel == 3:
        data.PlanarConfiguration = 0
    data.PhotometricInterpretation, data.BitsAllocated = kind, 8 * x.itemsize
    data.BitsStored, data.HighBit = bits, bits - 1
    data.PixelRepresentation = int(x.dtype.kind == "i")
    if frames:
        data.NumberOfFrames = frames
    for name, value in tags.items():
        setattr(data, name, value)
    data.PixelData = x.tobytes()
    data.save_as(path, enforce_file_format=True)
    return path


DEEP = RNG.integers(0, 4096, (5, 8, 9)).astype(np.uint16)


def test_stored_values_of_dicom_files_are_kept(tmp_path: Path) -> None:
    data = load_data(dicom(tmp_path / "x.dcm", DEEP, 12), WHOLE)
    np.testing.assert_array_equal(np.asarray(data.train.images)[:, 0], DEEP)
    assert data.levels == 4096 and data.train.names[:2] == ("x.dcm#1", "x.dcm#2")
    tags = {"RescaleSlope": "2", "RescaleIntercept": "-1024"}
    inverted = load_data(dicom(tmp_path / "i.dcm", DEEP[0], 12, "MONOCHROME1", **tags), WHOLE)
    np.testing.assert_array_equal(np.asarray(inverted.train.images)[0, 0], 4095 - DEEP[0])
    assert "MONOCHROME1" in inverted.notes[0]
    assert "slope 2 and intercept -1024 are not applied" in inverted.notes[1]
    colours = X[:8, :8, :3]
    rgb = load_data(dicom(tmp_path / "c.dcm", colours, 8, "RGB"), WHOLE)
    np.testing.assert_array_equal(np.asarray(rgb.train.images)[0], np.moveaxis(colours, 2, 0))


def test_dicom_colours_and_high_bits_are_told(tmp_path: Path) -> None:
    pixels = pytest.importorskip("pydicom.pixels")
    data = load_data(dicom(tmp_path / "y.dcm", X[:8, :8, :3], 8, "YBR_FULL"), WHOLE)
    rgb = pixels.convert_color_space(X[:8, :8, :3], "YBR_FULL", "RGB")
    np.testing.assert_array_equal(data.train.images[0], np.moveaxis(rgb, 2, 0))
    assert data.notes == ("1 picture: colours are stored as YBR: they are converted to RGB",)
    with pytest.raises(DataError, match="12 bits whose highest is bit 15, not 11"):
        load_data(dicom(tmp_path / "h.dcm", DEEP[0] << 4, 12, HighBit=15), WHOLE)
    with pytest.raises(DataError, match="YBR_PARTIAL_420"):
        load_data(dicom(tmp_path / "p.dcm", X[:8, :8, :3], 8, "YBR_PARTIAL_420"), WHOLE)


def test_dicom_files_are_known_by_their_content_and_say_nothing_of_patients(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for place, name in (("a", "IM0001"), ("b", "1.2.840.7")):
        (tmp_path / "study" / place).mkdir(parents=True)
        dicom(tmp_path / "study" / place / name, DEEP[0] + (place == "b"), 16)
    (tmp_path / "study" / "README").write_text("x")
    with pytest.raises(DataError, match="holds no pictures"):  # Older models do not see them.
        load_data(tmp_path / "study", Preparation(reading=2))
    data = load_data(tmp_path / "study", WHOLE)
    assert data.classes == ("a", "b") and data.train.names == ("a/IM0001", "b/1.2.840.7")
    main(["data", str(tmp_path / "study"), "--json"])
    said = capsys.readouterr().out
    assert "Doe" not in said and "SECRET" not in said
    path = shutil.make_archive(str(tmp_path / "z"), "zip", root_dir=tmp_path / "study")
    same(load_data(path, WHOLE), data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "of the kind 'PALETTE COLOR'"),
        ({"Rows": 60000, "Columns": 60000}, "holds 60000x60000 pixels"),
        ({"NumberOfFrames": 10**9}, "holds 1000000000 frames"),
        ({"BitsStored": 33}, "holds values of 16 bits"),
        ({"Rows": 9}, "is damaged, or its pixels cannot be decoded"),
    ],
)
def test_dicom_files_that_are_not_read(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    path = dicom(tmp_path / "x.dcm", DEEP[0], 12, **change)
    with pytest.raises(DataError, match=message) as caught:
        load_data(path)
    assert "Doe" not in str(caught.value) and "SECRET" not in str(caught.value)


@pytest.mark.parametrize("syntax", ["DeflatedExplicitVRLittleEndian", "JPEGLSLossless"])
def test_transfer_syntaxes_that_are_not_read(tmp_path: Path, syntax: str) -> None:
    pydicom = pytest.importorskip("pydicom")
    data = pydicom.dcmread(dicom(tmp_path / "x.dcm", DEEP[0], 12))
    data.file_meta.TransferSyntaxUID = getattr(pydicom.uid, syntax)
    if syntax == "JPEGLSLossless":
        data.PixelData = pydicom.encaps.encapsulate([b"1234"])
        data["PixelData"].is_undefined_length = True
    data.save_as(tmp_path / "x.dcm")
    with pytest.raises(DataError, match=r"deflated as a whole|needs a decoder"):
        load_data(tmp_path / "x.dcm")


# ---------------------------------------- TIFF


BANDS = RNG.integers(0, 4000, (40, 48, 5)).astype(np.uint16)
PLANES = np.moveaxis(BANDS, 2, 0)
GREY: dict[str, Any] = {"photometric": "minisblack"}
TIFFS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "lzw": (BANDS, PLANES[None], {"planarconfig": "contig", "compression": "lzw"}),
    "zstd": (BANDS, PLANES[None], {"planarconfig": "contig", "compression": "zstd"}),
    "predictor": (
        BANDS, PLANES[None],
        {"planarconfig": "contig", "compression": "zlib", "predictor": True, "tile": (16, 32)},
    ),
    "planar": (PLANES, PLANES[None], {"planarconfig": "separate"}),
    "big": (BANDS, PLANES[None], {"planarconfig": "contig", "bigtiff": True, "byteorder": ">"}),
    "stack": (PLANES, PLANES[:, None], {"bigtiff": True}),
    "32 bits": (PLANES[0].astype(np.uint32), PLANES[:1, None], {}),
    "signed": (PLANES[0].astype(np.int16), PLANES[:1, None], {}),
    "signed 32 bits": (BANDS.astype(np.int32), PLANES[None], {"planarconfig": "contig"}),
}  # fmt: skip


@pytest.mark.parametrize("name", TIFFS)
def test_tiff_files_of_every_kind(tmp_path: Path, name: str) -> None:
    tifffile = pytest.importorskip("tifffile")
    x, expected, options = TIFFS[name]
    tifffile.imwrite(tmp_path / "x.tif", x, **GREY | options)
    data = load_data(tmp_path / "x.tif", WHOLE)
    np.testing.assert_array_equal(np.asarray(data.train.images), expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_overviews_masks_and_dark_values_of_tiff(tmp_path: Path, dtype: type) -> None:
    """Overviews and masks are no pictures; where 0 is white, what is done about it is told."""
    tifffile = pytest.importorskip("tifffile")
    x = BANDS.astype(dtype)
    with tifffile.TiffWriter(tmp_path / "x.tif") as file:
        file.write(x, planarconfig="contig", **GREY)
        file.write(x[::2, ::2], planarconfig="contig", subfiletype=1, **GREY)
        file.write(x[..., 0] > 9, subfiletype=4, **GREY)
    data = load_data(tmp_path / "x.tif", WHOLE)
    np.testing.assert_array_equal(data.train.images, np.moveaxis(x, 2, 0)[None])
    tifffile.imwrite(tmp_path / "x.tif", x[..., 0], photometric="miniswhite")
    data = load_data(tmp_path / "x.tif", WHOLE)
    kept = dtype is np.uint16
    np.testing.assert_array_equal(data.train.images[0, 0], x[..., 0] if kept else 255 - x[..., 0])
    said = "they are kept as stored" if kept else "they are inverted"
    assert f"1 picture: high values are dark (MINISWHITE): {said}" in data.notes


def test_stacks_of_imagej_volumes_and_no_data(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(tmp_path / "x.tif", PLANES, imagej=True, truncate=True)  # One directory.
    images = load_data(tmp_path / "x.tif", WHOLE).train.images
    np.testing.assert_array_equal(np.asarray(images), PLANES[:, None])
    tifffile.imwrite(tmp_path / "x.tif", PLANES, volumetric=True, tile=(5, 16, 16), **GREY)
    with pytest.raises(DataError, match="holds a volume in one page"):
        load_data(tmp_path / "x.tif")
    x = PLANES[0].copy()
    x[:2] = 9999
    tag = [(42113, 2, 5, "9999", True)]
    tifffile.imwrite(tmp_path / "x.tif", x, extratags=tag, **GREY)
    notes = load_data(tmp_path / "x.tif", WHOLE).notes
    assert notes[0].startswith("no data: 96 pixels in 1 file, marked by the value 9999")
    told = load_data(tmp_path / "x.tif", Preparation(validation=0, test=0, missing=9999)).notes
    assert told[0].endswith("marked by the value 9999; it is one more level")
    for holes in (np.where(x == 9999, -9999, x / 4000), np.where(x == 9999, -9999, x)):
        options = {"extratags": [(42113, 2, 6, "-9999", True)], **GREY}
        stored = holes.astype(np.int16 if (holes == holes.round()).all() else np.float32)
        tifffile.imwrite(tmp_path / "x.tif", stored, **options)
        with pytest.raises(DataError, match="the value -9999 marks pixels .* give missing=-9999"):
            load_data(tmp_path / "x.tif")
    small = BANDS[..., :4].astype(np.uint8)
    options = {"planarconfig": "contig", "compression": "jpeg", **GREY}
    tifffile.imwrite(tmp_path / "x.tif", small, **options)
    with pytest.raises(DataError, match=r"compressed in a way \(number 7\)"):
        load_data(tmp_path / "x.tif")


@pytest.mark.parametrize(
    ("module", "name", "extra"),
    [("h5py", "x.h5", "hdf5"), ("pydicom", "x.dcm", "dicom"), ("tifffile", "x.tif", "tiff")],
)
def test_a_missing_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, name: str, extra: str
) -> None:
    import sys

    tifffile = pytest.importorskip("tifffile")
    {
        "x.h5": lambda: written(tmp_path / name, {"x": X}),
        "x.dcm": lambda: dicom(tmp_path / name, DEEP[0], 12),
        "x.tif": lambda: tifffile.imwrite(tmp_path / name, BANDS, planarconfig="contig", **GREY),
    }[name]()
    for loaded in [key for key in sys.modules if key.partition(".")[0] == module]:
        monkeypatch.setitem(sys.modules, loaded, None)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DataError, match=rf"needs {module}; .*nextpixel\[{extra}\]"):
        load_data(tmp_path / name)


# ---------------------------------------- laws


SHAPES = arrays.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=6)


@settings(max_examples=25, deadline=None)
@given(
    x=arrays.arrays(st.sampled_from([np.uint8, np.uint16]), SHAPES),
    suffix=st.sampled_from(["npy", "npz", "h5", "tif", "memory"]),
)
def test_what_is_stored_comes_through(
    tmp_path_factory: pytest.TempPathFactory, x: np.ndarray, suffix: str
) -> None:
    tifffile = pytest.importorskip("tifffile")
    path: Path = tmp_path_factory.mktemp("law") / f"x.{suffix}"
    source: Any = path
    if suffix == "memory":
        source = x
    else:
        if suffix == "npy":
            np.save(path, x)
        elif suffix == "tif":
            tifffile.imwrite(path, x, photometric="minisblack", metadata=None)
        else:
            written(path, {"x": x})
    levels = 256 if x.dtype == np.uint8 else 65536
    data = load_data(source, Preparation(validation=0, test=0, from_levels=levels))
    np.testing.assert_array_equal(np.asarray(data.train.images)[:, 0], x)


# ---------------------------------------- tables of pictures


def test_lists_of_labels_in_tables_are_vectors_and_one_column_holds_pictures(
    tmp_path: Path,
) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    files = []
    for picture in PICTURES[:4]:
        file = io.BytesIO()
        picture.save(file, "PNG")
        files.append({"bytes": file.getvalue(), "path": None})
    labels = datasets.List(datasets.ClassLabel(names=["cat", "dog", "car"]))
    features = datasets.Features(
        {"photo": datasets.Image(), "labels": labels, "thumbnail": datasets.Image()}
    )
    rows = {"photo": files, "labels": [[0], [0, 1], [], [1]], "thumbnail": files}
    table = datasets.Dataset.from_dict(rows, features=features)
    table.save_to_disk(str(tmp_path / "x"))
    data = load_data(tmp_path / "x", WHOLE)
    assert data.train.labels is None and data.train.vectors is not None
    np.testing.assert_array_equal(data.train.vectors, [[1, 0], [1, 1], [0, 0], [0, 1]])
    assert data.preparation.attributes == ("cat", "dog")
    assert data.notes[0] == "the pictures are those of the column photo; skipped: thumbnail"


# ---------------------------------------- floats


def test_floats_have_a_range(tmp_path: Path) -> None:
    """As `ToTensor` of torchvision makes them, and as a TIFF file may hold them."""
    tifffile = pytest.importorskip("tifffile")
    x = torch.from_numpy(X)[:, None].float() / 255
    asked = Preparation(range=(0, 1), levels=256, validation=0, test=0)
    with pytest.raises(DataError, match="the source in memory: the values are floats from 0"):
        load_data(x)
    data = load_data(torch.utils.data.TensorDataset(x, torch.from_numpy(Y)), asked)
    np.testing.assert_array_equal(np.asarray(data.train.images)[:, 0], X)
    tifffile.imwrite(tmp_path / "x.tif", x.numpy()[:, 0], photometric="minisblack")
    data = load_data(tmp_path / "x.tif", asked)
    np.testing.assert_array_equal(np.asarray(data.train.images)[:, 0], X)
    signed = DEEP[0].astype(np.int16) - 1000
    data = load_data(dicom(tmp_path / "x.dcm", signed, 16), Preparation(offset=1000))
    np.testing.assert_array_equal(np.asarray(data.train.images)[0, 0], DEEP[0])


@pytest.mark.parametrize("kind", ["h5", "zip", "tar", "dcm", "tif", "npz"])
def test_damaged_files_are_read_or_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"x.{kind}"
    if kind in ("zip", "tar"):
        shutil.make_archive(str(tmp_path / "x"), kind, root_dir=photos(tmp_path / "photos"))
    elif kind == "dcm":
        dicom(path, DEEP, 12)
    elif kind == "tif":
        options = {"planarconfig": "contig", "compression": "lzw", **GREY}
        pytest.importorskip("tifffile").imwrite(path, BANDS, **options)
    else:
        written(path, {"train/images": X, "train/labels": Y})
    sound = path.read_bytes()
    for _ in range(12):
        damaged = bytearray(sound)
        for place in RNG.integers(0, min(len(sound), 4000), 4):
            damaged[place] = RNG.integers(0, 256)
        path.write_bytes(bytes(damaged))
        with contextlib.suppress(DataError):  # It is read, or refused in one sentence.
            load_data(path, WHOLE)
