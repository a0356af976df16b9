"""Captions composed from what is known about a picture: its metadata, its classes, the OpenStreetMap things in it.

Every part can be left out, as decided by uniform numbers that the caller gives, so that a model learns from captions of all lengths.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .metadata import Metadata

PARTS = ("kind", "place", "things", "season", "clouds", "size")
"""Parts that a caption may have; `compose_caption` reads one uniform number for each, in this order, and one for each thing."""

_MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December")
_SEASONS = ("winter", "spring", "summer", "autumn")
_TROPICS = 23.4
_MOST_THINGS = 5


def compose_caption(
    metadata: Metadata,
    *,
    kind: str = "",
    place: str = "",
    things: Mapping[str, int] | None = None,
    uniforms: Sequence[float] = (),
    drop: Mapping[str, float] | float = 0.0,
) -> str:
    """One sentence about a picture.

    Args:
        metadata: What is known; unknown fields are not spoken of.
        kind: What it shows, such as a class name: ``"airport"``.
        place: Name of the place, such as ``"Scotland"``.
        things: Counts by OSM tag (``building=house``, ``highway=residential``, ``natural=water``) or by plain name, the most frequent first
            in the sentence; 0 leaves one out.
        uniforms: In [0, 1): one for each of `PARTS`, then one for each thing in the order of `things`. Missing ones drop nothing.
        drop: Probability that a part is left out, for all parts or by name; each thing on its own with the one of ``things``.

    Returns:
        Such as ``"a satellite image of an airport in Spain with 3 houses and water, in July, at 10 m per pixel"``.
    """
    rates = dict.fromkeys(PARTS, drop) if isinstance(drop, int | float) else {name: drop.get(name, 0.0) for name in PARTS}
    draws = [*uniforms, *[1.0] * (len(PARTS) + len(things or {}))]
    keep = {name: draws[number] >= rates[name] for number, name in enumerate(PARTS)}
    text = "a satellite image"
    if kind and keep["kind"]:
        text += f" of {_with_article(kind)}"
    if place and keep["place"]:
        text += f" in {place}"
    found = [
        (count, tag)
        for (tag, count), draw in zip((things or {}).items(), draws[len(PARTS) :], strict=False)
        if count > 0 and draw >= rates["things"]
    ]
    if found and keep["things"]:
        named = [_counted(tag, count) for count, tag in sorted(found, key=lambda entry: -entry[0])[:_MOST_THINGS]]
        text += f" with {_listed(named)}"
    tail = [
        phrase
        for name, phrase in (("season", _season(metadata)), ("clouds", _clouds(metadata)), ("size", _size(metadata)))
        if phrase and keep[name]
    ]
    return ", ".join([text, *tail])


def thing_name(tag: str) -> str:
    """An OSM tag in plain words: ``building=house`` is house, ``building=yes`` building, ``highway=residential`` residential road."""
    key, _, value = tag.partition("=")
    words = {"highway": "road", "railway": "railway", "waterway": "waterway", "building": "", "natural": "", "landuse": "area"}
    if value in ("", "yes"):
        return words.get(key, key).replace("_", " ") or key.replace("_", " ")
    suffix = words.get(key, "")
    return f"{value} {suffix}".strip().replace("_", " ") if value != suffix else value.replace("_", " ")


def _counted(tag: str, count: int) -> str:
    name = thing_name(tag)
    if count == 1:
        return _with_article(name)
    return f"{count} {name}es" if name.endswith(("s", "ch", "sh", "x")) else f"{count} {name}s"


def _with_article(name: str) -> str:
    if name.split(" ")[0] in ("a", "an", "the") or name in ("water", "grassland", "farmland"):
        return name
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _season(data: Metadata) -> str:
    if data.month is None:
        return f"in {data.year}" if data.year is not None else ""
    month = _MONTHS[data.month - 1]
    if data.lat is None or abs(data.lat) < _TROPICS:
        return f"in {month}"
    shifted = (data.month + (6 if data.lat < 0 else 0)) % 12 // 3
    return f"in {_SEASONS[shifted]} ({month})"


def _clouds(data: Metadata) -> str:
    if data.cloud_cover is None:
        return ""
    words = ((0.01, "without clouds"), (0.2, "with few clouds"), (0.6, "partly cloudy"), (1.01, "under clouds"))
    return next(phrase for limit, phrase in words if data.cloud_cover < limit)


def _size(data: Metadata) -> str:
    return "" if data.metres is None else f"at {data.metres:.2g} m per pixel" if data.metres < 10 else f"at {data.metres:.0f} m per pixel"
