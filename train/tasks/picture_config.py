"""The part of a recipe that says which described pictures a task draws its crops from."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from ...gen.data.described_crops import DescribedSource


class PictureConfig(BaseModel):
    """Sources, and how crops are cut."""

    model_config = ConfigDict(extra="forbid")

    sources: list[DescribedSource] = Field(min_length=1)
    """Their pictures are divided by place into training, validation and test (`gen.data.splits`)."""
    size: int = Field(64, ge=16)
    """Side of a crop in pixels."""
    reductions: list[Annotated[int, Field(ge=1)]] = Field(default=[1], min_length=1)
    """How many pixels per axis may be averaged into one, drawn anew for each crop; the ground sampling distance grows with it."""
