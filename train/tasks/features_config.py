"""The part of a recipe that describes training a feature network."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from ...gen.data.labelled import LabelledSource


class FeaturesConfig(BaseModel):
    """Network, pictures and what is read from them."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["features"] = "features"
    sources: list[LabelledSource] = Field(min_length=1)
    """Training takes the places that `splits` gives to it, evaluation the others."""
    classes: dict[str, list[str]] = Field(min_length=2)
    """Name of a scene class to the collections' words for it; pictures with other words teach everything but the class."""
    crop: int = Field(64, ge=32, multiple_of=4)
    """Side of what the network sees in training."""
    zoom: float = Field(4.0, ge=1)
    """Largest reduction of a picture, which makes its ground sampling distance coarser."""
    gain: tuple[float, float] = (0.75, 1.3)
    gamma: tuple[float, float] = (0.85, 1.2)
    model: dict[str, Any] = Field(default_factory=dict)
    """Configuration of `FeatureNet` without classes and covers."""
    weights: dict[str, float] = Field(default={"class": 1.0, "month": 1.0, "gsd": 1.0, "cover": 1.0, "zoom": 1.0})
    """Of the five terms of the loss."""

    @field_validator("weights")
    @classmethod
    def _known_terms(cls, weights: dict[str, float]) -> dict[str, float]:
        unknown = sorted(weights.keys() - {"class", "month", "gsd", "cover", "zoom"})
        if unknown:
            raise ValueError(f"there is no term {unknown[0]!r}; the terms are class, month, gsd, cover and zoom")
        return weights

    @field_validator("classes")
    @classmethod
    def _each_word_once(cls, classes: dict[str, list[str]]) -> dict[str, list[str]]:
        words = [word for spellings in classes.values() for word in spellings]
        twice = sorted({word for word in words if words.count(word) > 1})
        if twice:
            raise ValueError(f"the class word {twice[0]!r} stands for two classes; name each word once")
        return classes
