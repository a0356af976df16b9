"""Windows of the procedural world as described pictures: metadata, caption and land cover known for every pixel."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from .described import Described, cover_from_codes
from .splits import world_place
from .tensor_cache import TensorCache

_NAMESPACE = "described windows of the procedural world, 1"
COVER_OF_WORLD = {
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
"""Land cover of the procedural world to a class of `described.COVER`."""


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
    cache: str = ""
    """Folder to keep windows in from run to run, since each takes a second or two; empty for none. Clear it after a change of the world."""

    def pictures(self, root: Path) -> Iterator[Described]:
        """Make the windows.

        Args:
            root: Not used; the world needs no files.

        Yields:
            The pictures, each a pure function of the seed and its number.
        """
        kept = TensorCache(self.cache, _NAMESPACE) if self.cache else None
        for number in range(self.count):
            settings = {**self.model_dump(include={"seed", "size", "reach", "white", "view"}), "number": number}
            if kept is None:
                yield _unpacked(self._window(number), settings)
            else:
                yield _unpacked(kept.get(kept.key("window", settings), partial(self._window, number)), settings)

    def _window(self, number: int) -> dict[str, torch.Tensor]:
        from .world import World

        rng = np.random.default_rng([self.seed, number])
        row, col = (int(value) for value in rng.integers(-self.reach, self.reach, 2))
        date = f"{int(rng.integers(2017, 2024))}-{int(rng.integers(1, 13)):02d}-{int(rng.integers(1, 29)):02d}"
        scene = World(self.seed).window(row, col, self.size, self.size, date=date, modalities=("truth",))
        truth = scene.truth.sel(band=["B04", "B03", "B02"]).values
        shown = np.clip(truth / self.white * 255.0 + 0.5, 0, 255).astype(np.uint8)
        cover = scene.landcover
        mask = cover_from_codes(cover.values[0].astype(np.uint8), cover.attrs["classes"], COVER_OF_WORLD)
        subject = scene.caption.split(". ")[0].replace("A satellite view of ", "").rstrip(".")
        told = {
            "place": world_place(self.seed, row + self.size // 2, col + self.size // 2),
            "lat": float(scene.metadata["latitude"]),
            "lon": float(scene.metadata["longitude"]),
            "date": date,
            "captions": [scene.caption.replace("satellite view", self.view), subject],
        }
        text = np.frombuffer(json.dumps(told).encode(), np.uint8)
        return {name: torch.from_numpy(array.copy()) for name, array in (("pixels", shown), ("mask", mask), ("told", text))}


def _unpacked(stored: Mapping[str, torch.Tensor], settings: Mapping[str, Any]) -> Described:
    told = json.loads(stored["told"].numpy().tobytes())
    return Described(
        name=f"world-{settings['seed']}#{settings['number']}",
        pixels=stored["pixels"].numpy(),
        mask=stored["mask"].numpy(),
        gsd=2.5,
        cloud_cover=0.0,
        **{**told, "captions": tuple(told["captions"])},
    )
