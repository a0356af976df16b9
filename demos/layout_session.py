"""What belongs to one window on the Layout tab: the layouts that were imported, the picture underneath, and the last labelled pictures."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .sessions import Session

if TYPE_CHECKING:
    from ..gen.annotations import Layout
    from .layout_scores import ObjectScores


@dataclass(frozen=True)
class Imported:
    """Annotations that the user has brought.

    Attributes:
        kind: Format that was found, such as ``"coco"``.
        names: Classes.
        layouts: One a picture.
        more: Whether the file holds further ones, which are not kept.
    """

    kind: str
    names: tuple[str, ...]
    layouts: tuple[Layout, ...]
    more: bool = False


@dataclass(frozen=True)
class Labelled:
    """The labelled pictures of a finished run; every tuple has one entry a picture.

    Attributes:
        folder: Of all its files.
        pictures: PNG as generated, with tags that say how.
        boxed: The same, enlarged, with the boxes drawn over them.
        layouts: Boxes, with the pictures' names.
        scores: Of each object.
        seeds: Each picture follows from its seed alone.
        names: Classes, in the order that an export gets.
        facts: How they were made, for the manifest: model, digest, steps, guidance, where the layouts are from.
        notes: What was decided on the way.
        seconds: How long it took.
    """

    folder: Path
    pictures: tuple[Path, ...]
    boxed: tuple[Path, ...]
    layouts: tuple[Layout, ...]
    scores: tuple[ObjectScores, ...]
    seeds: tuple[int, ...]
    names: tuple[str, ...]
    facts: Mapping[str, Any]
    notes: tuple[str, ...]
    seconds: float


class LayoutSession(Session):
    """One window on the tab.

    Attributes:
        imported: Annotations of the last import, None before.
        background: The picture underneath, None if there is none.
        drawn: How many layouts were drawn from a prior, so that each press gives another.
        labelled: What the last finished run has made, None before.
    """

    def __init__(self) -> None:
        super().__init__()
        self.imported: Imported | None = None
        self.background: Path | None = None
        self.drawn = 0
        self.labelled: Labelled | None = None

    def fresh_folder(self, prefix: str) -> Path:
        """A new folder inside the session's own."""
        return Path(tempfile.mkdtemp(prefix=f"{prefix}-", dir=self.folder))

    def keep_labelled(self, labelled: Labelled | None) -> None:
        """Take the pictures of a run, and remove those of the one before."""
        if self.labelled is not None:
            shutil.rmtree(self.labelled.folder, ignore_errors=True)
        self.labelled = labelled
