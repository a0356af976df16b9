"""A scene in tiles is the scene: whatever the tile, the batch, the size and the holes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.transform import from_origin

from earthgen.gen.data.nodata import fill_holes
from earthgen.gen.data.noise import noise_field
from earthgen.gen.data.radiometry import NAMED, Radiometry
from earthgen.gen.data.raster_reader import RasterReader
from earthgen.gen.data.raster_writer import RasterWriter
from earthgen.gen.data.resample import upsample
from earthgen.gen.data.tile_plan import plan_scene, ramp
from earthgen.gen.data.tiles import StreamReport, TilePixels, remove_spool, stream
from earthgen.gen.errors import InputError

Array = np.ndarray


class MemorySource:
    def __init__(self, pixels: Array) -> None:
        self.pixels = pixels
        self.bands = tuple(f"band{number}" for number in range(len(pixels)))
        self.height, self.width = pixels.shape[1:]

    def read(self, row: int, col: int, height: int, width: int) -> Array:
        assert row >= 0
        assert col >= 0
        assert height > 0
        assert width > 0
        assert row + height <= self.height
        assert col + width <= self.width
        return self.pixels[:, row : row + height, col : col + width]


class MemorySink:
    """Takes every pixel once."""

    def __init__(self, bands: int, height: int, width: int, radiometry: Radiometry | None = None) -> None:
        self.pixels = np.full((bands, height, width), np.inf, np.float32)
        self.places: list[tuple[int, int, int, int]] = []
        if radiometry is not None:
            self.radiometry = radiometry

    def write(self, row: int, col: int, array: Array) -> None:
        place = (slice(None), slice(row, row + array.shape[1]), slice(col, col + array.shape[2]))
        assert np.isinf(self.pixels[place]).all()
        assert self.pixels[place].shape == array.shape
        self.pixels[place] = array
        self.places.append((row, col, *array.shape[1:]))


class Sharpen:
    """Repeat pixels, add the noise field, then `rounds` convolutions of 3 x 3, added in one order everywhere: the reach is known."""

    def __init__(self, scale: int = 2, halo: int = 6, multiple: int = 1, rounds: int = 6, bands: int = 2) -> None:
        self.scale, self.halo, self.multiple, self.rounds = scale, halo, multiple, rounds
        names = tuple(f"band{number}" for number in range(bands))
        self.layers = {"image": names, "first": names[:1]}
        self.windows: list[tuple[int, int, int, int]] = []
        self.largest_batch = 0

    def run(self, tiles: Sequence[TilePixels]) -> list[dict[str, Array]]:
        assert len({tile.pixels.shape for tile in tiles}) == 1
        self.largest_batch = max(self.largest_batch, len(tiles))
        return [self.one(tile) for tile in tiles]

    def one(self, tile: TilePixels) -> dict[str, Array]:
        assert tile.row % self.multiple == 0
        assert tile.col % self.multiple == 0
        self.windows.append((tile.row, tile.col, *tile.pixels.shape[1:]))
        filled, valid = fill_holes(torch.from_numpy(np.ascontiguousarray(tile.pixels))[None], 2)
        image = filled.repeat_interleave(self.scale, 2).repeat_interleave(self.scale, 3)
        bands, height, width = image.shape[1:]
        image = image + 0.1 * noise_field(5, bands, tile.row * self.scale, tile.col * self.scale, height, width)
        for _ in range(self.rounds):
            padded = torch.nn.functional.pad(image, (1, 1, 1, 1))
            near = padded[..., :-2, 1:-1] + padded[..., 2:, 1:-1] + padded[..., 1:-1, :-2] + padded[..., 1:-1, 2:] + padded[..., 2:, 2:]
            image = torch.tanh(2.2 * image - 0.3 * near)
        holes = ~valid.repeat_interleave(self.scale, 1).repeat_interleave(self.scale, 2)
        image[holes[:, None].expand_as(image)] = torch.nan
        return {"image": image[0].numpy(), "first": image[0, :1].numpy()}


class Constant:
    scale, halo, multiple = 3, 5, 2
    layers: ClassVar = {"image": ("a",)}

    def __init__(self, value: float) -> None:
        self.value = np.float32(value)

    def run(self, tiles: Sequence[TilePixels]) -> list[dict[str, Array]]:
        shapes = [(1, tile.pixels.shape[1] * self.scale, tile.pixels.shape[2] * self.scale) for tile in tiles]
        return [{"image": np.full(shape, self.value)} for shape in shapes]


class Independent(Sharpen):
    """What blending is for: every window has an answer of its own, here the scene's noise at a level that is the window's."""

    def one(self, tile: TilePixels) -> dict[str, Array]:
        self.windows.append((tile.row, tile.col, *tile.pixels.shape[1:]))
        height, width = (side * self.scale for side in tile.pixels.shape[1:])
        rng = np.random.default_rng([tile.row, tile.col])
        image = noise_field(1, 2, tile.row * self.scale, tile.col * self.scale, height, width).numpy() + 10 * rng.normal()
        return {"image": image.astype(np.float32), "first": image[:1]}


def scene(height: int, width: int, bands: int = 2, holes: bool = True) -> Array:
    rng = np.random.default_rng(height * width)
    pixels = rng.random((bands, height, width), np.float32)
    if holes:
        wedge = np.add.outer(np.arange(height), np.arange(width)) < 0.6 * max(height, width)
        pixels[:, wedge] = np.nan
        pixels[0, rng.random((height, width)) < 0.01] = np.nan
    return pixels


def run(step: Sharpen | Constant, pixels: Array, layer: str = "image", **options: object) -> Array:
    sink = MemorySink(len(step.layers[layer]), pixels.shape[1] * step.scale, pixels.shape[2] * step.scale)
    stream(step, MemorySource(pixels), {layer: sink}, **options)  # type: ignore[arg-type]
    return sink.pixels


# --- the plan


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 400),
    width=st.integers(1, 400),
    scale=st.integers(1, 5),
    halo=st.integers(0, 30),
    multiple=st.integers(1, 8),
    tile=st.integers(1, 300),
    blend=st.sampled_from([0.0, 0.3, 0.5, 1.0]),
)
def test_plan_keeps_its_promises(height: int, width: int, scale: int, halo: int, multiple: int, tile: int, blend: float) -> None:
    plan = plan_scene(height, width, scale=scale, halo=halo, multiple=multiple, tile=tile, blend=blend)
    assert plan.size == (height * scale, width * scale)
    core, rounded = max(tile // (scale * multiple), 1) * multiple, math.ceil(halo / multiple) * multiple
    for cells, size in ((plan.rows, height), (plan.cols, width)):
        total = np.zeros(size * scale, np.float32)
        for cell in cells:
            assert cell.core[0] % core == 0
            assert cell.window[0] % multiple == 0
            assert cell.window == (max(cell.core[0] - rounded, 0), min(cell.core[1] + rounded, size))
            total[slice(*cell.used)] += cell.weights()
            for used, window, border in zip(cell.used, cell.window, (0, size), strict=True):
                assert window == border or abs(window * scale - used) >= (1 - blend) * rounded * scale - 1e-9
        assert (total == 1).all()
        assert cells[0].core[0] == cells[0].done[0] == 0
        assert cells[-1].core[1] == size
        for first, second in pairwise(cells):
            assert first.core[1] == second.core[0]
            assert first.done[1] == second.done[0] == second.used[0]
            assert first.after == second.before
            assert first.used[1] - second.used[0] == first.after
    wide = max(core + 2 * rounded, core + multiple)
    assert max(plan.largest_window) <= wide


def test_weights_in_two_dimensions_are_exact_and_sum_to_one_in_any_order() -> None:
    plan = plan_scene(60, 70, scale=4, halo=9, tile=64)
    numbers = list(range(len(plan)))
    for order in (numbers, numbers[::-1], np.random.default_rng(0).permutation(numbers).tolist()):
        total = np.zeros(plan.size, np.float32)
        for number in order:
            rows, cols = plan.cells(number)
            total[slice(*rows.used), slice(*cols.used)] += np.outer(rows.weights(), cols.weights())
        assert (total == 1).all()


@pytest.mark.parametrize("length", [1, 2, 7, 80, 161])
def test_ramp_is_a_raised_cosine(length: int) -> None:
    expected = np.sin(np.pi / 2 * (np.arange(length) + 0.5) / length) ** 2
    assert abs(ramp(length) - expected).max() <= 2**-13 + 1e-7
    assert np.array_equal(ramp(length) * 4096, np.round(ramp(length) * 4096))


def test_a_remainder_of_one_pixel_goes_to_the_last_tile_and_a_large_one_is_a_tile() -> None:
    assert [cell.core for cell in plan_scene(257, 1, scale=1, halo=8, tile=64).rows] == [(0, 64), (64, 128), (128, 192), (192, 257)]
    assert [cell.core for cell in plan_scene(220, 1, scale=1, halo=8, tile=64).rows] == [(0, 64), (64, 128), (128, 192), (192, 220)]


# --- the picture


@pytest.mark.parametrize("size", [(97, 131), (64, 64), (1, 1), (3, 200), (130, 1)])
def test_every_tiling_and_batch_gives_the_whole_scene_s_result_bit_for_bit(size: tuple[int, int]) -> None:
    pixels = scene(*size)
    step = Sharpen(scale=2, halo=6, multiple=2, rounds=6)
    # Six rounds reach 6 output pixels = 3 of the input, and filling 2 more: what is left of the halo of 6 with a sixth blended is 5.
    whole = step.one(TilePixels(pixels, 0, 0))["image"]
    for tile, batch in ((16, 1), (50, 3), (64, 8), (100, 2), (1000, 1)):
        got = run(step, pixels, tile=tile, batch=batch, blend=1 / 6)
        assert np.array_equal(got, whole, equal_nan=True), (tile, batch)


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    scale=st.integers(1, 4),
    multiple=st.integers(1, 5),
    tile=st.integers(1, 90),
    batch=st.integers(1, 4),
    blend=st.sampled_from([0.0, 0.4, 0.5, 0.8]),
    holes=st.booleans(),
)
def test_any_scene_in_any_tiles_is_the_whole_scene(
    height: int, width: int, scale: int, multiple: int, tile: int, batch: int, blend: float, holes: bool
) -> None:
    pixels = scene(height, width, holes=holes)
    reach = math.ceil(2 / scale) + 2  # two convolutions, and holes filled from 2 away
    step = Sharpen(scale=scale, halo=math.ceil(reach / (1 - blend)), multiple=multiple, rounds=2)
    tile = max(tile, 6 * scale)  # so that the number of tiles stays small
    assert np.array_equal(
        run(step, pixels, tile=tile, batch=batch, blend=blend), step.one(TilePixels(pixels, 0, 0))["image"], equal_nan=True
    )


def test_hard_cuts_are_exact_where_the_halo_is_the_reach() -> None:
    pixels = scene(70, 90)
    step = Sharpen(scale=2, halo=5, rounds=6)
    assert np.array_equal(run(step, pixels, tile=32, blend=0.0), step.one(TilePixels(pixels, 0, 0))["image"], equal_nan=True)
    short = Sharpen(scale=2, halo=2, rounds=6)
    assert not np.array_equal(run(short, pixels, tile=32, blend=0.0), short.one(TilePixels(pixels, 0, 0))["image"], equal_nan=True)


def test_batches_are_as_large_as_asked_for_and_change_nothing() -> None:
    pixels = scene(60, 300, holes=False)
    single, batched = Sharpen(rounds=2), Sharpen(rounds=2)
    assert np.array_equal(run(single, pixels, tile=64, batch=1), run(batched, pixels, tile=64, batch=5))
    assert (single.largest_batch, batched.largest_batch) == (1, 5)
    assert single.windows == batched.windows


def test_blending_is_the_weighted_mean_of_all_tiles_whatever_their_order() -> None:
    """A second implementation: all tiles at once, weights from the cosine's formula, sums in float64, normalised."""
    pixels = scene(53, 75, holes=False)
    step = Independent(scale=4, halo=8)
    got = run(step, pixels, tile=64)
    radius, sums, total = 16, np.zeros((2, 212, 300)), np.zeros((212, 300))
    windows = list(step.windows)
    np.random.default_rng(1).shuffle(windows)
    for row, col, height, width in windows:
        weights = []
        for start, length, size in ((row, height, 53), (col, width, 75)):
            first, last = (start + 8 if start else 0), (start + length - 8 if start + length < size else size)
            place = np.arange(start * 4, (start + length) * 4) + 0.5
            rise, fall = ((np.clip(sign * (place - 4 * edge) / radius, -1, 1) + 1) / 2 for sign, edge in ((1, first), (-1, last)))
            rise = np.sin(np.pi / 2 * rise) ** 2 if first else np.ones(len(place))
            weights.append(rise * (np.sin(np.pi / 2 * fall) ** 2 if last < size else 1.0))
        weight = np.outer(*weights)
        place2 = (slice(row * 4, (row + height) * 4), slice(col * 4, (col + width) * 4))
        sums[(slice(None), *place2)] += weight * step.one(TilePixels(pixels[:, row : row + height, col : col + width], row, col))["image"]
        total[place2] += weight
    np.testing.assert_allclose(total, 1, atol=1e-12)
    assert abs(got - sums / total).max() < 60 * 2**-12  # the levels differ by up to 60; weights are rounded to 2 ** -12


@pytest.mark.parametrize("value", [0.1, 1e-7, 12345.678, -3.3333333])
def test_a_constant_stays_itself_bit_for_bit(value: float) -> None:
    got = run(Constant(value), scene(61, 47, 1, holes=False), tile=24)
    assert (got.view(np.int32) == np.float32(value).view(np.int32)).all()


def test_blending_leaves_no_edge_where_tiles_disagree() -> None:
    """Levels that jump by tens from tile to tile: the steepest step at a border is that of the cosine, not that of the jump."""
    pixels = scene(96, 96, holes=False)

    def steepest(blend: float) -> float:
        level = run(Independent(scale=4, halo=16), pixels, tile=128, blend=blend)
        level -= noise_field(1, 2, 0, 0, 384, 384).numpy()
        return float(abs(np.diff(level, axis=2)).max())

    hard, soft = steepest(0.0), steepest(0.5)
    assert soft < 1.1 * hard * math.pi / 2 / 64  # a raised cosine over 64 pixels
    assert soft > 0


def test_gradient_energy_at_borders_is_that_of_elsewhere() -> None:
    """A step that reaches farther than its halo, as a sampler of many steps does, with an influence that fades."""
    pixels = scene(128, 128, holes=False)
    step = Sharpen(scale=2, halo=8, rounds=24)
    got = run(step, pixels, tile=64, blend=0.5)
    energy = (np.diff(got, axis=2) ** 2).mean((0, 1))
    plan = plan_scene(128, 128, scale=2, halo=8, tile=64)
    borders = [cell.done[0] + offset for cell in plan.cols[1:] for offset in range(-1, cell.before)]
    others = np.setdiff1d(np.arange(len(energy)), borders)
    spread = energy[others].std() / math.sqrt(len(borders))
    assert abs(energy[borders].mean() - energy[others].mean()) < 5 * spread
    whole = step.one(TilePixels(pixels, 0, 0))["image"]
    assert abs(got - whole).max() < abs(run(step, pixels, tile=64, blend=1.0) - whole).max()


# --- holes


def test_a_missing_pixel_is_missing_and_changes_nothing_farther_than_the_reach() -> None:
    pixels = scene(80, 80, holes=False)
    step = Sharpen(scale=2, halo=6, rounds=6)
    before = run(step, pixels, tile=48)
    pixels[1, 40, 31] = np.nan
    after = run(step, pixels, tile=48)
    assert np.isnan(after[:, 80:82, 62:64]).all()
    assert np.isnan(after).sum() == 2 * 4
    changed = np.argwhere((before != after).any(0))
    assert changed.min(0).tolist() >= [80 - 6, 62 - 6]
    assert (changed.max(0) <= [81 + 6, 63 + 6]).all()


def test_tiles_without_data_are_not_worked_on() -> None:
    pixels = scene(100, 100, holes=False)
    pixels[:, :70] = np.nan
    pixels[:, 80, 80] = np.nan
    step, report = Sharpen(scale=2, halo=4, rounds=2), []
    sink = MemorySink(2, 200, 200)
    report.append(stream(step, MemorySource(pixels), {"image": sink}, tile=40))
    assert report == [StreamReport(25, 15, 0)]
    assert len(step.windows) == 10
    assert np.array_equal(np.isnan(sink.pixels), np.isnan(pixels).repeat(2, 1).repeat(2, 2))
    assert np.array_equal(sink.pixels, step.one(TilePixels(pixels, 0, 0))["image"], equal_nan=True)


def test_a_scene_without_data_comes_out_without_data() -> None:
    step = Sharpen()
    got = run(step, np.full((2, 50, 60), np.nan, np.float32), tile=32)
    assert np.isnan(got).all()
    assert step.windows == []


def test_a_step_that_forgets_the_holes_does_not_fill_them() -> None:
    pixels = scene(40, 40, 1)
    got = run(Constant(0.5), pixels, tile=30)
    assert np.array_equal(np.isnan(got[0]), np.isnan(pixels[0]).repeat(3, 0).repeat(3, 1))


# --- what goes out


def test_sinks_get_whole_blocks_in_one_order_and_any_layer_asked_for() -> None:
    pixels = scene(300, 310, holes=False)
    image, first = MemorySink(2, 600, 620), MemorySink(1, 600, 620)
    stream(Sharpen(rounds=1), MemorySource(pixels), {"image": image, "first": first}, tile=200)
    assert image.places == first.places == [(0, 0, 512, 512), (0, 512, 512, 108), (512, 0, 88, 512), (512, 512, 88, 108)]
    assert np.array_equal(image.pixels[:1], first.pixels)


@pytest.mark.parametrize("name", ["s2", "s2-offset", "landsat", "display8", "display16"])
def test_storing_what_was_stored_changes_nothing(name: str) -> None:
    """Finished pieces are kept as the sink stores them; that must be as good as storing them once."""
    radiometry = NAMED[name]
    limits = np.iinfo(radiometry.dtype)
    stored = np.arange(limits.min, limits.max + 1).astype(radiometry.dtype)
    assert np.array_equal(radiometry.to_stored(radiometry.to_physical(stored)), stored)


def test_a_sink_of_integers_gets_numbers_that_it_stores_as_those_of_the_step() -> None:
    pixels = scene(90, 70)
    radiometry = NAMED["s2-offset"]
    plain, packed = (MemorySink(2, 180, 140, kind) for kind in (None, radiometry))
    for sink in (plain, packed):
        stream(Sharpen(), MemorySource(pixels), {"image": sink}, tile=64)
    assert np.array_equal(radiometry.to_stored(plain.pixels), radiometry.to_stored(packed.pixels))
    assert not np.array_equal(plain.pixels, packed.pixels, equal_nan=True)


def test_geotiff_in_geotiff_out(tmp_path: Path) -> None:
    radiometry = NAMED["s2"]
    place = {"crs": "EPSG:32632", "transform": from_origin(500_000, 5_000_000, 10, 10), "radiometry": radiometry, "bands": ("red", "nir")}
    pixels = radiometry.to_physical(radiometry.to_stored(scene(210, 333)))
    with RasterWriter(tmp_path / "in.tif", height=210, width=333, **place) as writer:
        writer.write(0, 0, pixels)
    place["transform"] = from_origin(500_000, 5_000_000, 5, 5)
    done: list[tuple[int, int]] = []
    with (
        RasterReader(tmp_path / "in.tif") as reader,
        RasterWriter(tmp_path / "out.tif", height=420, width=666, **place) as writer,
    ):
        stream(Sharpen(), reader, {"image": writer}, tile=128, spool=tmp_path / "spool", progress=lambda *at: done.append(at))
    remove_spool(tmp_path / "spool")
    expected = Sharpen().one(TilePixels(pixels, 0, 0))["image"]
    with RasterReader(tmp_path / "out.tif") as reader:
        got = reader.read(0, 0, 420, 666)
        assert reader.crs == "EPSG:32632"
        assert reader.transform == place["transform"]
        assert reader.bands == ("red", "nir")
    assert np.array_equal(radiometry.to_stored(got), radiometry.to_stored(expected))
    assert done == [(number, 24) for number in range(25)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.tif", "out.tif"]


def test_real_scene_up_sampled_in_tiles_is_the_scene_up_sampled(shared_data: Path) -> None:
    class Upsample:
        scale, halo, multiple = 4, 8, 1
        layers: ClassVar = {"image": ("a", "b", "c")}

        def run(self, tiles: Sequence[TilePixels]) -> list[dict[str, Array]]:
            stack = torch.from_numpy(np.stack([tile.pixels for tile in tiles]))
            return [{"image": image.numpy()} for image in upsample(stack, 4)]

    path = sorted((shared_data / "s2_multispectral").glob("*.tif"))[0]
    with RasterReader(path, bands=[4, 3, 2], radiometry=NAMED["s2"]) as reader:
        whole = reader.read(0, 0, reader.height, reader.width)
        sink = MemorySink(3, reader.height * 4, reader.width * 4)
        stream(Upsample(), reader, {"image": sink}, tile=200, batch=4)
    valid = np.isfinite(whole).all(0)
    assert valid.any()
    expected = upsample(torch.from_numpy(whole)[None], 4)[0].numpy()
    inside = valid.repeat(4, 0).repeat(4, 1) & np.isfinite(expected).all(0)
    assert abs(sink.pixels - expected)[:, inside].max() < 1e-6


# --- what is refused


def test_mistakes_are_named(tmp_path: Path) -> None:
    pixels = scene(20, 20)
    source, sink = MemorySource(pixels), MemorySink(2, 40, 40)
    with pytest.raises(ValueError, match="no layer 'depth'"):
        stream(Sharpen(), source, {"depth": sink})
    with pytest.raises(InputError, match="batch of 0"):
        stream(Sharpen(), source, {"image": sink}, batch=0)
    with pytest.raises(InputError, match="tile of 0"):
        stream(Sharpen(), source, {"image": sink}, tile=0)
    wrong = Sharpen()
    wrong.scale = 3
    wrong.run = lambda tiles: [{"image": tile.pixels} for tile in tiles]  # type: ignore[method-assign]
    with pytest.raises(ValueError, match=r"shape \(2, 20, 20\)"):
        stream(wrong, source, {"image": sink})
