"""The classes of DIOR: how they are spelt, and the orders in which systems number them.

Three orders are in circulation, so a class number says nothing without its system: everything here goes by name.
"""

from __future__ import annotations

CANONICAL = (
    "airplane", "airport", "baseballfield", "basketballcourt", "bridge", "chimney", "dam", "Expressway-Service-area",
    "Expressway-toll-station", "golffield", "groundtrackfield", "harbor", "overpass", "ship", "stadium", "storagetank",
    "tenniscourt", "trainstation", "vehicle", "windmill",
)  # fmt: skip
"""The twenty names as the data set spells them, in AeroGen's order."""

_MMROTATE = (*CANONICAL[:6], "Expressway-Service-area", "Expressway-toll-station", "dam", *CANONICAL[9:])

ORDERS: dict[str, tuple[str, ...]] = {
    "aerogen": CANONICAL,
    "mmrotate": _MMROTATE,
    "cc-diff": tuple(sorted(CANONICAL)),
}
"""Class orders by system, in the canonical spelling (MMRotate writes all of them in lower case)."""

_OTHER_WORDS = {"golfcourse": "golffield", "harbour": "harbor"}


def plain(name: str) -> str:
    """A name without case, hyphens, spaces and underscores: what all spellings of a class have in common."""
    return "".join(letter for letter in name.lower() if letter not in "-_ ")


_BY_PLAIN = {**{plain(name): name for name in CANONICAL}, **_OTHER_WORDS}


def canonical_name(name: str) -> str:
    """The data set's spelling of a class, whatever the case, hyphens, spaces or underscores; other names come back as they are.

    Args:
        name: As a file has it.
    """
    return _BY_PLAIN.get(plain(name), name)
