"""`earthgen annotations`: labels from one format to another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from ..gen.annotations.formats.source import AnnotationSet

app = typer.Typer(no_args_is_help=True, help="Labels of object detection: COCO, DOTA, DIOR, VOC, HRSC, YOLO, YOLO-OBB, imagefolder.")


@app.callback()
def _group() -> None:
    """Labels of object detection: COCO, DOTA, DIOR, VOC, HRSC, YOLO, YOLO-OBB, imagefolder."""


@app.command("convert")
def convert(
    source: Path = typer.Argument(..., metavar="SRC", help="File or folder of annotations; its format is told by the content."),
    target: Path = typer.Argument(..., metavar="DST", help="The folder to make."),
    to: str = typer.Option(..., "--to", help="coco, dota, dior, voc, hrsc, yolo, yolo-obb or imagefolder."),
    images: Path | None = typer.Option(None, help="Folder of the pictures, where the source does not hold their sizes."),
    flatten: bool = typer.Option(False, "--flatten", help="Write the axis-aligned hulls of turned boxes, which VOC and YOLO need."),
) -> None:
    """Convert labels; the folder is complete or not there, and what had to be changed is said. Pictures are not copied.

    Examples: `earthgen annotations convert annotations.json labels --to dota`,
    `earthgen annotations convert dota/labelTxt yolo --to yolo-obb --images dota/images`
    """
    from ..gen.annotations.formats.reading import read_annotations
    from ..gen.annotations.formats.writing import AnnotationWriter
    from ..gen.data.atomic import check_output_path

    check_output_path(target / "classes.txt" if target.is_dir() else target, source, *((images,) if images else ()))
    annotations = read_annotations(source, images)
    with AnnotationWriter(target, to, annotations.names, flatten) as writer:
        for layout in annotations.layouts:
            writer.add(layout)
    typer.echo(_account(annotations, target, to, writer.pictures, writer.boxes, writer.changes))


def _account(annotations: AnnotationSet, target: Path, to: str, pictures: int, boxes: int, changes: dict[str, int]) -> str:
    changed = "".join(f"; {number} {what}" for what, number in changes.items() if number)
    classes = ", ".join(annotations.names[:8]) + (", ..." if len(annotations.names) > 8 else "")
    return f"{target}: {annotations.kind} to {to}, {pictures} pictures, {boxes} boxes, classes: {classes or 'none'}{changed}"
