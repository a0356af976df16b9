"""What goes in comes out in the same form: arrays, tensors, DataArrays, paths; georeference, nodata, units, tags."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rioxarray  # noqa: F401
import torch
import xarray as xr
from PIL import Image

from earthgen.gen.data.radiometry import Radiometry
from earthgen.gen.data.rasters import read_raster, write_raster
from earthgen.gen.data.resample import upsample
from earthgen.gen.data.sensor_model import SensorModel
from earthgen.gen.errors import InputError

ONE = {"num_inference_steps": 1}


def test_arrays_and_tensors_keep_their_kind(tiny: Any, landscape: Any) -> None:
    pipeline, low = tiny(2), landscape(2, 6, 9)
    single = pipeline(low, samples=2, **ONE)
    for layer in (single.images, single.uncertainty, single.invented):
        assert isinstance(layer, np.ndarray)
        assert layer.shape == (2, 24, 36)
        assert layer.dtype == np.float32
    for given in (torch.from_numpy(low), torch.from_numpy(low).double(), torch.from_numpy(low)[None]):
        images = pipeline(given, samples=2, **ONE).images
        assert isinstance(images, torch.Tensor)
        assert images.dtype == torch.float32
        assert images.ndim == given.ndim
        assert np.allclose(images.reshape(2, 24, 36).numpy(), single.images, atol=1e-6)
    turned = np.ascontiguousarray(low[:, ::-1])[:, ::-1]  # negative strides
    assert np.array_equal(pipeline(turned, samples=2, **ONE).images, single.images)
    assert isinstance(pipeline(low, output_type="pt", **ONE).images, torch.Tensor)
    named = pipeline(low, output_type="xarray", **ONE).images
    assert list(named["band"].values) == ["B04", "B03"]
    assert named.attrs["tags"]["EARTHGEN_SYNTHETIC"] == "true"


def test_a_path_gives_a_located_dataarray(tiny: Any, landscape: Any, scene: Any, tmp_path: Path) -> None:
    pipeline, path = tiny(2), scene(landscape(4, 11, 6))
    result = pipeline(path, seed=7, samples=2, num_inference_steps=2)
    given = read_raster(path, bands=["B04", "B03"])
    image = result.images
    assert isinstance(image, xr.DataArray)
    assert image.dims == ("band", "y", "x")
    assert image.shape == (2, 44, 24)
    assert list(image["band"].values) == ["B04", "B03"]
    assert image.rio.crs == given.rio.crs
    assert image.rio.bounds() == pytest.approx(given.rio.bounds(), abs=2.5e-6)
    transform = image.rio.transform()
    assert (transform.c, transform.f) == (given.rio.transform().c, given.rio.transform().f)
    assert (transform.a, transform.e) == (2.5, -2.5)
    assert image["x"].values[:2] == pytest.approx([transform.c + 1.25, transform.c + 3.75])
    assert image.attrs["radiometry"] == given.attrs["radiometry"]
    tags = image.attrs["tags"]
    assert tags["ACQUIRED"] == "2024-07-01"
    wanted = {"SYNTHETIC": "true", "SEED": "7", "STEPS": "2", "SAMPLES": "2", "SAMPLER": "dpmpp_2m", "CONSISTENCY": "ibp", "UPSCALE": "4"}
    assert {name: tags[f"EARTHGEN_{name}"] for name in wanted} == wanted
    assert tags["EARTHGEN_MODEL_DIGEST"] == pipeline.digest
    assert float(tags["EARTHGEN_CONSISTENCY_ERROR"]) == pytest.approx(result.consistency_error[0], rel=0.01)
    assert result.uncertainty.attrs["tags"]["EARTHGEN_LAYER"] == "uncertainty"
    write_raster(tmp_path / "out.tif", image)
    assert np.allclose(read_raster(tmp_path / "out.tif").values, image.values, atol=0.51e-4)


def test_dataarrays_are_matched_by_name_not_by_order(tiny: Any, landscape: Any, scene: Any) -> None:
    pipeline, given = tiny(2), read_raster(scene(landscape(4, 6, 6)))
    straight = pipeline(given, **ONE).images
    assert list(straight["band"].values) == ["B04", "B03"]
    shuffled = pipeline(given.isel(band=[3, 1, 0, 2]), **ONE).images
    assert np.array_equal(shuffled.values, straight.values)
    swapped = pipeline(given.transpose("x", "band", "y"), **ONE).images
    assert swapped.dims == ("band", "y", "x")
    assert np.array_equal(swapped.values, straight.values)
    with pytest.raises(InputError, match="there is no band 'B03'"):
        pipeline(given.isel(band=[0, 2]), **ONE)


def test_a_time_series_is_a_batch(tiny: Any, landscape: Any, scene: Any) -> None:
    pipeline, first = tiny(2), read_raster(scene(landscape(2, 5, 7)))
    second = first.copy(data=landscape(2, 5, 7, seed=1))
    dates = np.array(["2024-01-01", "2024-02-01"], "datetime64[ns]")
    series = xr.concat([first, second], dim=xr.DataArray(dates, dims="time", name="time"), combine_attrs="override")
    result = pipeline(series, seed=[3, 4], **ONE)
    assert result.images.dims == ("time", "band", "y", "x")
    assert np.array_equal(result.images["time"].values, dates)
    assert result.images.rio.transform() == pipeline(first, **ONE).images.rio.transform()
    assert np.allclose(result.images[1].values, pipeline(second, seed=4, **ONE).images.values, atol=1e-5)


def test_a_rotated_grid_keeps_its_place(tiny: Any, landscape: Any) -> None:
    from affine import Affine

    turned = Affine.translation(400_000, 5_000_000) * Affine.rotation(20) * Affine.scale(10, -10)
    image = xr.DataArray(landscape(2, 6, 6), dims=("band", "y", "x"), coords={"band": ["B04", "B03"]})
    image = image.rio.write_crs("EPSG:32632").rio.write_transform(turned)
    result = tiny(2)(image, **ONE).images
    assert result.rio.transform().almost_equals(turned * Affine.scale(0.25), 1e-9)


def test_a_picture_without_a_place(tiny: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(40, 200, (6, 8, 3), np.uint8)).save(tmp_path / "picture.png")
    result = tiny(["red", "green", "blue"], unit="display")(tmp_path / "picture.png", **ONE)
    assert result.images.shape == (3, 24, 32)
    assert result.images.rio.crs is None
    assert result.consistency_error[0] < 1e-3


def test_holes_stay_holes_and_nothing_else(tiny: Any, landscape: Any) -> None:
    pipeline, low = tiny(2), landscape(2, 9, 8)
    low[1, 2, 3] = np.nan  # one band is enough
    low[:, 6:, :2] = np.inf
    result = pipeline(low, samples=2, num_inference_steps=2)
    hole = np.zeros((9, 8), bool)
    hole[2, 3] = hole[6:, :2] = True
    fine = np.kron(hole, np.ones((4, 4))).astype(bool)
    for layer in (result.images, result.uncertainty, result.invented):
        for band in layer:
            assert np.array_equal(np.isnan(band), fine)
    assert result.consistency_error[0] < 1e-3


def test_invented_is_the_distance_from_bicubic(tiny: Any, landscape: Any) -> None:
    low = torch.from_numpy(landscape(2, 8, 8))[None]
    result = tiny(2)(low, **ONE)
    assert torch.allclose(result.invented, (result.images - upsample(low, 4)).abs(), atol=1e-7)
    assert result.invented.max() > 1e-3


def test_limits_are_kept_and_agreement_too(tiny: Any) -> None:
    sharp = torch.full((1, 2, 48, 48), 0.002)
    sharp[:, :, 20:26, 14:23] = 0.9  # a roof in a dark place: sharpening undershoots
    low = SensorModel(4).degrade(sharp)[0].numpy()
    free = tiny(2)(low, temperature=0.0, **ONE)
    kept = tiny(2)(low, temperature=0.0, limits=(0.0, 1.0), **ONE)
    assert free.images.min() < -0.02
    assert kept.images.min() >= 0.0
    assert kept.images.max() <= 1.0
    cut = torch.from_numpy(free.images)[None].clamp(0.0, 1.0)
    naive = float((torch.from_numpy(low)[None] - SensorModel(4).degrade(cut)).abs().max())
    assert kept.consistency_error[0] < 0.5 * naive


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda low: (low * 10_000).astype(np.uint16), "whole numbers .uint16."),
        (lambda low: low * 10_000, "median is .* but reflectance lies between 0 and 1"),
        (lambda low: low[:1], "has 1 bands; the model takes 2: B04, B03"),
        (lambda low: low[0], r"shape \(6, 6\)"),
        (lambda low: low[:, :0], "no pixels"),
        (lambda low: low * np.nan, "no pixel with data"),
        (lambda low: np.stack([low, low * np.nan]), "picture 1 of the batch has no pixel with data"),
        (lambda low: low.astype(complex), "complex"),
        (lambda low: [low], "a list is no picture"),
        (lambda low: "nowhere.tif", "nowhere.tif"),
        (lambda low: xr.DataArray(low, dims=("channel", "y", "x")), "dims channel, y, x"),
        (lambda low: xr.DataArray((low * 1e4).astype(np.int16), dims=("band", "y", "x")), "whole numbers .int16."),
        (lambda low: xr.DataArray(low, dims=("band", "y", "x"), attrs={"radiometry": Radiometry(unit="dB")}), "holds dB"),
    ],
)
def test_bad_pictures_get_one_sentence(tiny: Any, landscape: Any, spoil: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        tiny(2)(spoil(landscape(2, 6, 6)), **ONE)
    assert "\n" not in str(caught.value)
