"""Real detection sets from the shared sample data: NEON trees and OpenAerialMap buildings, split by ground."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from earthgen.gen.annotations.box import Box, Layout
from earthgen.gen.annotations.geometry import crop
from earthgen.train.detection.places import DetectionSets, Place, assemble, crops, shrunk

# Complete annotations only: the ten Sierra Nevada plots, and the large Yellowstone tile in strips 30 m wide. Plots of the oak savanna have
# only their clear crowns labelled. Test, validation and the three training subsets hold different plots and different strips.
TEST = ("TEAK_043", "TEAK_052", "TEAK_059", "YELL_0")
VALIDATION = ("TEAK_046",)
TRAINING = (("TEAK_044", "TEAK_058", "YELL_1"), ("TEAK_051", "TEAK_047", "YELL_2"), ("TEAK_057", "TEAK_062", "YELL_3"))


def neon_trees(shared: Path, size: int = 64, factor: float = 0.5, most: int = 24) -> DetectionSets:
    """Trees at 0.2 m."""
    places = {place.name: shrunk(place, factor) for place in _tree_places(shared)}
    training = [[sample for name in part for sample in crops(places[name], size)] for part in TRAINING]
    validation, test = ([s for name in part for s in crops(places[name], size, least_objects=0)] for part in (VALIDATION, TEST))
    return assemble(["tree"], training, validation, test, horizontal=["tree"], most=most)


def oam_buildings(shared: Path, size: int = 64, factor: float = 0.5, most: int = 24) -> DetectionSets:
    """Buildings (turned boxes) at 0.3 m: columns of the one block of tiles to four sets, the other block to test beside one of them."""
    folder = shared / "maps_buildings/oam_uganda"
    tiles = {name: place for name, place in _coco(folder) if name.endswith("-20")}
    columns: dict[str, list[Place]] = {}
    for name, place in tiles.items():
        columns.setdefault(name.split("-")[1], []).append(shrunk(place, factor))
    training = [[sample for place in columns[x] for sample in crops(place, size)] for x in ("619224", "619225", "619226")]
    parts = columns["619212"][1:], columns["619227"] + columns["619212"][:1]
    validation, test = ([s for place in part for s in crops(place, size, least_objects=0)] for part in parts)
    return assemble(["building"], training, validation, test, most=most)


def _tree_places(shared: Path) -> list[Place]:
    plots = [Place(name, p.picture, p.layout) for name, p in _coco(shared / "layout_boxes/neon_trees") if name.startswith("TEAK")]
    folder = shared / "more/aerial_trees"
    listed = json.loads((folder / "annotations.json").read_text())["images"]
    row = next(one for one in listed if one["file"].endswith("YELL_2019_a.png"))
    layout = Layout(row["width"], row["height"], tuple(Box.horizontal("tree", *box) for box in row["boxes_xywh"]))
    picture, width = _picture(folder / row["file"]), row["width"] // 4
    strips = [
        Place(f"YELL_{n}", picture[:, n * width : (n + 1) * width], crop(layout, n * width, 0, width, row["height"], 0.4)) for n in range(4)
    ]
    return plots + strips


def _coco(folder: Path) -> list[tuple[str, Place]]:
    data: dict[str, Any] = json.loads((folder / "annotations.json").read_text())
    classes = {one["id"]: one["name"] for one in data["categories"]}
    places = []
    for image in data["images"]:
        rows = [one for one in data["annotations"] if one["image_id"] == image["id"]]
        boxes = tuple(_box(classes[one["category_id"]], one) for one in rows)
        name = Path(image["file_name"]).stem
        places.append((name, Place(name, _picture(folder / image["file_name"]), Layout(image["width"], image["height"], boxes))))
    return places


def _box(name: str, row: dict[str, Any]) -> Box:
    if "obb" not in row:
        return Box.horizontal(name, *row["bbox"])
    a, b, c, d = ((float(x), float(y)) for x, y in np.array(row["obb"]).reshape(4, 2))
    return Box(name, (a, b, c, d), truncated=bool(row.get("truncated")))


def _picture(path: Path) -> NDArray[np.uint8]:
    return np.ascontiguousarray(np.asarray(Image.open(path).convert("RGB")))
