"""Learning rate as a function of the number of samples seen, so that it does not depend on batch size or accumulation."""

from __future__ import annotations

import math


def learning_rate(samples: int, *, peak: float, total: int, warm_up: int, hold: float, floor: float) -> float:
    """Linear warm-up, a constant stretch, then half a cosine down to the floor.

    Args:
        samples: Samples seen before this step.
        peak: Largest rate.
        total: Samples of the whole run.
        warm_up: Samples of the linear rise; the first step has ``peak / warm_up`` times one sample, not zero.
        hold: Share of ``total`` up to which the rate stays at the peak, 0 to 1 (0 is the plain cosine).
        floor: Rate at the end, as a share of the peak.

    Returns:
        The rate, in [floor * peak, peak] after the warm-up.
    """
    if samples < warm_up:
        return peak * (samples + 1) / (warm_up + 1)
    start = max(float(warm_up), hold * total)
    if samples <= start or total <= start:
        return peak
    done = min(1.0, (samples - start) / (total - start))
    return peak * (floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * done)))
