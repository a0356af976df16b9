"""Whether the borders of tiles or windows show: how large steps are across them, over those inside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..gen.errors import InputError


@dataclass(frozen=True)
class Seams:
    """Mean absolute step between neighbouring pixels across borders, over that inside; 1 where no border shows.

    Attributes:
        rows: Across borders between rows.
        cols: Across borders between columns.
        steps: Steps across borders, of both axes and all bands.
    """

    rows: float
    cols: float
    steps: int

    @property
    def ratio(self) -> float:
        """The larger of both axes."""
        return max(self.rows, self.cols)


def seams(image: NDArray[np.floating], rows: Sequence[int], cols: Sequence[int], *, phase: int = 1, reach: int = 0) -> Seams:
    """Hold the steps across borders against the other ones.

    Args:
        image: ``[C, H, W]``, any unit.
        rows: First rows of tiles; those at the picture's own edge are left out.
        cols: First columns.
        phase: Inside, only steps at the same place of a grid of so many pixels count: a decoder of latents has a pattern of its own.
        reach: Inside, only steps this near to a border count, so that one border is held against its own neighbourhood; 0 for all.

    Returns:
        The ratios.

    Raises:
        InputError: If the picture has other axes, no border lies within it, or there is nothing inside to compare with.
    """
    if image.ndim != 3:
        raise InputError(f"seams are looked for in a picture [C, H, W], not {image.shape}; add the missing axis")
    if phase < 1 or reach < 0:
        raise InputError(f"the phase is {phase} and the reach {reach}; the phase is at least 1, the reach 0 or more")
    down, across = (_axis(image, axis, sorted(set(found)), phase, reach) for axis, found in ((1, rows), (2, cols)))
    return Seams(down[0], across[0], down[1] + across[1])


def _axis(image: NDArray[np.floating], axis: int, borders: Sequence[int], phase: int, reach: int) -> tuple[float, int]:
    length = image.shape[axis]
    inner = np.array([border for border in borders if 0 < border < length], dtype=int)
    if not len(inner):
        raise InputError(f"no border lies within the {length} pixels of an axis; give first rows and columns of tiles")
    # By row or column first: a scene of any size fits, since only one number of each stays.
    size = np.abs(np.diff(image, axis=axis)).mean(axis=tuple(number for number in range(3) if number != axis), dtype=np.float64)
    at = np.arange(1, length)
    on = np.isin(at, inner)
    inside = ~on & np.isin(at % phase, inner % phase)
    if reach:
        inside &= np.abs(at[:, None] - inner[None]).min(1) <= reach
    if not inside.any() or not size[inside].mean() > 0:
        raise InputError("there is nothing inside the tiles to compare with: no other step, or a plain picture")
    across = image.shape[0] * image.shape[3 - axis]
    return float(size[on].mean() / size[inside].mean()), int(on.sum()) * across
