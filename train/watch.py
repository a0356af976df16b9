"""Everything that a run shows while it goes on: its log, pictures, and the trackers of others (TensorBoard, Weights & Biases).

``log.jsonl`` is always written and is the record; trackers get the same figures, at the same samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator
from PIL import Image

from ..gen.data.atomic import atomic_path, write_text
from .journal import Journal
from .recipe import Recipe, dump_recipe

_NAMED = 20  # names of replaced samples in one line of the log


class Watch:
    """The log, the pictures and the trackers of one run; only the first process writes.

    Attributes:
        journal: The log file.
    """

    def __init__(self, recipe: Recipe, folder: Path, accelerator: Accelerator) -> None:
        """Remember where to write; nothing is touched yet."""
        self.recipe, self.folder, self.accelerator = recipe, folder, accelerator
        self.main: bool = accelerator.is_main_process
        self.journal = Journal(folder / "log.jsonl", self.main)
        self._replaced: list[str] = []
        self._tracking = False

    def open(self, samples: int) -> None:
        """Begin, or go on at ``samples``, with the trackers that the recipe names."""
        if not self.recipe.trackers or self._tracking:
            return
        options = {
            "tensorboard": {"purge_step": samples + 1},
            "wandb": {"id": self._identity(), "resume": "allow", "dir": str(self.folder)},
        }
        chosen = {name: options[name] for name in self.recipe.trackers}
        self.accelerator.init_trackers(self.recipe.name, _flat(dump_recipe(self.recipe)), chosen)
        self._tracking = True

    def close(self) -> None:
        """Let the trackers finish their files."""
        if self._tracking:
            self.accelerator.end_training()
            self._tracking = False

    def figures(self, samples: int, seconds: float, figures: Mapping[str, float], kind: str = "") -> None:
        """Write figures down.

        Args:
            samples: Samples seen.
            seconds: Time spent training.
            figures: By name.
            kind: ``evaluation`` or ``probes`` puts them under that name; empty for the loss and what goes with it.
        """
        self.journal.write(samples, seconds, {kind: figures} if kind else figures)
        if self._tracking:
            prefix = f"{kind or 'train'}/"
            self.accelerator.log({f"{prefix}{name}": value for name, value in figures.items()}, step=samples)

    def pictures(self, samples: int, pictures: Mapping[str, np.ndarray[Any, np.dtype[np.uint8]]]) -> None:
        """Keep sample pictures as ``pictures/<samples>-<name>.png``, and hand them to the trackers.

        Args:
            samples: Samples seen.
            pictures: ``[H, W, 3]`` each, by name.
        """
        if not self.main:
            return
        for name, pixels in pictures.items():
            target = self.folder / "pictures" / f"{samples:012d}-{name}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(target) as partial:
                Image.fromarray(pixels).save(partial, format="PNG")
        if self._tracking:
            for tracker in self.accelerator.trackers:
                order = {"dataformats": "NHWC"} if tracker.name == "tensorboard" else {}
                tracker.log_images({name: pixels[None] for name, pixels in pictures.items()}, step=samples, **order)

    def replaced(self, names: Iterable[str]) -> None:
        """Note samples that could not be read and were replaced; `report_replaced` writes them down."""
        self._replaced.extend(names)

    def report_replaced(self, samples: int, seconds: float, count: int) -> None:
        """Say which samples of this process were replaced since the last report, and how many of all processes so far."""
        if not self._replaced:
            return
        named = ", ".join(self._replaced[:_NAMED]) + (f" and {len(self._replaced) - _NAMED} more" if len(self._replaced) > _NAMED else "")
        self.notice(samples, seconds, f"could not be read and were replaced by others: {named}; {count} samples replaced in all")
        self._replaced.clear()

    def notice(self, samples: int, seconds: float, sentence: str) -> None:
        """Tell the person at the terminal, and write it down."""
        self.journal.notice(samples, seconds, sentence)

    def _identity(self) -> str:
        """The name under which a tracker's server knows this run, also after it was taken up again."""
        path = self.folder / "tracker-id"
        if not path.is_file() and self.main:
            import secrets

            write_text(path, secrets.token_hex(4))
        return path.read_text(encoding="utf-8").strip() if path.is_file() else ""


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, str | float | int | bool]:
    """Dotted names and plain values, which is all that TensorBoard's settings page takes."""
    flat: dict[str, str | float | int | bool] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value if isinstance(value, str | float | int | bool) else str(value)
    return flat
