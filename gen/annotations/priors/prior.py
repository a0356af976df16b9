"""What every prior of layouts shares: fitted to layouts, it draws others, keeps to their limits, and is stored without pickles.

A prior is stored as what it was fitted to, its settings, and what took time to learn: JSON, or npz for many objects.
"""

from __future__ import annotations

import json
import math
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from ...data.atomic import atomic_path, write_text
from ...errors import InputError
from ..box import Box, Layout
from .rejection import SLACK, Ground, Limits

FORMAT, VERSION = "earthgen-layout-prior", 1
Settings = dict[str, float]


class LayoutPrior(ABC):
    """A distribution of layouts.

    Attributes:
        layouts: What it was fitted to.
        settings: Numbers by name; see each prior's `DEFAULTS`.
        limits: What drawn layouts keep to.
    """

    kind: ClassVar[str]
    DEFAULTS: ClassVar[Mapping[str, float]] = {}

    def __init__(
        self, layouts: Sequence[Layout], settings: Mapping[str, float] | None = None, learnt: Mapping[str, Any] | None = None
    ) -> None:
        """Fit to layouts; see `fit`.

        Args:
            layouts: What to learn from.
            settings: Numbers that replace those of `DEFAULTS`.
            learnt: What `learnt` of a stored prior said, so that it need not be learnt again.
        """
        unknown = sorted((settings or {}).keys() - self.DEFAULTS.keys())
        if unknown:
            raise InputError(f"the {self.kind} prior has no setting {unknown[0]!r}; it has {', '.join(sorted(self.DEFAULTS))}")
        self.settings: Settings = {**self.DEFAULTS, **(settings or {})}
        wrong = [name for name, value in self.settings.items() if not math.isfinite(value) or value < 0]
        if wrong:
            raise InputError(f"the setting {wrong[0]} of the {self.kind} prior is {self.settings[wrong[0]]}; give a number of at least 0")
        self.layouts = list(layouts)
        self.limits = Limits.of(self.layouts)

    @classmethod
    def fit(cls, layouts: Sequence[Layout], **settings: float) -> Self:
        """Learn from layouts.

        Args:
            layouts: Real ones, at least one with an object.
            settings: Numbers that replace those of `DEFAULTS`.

        Raises:
            InputError: If there is no object, or a setting is unknown or negative.
        """
        return cls(layouts, settings)

    @property
    def learnt(self) -> dict[str, Any]:
        """What is stored beside layouts and settings: plain JSON types."""
        return {}

    @abstractmethod
    def draw(self, rng: np.random.Generator, ground: Ground | None = None) -> Layout:
        """One layout, all of whose objects keep to the limits."""

    def sample(self, count: int, rng: np.random.Generator, ground: Ground | Sequence[Ground] | None = None) -> list[Layout]:
        """Draw layouts.

        Args:
            count: How many.
            rng: Where randomness comes from; the same state gives the same layouts.
            ground: Where classes may stand: one for all, or one for each.

        Returns:
            The layouts; none names a picture.

        Raises:
            InputError: If the number is negative, or another number of grounds is given.
        """
        if count < 0 or (isinstance(ground, Sequence) and len(ground) != count):
            raise InputError(f"{count} layouts were asked for with another number of grounds; give one for all, or one for each")
        grounds: Sequence[Ground | None] = ground if isinstance(ground, Sequence) else [ground] * count
        return [replace(self.draw(rng, under), picture=None) for under in grounds]

    def save(self, path: str | Path) -> None:
        """Write the prior to a ``.json`` or ``.npz`` file, whole or not at all.

        Raises:
            InputError: If the name ends otherwise, or the folder cannot be written.
        """
        path = Path(path)
        head = {"format": FORMAT, "version": VERSION, "kind": self.kind, "settings": self.settings, "learnt": self.learnt}
        if path.suffix == ".json":
            write_text(path, json.dumps({**head, "layouts": [_plain(layout) for layout in self.layouts]}, allow_nan=False) + "\n")
        elif path.suffix == ".npz":
            with atomic_path(path) as partial, partial.open("wb") as file:
                np.savez_compressed(file, head=np.array(json.dumps(head)), **_arrays(self.layouts))
        else:
            raise InputError(f"a prior is stored as .json or .npz, not as {path.name!r}; choose one of these endings")


def keep_allowed(layout: Layout, limits: Limits, ground: Ground | None = None) -> Layout:
    """The layout without objects that break the limits: first all that are wrong in themselves, then the most covered one after another."""
    while layout.boxes:
        found = limits.findings(layout, ground)
        if found.ok.all():
            break
        crowded = (found.overlap > limits.overlap + SLACK) | (found.covered > limits.covered + SLACK)
        alone = ~crowded & ~found.ok
        worst = set(np.flatnonzero(alone).tolist()) if alone.any() else {int(np.argmax(found.covered * crowded))}
        layout = replace(layout, boxes=tuple(box for number, box in enumerate(layout.boxes) if number not in worst))
    return layout


def read_prior(path: str | Path) -> tuple[str, Settings, dict[str, Any], list[Layout]]:
    """Kind, settings, what was learnt, and layouts of a stored prior.

    Raises:
        InputError: If the file is missing, damaged, or no prior.
    """
    path = Path(path)
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as stored:
                head, layouts = json.loads(str(stored["head"])), _from_arrays(stored)
        else:
            head = json.loads(path.read_text(encoding="utf-8"))
            layouts = [_from_plain(layout) for layout in head["layouts"]]
        if head["format"] != FORMAT or head["version"] != VERSION:
            raise ValueError(f"format {head['format']!r}, version {head['version']!r}")
        settings = {str(name): float(value) for name, value in head["settings"].items()}
        return str(head["kind"]), settings, dict(head["learnt"]), layouts
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, IndexError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is no stored layout prior ({type(error).__name__}: {error}); fit the prior again and save it") from error


def _plain(layout: Layout) -> dict[str, Any]:
    boxes = [{"name": box.name, "corners": [list(corner) for corner in box.corners]} for box in layout.boxes]
    return {"width": layout.width, "height": layout.height, "picture": layout.picture, "boxes": boxes}


def _from_plain(table: Mapping[str, Any]) -> Layout:
    boxes = tuple(_box(str(box["name"]), np.array(box["corners"], np.float64)) for box in table["boxes"])
    picture = table["picture"]
    return Layout(int(table["width"]), int(table["height"]), boxes, None if picture is None else str(picture))


def _box(name: str, corners: Any) -> Box:
    if corners.shape != (4, 2) or not np.isfinite(corners).all():
        raise ValueError(f"the corners of a {name} are {corners.tolist()!r:.80}")
    first, second, third, fourth = ((float(x), float(y)) for x, y in corners)
    return Box(name, (first, second, third, fourth))


def _arrays(layouts: Sequence[Layout]) -> dict[str, Any]:
    names = sorted({box.name for layout in layouts for box in layout.boxes})
    return {
        "frames": np.array([(layout.width, layout.height, len(layout.boxes)) for layout in layouts], np.int64).reshape(-1, 3),
        "pictures": np.array([layout.picture or "" for layout in layouts], np.str_),
        "names": np.array(names, np.str_),
        "labels": np.array([names.index(box.name) for layout in layouts for box in layout.boxes], np.int64),
        "quads": np.array([box.corners for layout in layouts for box in layout.boxes], np.float64).reshape(-1, 4, 2),
    }


def _from_arrays(stored: Mapping[str, Any]) -> list[Layout]:
    frames, quads, labels, names = stored["frames"], stored["quads"], stored["labels"], [str(name) for name in stored["names"]]
    if int(frames[:, 2].sum()) != len(quads) or len(labels) != len(quads) or len(stored["pictures"]) != len(frames):
        raise ValueError("its tables differ in length")
    layouts, at = [], 0
    for (width, height, count), picture in zip(frames.tolist(), stored["pictures"].tolist(), strict=True):
        rows = range(at, at + count)
        layouts.append(Layout(width, height, tuple(_box(names[labels[row]], quads[row]) for row in rows), picture or None))
        at += count
    return layouts
