"""Windows of the procedural world as described pictures: metadata, caption and land cover known for every pixel."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from .described import Described, cover_from_codes
from .splits import world_place

_CLASSES = {
    "water": "water",
    "broadleaf trees": "trees",
    "conifers": "trees",
    "shrub": "fields",
    "grass": "fields",
    "crops": "fields",
    "orchards and vines": "fields",
    "wetland": "fields",
    "bare ground": "bare",
    "permanent snow": "snow",
    "building": "building",
    "built-up ground": "paved",
    "road": "paved",
    "airfield pavement": "paved",
    "railway": "paved",
    "solar panels": "paved",
}


class DescribedWorld(BaseModel):
    """Windows at 2.5 m, on random dates of 2017 to 2023, over a wide range of latitudes; made once at the start and kept in memory."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["world"] = "world"
    weight: float = Field(1.0, ge=0)
    seed: int = 0
    count: int = Field(64, ge=1)
    size: int = Field(64, ge=16)
    """Side in pixels of 10 m; the pictures have four times as many of 2.5 m."""
    reach: int = Field(300_000, ge=1)
    """Rows and columns (10 m) from the origin within which the windows lie."""
    white: float = Field(0.275, gt=0)
    """Reflectance that is shown as 255."""
    view: str = "computer-made view"

    def pictures(self, root: Path) -> Iterator[Described]:
        """Make the windows.

        Args:
            root: Not used; the world needs no files.

        Yields:
            The pictures, each a pure function of the seed and its number.
        """
        from .world import World

        world = World(self.seed)
        for number in range(self.count):
            rng = np.random.default_rng([self.seed, number])
            row, col = (int(value) for value in rng.integers(-self.reach, self.reach, 2))
            date = f"{int(rng.integers(2017, 2024))}-{int(rng.integers(1, 13)):02d}-{int(rng.integers(1, 29)):02d}"
            yield self._picture(world.window(row, col, self.size, self.size, date=date, modalities=("truth",)), number)

    def _picture(self, scene: Any, number: int) -> Described:
        known = scene.metadata
        truth = scene.truth.sel(band=["B04", "B03", "B02"]).values
        cover = scene.landcover
        shown = np.clip(truth / self.white * 255.0 + 0.5, 0, 255).astype(np.uint8)
        caption = scene.caption
        return Described(
            name=f"world-{self.seed}#{number}",
            pixels=shown,
            place=world_place(self.seed, scene.window.row + self.size // 2, scene.window.col + self.size // 2),
            gsd=2.5,
            lat=float(known["latitude"]),
            lon=float(known["longitude"]),
            date=known["date"],
            cloud_cover=0.0,
            captions=(caption.replace("satellite view", self.view), caption.split(". ")[0].replace("A satellite view of ", "").rstrip(".")),
            mask=cover_from_codes(cover.values[0].astype(np.uint8), cover.attrs["classes"], _CLASSES),
        )
