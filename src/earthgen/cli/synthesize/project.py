"""The folder of one project of synthetic labels: its settings, and where each command finds what the one before it made."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...gen.data.atomic import write_json
from ...gen.errors import InputError

SETTINGS = "project.json"


class Settings(BaseModel):
    """What all commands agree on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    annotations: str
    """File or folder of real labels, absolute."""
    images: str
    """Folder of the real pictures, absolute."""
    names: tuple[str, ...] = Field(min_length=1)
    """Classes, as the model and the exports call them."""
    rename: dict[str, str] = Field(default_factory=dict)
    """From the annotations' classes to these."""
    horizontal: tuple[str, ...] = ()
    """Classes none of whose real boxes is turned."""
    size: int = Field(128, ge=32)
    """Side of the pictures in pixels."""
    scale: float = Field(1.0, gt=0, le=1)
    """Side of a pixel of the real pictures over one of the project's."""
    place: str = ""
    """Pattern whose match in a file's name is its place; the name without its ending if empty."""
    held_out: tuple[str, ...] = ()
    """Places that thresholds are calibrated on, and that nothing is trained on."""


class Project:
    """A project's folder.

    Attributes:
        folder: The folder.
        settings: As they were fixed by ``fit-prior``.
    """

    def __init__(self, folder: Path, settings: Settings) -> None:
        """Put both together; see `open` and `create`."""
        self.folder, self.settings = folder, settings

    @classmethod
    def open(cls, folder: Path) -> Project:
        """The project of a folder.

        Raises:
            InputError: If there is none, or its settings are damaged.
        """
        file = folder / SETTINGS
        if not file.is_file():
            raise InputError(f"there is no project in {folder} (no {SETTINGS}); begin with earthgen synthesize fit-prior {folder}")
        try:
            return cls(folder, Settings(**json.loads(file.read_text(encoding="utf-8"))))
        except (ValueError, TypeError, ValidationError) as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"{file} is damaged ({reason}); restore it, or begin a new project") from error

    @classmethod
    def create(cls, folder: Path, settings: Settings) -> Project:
        """Make the folder, or take up the one that was made with the same settings.

        Raises:
            InputError: If the folder holds a project of other settings, or something else.
        """
        if (folder / SETTINGS).is_file():
            found = cls.open(folder)
            changed = [key for key, value in settings.model_dump().items() if found.settings.model_dump()[key] != value]
            if changed:
                raise InputError(f"{folder} is a project with another {', '.join(changed)}; choose a new folder, so that nothing is mixed")
            return found
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InputError(f"{folder} exists and is no project; choose a new folder")
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / SETTINGS, settings.model_dump())
        return cls(folder, settings)

    @property
    def prior(self) -> Path:
        """File of the layout prior."""
        return self.folder / "prior.json"

    @property
    def model(self) -> Path:
        """Folder of the project's own model."""
        return self.folder / "runs" / "model" / "final"

    @property
    def samples(self) -> Path:
        """Folder of the pictures that were made, each with its record."""
        return self.folder / "samples"

    @property
    def verdicts(self) -> Path:
        """What the filter found, one line a picture."""
        return self.folder / "filter.jsonl"

    def need(self, path: Path, command: str) -> Path:
        """A path that an earlier command makes.

        Raises:
            InputError: If it is not there; the command is named.
        """
        if not path.exists():
            raise InputError(f"{path} is not there yet; run earthgen synthesize {command} {self.folder} first")
        return path
