"""What the world's numbers must obey: optics, seasons, water, relief, light, radar, clouds, change."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from earthgen import World
from earthgen.gen.data.sensor_model import SensorModel
from earthgen.gen.data.world import CLASSES, Scene
from earthgen.gen.data.world.clouds import cloud_fields, through_clouds
from earthgen.gen.data.world.drainage import find_network
from earthgen.gen.data.world.landuse import USE
from earthgen.gen.data.world.lattice import Grid, Points
from earthgen.gen.data.world.phenology import COVER, season_day, stand
from earthgen.gen.data.world.radar import LOOKS, speckle
from earthgen.gen.data.world.stamp import draw
from earthgen.gen.data.world.sunlight import Sun, cast_shadows, sun_at
from earthgen.gen.data.world.terrain import terrain_at
from earthgen.gen.data.world.things import DISC, FLAT, KIND, Things

CODE = {name: code for code, name in CLASSES.items()}
FARMS = (116, -17)
COAST = (1210, -1357)


def ndvi(scene: Scene) -> np.ndarray:
    red, infrared = (scene.truth.sel(band=band).values for band in ("B04", "B08"))
    return (infrared - red) / (infrared + red)


@pytest.fixture(scope="module")
def farms() -> Scene:
    return World(1).window(*FARMS, 48, 48, "2021-06-01", ("all",))


@pytest.fixture(scope="module")
def coast() -> Scene:
    return World(1).window(*COAST, 60, 60, "2021-06-15", ("all",))


@pytest.mark.parametrize(("name", "scale", "margin"), [("s2_10m", 4, 2), ("s2_20m", 8, 2), ("s2_60m", 24, 2)])
def test_sensors_see_the_truth_through_the_declared_mtf(farms: Scene, name: str, scale: int, margin: int) -> None:
    """A second implementation, the library's sensor model, on the truth alone."""
    seen = farms.layer(name)
    side = scale // 4
    # The part of the truth that starts and ends on whole pixels of the coarse grid.
    top, left = -FARMS[0] % side * 4, -FARMS[1] % side * 4
    truth = farms.truth.sel(band=list(seen.band.values)).values[:, top:, left:]
    high, wide = (size // scale * scale for size in truth.shape[1:])
    other = SensorModel(scale).degrade(torch.from_numpy(truth[None, :, :high, :wide].copy()))[0].numpy()
    skip_y, skip_x = -(-FARMS[0] // side) - FARMS[0] // side, -(-FARMS[1] // side) - FARMS[1] // side
    ours = seen.values[:, skip_y : skip_y + high // scale, skip_x : skip_x + wide // scale]
    inner = (slice(None), slice(margin, -margin), slice(margin, -margin))
    assert ours[inner].size > 0
    np.testing.assert_allclose(ours[inner], other[inner], atol=2e-6)


def test_fields_turn_green_and_ripen() -> None:
    months = {month: World(1).window(*FARMS, 40, 40, f"2021-{month:02d}-10") for month in (1, 5, 8)}
    cover = months[5].landcover.values[0]
    crops, conifers = cover == CODE["crops"], cover == CODE["conifers"]
    means = {month: (ndvi(scene)[crops].mean(), ndvi(scene)[conifers].mean()) for month, scene in months.items()}
    assert crops.mean() > 0.1
    assert means[5][0] > 0.6
    assert means[5][0] > means[1][0] + 0.2
    assert means[5][0] > means[8][0] + 0.1
    if conifers.any():
        assert abs(means[5][1] - means[8][1]) < 0.1


def test_curves_of_plants_follow_the_season() -> None:
    cover = np.array([COVER[name] for name in ("cereal", "maize", "broadleaf", "conifer")])

    def green(day: float) -> list[float]:
        return stand(cover, np.full(4, day))[0].tolist()

    june, august, january = green(150), green(215), green(15)
    assert june[0] > 0.9 > 0.2 > august[0]  # cereals are cut in July
    assert august[1] > 0.9 > 0.3 > june[1]  # maize stands in August
    assert june[2] > 0.9 > 0.1 > january[2]
    assert min(june[3], august[3], january[3]) > 0.9
    # Half a year apart across the equator; earlier where it is warm.
    south, north = season_day(100.0, np.array([8e6, 0.0]), np.array([10.0, 10.0]))
    assert abs((south - north) % 365 - 182.5) < 1.0
    assert season_day(110.0, np.array([0.0]), np.array([14.0]))[0] > 110.0


def test_water_is_dark_beyond_the_red(coast: Scene) -> None:
    deep = coast.landcover.values[0] == CODE["water"]
    assert 0.2 < deep.mean() < 0.9
    ships = [item for item in coast.objects if item.name == "ship"]
    for item in ships:
        x, y = np.array(item.corners).T
        deep[max(int(y.min()) - 30, 0) : int(y.max()) + 30, max(int(x.min()) - 30, 0) : int(x.max()) + 30] = False
    infrared = coast.truth.sel(band="B08").values[deep]
    assert np.median(infrared) < 0.02
    assert np.quantile(infrared, 0.95) < 0.05
    green, swir = coast.truth.sel(band="B03").values[deep], coast.truth.sel(band="B11").values[deep]
    assert np.median(green) > 3 * np.median(swir)
    assert ndvi(coast)[deep].mean() < 0
    height = coast.dem.values[0][coast.landcover_10m.values[0] == CODE["water"]]
    assert (height == 0.0).mean() > 0.9  # the rest is a stream


def test_leaves_have_a_red_edge_and_soil_a_slope(farms: Scene) -> None:
    cover = farms.landcover.values[0]
    trees = (cover == CODE["broadleaf trees"]) | (cover == CODE["conifers"])
    spectrum = {band: float(np.median(farms.truth.sel(band=band).values[trees])) for band in ("B03", "B04", "B05", "B08", "B11")}
    assert spectrum["B04"] < spectrum["B03"] < spectrum["B05"] < spectrum["B08"]
    assert spectrum["B08"] > 4 * spectrum["B04"]
    assert spectrum["B11"] < spectrum["B08"]
    winter = World(1).window(*FARMS, 40, 40, "2021-04-20")
    bare = (winter.landcover.values[0] == CODE["crops"]) & (ndvi(winter) < 0.25)
    if bare.sum() > 200:
        soil = [float(np.median(winter.truth.sel(band=band).values[bare])) for band in ("B02", "B03", "B04", "B08", "B11")]
        assert soil == sorted(soil)


def test_streams_run_downhill() -> None:
    network = find_network(1, (0.0, 0.0), (30_000.0, 30_000.0))
    assert (network.bed[:, 0] > network.bed[:, 1]).all()
    start, end = network.start, network.end
    visible = network.half > 0.0
    assert visible.sum() > 20
    # The ground along a stream falls too: sample it near both ends, in the plane the meanders bend back to.
    share = np.array([0.1, 0.9])
    places = start[visible, None] + (end - start)[visible, None] * share[:, None]
    from earthgen.gen.data.world.drainage import meanders

    x, y = places[..., 0].ravel(), places[..., 1].ravel()
    at_x, at_y = x, y
    for _ in range(30):
        bend_x, bend_y = meanders(1, Points(at_x, at_y))
        at_x, at_y = at_x + 0.6 * (x - bend_x - at_x), at_y + 0.6 * (y - bend_y - at_y)
    ground = terrain_at(1, Points(at_x, at_y))
    height, on_it = ground.height.reshape(-1, 2), (np.abs(ground.bank) < 80.0).reshape(-1, 2).all(1)
    land = (height > 0.5).all(1) & on_it
    assert land.sum() > 15
    assert (height[land, 1] <= height[land, 0] + 0.5).mean() > 0.95


def test_wider_streams_have_more_land_above_them() -> None:
    network = find_network(1, (0.0, 0.0), (30_000.0, 30_000.0))
    ends = {tuple(end): half for end, half in zip(network.end.tolist(), network.half, strict=True)}
    follow = [(ends[tuple(start)], half) for start, half in zip(network.start.tolist(), network.half, strict=True) if tuple(start) in ends]
    assert len(follow) > 100
    # Land is counted over a bounded number of nodes, so that a long river may narrow a little, but none dries up.
    assert all(below > 0 for above, below in follow if above > 0)
    assert np.mean([below >= above for above, below in follow]) > 0.95


def test_the_sun_stands_where_astronomy_says() -> None:
    noon = sun_at(48.0, 172.0, hour=12.0)
    assert abs(noon.elevation - (90 - 48 + 23.44)) < 0.2
    assert abs(noon.azimuth - 180.0) < 0.5
    assert abs(sun_at(0.0, 80.0, hour=12.0).elevation - 90.0) < 1.5
    morning = sun_at(48.0, 172.0)
    assert 100 < morning.azimuth < 150
    assert sun_at(-35.0, 172.0, hour=12.0).azimuth % 360 < 1.0 or sun_at(-35.0, 172.0, hour=12.0).azimuth > 359.0
    assert abs(morning.x**2 + morning.y**2 + morning.z**2 - 1) < 1e-9


@pytest.mark.parametrize(("azimuth", "step"), [(180.0, (-1, 0)), (90.0, (0, -1)), (270.0, (0, 1)), (0.0, (1, 0))])
def test_shadows_are_as_long_as_the_sun_is_low(azimuth: float, step: tuple[int, int]) -> None:
    height = np.zeros((61, 61), np.float32)
    height[30, 30] = 20.0
    shadow = cast_shadows(height, Sun(45.0, azimuth), 2.5)
    along = [shadow[30 + n * step[0], 30 + n * step[1]] for n in range(12)]
    # At 45 degrees 20 m throw a shadow of 20 m: eight pixels, away from the sun.
    assert all(value > 0.99 for value in along[1:8])
    assert all(value == 0.0 for value in along[8:])
    assert shadow.sum() == pytest.approx(sum(along))
    assert along[0] == 0.0


def box(shape: int, length: float, width: float, angle: float) -> Things:
    def one(value: float, kind: type = np.float64) -> np.ndarray:
        return np.array([value], kind)

    return Things(
        one(KIND["building"], np.int64), one(shape, np.int64), one(101.3), one(98.7), one(math.cos(angle)), one(math.sin(angle)),
        one(length), one(width), one(5.0), one(0, np.int64), one(1.0), one(1, np.int64), one(9, np.uint64),
    )  # fmt: skip


@pytest.mark.parametrize("angle", [0.0, 0.4, 2.1])
def test_things_are_drawn_with_their_area_where_they_stand(angle: float) -> None:
    grid = Grid(0, 0, 80, 80)
    for shape, area in ((FLAT, 40.0 * 25.0), (DISC, math.pi * 20.0**2)):
        drawn = draw(box(shape, 40.0, 25.0 if shape == FLAT else 40.0, angle), grid, Sun(50.0, 140.0))
        assert drawn.cover.sum() * 2.5**2 == pytest.approx(area, rel=0.03)
        rows, cols = np.mgrid[0:80, 0:80] + 0.5
        assert (cols * drawn.cover).sum() / drawn.cover.sum() * 2.5 == pytest.approx(101.3, abs=0.1)
        assert (rows * drawn.cover).sum() / drawn.cover.sum() * 2.5 == pytest.approx(98.7, abs=0.1)
    assert drawn.which.max() == 0
    assert (drawn.which[drawn.cover == 0] == -1).all()


def test_speckle_is_gamma_with_the_declared_looks() -> None:
    from scipy import stats

    factor = speckle(1, 7_000.0, Grid(-40, 900, 200, 210, 10.0))
    assert factor.mean() == pytest.approx(1.0, abs=0.005)
    assert 1.0 / factor.var() == pytest.approx(LOOKS, rel=0.03)
    assert stats.kstest(factor.ravel()[:20_000], stats.gamma(LOOKS, scale=1 / LOOKS).cdf).pvalue > 1e-3
    assert abs(np.corrcoef(factor[0, :, 1:].ravel(), factor[0, :, :-1].ravel())[0, 1]) < 0.02
    assert abs(np.corrcoef(factor[0].ravel(), factor[1].ravel())[0, 1]) < 0.02
    assert not np.array_equal(factor, speckle(1, 7_012.0, Grid(-40, 900, 200, 210, 10.0)))


def test_radar_is_its_clean_self_times_speckle(coast: Scene) -> None:
    ratio = 10 ** ((coast.s1.values.astype(np.float64) - coast.s1_clean.values) / 10)
    assert ratio.mean() == pytest.approx(1.0, abs=0.03)
    assert 1 / ratio.var() == pytest.approx(LOOKS, rel=0.15)
    cover, clean = coast.landcover_10m.values[0], coast.s1_clean.values
    water, trees = (
        np.median(clean[:, np.isin(cover, codes)], axis=1) for codes in ([CODE["water"]], [CODE["broadleaf trees"], CODE["conifers"]])
    )
    assert (trees > water + 4.0).all()
    assert (clean[0] > clean[1]).mean() > 0.97  # VV above VH
    assert -12 < trees[0] < -6


def test_clouds_cover_what_was_asked_and_hide_the_ground() -> None:
    grid, sun = Grid(0, 0, 1200, 1200, 60.0), Sun(45.0, 140.0)
    for share in (0.0, 0.3, 0.8):
        opacity, shadow = cloud_fields(1, 7_000.0, grid, sun, share)
        assert abs(float((opacity > 0.5).mean()) - share) < 0.12
        assert 0.0 <= opacity.min() <= opacity.max() < 1.0
        assert 0.0 <= shadow.min() <= shadow.max() < 1.0
    ground = np.full((2, 1, 3), 0.1, np.float32)
    seen = through_clouds(ground, ("B02", "B08"), np.array([[0.0, 0.97, 0.0]], np.float32), np.array([[0.0, 0.0, 0.7]], np.float32))
    assert seen[0, 0, 0] == np.float32(0.1)
    assert (seen[:, 0, 1] > 0.5).all()
    # The sky still lights a shadow, more in the blue.
    assert 0.02 < seen[1, 0, 2] < seen[0, 0, 2] < 0.08


def test_cloud_shadows_lie_away_from_the_sun() -> None:
    grid, sun = Grid(0, 0, 500, 500, 60.0), Sun(40.0, 180.0)
    opacity, shadow = cloud_fields(1, 7_000.0, grid, sun, 0.25)
    # The sun is in the south: shadows fall to the north, at the shift that fits best.
    fits = {shift: float((opacity[80:-80, 80:-80] * np.roll(shadow, shift, 0)[80:-80, 80:-80]).mean()) for shift in range(-60, 61)}
    assert 5 <= max(fits, key=lambda shift: fits[shift]) <= 55


def test_the_change_map_is_the_difference_of_the_truths() -> None:
    scene = World(1).window(121, 371, 56, 56, "2018-06-15", ("s2",))
    change = scene.change("2027-06-15")
    differs = (change.before.values != change.after.values).any(0)
    np.testing.assert_array_equal(differs, change.appearance.values)
    mask = change.mask.values
    assert 0.01 < mask.mean() < 0.7
    # Where the ground differs it shows, except where both are in the dark or under the same roof; what else shows is shadow nearby.
    assert (differs & mask).sum() > 0.97 * mask.sum()
    rest = differs & ~mask
    grown = np.zeros_like(mask)
    for down in range(-8, 9):
        for right in range(-8, 9):
            grown |= np.roll(mask, (down, right), (0, 1))
    assert not (rest & ~grown).any()
    assert ((change.kind.values > 0) == mask).mean() > 0.999
    assert change.events
    for event in change.events:
        top, left, bottom, right = event.box
        assert 0 <= top < bottom <= mask.shape[0]
        assert 0 <= left < right <= mask.shape[1]
        assert event.pixels <= mask[top:bottom, left:right].sum()
        if event.kind != "flood":
            assert "2018-06-15" < event.date <= "2027-06-15"
            assert event.before != event.after
    assert sum(event.pixels for event in change.events) <= mask.sum()


def test_a_later_scene_shows_what_the_change_foretold() -> None:
    """The land cover of the later date itself, built independently, differs from the earlier one inside the mask only."""
    world = World(1)
    early = world.window(121, 371, 40, 40, "2018-06-15")
    late = world.window(121, 371, 40, 40, "2027-06-15")
    differs = early.landcover.values[0] != late.landcover.values[0]
    mask = early.change("2027-06-15").mask.values
    assert differs.any()
    assert (differs & mask).sum() / differs.sum() > 0.99


def test_nothing_lasting_changes_within_a_day() -> None:
    change = World(1).window(*FARMS, 24, 24, "2021-06-15").change("2021-06-16")
    assert not change.mask.values.any()
    assert change.events == []


def test_building_starts_only_where_towns_grow() -> None:
    scene = World(1).window(121, 371, 56, 56, "2018-06-15")
    parcels = scene._strips[0].surface.parcels
    built = np.isin(parcels.use, [USE["houses"], USE["centre"]])
    assert built.sum() > 20
    assert (parcels.town[built] > -0.15).all()


def test_snow_is_bright_in_the_visible_and_dark_at_1600_nm() -> None:
    winter = World(1).window(-804, 1553, 24, 24, "2021-01-20")
    summer = World(1).window(-804, 1553, 24, 24, "2021-07-20")
    green, swir = (winter.truth.sel(band=band).values for band in ("B03", "B11"))
    index = (green - swir) / (green + swir)
    assert winter.metadata["snow"] > 0.6
    assert np.median(index) > 0.5
    assert summer.metadata["snow"] < winter.metadata["snow"]
