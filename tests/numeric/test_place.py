"""Map tiles, pixel sizes, unit vectors and spherical harmonics against scipy, closed forms and their inverses."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from earthgen.gen.conditioning.place import (
    cartesian,
    gsd_of_zoom,
    lonlat_of_tile,
    spherical_harmonics,
    tile_at,
    utm_epsg,
    zoom_of_gsd,
)
from earthgen.gen.errors import InputError
from earthgen.gen.models.embed import LocationEncoder


def places(count: int, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(np.stack([rng.uniform(-180, 180, count), rng.uniform(-90, 90, count)], 1))


def scipy_harmonics(lonlat: np.ndarray, degree: int) -> np.ndarray:
    """From scipy's complex ones, which have the Condon-Shortley phase; SatCLIP's angles."""
    special = pytest.importorskip("scipy.special")
    azimuth, polar = np.deg2rad(lonlat[:, 0] + 180), np.deg2rad(lonlat[:, 1] + 90)
    columns = []
    for l in range(degree):  # noqa: E741
        for m in range(-l, l + 1):
            complex_one = special.sph_harm_y(l, abs(m), polar, azimuth) * (-1) ** m
            columns.append(complex_one.real if m == 0 else math.sqrt(2) * (complex_one.real if m > 0 else complex_one.imag))
    return np.stack(columns, 1)


@pytest.mark.parametrize("degree", [1, 2, 10, 40])
def test_harmonics_are_those_of_scipy(degree: int) -> None:
    lonlat = torch.cat([places(40), torch.tensor([[0.0, 0.0], [180.0, 90.0], [-180.0, -90.0], [12.5, -90.0]], dtype=torch.float64)])
    ours = spherical_harmonics(lonlat, degree, "orthonormal").numpy()
    assert ours.shape == (44, degree**2)
    assert np.abs(ours - scipy_harmonics(lonlat.numpy(), degree)).max() < 1e-11


def test_harmonics_are_orthonormal_on_the_sphere() -> None:
    """Gauss-Legendre in latitude and equal steps in longitude integrate products of degree 2 L - 2 exactly."""
    degree = 8
    nodes, weights = np.polynomial.legendre.leggauss(degree)
    lon = np.linspace(-180, 180, 2 * degree, endpoint=False)
    grid = np.stack(np.meshgrid(lon, np.rad2deg(np.arcsin(nodes))), -1).reshape(-1, 2)
    area = np.repeat(weights, len(lon)) * 2 * np.pi / len(lon)
    values = spherical_harmonics(torch.from_numpy(grid), degree, "orthonormal").numpy()
    assert np.abs(values.T @ (values * area[:, None]) - np.eye(degree**2)).max() < 1e-12


def test_the_released_formulas_have_their_zonal_terms_pi_times_too_large() -> None:
    """First terms as they stand in SatCLIP's list of formulas: 0.8862, 1.53499 cos, 2.97250 cos^2 - 0.99083; 0.48860 sin sin."""
    lonlat = places(20, 3)
    ours = spherical_harmonics(lonlat, 3, "satclip").numpy()
    phi, theta = np.deg2rad(lonlat[:, 0].numpy() + 180), np.deg2rad(lonlat[:, 1].numpy() + 90)
    assert np.allclose(ours[:, 0], 0.886226925452758, atol=1e-13)
    assert np.allclose(ours[:, 1], 0.48860251190292 * np.sin(theta) * np.sin(phi), atol=1e-13)
    assert np.allclose(ours[:, 2], 1.53499006191973 * np.cos(theta), atol=1e-13)
    assert np.allclose(ours[:, 3], 0.48860251190292 * np.sin(theta) * np.cos(phi), atol=1e-13)
    assert np.allclose(ours[:, 5], 1.09254843059208 * np.sin(theta) * np.sin(phi) * np.cos(theta), atol=1e-13)
    assert np.allclose(ours[:, 6], 2.97249547320451 * np.cos(theta) ** 2 - 0.990831824401503, atol=1e-12)


def test_unit_vectors() -> None:
    known = torch.tensor([[0.0, 0.0], [90.0, 0.0], [33.0, 90.0], [-180.0, 0.0]])
    wanted = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [-1, 0, 0]], dtype=torch.float64)
    assert torch.allclose(cartesian(known), wanted, atol=1e-7)
    lonlat = places(100)
    x, y, z = cartesian(lonlat).unbind(1)
    back = torch.stack([torch.rad2deg(torch.atan2(y, x)), torch.rad2deg(torch.asin(z))], 1)
    assert torch.allclose(back, lonlat, atol=1e-9)


def test_tiles_and_back() -> None:
    lat = math.radians(55.95)  # Edinburgh, by another form of the projection
    down = (1 - math.log(math.tan(lat) + 1 / math.cos(lat)) / math.pi) / 2
    assert tile_at(-3.2, 55.95, 17) == (int((180 - 3.2) / 360 * 2**17), int(down * 2**17))
    for lon, lat in places(50, 1).tolist():
        lat *= 0.94
        for zoom in (0, 5, 17):
            x, y = tile_at(lon, lat, zoom)
            west, north = lonlat_of_tile(x, y, zoom)
            east, south = lonlat_of_tile(x + 1, y + 1, zoom)
            assert west <= lon <= east
            assert south <= lat <= north
            assert tile_at(*lonlat_of_tile(x + 0.5, y + 0.5, zoom), zoom) == (x, y)
    with pytest.raises(InputError, match=r"latitudes end at 85\.05"):
        tile_at(0, 86, 3)


def test_pixel_sizes_of_zoom_levels() -> None:
    """GSD(z, lat) = 156543.03392 cos(lat) / 2^z: the spec's 1.19 m at level 17 on the equator and 0.67 m at 56 N."""
    assert gsd_of_zoom(17, 0) == pytest.approx(1.1943, abs=1e-4)
    assert gsd_of_zoom(17, 56) == pytest.approx(0.6679, abs=1e-4)
    for zoom, lat in [(10, 0.0), (13.4, 45.0), (18, -60.0)]:
        assert zoom_of_gsd(gsd_of_zoom(zoom, lat), lat) == pytest.approx(zoom, abs=1e-12)
    circumference = 2 * math.pi * 6378137
    assert gsd_of_zoom(0, 0) == pytest.approx(circumference / 256, rel=1e-9)


@pytest.mark.parametrize(
    ("lon", "lat", "code"),
    [(9.0, 47.0, 32632), (-180.0, 1.0, 32601), (180.0, -1.0, 32760), (5.0, 60.0, 32632), (10.0, 78.0, 32633), (0.0, 88.0, 32661)],
)
def test_utm_zones(lon: float, lat: float, code: int) -> None:
    assert utm_epsg(lon, lat) == code


def test_location_encoder_has_satclips_keys_and_arithmetic() -> None:
    encoder = LocationEncoder(degree=10, width=16, depth=2, outputs=8)
    shapes = {key: tuple(value.shape) for key, value in encoder.state_dict().items()}
    assert shapes == {
        "nnet.layers.0.weight": (16, 100), "nnet.layers.0.bias": (16,), "nnet.layers.1.weight": (16, 16), "nnet.layers.1.bias": (16,),
        "nnet.last_layer.weight": (8, 16), "nnet.last_layer.bias": (8,),
    }  # fmt: skip
    state = {key: value.double().numpy() for key, value in encoder.state_dict().items()}
    lonlat = places(5)
    factors = np.array([math.pi if m == 0 else 1.0 for l in range(10) for m in range(-l, l + 1)])  # noqa: E741
    features = scipy_harmonics(lonlat.numpy(), 10) * factors
    hidden = np.sin(30 * (features @ state["nnet.layers.0.weight"].T + state["nnet.layers.0.bias"]))
    hidden = np.sin(hidden @ state["nnet.layers.1.weight"].T + state["nnet.layers.1.bias"])
    wanted = hidden @ state["nnet.last_layer.weight"].T + state["nnet.last_layer.bias"]
    assert np.abs(encoder(lonlat).detach().numpy() - wanted).max() < 2e-5


def test_the_fallback_has_no_weights_and_tells_places_apart() -> None:
    encoder = LocationEncoder(encoding="cartesian", outputs=16)
    assert not encoder.state_dict()
    vectors = encoder(places(6))
    assert vectors.shape == (6, 16)
    assert torch.cdist(vectors, vectors).fill_diagonal_(9).min() > 0.05
    assert torch.allclose(encoder(torch.tensor([[180.0, 10.0]])), encoder(torch.tensor([[-180.0, 10.0]])), atol=1e-5)
