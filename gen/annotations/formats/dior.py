"""DIOR and DIOR-R: an XML file a picture; turned boxes as four whole-pixel corners, horizontal ones as their edges.

The corners are left-top, right-top, right-bottom, left-bottom of the object, clockwise. Two spellings of the folder are in circulation.
Class names are brought to the data set's spelling, or to that of a list of classes beside them. Edges of horizontal boxes are taken as
they stand, without VOC's offset.
"""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import escape

from ..box import Box, Layout
from ..fragments import mmrotate_config
from .dior_classes import CANONICAL, canonical_name, plain
from .source import AnnotationSet, Layouts, at, found_classes, known_class, listed_classes
from .xml_labels import XmlEncoder, flags, name_of, xml_layouts
from .xml_tree import Node

_TURNED = ("Oriented Bounding Boxes", "Oriented_Bounding_Boxes")
_HORIZONTAL = ("Horizontal Bounding Boxes", "Horizontal_Bounding_Boxes")
_CORNERS = ("left_top", "right_top", "right_bottom", "left_bottom")


def read(root: Path, images: Path | None) -> AnnotationSet:
    """Read a folder of DIOR files, or one; turned boxes where the data set has both.

    Args:
        root: The data set's folder, the one of the files, or a file.
        images: Folder of the pictures, for files without a size.

    Raises:
        InputError: If a file is damaged, with the line.
    """
    listed = listed_classes(root)
    spelt = {plain(canonical_name(name)): name for name in listed or ()}
    folder = _folder(root)

    def parse(node: Node) -> Box:
        name = canonical_name(name_of(node))
        name = known_class(spelt.get(plain(name), name), listed, node.path, node.line)
        turned = node.find("robndbox")
        if turned is not None:
            a, b, c, d = ((turned.number(f"x_{corner}"), turned.number(f"y_{corner}")) for corner in _CORNERS)
            return Box(name, (a, b, c, d), **flags(node))
        edges = node.need("bndbox")
        left, top, right, bottom = (edges.number(edge) for edge in ("xmin", "ymin", "xmax", "ymax"))
        if right <= left or bottom <= top:
            raise at(node.path, edges.line, f"the box ends at {right:g},{bottom:g}, before it begins; correct it")
        return Box.horizontal(name, left, top, right - left, bottom - top, **flags(node))

    layouts = Layouts(lambda: xml_layouts(folder, images, "object", parse))
    return AnnotationSet("dior", _ordered(found_classes(layouts)) if listed is None else listed, layouts)


def _folder(root: Path) -> Path:
    for place in (root / "Annotations", root):
        for name in (*_TURNED, *_HORIZONTAL):
            if (place / name).is_dir():
                return place / name
    return root


def _ordered(found: list[str]) -> list[str]:
    if all(name in CANONICAL for name in found):
        return sorted(found, key=CANONICAL.index)
    return found


class DiorEncoder(XmlEncoder):
    """Writes `Annotations/Oriented Bounding Boxes/<picture>.xml`."""

    folder = "Annotations/Oriented Bounding Boxes"
    rotates = True

    def thing(self, box: Box, layout: Layout) -> str:
        """One object; whole pixels."""
        corners = "".join(
            f"\t\t\t<x_{name}>{round(x)}</x_{name}>\n\t\t\t<y_{name}>{round(y)}</y_{name}>\n"
            for name, (x, y) in zip(_CORNERS, self.solid(box, 0), strict=True)
        )
        return (
            f"\t<object>\n\t\t<name>{escape(box.name)}</name>\n\t\t<pose>Unspecified</pose>\n\t\t<truncated>{int(box.truncated)}</truncated>\n"
            f"\t\t<difficult>{int(box.difficult)}</difficult>\n\t\t<robndbox>\n{corners}\t\t</robndbox>\n"
            f"\t\t<angle>{box.le90[4]:.6f}</angle>\n\t</object>\n"
        )

    def fragments(self) -> dict[str, str]:
        """A dataset fragment for MMRotate."""
        return {"mmrotate_config.py": mmrotate_config(self.names, "dior")}
