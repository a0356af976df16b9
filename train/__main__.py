"""``accelerate launch -m earthgen.train RECIPE [key=value ...]``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ..gen.errors import InputError


def main(argv: Sequence[str] | None = None) -> int:
    """Run a recipe.

    Args:
        argv: Recipe name or file, then ``key=value`` overrides; the process's arguments if left out.

    Returns:
        Exit code: 0 when the run ended or was asked to stop (SIGTERM: after saving), 2 for a wrong recipe, wrong data, a full disk or a
        folder that cannot be written.
    """
    from .launch import run_recipe

    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        if not arguments:
            raise InputError("no recipe is given; name one, for example ediffsr-x4-small, or give a TOML file")
        run_recipe(arguments[0], arguments[1:])
    except (InputError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
