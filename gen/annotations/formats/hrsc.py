"""HRSC2016: an XML file a picture; a turned box is its centre, its sides and an angle in radians, like le90.

Classes are numbers there, 100000001 and on; `classes.txt` beside the labels names them in that order. The first corner is not kept, and
quadrilaterals that are no rectangles become the smallest rectangle round them.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath
from xml.sax.saxutils import escape

import shapely

from ..box import Box, Layout
from ..fragments import mmrotate_config
from .pictures import key_of_label, safe_name
from .source import AnnotationSet, Layouts, at, found_classes, listed_classes
from .text_labels import label_files
from .xml_labels import Parse, XmlEncoder, flags, located, side_of
from .xml_tree import Node, parse_xml

FIRST_CLASS = 100000001
_SQUARE = 0.25  # px: how far the corners of a rectangle may stand off, such as ones rounded to a tenth


def read(root: Path, images: Path | None) -> AnnotationSet:
    """Read a folder of HRSC files, or one.

    Args:
        root: The folder, or a file.
        images: Not needed; the files hold the pictures' sizes.

    Raises:
        InputError: If a file is damaged, with the line.
    """
    listed = listed_classes(root)

    def parse(node: Node) -> Box:
        cx, cy, w, h, angle = (node.number(f"mbox_{part}") for part in ("cx", "cy", "w", "h", "ang"))
        return Box.rotated(_class_of(node, listed), cx, cy, w, h, angle, **flags(node))

    layouts = Layouts(lambda: (_layout(path, root, parse) for path in label_files(root, ".xml")))
    return AnnotationSet("hrsc", found_classes(layouts) if listed is None else listed, layouts)


class HrscEncoder(XmlEncoder):
    """Writes `Annotations/<picture>.xml`."""

    folder = "Annotations"
    pictures = "AllImages"
    sets = "ImageSets"
    rotates = True

    def text(self, layout: Layout, picture: str) -> str:
        """An HRSC file."""
        name = escape(PurePosixPath(picture).name)
        head = (
            f"<HRSC_Image>\n\t<Img_FileName>{name}</Img_FileName>\n\t<Img_SizeWidth>{layout.width}</Img_SizeWidth>\n"
            f"\t<Img_SizeHeight>{layout.height}</Img_SizeHeight>\n\t<Img_SizeDepth>3</Img_SizeDepth>\n\t<HRSC_Objects>\n"
        )
        return head + "".join(self.thing(box, layout) for box in layout.boxes) + "\t</HRSC_Objects>\n</HRSC_Image>\n"

    def thing(self, box: Box, layout: Layout) -> str:
        """One object."""
        cx, cy, w, h, angle = self._rectangle(box).le90
        left, top, right, bottom = box.xyxy
        edges = "".join(
            f"\t\t\t<box_{tag}>{round(value)}</box_{tag}>\n"
            for tag, value in (("xmin", left), ("ymin", top), ("xmax", right), ("ymax", bottom))
        )
        return (
            f"\t\t<HRSC_Object>\n\t\t\t<Class_ID>{FIRST_CLASS + self.index[box.name]}</Class_ID>\n"
            f"\t\t\t<truncated>{int(box.truncated)}</truncated>\n\t\t\t<difficult>{int(box.difficult)}</difficult>\n{edges}"
            f"\t\t\t<mbox_cx>{cx:.4f}</mbox_cx>\n\t\t\t<mbox_cy>{cy:.4f}</mbox_cy>\n\t\t\t<mbox_w>{w:.4f}</mbox_w>\n"
            f"\t\t\t<mbox_h>{h:.4f}</mbox_h>\n\t\t\t<mbox_ang>{angle:.8f}</mbox_ang>\n\t\t</HRSC_Object>\n"
        )

    def _rectangle(self, box: Box) -> Box:
        again = Box.rotated(box.name, *box.le90)
        if all(min((x - u) ** 2 + (y - v) ** 2 for u, v in again.corners) <= _SQUARE**2 for x, y in box.corners):
            return box
        self.changes["made a rectangle"] += 1
        round_it = shapely.get_coordinates(shapely.minimum_rotated_rectangle(shapely.Polygon(box.corners)))[:4].tolist()
        a, b, c, d = ((float(x), float(y)) for x, y in round_it)
        return replace(box, corners=(a, b, c, d))

    def fragments(self) -> dict[str, str]:
        """A dataset fragment for MMRotate."""
        return {"mmrotate_config.py": mmrotate_config(self.names, "hrsc")}


def _layout(path: Path, root: Path, parse: Parse) -> Layout:
    tree = parse_xml(path)
    if tree.tag != "HRSC_Image":
        raise at(path, tree.line, f"the root is <{tree.tag}>, not <HRSC_Image>; give one format at a time")
    width, height = side_of(tree, "Img_SizeWidth"), side_of(tree, "Img_SizeHeight")
    key = key_of_label(path, root)
    name = PurePosixPath(tree.word("Img_FileName")).name or f"{PurePosixPath(key).name}.bmp"
    # The published files leave the suffix out.
    name = name if "." in name else f"{name}.{tree.word('Img_FileFmt', 'bmp')}"
    things = tree.find("HRSC_Objects")
    boxes = [located(node, parse, width, height) for node in things.all("HRSC_Object")] if things is not None else []
    return Layout(width, height, tuple(boxes), safe_name((PurePosixPath(key).parent / name).as_posix()))


def _class_of(node: Node, listed: list[str] | None) -> str:
    number = node.need("Class_ID")
    text = number.text.strip()
    if not text.isdecimal() or len(text) > 12:
        raise at(node.path, number.line, f"<Class_ID> is {text[:40]!r}; it must be a number such as {FIRST_CLASS}")
    if listed is None:
        return text
    place = int(text) - FIRST_CLASS
    if not 0 <= place < len(listed):
        last = FIRST_CLASS + len(listed) - 1
        raise at(node.path, number.line, f"the class {text} is not among those listed ({FIRST_CLASS} to {last}); add it to classes.txt")
    return listed[place]
