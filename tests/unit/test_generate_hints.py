"""The hint box without a browser: edges from a picture, land cover from OpenStreetMap vectors, and what a wrong file is told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from earthgen.demos.generate_actions import canvas, hints_of
from earthgen.demos.generate_hints import PICTURE, READY, VECTORS, can_be_made, make_hints, middle_of
from earthgen.gen.data.described import COVER
from earthgen.gen.errors import InputError

LAT, LON, GSD = 48.2, 16.4, 10.0
HINTS = (*COVER, "canny", "content", "hed")


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """Water on the west of a meridian, a street of 6 m along a parallel on the east."""
    west = [[LON - 0.01, LAT - 0.01], [LON, LAT - 0.01], [LON, LAT + 0.01], [LON - 0.01, LAT + 0.01], [LON - 0.01, LAT - 0.01]]
    features = [
        {"type": "Feature", "properties": {"natural": "water"}, "geometry": {"type": "Polygon", "coordinates": [west]}},
        {
            "type": "Feature",
            "properties": {"highway": "residential"},
            "geometry": {"type": "LineString", "coordinates": [[LON, LAT], [LON + 0.01, LAT]]},
        },
    ]
    path = tmp_path / "lake.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def test_vectors_become_the_models_hints(lake: Path, tmp_path: Path) -> None:
    """Half of the picture is water, one row holds a street of 6 m in pixels of 10 m; the grid is a UTM one, turned by a degree."""
    made = make_hints(
        VECTORS, "", lake, wanted=HINTS, size=(64, 48), metadata={"gsd": GSD, "lat": LAT, "lon": LON}, folder=tmp_path / "hints"
    )
    assert set(made.files) == {"water", "paved"}
    assert "at the chosen place" in made.note
    water, paved = (np.asarray(Image.open(made.files[name])) / 255 for name in ("water", "paved"))
    assert water.shape == paved.shape == (64, 48)
    assert water.mean() == pytest.approx(0.5, abs=0.03)
    assert water[:, :20].min() == 1
    assert water[:, 28:].max() == 0
    assert paved[:, 28:].sum(0) == pytest.approx(0.6, abs=0.16)  # 4 x 4 points a pixel
    assert made.shown.shape == (64, 48, 3)
    assert len(np.unique(made.shown.reshape(-1, 3), axis=0)) > 2


def test_without_a_place_vectors_lie_around_their_middle(lake: Path, tmp_path: Path) -> None:
    assert middle_of(lake) == pytest.approx((LAT, LON))
    made = make_hints(VECTORS, "", lake, wanted=("water",), size=(40, 40), metadata={"gsd": GSD}, folder=tmp_path / "hints")
    assert np.asarray(Image.open(made.files["water"])).mean() == pytest.approx(127.5, abs=8)
    assert "around the middle" in made.note


def test_edges_of_a_picture_of_another_size(tmp_path: Path) -> None:
    """A bright square: its outline, where it lies after scaling, and nothing else."""
    pixels = np.zeros((100, 100, 3), np.uint8)
    pixels[30:70, 30:70] = 255
    Image.fromarray(pixels).save(tmp_path / "square.png")
    made = make_hints(PICTURE, "canny", tmp_path / "square.png", wanted=HINTS, size=(50, 50), metadata={}, folder=tmp_path / "hints")
    edges = np.asarray(Image.open(made.files["canny"])) > 127
    rows, cols = np.nonzero(edges)
    assert abs(rows.min() - 15) <= 1
    assert abs(rows.max() - 34) <= 1
    assert abs(cols.min() - 15) <= 1
    assert abs(cols.max() - 34) <= 1
    assert not edges[20:30, 20:30].any()
    assert np.array_equal(made.shown[..., 0] > 127, edges)
    content = make_hints(PICTURE, "content", tmp_path / "square.png", wanted=HINTS, size=(50, 50), metadata={}, folder=tmp_path / "hints")
    assert np.asarray(Image.open(content.files["content"])).shape == (50, 50, 3)


def test_what_can_be_made_is_said() -> None:
    said = can_be_made(HINTS)
    assert "From a picture: canny, content." in said
    assert "From OpenStreetMap vectors: water, trees" in said
    assert "Not made here: hed" in said
    assert can_be_made(("segmentation",)) == ""


def test_the_canvas_is_that_of_what_is_made(tmp_path: Path) -> None:
    Image.new("RGB", (70, 40)).save(tmp_path / "x.png")
    assert canvas("zoo:earth-small", {"image": tmp_path / "x.png", "extend": (1, 2, 3, 4)}) == (46, 74)
    assert canvas("zoo:earth-small", {"width": 96, "height": 0}) == (64, 96)
    assert hints_of("zoo:earth-small", READY, "water", None, (64, 64), {}, tmp_path) is None


@pytest.mark.parametrize(
    ("source", "name", "text", "known", "sentence"),
    [
        (PICTURE, "water", "", {}, "'water' is drawn, not read off a picture"),
        (PICTURE, "canny", "no picture", {}, "cannot be read as a picture"),
        (VECTORS, "", "{", {"gsd": 10}, "cannot be read as GeoJSON"),
        (VECTORS, "", '{"type": "FeatureCollection", "features": []}', {"gsd": 10}, "no coordinates in degrees"),
        (VECTORS, "", '{"coordinates": [500000, 5000000]}', {"gsd": 10}, "no coordinates in degrees"),
        (VECTORS, "", "{}", {}, "tick 'pixel size'"),
        (VECTORS, "", "LAKE", {"gsd": 10, "lat": 0.0, "lon": 0.0}, "nothing in .* lies on the raster"),
    ],
)
def test_a_wrong_file_is_told(
    lake: Path, tmp_path: Path, source: str, name: str, text: str, known: dict[str, float], sentence: str
) -> None:
    file = tmp_path / "file.json"
    file.write_text(lake.read_text() if text == "LAKE" else text)
    with pytest.raises(InputError, match=sentence):
        make_hints(source, name, file, wanted=HINTS, size=(32, 32), metadata=known, folder=tmp_path / "hints")


def test_a_model_without_land_cover_is_told(lake: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="reads no hint that OpenStreetMap draws; it reads canny"):
        make_hints(VECTORS, "", lake, wanted=("canny",), size=(32, 32), metadata={"gsd": 10}, folder=tmp_path / "hints")
