"""A map of the world to pick a place on, drawn here: no tile server is asked.

The coastlines are Natural Earth's at 1 : 110 million, simplified to 0.05 degrees (public domain), in ``coastlines.json``: rings of
(longitude, latitude).
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

WIDTH, HEIGHT = 720, 360  # half a degree per pixel
_OVERSAMPLED = 3
_SEA, _LAND, _SHORE, _GRID, _MARK = (214, 228, 236), (178, 190, 168), (110, 124, 108), (196, 212, 221), (190, 38, 30)


def paint_map(place: tuple[float, float] | None = None) -> NDArray[np.uint8]:
    """The world in plate carree, with a mark at a place.

    Args:
        place: Latitude and longitude in degrees; None for no mark.

    Returns:
        ``[360, 720, 3]``.
    """
    picture = _plain().copy()
    if place is not None:
        x, y = ((place[1] + 180.0) * _OVERSAMPLED * WIDTH / 360.0, (90.0 - place[0]) * _OVERSAMPLED * HEIGHT / 180.0)
        draw = ImageDraw.Draw(picture)
        for radius, colour in ((21, (255, 255, 255)), (16, _MARK), (6, (255, 255, 255))):
            draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=colour)
    return np.asarray(picture.resize((WIDTH, HEIGHT), Image.Resampling.BOX))


def place_at(x: float, y: float) -> tuple[float, float]:
    """Latitude and longitude of the middle of a pixel of the map, in degrees, rounded to a hundredth."""
    lat, lon = 90.0 - (y + 0.5) * 180.0 / HEIGHT, (x + 0.5) * 360.0 / WIDTH - 180.0
    return round(min(max(lat, -90.0), 90.0), 2), round(min(max(lon, -180.0), 180.0), 2)


@lru_cache(maxsize=1)
def _plain() -> Image.Image:
    rings = json.loads((Path(__file__).parent / "coastlines.json").read_text(encoding="utf-8"))
    across, down = _OVERSAMPLED * WIDTH / 360.0, _OVERSAMPLED * HEIGHT / 180.0
    picture = Image.new("RGB", (_OVERSAMPLED * WIDTH, _OVERSAMPLED * HEIGHT), _SEA)
    draw = ImageDraw.Draw(picture)
    for degrees in range(-150, 180, 30):
        draw.line([((degrees + 180) * across, 0), ((degrees + 180) * across, picture.height)], fill=_GRID, width=2)
        draw.line([(0, (90 - degrees / 2) * down), (picture.width, (90 - degrees / 2) * down)], fill=_GRID, width=2)
    for ring in rings:
        draw.polygon([((lon + 180) * across, (90 - lat) * down) for lon, lat in ring], fill=_LAND, outline=_SHORE, width=2)
    return picture
