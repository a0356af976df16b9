"""What every reader shares: errors that name file and line, lists of classes, and boxes that must touch their picture."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ...errors import InputError
from ..box import Box, Layout
from ..geometry import visible_share

CLASS_LISTS = ("classes.txt", "classes.names", "obj.names")


@dataclass(frozen=True)
class AnnotationSet:
    """Labelled pictures as they were read.

    Attributes:
        kind: Format, such as ``"dota"``.
        names: Classes in their order.
        layouts: One layout a picture. It can be gone through again and again; folders of text files are read anew each time, so that
            memory does not grow with the number of pictures.
    """

    kind: str
    names: list[str]
    layouts: Iterable[Layout]


class Layouts:
    """An iterable that starts over each time."""

    def __init__(self, start: Callable[[], Iterator[Layout]]) -> None:
        """Keep how to begin.

        Args:
            start: Gives a fresh iterator.
        """
        self._start = start

    def __iter__(self) -> Iterator[Layout]:
        return self._start()


def at(path: Path | str, line: int, problem: object) -> InputError:
    """The error of one line of a file.

    Args:
        path: The file.
        line: From 1.
        problem: What is wrong, what was expected, what to do.
    """
    return InputError(f"{path}, line {line}: {problem}")


def numbers(texts: Iterable[str], path: Path | str, line: int) -> list[float]:
    """Texts as numbers.

    Args:
        texts: What should be numbers.
        path: For the error.
        line: For the error.

    Raises:
        InputError: If one is none.
    """
    try:
        return [float(text) for text in texts]
    except ValueError as error:
        raise at(path, line, f"{error}; coordinates are numbers, so correct that line") from error


def checked(box: Box, width: int, height: int) -> Box:
    """The box, if some of it is inside its picture.

    Args:
        box: The box.
        width: Of the picture, in pixels.
        height: Of the picture, in pixels.

    Raises:
        InputError: If it is wholly outside.
    """
    left, top, right, bottom = box.xyxy
    if left >= 0 and top >= 0 and right <= width and bottom <= height:
        return box
    # A corner inside means that some of it is, which spares the clipping.
    inside = any(0 < x < width and 0 < y < height for x, y in box.corners)
    if not inside and visible_share(box, width, height) <= 0.0:
        where = f"{left:g},{top:g} to {right:g},{bottom:g}"
        raise InputError(f"a box of class {box.name!r} ({where}) is outside its {width} x {height} picture; correct or remove it")
    return box


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a UTF-8 text file that are not blank, each with its number from 1.

    Args:
        path: The file.

    Raises:
        InputError: If it is missing or no text.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if stripped := line.strip():
                    yield number, stripped
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no UTF-8 text ({error.reason} at byte {error.start}); give the label file as text") from error
    except FileNotFoundError as error:
        raise InputError(f"there is no file {path}; check the path") from error


def listed_classes(root: Path) -> list[str] | None:
    """The classes of a list beside the labels, one a line; None if there is no such list.

    Args:
        root: Folder or file of the labels; the folder and the one above are searched.

    Raises:
        InputError: If a class occurs twice.
    """
    folder = root if root.is_dir() else root.parent
    for place in (folder, folder.parent):
        for name in CLASS_LISTS:
            if (place / name).is_file():
                names: list[str] = []
                for line, text in text_lines(place / name):
                    if text in names:
                        raise at(place / name, line, f"the class {text!r} is listed twice; classes are told by name, so keep one")
                    names.append(text)
                return names
    return None


def found_classes(layouts: Iterable[Layout]) -> list[str]:
    """The classes that occur, sorted; reads everything once."""
    return sorted({box.name for layout in layouts for box in layout.boxes})


def known_class(name: str, names: list[str] | None, path: Path | str, line: int) -> str:
    """The class, if it is among those listed.

    Args:
        name: As the file has it.
        names: Listed classes; None takes any.
        path: For the error.
        line: For the error.

    Raises:
        InputError: If it is not.
    """
    if names is not None and name not in names:
        raise at(path, line, f"the class {name!r} is not among those listed ({', '.join(names)}); correct it, or add it to the list")
    return name
