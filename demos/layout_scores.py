"""What can be said of each object of a labelled picture, as figures: never only a verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .layout_canvas import colour_of

if TYPE_CHECKING:
    from ..gen.annotations import Box, Layout
    from ..gen.annotations.priors import Limits
    from ..metrics.label_filters.crop_classifier import CropClassifier

TITLES = {
    "area_z": "Size z",
    "aspect_z": "Shape z",
    "inside": "Inside",
    "overlap": "Overlap",
    "classifier": "Looks like it",
}
MEANINGS = {
    "area_z": "standard deviations between the object's log area and the mean of its class",
    "aspect_z": "the same of its length over its width",
    "inside": "share of the object inside the picture",
    "overlap": "largest share in common with another object (IoU)",
    "classifier": "probability of its class, from its crop alone, by a classifier that was trained on real crops",
}
_SHOWN_ROWS = 300


@dataclass(frozen=True)
class ObjectScores:
    """Figures of the objects of one picture.

    Attributes:
        names: Of the figures, in the order of the columns.
        values: ``[objects, figures]``; NaN where a figure cannot be told.
        limits: Largest magnitude that is usual, by figure; a figure beyond it is marked.
    """

    names: tuple[str, ...]
    values: NDArray[np.float64]
    limits: Mapping[str, float]

    def of(self, number: int) -> dict[str, float | None]:
        """The figures of one object by name, rounded; None where one cannot be told."""
        row = self.values[number]
        return {name: round(float(value), 4) if np.isfinite(value) else None for name, value in zip(self.names, row, strict=True)}

    def unusual(self, number: int) -> list[str]:
        """The figures of one object that are beyond what is usual."""
        row = zip(self.names, self.values[number], strict=True)
        return [name for name, value in row if np.isfinite(value) and abs(value) > self.limits.get(name, np.inf)]


def layout_scores(layout: Layout, limits: Limits | None) -> ObjectScores:
    """Figures that follow from the boxes alone.

    Args:
        layout: The boxes.
        limits: Of real layouts, for the z-scores; without, these are left out.

    Returns:
        Sizes and shapes as z-scores of their class, the share inside the picture, the largest overlap.
    """
    from ..gen.annotations.geometry import rotated_iou
    from ..gen.annotations.priors.rejection import inside_shares

    count = len(layout.boxes)
    if limits is not None:
        found = limits.findings(layout)
        columns = {"area_z": found.area_z, "aspect_z": found.aspect_z, "inside": found.inside, "overlap": found.overlap}
        return ObjectScores(tuple(columns), np.stack(list(columns.values()), axis=1), {"area_z": limits.z, "aspect_z": limits.z})
    shared = rotated_iou(layout.quads, layout.quads) if count else np.zeros((0, 0))
    np.fill_diagonal(shared, 0.0)
    values = np.stack([inside_shares(layout), shared.max(axis=1, initial=0.0)], axis=1) if count else np.zeros((0, 2))
    return ObjectScores(("inside", "overlap"), values, {})


def looks(picture: NDArray[np.float32], layout: Layout, classifier: CropClassifier) -> ObjectScores:
    """How much each object looks like its class.

    Args:
        picture: ``[3, H, W]``, 0 to 1.
        layout: Its boxes.
        classifier: Trained on real crops.
    """
    import torch

    scores = classifier(torch.from_numpy(np.ascontiguousarray(picture, np.float32)), layout)
    return ObjectScores((scores.filter,), scores.objects[:, None], {})


def joined(scores: Sequence[ObjectScores]) -> ObjectScores:
    """Several kinds of figures of the same objects, side by side."""
    return ObjectScores(
        tuple(name for part in scores for name in part.names),
        np.concatenate([part.values for part in scores], axis=1),
        {name: value for part in scores for name, value in part.limits.items()},
    )


def score_table(layout: Layout, scores: ObjectScores, names: Sequence[str], title: str) -> str:
    """The objects of a picture with their figures.

    Args:
        layout: The boxes.
        scores: Their figures.
        names: Classes in the order of their colours.
        title: What the picture is called.

    Returns:
        HTML.
    """
    if not layout.boxes:
        return f'<div class="eg-card">{escape(title)}: no objects.</div>'
    heads = ["", "Class", "Centre", "Size", "Angle", *(TITLES.get(name, name.replace("_", " ")) for name in scores.names)]
    hints = ["", "", "pixels", "pixels", "", *(MEANINGS.get(name, "") for name in scores.names)]
    top = "".join(f'<th title="{escape(hint)}">{escape(head)}</th>' for head, hint in zip(heads, hints, strict=True))
    rows = [_row(number, box, scores, names) for number, box in enumerate(layout.boxes[:_SHOWN_ROWS])]
    more = f"<p>and {len(layout.boxes) - _SHOWN_ROWS} more</p>" if len(layout.boxes) > _SHOWN_ROWS else ""
    return (
        f'<div class="eg-card eg-scores"><b>{escape(title)}</b><div><table><thead><tr>{top}</tr></thead><tbody>{"".join(rows)}</tbody>'
        f"</table></div>{more}</div>"
    )


def _row(number: int, box: Box, scores: ObjectScores, names: Sequence[str]) -> str:
    (x, y), (_, _, long, short, angle) = box.centre, box.le90
    colour = colour_of(names.index(box.name)) if box.name in names else "#64748b"
    turn = "0°" if box.is_horizontal else f"{np.degrees(angle):.0f}°"
    unusual = scores.unusual(number)
    cells = [
        str(number + 1),
        f'<span style="background: {colour}"></span>{escape(box.name)}',
        f"{x:.0f}, {y:.0f}",
        f"{long:.0f} x {short:.0f}" if not box.is_horizontal else f"{box.xywh[2]:.0f} x {box.xywh[3]:.0f}",
        turn,
    ]
    plain = "".join(f"<td>{cell}</td>" for cell in cells)
    figures = zip(scores.names, scores.values[number], strict=True)
    return f"<tr>{plain}" + "".join(_figure(value, name in unusual) for name, value in figures) + "</tr>"


def _figure(value: float, unusual: bool) -> str:
    text = f"{value:.2f}" if np.isfinite(value) else "?"
    return f'<td class="{"far" if unusual else ""}">{text}</td>'
