"""Splits by place: the shares, what counts as one place, and the real collection."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest

from earthgen.gen.data.splits import SHARES, WORLD_BLOCK, cell_of, place_of, split_of, world_place
from earthgen.gen.errors import InputError


def test_the_shares_are_kept() -> None:
    found = Counter(split_of(f"place {number}") for number in range(20_000))
    for split, share in SHARES.items():
        assert found[split] / 20_000 == pytest.approx(share, abs=0.01)


def test_a_split_is_fixed_for_all_time() -> None:
    names = ("Las Vegas, USA", "cell 44 28", "world 1 0 0", "Arizona, USA", "ecomapper 5284")
    assert [split_of(name) for name in names] == ["train", "train", "train", "test", "validation"]
    assert split_of("  LAS  vegas, usa ") == split_of("Las Vegas, USA")


def test_what_is_one_place() -> None:
    assert place_of("a/b.png", "Las Vegas, USA (36.239N 115.169W)") == place_of("c/d.png", "Las Vegas, USA") == "Las Vegas, USA"
    assert place_of("x/eurosat/rgb/A_1.png", "44.035N 28.559E") == cell_of(44.9, 28.1) == "cell 44 28"
    assert place_of("x.png", "1.5S 0.2W") == cell_of(-1.5, -0.2) == "cell -2 -1"
    assert place_of("more/scene_s2/ecomapper/4024_2017-01.png", "Inyo County") == place_of("ecomapper/4024/4024_2018-02.png")
    assert place_of("maps/oam/1.png") == "maps/oam"
    assert world_place(3, 0, WORLD_BLOCK - 1) == world_place(3, WORLD_BLOCK - 1, 0) != world_place(3, -1, 0)


def test_no_place_no_split() -> None:
    with pytest.raises(InputError, match="place"):
        split_of("  ")


def test_every_split_has_real_places(shared_data: Path) -> None:
    with (shared_data / "more/index.csv").open() as file:
        places = {place_of(row["path"], row["place"]) for row in csv.DictReader(file)}
    found = Counter(split_of(place) for place in places)
    assert all(found[split] >= 5 for split in SHARES), found
