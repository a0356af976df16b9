"""Score a set of generated pictures against a reference set, with trivial pictures beside it and the protocol under the table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table
from torch import Tensor

from ..gen.data.atomic import write_json
from ..gen.errors import InputError
from .clip_score import mean_estimate
from .distribution import (
    KERNEL,
    Estimate,
    extrapolated_frechet,
    frechet_estimate,
    inception_score,
    kernel_estimate,
    manifolds,
)
from .protocol import Better

_DIGITS = {"FD": 3, "FD, n to infinity": 3, "KD": 4}


@dataclass(frozen=True, kw_only=True)
class SetProtocol:
    """How one figure of a set is computed.

    Attributes:
        metric: Name.
        definition: Formula or parameters in words.
        better: Direction.
        network: Name and digest of the feature network; empty where none is used.
        resize: How pictures come to the network's size.
        n_generated: Pictures that are scored.
        n_reference: Pictures that they are held against; 0 where there is no reference.
        reference: Digest of the reference.
    """

    metric: str
    definition: str
    better: Better = "none"
    network: str = ""
    resize: str = ""
    n_generated: int
    n_reference: int = 0
    reference: str = ""


@dataclass(frozen=True)
class SetScore:
    """A figure of a set with its protocol."""

    estimate: Estimate
    protocol: SetProtocol


@dataclass(frozen=True, kw_only=True)
class SetReport:
    """Figures of several sets; refuses two protocols, or two numbers of pictures, in one column.

    Attributes:
        title: What was evaluated.
        rows: Set name to metric name to score.
        notes: What a reader should know.
        facts: Seed, digests and the like.
    """

    title: str
    rows: Mapping[str, Mapping[str, SetScore]]
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        seen: dict[str, tuple[str, SetProtocol]] = {}
        for row, scores in self.rows.items():
            for metric, score in scores.items():
                first, protocol = seen.setdefault(metric, (row, score.protocol))
                if protocol != score.protocol:
                    ours, other = asdict(score.protocol), asdict(protocol)
                    words = "; ".join(f"{key} is {ours[key]!r} and {other[key]!r}" for key in ours if ours[key] != other[key])
                    raise InputError(f"{metric} of {row} and of {first} have different protocols: {words}; show them in two tables")
        if not seen:
            raise InputError("the table has no score; give at least one set with one metric")

    @property
    def protocols(self) -> dict[str, SetProtocol]:
        """Protocol of each metric, in column order."""
        return {metric: score.protocol for scores in self.rows.values() for metric, score in scores.items()}

    def table(self) -> Table:
        """A row per metric, a column per set, the protocol as caption."""
        table = Table(title=self.title, caption=self.protocol_text(), caption_justify="left", title_justify="left")
        table.add_column("metric")
        for row in self.rows:
            table.add_column(row, justify="right")
        arrows = {"higher": " ↑", "lower": " ↓", "one": " →1", "none": ""}
        for metric, protocol in self.protocols.items():
            cells = [_cell(scores.get(metric)) for scores in self.rows.values()]
            table.add_row(metric + arrows[protocol.better], *cells)
        return table

    def protocol_text(self) -> str:
        """The protocol in a few sentences."""
        lines: list[str] = []
        said = ""
        for metric, protocol in self.protocols.items():
            about = f"n = {protocol.n_generated}" + (f" against {protocol.n_reference}" if protocol.n_reference else "")
            about += f"; {protocol.network}; resize: {protocol.resize}" if protocol.network else ""
            if about != said:
                lines.append(f"{about}:")
                said = about
            lines.append(f"- {metric}: {protocol.definition}.")
        return "\n".join([*lines, "In brackets: 95 % interval.", *self.notes])

    def to_dict(self) -> dict[str, Any]:
        """Everything in plain types; undefined numbers become None."""
        return {
            "title": self.title,
            "protocols": {metric: asdict(protocol) for metric, protocol in self.protocols.items()},
            "scores": {row: {name: _plain(score.estimate) for name, score in scores.items()} for row, scores in self.rows.items()},
            "facts": dict(self.facts),
            "notes": list(self.notes),
        }

    def write(self, path: str | Path) -> None:
        """Write the JSON file, atomically."""
        write_json(Path(path), self.to_dict())


@dataclass(frozen=True, kw_only=True)
class Space:
    """A feature space with the reference in it.

    Attributes:
        network: Name and digest.
        resize: Resize rule.
        reference: Features ``[m, D]``.
        digest: Of the reference pictures.
        seed: Of subsets and groups.
        neighbours: k of the manifolds.
    """

    network: str
    resize: str
    reference: Tensor
    digest: str
    seed: int = 0
    neighbours: int = 5


def set_scores(generated: Tensor, space: Space, logits: Tensor | None = None, classifier: str = "") -> dict[str, SetScore]:
    """All distribution figures of one set.

    Args:
        generated: Features ``[n, D]``.
        space: The network and the reference.
        logits: ``[n, K]`` of a classifier, for the inception score.
        classifier: Its name.

    Returns:
        Scores by metric.

    Raises:
        InputError: If a set is too small.
    """
    shared: dict[str, Any] = {"network": space.network, "resize": space.resize, "n_generated": len(generated)}
    against = {**shared, "n_reference": len(space.reference), "reference": space.digest}
    scores: dict[str, SetScore] = {}

    def put(metric: str, estimate: Estimate, definition: str, better: Better, about: dict[str, Any]) -> None:
        scores[metric] = SetScore(estimate, SetProtocol(metric=metric, definition=definition, better=better, **about))

    reference, seed = space.reference, space.seed
    put("FD", frechet_estimate(generated, reference, seed=seed), "squared Fréchet distance of features, float64, biased upward by "
        "about c / n; jackknife over 10 groups", "lower", against)  # fmt: skip
    put("FD, n to infinity", Estimate(extrapolated_frechet(generated, reference, seed=seed)), "intercept of the line through FD of subsets "
        "over 1 / n", "lower", against)  # fmt: skip
    put("KD", kernel_estimate(generated, reference, seed=seed), f"unbiased squared MMD, kernel {KERNEL}, mean of 100 subsets of 1000 or "
        "all; jackknife over 10 groups", "lower", against)  # fmt: skip
    k = space.neighbours
    if min(len(generated), len(reference)) > k:
        found = manifolds(generated, reference, k)
        ball = f"balls that reach each member's neighbour number {k}"
        put(
            "precision",
            mean_estimate(found.precise),
            f"share of generated pictures inside the reference's {ball}; bootstrap over pictures",
            "higher",
            against,
        )
        put(
            "recall",
            mean_estimate(found.recalled),
            "share of reference pictures inside the generated set's balls; bootstrap over pictures",
            "higher",
            against,
        )
        put(
            "density",
            mean_estimate(found.density),
            f"reference balls that hold a generated picture, mean over these, over {k}; bootstrap over pictures",
            "one",
            against,
        )
        put(
            "coverage",
            mean_estimate(found.covered),
            "share of reference balls that hold a generated picture; bootstrap over pictures",
            "higher",
            against,
        )
    if logits is not None:
        about = {**shared, "network": classifier}
        put("IS", inception_score(logits), f"exp mean KL(p(y|x) || p(y)), one split, at most {logits.shape[1]}", "higher", about)
    return scores


def small_set_note(count: int, width: int) -> tuple[str, ...]:
    """What to say of a Fréchet distance with few pictures for the number of features."""
    if count >= 4 * width:
        return ()
    return (f"{count} pictures are few for {width} features: FD is mostly bias; read KD, and FD at n to infinity with care.",)


def _cell(score: SetScore | None) -> str:
    if score is None or math.isnan(score.estimate.value):
        return "-"
    digits = _DIGITS.get(score.protocol.metric, 3)
    text = f"{score.estimate.value:.{digits}f}"
    if score.estimate.interval is not None:
        text += "\n[dim](" + ", ".join(f"{bound:.{digits}f}" for bound in score.estimate.interval) + ")[/dim]"
    return text


def _plain(estimate: Estimate) -> dict[str, Any]:
    numbers: Sequence[float] = estimate.interval or ()
    return {"value": estimate.value if math.isfinite(estimate.value) else None, "interval": list(numbers) or None}
