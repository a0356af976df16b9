"""Bad rasters end in one sentence, and failed writes leave nothing behind."""

from __future__ import annotations

import os
import resource
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from PIL import Image

from earthgen.gen.data.atomic import atomic_path, check_output_path, write_json, write_text
from earthgen.gen.data.radiometry import NAMED, Radiometry
from earthgen.gen.data.raster_env import MAX_READ_BYTES, check_read
from earthgen.gen.data.raster_info import inspect_raster
from earthgen.gen.data.raster_reader import RasterReader
from earthgen.gen.data.raster_writer import RasterWriter
from earthgen.gen.data.rasters import located, read_raster, write_raster
from earthgen.gen.errors import InputError

PLACE = Affine(10, 0, 400_000, 0, -10, 5_000_000)


def sentence(error: pytest.ExceptionInfo[InputError]) -> str:
    """The message, which must be one line that ends without a stop and is not endless."""
    text = str(error.value)
    assert "\n" not in text
    assert 20 < len(text) < 600
    return text


def noise(side: int = 300, bands: int = 3) -> np.ndarray:
    return np.random.default_rng(3).uniform(0.01, 0.9, (bands, side, side)).astype(np.float32)


@contextmanager
def as_nobody(folder: Path) -> Iterator[None]:
    """Run as a user without rights, where the tests run as root; open the way to `folder` for it."""
    root = os.geteuid() == 0
    for parent in (folder, *folder.parents) if root else ():
        if "pytest" in str(parent):
            parent.chmod(parent.stat().st_mode | 0o055)
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """A sound file of ours."""
    path = tmp_path / "good.tif"
    write_raster(path, located(noise(), ["B04", "B03", "B02"], "EPSG:32633", PLACE), radiometry=NAMED["s2-offset"])
    return path


def refuse(path: Path, match: str) -> str:
    """Both ways in must refuse the file in one sentence."""
    with pytest.raises(InputError, match=match) as caught:
        read_raster(path)
    assert str(path.name) in str(caught.value)
    return sentence(caught)


class TestReading:
    def test_missing_empty_and_folder(self, tmp_path: Path) -> None:
        refuse(tmp_path / "none.tif", "no file")
        (tmp_path / "empty.tif").touch()
        refuse(tmp_path / "empty.tif", "empty")
        (tmp_path / "folder.tif").mkdir()
        refuse(tmp_path / "folder.tif", "no Sentinel-2 product")

    @pytest.mark.parametrize("path", ["/vsicurl/http://127.0.0.1/x.tif", "https://127.0.0.1/x.tif", "GTIFF_DIR:1:x.tif", "a\0b.tif"])
    def test_what_is_not_a_path_is_not_followed(self, path: str) -> None:
        with pytest.raises(InputError, match=r"no file|cannot open"):
            read_raster(path)

    @pytest.mark.parametrize(
        "content", [b"hello, I am text\n" * 50, b"II*\0", b"MM\0*" + bytes(40), b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", os.urandom(4096)]
    )
    def test_non_rasters(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "x.tif"
        path.write_bytes(content)
        refuse(path, "cannot read")

    def test_a_vrt_that_points_elsewhere_is_not_opened(self, tmp_path: Path, good: Path) -> None:
        path = tmp_path / "x.tif"
        path.write_text(
            f'<VRTDataset rasterXSize="9" rasterYSize="9"><VRTRasterBand dataType="UInt16" band="1"><SimpleSource>'
            f"<SourceFilename>{good}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
        )
        refuse(path, "cannot read")

    @pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.999])
    def test_truncated(self, good: Path, share: float) -> None:
        data = good.read_bytes()
        good.write_bytes(data[: int(len(data) * share)])
        refuse(good, "cannot read|cut short")

    @pytest.mark.parametrize("name", ["x.png", "x.jpg"])
    def test_truncated_pictures(self, tmp_path: Path, name: str) -> None:
        Image.fromarray((noise(200).transpose(1, 2, 0) * 255).astype(np.uint8)).save(tmp_path / name)
        data = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data[: len(data) // 2])
        refuse(tmp_path / name, "cannot read")

    def test_flipped_bits_in_compressed_pixels(self, good: Path) -> None:
        data = bytearray(good.read_bytes())
        with rasterio.open(good) as file:
            start, size = (int(file.get_tag_item(f"BLOCK_{what}_0_0", "TIFF", bidx=1)) for what in ("OFFSET", "SIZE"))
        data[start + size // 2] ^= 0x10
        good.write_bytes(data)
        refuse(good, "cannot read")

    def test_damage_is_seen_where_it_is_and_not_elsewhere(self, tmp_path: Path) -> None:
        path = tmp_path / "x.tif"
        image = located(noise(1100, 1), ["B04"], None, PLACE)
        write_raster(path, image, radiometry=Radiometry())
        with rasterio.open(path) as file:
            start = int(file.get_tag_item("BLOCK_OFFSET_1_1", "TIFF", bidx=1))
        data = bytearray(path.read_bytes())
        data[start + 100 : start + 140] = bytes(40)
        path.write_bytes(data)
        with RasterReader(path) as reader:
            np.testing.assert_array_equal(reader.read(0, 0, 512, 512), image.values[:, :512, :512])
            with pytest.raises(InputError, match="cannot read"):
                reader.read(600, 600, 10, 10)

    @pytest.mark.parametrize(
        ("width", "height", "strip"),
        [(4_000_000, 4_000_000, 1), (2**31 - 1, 2**31 - 1, 1), (900_000, 900_000, 900_000), (60_000, 60_000, 60_000)],
    )
    def test_an_enormous_header_allocates_nothing(self, tmp_path: Path, width: int, height: int, strip: int) -> None:
        path = tmp_path / "huge.tif"
        entries = [
            (256, 4, width),
            (257, 4, height),
            (258, 3, 16),
            (259, 3, 1),
            (262, 3, 1),
            (273, 4, 8),
            (277, 3, 1),
            (278, 4, strip),
            (279, 4, 100),
        ]
        directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
        path.write_bytes(b"II*\0" + struct.pack("<I", 8) + directory + bytes(104))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        refuse(path, "claims|cannot read|stored in blocks")
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024

    def test_a_png_bomb(self, tmp_path: Path) -> None:
        import zlib

        def chunk(kind: bytes, body: bytes) -> bytes:
            return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

        header = struct.pack(">IIBBBBB", 500_000, 500_000, 8, 2, 0, 0, 0)
        (tmp_path / "x.png").write_bytes(
            b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
        )
        refuse(tmp_path / "x.png", "claims")

    def test_a_read_larger_than_memory_is_refused_before_it_allocates(self) -> None:
        side = int((MAX_READ_BYTES / 4) ** 0.5)
        check_read(1, side, side, "x")
        with pytest.raises(InputError, match=r"GiB at once; read windows"):
            check_read(2, side, side, "x")

    def test_a_sparse_file_is_no_damage(self, tmp_path: Path) -> None:
        """A large file that is mostly nodata is small, and sound."""
        profile = {
            "driver": "GTiff",
            "height": 10_980,
            "width": 10_980,
            "count": 1,
            "dtype": "uint16",
            "nodata": 0,
            "tiled": True,
            "sparse_ok": True,
        }
        with rasterio.open(tmp_path / "x.tif", "w", **profile, blockxsize=512, blockysize=512, compress="deflate") as file:
            file.write(np.full((1, 4, 4), 7, np.uint16), window=rasterio.windows.Window(5000, 5000, 4, 4))
        with RasterReader(tmp_path / "x.tif", radiometry=NAMED["s2"]) as reader:
            assert np.isfinite(reader.read(4990, 4990, 30, 30)).sum() == 16
            assert reader.has_data()

    def test_wrong_band(self, good: Path) -> None:
        for band in ("B08", 4, "0", "nir"):
            with pytest.raises(InputError, match=r"there is no band") as caught:
                read_raster(good, bands=[band])
            sentence(caught)

    def test_all_nodata(self, tmp_path: Path) -> None:
        path = tmp_path / "x.tif"
        write_raster(path, located(np.full((2, 9, 9), np.nan, np.float32), ["a", "b"], None, PLACE), radiometry=NAMED["s2"])
        assert "no pixel" in refuse(path, "no pixel")
        with RasterReader(path) as reader:
            assert not reader.has_data()
        assert inspect_raster(path).nodata == 0

    def test_data_that_no_preview_sees_is_found(self, tmp_path: Path) -> None:
        pixels = np.full((1, 1500, 1500), np.nan, np.float32)
        pixels[0, 1401, 777] = 1.0
        write_raster(tmp_path / "x.tif", located(pixels, ["a"], None, PLACE))
        with RasterReader(tmp_path / "x.tif") as reader:
            assert reader.has_data()

    @pytest.mark.parametrize("dtype", ["complex64", "complex_int16", "int64"])
    def test_numbers_of_a_strange_type(self, tmp_path: Path, dtype: str) -> None:
        with rasterio.open(tmp_path / "x.tif", "w", driver="GTiff", height=3, width=3, count=1, dtype=dtype):
            pass
        assert "convert" in refuse(tmp_path / "x.tif", "numbers of type")

    def test_a_window_outside(self, good: Path) -> None:
        with RasterReader(good) as reader:
            for window in ((0, 0, 301, 10), (-1, 0, 5, 5), (290, 290, 11, 5), (0, 0, 0, 5)):
                with pytest.raises(InputError, match="leaves"):
                    reader.read(*window)

    def test_a_file_without_permission(self, good: Path) -> None:
        good.chmod(0)
        with as_nobody(good.parent):
            refuse(good, "may not be read")


def files(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


class TestWriting:
    def test_output_equals_input(self, good: Path, tmp_path: Path) -> None:
        (tmp_path / "link.tif").symlink_to(good)
        os.link(good, tmp_path / "hard.tif")
        for target in (good, tmp_path / "link.tif", tmp_path / "hard.tif", tmp_path / "." / "good.tif"):
            with pytest.raises(InputError, match="is the input") as caught:
                check_output_path(target, good)
            sentence(caught)
        check_output_path(tmp_path / "other.tif", good)
        with pytest.raises(InputError, match="is the input"):
            check_output_path(tmp_path / "inside.tif", tmp_path)

    @pytest.mark.parametrize(
        ("name", "match"),
        [
            ("none/x.tif", "does not exist"),
            ("good.tif/x.tif", "is a file"),
            ("folder.tif", "is a folder"),
            ("x.gif", "suffix"),
            ("x", "suffix"),
        ],
    )
    def test_a_bad_output_path(self, good: Path, tmp_path: Path, name: str, match: str) -> None:
        (tmp_path / "folder.tif").mkdir()
        before = files(tmp_path)
        with pytest.raises(InputError, match=match) as caught:
            write_raster(tmp_path / name, read_raster(good))
        sentence(caught)
        assert files(tmp_path) == before

    def test_a_folder_that_may_not_be_written(self, tmp_path: Path) -> None:
        folder = tmp_path / "locked"
        folder.mkdir()
        folder.chmod(0o555)
        with as_nobody(folder), pytest.raises(InputError, match="may not be written"):
            write_text(folder / "x.txt", "x")
        assert files(folder) == []

    @pytest.mark.parametrize(
        ("bands", "radiometry", "name", "crs", "match"),
        [
            (2, NAMED["display8"], "x.png", None, "cannot hold 2 bands"),
            (3, NAMED["s2"], "x.jpg", None, "cannot hold 3 bands of uint16"),
            (3, Radiometry(), "x.png", None, "float32"),
            (3, NAMED["display8"], "x.png", "EPSG:3857", "place on Earth"),
            (3, Radiometry(1 / 255, 0, 0, "display", "uint8"), "x.jpg", None, "blurs"),
        ],
    )
    def test_pictures_that_cannot_hold_it(
        self, tmp_path: Path, bands: int, radiometry: Radiometry, name: str, crs: str | None, match: str
    ) -> None:
        with pytest.raises(InputError, match=match):
            write_raster(tmp_path / name, located(noise(9, bands), list("abc")[:bands], crs, PLACE), radiometry=radiometry)
        assert files(tmp_path) == []

    @pytest.mark.parametrize("cog", [False, True])
    def test_an_error_on_the_way_leaves_the_old_file(self, good: Path, tmp_path: Path, cog: bool) -> None:
        old = good.read_bytes()
        settings = {"bands": ["a"], "height": 900, "width": 900, "crs": None, "transform": PLACE, "radiometry": Radiometry()}
        with pytest.raises(KeyboardInterrupt), RasterWriter(good, **settings, cog=cog) as writer:  # noqa: PT012
            writer.write(0, 0, noise(600, 1))
            raise KeyboardInterrupt
        assert good.read_bytes() == old
        assert files(tmp_path) == ["good.tif"]

    def test_missing_pixels_that_cannot_be_marked(self, tmp_path: Path) -> None:
        pixels = noise(20)
        pixels[0, 3, 3] = np.nan
        with pytest.raises(InputError, match="nodata"):
            write_raster(tmp_path / "x.tif", located(pixels, list("abc"), None, PLACE), radiometry=NAMED["display8"])
        assert files(tmp_path) == []

    def test_pieces_that_do_not_fit(self, tmp_path: Path) -> None:
        settings = {"bands": ["a"], "height": 9, "width": 9, "crs": None, "transform": PLACE, "radiometry": Radiometry()}
        for row, piece, match in ((0, np.zeros((2, 3, 3)), "bands"), (8, np.zeros((1, 3, 3)), "leaves"), (0, np.zeros((3, 3)), "bands")):
            with pytest.raises(InputError, match=match), RasterWriter(tmp_path / "x.tif", **settings) as writer:
                writer.write(row, 0, piece)
        assert files(tmp_path) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)], capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


class TestFullDisk:
    @pytest.mark.parametrize("cog", [False, True])
    @pytest.mark.parametrize("side", [512, 700, 740, 2000])
    def test_a_raster(self, small_disk: Path, side: int, cog: bool) -> None:
        """Far too large, and too large by so little that the room runs out while the file is being closed."""
        pixels = np.random.default_rng(0).uniform(0, 1, (1, side, side)).astype(np.float32)
        image = located(pixels, ["a"], None, PLACE)
        with pytest.raises(InputError, match="disk is full") as caught:
            write_raster(small_disk / "x.tif", image, tags={"LONG": "x" * 2**20} if side == 512 else {}, cog=cog, radiometry=Radiometry())
        sentence(caught)
        assert files(small_disk) == []

    def test_every_size_is_whole_or_refused(self, small_disk: Path) -> None:
        """Around the size that just fits, nothing is silently cut: numbers without structure take all the room that they are given."""
        numbers = np.random.default_rng(0).integers(0, 2**16, (1, 1100, 512)).astype(np.float32)
        refused, kept = [], 0
        for height in [*range(1012, 1036, 3), *range(1018, 1028)]:
            image = located(numbers[:, :height], ["a"], None, PLACE)
            try:
                write_raster(small_disk / "x.tif", image, radiometry=Radiometry(unit="m", dtype="uint16"))
            except InputError as error:
                refused.append(str(error))
                assert files(small_disk) == []
                continue
            kept += 1
            np.testing.assert_array_equal(read_raster(small_disk / "x.tif").values, image.values)
            (small_disk / "x.tif").unlink()
        assert kept > 2
        assert len(refused) > 2
        assert all("disk is full" in text for text in refused)

    def test_text(self, small_disk: Path) -> None:
        write_json(small_disk / "a.json", {"kept": True})
        with pytest.raises(OSError, match="No space left"):
            write_text(small_disk / "a.json", "x" * 2**21)
        assert files(small_disk) == ["a.json"]
        assert "kept" in (small_disk / "a.json").read_text()

    def test_a_limit_on_the_files_size(self, tmp_path: Path) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
        try:
            with pytest.raises(InputError, match="cannot write") as caught:
                write_raster(tmp_path / "x.tif", located(noise(600, 1), ["a"], None, PLACE), radiometry=Radiometry())
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert "room" in sentence(caught)
        assert files(tmp_path) == []


def test_atomic_path_replaces_only_when_all_went_well(tmp_path: Path) -> None:
    target = tmp_path / "x.txt"
    with atomic_path(target) as partial:
        partial.write_text("one")
        assert partial.suffix == ".txt"
        assert not target.exists()
    with pytest.raises(RuntimeError), atomic_path(target) as partial:  # noqa: PT012
        partial.write_text("two")
        raise RuntimeError
    assert target.read_text() == "one"
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "never.txt"):
        pass
    assert files(tmp_path) == ["x.txt"]
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "nan.json", float("nan"))
    assert files(tmp_path) == ["x.txt"]
