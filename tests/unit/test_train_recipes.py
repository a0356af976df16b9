"""Recipes: the ones that ship, overrides, and what a wrong one is told."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from earthgen.gen.errors import InputError
from earthgen.train.recipe import RECIPES, check_recipe, dump_recipe, load_recipe

NAMES = sorted(path.stem for path in RECIPES.glob("*.toml"))


def small() -> dict[str, Any]:
    return tomllib.loads((RECIPES / "ediffsr-x4-small.toml").read_text())


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_loads_and_round_trips(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert check_recipe(dump_recipe(recipe), "again") == recipe
    assert recipe.samples % (recipe.batch * recipe.accumulate) == 0, "no sample is left over"
    assert recipe.card["licence"]


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_finds_its_data_and_holds_some_out(name: str, shared_data: Path) -> None:
    """All sources exist, no picture is both trained on and held out, and none of the non-commercial data is used."""
    recipe = load_recipe(name, [f"data={shared_data}"])
    system = getattr(recipe.task, "of", recipe.task)
    if system.kind != "super_resolution":
        pytest.skip("no pairs of pictures")
    if all(source.kind == "world" for source in system.sources):
        pytest.skip("trains on the procedural world alone")
    trained = [picture for source in system.sources if source.kind != "world" for picture in source.pictures(shared_data)]
    held_out = [picture for source in system.held_out.sources for picture in source.pictures(shared_data)]
    assert len(trained) > 100
    assert len(held_out) >= 4
    assert not [(a.name, b.name) for a in held_out for b in trained if a.overlaps(b)]
    assert not [picture.name for picture in trained if "noncommercial" in picture.name]


def test_the_full_recipe_is_the_published_network() -> None:
    from earthgen.gen.models.eanet import EANet

    recipe = load_recipe("ediffsr-x4")
    model = EANet(bands=3, scale=4, **recipe.task.model)
    assert sum(parameter.numel() for parameter in model.parameters()) == 20_403_719
    assert recipe.samples == 700_000 * recipe.batch
    assert recipe.optimizer.lr * recipe.optimizer.floor == pytest.approx(1e-7)
    # Published: decay 0.995 every 10 steps.
    assert 0.5 ** (10 * recipe.batch / recipe.ema_half_life) == pytest.approx(0.995, abs=1e-5)


def test_overrides() -> None:
    recipe = load_recipe(
        "ediffsr-x4-small", ["samples=320", "optimizer.lr=2e-4", "output=some/where", "task.model.width=8", "precision=no"]
    )
    assert (recipe.samples, recipe.optimizer.lr, recipe.output, recipe.task.model["width"]) == (320, 2e-4, Path("some/where"), 8)
    assert recipe.precision == "no"
    listed = load_recipe("ediffsr-x4-small", ['task.sources=[{kind="image", files="*.png"}]'])
    assert listed.task.sources[0].kind == "image"


def test_a_file_is_a_recipe_too(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text((RECIPES / "ediffsr-x4-small.toml").read_text().replace('name = "ediffsr-x4-small"', 'name = "mine"'))
    assert load_recipe(path).name == "mine"


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("sampels=3", r"unknown key 'sampels'; did you mean 'samples'\?"),
        ("optimizer.learning_rat=3", r"unknown key 'optimizer\.learning_rat'"),
        ("optimizer.weight_deccay=3", r"did you mean 'weight_decay'\?"),
        ("task.held_out.corp=64", r"unknown key 'task\.held_out\.corp'; did you mean 'crop'\?"),
        ("batch=0", "batch: .*greater than or equal to 1"),
        ("batch=many", "batch: .*valid integer"),
        ("precision=fp8", "precision: "),
        ("seed=-1", "seed: "),
        ("optimizer.lr=0", r"optimizer\.lr: "),
        ("task.scale=3", "the degradation reduces 4 times and scale is 3"),
        ("task.crop=62", "no multiple of the scale 4"),
        ("task.loss=noise_l1", "the loss noise_l1 needs epsilon"),
        ("task.scheduler.prediction_type=epsilon", "epsilon and v_prediction"),
        ("samples", "write key=value"),
        ("name.x=1", "is no table"),
        ("task.degradation=[{kind='fog'}]", "fog"),
        ("task.degradation=[{kind='mtf_blur', mft=0.3}]", r"did you mean 'mtf'\?"),
        ("task.sources=[{kind='image', file='*.png'}]", r"did you mean 'files'\?"),
    ],
)
def test_wrong_keys_and_values_are_named(override: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        load_recipe("ediffsr-x4-small", [override])
    assert "\n" not in str(caught.value)


def test_missing_and_broken_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no recipe 'ediffsr-x8'; .*ediffsr-x4-small"):
        load_recipe("ediffsr-x8")
    path = tmp_path / "broken.toml"
    path.write_text("name = \n")
    with pytest.raises(InputError, match="not valid TOML"):
        load_recipe(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not valid TOML"):
        load_recipe(path)
    table = small()
    del table["task"]
    with pytest.raises(InputError, match="task: field required"):
        check_recipe(table, "test")
