"""PSNR, RMSE, SSIM, SAM and ERGAS against closed forms and figures worked out by hand; masks have no influence."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from earthgen.gen.errors import InputError
from earthgen.metrics.fidelity import Lpips, psnr, rmse, ssim
from earthgen.metrics.pixels import eroded, luma, rgb_indices, select_bands, valid_mask, without_border
from earthgen.metrics.spectral import ergas, sam, spectral_angles

Figure = Callable[..., Tensor]
FIGURES: dict[str, Figure] = {
    "rmse": rmse,
    "psnr": lambda a, b, mask=None: psnr(a, b, data_range=1.0, mask=mask),
    "ssim": lambda a, b, mask=None: ssim(a, b, data_range=1.0, mask=mask),
    "sam": sam,
    "ergas": lambda a, b, mask=None: ergas(a, b, ratio=4, mask=mask),
}


def pictures(bands: int = 3, side: int = 24, seed: int = 0) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    truth = torch.rand(2, bands, side, side + 6, generator=rng)
    return (truth + 0.1 * torch.randn(truth.shape, generator=rng)), truth


def test_psnr_of_a_constant_offset_is_minus_twenty_log_of_it() -> None:
    truth = torch.rand(1, 3, 8, 8, dtype=torch.float64)
    for offset in (0.1, 0.01):
        assert float(psnr(truth + offset, truth, data_range=1.0)) == pytest.approx(-20 * math.log10(offset), abs=1e-5)
    assert float(psnr(truth + 0.1, truth, data_range=255.0)) == pytest.approx(20 * math.log10(2550), abs=1e-5)
    assert math.isinf(float(psnr(truth, truth, data_range=1.0)))


def test_two_by_two_worked_out_by_hand() -> None:
    truth = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[2.0, 2.0], [2.0, 2.0]]]])
    image = torch.tensor([[[[1.0, 2.0], [3.0, 2.0]], [[2.0, 3.0], [2.0, 2.0]]]])
    # Squared errors: 4 in band one, 1 in band two, over eight values.
    assert float(rmse(image, truth)) == pytest.approx(math.sqrt(5 / 8))
    assert float(psnr(image, truth, data_range=4.0)) == pytest.approx(10 * math.log10(16 / (5 / 8)))
    # Band means 2.5 and 2: MSE/mean^2 = 1/6.25 and 0.25/4.
    assert float(ergas(image, truth, ratio=2)) == pytest.approx(50 * math.sqrt((0.16 + 0.0625) / 2))
    # Angles: (1,2) and (3,2) are unchanged; (2,2)->(2,3) and (4,2)->(2,2).
    first = math.degrees(math.acos(10 / math.sqrt(8 * 13)))
    second = math.degrees(math.acos(12 / math.sqrt(20 * 8)))
    assert float(sam(image, truth)) == pytest.approx((first + second) / 4, abs=1e-5)


def test_ssim_of_constants_is_the_luminance_term() -> None:
    a, b, c1 = 0.2, 0.5, 0.01**2
    image, truth = torch.full((1, 2, 16, 16), a), torch.full((1, 2, 16, 16), b)
    assert float(ssim(image, truth, data_range=1.0)) == pytest.approx((2 * a * b + c1) / (a * a + b * b + c1), abs=1e-6)
    assert float(ssim(truth, truth, data_range=1.0)) == pytest.approx(1.0)


def test_identity_gives_the_perfect_figure() -> None:
    _, truth = pictures()
    assert torch.all(rmse(truth, truth) == 0)
    assert torch.all(sam(truth, truth) == 0)
    assert torch.all(ergas(truth, truth, ratio=4) == 0)
    assert torch.allclose(ssim(truth, truth, data_range=1.0), torch.ones(2, dtype=torch.float64))


def test_the_spectral_angle_ignores_brightness_and_is_exact_when_tiny() -> None:
    _, truth = pictures(bands=5)
    assert float(sam(truth * 3.7, truth).max()) < 1e-5
    assert torch.allclose(sam(-truth, truth), torch.full((2,), 180.0, dtype=torch.float64), atol=1e-4)
    tilt = 1e-7
    a = torch.tensor([1.0, 0.0], dtype=torch.float64).view(1, 2, 1, 1)
    b = torch.tensor([math.cos(tilt), math.sin(tilt)], dtype=torch.float64).view(1, 2, 1, 1)
    assert float(spectral_angles(a, b)) == pytest.approx(math.degrees(tilt), rel=1e-6)


def test_a_zero_spectrum_counts_for_nothing_and_one_band_has_no_angle() -> None:
    image, truth = pictures()
    expected = sam(image[..., 1:, :], truth[..., 1:, :])
    image[..., 0, :] = 0.0
    assert torch.allclose(sam(image, truth), expected)
    assert torch.isnan(sam(image[:, :1], truth[:, :1])).all()


@pytest.mark.parametrize("name", FIGURES)
def test_masked_pixels_have_no_influence(name: str) -> None:
    image, truth = pictures()
    mask = torch.ones(2, *image.shape[-2:], dtype=torch.bool)
    mask[:, 3:9, 18:] = False
    figure = FIGURES[name](image, truth, mask=mask)
    changed = image.clone()
    for value in (0.0, 1e6, math.nan, math.inf):
        changed[:, :, 3:9, 18:] = value
        assert torch.equal(FIGURES[name](changed, truth, mask=mask), figure)
    # NaN is nodata by itself, without a mask.
    changed[:, 1:2, 3:9, 18:] = math.nan
    assert torch.equal(FIGURES[name](changed, truth), figure)
    assert not torch.allclose(FIGURES[name](image, truth), figure), "the pixels outside the mask matter when they are let in"


@pytest.mark.parametrize("name", FIGURES)
def test_an_image_without_valid_pixel_has_no_figure_and_does_not_hurt_its_neighbour(name: str) -> None:
    image, truth = pictures()
    alone = FIGURES[name](image[1:], truth[1:])
    image[0] = math.nan
    figures = FIGURES[name](image, truth)
    assert torch.isnan(figures[0])
    assert torch.allclose(figures[1], alone[0])


def test_ssim_without_a_whole_window_is_undefined() -> None:
    image, truth = pictures(side=10)
    assert torch.isnan(ssim(image, truth, data_range=1.0)).all()


def test_ergas_scales_with_the_ratio_of_the_grids() -> None:
    image, truth = pictures()
    assert torch.allclose(ergas(image, truth, ratio=2), 2 * ergas(image, truth, ratio=4))


def test_erosion_keeps_whole_windows_only() -> None:
    mask = torch.ones(1, 7, 7, dtype=torch.bool)
    assert int(eroded(mask, 2).sum()) == 9
    mask[0, 0, 0] = False
    assert int(eroded(mask, 2).sum()) == 8


def test_luma_of_white_black_and_the_primaries() -> None:
    colours = torch.tensor([[1.0, 1, 1], [0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]).T.reshape(1, 3, 1, 5)
    expected = torch.tensor([235.0, 16.0, 81.481, 144.553, 40.966]) / 255
    assert torch.allclose(luma(colours).flatten(), expected, atol=1e-6)


def test_bands_are_found_by_name() -> None:
    names = ("B02", "B03", "B04", "B08")
    assert rgb_indices(names) == (2, 1, 0)
    assert rgb_indices(("VV", "VH")) is None
    image = torch.arange(4.0).view(1, 4, 1, 1)
    assert select_bands(image, names, "RGB")[0].flatten().tolist() == [2.0, 1.0, 0.0]
    assert select_bands(image, names, ("B08",)) == (image[:, 3:], "B08")
    assert select_bands(image, names, "all")[1] == "all (B02, B03, B04, B08)"
    with pytest.raises(InputError, match="no band B11 in the pictures; they have B02"):
        select_bands(image, names, ("B11",))
    with pytest.raises(InputError, match="needs red, green and blue"):
        select_bands(image, ("1", "2", "3", "4"), "Y")


def test_wrong_shapes_and_ranges_are_refused() -> None:
    image, truth = pictures()
    with pytest.raises(InputError, match="must be the same"):
        rmse(image, truth[..., 1:])
    with pytest.raises(InputError, match="data_range is 0"):
        psnr(image, truth, data_range=0)
    with pytest.raises(InputError, match="the mask has shape"):
        rmse(image, truth, mask=torch.ones(2, 3, 3))
    with pytest.raises(InputError, match="leaves nothing"):
        without_border(image, 12)
    with pytest.raises(InputError, match="ratio is 0"):
        ergas(image, truth, ratio=0)


def test_validity_is_by_pixel_over_all_bands_of_all_pictures() -> None:
    image, truth = pictures()
    image[0, 2, 1, 1], truth[0, 0, 2, 2] = math.nan, math.inf
    mask = valid_mask(image, truth)
    assert int((~mask).sum()) == 2
    assert not mask[0, 1, 1]
    assert not mask[0, 2, 2]


def test_lpips_from_a_local_file(tmp_path: Path) -> None:
    pytest.importorskip("torchvision")
    from safetensors.torch import save_file
    from torchmetrics.functional.image.lpips import _LPIPS

    torch.manual_seed(0)
    network = _LPIPS(pretrained=False, pnet_rand=True, net="squeeze").eval()
    save_file({name: value.contiguous().clone() for name, value in network.state_dict().items()}, tmp_path / "w.safetensors")
    loaded = Lpips(tmp_path / "w.safetensors", net="squeeze")
    image, truth = (p.clamp(0, 1) for p in pictures(side=64))
    with torch.inference_mode():
        expected = network(image, truth, normalize=True).flatten().double()
    assert torch.allclose(loaded(image, truth), expected, atol=1e-6)
    assert float(loaded(truth, truth).abs().max()) < 1e-6
    assert "sha256" in loaded.name
    image[0, 0, 0, 0] = math.nan
    assert torch.isnan(loaded(image, truth)).tolist() == [True, False]
    with pytest.raises(InputError, match="does not fit LPIPS with the alex trunk"):
        Lpips(tmp_path / "w.safetensors", net="alex")
    with pytest.raises(InputError, match="LPIPS needs red, green and blue; got 2"):
        loaded(image[:, :2], truth[:, :2])


def test_lpips_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no LPIPS weights at .*; give a local \.safetensors"):
        Lpips(tmp_path / "absent.safetensors")
