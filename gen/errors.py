"""The one error that speaks to the user."""

from __future__ import annotations


class InputError(ValueError):
    """Something that the user gave is wrong.

    The message is one sentence: what was wrong, what was expected, what to do. The command line prints it alone and exits with code 2.
    """
