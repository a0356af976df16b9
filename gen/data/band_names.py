"""Which band is meant: names, positions, and what different sensors call the same thing."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..errors import InputError
from .sensors import sensors, sensors_with

# GDAL's Sentinel-2 driver describes a band as "B4, central wavelength 665 nm".
_LONG = re.compile(r"^(B\d{1,2}A?|SR_B\d)[,( ].*$")


def match_bands(names: Sequence[str], wanted: Sequence[str | int]) -> tuple[int, ...]:
    """Find bands by name or position.

    Tried in this order: the name itself, whatever its case; a position from 1; the other name of a product that has all of `names`
    (``"red"`` for ``"B04"``, ``"B4"`` for ``"B04"``); the shared name behind a product's band name (``"B04"`` where the raster has
    ``"red"``). Where products disagree on what is meant (``"B8"`` is near infrared for Sentinel-2, panchromatic for Landsat), nothing is
    taken.

    Args:
        names: Names of the bands that there are.
        wanted: Names, positions from 1 (numbers, or text of digits), or ``"NAME=POSITION"`` to call the band at a position by a name.

    Returns:
        Positions from 0, one for each entry of `wanted`.

    Raises:
        InputError: If one of `wanted` is not there, or is there twice.
    """
    return tuple(_find(names, entry) for entry in wanted)


def chosen_bands(names: Sequence[str], wanted: Sequence[str | int] | None) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """As `match_bands`, with the names that the chosen bands go by from then on.

    Args:
        names: Names of the bands that there are.
        wanted: As in `match_bands`; None takes all.

    Returns:
        Positions from 0, and names: the raster's own, or NAME for ``"NAME=POSITION"``.

    Raises:
        InputError: As `match_bands`, or if nothing or one band twice is asked for.
    """
    if wanted is None:
        return tuple(range(len(names))), tuple(names)
    if not wanted:
        raise InputError("no band was asked for; name at least one")
    positions = match_bands(names, wanted)
    if len(set(positions)) < len(positions):
        raise InputError(f"the bands {', '.join(map(str, wanted))} name one band twice; name each once")
    given = [
        entry.split("=")[0].strip() if isinstance(entry, str) and "=" in entry else names[at]
        for entry, at in zip(wanted, positions, strict=True)
    ]
    if len(set(given)) < len(given):
        raise InputError(f"two of the bands {', '.join(map(str, wanted))} would go by one name; give each its own")
    return positions, tuple(given)


def names_from_descriptions(descriptions: Sequence[str | None], colours: Sequence[str]) -> tuple[str, ...]:
    """Names of a file's bands: its descriptions if they tell the bands apart, else the colours it declares, else the positions from 1.

    Args:
        descriptions: One for each band, None where there is none.
        colours: GDAL's colour interpretation of each band, in lower case.
    """
    cleaned = [_LONG.sub(r"\1", (text or "").strip()) for text in descriptions]
    if all(cleaned) and len({text.lower() for text in cleaned}) == len(cleaned):
        return tuple(cleaned)
    known = [colour if colour in ("red", "green", "blue", "alpha") else "" for colour in colours]
    if colours and colours[0] == "gray" and (len(colours) == 1 or colours[1] == "alpha"):
        known[0] = "gray"
    return tuple(colour if colour and known.count(colour) == 1 else str(number) for number, colour in enumerate(known, 1))


def _called(entry: str | int, name: str) -> str:
    return entry.split("=")[0].strip() if isinstance(entry, str) and "=" in entry else name


def _find(names: Sequence[str], entry: str | int) -> int:
    text = str(entry).strip()
    if "=" in text:
        text = text.split("=", 1)[1].strip()
        if not text.isdigit():
            raise InputError(f"{entry!r} is no NAME=POSITION, such as red=4; the position is a number from 1 to {len(names)}")
    own = [number for number, name in enumerate(names) if name.strip().lower() == text.lower()]
    if len(own) > 1:
        raise InputError(f"the band name {text!r} occurs {len(own)} times; give positions from 1 to {len(names)} instead")
    if own and not isinstance(entry, int):
        return own[0]
    if text.isdigit():
        if not 1 <= int(text) <= len(names):
            raise InputError(f"there is no band {text}: positions go from 1 to {len(names)}")
        return int(text) - 1
    found = _by_product(names, text)
    if found is None:
        found = _by_shared_name(names, text)
    if found is None:
        hint = "" if any(not name.isdigit() for name in names) else ", which have no names: give positions, or say which sensor it is"
        raise InputError(f"there is no band {text!r} among {_listed(names)}{hint or '; name one of these, or give positions from 1'}")
    return found


def _by_product(names: Sequence[str], text: str) -> int | None:
    """The band that every product which has all of `names` calls `text`, by its own or its shared name."""
    votes: set[int | None] = set()
    for product in sensors_with(names):
        at = product.position(text)
        at = product.common_position(text) if at is None else at
        if at is None:
            continue
        held = [product.position(name) for name in names]
        votes.add(held.index(at) if at in held else None)
    return votes.pop() if len(votes) == 1 else None


def _by_shared_name(names: Sequence[str], text: str) -> int | None:
    """The band called by the shared name of what products call `text`, if they agree."""
    meant = {row.bands[at].common for row in sensors().values() if (at := row.position(text)) is not None}
    lower = [name.strip().lower() for name in names]
    if len(meant) != 1 or lower.count(next(iter(meant))) != 1:
        return None
    return lower.index(meant.pop())


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 16 else f"{', '.join(names[:16])} and {len(names) - 16} more"
