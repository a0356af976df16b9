"""Layouts from drawn rasters: decoding, the pictures' sizes, and the limits that objects must keep to.

What draws the rasters is handed in, so that nothing here knows networks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ..box import Layout
from .prior import keep_allowed
from .raster import Decoding
from .rejection import Ground, Limits, Spread
from .statistics import objects_of

DrawRasters = Callable[[int, np.random.Generator], NDArray[np.float32]]
"""From a number and a generator to rasters ``[count, classes, S, S]``."""


@dataclass(frozen=True)
class RasterPrior:
    """What turns rasters into layouts.

    Attributes:
        decode: From a raster to boxes.
        frames: Of each class, widths and heights of the training pictures that hold it.
        limits: What objects keep to.
    """

    decode: Decoding
    frames: Mapping[str, Sequence[tuple[int, int]]]
    limits: Limits

    @classmethod
    def of(cls, layouts: Sequence[Layout], names: Sequence[str], least: float = 1.5) -> RasterPrior:
        """Learn from the layouts that the rasters were drawn after.

        Args:
            layouts: Training layouts.
            names: Classes, in the order of the channels.
            least: See `Decoding`.

        Raises:
            InputError: If there is no object, or a class has none.
        """
        objects = objects_of(layouts, names)
        frames = {name: sorted({(layout.width, layout.height) for layout in layouts if name in layout.names}) for name in names}
        bare = [name for name in names if not frames[name]]
        if bare:
            raise InputError(f"no layout holds a {bare[0]}; take the class out, or add layouts with it")
        return cls(Decoding(list(names), objects.horizontal, least), frames, Limits.of(layouts))

    def sample(self, count: int, rng: np.random.Generator, draw: DrawRasters, ground: Ground | None = None) -> list[Layout]:
        """Draw layouts. Objects that break a limit are left out; those that reach over the edge stay whole.

        Args:
            count: How many.
            rng: Where randomness comes from.
            draw: What draws rasters.
            ground: Where classes may stand.
        """
        return [keep_allowed(self.layout(raster, rng), self.limits, ground) for raster in draw(count, rng)]

    def layout(self, raster: NDArray[np.float32], rng: np.random.Generator) -> Layout:
        """The boxes of a raster, in a picture as large as one that held its most frequent class; limits are not applied."""
        mass = np.clip((np.asarray(raster, np.float64) + 1) / 2, 0, 1).sum((1, 2))
        names = list(self.decode.names)
        frames = self.frames[names[int(mass.argmax())]]
        width, height = frames[int(rng.integers(len(frames)))]
        return self.decode(raster, width, height)

    def table(self) -> dict[str, Any]:
        """All of it as plain JSON types."""
        limits = {"overlap": self.limits.overlap, "covered": self.limits.covered, "inside": self.limits.inside, "z": self.limits.z}
        return {
            "names": list(self.decode.names),
            "horizontal": list(self.decode.horizontal),
            "least": self.decode.least,
            "frames": {name: [list(frame) for frame in frames] for name, frames in self.frames.items()},
            "limits": {**limits, "spreads": {name: asdict(spread) for name, spread in self.limits.spreads.items()}},
        }

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> RasterPrior:
        """What `table` gave.

        Raises:
            InputError: If something is missing or of another type.
        """
        try:
            names = [str(name) for name in table["names"]]
            limits = dict(table["limits"])
            spreads = {}
            for name, spread in limits.pop("spreads").items():
                area, aspect = (tuple(float(value) for value in spread[key]) for key in ("area", "aspect"))
                spreads[str(name)] = Spread(int(spread["count"]), (area[0], area[1]), (aspect[0], aspect[1]), bool(spread["horizontal"]))
            frames = {name: [(int(width), int(height)) for width, height in table["frames"][name]] for name in names}
            decode = Decoding(names, [bool(flag) for flag in table["horizontal"]], float(table["least"]))
            made = cls(decode, frames, Limits(spreads=spreads, **{key: float(value) for key, value in limits.items()}))
            if len(decode.horizontal) != len(names) or not all(frames.values()):
                raise ValueError("its lists differ in length")
            return made
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise InputError(
                f"the settings of the layout prior are damaged ({type(error).__name__}: {error}); copy the model again"
            ) from error
