"""Metadata in natural units, the published schemas' golden vectors, nulls, and the embedding."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from earthgen.gen.conditioning.metadata import Metadata
from earthgen.gen.conditioning.schemas import MetadataSchema, schema
from earthgen.gen.errors import InputError
from earthgen.gen.models.embed import MetadataEmbedding, scalar_features

GIVEN = {"lon": 76.5712666476, "lat": 28.6965307997, "gsd": 0.929417550564, "cloud_cover": 0.0765712666476, "date": "2015-02-27"}
PRESETS = ("earthgen", "text2earth", "diffusionsat", "ecomapper", "crs-diff")


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"lat": 91}, "lat is 91; a latitude is from -90 to 90"),
        ({"lon": -180.5}, "a longitude is from -180 to 180"),
        ({"gsd": 0}, "gsd is 0; .*metres per pixel above 0"),
        ({"gsd": -10}, "gsd is -10"),
        ({"gsd": float("nan")}, "gsd is nan"),
        ({"cloud_cover": 1.5}, "cloud_cover is 1.5; a cloud cover is a share from 0 to 1"),
        ({"date": "2021-13"}, "has month 13; months are from 01 to 12"),
        ({"date": "2021-02-30"}, "has day 30; that month has days 01 to 28"),
        ({"date": "yesterday"}, "'yesterday' is none; a date is text such as"),
        ({"date": "-"}, "a date is text such as"),
        ({"zoom_level": 17, "gsd": 10, "lat": 0}, "contradict each other: at latitude 0 that level has 1.19 m"),
        ({"zoom_level": 17, "gsd": 3}, "contradict each other"),
        ({"altitude": 3}, "no field 'altitude'; it has lat, lon"),
        ({"lat": "north"}, "lat is 'north'"),
    ],
)
def test_nonsense_gets_one_sentence(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        Metadata(**values)
    assert "\n" not in str(caught.value)


def test_dates_and_sizes_in_their_parts() -> None:
    assert (Metadata(date="2021").year, Metadata(date="2021").month) == (2021, None)
    assert (Metadata(date="--06").year, Metadata(date="--06").month) == (None, 6)
    assert Metadata(date="2020-12-31").day_of_year == 366
    assert Metadata(date="2021-03-01").day_of_year == 60
    assert Metadata(zoom_level=17).metres == 1.0
    assert Metadata(zoom_level=17, lat=56).metres == pytest.approx(0.6679, abs=1e-4)
    assert Metadata(gsd=2.0).level == 16.0
    assert Metadata(gsd=0.6679, lat=56.0).level == pytest.approx(17.0, abs=1e-3)
    assert Metadata(zoom_level=17, gsd=0.67, lat=56).level == 17.0  # the same thing twice


def test_the_golden_vector_of_diffusionsat() -> None:
    values, known = schema("diffusionsat").encode([Metadata(**GIVEN)])
    wanted = [712.698, 659.425, 929.418, 76.571, 291.667, 166.667, 870.968]
    assert known.all()
    assert torch.allclose(values[0], torch.tensor(wanted), atol=5e-4)
    values, known = schema("diffusionsat").encode([Metadata(gsd=10)])  # not clipped; unknown is 0 before the sinusoid
    assert values[0].tolist() == [0, 0, 10000, 0, 0, 0, 0]
    assert known[0].tolist() == [False, False, True, False, False, False, False]


def test_the_golden_vector_of_crs_diff() -> None:
    """The demo's 2015,12,31,0,0,0,0 is what stands for unknown."""
    found = schema("crs-diff")
    wanted = torch.tensor([795.4545, 1000, 1000, 0, 0, 500, 500])
    assert torch.allclose(found.encode([Metadata()])[0][0], wanted, atol=1e-3)
    natural = (2015.0, 12.0, 31.0, 0.0, 0.0, 0.0, 0.0)
    assert torch.allclose(torch.tensor([f.to_network(v) for f, v in zip(found.fields, natural, strict=True)]), wanted, atol=1e-3)
    assert torch.allclose(found.encode([Metadata(date="2015-12-31", cloud_cover=0, lat=0, lon=0)])[0][0], wanted, atol=1e-3)


def test_text2earth_takes_zoom_levels_or_metres() -> None:
    found = schema("text2earth")
    pictures = [Metadata(zoom_level=17), Metadata(gsd=2), Metadata(), Metadata(gsd=0.6678600590198089, lat=56)]
    values, known = found.encode(pictures)
    assert torch.allclose(values[:, 0], torch.tensor([17.0, 16.0, 0.0, 17.0]))
    assert known[:, 0].tolist() == [True, True, False, True]
    with pytest.raises(InputError, match=r"zoom_level is 20; the model knows 9.5 to 18.5"):
        found.encode([Metadata(zoom_level=20)])
    assert found.unread(Metadata(gsd=2, date="2021", cloud_cover=0)) == ("date", "cloud_cover")


def test_ecomapper_adds_climate() -> None:
    found = schema("ecomapper")
    values, known = found.encode([Metadata(gsd=10, temperature=0, precipitation=60, radiation=10)])
    assert len(found.names) == values.shape[1] == 10
    assert values[0, [2, 7, 8, 9]].tolist() == [1000, 500, 500, 250]
    assert known[0].tolist() == [False, False, True, False, False, False, False, True, True, True]


def test_our_schema_is_cyclic_and_continuous() -> None:
    found = schema("earthgen")
    december, january, july = (found.encode([Metadata(date=f"2021-{day}")])[0][0] for day in ("12-31", "01-01", "07-01"))
    date = slice(found.columns.index("month_sin"), found.columns.index("day_cos") + 1)
    assert (december - january)[date].norm() < 0.6 < (july - january)[date].norm()
    east, west = (found.encode([Metadata(lon=lon, lat=10)])[0][0, -3:] for lon in (179.999, -179.999))
    assert (east - west).norm() < 1e-4
    values, known = found.encode([Metadata(lat=10), Metadata(lat=10, lon=3)])
    assert not known[0, -3:].any()  # half a place is none
    assert known[1, -3:].all()
    assert values[1, -3:].norm() == pytest.approx(1.0)
    gsd = found.columns.index("log2_gsd")
    steps = torch.tensor([float(found.encode([Metadata(gsd=2.0**n)])[0][0, gsd]) for n in range(-3, 11)]).diff()
    assert torch.allclose(steps, steps[:1], atol=1e-6)


def test_sinusoids_have_the_published_layouts() -> None:
    """A double loop as CRS-Diff's, and the permutation of the spec's section 2.5 between the two layouts."""
    values = torch.tensor([795.4545, 1000.0, 0.0, 12.5])
    loop = np.zeros((4, 320))
    for row, value in enumerate(values.double().tolist()):
        for i in range(160):
            frequency = 10000.0 ** (-i / 160)
            loop[row, 2 * i], loop[row, 2 * i + 1] = math.sin(value * frequency), math.cos(value * frequency)
    interleaved = scalar_features(values, 320, "interleaved")
    assert np.abs(interleaved.numpy() - loop).max() < 2e-4  # float32 angles of up to 1000
    permutation = [*range(1, 320, 2), *range(0, 320, 2)]
    standard = scalar_features(values, 320, "cos_sin")
    assert torch.equal(interleaved[:, permutation], standard)
    weight = torch.randn(7, 320)
    assert torch.allclose(interleaved @ weight.T, standard @ weight[:, permutation].T, atol=1e-4)


@pytest.mark.parametrize(
    ("one", "other", "cosine"),
    [
        (17, 18, 0.973), (10, 18, 0.721), (0, 10, 0.677), (0, 18, 0.618),  # Text2Earth's raw levels
        (300, 500, 0.39), (0, 1000 / 360, 0.84), (300, 300 + 1000 / 120, 0.71), (0, 1000 / 12, 0.45), (0, 10, 0.68),  # DiffusionSat
    ],
)  # fmt: skip
def test_how_alike_sinusoids_are(one: float, other: float, cosine: float) -> None:
    a, b = scalar_features(torch.tensor([float(one), float(other)]), 320, "cos_sin").double()
    assert float(a @ b / (a.norm() * b.norm())) == pytest.approx(cosine, abs=0.006)


@pytest.mark.parametrize("name", PRESETS)
def test_schemas_survive_json(name: str) -> None:
    import json

    found = schema(name)
    again = schema(json.loads(json.dumps(found.model_dump(mode="json"))))
    assert again == found
    assert len(again.columns) == again.encode([Metadata()])[0].shape[1]


def test_bad_schemas_are_refused() -> None:
    with pytest.raises(InputError, match="no metadata schema 'sd'; choose one of earthgen"):
        schema("sd")
    with pytest.raises(InputError, match="damaged"):
        schema({"name": "x"})
    with pytest.raises(InputError, match="a field 'wind'"):
        schema({"name": "x", "fields": [{"name": "wind"}]})


def trained(name: str) -> MetadataEmbedding:
    torch.manual_seed(0)
    embedding = MetadataEmbedding(name, 24)
    for parameter in embedding.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return embedding


def test_published_tensors_fit_strictly() -> None:
    diffusionsat = MetadataEmbedding("diffusionsat", 1280)
    assert sum(p.numel() for p in diffusionsat.parameters()) == 14_353_920
    keys = {f"metadata_embedding.{n}.linear_{layer}.{kind}" for n in range(7) for layer in (1, 2) for kind in ("weight", "bias")}
    assert set(diffusionsat.state_dict()) == keys
    crs = MetadataEmbedding("crs-diff", 1280)
    assert sum(p.numel() for p in crs.parameters()) == 2_876_160
    assert set(crs.state_dict()) == {f"mlp_models.{n}.fc1.{kind}" for n in range(7) for kind in ("weight", "bias")}


@pytest.mark.parametrize("name", ["diffusionsat", "crs-diff"])
def test_the_embedding_is_the_sum_of_its_heads(name: str) -> None:
    embedding = trained(name)
    values, known = embedding.schema.encode([Metadata(**GIVEN), Metadata()])
    state, total = embedding.state_dict(), torch.zeros(2, 24)
    layout = embedding.schema.sinusoid
    for number in range(7):
        features = scalar_features(values[:, number], 320, layout)
        if name == "crs-diff":
            total += features @ state[f"mlp_models.{number}.fc1.weight"].T + state[f"mlp_models.{number}.fc1.bias"]
            continue
        first = features @ state[f"metadata_embedding.{number}.linear_1.weight"].T + state[f"metadata_embedding.{number}.linear_1.bias"]
        hidden = torch.nn.functional.silu(first)
        total += hidden @ state[f"metadata_embedding.{number}.linear_2.weight"].T + state[f"metadata_embedding.{number}.linear_2.bias"]
    assert torch.allclose(embedding(values, known), total, atol=1e-4)


@pytest.mark.parametrize("name", PRESETS)
def test_an_unknown_field_is_its_null_whatever_its_column_says(name: str) -> None:
    embedding = trained(name)
    found: MetadataSchema = embedding.schema
    given = {**GIVEN, "date": "2016-02-27", "temperature": 10.0, "precipitation": 3.0, "radiation": 4.0}
    values, known = found.encode([Metadata(**given)])
    for number in range(len(found.fields)):
        kept = torch.ones(1, len(found.fields), dtype=torch.bool)
        kept[0, number] = False
        dropped = embedding(values, found.keep(known, kept))
        assert torch.equal(dropped, embedding(torch.where(found.keep(known, kept), values, 1e3), found.keep(known, kept)))
        assert (dropped - embedding(values, known)).abs().max() > 1e-3
    nothing = embedding(values, torch.zeros_like(known))
    assert torch.equal(nothing, embedding(*found.encode([Metadata()])))


def test_fresh_learned_embeddings_are_zero_and_learn(tmp_path: Path) -> None:
    embedding = MetadataEmbedding("earthgen", 16)
    values, known = embedding.schema.encode([Metadata(**GIVEN), Metadata()])
    assert not embedding(values, known).any()
    embedding(values, known).sum().backward()
    assert all(head.linear_2.weight.grad.abs().sum() > 0 for head in embedding.metadata_embedding)
    assert embedding.nulls.grad.abs().sum() > 0
    embedding = trained("earthgen")
    embedding.save_pretrained(tmp_path / "m")
    again = MetadataEmbedding.from_pretrained(tmp_path / "m")
    assert again.schema == embedding.schema
    assert torch.equal(again(values, known), embedding(values, known))
