"""How a network wants its metadata: which fields, in which order, on which scale, and what stands for unknown.

A schema is data, kept in a model's config. The published ones repeat what the released weights were trained with; ``earthgen`` is ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from ..errors import InputError
from .metadata import Metadata
from .place import cartesian

Sinusoid = Literal["cos_sin", "interleaved", "octaves"]
Head = Literal["mlp", "linear", "network"]
Null = Literal["learned", "value"]

_Values = tuple[float, ...]
_Source = Callable[[Metadata], "float | _Values | None"]


def _turn(share: float) -> _Values:
    return math.sin(2.0 * math.pi * share), math.cos(2.0 * math.pi * share)


def _month_turn(data: Metadata) -> _Values | None:
    return None if data.month is None else _turn((data.month - 1) / 12.0)


def _day_turn(data: Metadata) -> _Values | None:
    return None if data.day_of_year is None else _turn((data.day_of_year - 1) / 365.25)


def _unit_vector(data: Metadata) -> _Values | None:
    if data.lon is None or data.lat is None:
        return None
    return tuple(cartesian(torch.tensor([data.lon, data.lat], dtype=torch.float64)).tolist())


_SOURCES: dict[str, tuple[_Source, tuple[str, ...]]] = {
    "lon": (lambda data: data.lon, ("lon",)),
    "lat": (lambda data: data.lat, ("lat",)),
    "gsd": (lambda data: data.metres, ("gsd",)),
    "log2_gsd": (lambda data: None if data.metres is None else math.log2(data.metres), ("log2_gsd",)),
    "zoom_level": (lambda data: data.level, ("zoom_level",)),
    "cloud_cover": (lambda data: data.cloud_cover, ("cloud_cover",)),
    "year": (lambda data: data.year, ("year",)),
    "month": (lambda data: data.month, ("month",)),
    "day": (lambda data: data.day, ("day",)),
    "month_cycle": (_month_turn, ("month_sin", "month_cos")),
    "day_cycle": (_day_turn, ("day_sin", "day_cos")),
    "place": (_unit_vector, ("place_x", "place_y", "place_z")),
    "temperature": (lambda data: data.temperature, ("temperature",)),
    "precipitation": (lambda data: data.precipitation, ("precipitation",)),
    "radiation": (lambda data: data.radiation, ("radiation",)),
}


class FieldSchema(BaseModel):
    """One field of a network's metadata. The network sees ``(natural + offset) * scale``.

    Attributes:
        name: What is read; one of the names that `MetadataSchema` knows.
        offset: Added to the natural value.
        scale: Factor after it.
        low: Smallest natural value that the network knows; None for any.
        high: Largest one.
        null: What stands for unknown: a ``learned`` vector in place of the embedding, or a ``value`` before the embedding.
        null_value: That value, in the network's range.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    offset: float = 0.0
    scale: float = 1.0
    low: float | None = None
    high: float | None = None
    null: Null = "value"
    null_value: float = 0.0

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of its columns: three for a place, two for a cycle, else one."""
        return _SOURCES[self.name][1]

    def to_network(self, natural: float) -> float:
        """A natural value in the network's range."""
        return (natural + self.offset) * self.scale

    def read(self, data: Metadata) -> _Values | None:
        """The columns of a picture in the network's range, or None where unknown.

        Raises:
            InputError: If the value lies outside what the network knows.
        """
        found = _SOURCES[self.name][0](data)
        if found is None:
            return None
        values = found if isinstance(found, tuple) else (float(found),)
        if (self.low is not None and min(values) < self.low) or (self.high is not None and max(values) > self.high):
            raise InputError(
                f"{self.name} is {values[0]:g}; the model knows {self.low} to {self.high}, so give such a value or leave it out"
            )
        return tuple(self.to_network(value) for value in values)


class MetadataSchema(BaseModel):
    """The metadata of a network.

    Attributes:
        name: Of the schema.
        fields: In the network's order.
        sinusoid: How a column becomes a vector: 160 cosines and 160 sines for `dim` = 320 (``cos_sin``), the same numbers as sine, cosine,
            sine, ... (``interleaved``), or the column itself with sines and cosines of 1, 2, 4, ... half-turns (``octaves``).
        dim: Width of that vector; odd for ``octaves``.
        head: What follows for each field: two linear layers with SiLU between (``mlp``), one (``linear``), or what the denoiser has in
            itself (``network``).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    fields: tuple[FieldSchema, ...]
    sinusoid: Sinusoid = "cos_sin"
    dim: int = 320
    head: Head = "mlp"

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the fields."""
        return tuple(field.name for field in self.fields)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of `encode`, field after field."""
        return tuple(column for field in self.fields for column in field.columns)

    @property
    def spans(self) -> tuple[slice, ...]:
        """The columns of each field."""
        spans, at = [], 0
        for field in self.fields:
            spans.append(slice(at, at + len(field.columns)))
            at += len(field.columns)
        return tuple(spans)

    def nulls(self) -> Tensor:
        """What stands in the columns of unknown fields, ``[F]`` float32; 0 where the null is learned."""
        return torch.tensor([field.null_value if field.null == "value" else 0.0 for field in self.fields for _ in field.columns])

    def encode(self, pictures: Sequence[Metadata]) -> tuple[Tensor, Tensor]:
        """Metadata as numbers.

        Args:
            pictures: One entry each; fields that the schema does not have are not read.

        Returns:
            Values ``[B, F]`` float32 in the network's range, with `nulls` where unknown, and whether they are known, ``[B, F]`` bool. F
            counts columns: those of one field are known or unknown together.

        Raises:
            InputError: If a value lies outside what the network knows.
        """
        values = self.nulls().repeat(len(pictures), 1)
        known = torch.zeros(values.shape, dtype=torch.bool)
        for row, data in enumerate(pictures):
            for field, span in zip(self.fields, self.spans, strict=True):
                found = field.read(data)
                if found is not None:
                    values[row, span] = torch.tensor(found)
                    known[row, span] = True
        return values, known

    def keep(self, known: Tensor, kept: Tensor) -> Tensor:
        """Make fields unknown.

        Args:
            known: ``[B, F]`` bool, from `encode`.
            kept: ``[B, number of fields]`` bool.

        Returns:
            ``[B, F]`` bool: known and kept.
        """
        widths = torch.tensor([len(field.columns) for field in self.fields], device=kept.device)
        return known & kept.repeat_interleave(widths, dim=1)

    def unread(self, data: Metadata) -> tuple[str, ...]:
        """What is known but has no place in this schema, by the names of `Metadata`."""
        read = {part for field in self.fields for part in _READS.get(field.name, (field.name,))}
        return tuple(name for name, value in data if value is not None and name not in read)


_READS = {
    "gsd": ("gsd", "zoom_level"), "log2_gsd": ("gsd", "zoom_level"), "zoom_level": ("gsd", "zoom_level", "lat"), "year": ("date",),
    "month": ("date",), "day": ("date",), "month_cycle": ("date",), "day_cycle": ("date",), "place": ("lon", "lat"),
}  # fmt: skip


def _range(name: str, low: float, high: float, unknown: float | None = None, *, strict: bool = False) -> FieldSchema:
    """``low`` to ``high`` as 0 to 1000; `unknown` is a natural value, or None for 0 in the network's range; `strict`: no others."""
    least, most = (low, high) if strict else (None, None)
    field = FieldSchema(name=name, offset=-low, scale=1000.0 / (high - low), low=least, high=most)
    return field if unknown is None else field.model_copy(update={"null_value": field.to_network(unknown)})


def _diffusionsat(name: str, gsd: float, *more: FieldSchema) -> MetadataSchema:
    """Fields of DiffusionSat; `gsd` metres are 1000."""
    fields = (
        _range("lon", -180, 180), _range("lat", -90, 90), _range("gsd", 0, gsd), _range("cloud_cover", 0, 1),
        _range("year", 1980, 2100, strict=True), _range("month", 0, 12), _range("day", 0, 31), *more,
    )  # fmt: skip
    return MetadataSchema(name=name, fields=fields)


@cache
def _presets() -> dict[str, MetadataSchema]:
    learned: dict[str, Any] = {"null": "learned"}
    ours = (
        FieldSchema(name="log2_gsd", offset=-3.0, scale=1.0 / 7.0, low=-5.0, high=12.0, **learned),
        FieldSchema(name="month_cycle", **learned),
        FieldSchema(name="day_cycle", **learned),
        FieldSchema(name="year", offset=-2000.0, scale=1.0 / 40.0, low=1900.0, high=2100.0, **learned),
        FieldSchema(name="cloud_cover", offset=-0.5, scale=2.0, **learned),
        FieldSchema(name="place", **learned),
    )
    level = FieldSchema(name="zoom_level", low=9.5, high=18.5)
    # No null was trained; what the published demo fills in stands for unknown: 2015-12-31, 0 m, no cloud, 0 N 0 E.
    crs = (
        _range("year", 1980, 2024, 2015, strict=True), _range("month", 0, 12, 12), _range("day", 0, 31, 31),
        _range("gsd", 0, 5, 0, strict=True), _range("cloud_cover", 0, 1, 0), _range("lat", -90, 90, 0), _range("lon", -180, 180, 0),
    )  # fmt: skip
    climate = (
        _range("temperature", -60, 60, strict=True), _range("precipitation", 0, 120), _range("radiation", 0, 40),
    )  # fmt: skip
    return {
        "earthgen": MetadataSchema(name="earthgen", fields=ours, sinusoid="octaves", dim=9),
        "text2earth": MetadataSchema(name="text2earth", fields=(level,), head="network"),
        "diffusionsat": _diffusionsat("diffusionsat", 1.0),
        "ecomapper": _diffusionsat("ecomapper", 10.0, *climate),
        "crs-diff": MetadataSchema(name="crs-diff", fields=crs, sinusoid="interleaved", head="linear"),
    }


def schema(given: str | Mapping[str, Any] | MetadataSchema) -> MetadataSchema:
    """A schema by its name, or from the JSON of a model's config.

    Args:
        given: ``earthgen``, ``text2earth``, ``diffusionsat``, ``ecomapper``, ``crs-diff``, or what ``model_dump(mode="json")`` gave.

    Raises:
        InputError: If there is no such schema, or the JSON is none.
    """
    if isinstance(given, MetadataSchema):
        return given
    if isinstance(given, str):
        if given not in _presets():
            raise InputError(f"there is no metadata schema {given!r}; choose one of {', '.join(_presets())}")
        return _presets()[given]
    try:
        found = MetadataSchema.model_validate(dict(given))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(f"the model's metadata schema is damaged ({where}: {first['msg']}); copy the model again") from error
    strange = [field.name for field in found.fields if field.name not in _SOURCES]
    if strange:
        raise InputError(f"the model's metadata schema has a field {strange[0]!r}; this version knows {', '.join(_SOURCES)}, so update it")
    return found
