"""Collections against second readers: tarfile, pyarrow, Pillow, rasterio and closed forms; on real pictures where they are present."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
import tracemalloc
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image

from earthgen.gen.data.collections import ImageFolder, Parquet, Selected, TileFolder, WebDataset, open_collection
from earthgen.gen.data.collections.pictures import decode, decode_array
from earthgen.gen.data.collections.tar_index import index_tar
from earthgen.gen.data.collections.tile_folder import tile_centre, tile_gsd
from earthgen.gen.errors import InputError

RNG = np.random.default_rng(0)


def png(array: np.ndarray) -> bytes:
    """A PNG of ``[H, W]`` or ``[H, W, C]``."""
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
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


def rgb(size: int = 16) -> np.ndarray:
    return RNG.integers(0, 256, (size, size, 3), dtype=np.uint8)


@pytest.fixture
def real_pictures(shared_data: Path) -> list[Path]:
    return sorted((shared_data / "more/scene_s2/eurosat/rgb").glob("*.png"))[:60]


def read_back(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).transpose(2, 0, 1)


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_real_pictures_in_tar_shards_are_what_tarfile_reads(real_pictures: list[Path], tmp_path: Path, kind: int) -> None:
    for shard in range(3):
        members = []
        for number, path in enumerate(real_pictures[shard::3]):
            key = f"train/{number:04d}-{path.stem}"
            note = {"class": path.stem.split("_")[0], "number": number}
            members += [
                (f"{key}.png", path.read_bytes()),
                (f"{key}.json", json.dumps(note).encode()),
                (f"{key}.txt", f"no. {number} é".encode()),
            ]
        write_tar(tmp_path / f"{shard}.tar", members, kind)
    shards = WebDataset.from_pattern(tmp_path)
    assert shards.sizes == (20, 20, 20)
    seen = 0
    for shard in range(3):
        with tarfile.open(tmp_path / f"{shard}.tar") as tar:
            for info in (info for info in tar if info.name.endswith(".png")):
                record = shards.read(seen)
                file = tar.extractfile(info)
                assert file is not None
                np.testing.assert_array_equal(record.picture, read_back(file.read()))
                assert record.name == f"{shard}.tar/{info.name.removesuffix('.png')}" == shards.name(seen)
                assert record.metadata == {"class": info.name.split("-")[1].split("_")[0], "number": seen % 20}
                assert record.caption == f"no. {seen % 20} é"
                seen += 1
    assert seen == len(shards)
    with pytest.raises(IndexError):
        shards.read(seen)


def test_the_layout_of_diffusionsat_with_named_members(tmp_path: Path) -> None:
    high, bands, mask = rgb(8), RNG.integers(0, 4000, (6, 4, 4)).astype(np.uint16), rgb(8)[..., 0]
    parts = {
        "rgb.npy": npy(high),
        "multispectral.npy": npy(bands),
        "metadata.json": b'{"gsd": 3.0, "bad": NaN}',
        "output.cls": b"7\n",
        "seg.png": png(mask),
    }
    write_tar(tmp_path / "a.tar", [(f"x/0001.{key}", data) for key, data in parts.items()])
    with pytest.raises(InputError, match="'picture' names the one"):
        WebDataset([tmp_path / "a.tar"]).read(0)
    for picture in ("rgb.npy", "rgb"):
        record = WebDataset([tmp_path / "a.tar"], picture=picture, channels_last=True).read(0)
        np.testing.assert_array_equal(record.picture, high.transpose(2, 0, 1))
        assert record.metadata == {"gsd": 3.0, "bad": None, "output": 7}
        np.testing.assert_array_equal(record.extras["seg"], mask[None])
        np.testing.assert_array_equal(record.extras["multispectral"], bands.transpose(2, 0, 1))


def test_long_names_deep_folders_and_files_that_are_no_members(tmp_path: Path) -> None:
    long = f"{'d' * 90}/{'e' * 120}/{'k' * 130}"
    members = [(f"./{long}.png", png(rgb())), (f"{long}.txt", b"hi"), ("._junk.png", b"x"), ("__index__.json", b"{}")]
    for kind in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        shards = WebDataset([write_tar(tmp_path / "a.tar", members, kind)])
        assert shards.name(0) == f"a.tar/{long}"
        assert shards.read(0).caption == "hi"
        assert len(shards) == 1
    with tarfile.open(tmp_path / "b.tar", "w") as tar:
        link = tarfile.TarInfo("0.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with pytest.raises(InputError, match="holds no sample"):
        WebDataset([tmp_path / "b.tar"])


def test_the_kept_index_is_taken_up_and_dropped_when_it_does_not_fit(tmp_path: Path) -> None:
    path, cache = write_tar(tmp_path / "a.tar", [(f"{n}.png", png(rgb())) for n in range(5)]), tmp_path / "cache"
    fresh = WebDataset([path], cache=cache)
    (kept,) = cache.iterdir()
    first = kept.stat().st_mtime_ns
    again = WebDataset([path], cache=cache)
    assert kept.stat().st_mtime_ns == first
    assert [again.name(n) for n in range(5)] == [fresh.name(n) for n in range(5)]
    np.testing.assert_array_equal(again.read(3).picture, fresh.read(3).picture)
    whole = kept.read_bytes()
    for broken in (whole[:100], b"", b"no archive", npy(np.zeros(3))):
        kept.write_bytes(broken)
        assert len(WebDataset([path], cache=cache)) == 5
        assert kept.read_bytes() != broken
    write_tar(path, [(f"{n}.png", png(rgb())) for n in range(3)])
    assert len(WebDataset([path], cache=cache)) == 3
    with pytest.raises(InputError, match="has changed"):
        again.read(0)


def test_parquet_rows_are_what_pyarrow_reads(real_pictures: list[Path], tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows = [
        {
            "image": {"bytes": path.read_bytes(), "path": path.name},
            "caption": f"c{n}",
            "label": n,
            "where": {"lat": 1.5, "tags": ["a", None]},
            "raw": b"no",
        }
        for n, path in enumerate(real_pictures)
    ]
    parquet.write_table(arrow.Table.from_pylist(rows[:40]), tmp_path / "a.parquet", row_group_size=7)
    parquet.write_table(arrow.Table.from_pylist(rows[40:]), tmp_path / "b.parquet", row_group_size=7)
    rows_read = Parquet.from_pattern(tmp_path, budget=200_000)
    assert rows_read.sizes == (7, 7, 7, 7, 7, 5, 7, 7, 6)
    assert 1 <= rows_read.group < 8
    order = RNG.permutation(60).tolist()
    with ThreadPoolExecutor(4) as pool:
        records = list(pool.map(rows_read.read, order))
    for at, record in zip(order, records, strict=True):
        np.testing.assert_array_equal(record.picture, read_back(rows[at]["image"]["bytes"]))  # type: ignore[index]
        assert record.caption == f"c{at}"
        assert record.metadata == {"label": at, "where": {"lat": 1.5, "tags": ["a", None]}}
        assert record.name == (f"a.parquet#{at}" if at < 40 else f"b.parquet#{at - 40}")
    assert sum(table.nbytes for table in rows_read._kept.values()) <= 200_000 or len(rows_read._kept) == 1
    clone = pickle.loads(pickle.dumps(rows_read))
    np.testing.assert_array_equal(clone.read(50).picture, records[order.index(50)].picture)


def test_parquet_of_plain_bytes_paths_and_masks(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    picture, mask = rgb(), rgb()[..., 0]
    (tmp_path / "m.png").write_bytes(png(mask))
    table = [{"data": png(picture), "mask": {"bytes": None, "path": "m.png"}, "text": "hello"}]
    parquet.write_table(arrow.Table.from_pylist(table), tmp_path / "a.parquet")
    record = Parquet([tmp_path / "a.parquet"], picture="data").read(0)
    np.testing.assert_array_equal(record.picture, picture.transpose(2, 0, 1))
    np.testing.assert_array_equal(record.extras["mask"], mask[None])
    assert record.caption == "hello"
    with pytest.raises(InputError, match="no column 'picture' of pictures among data, mask, text"):
        Parquet([tmp_path / "a.parquet"], picture="picture")
    table[0]["mask"] = {"bytes": None, "path": "../m.png"}
    parquet.write_table(arrow.Table.from_pylist(table), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="outside its folder"):
        Parquet([tmp_path / "a.parquet"], picture="data").read(0)


def test_an_image_folder_with_its_table(tmp_path: Path) -> None:
    pictures = {f"train/{n}.png": rgb() for n in range(4)}
    (tmp_path / "train/masks").mkdir(parents=True)
    lines = []
    for number, (name, array) in enumerate(pictures.items()):
        (tmp_path / name).write_bytes(png(array))
        (tmp_path / f"train/masks/{number}.png").write_bytes(png(array[..., 1]))
        lines.append(
            json.dumps({"file_name": f"{number}.png", "text": f"t{number}", "lat": number, "mask_file_name": f"masks/{number}.png"})
        )
    (tmp_path / "train/metadata.jsonl").write_text("\n\n".join(lines) + "\n")
    folder = ImageFolder(tmp_path)
    assert [folder.name(n) for n in range(4)] == list(pictures)
    for number, array in enumerate(pictures.values()):
        record = folder.read(number)
        np.testing.assert_array_equal(record.picture, array.transpose(2, 0, 1))
        np.testing.assert_array_equal(record.extras["mask"], array[None, ..., 1])
        assert (record.caption, record.metadata) == (f"t{number}", {"lat": number})
    (tmp_path / "train/metadata.jsonl").unlink()
    bare = ImageFolder(tmp_path)
    assert len(bare) == 8
    assert bare.read(0).metadata == {"label": "train"}


def test_tiles_know_where_they_are(tmp_path: Path) -> None:
    for name, size in (("17_70406_42987.png", 256), ("osm_tile_17_70407_42987.png", 512), ("0_0_0.png", 256)):
        (tmp_path / name).write_bytes(png(rgb(size)))
    (tmp_path / "readme_1_2_3.txt").write_text("no tile")
    tiles = TileFolder(tmp_path)
    assert [tiles.name(n) for n in range(3)] == ["0_0_0.png", "17_70406_42987.png", "osm_tile_17_70407_42987.png"]
    world, one, two = (tiles.read(n).metadata for n in range(3))
    assert (world["lat"], world["lon"]) == (pytest.approx(0, abs=1e-9), 0.0)
    assert world["gsd"] == pytest.approx(156_543.03392804097)
    # The inverse projection by GDAL's PROJ.
    from rasterio.warp import transform

    side = 2 * 20_037_508.342789244 / 2**17
    (lon,), (lat,) = transform("EPSG:3857", "EPSG:4326", [70406.5 * side - 20_037_508.342789244], [20_037_508.342789244 - 42987.5 * side])
    assert (one["lat"], one["lon"]) == (pytest.approx(lat, abs=1e-9), pytest.approx(lon, abs=1e-9))
    assert one["gsd"] == pytest.approx(156_543.03392804097 * np.cos(np.radians(lat)) / 2**17)
    assert two["gsd"] == pytest.approx(one["gsd"] / 2)
    assert two["zoom"] == 17
    assert tile_gsd(17, 56) == pytest.approx(0.67, abs=0.005)
    assert tile_centre(1, 0, 0)[0] == pytest.approx(66.51326, abs=1e-4)
    # A parent's centre is the corner that its four children share.
    assert tile_centre(9, 10, 20) == pytest.approx(tile_centre(10, 20.5, 40.5))


def test_paired_tiles_are_extras(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        for y in range(2):
            (tmp_path / folder / f"3_1_{y}.png").write_bytes(png(np.full((4, 4), y + 10 * (folder == "b"), np.uint8)))
    tiles = TileFolder(tmp_path / "a", {"map": tmp_path / "b"})
    assert [int(tiles.read(n).extras["map"][0, 0, 0]) for n in range(2)] == [10, 11]
    (tmp_path / "b/3_1_1.png").unlink()
    with pytest.raises(InputError, match="no map tile"):
        TileFolder(tmp_path / "a", {"map": tmp_path / "b"}).read(1)


def test_stored_numbers_stay_as_they_are(tmp_path: Path) -> None:
    deep = RNG.integers(0, 65536, (3, 9, 7)).astype(np.uint16)
    many = RNG.standard_normal((5, 9, 7)).astype(np.float32)
    for name, array, driver in (
        ("a.png", deep, "PNG"),
        ("b.tif", many, "GTiff"),
        ("c.png", deep[:1], "PNG"),
        ("d.tif", deep.astype(np.int16), "GTiff"),
    ):
        count, height, width = array.shape
        with rasterio.open(tmp_path / name, "w", driver=driver, count=count, height=height, width=width, dtype=array.dtype) as file:
            file.write(array)
        found, _ = decode((tmp_path / name).read_bytes(), name[2:], name)
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)
    alpha = RNG.integers(0, 256, (5, 6, 4), dtype=np.uint8)
    found, more = decode(png(alpha), "png", "x")
    np.testing.assert_array_equal(found, alpha[..., :3].transpose(2, 0, 1))
    np.testing.assert_array_equal(more["alpha"], alpha[None, ..., 3])
    for array in (many.astype(">f4"), np.asfortranarray(many), many.astype(np.float16), np.zeros((0, 3)), np.float64(3.5)):
        again = decode_array(npy(array))
        assert again.dtype.isnative
        np.testing.assert_array_equal(again, array)


def test_selection_by_name_keeps_numbers_and_shards_together(tmp_path: Path) -> None:
    for shard in "abc":
        write_tar(tmp_path / f"{shard}.tar", [(f"{n}.npy", npy(np.full((1, 2, 2), ord(shard) * 100 + n))) for n in range(4)])
    chosen = Selected(WebDataset.from_pattern(tmp_path), exclude=("b.tar/*", "*/3"))
    assert chosen.sizes == (3, 3)
    assert [chosen.name(n) for n in range(6)] == [f"{s}.tar/{n}" for s in "ac" for n in range(3)]
    assert [int(chosen.read(n).picture[0, 0, 0]) for n in range(6)] == [ord(s) * 100 + n for s in "ac" for n in range(3)]
    assert len(Selected(chosen, only=("nothing",))) == 0
    assert len(Selected(chosen, only=())) == 0


def test_threads_and_pickles_read_the_same_with_few_files_open(tmp_path: Path) -> None:
    for shard in range(40):
        write_tar(tmp_path / f"{shard:02d}.tar", [(f"{n}.npy", npy(np.full((1, 4, 4), shard * 10 + n))) for n in range(10)])
    shards = open_collection("webdataset", tmp_path, "*.tar")
    assert isinstance(shards, WebDataset)
    order = RNG.permutation(400).tolist() * 3
    with ThreadPoolExecutor(8) as pool:
        values = list(pool.map(lambda at: int(shards.read(at).picture[0, 0, 0]), order))
    assert values == order
    assert len(shards._files) <= 16
    assert int(pickle.loads(pickle.dumps(shards)).read(123).picture[0, 0, 0]) == 123


def test_memory_does_not_grow_with_reading(tmp_path: Path) -> None:
    data = npy(np.zeros((3, 64, 64), np.uint8))
    shards = WebDataset([write_tar(tmp_path / "a.tar", [(f"{n}.npy", data) for n in range(500)])])
    for at in range(500):
        shards.read(at)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for at in range(2000):
        shards.read(at % 500)
    grown, peak = tracemalloc.get_traced_memory()[0] - before, tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    # Two thousand pictures are 24 MB; one at a time is held.
    assert grown < 200_000
    assert peak < 500_000
    assert index_tar(shards.paths[0]).members.nbytes == 500 * 24
