"""Where pictures with boxes come from: annotation files in any format that we read, or procedural scenes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from ...gen.annotations.box import Layout
from ...gen.data.objects import HeldOut, ObjectPicture, blocks_of, divided, tile_place
from ...gen.data.objects_crops import Scene
from ...gen.data.objects_scene import object_scene
from ...gen.data.splits import Split
from ...gen.errors import InputError


class AnnotatedObjects(BaseModel):
    """Pictures in a folder, and their boxes in files that `read_annotations` reads."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["annotations"] = "annotations"
    files: str
    """Annotation file or folder, relative to the data folder."""
    images: str = ""
    """Folder of the pictures; that of the annotations if empty."""
    weight: float = Field(1.0, ge=0)
    rename: dict[str, str] = Field(default_factory=dict)
    """From the file's classes to the recipe's."""
    gsd: float | None = Field(None, gt=0)
    """Metres per pixel."""
    place: str = ""
    """Pattern whose match in a file's name is its place; its groups joined by spaces if it has any. The file's stem if empty."""
    tile_zoom: int | None = Field(None, ge=0)
    """Names hold map tiles ``x-y-z``: the ancestor at this zoom is the place."""
    blocks: tuple[int, int] = (1, 1)
    """Rows and columns of blocks into which each picture is cut, each a place of its own (``<place> row,col``)."""
    validation: tuple[str, ...] = ()
    """Patterns of places that choose the checkpoint; with neither this nor `test`, a hash of the place decides."""
    test: tuple[str, ...] = ()
    complete: bool = True
    """Whether all objects are labelled; empty ground is repainted only where they are."""
    captions: tuple[str, ...] = ()
    """Sentences that fit all pictures."""

    def divided(self, root: Path, parts: tuple[Split, ...]) -> dict[Split, list[ObjectPicture]]:
        """Read the pictures and divide them by place.

        Args:
            root: Data folder.
            parts: Of interest.

        Raises:
            InputError: If there are none, or a file cannot be read.
        """
        found = divided(self.pictures(root), HeldOut(self.validation, self.test), parts)
        if not any(found.values()):
            raise InputError(f"{root / self.files} names no picture; check 'data' and 'files'")
        return found

    def pictures(self, root: Path) -> Iterator[ObjectPicture]:
        """All pictures, cut into blocks."""
        from ...gen.annotations.formats.reading import read_annotations

        path = root / self.files
        folder = root / self.images if self.images else path if path.is_dir() else path.parent
        for layout in read_annotations(path, folder).layouts:
            yield from blocks_of(self._picture(folder, layout), *self.blocks)

    def _picture(self, folder: Path, layout: Layout) -> ObjectPicture:
        from PIL import Image

        from ...gen.annotations.formats.pictures import picture_file

        name = layout.picture or ""
        try:
            with Image.open(picture_file(folder, name)) as file:
                pixels = np.ascontiguousarray(np.asarray(file.convert("RGB"), dtype=np.uint8).transpose(2, 0, 1))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise InputError(f"{folder / name} cannot be read as a picture ({error}); copy it again or take it out") from error
        labels = tuple(self.rename.get(label, label) for label in layout.names)
        quads = layout.quads.reshape(-1, 4, 2)
        return ObjectPicture(name, pixels, quads, labels, self._place(name), self.gsd, self.captions, self.complete)

    def _place(self, name: str) -> str:
        if self.tile_zoom is not None:
            place = tile_place(name, self.tile_zoom)
            if place is None:
                raise InputError(f"the name {name!r} has no tile numbers x-y-z; leave 'tile_zoom' out")
            return place
        found = re.search(self.place, name) if self.place else None
        if found is None:
            return Path(name).stem
        return " ".join(group for group in found.groups() if group) or found.group(0)


class SceneObjects(BaseModel):
    """Procedural scenes, a new one for every crop."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["scenes"] = "scenes"
    weight: float = Field(1.0, ge=0)
    size: int = Field(160, ge=32)
    """Side of a scene in pixels."""
    scenes: tuple[str, ...] = ()
    """Kinds, of `gen.data.objects_ground.LOOKS`; all if empty."""

    def scene(self) -> Scene:
        """What makes a scene."""
        return partial(object_scene, size=self.size, kinds=self.scenes)


ObjectSource = Annotated[AnnotatedObjects | SceneObjects, Field(discriminator="kind")]


def read_sources(
    sources: list[AnnotatedObjects | SceneObjects], root: Path, parts: tuple[Split, ...] = ("train", "validation")
) -> dict[Split, list[tuple[float, list[ObjectPicture] | Scene]]]:
    """Sources of each part, with their weights. Scenes belong to all parts: no two are alike.

    Args:
        sources: What to read; those of weight 0 are skipped.
        root: Data folder.
        parts: Of interest.
    """
    found: dict[Split, list[tuple[float, list[ObjectPicture] | Scene]]] = {part: [] for part in parts}
    for source in sources:
        if source.weight <= 0:
            continue
        if isinstance(source, SceneObjects):
            for part in parts:
                found[part].append((source.weight, source.scene()))
            continue
        for part, pictures in source.divided(root, parts).items():
            if pictures:
                found[part].append((source.weight, pictures))
    return found
