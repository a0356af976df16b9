"""A run that is stopped at any moment goes on, and writes the same bytes as one that was not stopped."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from rasterio.transform import from_origin

from earthgen.gen.data.radiometry import NAMED
from earthgen.gen.data.raster_writer import RasterWriter
from earthgen.gen.data.spool import Spool, remove_spool
from earthgen.gen.data.tiles import StreamReport, TilePixels, stream
from earthgen.gen.errors import InputError

SERVER = '''
"""Doubles GeoTIFFs in size: for each line "IN OUT SECONDS" it forks a process that does it, kills that after so long, prints its end."""
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
from earthgen.gen.data.raster_reader import RasterReader
from earthgen.gen.data.raster_writer import RasterWriter
from earthgen.gen.data.tiles import remove_spool, stream


class Double:
    scale, halo, multiple, layers = 2, 8, 1, {"image": ("red", "nir"), "spread": ("red",)}

    def __init__(self, seconds):
        self.seconds = seconds

    def run(self, tiles):
        time.sleep(self.seconds)
        images = [np.sin(tile.pixels.repeat(2, 1).repeat(2, 2) * 7 + tile.row + 2 * tile.col) / 3 + 0.5 for tile in tiles]
        return [{"image": image, "spread": abs(image[:1] - 0.3)} for image in images]


def double(source, target, seconds):
    spool = target.with_suffix(".spool")
    with RasterReader(source) as reader:
        about = {"height": reader.height * 2, "width": reader.width * 2, "crs": reader.crs, "transform": reader.transform}
        about["radiometry"] = reader.radiometry
        with (
            RasterWriter(target, bands=reader.bands, **about) as image,
            RasterWriter(target.with_name("spread.tif"), bands=("red",), **about) as spread,
        ):
            sinks = {"image": image, "spread": spread}
            report = stream(Double(seconds), reader, sinks, tile=160, spool=spool, resume=True, fingerprint={"seed": 0})
    remove_spool(spool)
    target.with_name("resumed").write_text(str(report.resumed))


for line in sys.stdin:
    source, target, seconds = line.split()
    number = os.fork()
    if not number:
        double(Path(source), Path(target), 0.004)
        os._exit(0)
    if float(seconds):
        time.sleep(float(seconds))
        os.kill(number, signal.SIGKILL)
    print(os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]), flush=True)
'''


@pytest.fixture(scope="module")
def scene_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scene") / "in.tif"
    pixels = np.random.default_rng(0).random((2, 290, 410), np.float32)
    pixels[:, 60:190, 100:260] = np.nan
    place = {"crs": "EPSG:32632", "transform": from_origin(500_000, 5_000_000, 10, 10)}
    with RasterWriter(path, bands=("red", "nir"), height=290, width=410, radiometry=NAMED["s2"], **place) as writer:
        writer.write(0, 0, pixels)
    return path


@pytest.fixture
def server(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", SERVER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


def double(server: subprocess.Popen[str], source: Path, folder: Path, *, kill_after: float = 0.0) -> float:
    """Have it done, or killed on the way; returns the seconds that it took."""
    folder.mkdir(exist_ok=True)
    assert server.stdin is not None
    assert server.stdout is not None
    began = time.monotonic()
    server.stdin.write(f"{source} {folder / 'out.tif'} {kill_after}\n")
    server.stdin.flush()
    status = int(server.stdout.readline())
    assert status == 0 or (kill_after and status == -signal.SIGKILL)
    return time.monotonic() - began


def test_killed_at_random_moments_and_resumed_the_files_are_the_same_byte_for_byte(
    scene_path: Path, tmp_path: Path, server: subprocess.Popen[str]
) -> None:
    double(server, scene_path, tmp_path / "first")  # it begins when all is imported
    needed = double(server, scene_path, tmp_path / "whole")
    expected = {name: (tmp_path / "whole" / name).read_bytes() for name in ("out.tif", "spread.tif")}
    rng, resumed = random.Random(), []
    for trial in range(10):
        folder = tmp_path / f"trial{trial}"
        for _ in range(1 + trial % 3):
            double(server, scene_path, folder, kill_after=rng.uniform(0, needed))
            for name, content in expected.items():
                assert not (folder / name).exists() or (folder / name).read_bytes() == content
        double(server, scene_path, folder)
        assert {name: (folder / name).read_bytes() for name in expected} == expected, trial
        assert not (folder / "out.spool").exists()
        resumed.append(int((folder / "resumed").read_text()))
    assert max(resumed) > 0


# --- the same in one process


class Source:
    height, width, bands = 70, 110, ("a",)

    def __init__(self) -> None:
        self.pixels = np.random.default_rng(1).random((1, 70, 110), np.float32)
        self.pixels[:, 10:50, 30:90] = np.nan

    def read(self, row: int, col: int, height: int, width: int) -> np.ndarray:
        return self.pixels[:, row : row + height, col : col + width]


class Step:
    def __init__(self) -> None:
        self.scale, self.halo, self.multiple, self.layers, self.calls = 2, 4, 1, {"image": ("a",)}, 0

    def run(self, tiles: list[TilePixels]) -> list[dict[str, np.ndarray]]:
        self.calls += len(tiles)
        return [{"image": tile.pixels.repeat(2, 1).repeat(2, 2) + np.float32(tile.row) / 3 + np.float32(tile.col)} for tile in tiles]


class Sink:
    def __init__(self) -> None:
        self.pieces: list[tuple[int, int, bytes]] = []

    def write(self, row: int, col: int, array: np.ndarray) -> None:
        self.pieces.append((row, col, array.tobytes()))


def run(spool: Path | None, *, stop: int | None = None, error: type[BaseException] = KeyboardInterrupt, **options: object) -> tuple:
    """What the sink got, the report, and how many windows were worked on."""

    def progress(done: int, total: int) -> None:
        if done == stop:
            raise error

    step, sink = Step(), Sink()
    report = stream(step, Source(), {"image": sink}, **{"tile": 40, "spool": spool, "progress": progress, **options})  # type: ignore[arg-type]
    return sink.pieces, report, step.calls


@pytest.fixture(scope="module")
def expected() -> list[tuple[int, int, bytes]]:
    return run(None)[0]


@pytest.mark.parametrize("stop", range(0, 24))
def test_stopped_after_any_tile_it_goes_on_from_there(stop: int, tmp_path: Path, expected: object) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "spool", stop=stop)
    pieces, report, calls = run(tmp_path / "spool", resume=True)
    assert pieces == expected
    assert report == StreamReport(24, 2, stop)
    assert calls <= 24 - stop
    # All of it is there until the caller says so: another run only writes.
    again, report, calls = run(tmp_path / "spool", resume=True)
    assert (again, report.resumed, calls) == (expected, 24, 0)
    remove_spool(tmp_path / "spool")
    assert list(tmp_path.iterdir()) == []


def test_without_resuming_the_old_work_is_thrown_away_with_a_warning(
    tmp_path: Path, expected: object, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "spool", stop=9, fingerprint="other")
    pieces, report, _ = run(tmp_path / "spool")
    assert (pieces, report.resumed) == (expected, 0)
    assert "thrown away" in caplog.text


def test_resuming_where_nothing_is_starts_from_nothing(tmp_path: Path, expected: object) -> None:
    pieces, report, _ = run(tmp_path / "new" / "spool", resume=True)
    assert (pieces, report.resumed) == (expected, 0)


def test_another_batch_goes_on_with_the_same_work(tmp_path: Path, expected: object) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, stop=7, batch=3)
    assert run(tmp_path, resume=True, batch=2)[0] == expected


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"fingerprint": {"seed": 1, "model": "m"}}, "seed was 0 and is 1"),
        ({"tile": 60}, "tiles was 4 x 6 of 20 pixels and is"),
        ({"blend": 0.25}, "halo was"),
        ({"fingerprint": {"model": "m"}}, "seed was 0 and is None"),
    ],
)
def test_work_of_another_run_is_refused_and_the_difference_named(
    options: dict[str, object], words: str, tmp_path: Path, expected: object
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, stop=5, fingerprint={"seed": 0, "model": "m"})
    with pytest.raises(InputError, match=words) as caught:
        run(tmp_path, resume=True, **{"fingerprint": {"seed": 0, "model": "m"}, **options})
    assert "model" not in str(caught.value)
    pieces, report, _ = run(tmp_path, resume=True, fingerprint={"seed": 0, "model": "m"})
    assert (pieces, report.resumed) == (expected, 5)


def flip_a_bit(folder: Path) -> None:
    path = folder / "image" / "000011"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def cut_a_file(folder: Path) -> None:
    path = folder / "image" / "000011"
    path.write_bytes(path.read_bytes()[:-1])


def lose_a_file(folder: Path) -> None:
    (folder / "image" / "000011").unlink()


def lose_what_is_carried(folder: Path) -> None:
    (folder / "carry" / "000011.image.down").unlink()


def tear_the_journal(folder: Path) -> None:
    path = folder / "journal"
    path.write_bytes(b"\n".join(path.read_bytes().split(b"\n")[:11]) + b'\n{"tile": 11, "skip')


def garble_the_journal(folder: Path) -> None:
    path = folder / "journal"
    lines = path.read_bytes().split(b"\n")
    lines[11] = b'{"tile": 12}'
    path.write_bytes(b"\n".join(lines))


@pytest.mark.parametrize("damage", [flip_a_bit, cut_a_file, lose_a_file, lose_what_is_carried, tear_the_journal, garble_the_journal])
def test_damaged_work_is_done_again(damage: Callable[[Path], None], tmp_path: Path, expected: object) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, stop=14)
    damage(tmp_path)
    pieces, report, _ = run(tmp_path, resume=True)
    assert (pieces, report.resumed) == (expected, 11)
    assert run(tmp_path, resume=True)[1].resumed == 24


def test_work_that_is_damaged_far_back_starts_over(tmp_path: Path, expected: object, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, stop=22)
    (tmp_path / "image" / "000002").write_bytes(b"nothing of the kind")
    pieces, report, _ = run(tmp_path, resume=True)
    assert (pieces, report.resumed) == (expected, 0)
    assert "damaged" in caplog.text


def test_a_full_disk_ends_in_a_sentence_and_the_work_goes_on_later(tmp_path: Path, expected: object) -> None:
    """/dev/full is a disk without room."""
    step, sink = Step(), Sink()

    def progress(done: int, total: int) -> None:
        if done == 6:
            (tmp_path / "image" / "000006").symlink_to("/dev/full")

    with pytest.raises(InputError, match=r"disk that holds .* is full"):
        stream(step, Source(), {"image": sink}, tile=40, spool=tmp_path, progress=progress)
    assert sink.pieces == []
    (tmp_path / "image" / "000006").unlink()
    pieces, report, _ = run(tmp_path, resume=True)
    assert (pieces, report.resumed) == (expected, 6)


def test_a_second_process_is_kept_out(tmp_path: Path) -> None:
    with Spool(tmp_path, {"a": 1}):
        code = (
            f"from pathlib import Path; from earthgen.gen.data.spool import Spool; Spool(Path({str(tmp_path)!r}), {{'a': 1}}, resume=True)"
        )
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert "InputError: another process is at work" in other.stderr
    Spool(tmp_path, {"a": 1}, resume=True).__exit__(None, None, None)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match=r"thesis\.tex"):
        run(tmp_path)
    with pytest.raises(InputError, match=r"thesis\.tex"):
        remove_spool(tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_an_identity_that_is_no_identity_is_refused(tmp_path: Path) -> None:
    for text in ("", "[1, 2]", "{"):
        (tmp_path / "identity.json").write_text(text)
        with pytest.raises(InputError, match="identity"):
            run(tmp_path, resume=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="cannot write"):
        run(tmp_path / "spool")


def test_disk_space_for_what_is_carried_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    sizes = []

    def progress(done: int, total: int) -> None:
        sizes.append(len(list((tmp_path / "carry").glob("*"))))

    tall = Source()
    tall.pixels = np.tile(tall.pixels, (1, 4, 1))
    tall.height = 280
    stream(Step(), tall, {"image": Sink()}, tile=40, spool=tmp_path, progress=progress)
    columns = json.loads((tmp_path / "identity.json").read_text())["tiles"].split()[2]
    assert max(sizes) <= 2 * 2 * int(columns) + 2
