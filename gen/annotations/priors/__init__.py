"""Distributions of layouts: drawn again from real ones, from smoothed statistics, or by a diffusion over rasters; and how good they are."""

from __future__ import annotations

from pathlib import Path

from ...errors import InputError
from .bootstrap import BootstrapPrior
from .kde import KdePrior
from .prior import LayoutPrior, read_prior
from .rejection import Ground, Limits

PRIORS: dict[str, type[LayoutPrior]] = {prior.kind: prior for prior in (BootstrapPrior, KdePrior)}
"""Priors by name. The raster diffusion prior is a model folder (`earthgen.pipelines.layout_prior`)."""

__all__ = ["PRIORS", "BootstrapPrior", "Ground", "KdePrior", "LayoutPrior", "Limits", "load_prior"]


def load_prior(path: str | Path) -> LayoutPrior:
    """A prior that `LayoutPrior.save` wrote: it draws what the saved one draws.

    Args:
        path: ``.json`` or ``.npz``.

    Raises:
        InputError: If the file is missing, damaged, or of an unknown kind.
    """
    kind, settings, learnt, layouts = read_prior(path)
    if kind not in PRIORS:
        raise InputError(f"{path} holds a prior of the kind {kind!r}; known are {', '.join(sorted(PRIORS))}")
    return PRIORS[kind](layouts, settings, learnt)
