"""Pascal VOC: an XML file a picture, horizontal boxes, whole pixels counted from 1, the last pixel included.

A box that covers the pixels 0 to 9 of a row is xmin 1, xmax 10: only the left and upper edge move by one between VOC and our corners. Some
readers take one off all four, and see boxes that are a pixel smaller. Boxes are rounded to whole pixels and cut at the picture's edge.
"""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import escape

from ..box import Box, Layout
from ..geometry import fit_inside
from .source import AnnotationSet, Layouts, at, found_classes, known_class, listed_classes
from .xml_labels import XmlEncoder, flags, name_of, xml_layouts
from .xml_tree import Node


def read(root: Path, images: Path | None) -> AnnotationSet:
    """Read a folder of VOC files, or one.

    Args:
        root: The folder, or a file.
        images: Folder of the pictures, for files without a size.

    Raises:
        InputError: If a file is damaged, with the line.
    """
    listed = listed_classes(root)

    def parse(node: Node) -> Box:
        name = known_class(name_of(node), listed, node.path, node.line)
        edges = node.need("bndbox")
        left, top = edges.number("xmin") - 1, edges.number("ymin") - 1
        right, bottom = edges.number("xmax"), edges.number("ymax")
        if right <= left or bottom <= top:
            raise at(node.path, edges.line, f"the box ends at {right:g},{bottom:g}, before it begins; correct it")
        return Box.horizontal(name, left, top, right - left, bottom - top, **flags(node))

    layouts = Layouts(lambda: xml_layouts(root, images, "object", parse))
    return AnnotationSet("voc", found_classes(layouts) if listed is None else listed, layouts)


class VocEncoder(XmlEncoder):
    """Writes `Annotations/<picture>.xml`."""

    folder = "Annotations"

    def thing(self, box: Box, layout: Layout) -> str:
        """One object; whole pixels from 1, at least one of them."""
        whole = box
        box = fit_inside(box, layout.width, layout.height)
        self.changes["cut at the picture's edge"] += box is not whole
        left, top, right, bottom = box.xyxy
        xmin, xmax = _pixels(left, right, layout.width)
        ymin, ymax = _pixels(top, bottom, layout.height)
        return (
            f"\t<object>\n\t\t<name>{escape(box.name)}</name>\n\t\t<pose>Unspecified</pose>\n\t\t<truncated>{int(box.truncated)}</truncated>\n"
            f"\t\t<difficult>{int(box.difficult)}</difficult>\n\t\t<occluded>0</occluded>\n\t\t<bndbox>\n\t\t\t<xmin>{xmin}</xmin>\n"
            f"\t\t\t<ymin>{ymin}</ymin>\n\t\t\t<xmax>{xmax}</xmax>\n\t\t\t<ymax>{ymax}</ymax>\n\t\t</bndbox>\n\t</object>\n"
        )


def _pixels(start: float, end: float, size: int) -> tuple[int, int]:
    """First and last pixel from 1, of the pixels whose edges are nearest; one pixel where rounding leaves none."""
    first, last = round(start) + 1, round(end)
    if last < first:
        first = last = min(int((start + end) / 2) + 1, size)
    return max(first, 1), min(last, size)
