"""Rivers: a drainage network on a jittered lattice, in which water goes from each node to its lowest neighbour.

The bed falls along every reach, since a node drains to a lower one; nodes without a lower neighbour hold lakes. The stream's width grows
with the number
of nodes upstream, counted over a fixed number of steps, so that everything is a function of a bounded neighbourhood.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .lattice import Array, Points, Site, key_of, length_of, octaves, step, uniform_at

SPACING = 1100.0
"""Metres between nodes of the network."""
REACH = 1500.0
"""A reach shapes the land up to this distance, metres."""
_STEPS = 12
_MIN_NODES = 5.0  # a stream is open water from this many nodes upstream
_NEIGHBOURS = [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)]


def low_relief(seed: int, site: Site) -> tuple[Array, Array]:
    """The broad shape of the land.

    Returns:
        Height in metres (negative below the sea) and the share of mountain, 0 to 1, both of the site's shape.
    """
    broad = site.smooth(key_of(seed, "continent"), 60_000.0) + np.float32(0.45) * site.smooth(key_of(seed, "province"), 21_000.0)
    mountain = step(0.5, 1.5, site.smooth(key_of(seed, "mountain"), 38_000.0) + 0.25 * broad)
    ridge = 1.0 - np.abs(site.smooth(key_of(seed, "ridge"), 9_000.0))
    height = 120.0 + 115.0 * broad + 30.0 * site.smooth(key_of(seed, "swell"), 6_000.0)
    height = height + mountain * (520.0 + 420.0 * ridge + 190.0 * site.smooth(key_of(seed, "massif"), 3_800.0))
    return height.astype(np.float32), mountain.astype(np.float32)


@dataclass(frozen=True)
class Network:
    """The reaches near a window.

    Attributes:
        start: Upper ends ``[n, 2]`` (x, y), float64 metres.
        end: Lower ends ``[n, 2]``.
        bed: Height of the bed at both ends ``[n, 2]``.
        half: Half the width of the open water ``[n]``, metres; negative where the stream is too small to be seen.
        lakes: ``[m, 4]``: x, y, radius, level.
    """

    start: Array
    end: Array
    bed: Array
    half: Array
    lakes: Array


def find_network(seed: int, low: tuple[float, float], high: tuple[float, float]) -> Network:
    """The reaches and lakes that can touch the rectangle between two corners (x, y)."""
    ring = _STEPS + 2
    margin = REACH + 2 * SPACING
    first = [int(np.floor((low[axis] - margin) / SPACING)) - ring for axis in (1, 0)]
    last = [int(np.floor((high[axis] + margin) / SPACING)) + ring for axis in (1, 0)]
    rows, cols = (a.ravel() for a in np.meshgrid(np.arange(first[0], last[0] + 1), np.arange(first[1], last[1] + 1), indexing="ij"))
    shape = (last[0] - first[0] + 1, last[1] - first[1] + 1)
    x = (cols + 0.5 + 0.7 * (uniform_at(key_of(seed, "node x"), rows, cols) - 0.5).astype(np.float64)) * SPACING
    y = (rows + 0.5 + 0.7 * (uniform_at(key_of(seed, "node y"), rows, cols) - 0.5).astype(np.float64)) * SPACING
    bed = low_relief(seed, Points(x, y))[0].astype(np.float64).reshape(shape)
    inner = bed[1:-1, 1:-1]
    around = np.stack([bed[1 + i : shape[0] - 1 + i, 1 + j : shape[1] - 1 + j] for i, j in _NEIGHBOURS])
    choice = around.argmin(0)
    pit = np.ones(shape, bool)
    pit[1:-1, 1:-1] = around.min(0) >= inner
    offset = np.array([i * shape[1] + j for i, j in _NEIGHBOURS])
    target = np.arange(shape[0] * shape[1]).reshape(shape)
    target[1:-1, 1:-1] += np.where(pit[1:-1, 1:-1], 0, offset[choice])
    flows, down = ~pit.ravel(), target.ravel()
    count: Array = np.ones(down.size)
    for _ in range(_STEPS):
        count = 1.0 + np.bincount(down[flows], count[flows], minlength=down.size)
    keep = np.zeros(shape, bool)
    keep[ring:-ring, ring:-ring] = True
    sources = np.flatnonzero(keep.ravel() & flows)
    place, height = np.stack([x, y], 1), bed.ravel()
    half = np.where(count >= _MIN_NODES, 1.4 * np.sqrt(count) + 0.16 * count, -30.0)
    pits = np.flatnonzero(keep.ravel() & pit.ravel())
    chance = uniform_at(key_of(seed, "lake"), rows[pits], cols[pits])
    radius = 70.0 + 520.0 * chance.astype(np.float64) ** 2
    lakes = np.stack([x[pits], y[pits], radius, height[pits]], 1)
    return Network(place[sources], place[down[sources]], np.stack([height[sources], height[down[sources]]], 1), half[sources], lakes)


def meanders(seed: int, site: Site) -> tuple[Array, Array]:
    """By how much the network is bent at each place: what to add to (x, y), metres, before distances to the straight reaches are taken."""
    lengths, gains = (1_000.0, 330.0, 110.0), (105.0, 34.0, 7.0)
    return octaves(site, key_of(seed, "meander x"), lengths, gains), octaves(site, key_of(seed, "meander y"), lengths, gains)


def along(x: Array, y: Array, start: Array, end: Array) -> tuple[Array, Array]:
    """Distance of places to one straight reach, and how far down it the nearest point lies, 0 to 1."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    share = np.clip(((x - start[0]) * dx + (y - start[1]) * dy) / (dx * dx + dy * dy), 0.0, 1.0)
    return length_of(x - start[0] - share * dx, y - start[1] - share * dy), share


@dataclass(frozen=True)
class Waters:
    """What the network does at a site's places.

    Attributes:
        valley: Distance to the nearest reach or lake, metres, at most `REACH`.
        bank: Distance to the nearest bank of a stream that can be seen, negative in the water.
        lake: Distance to the nearest lake's shore, negative in it.
        bed: Height of the bed that the place drains to, metres.
        level: Level of the nearest lake.
    """

    valley: Array
    bank: Array
    lake: Array
    bed: Array
    level: Array


def find_waters(seed: int, site: Site, network: Network) -> Waters:
    """Distances to the network's water."""
    bend_x, bend_y = meanders(seed, site)
    x, y = site.x + bend_x, site.y + bend_y
    shape = x.shape
    valley, bank, lake, level = np.full(shape, REACH), np.full(shape, REACH), np.full(shape, REACH), np.zeros(shape)
    weights, beds = np.full(shape, 1e-9), np.full(shape, 0.0)
    for start, end, bed, half in zip(network.start, network.end, network.bed, network.half, strict=True):
        cut = _near(site, np.minimum(start, end), np.maximum(start, end))
        if cut is None:
            continue
        distance, share = along(x[cut], y[cut], start, end)
        weight = np.maximum(1.0 - distance / REACH, 0.0) ** 2 / (distance + 15.0) ** 2
        weights[cut] += weight
        beds[cut] += weight * (bed[0] + (bed[1] - bed[0]) * share)
        valley[cut] = np.minimum(valley[cut], distance)
        bank[cut] = np.minimum(bank[cut], distance - half)
    ripple = octaves(site, key_of(seed, "shore"), (330.0, 140.0, 60.0, 25.0), (0.34, 0.2, 0.08, 0.03))
    for place_x, place_y, radius, height in network.lakes:
        cut = _near(site, np.array([place_x, place_y]), np.array([place_x, place_y]))
        if cut is None:
            continue
        shore = length_of(x[cut] - place_x, y[cut] - place_y) - radius * (1.0 + ripple[cut])
        level[cut] = np.where(shore < lake[cut], height, level[cut])
        lake[cut] = np.minimum(lake[cut], shore)
        valley[cut] = np.minimum(valley[cut], np.maximum(shore, 0.0))
    return Waters(
        valley.astype(np.float32),
        bank.astype(np.float32),
        lake.astype(np.float32),
        (beds / weights).astype(np.float32),
        level.astype(np.float32),
    )


def banks_at(network: Network, x: Array, y: Array) -> Array:
    """Distance to the nearest bank at places that `meanders` has already moved, ``[n]`` float32; at most 200 m."""
    bank = np.full(x.shape, 200.0)
    for start, end, half in zip(network.start, network.end, network.half, strict=True):
        low, high = np.minimum(start, end) - half - 40.0, np.maximum(start, end) + half + 40.0
        near = np.flatnonzero((x > low[0]) & (x < high[0]) & (y > low[1]) & (y < high[1])) if half > 0.0 else np.empty(0, np.int64)
        if near.size:
            bank[near] = np.minimum(bank[near], along(x[near], y[near], start, end)[0] - half)
    return bank.astype(np.float32)


def _near(site: Site, low: Array, high: Array) -> tuple[slice, ...] | Array | None:
    """Index of the places within reach of a rectangle."""
    margin = REACH + 600.0  # the bends move a place by less than that
    inside_x = (site.x > low[0] - margin) & (site.x < high[0] + margin)
    inside_y = (site.y > low[1] - margin) & (site.y < high[1] + margin)
    if isinstance(site, Points):
        found = np.flatnonzero(inside_x & inside_y)
        return found if found.size else None
    rows, cols = np.flatnonzero(inside_y), np.flatnonzero(inside_x)
    if not rows.size or not cols.size:
        return None
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(cols[0]), int(cols[-1]) + 1)
