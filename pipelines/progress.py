"""How a caller follows a run: a count of network evaluations, and a look at the state after each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

OnStep = Callable[[int, Tensor, dict[str, Any]], dict[str, Any] | None]
"""What a sampler calls after each step, with (step, time, values); values that it hands back replace the sampler's."""
Progress = Callable[[int, int], None]
"""Called with (network calls done, total)."""
StepCallback = Callable[[Any, int, Tensor, dict[str, Any]], dict[str, Any] | None]
"""Called with (pipeline, step, time, values); may hand back other values."""


def after_steps(pipeline: Any, total: int, progress: Progress | None, callback: StepCallback | None) -> OnStep | None:
    """One function for the sampler to call after each step.

    Args:
        pipeline: What the callback is told of.
        total: Network calls of the whole run.
        progress: Counts them.
        callback: Looks at the state.

    Returns:
        The function, None where nobody follows.
    """
    if progress is None and callback is None:
        return None
    done = 0

    def after(step: int, time: Tensor, values: dict[str, Any]) -> dict[str, Any] | None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)
        return callback(pipeline, step, time, values) if callback is not None else None

    return after
