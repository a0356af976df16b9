"""Layouts drawn from a prior: the one that came with the model, or one fitted to what was imported."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from ..gen.errors import InputError
from .layout_model import LayoutFacts, model_prior
from .layout_session import Imported

if TYPE_CHECKING:
    from ..gen.annotations import Layout
    from ..gen.annotations.priors import LayoutPrior, Limits

MODEL = "model"
FITTED = {"bootstrap": "imported layouts, drawn again", "kde": "imported layouts, smoothed"}
NO_PRIOR = "no prior came with this model and nothing was imported; import annotations, and their layouts can be drawn from"


def prior_choices(facts: LayoutFacts | None, imported: Imported | None) -> list[tuple[str, str]]:
    """Titles and names of the priors that can be drawn from now, the best first."""
    own = [("the model's own", MODEL)] if facts is not None and facts.prior is not None else []
    fitted = [(title, kind) for kind, title in FITTED.items()] if imported is not None and any(x.boxes for x in imported.layouts) else []
    return own + fitted


def chosen_prior(kind: str | None, facts: LayoutFacts | None, imported: Imported | None) -> LayoutPrior:
    """The prior of a name.

    Args:
        kind: `MODEL`, or one of `FITTED`.
        facts: Of the chosen model, if there is one.
        imported: What was imported, if anything.

    Raises:
        InputError: If there is no such prior now.
    """
    if kind == MODEL and facts is not None and facts.prior is not None:
        return model_prior(facts.prior)
    if kind in FITTED and imported is not None:
        return _fitted(kind, imported.layouts)
    raise InputError(NO_PRIOR)


def usual_limits(facts: LayoutFacts | None, imported: Imported | None) -> Limits | None:
    """What objects usually are like, for their z-scores: by the model's prior, else by what was imported, else unknown."""
    if facts is not None and facts.prior is not None:
        return model_prior(facts.prior).limits
    if imported is not None and any(layout.boxes for layout in imported.layouts):
        return _fitted("bootstrap", imported.layouts).limits
    return None


def draw_layouts(prior: LayoutPrior, seeds: range) -> tuple[Layout, ...]:
    """One layout a seed; each follows from its seed alone."""
    return tuple(prior.sample(1, np.random.default_rng(seed))[0] for seed in seeds)


@lru_cache(maxsize=4)
def _fitted(kind: str, layouts: tuple[Layout, ...]) -> LayoutPrior:
    from ..gen.annotations.priors import PRIORS

    return PRIORS[kind].fit(layouts)
