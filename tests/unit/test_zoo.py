"""Model folders: names, cards, writing whole or not at all, digests; and that the models that ship say what they are."""

from __future__ import annotations

import math
import os
import shutil
import tomllib
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from earthgen.gen.annotations.coverage import rasterize
from earthgen.gen.errors import InputError
from earthgen.gen.models.eanet import EANet
from earthgen.gen.schedulers.mean_reverting import MeanRevertingScheduler
from earthgen.gen.zoo import model_digest, read_card, resolve_model, write_model_folder, zoo_models
from earthgen.gen.zoo import names as zoo_names
from earthgen.gen.zoo.card import dump_toml
from earthgen.gen.zoo.folder import WEIGHTS, load_weights, read_config, read_index

PIPELINE = "SuperResolutionPipeline"


def network(seed: int = 0) -> EANet:
    torch.manual_seed(seed)
    model = EANet(bands=1, width=4, enc_blocks=[1], dec_blocks=[1], pool_size=16, cpem_width=4, cpem_blocks=1)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    return model


def write(folder: Path, model: EANet, **more: Any) -> Path:
    chosen = {"bands": ["B04"], "unit": "reflectance", "scale": 4, "mtf": 0.3}
    components = {"model": model, "scheduler": MeanRevertingScheduler()}
    write_model_folder(folder, **{"pipeline": PIPELINE, "components": components, "settings": chosen, "card": {"name": "x"}, **more})
    return folder


@pytest.mark.parametrize("half", [True, False])
def test_what_is_written_is_read_back(tmp_path: Path, half: bool) -> None:
    model = network()
    folder = write(tmp_path / "deep" / "model", model, half=half)
    index = read_index(folder, PIPELINE)
    assert index["bands"] == ["B04"]
    assert index["model"] == ["earthgen", "EANet"]
    assert index["scheduler"] == ["earthgen", "MeanRevertingScheduler"]
    stored = load_file(folder / "model" / WEIGHTS)
    assert {value.dtype for value in stored.values()} == {torch.float16 if half else torch.float32}
    for key, value in load_weights(folder / "model", network(1)).items():
        assert value.dtype == torch.float32
        assert torch.equal(value, model.state_dict()[key].half().float() if half else model.state_dict()[key])
    assert next(model.parameters()).dtype == torch.float32  # what was saved is left as it is


def test_an_older_model_is_replaced_and_anything_else_is_not(tmp_path: Path) -> None:
    folder = write(tmp_path / "model", network(0))
    first = model_digest(folder)
    (folder / "left-over").write_text("")
    assert model_digest(write(folder, network(1))) != first
    assert not (folder / "left-over").exists()
    assert model_digest(write(tmp_path / "other", network(0))) == first  # weights alone, not times or names
    assert len(first) == 12
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "photo.jpg").write_text("dear to me")
    with pytest.raises(InputError, match="is no model folder"):
        write(mine, network())
    assert (mine / "photo.jpg").read_text() == "dear to me"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "model", "other"]


@pytest.mark.parametrize("value", [float("nan"), 1e6])
def test_weights_that_cannot_be_stored_leave_the_old_model(tmp_path: Path, value: float) -> None:
    folder = write(tmp_path / "model", network(0))
    before, bad = model_digest(folder), network(1)
    with torch.no_grad():
        bad.ending.bias.fill_(value)
    with pytest.raises(InputError, match=r"ending\.bias is not finite or too large for half precision"):
        write(folder, bad)
    assert model_digest(folder) == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_failing_disk_leaves_the_old_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "model", network(0))
    before = model_digest(folder)

    def fail(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        write(folder, network(1))
    assert model_digest(folder) == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_names_resolve_to_paths_then_the_zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoo_names, "ZOO", tmp_path / "zoo")
    folder = write(tmp_path / "zoo" / "small", network())
    assert zoo_models() == [("small", folder)]
    assert resolve_model("zoo:small") == resolve_model(folder) == resolve_model(str(folder)) == folder
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "weights.pth").write_text("")
    for name, sentence in {
        "zoo:big": r"no model 'big' in the zoo; it has zoo:small",
        "small": r"called zoo:small",
        "nothing": r"no model 'nothing'; give a folder or one of zoo:small",
        "owner/model": r"allow the download",
        str(plain): r"has no model_index\.json",
        str(plain / "weights.pth"): r"is a file, not a folder; .*earthgen convert",
    }.items():
        with pytest.raises(InputError, match=sentence):
            resolve_model(name)


def test_the_hub_is_not_reached_unless_asked_and_fails_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked = []
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, **_: asked.append(name))
    with pytest.raises(InputError):
        resolve_model("owner/model")
    assert not asked
    monkeypatch.undo()
    with pytest.raises(InputError, match="could not be fetched from the hub"):
        resolve_model("owner/model", allow_download=True)  # the tests run offline


KEYS = st.text(min_size=1, max_size=8)
PLAIN = st.one_of(st.text(max_size=20), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.dates())
VALUES = st.recursive(PLAIN, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)), max_leaves=5)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(KEYS, VALUES, max_size=5))
def test_cards_survive_being_written(table: dict[str, Any]) -> None:
    assert tomllib.loads(dump_toml(table)) == table


def test_cards_of_all_kinds(tmp_path: Path) -> None:
    table = {
        "name": 'a "b"\n\t\\',
        "none": None,
        "when": date(2024, 5, 1),
        "data": {"sources": ["a", "b"], "deep": {"x": 1.5}},
        "empty": {},
    }
    (tmp_path / "card.toml").write_text(dump_toml(table), encoding="utf-8")
    assert read_card(tmp_path) == {key: value for key, value in table.items() if value is not None}
    assert math.isnan(tomllib.loads(dump_toml({"x": math.nan}))["x"])
    assert read_card(tmp_path / "none") == {}
    with pytest.raises(TypeError, match="Tensor"):
        dump_toml({"x": torch.zeros(1)})
    (tmp_path / "card.toml").write_text("= broken", encoding="utf-8")
    with pytest.raises(InputError, match="not valid TOML"):
        read_card(tmp_path)


def shipped(pipeline: str) -> list[str]:
    return [name for name, folder in zoo_models() if read_config(folder / "model_index.json")["_class_name"] == pipeline]


@pytest.mark.parametrize("name", [name for name, _ in zoo_models()])
def test_models_that_ship_say_what_they_are(name: str) -> None:
    card = read_card(resolve_model(f"zoo:{name}"))
    assert card["name"] == name
    assert card["licence"]
    assert card["attribution"]
    assert card["training"]["recipe"] == name
    assert card["data"]["held_out"]
    assert card["metrics"]["protocol"]


@pytest.mark.parametrize("name", shipped("EarthPipeline"))
def test_generators_that_ship_make_what_their_card_says(name: str, tmp_path: Path) -> None:
    from earthgen.pipelines.earth import EarthPipeline

    card = read_card(resolve_model(f"zoo:{name}"))
    copy = tmp_path / "copy"
    shutil.copytree(resolve_model(f"zoo:{name}"), copy)
    pipeline = EarthPipeline.load(copy, device="cpu", dtype="float32")
    parts = (pipeline.unet, pipeline.text_encoder, pipeline.metadata_embedding)
    assert sum(parameter.numel() for part in parts for parameter in part.parameters()) == card["parameters"]
    assert pipeline.size == (card["data"]["size"], card["data"]["size"])
    test = card["test"]
    assert test["distance_statistics"] < min(test["distance_statistics_blurred"], test["distance_statistics_colour_noise"])
    # Water is asked for on the left: there the picture is bluer or darker than on the right.
    half = torch.zeros(1, 64, 64)
    half[..., :32] = 1
    made = torch.as_tensor(pipeline("", gsd=10.0, hints={"water": half, "fields": 1 - half}, num_images=4, output_type="pt").images)
    watery = made[:, 2] - made[:, 0] - made.mean(1)
    assert int((watery[..., :32].mean((1, 2)) > watery[..., 32:].mean((1, 2))).sum()) >= 3


@pytest.mark.parametrize("name", shipped("LayoutToImagePipeline"))
def test_layout_generators_that_ship_paint_where_they_are_told(name: str, tmp_path: Path) -> None:
    from earthgen.gen.annotations.box import Box, Layout
    from earthgen.pipelines.layout import LayoutToImagePipeline

    card = read_card(resolve_model(f"zoo:{name}"))
    copy = tmp_path / "copy"
    shutil.copytree(resolve_model(f"zoo:{name}"), copy)
    pipeline = LayoutToImagePipeline.load(copy, device="cpu", dtype="float32")
    assert sum(parameter.numel() for parameter in pipeline.unet.parameters()) == card["parameters"]
    size = card["data"]["size"]
    for kind in ("ship", "building"):
        box = Box.rotated(kind, size / 2, size / 2, 34, 14, 0.6)
        inside = torch.from_numpy(rasterize(Layout(size, size, (box,)), [kind], size, size)[0] > 0.5)
        ring = (torch.nn.functional.max_pool2d(inside[None, None].float(), 9, 1, 4)[0, 0] > 0) & ~inside
        contrasts = []
        for boxes in ((), (box,)):
            made = torch.as_tensor(pipeline(Layout(size, size, boxes), num_images_per_layout=4, seed=0, output_type="pt").images)
            contrasts.append(float((made[:, :, inside].mean(2) - made[:, :, ring].mean(2)).abs().mean()))
        assert contrasts[1] > 3 * contrasts[0], kind


@pytest.mark.parametrize("name", shipped("SuperResolutionPipeline"))
def test_models_that_ship_beat_bicubic_and_load_from_anywhere(name: str, tmp_path: Path) -> None:
    from earthgen.pipelines.super_resolution import SuperResolutionPipeline

    folder = resolve_model(f"zoo:{name}")
    card = read_card(folder)
    figures = card["metrics"]
    assert figures["psnr_one_step_mean" if "teacher" in card else "psnr_one_step"] > figures["psnr_bicubic"]
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)  # it must not depend on where it lies
    pipeline = SuperResolutionPipeline.from_pretrained(copy)
    assert sum(parameter.numel() for parameter in pipeline.model.parameters()) == card["parameters"]
    assert pipeline.digest == model_digest(folder)
    if "teacher" in card:
        assert pipeline.steps(None) == 1
        assert card["teacher"]["digest"] == model_digest(resolve_model(card["teacher"]["name"]))
