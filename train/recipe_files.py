"""Recipe files: TOML, in which a table may begin from another recipe's.

``extends = "ediffsr-x4-small"`` at the top takes everything from that recipe, and ``extends = "ediffsr-x4-small:task"`` in any table takes
the named table of it. What the table says itself goes over it: tables are merged key by key, everything else, lists too, is replaced.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..gen.errors import InputError

KEY = "extends"
Find = Callable[[str], Path]
"""From a recipe's name to its file."""


def read_tables(file: Path, find: Find) -> dict[str, Any]:
    """Read a recipe with all that it extends.

    Args:
        file: TOML file.
        find: Finds a recipe by name; raises `InputError` where there is none.

    Returns:
        Its tables, without the key ``extends``.

    Raises:
        InputError: If a file is no TOML, extends itself, or names a table that is not there.
    """
    return _read(file, find, ())


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Both tables in one: `above` wins, except that tables in both are merged in turn."""
    both = dict(below)
    for key, value in above.items():
        old = both.get(key)
        both[key] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return both


def _read(file: Path, find: Find, within: tuple[Path, ...]) -> dict[str, Any]:
    if file in within:
        raise InputError(f"the recipe {file} extends itself ({' -> '.join(path.stem for path in (*within, file))}); take one 'extends' out")
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{file} is not valid TOML: {error}") from error
    return _extended(table, file, find, (*within, file))


def _extended(table: Mapping[str, Any], file: Path, find: Find, within: tuple[Path, ...]) -> dict[str, Any]:
    own = {key: _extended(value, file, find, within) if isinstance(value, Mapping) else value for key, value in table.items() if key != KEY}
    if KEY not in table:
        return own
    if not isinstance(table[KEY], str):
        raise InputError(f"{file}: {KEY} is {table[KEY]!r}; it is the name of a recipe, or name:table")
    name, _, part = table[KEY].partition(":")
    below: Any = _read(find(name), find, within)
    for key in part.split(".") if part else ():
        if not isinstance(below, Mapping) or not isinstance(below.get(key), Mapping):
            raise InputError(f"{file} extends {table[KEY]!r}, but the recipe {name} has no table {part!r}; name one that it has")
        below = below[key]
    return merged(below, own)
