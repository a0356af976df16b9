"""``accelerate launch -m earthgen.train RECIPE [key=value ...]``."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from types import FrameType

from ..gen.errors import InputError
from .loop import Progress, train
from .recipe import load_recipe
from .tasks.super_resolution import SuperResolutionTask


def main(argv: Sequence[str] | None = None, progress: Progress | None = None) -> int:
    """Run a recipe.

    Args:
        argv: Recipe name or file, then ``key=value`` overrides; the process's arguments if left out.
        progress: Called with (samples seen, samples in all).

    Returns:
        Exit code: 0 when the run ended or was asked to stop (SIGTERM: after saving), 2 for a wrong recipe or wrong data.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    asked: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        asked.append(number)

    try:
        if not arguments:
            raise InputError("no recipe is given; name one, for example ediffsr-x4-small, or give a TOML file")
        recipe = load_recipe(arguments[0], arguments[1:])
        before = signal.signal(signal.SIGTERM, note)
        try:
            train(recipe, SuperResolutionTask(recipe), progress, lambda: bool(asked))
        finally:
            signal.signal(signal.SIGTERM, before)
    except InputError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
