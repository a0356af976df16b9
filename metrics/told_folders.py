"""Do the pictures of a folder keep to what they were told: hints, metadata, classes? Each figure stands beside a floor.

The floor exchanges what was told: each picture is held against the next one's hint or metadata. A generator that does not listen reaches
that much.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..gen.conditioning.hints import EDGES
from ..gen.conditioning.metadata import Metadata
from ..gen.data.described import COVER, UNKNOWN
from ..gen.data.described_world import COVER_OF_WORLD
from ..gen.errors import InputError
from .clip_score import mean_estimate
from .control import colour_error, edge_f1, mask_iou, re_extracted, segmented
from .distribution import Estimate
from .feature_networks import OurFeatures
from .generated import SetProtocol, SetScore
from .metadata_fidelity import direction_share, month_direction_share, month_error, reading_error
from .picture_folder import PictureFolder, read_picture
from .protocol import Better

KINDS = (*EDGES, "content", "mask", *COVER)
"""Hints that can be read back from pictures."""
FLOOR = "next picture's"
Rows = dict[str, dict[str, SetScore]]
TOLERANCE = 2


@dataclass(frozen=True, kw_only=True)
class Told:
    """What the pictures of a folder were told.

    Attributes:
        hints: Folder of the hints by kind, one of `KINDS`; files have the pictures' names, whatever their suffix.
        metadata: ``metadata.jsonl``: a line for each picture with ``file_name`` and fields of `Metadata`; lines with the same ``pair``
            are pictures that differ in nothing but the request.
    """

    hints: Mapping[str, Path] = field(default_factory=dict)
    metadata: Path | None = None


def told_scores(folder: PictureFolder, told: Told, network: OurFeatures) -> Rows:
    """All figures of what is told.

    Args:
        folder: The generated pictures.
        told: Of them.
        network: Reads land cover, pixel size and month.

    Returns:
        Scores by row, ``generated`` and the floor, and metric.

    Raises:
        InputError: If a hint or a line of metadata is missing or wrong.
    """
    rows: Rows = {"generated": {}, FLOOR: {}}
    for kind, hints in told.hints.items():
        for row, scores in hint_scores(folder, kind, hints, network).items():
            rows[row] |= scores
    if told.metadata is not None:
        for row, scores in metadata_scores(folder, told.metadata, network).items():
            rows[row] |= scores
    return rows


def hint_scores(folder: PictureFolder, kind: str, hints: Path, network: OurFeatures) -> Rows:
    """Hold pictures against their hints.

    Args:
        folder: The pictures.
        kind: One of `KINDS`: edges by the detector that is named; ``content``, the picture whose colours are to be kept; ``mask``, codes
            of `COVER` or 255 for nothing asked; or one of `COVER`, white where it is asked for.
        hints: Their folder.
        network: The segmenter of masks.

    Returns:
        Scores by row and metric.

    Raises:
        InputError: If there is no such kind, or a hint is missing or of another size.
    """
    if kind not in KINDS:
        raise InputError(f"hints of the kind {kind!r} cannot be read back from pictures; choose from {', '.join(KINDS)}")
    metric, words, better, measure = _measure(kind, network)
    wanted = [_hint(folder, path, hints, kind) for path in folder.paths]
    sums: dict[str, list[Tensor]] = {"generated": [], FLOOR: []}
    for number, picture in enumerate(folder):
        sums["generated"].append(measure(picture[None], wanted[number]))
        following = wanted[(number + 1) % len(wanted)]
        if len(wanted) > 1 and following.shape == wanted[number].shape:
            sums[FLOOR].append(measure(picture[None], following))
    uses = kind in ("mask", *COVER)
    about: dict[str, Any] = {"network": network.name, "resize": network.resize} if uses else {}
    protocol = SetProtocol(metric=metric, definition=words, better=better, n_generated=len(folder), **about)
    return {row: {metric: SetScore(mean_estimate(torch.cat(values)), protocol)} if values else {} for row, values in sums.items()}


def metadata_scores(folder: PictureFolder, path: Path, network: OurFeatures) -> Rows:
    """Hold what the network reads of pixel size and month against what was asked for.

    Raises:
        InputError: If a picture has no line, or none has a pixel size or month.
    """
    lines = read_lines(path, folder)
    facts = [Metadata(**{key: value for key, value in line.items() if key in Metadata.model_fields}) for line in lines]
    read = [network.read(picture[None]) for picture in folder]
    sizes = torch.cat([found.log2_gsd for found in read]).double().cpu()
    months = torch.cat([found.month for found in read]).double().cpu()
    wanted_sizes = torch.tensor([data.metres or torch.nan for data in facts], dtype=torch.float64).log2()
    wanted_months = torch.tensor([data.month or torch.nan for data in facts], dtype=torch.float64)
    if bool(wanted_sizes.isnan().all()) and bool(wanted_months.isnan().all()):
        raise InputError(f"{path} tells no picture a pixel size or a month; give gsd, date, or leave --metadata out")
    about: dict[str, Any] = {"network": network.name, "resize": network.resize, "n_generated": len(folder)}
    rows: Rows = {"generated": {}, FLOOR: {}}

    def put(row: str, metric: str, estimate: Estimate, words: str, better: Better) -> None:
        rows[row][metric] = SetScore(estimate, SetProtocol(metric=metric, definition=words, better=better, **about))

    errors: tuple[tuple[str, Tensor, Tensor, Callable[[Tensor, Tensor], Tensor], str], ...] = (
        ("GSD error, octaves", wanted_sizes, sizes, reading_error, "distance of the pixel size read and asked for, log2; mean"),
        ("month error", wanted_months, months, month_error, "months between reading and request on the circle of the year; mean"),
    )
    for metric, wanted, found, measure, words in errors:
        if not bool(wanted.isnan().all()):
            put("generated", metric, mean_estimate(measure(found, wanted)), words, "lower")
            put(FLOOR, metric, mean_estimate(measure(found, wanted.roll(-1))), words, "lower")
    for metric, estimate, count in _directions(lines, wanted_sizes, wanted_months, sizes, months):
        words = f"share of {count} pairs, alike but for the request, whose readings differ its way; a half by chance; Wilson's interval"
        put("generated", metric, estimate, words, "higher")
    return rows


def read_lines(path: Path, folder: PictureFolder) -> list[dict[str, Any]]:
    """The line of each picture of a folder in a ``metadata.jsonl``.

    Raises:
        InputError: If it cannot be read, a line is no object with ``file_name``, or a picture has none.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the metadata {path} cannot be read ({error}); give a UTF-8 file with a line of JSON for each picture") from error
    table: dict[str, dict[str, Any]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            entry = None
        if not isinstance(entry, dict) or not isinstance(entry.get("file_name"), str):
            raise InputError(f'line {number} of {path} is no object with a file_name; write {{"file_name": "a.png", "gsd": 10}}')
        table[entry["file_name"]] = entry
    names = [file.relative_to(folder.folder).as_posix() for file in folder.paths]
    missing = [name for name in names if name not in table]
    if missing:
        raise InputError(f"{path} has no line for {missing[0]} ({len(missing)} missing); write one with this file_name")
    return [table[name] for name in names]


def _measure(kind: str, network: OurFeatures) -> tuple[str, str, Better, Callable[[Tensor, Tensor], Tensor]]:
    """Name, definition, direction, and the figure of a picture ``[1, 3, H, W]`` and its hint."""
    if kind in EDGES:
        words = f"F1 of edge pixels against the hint, read again by {kind}, tolerance {TOLERANCE} pixels; bootstrap over pictures"
        return f"{kind} F1", words, "higher", lambda a, b: edge_f1(re_extracted(a, EDGES[kind]), b, TOLERANCE)
    if kind == "content":
        words = "CIE76 difference of the means of 8 x 8 cells; bootstrap over pictures"
        return "content colour error", words, "lower", colour_error
    groups = {network.covers.index(name): COVER.index(to) for name, to in COVER_OF_WORLD.items() if name in network.covers}

    def codes(picture: Tensor) -> Tensor:
        return segmented(network.read(picture).cover, (picture.shape[2], picture.shape[3]), groups)

    if kind == "mask":
        words = "mean IoU over the classes in reading or mask; bootstrap over pictures"
        return "mask mIoU", words, "higher", lambda a, b: mask_iou(codes(a), b, len(COVER), UNKNOWN)[0]
    at = COVER.index(kind)
    words = "IoU of what is read as this class and the mask; bootstrap over pictures with either"
    return f"{kind} IoU", words, "higher", lambda a, b: mask_iou(torch.where(codes(a) == at, 0, 1), b, 1)[0]


def _hint(folder: PictureFolder, path: Path, hints: Path, kind: str) -> Tensor:
    """The hint of a picture in the form that its measure takes."""
    name = path.relative_to(folder.folder).with_suffix("")
    found = sorted(file for file in (hints / name.parent).glob("*") if file.stem == name.name) if hints.is_dir() else []
    if not found:
        raise InputError(f"there is no hint {hints / name}.* for the picture {path}; give its files the pictures' names")
    hint, picture = read_picture(found[0]), read_picture(path)
    if kind == "content":
        return hint[None]
    if hint.shape != picture.shape:
        raise InputError(
            f"the hint {found[0]} has {hint.shape[2]} x {hint.shape[1]} pixels, the picture {picture.shape[2]} x {picture.shape[1]}; "
            "make them equal"
        )
    values = (hint[0] * 255).round().long()
    if kind == "mask":
        strange = sorted(set(values.unique().tolist()) - {*range(len(COVER)), UNKNOWN})
        if strange:
            raise InputError(f"the mask {found[0]} has the code {strange[0]}; codes are 0 to {len(COVER) - 1} ({', '.join(COVER)}) and 255")
        return values[None]
    white = (values > 127)[None]
    return white if kind in EDGES else torch.where(white, 0, 1)


def _directions(
    lines: list[dict[str, Any]], wanted_sizes: Tensor, wanted_months: Tensor, sizes: Tensor, months: Tensor
) -> list[tuple[str, Estimate, int]]:
    """Shares of pairs that move the way of their request, where there are pairs."""
    groups: dict[str, list[int]] = {}
    for number, line in enumerate(lines):
        if line.get("pair") is not None:
            groups.setdefault(str(line["pair"]), []).append(number)
    strange = [name for name, members in groups.items() if len(members) != 2]
    if strange:
        raise InputError(f"the pair {strange[0]!r} has {len(groups[strange[0]])} pictures; a pair has two that differ in one request")
    pairs = list(groups.values())
    found = []
    by_size = [sorted(pair, key=lambda at: float(wanted_sizes[at])) for pair in pairs if _differ(wanted_sizes, pair)]
    if by_size:
        low, high = torch.tensor(by_size).T
        found.append(("GSD direction", direction_share(sizes[low], sizes[high]), len(by_size)))
    by_month = [pair for pair in pairs if _differ(wanted_months, pair) and not _differ(wanted_sizes, pair)]
    if by_month:
        first, second = torch.tensor(by_month).T
        share = month_direction_share(months[first], months[second], wanted_months[first], wanted_months[second])
        found.append(("month direction", share, len(by_month)))
    return found


def _differ(wanted: Tensor, pair: list[int]) -> bool:
    first, second = (float(wanted[at]) for at in pair)
    return first == first and second == second and first != second
