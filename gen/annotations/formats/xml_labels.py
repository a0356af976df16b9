"""What the XML formats (VOC, DIOR, HRSC) share: one file a picture, which holds the picture's name and size."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import ClassVar, TextIO
from xml.sax.saxutils import escape

from ...errors import InputError
from ..box import Box, Layout
from .encoding import PerPicture
from .pictures import PictureFinder, key_of_label, label_key, safe_name
from .source import at, checked
from .text_labels import label_files
from .xml_tree import Node, parse_xml

Parse = Callable[[Node], Box]


def xml_layouts(root: Path, images: Path | None, thing: str, parse: Parse) -> Iterator[Layout]:
    """The layouts of a folder of VOC-like XML files.

    Args:
        root: The folder, or one file.
        images: Folder of the pictures, for files that do not tell the size.
        thing: Name of an object's element.
        parse: Makes the box of such an element.

    Raises:
        InputError: If a file is damaged, or a box has no area, crosses itself or is outside its picture.
    """
    finder = None
    for path in label_files(root, ".xml"):
        tree = parse_xml(path)
        key = key_of_label(path, root)
        name = _picture(tree, key)
        size = tree.find("size")
        if size is None:
            finder = finder or PictureFinder(root, images)
            _, width, height = finder.find(key, path)
        else:
            width, height = side_of(size, "width"), side_of(size, "height")
        yield Layout(width, height, tuple(located(node, parse, width, height) for node in tree.all(thing)), name)


def located(node: Node, parse: Parse, width: int, height: int) -> Box:
    """The box of an element.

    Raises:
        InputError: With the line, if it is none, or outside the picture.
    """
    try:
        return checked(parse(node), width, height)
    except InputError as error:
        if str(error).startswith(f"{node.path}, line"):
            raise
        raise at(node.path, node.line, error) from error


def flags(node: Node) -> dict[str, bool]:
    """The `difficult` and `truncated` of an element."""
    return {name: node.flag(name) for name in ("difficult", "truncated")}


def name_of(node: Node) -> str:
    """The class of an element.

    Raises:
        InputError: If it has none.
    """
    name = node.need("name")
    if not name.text.strip():
        raise at(node.path, name.line, "the object has no class name; give one")
    return name.text.strip()


def _picture(tree: Node, key: str) -> str:
    name = PurePosixPath(tree.word("filename").replace("\\", "/")).name
    below = PurePosixPath(key).parent
    return safe_name((below / (name or f"{PurePosixPath(key).name}.jpg")).as_posix())


def side_of(size: Node, tag: str) -> int:
    """A side of a picture in pixels.

    Raises:
        InputError: If it is missing, no number, or makes no sense.
    """
    side = size.number(tag)
    if not 1 <= side < 1e9:
        raise at(size.path, size.need(tag).line, f"the {tag} is {side:g}; a picture has 1 pixel or more, so write its real size")
    return int(side)


class XmlEncoder(PerPicture):
    """Writes one XML file a picture and `ImageSets/Main/trainval.txt` with their names."""

    suffix = ".xml"
    pictures = "JPEGImages"
    sets: ClassVar[str] = "ImageSets/Main"

    def __init__(self, root: Path, names: list[str]) -> None:
        """As `Encoder`."""
        super().__init__(root, names)
        (root / self.sets).mkdir(parents=True)
        self._set: TextIO = (root / self.sets / "trainval.txt").open("w", encoding="utf-8")

    def add(self, layout: Layout, picture: str) -> None:
        """Write the file of one picture and note its name."""
        super().add(layout, picture)
        self._set.write(f"{label_key(picture)}\n")

    def discard(self) -> None:
        """Close what is open."""
        self._set.close()
        super().discard()

    def text(self, layout: Layout, picture: str) -> str:
        """A VOC-like file."""
        head = (
            f"<annotation>\n\t<filename>{escape(PurePosixPath(picture).name)}</filename>\n\t<source><database>EarthGen</database></source>\n"
            f"\t<size>\n\t\t<width>{layout.width}</width>\n\t\t<height>{layout.height}</height>\n\t\t<depth>3</depth>\n\t</size>\n"
            "\t<segmented>0</segmented>\n"
        )
        return head + "".join(self.thing(box, layout) for box in layout.boxes) + "</annotation>\n"

    @abstractmethod
    def thing(self, box: Box, layout: Layout) -> str:
        """The element of one object."""
