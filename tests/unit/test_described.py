"""Pictures with what is known of them: captions, places, masks, crops, collections, and the division by place."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from earthgen.gen.data.described import COVER, UNKNOWN, Described, Facts, captions_of, coordinates_in, cover_of_reflectance
from earthgen.gen.data.described_crops import CropSampler, Drawn, cut, read_split, shares_of
from earthgen.gen.data.described_sources import DescribedBands, DescribedImages
from earthgen.gen.data.described_stream import DescribedCollection
from earthgen.gen.data.described_world import DescribedWorld
from earthgen.gen.data.splits import split_of
from earthgen.gen.errors import InputError


def picture(name: str = "a", size: int = 32, place: str = "a field", **known: object) -> Described:
    pixels = np.random.default_rng(zlib.crc32(name.encode())).integers(1, 255, (3, size, size)).astype(np.uint8)
    return Described(name, pixels, place, **known)  # type: ignore[arg-type]


def test_captions_say_what_is_known_and_nothing_else() -> None:
    assert captions_of(Facts()) == ()
    made = captions_of(Facts("a river", "Europe", "aerial image", "May", ("its own words",)))
    assert made[0] == "its own words"
    assert "a river in Europe in May" in made
    assert "an aerial image of a river in May" in made
    assert all("None" not in text for text in made)


def test_coordinates_are_read_from_words() -> None:
    assert coordinates_in("Arizona, USA (36.681N 111.548W)") == (36.681, -111.548)
    assert coordinates_in("29.950S 119.244E") == (-29.95, 119.244)
    assert coordinates_in("Ohio, USA") is None


def test_a_weak_mask_tells_water_plants_sand_and_snow_apart() -> None:
    #                  water  plants  sand  snow  doubtful
    red = np.array([[0.03, 0.04, 0.30, 0.80, 0.10]], np.float32)
    near = np.array([[0.02, 0.40, 0.38, 0.75, 0.20]], np.float32)
    green = np.array([[0.05, 0.06, 0.22, 0.82, 0.12]], np.float32)
    found = cover_of_reflectance(red, near, green, wooded=True)[0]
    assert [COVER[code] if code != UNKNOWN else None for code in found] == ["water", "trees", "bare", "snow", None]
    assert cover_of_reflectance(red, near, green, wooded=False)[0, 1] == COVER.index("fields")


def test_shares_of_an_unknown_pixel_are_nought() -> None:
    shares = shares_of(np.array([[0, 6, UNKNOWN]], np.uint8))
    assert shares.sum(0).tolist() == [[1, 1, 0]]
    assert shares[0, 0, 0] == 1
    assert shares[6, 0, 1] == 1


def test_a_reduced_crop_averages_pixels_and_masks_and_has_coarser_pixels() -> None:
    codes = np.full((32, 32), UNKNOWN, np.uint8)
    codes[:, :2] = 0
    whole = picture(mask=codes, gsd=10.0, hints={"map": np.full((1, 32, 32), 9, np.uint8)})
    crop = cut(whole, 0, 0, 8, factor=4)
    wanted = whole.pixels.reshape(3, 8, 4, 8, 4).mean((2, 4))
    assert np.abs(crop.pixels - wanted).max() <= 0.51
    assert crop.of.gsd == 40
    assert crop.shares is not None
    assert crop.shares[0, 0].tolist() == [0.5, 0, 0, 0, 0, 0, 0, 0]
    assert crop.hints["map"].shape == (1, 8, 8)


@pytest.mark.parametrize("turn", range(8))
def test_masks_and_hints_turn_with_their_picture(turn: int) -> None:
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    codes = (grey % len(COVER)).astype(np.uint8)
    whole = Described("x", np.stack([grey] * 3), "p", mask=codes, hints={"map": grey[None]})
    crop = cut(whole, 0, 0, 8, turn=turn)
    assert np.array_equal(crop.hints["map"], crop.pixels[:1])
    assert crop.shares is not None
    assert np.array_equal(crop.shares.argmax(0), crop.pixels[0] % len(COVER))


def test_places_count_once_however_many_pictures_they_have() -> None:
    many = [picture(f"m{number}", place="one") for number in range(30)]
    sampler = CropSampler([(1.0, [*many, picture("x", place="two")])], 16)
    rng = np.random.default_rng(0)
    places = [sampler.item(rng).of.place for _ in range(400)]
    # 400 fair draws: 3 standard deviations are 30.
    assert 170 < places.count("two") < 230


def test_a_crop_is_a_function_of_its_generator() -> None:
    sampler = CropSampler([(1.0, [picture(captions=("a", "b"))])], 16, (1, 2))
    first, second = (sampler.item(np.random.default_rng(5)) for _ in range(2))
    assert first.name == second.name
    assert np.array_equal(first.pixels, second.pixels)


def test_images_have_place_date_and_mask_from_their_names(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("site_2019-07.png", "site_2019-07_water.png"):
        Image.fromarray(np.full((20, 20, 3), 200, np.uint8)).save(tmp_path / "in" / name)
    source = DescribedImages(
        files="in/*-07.png", place="A lake", mask="{folder}/{stem}_water.png", mask_class="water", gsd=5, subject="a lake", lat=1, lon=2
    )
    (found,) = source.pictures(tmp_path)
    assert (found.place, found.date, found.gsd, found.lat) == ("A lake", "2019-07", 5, 1)
    assert found.mask is not None
    assert (found.mask == COVER.index("water")).all()
    assert "a lake in July" in found.captions
    with pytest.raises(InputError, match="no picture matches"):
        list(DescribedImages(files="out/*.png").pictures(tmp_path))


def test_an_index_says_more_than_the_source(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "p.png")
    (tmp_path / "index.csv").write_text('path,gsd_m,place,date,class,caption\np.png,0.6,"Ohio, USA (40.0N 83.0W)",2020-05,Town,a town\n')
    (found,) = DescribedImages(files="*.png", index="index.csv", gsd=9, words={"Town": "a small town"}).pictures(tmp_path)
    assert (found.gsd, found.lat, found.lon, found.date, found.place) == (0.6, 40, -83, "2020-05", "Ohio, USA")
    assert found.captions[:2] == ("a town", "a small town")


def test_the_procedural_world_is_kept_and_read_back_equal(tmp_path: Path) -> None:
    source = DescribedWorld(seed=3, count=2, size=16, cache=str(tmp_path / "kept"))
    first, second = list(source.pictures(tmp_path)), list(source.pictures(tmp_path))
    plain = list(DescribedWorld(seed=3, count=2, size=16).pictures(tmp_path))
    for a, b, c in zip(first, second, plain, strict=True):
        assert a.pixels.shape == (3, 64, 64)
        assert np.array_equal(a.pixels, b.pixels)
        assert np.array_equal(a.pixels, c.pixels)
        assert (a.captions, a.place, a.date, a.lat) == (b.captions, b.place, b.date, b.lat)
        assert a.mask is not None
        assert a.mask.max() < len(COVER)


def test_no_place_is_in_two_parts(shared_data: Path) -> None:
    sources = [
        DescribedImages(files="scene_text/ecomapper/*/*-06.png", index="scene_text/ecomapper/index.csv"),
        DescribedBands(files="more/scene_s2/eurosat/R*.npz", bands=(3, 2, 1, 7)),
    ]
    parts = read_split(sources, shared_data)
    places = {part: {p.place for _, found in groups if not isinstance(found, Drawn) for p in found} for part, groups in parts.items()}
    assert all(split_of(place) == part for part, found in places.items() for place in found)
    assert len(set().union(*places.values())) == sum(map(len, places.values()))
    assert all(places.values())


def collection(folder: Path, rows: list[dict[str, object]]) -> DescribedCollection:
    (folder / "c").mkdir()
    for number, row in enumerate(rows):
        Image.fromarray(np.full((24, 24, 3), 5 * (number + 1), np.uint8)).save(folder / f"c/{number}.png")
        row["file_name"] = f"{number}.png"
    (folder / "c/metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return DescribedCollection(format="imagefolder", files="c", columns={"tile": "where", "quality": "score"})


def test_a_collection_is_drawn_by_part_and_quality(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"where": f"12_{2100 + 40 * n}_{1400 + 30 * n}", "score": float(n % 5), "caption": f"n{n}"} for n in range(40)
    ]
    stream = collection(tmp_path, rows).open(tmp_path)
    rng = np.random.default_rng(0)
    train = [stream.draw(rng, "train", 16, least=3.0) for _ in range(30)]
    assert all(found.quality is not None and found.quality >= 3 for found in train)
    assert {split_of(found.place) for found in train} == {"train"}
    assert all(found.gsd is not None and 20 < found.gsd < 40 for found in train)
    assert len(stream.captions()) == 40
    with pytest.raises(InputError, match="smaller than 32 pixels"):
        stream.draw(rng, "train", 32)
