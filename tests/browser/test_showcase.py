"""The page with a real scene and the zoo's model, as the README shows it; `EARTHGEN_WRITE_SCREENSHOT=1` renews that picture."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import rasterio
from rasterio.windows import Window

from earthgen.gen.zoo import resolve_model

pytestmark = [pytest.mark.browser, pytest.mark.timeout(1200)]


def test_a_real_scene_with_the_model_that_ships(visit: Callable[..., Any], shared_data: Path, repository: Path, tmp_path: Path) -> None:
    resolve_model("zoo:ediffsr-x4-small")
    scene = tmp_path / "shanxi.tif"
    with rasterio.open(shared_data / "s2_multispectral/patch_61808.tif") as whole:
        window = Window(70, 70, 112, 96)
        profile = {**whole.profile, "width": 112, "height": 96, "transform": whole.window_transform(window)}
        with rasterio.open(scene, "w", **profile) as part:
            part.write(whole.read(window=window))
            part.scales, part.offsets = (1e-4,) * 12, (0.0,) * 12
            part.descriptions = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
    visitor = visit()
    visitor.upload(scene)
    visitor.expect("112 x 96 pixels", "#up-facts")
    visitor.expect("Ready.")
    visitor.set_number("#up-steps", 8)
    visitor.set_number("#up-samples", 2)
    visitor.page.locator("#up-run").click()
    visitor.expect("Done in")
    with rasterio.open(visitor.download("#up-get-image", tmp_path / "got")) as file:
        assert (file.width, file.height) == (448, 384)
        assert file.tags()["EARTHGEN_MODEL"] == "ediffsr-x4-small"
    visitor.page.wait_for_timeout(1500)
    visitor.shot("app-upscale")
    if os.environ.get("EARTHGEN_WRITE_SCREENSHOT"):
        target = repository / "docs/images/app-upscale.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(Path(__file__).parent / "screenshots/app-upscale.png", target)
