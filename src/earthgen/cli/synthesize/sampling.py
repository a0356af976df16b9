"""Pictures from layouts that the prior draws: from nothing, or painted into real ones."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...gen.annotations.box import Box, Layout
from ...gen.annotations.geometry import rotated_iou
from ...gen.annotations.priors import load_prior
from ...gen.annotations.priors.prior import LayoutPrior
from ...gen.errors import InputError
from ...pipelines.layout import LayoutToImagePipeline
from .project import Project
from .real import places_of, squares_of
from .records import read_record, write_record

Progress = Callable[[int, int], None]


class Sampler:
    """Makes the pictures of a project; picture i depends on the seed and i alone.

    Attributes:
        pipeline: The generator.
    """

    def __init__(self, project: Project, pipeline: LayoutToImagePipeline, seed: int, mode: str, prompt: str, steps: int | None) -> None:
        """Read what is needed.

        Args:
            project: With a prior.
            pipeline: The generator.
            seed: Of the project's pictures.
            mode: ``generate``: whole pictures; ``insert``: new objects painted into real training squares; ``mixed``: in turn.
            prompt: Told the model.
            steps: Of the sampler; the model's own if None.

        Raises:
            InputError: If the mode is none, or the model does not know a class.
        """
        if mode not in ("generate", "insert", "mixed"):
            raise InputError(f"--mode is {mode!r}; it is generate, insert or mixed")
        missing = [name for name in project.settings.names if name not in pipeline.names]
        if missing:
            raise InputError(
                f"the model {pipeline.name} cannot paint {', '.join(missing)}; it knows {', '.join(pipeline.names)}: rename the classes "
                "with fit-prior --rename, or train a model of the project's own with earthgen synthesize train"
            )
        self.project, self.pipeline, self.seed, self.mode, self.prompt, self.steps = project, pipeline, seed, mode, prompt, steps
        self.prior: LayoutPrior = load_prior(project.need(project.prior, "fit-prior"))
        self._grounds = [] if mode == "generate" else squares_of(places_of(project, held_out=False), project.settings.size, 0)
        project.samples.mkdir(exist_ok=True)

    def run(self, indices: Sequence[int], batch: int, progress: Progress | None = None) -> int:
        """Make those of the pictures that are not there.

        Args:
            indices: Their numbers.
            batch: Pictures at once.
            progress: Called with (done, all).

        Returns:
            How many were made.

        Raises:
            InputError: If one that is there was made otherwise.
        """
        wanted = [index for index in indices if not self._there(index)]
        for start in range(0, len(wanted), batch):
            chosen = wanted[start : start + batch]
            whole = [index for index in chosen if not self._inserts(index)]
            self._generate(whole)
            for index in chosen:
                if index not in whole:
                    self._insert(index)
            if progress is not None:
                progress(start + len(chosen), len(wanted))
        return len(wanted)

    def _there(self, index: int) -> bool:
        record = read_record(self.project, index)
        if record is None:
            return False
        told = self._facts(index)
        changed = [key for key, value in told.items() if record.facts.get(key) != value]
        if changed:
            raise InputError(
                f"picture {index} of {self.project.samples} was made with another {', '.join(changed)}; keep to it, choose other numbers, "
                "or delete that folder"
            )
        return record.picture(self.project).is_file()

    def _inserts(self, index: int) -> bool:
        return self.mode == "insert" or (self.mode == "mixed" and index % 2 == 1)

    def _facts(self, index: int) -> dict[str, Any]:
        return {
            "seed": self.seed + index,
            "model": self.pipeline.name,
            "digest": self.pipeline.digest,
            "steps": self.pipeline.steps_of(self.steps),
            "prompt": self.prompt,
            "layout": f"{self.prior.kind} prior" + (", inserted into a real picture" if self._inserts(index) else ""),
        }

    def _generate(self, indices: Sequence[int]) -> None:
        if not indices:
            return
        layouts = [self.prior.sample(1, self._rng(index))[0] for index in indices]
        made = self.pipeline(
            layouts, prompt=self.prompt, seed=[self.seed + index for index in indices], num_inference_steps=self.steps,
            batch_size=len(indices),
        )  # fmt: skip
        for index, image, labels in zip(indices, made.images, made.labels, strict=True):
            write_record(self.project, index, _bytes(image), labels, self._facts(index))

    def _insert(self, index: int) -> None:
        rng = self._rng(index)
        pixels, layout = self._grounds[int(rng.integers(len(self._grounds)))]
        new = _free(self.prior.sample(1, rng)[0].boxes, layout)
        facts = {**self._facts(index), "background": layout.picture}
        if not new:
            write_record(self.project, index, pixels, layout, facts)
            return
        made = self.pipeline(
            replace(layout, picture=None), background=np.moveaxis(pixels, -1, 0).astype(np.float32) / 255, insert=new, prompt=self.prompt,
            seed=self.seed + index, num_inference_steps=self.steps,
        )  # fmt: skip
        write_record(self.project, index, _bytes(made.images[0]), made.labels[0], facts)

    def _rng(self, index: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, index])


def own_share(first: int, stop: int) -> list[int]:
    """Numbers from `first` to before `stop` that this process makes; those of one that `accelerate launch` started are every n-th."""
    ranks, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    return [index for index in range(first, stop) if index % ranks == rank]


def _free(boxes: Sequence[Box], layout: Layout) -> tuple[Box, ...]:
    """New objects that do not touch what is in the picture already."""
    if not boxes or not layout.boxes:
        return tuple(boxes)
    overlap = rotated_iou(np.array([box.corners for box in boxes]), layout.quads).max(1)
    return tuple(box for box, share in zip(boxes, overlap.tolist(), strict=True) if share == 0.0)


def _bytes(image: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.ascontiguousarray(np.moveaxis(np.clip(image * 255 + 0.5, 0, 255).astype(np.uint8), 0, -1))
