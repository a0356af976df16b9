"""Tiny super-resolution models with random weights in every layer, and small rasters for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from rasterio.transform import from_origin

from earthgen.gen.models.eanet import EANet
from earthgen.gen.schedulers.mean_reverting import MeanRevertingScheduler
from earthgen.pipelines.super_resolution import SuperResolutionPipeline

NAMES = ("B04", "B03", "B02", "B08", "B01", "B05", "B06", "B07", "B8A", "B09", "B10", "B11", "B12")
CORNER = (499980.0, 5200020.0)

Tiny = Callable[..., SuperResolutionPipeline]
Scene = Callable[..., Path]


def tiny_pipeline(
    bands: int | Sequence[str] = 2,
    scale: int = 4,
    *,
    variant: str = "cpem_lr",
    sampler: str = "dpmpp_2m",
    unit: str = "reflectance",
    trained: bool = True,
    contrast: dict[str, Any] | None = None,
) -> SuperResolutionPipeline:
    """A pipeline of about 20,000 weights. `trained`: no layer is at its initial zero, as after training; else the network says 0."""
    names = list(NAMES[:bands]) if isinstance(bands, int) else list(bands)
    torch.manual_seed(len(names))
    network: dict[str, Any] = {"width": 8, "enc_blocks": [1, 1], "dec_blocks": [1, 1], "pool_size": 32}
    if variant == "cpem_lr":
        network |= {"cpem_width": 8, "cpem_blocks": 1}
    model = EANet(bands=len(names), scale=scale, variant=variant, prediction="v_prediction", **network)
    for parameter in model.parameters() if trained else ():
        if not bool(parameter.any()):
            torch.nn.init.normal_(parameter, std=0.1)
    scheduler = MeanRevertingScheduler(max_sigma=10, data_scale=2.0, prediction_type="v_prediction", sampler=sampler)
    return SuperResolutionPipeline(model.eval(), scheduler, names, unit, scale, 0.3, contrast)


def smooth(bands: int, height: int, width: int, *, base: float = 0.15, seed: int = 0) -> np.ndarray:
    """A landscape of a few waves and a little texture, reflectance, nowhere near 0."""
    rng = np.random.default_rng(seed)
    rows, cols = np.mgrid[:height, :width]
    waves = [np.sin(rows / rng.uniform(3, 9) + rng.uniform(0, 6)) * np.cos(cols / rng.uniform(3, 9)) for _ in range(bands)]
    picture = base + 0.02 * np.stack(waves) + 0.003 * rng.standard_normal((bands, height, width))
    return picture.astype(np.float32)


@pytest.fixture(scope="session")
def tiny() -> Tiny:
    return tiny_pipeline


@pytest.fixture(scope="session")
def landscape() -> Callable[..., np.ndarray]:
    return smooth


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """Writes a Sentinel-2-like GeoTIFF: uint16, nodata 0, reflectance = (DN + offset) / 10000."""

    def write(pixels: np.ndarray, name: str = "in.tif", *, bands: Sequence[str] = NAMES, offset: float = 0.0, tagged: bool = True) -> Path:
        path = tmp_path / name
        count, height, width = pixels.shape
        stored = np.where(np.isfinite(pixels), np.rint(np.nan_to_num(pixels) * 10_000 - offset), 0).astype(np.uint16)
        profile = {"driver": "GTiff", "dtype": "uint16", "count": count, "height": height, "width": width, "nodata": 0}
        with rasterio.open(path, "w", crs="EPSG:32632", transform=from_origin(*CORNER, 10, 10), **profile) as raster:
            raster.write(stored)
            raster.descriptions = tuple(bands[:count]) or (None,) * count
            if tagged:
                raster.scales, raster.offsets = (1e-4,) * count, (offset * 1e-4,) * count
            raster.update_tags(ACQUIRED="2024-07-01")
        return path

    return write


def tiny_earth(tokenizer: Any, **settings: Any) -> Any:
    """A generator of about 60,000 weights, every layer random, as after training; bands, hints and the like by `settings`."""
    from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    from earthgen.gen.models.embed import MetadataEmbedding
    from earthgen.gen.models.generator import input_channels
    from earthgen.pipelines.earth import EarthPipeline

    bands, hints = settings.setdefault("bands", ["red", "green", "blue"]), settings.setdefault("hints", ["water", "road"])
    inpainting, embedding = settings.setdefault("inpainting", True), settings.pop("metadata_schema", "earthgen")
    torch.manual_seed(3)
    vae = AutoencoderKL(
        in_channels=len(bands), out_channels=len(bands), block_out_channels=(8, 8, 8), down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3, latent_channels=4, layers_per_block=1, norm_num_groups=2, scaling_factor=0.5,
        mid_block_add_attention=False,
    )  # fmt: skip
    unet = UNet2DConditionModel(
        in_channels=input_channels(4, len(hints), inpainting), out_channels=4, block_out_channels=(8, 16), layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), norm_num_groups=4,
        cross_attention_dim=16, attention_head_dim=4, class_embed_type=settings.pop("class_embed_type", "identity"), sample_size=8,
    )  # fmt: skip
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
            max_position_embeddings=12, eos_token_id=tokenizer.eos_token_id, bos_token_id=tokenizer.bos_token_id,
        )
    )  # fmt: skip
    made = MetadataEmbedding(embedding, 32) if embedding else None
    for module in (text, *([made] if made else [])):  # conditions that are heard
        for parameter in module.parameters():
            torch.nn.init.normal_(parameter, std=0.4)
    scheduler = settings.pop("scheduler", None) or DPMSolverMultistepScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012
    )
    settings = {"sizes": [32], "guidance_scale": 3.0, "num_inference_steps": 3, **settings}
    return EarthPipeline(vae.eval(), unet.eval(), scheduler, text.eval(), tokenizer, made, **settings)


@pytest.fixture(scope="session")
def earth(letters: Any) -> Callable[..., Any]:
    """Builds tiny generators."""
    return lambda **settings: tiny_earth(letters, **settings)
