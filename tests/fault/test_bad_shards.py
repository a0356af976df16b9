"""Damaged, hostile and mistaken collections: one sentence each, and one bad picture among many stops nothing."""

from __future__ import annotations

import gzip
import io
import json
import os
import struct
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from earthgen.gen.data.collections import ImageFolder, Parquet, Record, TileFolder, Tolerant, UnreadableRecord, WebDataset
from earthgen.gen.data.collections.pictures import decode
from earthgen.gen.data.sources import StreamFiles
from earthgen.gen.data.stream import PictureStream
from earthgen.gen.errors import InputError


def png(value: int = 0, size: int = 8) -> bytes:
    stream = io.BytesIO()
    noise = np.random.default_rng(value).integers(0, 256, (size, size, 3), dtype=np.uint8)
    Image.fromarray(noise).save(stream, "PNG")
    return stream.getvalue()


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def write_tar(path: Path, members: Iterable[tuple[str, bytes]], kind: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=kind) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    return write_tar(tmp_path / "a.tar", [(f"{n}.{ext}", data) for n in range(6) for ext, data in (("png", png(n)), ("json", b'{"n": 1}'))])


def empty(folder: Path) -> list[Path]:
    (folder / "b.tar").write_bytes(b"")
    return [folder / "b.tar"]


def no_members(folder: Path) -> list[Path]:
    return [write_tar(folder / "b.tar", [])]


def copied(folder: Path) -> list[Path]:
    (folder / "b.tar").write_bytes((folder / "a.tar").read_bytes())
    return [folder / "a.tar", folder / "b.tar"]


def linked(folder: Path) -> list[Path]:
    (folder / "b.tar").symlink_to(folder / "a.tar")
    return [folder / "a.tar", folder / "b.tar"]


def repeated_key(folder: Path) -> list[Path]:
    return [write_tar(folder / "b.tar", [("0.png", png()), ("1.png", png(1)), ("0.png", png(2))])]


def compressed(folder: Path) -> list[Path]:
    (folder / "b.tar").write_bytes(gzip.compress((folder / "a.tar").read_bytes()))
    return [folder / "b.tar"]


def joined(folder: Path) -> list[Path]:
    other = write_tar(folder / "c.tar", [("x.png", png(9))])
    (folder / "b.tar").write_bytes((folder / "a.tar").read_bytes() + other.read_bytes())
    return [folder / "b.tar"]


def without_end(folder: Path) -> list[Path]:
    with tarfile.open(folder / "a.tar") as tar:
        last = tar.getmembers()[-1]
    (folder / "b.tar").write_bytes((folder / "a.tar").read_bytes()[: last.offset_data + 512])
    return [folder / "b.tar"]


def spoilt_header(folder: Path) -> list[Path]:
    with tarfile.open(folder / "a.tar") as tar:
        at = tar.getmembers()[4].offset
    data = bytearray((folder / "a.tar").read_bytes())
    data[at + 3] ^= 1
    (folder / "b.tar").write_bytes(data)
    return [folder / "b.tar"]


def claims_more_than_the_file(folder: Path) -> list[Path]:
    info = tarfile.TarInfo("0.png")
    info.size = 2**40
    (folder / "b.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
    return [folder / "b.tar"]


def giant_header(folder: Path) -> list[Path]:
    """An extended header that claims 8 GB, which tarfile by itself would read into memory."""
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, 8 * 2**30
    (folder / "b.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
    return [folder / "b.tar"]


def missing(folder: Path) -> list[Path]:
    return [folder / "gone.tar"]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (empty, r"b\.tar is empty \(0 bytes\)"),
        (no_members, r"b\.tar holds no sample|no uncompressed tar"),
        (copied, r"a\.tar and .*b\.tar have the same content"),
        (linked, r"a\.tar and .*b\.tar are one file"),
        (repeated_key, r"b\.tar holds 0\.png twice"),
        (compressed, r"b\.tar is cut short or damaged, or no uncompressed tar"),
        (joined, "several archives joined"),
        (without_end, "its end mark is missing"),
        (spoilt_header, r"no header at byte \d+"),
        (claims_more_than_the_file, r"0\.png claims 1099511627776 bytes"),
        (giant_header, r"b\.tar is cut short or damaged"),
        (missing, r"no shard .*gone\.tar"),
        (lambda folder: [], "no tar shard was given"),
    ],
)
def test_shards_that_cannot_be_trained_on(shard: Path, make: Callable[[Path], list[Path]], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        WebDataset(make(shard.parent))
    assert "\n" not in str(caught.value)


def test_a_shard_cut_anywhere_is_refused(shard: Path, tmp_path: Path) -> None:
    data, cut = shard.read_bytes(), tmp_path / "cut.tar"
    with tarfile.open(shard) as tar:
        end = tar.getmembers()[-1].offset_data + 512
    for length in [*range(0, end, 311), end - 1, end]:
        cut.write_bytes(data[:length])
        with pytest.raises(InputError, match=r"cut\.tar"):
            WebDataset([cut])


def test_flipped_bytes_never_give_anything_but_a_record_or_a_sentence(shard: Path, tmp_path: Path) -> None:
    rng, data, path = np.random.default_rng(0), shard.read_bytes(), tmp_path / "flipped.tar"
    outcomes = {"read": 0, "unreadable": 0, "refused": 0}
    for _ in range(300):
        broken = bytearray(data)
        for at in rng.integers(0, len(data) - 9000, rng.integers(1, 12)):
            broken[at] ^= 1 << int(rng.integers(0, 8))
        path.write_bytes(broken)
        try:
            shards = WebDataset([path])
        except InputError:
            outcomes["refused"] += 1
            continue
        for index in range(len(shards)):
            try:
                assert shards.read(index).picture.ndim == 3
                outcomes["read"] += 1
            except UnreadableRecord:
                outcomes["unreadable"] += 1
    assert min(outcomes.values()) > 10, outcomes


def test_nothing_is_extracted_and_names_are_only_names(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    hostile = [("../../evil.png", png(1)), ("/etc/evil.png", png(2)), ("a/../../b.png", png(3))]
    shards = WebDataset([write_tar(tmp_path / "in/a.tar", hostile)])
    assert [shards.read(index).name for index in range(3)] == ["a.tar/../../evil", "a.tar//etc/evil", "a.tar/a/../../b"]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.tar", "in"]


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"txt": b"no picture"}, "no picture among its members txt"),
        ({"png": b""}, "empty"),
        ({"png": png()[:70]}, "truncated|broken|image"),
        ({"jpg": b"no jpeg at all"}, "cannot identify"),
        ({"png": png(), "jpg": png()}, "2 pictures"),
        ({"png": png(), "json": b"{"}, "no JSON"),
        ({"png": png(), "json": b"[" * 100_000}, "no JSON"),
        ({"png": png(), "txt": b"\xff\xfe\x80"}, "no UTF-8"),
        ({"npy": npy(np.zeros((2, 2)))[:-1]}, "claims"),
        ({"npy": npy(np.zeros(5))}, "no picture"),
        ({"npy": npy(np.asarray([{"a": 1}], dtype=object))}, "not numbers"),
        ({"npz": b"PK no archive"}, "zip"),
    ],
)
def test_a_bad_sample_is_that_samples_fault(tmp_path: Path, members: dict[str, bytes], reason: str) -> None:
    shards = WebDataset([write_tar(tmp_path / "a.tar", [("good.png", png()), *((f"bad.{ext}", data) for ext, data in members.items())])])
    assert shards.read(0).picture.shape == (3, 8, 8)
    with pytest.raises(UnreadableRecord, match=reason) as caught:
        shards.read(1)
    assert caught.value.name == "a.tar/bad"
    assert "\n" not in str(caught.value)


def png_that_claims(width: int, height: int) -> bytes:
    """A PNG whose header claims a size, with hardly any data behind it."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def npy_that_claims(shape: str, dtype: str = "<f8") -> bytes:
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(64)


def zipped_bomb() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("image.npy", "w", force_zip64=True) as file:
        for _ in range(64):
            file.write(bytes(2**20))
    return stream.getvalue().replace(struct.pack("<I", 64 * 2**20), struct.pack("<I", 2**32 - 2))


def giant_tiff() -> bytes:
    """One strip of 4000000000 x 4000000000 pixels, in 100 bytes."""
    tags = [
        (256, 4, 4_000_000_000),
        (257, 4, 4_000_000_000),
        (258, 3, 8),
        (259, 3, 1),
        (262, 3, 1),
        (273, 4, 8),
        (277, 3, 1),
        (278, 4, 4_000_000_000),
    ]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in [*tags, (279, 4, 8)])
    return b"II*\0" + struct.pack("<I", 16) + bytes(8) + struct.pack("<H", len(tags) + 1) + entries + bytes(4)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("png", png_that_claims(60_000, 60_000)),
        ("png", png_that_claims(12_000, 9_000)),
        ("png", png_that_claims(2**31 - 1, 2**31 - 1)),
        ("npy", npy_that_claims("(100000, 100000, 100000)")),
        ("npy", npy_that_claims("(-1, -8)")),
        ("npy", npy_that_claims("(8, 8)", "|O")),
        ("npy", npy_that_claims("(1, 1, 1)", "<f16")),
        ("npy", b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 200),
        ("npz", zipped_bomb()),
        ("tif", giant_tiff()),
        ("tif", b"II*\0" + bytes(200)),
        ("webp", b"RIFF\xff\xff\xff\x7fWEBPVP8X" + b"\xff" * 64),
    ],
)
def test_headers_are_not_believed(kind: str, data: bytes) -> None:
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UnreadableRecord, match="the record x cannot be read"):
        decode(data, kind, "x")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kB


class Numbers:
    """A collection of numbers, some of which cannot be read; reads are counted."""

    group = 8

    def __init__(self, count: int, bad: Iterable[int]) -> None:
        self.count, self.bad, self.reads = count, set(bad), 0
        self.sizes = (count,)

    def __len__(self) -> int:
        return self.count

    def name(self, index: int) -> str:
        return f"n{index}"

    def read(self, index: int) -> Record:
        self.reads += 1
        if index in self.bad:
            raise UnreadableRecord(self.name(index), "it is odd")
        return Record(self.name(index), np.full((1, 1, 1), index))


def test_one_in_a_hundred_is_replaced_and_more_stop() -> None:
    rng = np.random.default_rng(0)
    bad = rng.choice(1000, 11, replace=False).tolist()
    enough = Tolerant(Numbers(1000, bad[:10]), seed=5)
    readings = [enough.read(index, index) for index in range(1000)]
    assert [reading.replaced != () for reading in readings] == [index in bad[:10] for index in range(1000)]
    assert sorted(enough.bad) == sorted(f"n{index} (it is odd)" for index in bad[:10])
    assert all(int(reading.record.picture[0, 0, 0]) not in bad[:10] for reading in readings)
    too_many = Tolerant(Numbers(1000, bad), seed=5)
    for index in bad[:10]:
        too_many.read(index, index)
    with pytest.raises(InputError, match=r"^11 of 1000 records cannot be used, more than 1%: n\d+ \(it is odd\); ") as caught:
        too_many.read(bad[10], 0)
    assert len(str(caught.value)) < 400
    with pytest.raises(InputError, match="1 of 99"):
        Tolerant(Numbers(99, [0])).read(0, 0)


def test_the_same_bad_picture_seen_often_counts_once() -> None:
    reader = Tolerant(Numbers(100, [7]))
    names = {reader.read(7, index).record.name for index in range(300)}
    assert len(names) > 80
    assert reader.bad == ["n7 (it is odd)"]
    assert reader.collection.reads <= 302  # type: ignore[attr-defined]


def test_replacements_are_functions_of_seed_and_index() -> None:
    bad = range(0, 1000, 100)
    one, two = Tolerant(Numbers(1000, bad), 1), Tolerant(Numbers(1000, bad), 1)
    forward = {index: one.read(100 * (index % 10), index).record.name for index in range(50)}
    backward = {index: two.read(100 * (index % 10), index).record.name for index in reversed(range(50))}
    assert forward == backward
    other = Tolerant(Numbers(1000, bad), 2)
    assert forward != {index: other.read(100 * (index % 10), index).record.name for index in range(50)}


def test_small_odd_and_damaged_pictures_of_a_stream_are_replaced_and_named(tmp_path: Path) -> None:
    members = [(f"{n:03d}.png", png(n, 16)) for n in range(400)]
    members[50] = ("050.png", png(0, 12))
    members[60] = ("060.npy", npy(np.zeros((5, 16, 16), np.uint8)))
    members[70] = ("070.png", png(0, 16)[:90])
    write_tar(tmp_path / "a.tar", members)
    stream = PictureStream(StreamFiles(format="webdataset", files="*.tar"), tmp_path, 16, 0, 0)
    seen = [stream.picture(turn, turn) for turn in range(400)]
    replaced = sorted(name for reading in seen for name in reading.replaced)
    assert [name.split(" ")[0] for name in replaced] == ["a.tar/050", "a.tar/060", "a.tar/070"]
    assert "smaller than a crop of 16" in replaced[0]
    assert "5 bands, where others have 3" in replaced[1]
    with pytest.raises(InputError, match=r"1 of 400 .*smaller than a crop of 17|5 of 400 .*smaller than a crop of 17"):
        PictureStream(StreamFiles(format="webdataset", files="*.tar"), tmp_path, 17, 0, 0)


def test_folders_patterns_and_caches_that_are_not_there(shard: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no folder .*gone with tar shards"):
        WebDataset.from_pattern(tmp_path / "gone")
    with pytest.raises(InputError, match=r"no file under .* matches 'shards/\*\.tar'"):
        WebDataset.from_pattern(tmp_path, "shards/*.tar")
    with pytest.raises(InputError, match="is no pattern for tar shards"):
        WebDataset.from_pattern(tmp_path, "/abs/*.tar")
    with pytest.raises(InputError, match=r"cache folder .*a\.tar/cache cannot be made"):
        WebDataset([shard], cache=shard / "cache")
    if os.geteuid():
        (tmp_path / "closed").mkdir(mode=0o500)
        with pytest.raises(InputError, match=r"cache folder .*closed may not be written"):
            WebDataset([shard], cache=tmp_path / "closed")
    shards = WebDataset([shard])
    shard.unlink()
    with pytest.raises(InputError, match="cannot be opened any more") as caught:
        shards.read(0)
    assert not isinstance(caught.value, UnreadableRecord)


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ("{", "line 1 of .* is no JSON"),
        ('{"file_name": "a.png"}\n{"text": "x"}', "line 2 of .* has no 'file_name'"),
        ('{"file_name": "../a.png"}', "outside"),
        ('{"file_name": "/etc/a.png"}', "outside"),
        ('{"file_name": "a.txt"}', "no picture"),
        ('{"file_name": "a.png"}\n{"file_name": "./a.png"}', "two lines of .* name a.png"),
        ("\n\n", "holds no picture"),
        ("[1]", "has no 'file_name'"),
    ],
)
def test_tables_of_image_folders(tmp_path: Path, lines: str, sentence: str) -> None:
    (tmp_path / "a.png").write_bytes(png())
    (tmp_path / "metadata.jsonl").write_text(lines)
    with pytest.raises(InputError, match=sentence):
        ImageFolder(tmp_path)


def test_pictures_missing_from_a_folder_are_the_records_fault(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    rows = [{"file_name": "a.png"}, {"file_name": "b.png"}, {"file_name": "a2.png", "mask_file_name": "../a.png"}]
    (tmp_path / "a2.png").write_bytes(png())
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    folder = ImageFolder(tmp_path)
    assert folder.read(0).picture.shape == (3, 8, 8)
    for index, reason in ((1, "No such file"), (2, "outside")):
        with pytest.raises(UnreadableRecord, match=reason):
            folder.read(index)
    with pytest.raises(InputError, match="no folder"):
        ImageFolder(tmp_path / "gone")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no picture"):
        ImageFolder(tmp_path / "empty")


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["a.png"], "no tile named z_x_y.png"),
        (["3_8_0.png"], "3_8_0.png .* does not exist: at zoom 3 columns and rows go to 7"),
        (["43000_70000_17.png"], "no tile named"),
        (["99_0_0.png"], "does not exist"),
        (["3_1_1.png", "3_1_1.jpg"], "3_1_1 occurs twice"),
    ],
)
def test_tiles_that_cannot_be(tmp_path: Path, names: list[str], sentence: str) -> None:
    for name in names:
        (tmp_path / name).write_bytes(png())
    with pytest.raises(InputError, match=sentence):
        TileFolder(tmp_path)


def test_bad_parquet(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    good, path = tmp_path / "good.parquet", tmp_path / "a.parquet"
    table = arrow.Table.from_pylist([{"image": png(n, 64), "n": n} for n in range(40)])
    parquet.write_table(table, good, row_group_size=10, compression="zstd", write_page_checksum=True)
    whole = good.read_bytes()
    cases: list[tuple[Callable[[], object], str]] = [
        (lambda: path.write_bytes(b""), r"a\.parquet is empty"),
        (lambda: path.write_bytes(b"PAR1 no parquet PAR1"), "cannot be read as parquet"),
        (lambda: path.write_bytes(whole[:-30]), "cannot be read as parquet"),
        (lambda: parquet.write_table(table.slice(0, 0), path), "has no rows"),
        (lambda: parquet.write_table(table.select(["n"]), path), "0 columns that may be the picture among n"),
        (lambda: parquet.write_table(arrow.Table.from_pylist([{"a": b"", "b": b""}]), path), "2 columns that may be the picture"),
    ]
    for write, sentence in cases:
        write()
        with pytest.raises(InputError, match=sentence):
            Parquet([path])
    path.write_bytes(whole)
    with pytest.raises(InputError, match="same content"):
        Parquet([good, path])
    broken = bytearray(whole)
    broken[2000] ^= 1
    path.write_bytes(broken)
    rows = Parquet([path])
    with pytest.raises(UnreadableRecord, match="its row group"):
        rows.read(3)
    assert rows.read(25).picture.shape == (3, 64, 64)
    parquet.write_table(
        arrow.Table.from_pylist([{"image": {"bytes": None, "path": None}}, {"image": {"bytes": b"?", "path": "x.doc"}}]), path
    )
    for index, reason in enumerate(("no picture", "no PNG")):
        with pytest.raises(UnreadableRecord, match=reason):
            Parquet([path]).read(index)


def test_parquet_without_pyarrow_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(InputError, match=r"earthgen\[stream\]"):
        Parquet.from_pattern(tmp_path)
