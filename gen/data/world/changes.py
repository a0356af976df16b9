"""What has lastingly changed between two dates: the exact map, and the events behind it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from .landuse import EVENTS, USE, USES
from .lattice import Array, Grid
from .moment import date_of
from .surface import Surface


@dataclass(frozen=True)
class ChangeEvent:
    """One lasting change.

    Attributes:
        kind: One of `EVENTS`.
        date: First day between the two dates on which it changed the parcel, ISO; for a flood the later date.
        before: What was there at the first date.
        after: What is there at the second.
        pixels: How many pixels of the window it changed.
        box: First row, first column, last row + 1, last column + 1 of these, in the window's 2.5 m pixels.
    """

    kind: str
    date: str
    before: str
    after: str
    pixels: int
    box: tuple[int, int, int, int]


@dataclass(frozen=True)
class Change:
    """Change between a scene's date and another.

    Attributes:
        mask: Where the surface itself differs: ground, water, or what stands on it; ``[y, x]`` bool.
        kind: Code of `EVENTS` where it does, else 0; ``[y, x]`` uint8.
        appearance: Where the noise-free truth would differ in any band if only the events were those of the other date: the mask and the
        shadows of what changed.
        before: Truth of the scene, ``[band, y, x]``.
        after: Truth with the other date's events under the scene's own season and sun.
        events: What happened.
    """

    mask: xr.DataArray
    kind: xr.DataArray
    appearance: xr.DataArray
    before: xr.DataArray
    after: xr.DataArray
    events: list[ChangeEvent]


def compare(one: Surface, other: Surface, window: Grid) -> tuple[Array, Array, list[ChangeEvent]]:
    """Surfaces of one canvas and season with the events of two dates.

    Args:
        one: First date's.
        other: Second date's.
        window: Within the canvas.

    Returns:
        Mask and kinds on the window, and the events.
    """
    cut = window.within(one.canvas.grid)
    first, second = one.parcels, other.parcels
    turned = np.append(first.use != second.use, np.zeros(64, bool))
    unit = one.unit[cut]
    ground = (unit != other.unit[cut]) | turned.take(unit)
    water = one.water[cut] != other.water[cut]
    mask = ground | water
    for layer in ("cover", "material", "rank", "hedge"):
        mask |= getattr(one.laid, layer)[cut] != getattr(other.laid, layer)[cut]
    for layer in ("cover", "material", "height"):
        mask |= getattr(one.drawn, layer)[cut] != getattr(other.drawn, layer)[cut]
    for layer in ("cover", "height", "conifer"):
        mask |= getattr(one.crowns, layer)[cut] != getattr(other.crowns, layer)[cut]
    parcel = one.canvas.division.unit[cut]
    happened = _happened(one, other)
    kind = np.where(mask, happened.take(parcel), np.uint8(0))
    kind = np.where(mask & water, np.uint8(4), kind)
    kind = _fill(kind, mask)
    events = _parcel_events(one, other, parcel, mask & (kind != 4), happened)
    flood = mask & (kind == 4)
    if flood.any():
        late = date_of(max(one.state, other.state))
        wet, dry = ("flooded", "dry") if (one.water[cut] > other.water[cut]).any() else ("dry", "flooded")
        events.append(ChangeEvent(EVENTS[4], late, wet, dry, int(flood.sum()), _box(flood)))
    return mask, kind, events


def _fill(kind: Array, mask: Array) -> Array:
    """Changed pixels outside the changed parcels (a street's far side, a crown that hangs over) take the kind of a changed neighbour."""
    for _ in range(12):
        empty = mask & (kind == 0)
        if not empty.any():
            break
        padded = np.pad(kind, 1)
        around = np.maximum.reduce(
            [padded[1 + i : padded.shape[0] - 1 + i, 1 + j : padded.shape[1] - 1 + j] for i in (-1, 0, 1) for j in (-1, 0, 1)]
        )
        kind = np.where(empty, around, kind)
    return kind


def _happened(one: Surface, other: Surface) -> Array:
    """Kind of event of each parcel whose use differs."""
    first, second = one.parcels, other.parcels
    early = first.use if one.state <= other.state else second.use
    healed = np.isin(early, (USE["felled"], USE["burnt"]))
    return np.where(first.use != second.use, np.where(healed, 5, first.event), 0).astype(np.uint8)


def _parcel_events(one: Surface, other: Surface, parcel: Array, mask: Array, happened: Array) -> list[ChangeEvent]:
    events = []
    first, second = one.parcels, other.parcels
    counts = np.bincount(parcel[mask], minlength=len(happened))
    for number in np.flatnonzero((happened > 0) & (counts > 0)):
        day = date_of(first.event_day[number] if first.event_day[number] > min(one.state, other.state) else first.event_end[number])
        before, after = USES[first.use[number]], USES[second.use[number]]
        events.append(ChangeEvent(EVENTS[int(happened[number])], day, before, after, int(counts[number]), _box(mask & (parcel == number))))
    return events


def _box(mask: Array) -> tuple[int, int, int, int]:
    rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(rows[0]), int(cols[0]), int(rows[-1]) + 1, int(cols[-1]) + 1
