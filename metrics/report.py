"""The outcome of an evaluation: scores of methods under one protocol, as JSON and as a table with the protocol under it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table

from ..gen.data.atomic import write_json
from .measures import MEASURES
from .protocol import Protocol, Score, Setting, mean_score, require_one_protocol

BACK_PROJECTED = "back-projected"
BASELINES = ("nearest", "bicubic", BACK_PROJECTED)


@dataclass(frozen=True, kw_only=True)
class Report:
    """Scores of all methods; refuses scores of different protocols when it is made.

    Attributes:
        title: What was evaluated.
        methods: Method name to metric name to score; the baselines are among them.
        images: Names of the pairs.
        seconds: Mean wall time per image of each method, batch 1.
        notes: What a reader should know.
        facts: What is to be known of the methods: model, digest, steps, seed.
    """

    title: str
    methods: Mapping[str, Mapping[str, Score]]
    images: tuple[str, ...]
    seconds: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_one_protocol(self.methods)

    @property
    def setting(self) -> Setting:
        """What all scores have in common."""
        return require_one_protocol(self.methods)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metric names in column order."""
        return tuple(dict.fromkeys(name for scores in self.methods.values() for name in scores))

    def gain(self, method: str, metric: str, baseline: str = "bicubic") -> Score:
        """Mean paired difference to a baseline with its own interval, which is much tighter than the two separate ones.

        Args:
            method: Name of the method.
            metric: Name of the metric.
            baseline: Name of the baseline.

        Returns:
            Score of the differences ``method - baseline``, image by image.
        """
        ours, other = self.methods[method][metric], self.methods[baseline][metric]
        differences = [a - b for a, b in zip(ours.each, other.each, strict=True)]
        return mean_score(differences, ours.protocol, confidence=ours.confidence)

    def to_dict(self) -> dict[str, Any]:
        """Everything in plain types, protocols once and beside the numbers by name."""
        protocols = {name: score.protocol for scores in self.methods.values() for name, score in scores.items()}
        own = [name for name in self.methods if name not in BASELINES]
        return {
            "title": self.title,
            "setting": asdict(self.setting),
            "protocols": {name: {k: v for k, v in asdict(p).items() if k != "setting"} for name, p in protocols.items()},
            "interval": "percentile bootstrap over images",
            "images": list(self.images),
            "scores": {method: {name: score.to_dict() for name, score in scores.items()} for method, scores in self.methods.items()},
            "gain_over_bicubic": {m: {name: self.gain(m, name).to_dict() for name in self.metrics} for m in own}
            if "bicubic" in self.methods
            else {},
            "seconds_per_image": dict(self.seconds),
            "facts": dict(self.facts),
            "notes": list(self.notes),
        }

    def write(self, path: str | Path) -> None:
        """Write the JSON file, atomically.

        Args:
            path: Where to.
        """
        write_json(Path(path), self.to_dict())

    def table(self) -> Table:
        """A table for the terminal: a row per metric, a column per method, best value in bold, the protocol as caption."""
        table = Table(title=self.title, caption=self.protocol_text(), caption_justify="left", title_justify="left")
        table.add_column("metric")
        for method in self.methods:
            table.add_column(method, justify="right")
        for metric in self.metrics:
            if not self._column(metric):
                continue
            best = self._best(metric)
            row = [(scores.get(metric), method in best) for method, scores in self.methods.items()]
            table.add_row(_heading(self._column(metric)[0]), *(_cell(score, bold=bold) if score else "" for score, bold in row))
        return table

    def protocol_text(self) -> str:
        """The protocol in a few sentences."""
        setting = self.setting
        first = next(iter(next(iter(self.methods.values())).values()))
        lines = [
            f"n = {len(self.images)} images (digest {setting.images}), x{setting.scale}, border {setting.border} px cut. "
            f"Low pictures: {setting.degradation}.",
            f"Pixels: {setting.pixels}. Baselines: {setting.baselines}.",
            f"In brackets: {first.confidence:.0%} bootstrap interval over images.",
            *(_words(scores[0].protocol) for name in self.metrics if (scores := self._column(name))),
            *self.notes,
        ]
        return "\n".join(line for line in lines if line)

    def _column(self, metric: str) -> list[Score]:
        """The scores of a metric that is defined for at least one method."""
        scores = [row[metric] for row in self.methods.values() if metric in row]
        return scores if any(not math.isnan(score.value) for score in scores) else []

    def _best(self, metric: str) -> set[str]:
        scores = {method: row[metric] for method, row in self.methods.items() if metric in row and not math.isnan(row[metric].value)}
        better = next(iter(scores.values())).protocol.better
        if better == "none":
            return set()
        cost = {m: {"higher": -s.value, "lower": s.value, "one": abs(s.value - 1.0)}[better] for m, s in scores.items()}
        return {m for m, value in cost.items() if value == min(cost.values())}


def _heading(score: Score) -> str:
    protocol = score.protocol
    arrow = {"higher": " ↑", "lower": " ↓", "one": " →1", "none": ""}[protocol.better]
    return f"{protocol.metric}{arrow}" + (f"\n[dim]{protocol.unit}[/dim]" if protocol.unit else "")


def _words(protocol: Protocol) -> str:
    ranged = f"; range {protocol.data_range:g}" if protocol.data_range is not None else ""
    return f"{protocol.metric}: {protocol.definition}; bands {protocol.bands}{ranged}."


def _cell(score: Score, *, bold: bool) -> str:
    if math.isnan(score.value):
        return "-"
    measure = MEASURES.get(score.protocol.metric)
    digits = measure.digits if measure else 4
    text = f"{score.value:.{digits}f}"
    text = f"[bold]{text}[/bold]" if bold else text
    text += f"\n[dim]({score.interval[0]:.{digits}f}, {score.interval[1]:.{digits}f})[/dim]" if score.interval else ""
    return text + (f"\n[dim]n = {score.n}[/dim]" if score.n != len(score.each) else "")
