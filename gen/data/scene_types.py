"""What meets in `tiles.stream`: where a scene is read, what is done to it, and where the result goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


@dataclass(frozen=True)
class TilePixels:
    """What the step sees of the scene.

    Attributes:
        pixels: ``[C, h, w]`` float32, physical units, NaN where there is no data.
        row: First row in the scene, input pixels.
        col: First column in the scene, input pixels.
    """

    pixels: Array
    row: int
    col: int


class SceneStep(Protocol):
    """What is done to a scene: a function of a window and its place."""

    @property
    def scale(self) -> int:
        """Output pixels per input pixel along an axis."""
        ...

    @property
    def halo(self) -> int:
        """Input pixels around a tile that it wants to see."""
        ...

    @property
    def multiple(self) -> int:
        """Windows begin on multiples of this, input pixels."""
        ...

    @property
    def layers(self) -> Mapping[str, tuple[str, ...]]:
        """The layers that it makes, and their bands; ``"image"`` is one of them."""
        ...

    def run(self, tiles: Sequence[TilePixels]) -> list[dict[str, Array]]:
        """Work on windows of equal shape.

        Args:
            tiles: One or more; the result for each must not depend on the others.

        Returns:
            For each, its layers, ``[C_layer, h * scale, w * scale]``, NaN where there is no data.
        """
        ...


class Source(Protocol):
    """Where a scene is read."""

    @property
    def height(self) -> int:
        """Rows."""
        ...

    @property
    def width(self) -> int:
        """Columns."""
        ...

    @property
    def bands(self) -> Sequence[str]:
        """Names, in the order of `read`."""
        ...

    def read(self, row: int, col: int, height: int, width: int) -> Array:
        """A window, ``[C, height, width]`` float32, NaN where there is no data."""
        ...


class Sink(Protocol):
    """Where a layer goes. With an attribute ``radiometry``, finished pieces are kept on disk as it stores them."""

    def write(self, row: int, col: int, array: Array) -> None:
        """Take a block, ``[C, h, w]`` float32, NaN where there is no data."""
        ...
