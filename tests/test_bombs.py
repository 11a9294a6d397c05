"""Small files that claim much, or that name the same bytes over and over, are refused at once."""

import io
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nextpixel.cli.app import main
from nextpixel.data.errors import DataError, ImageError
from nextpixel.data.load import load_data
from nextpixel.data.picture import Picture
from nextpixel.data.reading import image_heads, read_image
from nextpixel.files.card import ancestors_of
from nextpixel.files.fields import CheckpointError
from nextpixel.settings.preparation import Preparation

RNG = np.random.default_rng(0)
X = RNG.integers(0, 255, (6, 8, 8), dtype=np.uint8)


def png(x: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(x).save(file, "PNG")
    return file.getvalue()


def tar(path: Path, **fields: Any) -> None:
    """Two pictures, the first of which has further fields."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for k, own in enumerate((fields, {})):
            member = tarfile.TarInfo(f"{k}.png")
            content = png(X[k])
            member.size = len(content)
            for name, value in own.items():
                setattr(member, name, value)
            archive.addfile(member, io.BytesIO(content))


def refused(path: Path, message: str, **source: Any) -> None:
    with pytest.raises(DataError, match=message) as error:
        load_data(path, Preparation(), **source)
    assert len(str(error.value)) < 1000


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "a/" * 100_000 + "x.png"}, "more than 128 folders deep"),
        ({"pax_headers": {"size": "-1"}}, "has -1 bytes"),
        ({"pax_headers": {"size": "-512"}}, "has -512 bytes"),
        ({"pax_headers": {"comment": "9" * 2**19}}, "damaged extended header"),
    ],
    ids=["deep", "to the end", "backwards", "digits"],
)
def test_members_of_a_tar_file_are_little_work(
    fields: dict[str, Any], message: str, tmp_path: Path
) -> None:
    tar(tmp_path / "x.tar", **fields)
    refused(tmp_path / "x.tar", message)


@pytest.mark.timeout(10)
def test_records_of_a_tar_file_do_not_overlap(tmp_path: Path) -> None:
    tar(tmp_path / "x.tar", pax_headers={"comment": "5 aaa" * 2**17})
    content = (tmp_path / "x.tar").read_bytes()
    (tmp_path / "x.tar").write_bytes(content.replace(b" comment=", b" commentt", 1))
    refused(tmp_path / "x.tar", "damaged extended header")


@pytest.mark.timeout(10)
def test_names_of_a_zip_file_are_not_deep(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for k in range(60):
            archive.writestr("a/" * 15_000 + f"{k}.png", png(X[0]))
    refused(tmp_path / "x.zip", "more than 128 folders deep")


def test_links_of_a_tar_file_are_no_more_than_its_files(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        member = tarfile.TarInfo("0.png")
        member.size = 2**25
        archive.addfile(member, io.BytesIO(bytes(2**25)))
        for k in range(1, 9):
            member = tarfile.TarInfo(f"{k}.png")
            member.type, member.linkname = tarfile.LNKTYPE, "0.png"
            archive.addfile(member)
    refused(tmp_path / "x.tar", "more than twice as large")


class Counted(io.BytesIO):
    """A file that counts how often it is read."""

    reads = 0

    def read(self, size: int | None = -1) -> bytes:
        self.reads += 1
        return super().read(size)


@pytest.mark.parametrize("kind", ["grey", "deep"])
def test_a_page_is_read_without_those_before_it(kind: str) -> None:
    file = Counted()
    mode, colour = ("L", 7) if kind == "grey" else ("I;16", 700)
    pages = [Image.new(mode, (2, 2), colour) for _ in range(100)]
    pages[0].save(file, "TIFF", save_all=True, append_images=pages[1:])
    head = image_heads(file)[-1]
    file.reads = 0
    x = Picture(name="x", where="x", open=lambda: file, stamp="", head=head).read(2)
    assert x.max() == colour and head.page == 99 and file.reads < 100


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "jpeg"])
@pytest.mark.parametrize("in_memory", [False, True])
def test_a_page_is_found_by_its_place(compression: str, in_memory: bool, tmp_path: Path) -> None:
    pages = [Image.fromarray(RNG.integers(0, 255, (8, 9, 3), dtype=np.uint8)) for _ in range(3)]
    path = tmp_path / "x.tif"
    pages[0].save(path, save_all=True, append_images=pages[1:], compression=compression)
    file = io.BytesIO(path.read_bytes()) if in_memory else path
    places = [head.place for head in image_heads(file)]
    assert len(set(places)) == 3
    for page, place in enumerate(places):
        np.testing.assert_array_equal(
            read_image(file, page=page, place=place), read_image(file, page=page)
        )


@pytest.mark.parametrize("compression", [1, 8])
def test_pages_do_not_share_their_strips(compression: int, tmp_path: Path) -> None:
    """Whatever an uncompressed page says of the bytes of its strips, all of them are read."""
    body, pages = bytes(2**16), bytearray()
    count = 20 if compression == 1 else 40
    for k in range(count):
        tags = [(256, 256), (257, 256), (258, 8), (259, compression), (262, 1), (273, 8)]
        tags += [(277, 1), (278, 256), (279, 1 if compression == 1 else 2**16)]
        entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
        following = 8 + len(body) + len(pages) + 2 + len(entries) + 4 if k < count - 1 else 0
        pages += struct.pack("<H", len(tags)) + entries + struct.pack("<I", following)
    head = b"II*\0" + struct.pack("<I", 8 + len(body))
    (tmp_path / "x.tif").write_bytes(head + body + pages)
    with pytest.raises(ImageError, match="pages share their strips"):
        image_heads(tmp_path / "x.tif")


def test_chunks_of_hdf5_unpack_to_their_size(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    bomb = zlib.compress(bytes(2**26), 1)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        one = {"shape": (6, 8, 8), "dtype": "u1", "chunks": (6, 8, 8)}
        file.create_dataset("x", **one, compression="gzip").id.write_direct_chunk((0, 0, 0), bomb)
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_chunk((6, 8, 8))
        plan.set_deflate(9)
        plan.set_deflate(9)
        space, kind = h5py.h5s.create_simple((6, 8, 8)), h5py.h5t.NATIVE_UINT8
        h5py.h5d.create(file.id, b"y", kind, space, plan)
        file["texts/images"] = X
        texts = file.create_dataset("texts/labels", (6,), h5py.string_dtype())
        texts[:] = ["a"] * 5 + ["b" * 30_000_000]
    refused(tmp_path / "x.h5:x", "unpacks to more than it holds")
    refused(tmp_path / "x.h5:y", "unusual way")
    refused(tmp_path / "x.h5:texts", "30,000,000 characters")


def test_dicom_files_hold_their_frames(tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", "1"
    scan = pydicom.dataset.Dataset()
    scan.file_meta = meta
    scan.Rows, scan.Columns, scan.SamplesPerPixel, scan.BitsAllocated = 8, 8, 1, 8
    scan.BitsStored, scan.HighBit, scan.PixelRepresentation = 8, 7, 0
    scan.PhotometricInterpretation, scan.NumberOfFrames = "MONOCHROME2", 60_000
    scan.PixelData = bytes(64)
    scan.save_as(tmp_path / "x.dcm", enforce_file_format=True)
    refused(tmp_path / "x.dcm", "fewer than the 60,000 frames")
    scan.NumberOfFrames, scan.PixelData = 6, X.tobytes()
    scan.save_as(tmp_path / "x.dcm", enforce_file_format=True)
    images = load_data(tmp_path / "x.dcm", Preparation(validation=0, test=0)).train.images
    np.testing.assert_array_equal(images[:, 0], X)


@pytest.mark.filterwarnings("ignore")
def test_copies_in_parquet_tables_are_one_value(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    from nextpixel.data.tables import ParquetRows

    pictures = [{"bytes": b"x" * 1000, "path": None}] * 40
    table = {"a.b": ["y" * 1000, None] * 20, "image": pictures, "n": list(range(40))}
    parquet.write_table(pyarrow.table(table), tmp_path / "x.parquet")
    rows = ParquetRows.of([tmp_path / "x.parquet"])
    assert rows.columns(list(table)) == table and rows.cell(7, "image") == pictures[7]
    assert len({id(value) for value in rows.column("a.b")}) == 2


@pytest.mark.parametrize("number", ["٣", "9" * 5000, "²"])
def test_numbers_of_images_are_of_few_digits(number: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    (tmp_path / "x.csv").write_text(f"id,label\n{number},1\n", encoding="utf-8")
    refused(tmp_path / "x.npy", "are called by their numbers", labels=tmp_path / "x.csv")


@pytest.mark.timeout(10)
def test_vectors_of_very_many_labels_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((40_000, 1, 1), np.uint8))
    cells = [";".join(map(str, range(begin, begin + 15_000))) for begin in (0, 15_000)]
    rows = "".join(f"{k},{cells[k] if k < 2 else 'a;b'}\n" for k in range(40_000))
    (tmp_path / "x.csv").write_text("id,label\n" + rows)
    refused(tmp_path / "x.npy", "are too many", labels=tmp_path / "x.csv")


def test_a_checkpoint_has_few_ancestors() -> None:
    one = {"name": "x", "step": 1}
    assert len(ancestors_of([one] * 1024, "x: its ancestors")) == 1024
    with pytest.raises(CheckpointError, match="x: its ancestors are 1,025, but must be at most"):
        ancestors_of([one] * 1025, "x: its ancestors")


def test_what_a_file_names_does_not_fill_the_terminal(tmp_path: Path, capsys: Any) -> None:
    np.save(tmp_path / "x.npy", X)
    (tmp_path / "x.csv").write_text(",".join(f"c{k}" for k in range(9000)) + "\n" + "," * 8999)
    with pytest.raises(SystemExit):
        main(["data", str(tmp_path / "x.npy"), "--labels", str(tmp_path / "x.csv")])
    said = capsys.readouterr().err
    assert len(said) < 9000 and said.endswith("--label-column\n")


def test_a_number_of_an_option_file_can_be_shown(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "x.toml").write_text("steps = 0x" + "f" * 9000)
    with pytest.raises(SystemExit):
        main(["train", "digits", "--config", str(tmp_path / "x.toml")])
    assert "x.toml sets steps to a number that is too large" in capsys.readouterr().err
