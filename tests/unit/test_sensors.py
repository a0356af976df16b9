"""The sensor table and what bands are called."""

from __future__ import annotations

import pytest

from earthgen.gen.data.band_names import chosen_bands, match_bands, names_from_descriptions
from earthgen.gen.data.radiometry import NAMED
from earthgen.gen.data.sensors import sensor, sensors, sensors_with
from earthgen.gen.errors import InputError


def test_the_table_is_consistent() -> None:
    for name, row in sensors().items():
        assert row.name == name
        assert len(set(row.band_names)) == len(row.bands)
        assert len({band.common for band in row.bands}) == len(row.bands)
        assert all(band.gsd > 0 and band.wavelength > 0 for band in row.bands)
        for entry in row.radiometries:
            assert NAMED[entry].scale == pytest.approx(row.scale, rel=1e-6)
            assert NAMED[entry].unit == row.unit
            assert row.offset is None or NAMED[entry].offset == pytest.approx(row.offset)


def test_sentinel_2_has_its_13_bands_in_order_of_the_product() -> None:
    row = sensor("sentinel-2-l1c")
    assert row.band_names == ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
    assert {band.name for band in row.bands if band.gsd == 10} == {"B02", "B03", "B04", "B08"}
    assert {band.name for band in row.bands if band.gsd == 60} == {"B01", "B09", "B10"}
    waves = [band.wavelength for band in row.bands]
    assert waves == sorted(waves)
    assert row.offset is None
    assert sensor("sentinel-2-l2a").band_names == tuple(name for name in row.band_names if name != "B10")


def test_unknown_sensor_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match="sentinel-2-l2a"):
        sensor("sentinel-9")


def test_products_are_found_by_their_band_names() -> None:
    assert {row.name for row in sensors_with(["B02", "B08", "B8A"])} == {"sentinel-2-l1c", "sentinel-2-l2a"}
    assert {row.name for row in sensors_with(["B10", "B8A"])} == {"sentinel-2-l1c"}
    assert {row.name for row in sensors_with(["SR_B4"])} == {"landsat-8-9-sr"}
    assert {row.name for row in sensors_with(["VV", "VH"])} == {"sentinel-1-grd"}
    assert sensors_with(["nonsense"]) == ()
    assert sensors_with([]) == ()


@pytest.mark.parametrize(
    ("names", "wanted", "expected"),
    [
        (["B02", "B03", "B04", "B08"], ["B04", "B03", "B02", "B08"], (2, 1, 0, 3)),
        (["B02", "B03", "B04", "B08"], ["red", "green", "blue", "nir"], (2, 1, 0, 3)),
        (["B02", "B03", "B04", "B08"], ["b4", "B8"], (2, 3)),
        (["B02", "B03", "B04", "B08"], [3, "2", 1, "4"], (2, 1, 0, 3)),
        (["SR_B2", "SR_B4", "SR_B5"], ["red", "nir"], (1, 2)),
        (["B2", "B3", "B4", "B8A", "B11"], ["red", "B8A"], (2, 3)),
        (["red", "green", "blue", "nir"], ["B04", "B08"], (0, 3)),
        (["Red", "Green"], ["green"], (1,)),
        (["1", "2", "3"], ["red=3", "blue=1"], (2, 0)),
        (["4", "3", "2"], ["4", 1], (0, 0)),
    ],
)
def test_bands_are_matched(names: list[str], wanted: list[str | int], expected: tuple[int, ...]) -> None:
    assert match_bands(names, wanted) == expected


@pytest.mark.parametrize(
    ("names", "wanted", "match"),
    [
        (["B02", "B03"], ["B04"], "no band 'B04'"),
        (["B02", "B03"], ["3"], "positions go from 1 to 2"),
        (["B02", "B03"], [0], "positions go from 1 to 2"),
        (["1", "2"], ["red"], "no names"),
        (["x", "x"], ["x"], "occurs 2 times"),
        (["red"], ["blue=red"], "NAME=POSITION"),
        # Landsat's B8 is panchromatic, Sentinel-2's is near infrared, and these names fit both.
        (["B2", "B3", "B4", "B8"], ["nir"], "no band 'nir'"),
        (["red", "green", "blue", "nir"], ["B8"], "no band 'B8'"),
    ],
)
def test_what_is_not_there_or_open_is_refused(names: list[str], wanted: list[str | int], match: str) -> None:
    with pytest.raises(InputError, match=match):
        match_bands(names, wanted)


def test_chosen_bands_go_by_the_rasters_names_unless_renamed() -> None:
    assert chosen_bands(["B02", "B04"], ["red"]) == ((1,), ("B04",))
    assert chosen_bands(["1", "2"], ["red=2", 1]) == ((1, 0), ("red", "1"))
    assert chosen_bands(["a", "b"], None) == ((0, 1), ("a", "b"))


@pytest.mark.parametrize("wanted", [[], ["B02", 1], ["x=1", "x=2"]])
def test_choosing_nothing_or_twice_is_refused(wanted: list[str | int]) -> None:
    with pytest.raises(InputError):
        chosen_bands(["B02", "B03"], wanted)


@pytest.mark.parametrize(
    ("descriptions", "colours", "expected"),
    [
        (["B02", "B03"], ["gray", "undefined"], ("B02", "B03")),
        (["B4, central wavelength 665 nm", "B8A, central wavelength 865 nm"], ["gray", "undefined"], ("B4", "B8A")),
        (["same", "same"], ["gray", "undefined"], ("1", "2")),
        ([None, None, None, None], ["red", "green", "blue", "undefined"], ("red", "green", "blue", "4")),
        ([None, None, None, None], ["red", "green", "blue", "alpha"], ("red", "green", "blue", "alpha")),
        ([None], ["gray"], ("gray",)),
        (["B02", ""], ["gray", "undefined"], ("1", "2")),
    ],
)
def test_names_come_from_descriptions_then_colours_then_positions(
    descriptions: list[str | None], colours: list[str], expected: tuple[str, ...]
) -> None:
    assert names_from_descriptions(descriptions, colours) == expected
