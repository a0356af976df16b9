"""Recipes that begin from others: what is merged, replaced and refused; and that the shipped ones came through it unchanged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from earthgen.gen.errors import InputError
from earthgen.gen.zoo import resolve_model
from earthgen.train.recipe import dump_recipe, load_recipe
from earthgen.train.recipe_files import merged, read_tables


def read(folder: Path, **files: str) -> dict[str, Any]:
    """Write the recipes, and read the one called ``top``."""
    for name, text in files.items():
        (folder / f"{name}.toml").write_text(text)
    return read_tables(folder / "top.toml", lambda name: folder / f"{name}.toml")


def test_tables_are_merged_and_lists_are_replaced(tmp_path: Path) -> None:
    base = "a = 1\nb = [1, 2]\n[t]\nx = 1\ny = 2\n[[s]]\nk = 1\n[[s]]\nk = 2\n"
    top = 'extends = "base"\nb = [3]\n[t]\ny = 5\n[[s]]\nk = 3\n'
    assert read(tmp_path, base=base, top=top) == {"a": 1, "b": [3], "t": {"x": 1, "y": 5}, "s": [{"k": 3}]}
    below = {"t": {"x": 1}}
    assert merged(below, {"t": {"y": 2}}) == {"t": {"x": 1, "y": 2}}
    assert below == {"t": {"x": 1}}


def test_a_table_may_begin_from_a_part_of_another_recipe(tmp_path: Path) -> None:
    base = 'extends = "root"\n[task]\nkind = "a"\n[task.deep]\nx = 2\n'
    root = "n = 1\n[task.deep]\nx = 1\ny = 1\n"
    top = '[task]\nkind = "b"\n[task.of]\nextends = "base:task"\nz = 3\n[other]\nextends = "base:task.deep"\n'
    expected = {"task": {"kind": "b", "of": {"kind": "a", "deep": {"x": 2, "y": 1}, "z": 3}}, "other": {"x": 2, "y": 1}}
    assert read(tmp_path, root=root, base=base, top=top) == expected


@pytest.mark.parametrize(
    ("top", "sentence"),
    [
        ('extends = "base"', "extends itself .top -> base -> top"),
        ("extends = 3", "extends is 3; it is the name of a recipe"),
        ('[t]\nextends = "plain:no.such"', r"the recipe plain has no table 'no\.such'"),
        ('[t]\nextends = "plain:a"', "has no table 'a'"),
        ("= broken", "not valid TOML"),
    ],
)
def test_what_cannot_be_extended_is_said(tmp_path: Path, top: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        read(tmp_path, base='extends = "top"', plain="a = 1", top=top)


@pytest.mark.parametrize("name", ["ediffsr-x4-small", "ediffsr-x4-small-rgb", "ediffsr-x4-small-onestep"])
def test_a_recipe_is_still_what_its_zoo_model_was_trained_by(name: str) -> None:
    """All settings but the path of the weights that the run began with, and the digest that a run fills in."""
    stored = json.loads((resolve_model(f"zoo:{name}") / "recipe.json").read_text())
    stored.pop("initialise", None)
    stored["task"].pop("digest", None)
    now = dump_recipe(load_recipe(name))
    assert {key: now[key] for key in stored} == stored


@pytest.mark.parametrize("base", ["ediffsr-x4-small", "ediffsr-x4-small-rgb"])
def test_the_world_recipes_differ_from_the_real_ones_in_data_and_length_alone(base: str) -> None:
    real, world = dump_recipe(load_recipe(base)), dump_recipe(load_recipe(f"{base}-world"))
    differ = {key for key in real if real[key] != world[key]}
    assert differ == {"name", "seed", "samples", "save_every", "evaluate_every", "ema_half_life", "optimizer", "task", "card"}
    assert {key for key in real["task"] if real["task"][key] != world["task"][key]} == {"sources", "held_out"}
    assert (world["samples"], world["seed"], world["ema_half_life"], world["save_every"]) == (6400, 1, 1000.0, 4000)
    assert world["task"]["held_out"] == {"sources": [], "crop": 128, "steps": 10, "mtf": 0.3, "temperature": 1.0}
    assert [source["kind"] for source in world["task"]["sources"]] == ["world"]
    assert {key for key in real["optimizer"] if real["optimizer"][key] != world["optimizer"][key]} == {"hold", "floor"}
