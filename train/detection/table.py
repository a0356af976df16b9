"""The experiment's table: each arm against the real pictures alone, run by run, with intervals over subsets and seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...gen.data.atomic import write_json, write_text
from ...gen.errors import InputError

Floats = NDArray[np.float64]
MEASURES = ("ap50", "ap75", "map")
_TITLES = {"ap50": "AP50", "ap75": "AP75", "map": "mAP"}


@dataclass(frozen=True)
class Difference:
    """How much one arm is above another.

    Attributes:
        mean: Over subsets and seeds.
        low: Lower end of the 95 % interval.
        high: Upper end.
        above: Runs in which the difference is above 0.
        runs: Pairs of runs.
    """

    mean: float
    low: float
    high: float
    above: int
    runs: int

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


def paired_difference(records: Sequence[Mapping[str, Any]], arm: str, against: str, measure: str, resamples: int = 4000) -> Difference:
    """Difference of runs on the same subset with the same seed.

    The interval resamples subsets, then seeds within each, so that runs of one subset do not count as independent of each other. With the
    three subsets of the usual plan it is a coarse one: read it beside the number of runs above 0.

    Args:
        records: Of `run_benchmark`.
        arm: The one of interest.
        against: The other.
        measure: ``"ap50"``, ``"ap75"`` or ``"map"``.
        resamples: Of the bootstrap.

    Raises:
        InputError: If the two arms have no pair of runs.
    """
    table = paired_table(records, arm, against, measure)
    values = np.concatenate(table)
    rng = np.random.default_rng(0)
    means = np.empty(resamples)
    for number in range(resamples):
        chosen = [table[i] for i in rng.integers(len(table), size=len(table))]
        means[number] = np.mean([part[rng.integers(len(part), size=len(part))].mean() for part in chosen])
    low, high = np.quantile(means, [0.025, 0.975])
    mean = float(np.mean([part.mean() for part in table]))
    return Difference(mean, float(low), float(high), int((values > 0).sum()), len(values))


def paired_table(records: Sequence[Mapping[str, Any]], arm: str, against: str, measure: str) -> list[Floats]:
    """Differences by subset, one for each seed that both arms have.

    Raises:
        InputError: If there is none.
    """
    by_run = {(one["arm"], one["subset"], one["seed"]): float(one[measure]) for one in records}
    subsets: dict[int, list[float]] = {}
    for (name, subset, seed), value in sorted(by_run.items()):
        if name == arm and (against, subset, seed) in by_run:
            subsets.setdefault(subset, []).append(value - by_run[against, subset, seed])
    if not subsets:
        raise InputError(f"the arms {arm!r} and {against!r} have no run on the same subset and seed; run both")
    return [np.array(values) for values in subsets.values()]


def summary(records: Sequence[Mapping[str, Any]], baseline: str = "real", pairs: Sequence[tuple[str, str]] = ()) -> dict[str, Any]:
    """Everything that the table shows, as plain values.

    Args:
        records: Of `run_benchmark`.
        baseline: Arm that the others are held against.
        pairs: Further comparisons, arm and other.

    Raises:
        InputError: If there is no record.
    """
    if not records:
        raise InputError("there is no finished run to make a table of; run the benchmark first")
    arms = list(dict.fromkeys(one["arm"] for one in records))
    rows = []
    for arm in arms:
        mine = [one for one in records if one["arm"] == arm]
        row: dict[str, Any] = {"arm": arm, "runs": len(mine), "steps": mine[0]["steps"], "pictures": mine[0]["pictures"]}
        for measure in MEASURES:
            values = np.array([float(one[measure]) for one in mine])
            row[measure] = {"mean": float(values.mean()), "sd": float(values.std(ddof=1)) if len(values) > 1 else 0.0}
        if arm != baseline and baseline in arms:
            row["difference"] = {measure: vars(paired_difference(records, arm, baseline, measure)) for measure in MEASURES}
        rows.append(row)
    compared = [
        {"arm": arm, "against": other, **{m: vars(paired_difference(records, arm, other, m)) for m in MEASURES}}
        for arm, other in pairs
        if arm in arms and other in arms
    ]
    return {"baseline": baseline, "rows": rows, "pairs": compared, "verdict": verdict(rows), "records": [dict(one) for one in records]}


def verdict(rows: Sequence[Mapping[str, Any]]) -> dict[str, bool | None]:
    """Whether the instrument works: the oracle is clearly above the baseline, shuffled labels below it (at AP50). None where not run.

    Args:
        rows: Of `summary`.
    """
    found: dict[str, bool | None] = {"oracle_wins": None, "shuffled_labels_hurt": None}
    for row in rows:
        difference = row.get("difference", {}).get("ap50")
        if difference and row["arm"] == "oracle":
            found["oracle_wins"] = bool(difference["low"] > 0)
        if difference and "shuffled" in row["arm"]:
            found["shuffled_labels_hurt"] = bool(difference["high"] < 0)
    return found


def markdown(made: Mapping[str, Any], protocol: str = "") -> str:
    """The table for people.

    Args:
        made: Of `summary`.
        protocol: A sentence on how it was measured.
    """
    lines = [protocol, ""] if protocol else []
    lines += [
        f"| arm | AP50 | AP75 | mAP | AP50 against {made['baseline']} | AP75 against {made['baseline']} |",
        "|---|---|---|---|---|---|",
    ]
    for row in made["rows"]:
        scores = " | ".join(f"{row[m]['mean']:.3f} ± {row[m]['sd']:.3f}" for m in MEASURES)
        differences = row.get("difference")
        told = " | ".join(_told(differences[m]) for m in ("ap50", "ap75")) if differences else "- | -"
        lines.append(f"| {row['arm']} | {scores} | {told} |")
    for pair in made["pairs"]:
        figures = ", ".join(f"{_TITLES[m]} {_told(pair[m])}" for m in MEASURES)
        lines += ["", f"{pair['arm']} against {pair['against']}: {figures}."]
    lines += [
        "",
        "Differences pair runs of the same subset and seed: mean [95 % interval over subsets, then seeds] runs above 0.",
    ]
    for key, title in (("oracle_wins", "the oracle wins"), ("shuffled_labels_hurt", "shuffled labels hurt")):
        state = made["verdict"][key]
        lines.append(f"The instrument's check that {title}: {'not run' if state is None else 'passed' if state else 'FAILED'}.")
    return "\n".join(lines) + "\n"


def write_table(
    records: Sequence[Mapping[str, Any]], folder: Path, protocol: str = "", pairs: Sequence[tuple[str, str]] = ()
) -> dict[str, Any]:
    """Write table.json and table.md.

    Args:
        records: Of `run_benchmark`.
        folder: Where to; it must exist.
        protocol: A sentence on how it was measured.
        pairs: Further comparisons.

    Returns:
        What `summary` makes.
    """
    made = {"protocol": protocol, **summary(records, pairs=pairs)}
    write_json(folder / "table.json", made)
    write_text(folder / "table.md", markdown(made, protocol))
    return made


def _told(difference: Mapping[str, Any]) -> str:
    return f"{difference['mean']:+.3f} [{difference['low']:+.3f}, {difference['high']:+.3f}] {difference['above']}/{difference['runs']}"
