"""The feature network, the pictures it learns from, and how it is scored on places it does not know."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from earthgen.gen.data.labelled import IndexedPictures, LabelledPicture, WorldLooks
from earthgen.gen.data.splits import split_of
from earthgen.gen.errors import InputError
from earthgen.gen.models.features import FeatureNet
from earthgen.gen.zoo import read_card, resolve_model
from earthgen.metrics.distribution import kernel_distance
from earthgen.metrics.feature_networks import features_of, load_features
from earthgen.metrics.picture_folder import PictureFolder
from earthgen.metrics.trivial_pictures import blurred, colour_noise
from earthgen.train.recipe import Recipe, check_recipe, load_recipe
from earthgen.train.tasks.features import UNITS, FeatureTask, grouped, turned

pytestmark = pytest.mark.usefixtures("fresh_accelerate")


def index(folder: Path, rows: list[str], size: tuple[int, int] = (80, 72)) -> Path:
    rng = np.random.default_rng(0)
    for row in rows:
        pixels = rng.integers(0, 255, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / row.split(",")[0])
    (folder / "index.csv").write_text("\n".join(["path,gsd_m,place,date,class", *rows]) + "\n")
    return folder


def held_out_place(split: str) -> str:
    return next(name for name in (f"place {number}" for number in range(1000)) if split_of(name) == split)


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    rows = [
        "0.png,10,a field,2020-07,Forest",
        "1.png,0.5 (unverified),a field,,River",
        f"2.png,3,{held_out_place('test')},2021-01-31,Forest",
    ]
    index(tmp_path, [*rows, f"3.png,,{held_out_place('validation')},,River"])
    table = load_recipe("features-small").model_dump(mode="json", exclude_none=True)
    table.update(data=str(tmp_path), output=str(tmp_path / "runs"))
    table["task"].update(sources=[{"kind": "index", "index": "index.csv"}], crop=32, classes={"wood": ["Forest"], "river": ["River"]})
    table["task"]["model"].update(widths=[8, 8, 8, 16])
    return check_recipe(table, "test")


def test_the_network_takes_any_size_and_nothing_else() -> None:
    net = FeatureNet(classes=["a", "b", "c"], covers=["x", "y"], widths=[8, 8, 8, 16]).eval()
    found = net(torch.rand(2, 3, 33, 70))
    assert found.features.shape == (2, net.width) == (2, 32)
    assert found.classes.shape == (2, 3)
    assert found.month.shape == (2, 2)
    assert found.log2_gsd.shape == (2,)
    assert found.cover.shape == (2, 2, 9, 18)
    for shape in ((1, 4, 64, 64), (1, 3, 8, 64), (3, 64, 64)):
        with pytest.raises(InputError, match=r"reads \[B, 3, H, W\]"):
            net(torch.rand(shape))
    with pytest.raises(InputError, match="multiples of 8"):
        FeatureNet(widths=[8, 8, 8, 12])


def test_gradients_reach_every_weight() -> None:
    net = FeatureNet(classes=["a", "b"], covers=["x", "y"], widths=[8, 8, 8, 16])
    for block in net.blocks:
        torch.nn.init.ones_(block.norm_2.weight)  # zero at initialisation
    found = net(torch.rand(2, 3, 32, 32))
    sum(part.square().sum() for part in (found.classes, found.month, found.log2_gsd, found.cover)).backward()
    assert not [name for name, parameter in net.named_parameters() if parameter.grad is None or not bool(parameter.grad.any())]


def test_an_index_is_read_with_what_it_knows(tmp_path: Path) -> None:
    index(tmp_path, ["a.png,0.08 (unverified),Duluth (46.8N 92.0W),2019-11-03,park", "b.png,unknown,44.0N 28.5E,,"])
    first, second = IndexedPictures(index="index.csv").pictures(tmp_path)
    assert (first.gsd, first.month, first.label, first.place) == (0.08, 11, "park", "Duluth")
    assert math.isnan(second.gsd)
    assert (second.month, second.label, second.place) == (0, "", "cell 44 28")
    assert first.pixels.shape == (3, 80, 72)
    with pytest.raises(InputError, match="takes and 'exclude' leaves"):
        list(IndexedPictures(index="index.csv", only=("*.tif",)).pictures(tmp_path))
    with pytest.raises(InputError, match="no column 'metres'"):
        list(IndexedPictures(index="index.csv", columns={"path": "path", "gsd": "metres"}).pictures(tmp_path))
    with pytest.raises(InputError, match=r"index .* cannot be read"):
        list(IndexedPictures(index="none.csv").pictures(tmp_path))
    (tmp_path / "b.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"b\.png cannot be read"):
        list(IndexedPictures(index="index.csv").pictures(tmp_path))


def test_world_looks_agree() -> None:
    """The picture at 10 m is the one at 2.5 m, averaged (with the sensor's blur), and their land cover too."""
    fine, coarse = WorldLooks(count=1, size=24, seed=5).pictures(Path())
    assert (fine.gsd, coarse.gsd) == (2.5, 10.0)
    assert fine.pixels.shape == (3, 96, 96)
    assert fine.place == coarse.place
    mean = fine.pixels.reshape(3, 24, 4, 24, 4).mean((2, 4))
    assert np.corrcoef(mean.ravel(), coarse.pixels.ravel())[0, 1] > 0.9
    assert fine.cover is not None
    assert coarse.cover is not None
    blocks = fine.cover.reshape(24, 4, 24, 4).transpose(0, 2, 1, 3).reshape(24, 24, 16)
    own = (blocks == coarse.cover[..., None]).sum(-1)
    largest = np.max([(blocks == code).sum(-1) for code in np.unique(fine.cover)], axis=0)
    assert np.array_equal(own, largest)


def test_only_training_places_are_trained_on(recipe: Recipe) -> None:
    task = FeatureTask(recipe)
    assert task.names == ["0.png", "1.png"]
    assert task.held_out.places == [held_out_place("test")]
    assert {name for index in range(40) for name in task.batch([index]).names} == {"0.png", "1.png"}


def test_samples_are_pure_and_their_labels_right(recipe: Recipe) -> None:
    task = FeatureTask(recipe)
    together, alone = task.batch([3, 4]), task.batch([4])
    for name, value in together.tensors.items():
        assert torch.equal(value[1], alone.tensors[name][0]), name
    forest, river = (next(b for b in (task.batch([i]) for i in range(50)) if b.names == [name]) for name in ("0.png", "1.png"))
    assert forest.tensors["known"][0].tolist() == [[1, 1, 1, 0]] * 2
    assert river.tensors["known"][0].tolist() == [[1, 0, 1, 0]] * 2
    assert forest.tensors["label"][0].tolist() == [0, 0]
    angle = 2 * math.pi * 6.5 / 12
    assert forest.tensors["month"][0, 0].tolist() == pytest.approx([math.sin(angle), math.cos(angle)])
    lowest, highest = math.log2(10), math.log2(10 * 72 / 32)
    assert all(lowest - 1e-6 <= value <= highest + 1e-6 for value in forest.tensors["log2_gsd"][0].tolist())


def test_a_look_is_what_it_says(recipe: Recipe) -> None:
    task = FeatureTask(recipe)
    codes = np.full((64, 64), 1, np.uint8)
    codes[:, 32:] = 12
    picture = LabelledPicture("p", "a", np.tile(np.arange(64, dtype=np.uint8), (3, 64, 1)), 2.0, 0, "", codes)
    whole = task.look(picture, 0, 0, 64)
    assert whole.log2_gsd.item() == 2.0  # 2 m reduced by two
    assert whole.cover[0, :, :4].unique().tolist() == [1.0]  # water on the left, buildings on the right
    assert whole.cover[11, :, 4:].unique().tolist() == [1.0]
    assert torch.allclose(whole.picture[0, 5, 3:-3], (torch.arange(32) * 2 + 0.5)[3:-3] / 255, atol=1e-5)
    quarter = task.look(picture, 0, 0, 32, turn=1)
    assert torch.equal(quarter.picture, torch.rot90(task.look(picture, 0, 0, 32).picture, 1, (1, 2)))


def test_features_are_in_units_of_the_pictures_they_are_given() -> None:
    torch.manual_seed(0)
    net = FeatureNet(widths=[8, 8, 8, 16]).eval()
    pictures = torch.rand(40, 3, 32, 32) * torch.rand(40, 1, 1, 1)
    with torch.no_grad():
        plain = net(pictures)
        net.standardise(pictures.split(7))
        found = net(pictures)
    moving = plain.features.std(0) > 1e-3
    assert moving.sum() > 16
    assert torch.allclose(found.features.mean(0), torch.zeros(32), atol=1e-3)
    assert torch.allclose(found.features.std(0)[moving], torch.ones(int(moving.sum())), atol=1e-3)
    assert torch.equal(plain.classes, found.classes)  # the readings do not change


def test_groups_and_turns() -> None:
    pictures = [LabelledPicture(str(i), place, np.zeros((3, 1, 1), np.uint8), label=label) for i, (place, label) in
                enumerate([("a", "x"), ("a", "x"), ("b", "x"), ("a", "y")])]  # fmt: skip
    assert [[[p.name for p in place] for place in places] for places in grouped(pictures)] == [[["0", "1"], ["2"]], [["3"]]]
    square = np.arange(12, dtype=np.uint8).reshape(3, 2, 2)
    assert len({turned(square, which).tobytes() for which in range(8)}) == 8


def test_what_is_exported_is_read_by_the_metrics(recipe: Recipe, tmp_path: Path) -> None:
    task = FeatureTask(recipe)
    torch.manual_seed(0)
    net = task.build(None).eval()
    with torch.no_grad():
        figures = task.evaluate(net)
    assert figures["test_n_gsd"] == 1
    assert 0 <= figures["test_class"] <= 1
    task.export(net, tmp_path / "out", {**recipe.card, "training": {"samples": 0, "figures": figures}})
    loaded = load_features(tmp_path / "out")
    picture = torch.rand(1, 3, 40, 40)
    with torch.no_grad():
        assert torch.allclose(loaded.read(picture).classes, net(picture).classes, atol=5e-3)  # half precision
    trained = torch.cat([loaded(task.batch([index]).tensors["picture"][0]) for index in range(UNITS)])
    assert torch.allclose(trained.mean(0), torch.zeros(32, dtype=torch.float64), atol=0.1)
    assert bool((net.centre == 0).all())  # what was trained is left as it is
    assert loaded.classes == ["wood", "river"]
    card = read_card(tmp_path / "out")
    assert card["data"]["held_out"] == task.held_out.places
    assert card["metrics"]["test_gsd"] == round(figures["test_gsd"], 4)


def test_wrong_recipes_are_told(recipe: Recipe) -> None:
    table = recipe.model_dump(mode="json", exclude_none=True)
    for part, sentence in (
        ({"classes": {"a": ["Forest"], "b": ["Forest"]}}, "stands for two classes"),
        ({"weights": {"colour": 1.0}}, "no term 'colour'"),
        ({"crop": 30}, "crop"),
    ):
        with pytest.raises(InputError, match=sentence):
            check_recipe({**table, "task": {**table["task"], **part}}, "test")
    large = {**table, "task": {**table["task"], "crop": 128}}
    with pytest.raises(InputError, match="at least 128 pixels"):
        FeatureTask(check_recipe(large, "test"))
    with pytest.raises(TypeError, match="not features"):
        FeatureTask(load_recipe("ediffsr-x4-small"))


def test_the_network_that_ships() -> None:
    """It is small, and its card has figures beside the best constant guess."""
    folder = resolve_model("zoo:features-small")
    card = read_card(folder)
    assert sum(path.stat().st_size for path in folder.rglob("*.safetensors")) <= 1_000_000
    figures = card["metrics"]
    assert figures["test_class"] > 3 * figures["test_constant_class"]
    assert figures["test_gsd"] < figures["test_constant_gsd"]
    assert not [place for place in card["data"]["held_out"] if split_of(place) != "test"]


def test_the_network_that_ships_sees_blur_and_noise(shared_data: Path) -> None:
    """Real pictures against others of the same kind, blurred ones, and noise: the kernel distance rises in this order."""
    ours = load_features("zoo:features-small")
    pictures = list(PictureFolder(shared_data / "more/scene_s2/eurosat/rgb"))
    reference, others = pictures[::2], pictures[1::2]
    sets = {
        "real": others,
        "turned": [picture.rot90(1, (1, 2)) for picture in others],
        "blurred": [blurred(picture) for picture in others],
        "noise": [colour_noise(picture, number) for number, picture in enumerate(others)],
    }
    known = features_of(reference, ours)
    found = {name: kernel_distance(features_of(made, ours), known) for name, made in sets.items()}
    assert abs(found["turned"] - found["real"]) < 0.3 * (found["blurred"] - found["real"])
    assert found["real"] < 0.5 * found["blurred"] < found["noise"]
