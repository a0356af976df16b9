"""How usual a label's size and shape are for its class (AeroGen's label filter): needs no picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from ...gen.annotations.box import Layout
from ...gen.annotations.priors.rejection import Limits, z_scores
from .scores import Scores


class LabelStatistics:
    """Minus the larger absolute z-score of log area and log aspect; minus infinity for a class that no real layout has."""

    name = "statistics"

    def __init__(self, layouts: Sequence[Layout]) -> None:
        """Take means and spreads from real layouts.

        Raises:
            InputError: If they hold no object.
        """
        self.spreads = Limits.of(layouts).spreads
        counts = ", ".join(f"{name} {spread.count}" for name, spread in self.spreads.items())
        self.words = f"minus the larger |z| of log area and log aspect within the class; real objects: {counts}"

    def __call__(self, picture: Tensor | None, layout: Layout) -> Scores:
        """Scores of a layout; the picture is not looked at."""
        area, aspect = z_scores(layout, self.spreads)
        worst = -np.maximum(np.abs(area), np.abs(aspect))
        return Scores.least(self.name, np.nan_to_num(worst, nan=-np.inf))
