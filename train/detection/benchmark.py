"""The experiment: every arm on every training subset with every seed, equal steps for all, one small file for each finished run.

The unit of replication is the training subset, with everything made from it. A run whose file exists is not repeated, so a stopped
experiment goes on where it was. Another generator wants another folder, or other names of its arms: what its pictures were is not checked.
"""

from __future__ import annotations

import hashlib
import json
import logging
import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch

from ...gen.data.atomic import write_json
from ...gen.errors import InputError
from ...metrics.detection import average_precision
from .arms import Arm, Source, pools_of
from .places import DetectionSets
from .samples import Sample
from .training import DetectorTraining, Pool, detect, train_on_pools

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """Sizes of an experiment.

    Attributes:
        subsets: Training subsets that are used.
        seeds: Detector seeds for each.
        count: Synthetic pictures for each subset and source.
        share: Of a batch that is synthetic, 0 to 1.
        training: Of the detector.
        validate: Whether to measure on the validation places instead of the test places, to choose numbers.
    """

    subsets: int = 3
    seeds: int = 3
    count: int = 128
    share: float = 0.5
    training: DetectorTraining = field(default_factory=DetectorTraining)
    validate: bool = False

    @classmethod
    def smoke(cls) -> Plan:
        """It shows that everything runs, not that data help: one subset, one seed, few steps."""
        return cls(subsets=1, seeds=1, count=32, training=DetectorTraining(steps=100))


@dataclass(frozen=True)
class Job:
    """One training run.

    Attributes:
        arm: Which row.
        subset: Training subset.
        seed: Of the detector.
    """

    arm: Arm
    subset: int
    seed: int

    @property
    def file(self) -> str:
        """Name of its record."""
        words = "".join(letter if letter.isalnum() else "-" for letter in self.arm.name)
        return f"{words}.{hashlib.sha256(self.arm.name.encode()).hexdigest()[:6]}.subset{self.subset}.seed{self.seed}.json"


def run_benchmark(
    sets: DetectionSets, arms: Sequence[Arm], sources: Mapping[str, Source], folder: Path, plan: Plan | None = None, processes: int = 1
) -> list[dict[str, Any]]:
    """Run what is not there yet.

    Args:
        sets: Real pictures.
        arms: Rows of the table.
        sources: Of synthetic pictures, by name; each is asked once for a subset.
        folder: Where records are kept, one for each run; made if missing.
        plan: Sizes.
        processes: That train at the same time, each on one thread; the sources are asked in this one.

    Returns:
        All records of this experiment, in the order of subsets, seeds and arms.

    Raises:
        InputError: If there are fewer subsets than planned, a source fails, or the folder holds runs of another experiment.
    """
    how = plan or Plan()
    if how.subsets > len(sets.subsets):
        raise InputError(f"the plan has {how.subsets} training subsets, the data {len(sets.subsets)}; plan fewer, or label more places")
    folder.mkdir(parents=True, exist_ok=True)
    _same_experiment(folder, sets, how)
    jobs = [Job(arm, subset, seed) for subset in range(how.subsets) for seed in range(how.seeds) for arm in arms]
    open_jobs = [job for job in jobs if not (folder / job.file).is_file()]
    cached = _Cached(sources)
    work = [(job, pools_of(job.arm, sets, job.subset, cached.sources, how.count, how.share)) for job in open_jobs]
    goal = sets.validation if how.validate else sets.test
    for done, job in enumerate(_runs(work, sets, goal, how, folder, processes), 1):
        _log.info("run %d of %d: %s, subset %d, seed %d", done, len(open_jobs), job.arm.name, job.subset, job.seed)
    return [json.loads((folder / job.file).read_text(encoding="utf-8")) for job in jobs]


def run_job(
    job: Job, pools: Sequence[Pool], names: Sequence[str], horizontal: Sequence[str], goal: Sequence[Sample], how: Plan
) -> dict[str, Any]:
    """Train one detector and measure it.

    Args:
        job: Which run.
        pools: Its pictures.
        names: Classes.
        horizontal: Those whose boxes lie along the axes.
        goal: Pictures to measure on.
        how: Sizes.

    Returns:
        The record: arm, subset, seed, AP50, AP75, mAP, by class, seconds.
    """
    start = perf_counter()
    steps = round(how.training.steps * job.arm.steps)
    net = train_on_pools(pools, names, steps, job.seed, horizontal=horizontal, training=how.training)
    trained = perf_counter()
    scores = average_precision([layout for _, layout in goal], detect(net, [picture for picture, _ in goal]), names)
    by_class = {name: [None if np.isnan(v) else round(float(v), 6) for v in row] for name, row in zip(names, scores.table, strict=True)}
    return {
        "arm": job.arm.name,
        "subset": job.subset,
        "seed": job.seed,
        "ap50": scores.ap50,
        "ap75": scores.ap75,
        "map": scores.mean,
        "ap_by_class": by_class,
        "steps": steps,
        "pictures": [len(pool.samples) for pool in pools],
        "seconds": round(trained - start, 2),
    }


class _Cached:
    """Sources that are asked once for a subset: seeds and mixtures share the pictures."""

    def __init__(self, sources: Mapping[str, Source]) -> None:
        self._made: dict[tuple[str, int, int], list[Sample]] = {}
        self.sources: dict[str, Source] = {name: self._remembering(name, source) for name, source in sources.items()}

    def _remembering(self, name: str, source: Source) -> Source:
        def give(subset: int, count: int) -> list[Sample]:
            key = (name, subset, count)
            if key not in self._made:
                self._made[key] = list(source(subset, count))
            return self._made[key]

        return give


def _runs(
    work: Sequence[tuple[Job, Sequence[Pool]]], sets: DetectionSets, goal: Sequence[Sample], how: Plan, folder: Path, processes: int
) -> Iterator[Job]:
    if processes <= 1:
        for job, pools in work:
            write_json(folder / job.file, run_job(job, pools, sets.names, sets.horizontal, goal, how))
            yield job
        return
    context = multiprocessing.get_context("spawn")  # a fork would inherit the thread pools of torch in an unknown state
    with ProcessPoolExecutor(processes, mp_context=context, initializer=_one_thread) as executor:
        waiting = {executor.submit(run_job, job, pools, sets.names, sets.horizontal, goal, how): job for job, pools in work}
        try:
            for future in as_completed(waiting):
                write_json(folder / waiting[future].file, future.result())
                yield waiting[future]
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            raise


def _one_thread() -> None:
    torch.set_num_threads(1)


def _same_experiment(folder: Path, sets: DetectionSets, how: Plan) -> None:
    digest = hashlib.sha256()
    for part in (*sets.subsets, sets.more, sets.validation, sets.test):
        for picture, layout in part:
            digest.update(np.ascontiguousarray(picture).tobytes())
            digest.update(layout.quads.tobytes())
            digest.update("\0".join(layout.names).encode())
    sizes = {key: value for key, value in asdict(how).items() if key not in ("subsets", "seeds")}  # more of these is the same experiment
    wanted = json.loads(json.dumps({"pictures": digest.hexdigest(), "classes": list(sets.names), **sizes}))
    path = folder / "experiment.json"
    if path.is_file():
        found = json.loads(path.read_text(encoding="utf-8"))
        other = sorted(key for key in wanted if found.get(key) != wanted[key])
        if other:
            raise InputError(f"{folder} holds runs of an experiment with other {', '.join(other)}; choose another folder for this one")
    else:
        write_json(path, wanted)
