"""XML that cannot do anything: no DTD, no entities, no deep nesting, and the line of every element."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from xml.parsers import expat

from ...errors import InputError
from .source import at

_MAX_BYTES = 64 * 2**20
_MAX_DEPTH = 32


@dataclass(slots=True)
class Node:
    """An element.

    Attributes:
        tag: Its name.
        line: Where it begins, from 1.
        path: The file.
        text: Its text.
        children: Elements inside.
    """

    tag: str
    line: int
    path: Path
    text: str = ""
    children: list[Self] = field(default_factory=list)

    def all(self, tag: str) -> list[Self]:
        """The children of a name."""
        return [child for child in self.children if child.tag == tag]

    def find(self, tag: str) -> Self | None:
        """The first child of a name; None if there is none."""
        return next((child for child in self.children if child.tag == tag), None)

    def need(self, tag: str) -> Self:
        """The first child of a name.

        Raises:
            InputError: If there is none.
        """
        child = self.find(tag)
        if child is None:
            raise at(self.path, self.line, f"<{self.tag}> has no <{tag}>; complete the file")
        return child

    def word(self, tag: str, default: str = "") -> str:
        """The text of a child, or `default` if it is missing or empty."""
        child = self.find(tag)
        return (child.text.strip() if child is not None else "") or default

    def number(self, tag: str) -> float:
        """The number in a child.

        Raises:
            InputError: If it is missing or no number.
        """
        child = self.need(tag)
        try:
            return float(child.text)
        except ValueError as error:
            raise at(self.path, child.line, f"<{tag}> is {child.text.strip()[:40]!r}; it must be a number") from error

    def flag(self, tag: str) -> bool:
        """Whether a child says 1.

        Raises:
            InputError: If it is no number.
        """
        return bool(self.word(tag)) and self.number(tag) != 0


def parse_xml(path: Path) -> Node:
    """Parse a small XML file.

    Args:
        path: The file.

    Raises:
        InputError: If it is missing, too large, not well-formed (with the line), or declares a document type or entities.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise InputError(f"there is no file {path}; check the path") from error
    if len(data) > _MAX_BYTES:
        raise InputError(f"{path} has more than {_MAX_BYTES // 2**20} MiB, too much for the labels of one picture; check what it is")
    reader = _Reader(path)
    try:
        reader.parser.Parse(data, True)
    except (LookupError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is in an encoding that cannot be read ({error}); write it in UTF-8") from error
    except expat.ExpatError as error:
        what = expat.errors.messages[error.code]
        raise at(path, error.lineno, f"this is no whole XML ({what}); the file is damaged or half-written, so replace it") from error
    return reader.roots[0]


class _Reader:
    def __init__(self, path: Path) -> None:
        self.path, self.roots, self.stack = path, list[Node](), list[Node]()
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self.start
        self.parser.EndElementHandler = self.end
        self.parser.CharacterDataHandler = self.data
        self.parser.StartDoctypeDeclHandler = self.refuse
        self.parser.EntityDeclHandler = self.refuse

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        node = Node(tag, self.parser.CurrentLineNumber, self.path)
        if len(self.stack) >= _MAX_DEPTH:
            raise at(self.path, node.line, f"elements are nested more than {_MAX_DEPTH} deep; this is no file of labels")
        (self.stack[-1].children if self.stack else self.roots).append(node)
        self.stack.append(node)

    def end(self, tag: str) -> None:
        self.stack.pop()

    def data(self, text: str) -> None:
        if self.stack:
            self.stack[-1].text += text

    def refuse(self, *declared: object) -> None:
        line = self.parser.CurrentLineNumber
        raise at(self.path, line, "the file declares a document type or entities, which label files have no use for; remove that")
