"""Reflectance in thirteen bands at 2.5 m: materials mixed by cover, textured, and lit by sun and sky."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .landuse import USE
from .lattice import Array, key_of, uniform_at
from .spectra import BANDS, REFLECTANCE, SKY_SHARE, SPECTRUM
from .surface import Surface

_TABLE = 1024


@dataclass
class _Layer:
    """Something over a part of the pixels: their numbers, how much of each is covered, and by which material of which brightness."""

    at: Array
    cover: Array
    material: Array
    tone: Array

    def over(self, band: int, image: Array) -> None:
        """Put the layer over one flat band."""
        under = image[self.at]
        image[self.at] = under + self.cover * (REFLECTANCE[:, band].take(self.material) * self.tone - under)


def render(surface: Surface, bands: tuple[str, ...] = BANDS) -> Array:
    """Reflectance of a canvas.

    Args:
        surface: The canvas at a date.
        bands: Names of Sentinel-2 bands.

    Returns:
        ``[bands, h, w]`` float32.
    """
    shape = surface.canvas.grid.shape
    unit, units = surface.unit, surface.units
    green, tone = _greenness(surface)
    layers = [_water(surface), _roads(surface), _snow(surface, 0.0), _things(surface), _crowns(surface), _snow(surface, 1.0)]
    layers = [layer for layer in layers if layer.at.size]
    direct = _sunlight(surface)
    out = np.empty((len(bands), *shape), np.float32)
    for number, name in enumerate(bands):
        band = BANDS.index(name)
        bare = np.ascontiguousarray(units.bare[:, band])
        gain = np.ascontiguousarray(units.full[:, band]) - bare
        image = out[number]
        np.take(gain, unit, out=image)
        image *= green
        image += bare.take(unit)
        image *= tone
        for layer in layers:
            layer.over(band, image.reshape(-1))
        sky = SKY_SHARE[band]
        image *= direct * (np.float32(1) - sky) + sky
        np.clip(image, 0.0003, 1.3, out=image)
    return out


def _greenness(surface: Surface) -> tuple[Array, Array]:
    """Green share and brightness of the open ground, with its texture."""
    canvas, unit, units = surface.canvas, surface.unit, surface.units
    fine, twin, patch = canvas.texture
    rough = units.texture.take(unit)
    lines = _stripes(surface)
    strength = units.stripe.take(unit)
    green = units.green.take(unit)
    green *= np.float32(1) + rough * (np.float32(0.9) * fine + np.float32(0.7) * patch) + strength * lines
    _planted(surface, green)
    np.clip(green, 0.0, 1.0, out=green)
    tone = np.float32(1) + rough * np.float32(0.75) * twin + np.float32(0.35) * strength * lines + np.float32(0.035) * patch
    np.clip(tone, 0.35, 1.8, out=tone)
    return green, tone


def _stripes(surface: Surface) -> Array:
    """Lines along each parcel: bands of some metres by sowing and soil work, and wheel tracks every 24 m."""
    division = surface.canvas.division
    salts = (surface.parcels.key & np.uint64(_TABLE - 1)).astype(np.int32)
    place = division.across * np.float32(1 / 7.5)
    whole = np.floor(place)
    share = place - whole
    table = (uniform_at(key_of(0, "stripes"), np.zeros(1, np.int64), np.arange(_TABLE)) - np.float32(0.5)) * np.float32(2.6)
    index = whole.astype(np.int32) + salts.take(division.unit)
    lines = table.take(index & (_TABLE - 1)) * (np.float32(1) - share) + table.take((index + 1) & (_TABLE - 1)) * share
    tracks = np.mod(division.across, np.float32(24)) < np.float32(2.2)
    return lines - np.float32(1.2) * tracks


def _planted(surface: Surface, green: Array) -> None:
    """Rows of vines and orchard trees, the rest of an orchard's grid of crowns, and mown lawns, in place."""
    division, use = surface.canvas.division, surface.parcels.use
    turn = np.float32(2 * np.pi)
    own = surface.unit == division.unit
    for name, pitch, dotted in (("vines", 6.0, False), ("orchard", 9.0, True)):
        if not (use == USE[name]).any():
            continue
        at = np.flatnonzero((use == USE[name])[division.unit] & own)
        rows = np.cos(division.across.ravel()[at] * (turn / np.float32(pitch)))
        if dotted:
            rows = np.minimum(rows, np.cos(division.along.ravel()[at] * (turn / np.float32(pitch))))
        green.ravel()[at] += np.float32(0.28) * rows


def _water(surface: Surface) -> _Layer:
    canvas, water = surface.canvas, surface.water
    at = np.flatnonzero(water > 0.0)
    if not at.size:
        return _none()
    sea, still, bank = canvas.fine(canvas.terrain.sea).ravel()[at], canvas.still.ravel()[at], canvas.bank.ravel()[at]
    fine = canvas.texture[0].ravel()[at]
    material = np.where(sea > 0.0, SPECTRUM["sea"], np.where(still < 0.0, SPECTRUM["lake"], SPECTRUM["turbid"])).astype(np.uint8)
    flooded = (bank > 0.0) & (still > 0.0)
    material[flooded] = SPECTRUM["turbid"]
    wave = fine * np.float32(0.5) + canvas.texture[2].ravel()[at]
    depth = np.minimum(-still / np.float32(55), np.float32(1)) + np.float32(0.16) * wave
    shallow = (still < 0.0) & (depth < 0.33)
    material[shallow] = SPECTRUM["shallow"]
    foam = (sea > 0.0) & (still > -9.0) & (canvas.texture[0].ravel()[at] > 0.35)
    material[foam] = SPECTRUM["foam"]
    tone = np.float32(1) + np.float32(0.05) * fine + np.float32(0.07) * canvas.texture[2].ravel()[at]
    return _Layer(at, water.ravel()[at], material, tone)


def _roads(surface: Surface) -> _Layer:
    laid = surface.laid
    cover = laid.cover.copy()
    material = laid.material.copy()
    _panels(surface, cover, material)
    at = np.flatnonzero(cover > 0.0)
    tone = np.float32(1) + np.float32(0.05) * surface.canvas.texture[1].ravel()[at]
    return _Layer(at, cover.ravel()[at], material.ravel()[at], tone)


def _panels(surface: Surface, cover: Array, material: Array) -> None:
    """Rows of solar panels, in place."""
    if not (surface.parcels.use == USE["solar"]).any():
        return
    division = surface.canvas.division
    field = (
        (surface.parcels.use == USE["solar"])[division.unit] & (surface.unit == division.unit) & (surface.laid.margin > 8.0) & (cover < 0.1)
    )
    rows = (np.mod(division.across, np.float32(9)) < np.float32(5.4)) & (np.mod(division.along, np.float32(60)) > np.float32(5))
    cover[field & rows], material[field & rows] = 0.9, SPECTRUM["panels"]


def _snow(surface: Surface, on_top: float) -> _Layer:
    """Snow on the ground, and a thinner one on roofs and crowns."""
    snow = surface.snow
    if not snow.any():
        return _none()
    if on_top:
        cover = snow * (np.float32(0.8) * surface.drawn.cover + np.float32(0.3) * surface.crowns.cover)
    else:
        fine = surface.canvas.texture[0]
        cover = np.clip(snow * np.float32(1.35) - np.float32(0.15) + np.float32(0.1) * fine * (snow > 0.0), 0.0, 0.97)
        cover = cover * (np.float32(1) - np.float32(0.75) * surface.laid.cover) * (np.float32(1) - surface.water)
    at = np.flatnonzero(cover > 0.0)
    tone = np.float32(0.96) + np.float32(0.02) * surface.canvas.texture[1].ravel()[at]
    return _Layer(at, cover.ravel()[at], np.full(at.size, SPECTRUM["snow"], np.uint8), tone)


def _things(surface: Surface) -> _Layer:
    drawn = surface.drawn
    at = np.flatnonzero(drawn.cover > 0.0)
    tone = drawn.tone.ravel()[at] * (np.float32(1) + np.float32(0.03) * surface.canvas.texture[1].ravel()[at])
    return _Layer(at, drawn.cover.ravel()[at], drawn.material.ravel()[at], tone)


def _crowns(surface: Surface) -> _Layer:
    """Foliage by season: broadleaf crowns are bare in winter, and let the ground show through."""
    from .phenology import COVER, season_day, stand

    crowns, canvas = surface.crowns, surface.canvas
    at = np.flatnonzero(crowns.cover > 0.02)
    if not at.size:
        return _none()
    warmth = canvas.fine(canvas.terrain.warmth).ravel()[at]
    rows = at // canvas.grid.width
    day = season_day(surface.moment.year_day, canvas.grid.y[rows, 0], warmth)
    tone = crowns.tone.ravel()[at]
    day = np.mod(np.round(day + 26.0 * (tone - 1.0)), 365.0)  # trees differ by some days
    days = np.arange(366, dtype=np.float64)
    green, dead, _ = stand(np.full(366, COVER["broadleaf"]), days)
    needle = crowns.conifer.ravel()[at]
    leaf, brown = green[day.astype(np.int64)], dead[day.astype(np.int64)]
    material = np.where(leaf > 0.45, SPECTRUM["broadleaf"], np.where(brown > 0.3, SPECTRUM["autumn leaves"], SPECTRUM["twigs"]))
    material = np.where(needle, SPECTRUM["conifer"], material).astype(np.uint8)
    dense = np.where(needle, np.float32(0.97), np.clip(np.maximum(leaf, brown) + np.float32(0.45), 0.0, 0.97))
    # Neighbouring trees are of one stand: of an age, and on like soil.
    stands = np.append(surface.parcels.tone, np.full(64, 0.5, np.float32)).take(surface.unit.ravel()[at])
    grain = np.float32(0.88) + np.float32(0.24) * stands + np.float32(0.09) * canvas.texture[1].ravel()[at]
    grain += np.float32(0.11) * canvas.texture[2].ravel()[at]
    return _Layer(at, crowns.cover.ravel()[at] * dense, material, tone * np.maximum(grain, 0.5))


def _sunlight(surface: Surface) -> Array:
    """Direct sunlight on each pixel as a multiple of that on open level ground."""
    sun, canvas, crowns, drawn = surface.moment.sun, surface.canvas, surface.crowns, surface.drawn
    x, y = np.float32(sun.x / sun.z), np.float32(sun.y / sun.z)
    east, south = canvas.slope
    lit = (np.float32(1) - east * x - south * y) / np.sqrt(np.float32(1) + east * east + south * south)
    np.clip(lit, 0.0, 2.4, out=lit)
    lit += surface.water * (np.float32(1) - lit)
    if crowns.height.any():
        rise = np.pad(crowns.height, 1, mode="edge") * np.float32(0.085)
        slope = (rise[1:-1, 2:] - rise[1:-1, :-2]) * x + (rise[2:, 1:-1] - rise[:-2, 1:-1]) * y
        lit *= np.float32(1) - crowns.cover * np.clip(slope, -0.85, 0.85)
    lit += drawn.cover * (drawn.lit - lit)
    lit *= np.float32(1) - np.float32(0.92) * surface.shadow
    return lit


def _none() -> _Layer:
    return _Layer(np.zeros(0, np.int64), *(np.zeros(0, np.float32) for _ in range(3)))
