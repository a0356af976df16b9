"""JSON files of labels: read whole, and for errors the line on which an entry of a list begins."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from ...errors import InputError
from .source import at

_SPACE = re.compile(r"[\s,]*")


def load_json(path: Path) -> Any:
    """The content of a JSON file.

    Args:
        path: The file.

    Raises:
        InputError: If it is missing, no text, or no whole JSON (with the line).
    """
    try:
        return json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise at(path, error.lineno, f"this is no whole JSON ({error.msg}); the file is damaged or half-written, so replace it") from error
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path} is no file of labels (nested too deeply, or a number has thousands of digits); check what it is"
        ) from error


def line_of(path: Path, section: str, place: int) -> int:
    """The line on which an entry of a list begins, for errors; 1 if it is not found.

    Args:
        path: A JSON file that holds an object.
        section: Key of the list in it.
        place: Of the entry, from 0.
    """
    text, decoder = _text(path), json.JSONDecoder()
    where = text.index("{") + 1
    while (where := _skip(text, where)) < len(text) and text[where] != "}":
        key, where = decoder.raw_decode(text, where)
        where = _skip(text, text.index(":", where) + 1)
        if key != section:
            _, where = decoder.raw_decode(text, where)
            continue
        where = _skip(text, where + 1)
        for _ in range(place):
            _, where = decoder.raw_decode(text, where)
            where = _skip(text, where)
        return text.count("\n", 0, where) + 1
    return 1


def object_list(path: Path, whole: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """A list of objects.

    Raises:
        InputError: If it is none.
    """
    rows = whole.get(key)
    if not isinstance(rows, list):
        raise InputError(f"{path}: `{key}` is no list; it must be a list of objects, so correct the file")
    for place, row in enumerate(rows):
        if not isinstance(row, dict):
            raise at(path, line_of(path, key, place), f"entry {place + 1} of `{key}` is no object; correct the file")
    return rows


def integer(value: Any, key: str) -> int:
    """A whole number.

    Raises:
        InputError: If it is none.
    """
    if type(value) is int:
        return value
    if type(value) is float and value.is_integer():
        return int(value)
    raise InputError(f"the {key} is {json.dumps(value)[:40]}; it must be a whole number")


def _skip(text: str, where: int) -> int:
    match = _SPACE.match(text, where)
    return match.end() if match else where


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no UTF-8 text ({error.reason} at byte {error.start}); give the JSON file") from error
    except FileNotFoundError as error:
        raise InputError(f"there is no file {path}; check the path") from error
