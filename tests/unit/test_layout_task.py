"""Training of pictures from layouts: what a sample is told, what counts, and where the pictures come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from earthgen.gen.conditioning.layout import coverage_of
from earthgen.gen.data.objects_crops import ObjectCrop
from earthgen.gen.errors import InputError
from earthgen.train.launch import build_task
from earthgen.train.recipe import Recipe, check_recipe, dump_recipe, load_recipe
from earthgen.train.tasks.layout_config import LayoutConfig
from earthgen.train.tasks.layout_data import LayoutData, layout_of, tell, tensors_of, whole
from earthgen.train.tasks.layout_masks import background_mask, foreground_weight, object_mask, touching
from earthgen.train.tasks.layout_process import CleanFlow, layout_process
from earthgen.train.tasks.layout_sources import AnnotatedObjects


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    table = dump_recipe(load_recipe("layout-small-world"))
    task = table["task"]
    task["objects"].update(size=32, extent=[8, 16])
    task["objects"]["sources"] = [{"kind": "scenes", "size": 48}]
    task["model"].update(block_out_channels=[8, 16], attention=[False, True], heads=2, encoder={"start": "any", "hidden": 16})
    task["text"] = {
        "vocabulary": 520,
        "model": {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2},
    }
    task["text"]["model"]["max_position_embeddings"] = 12
    task.update(bank=0, guidance={"count": 4, "shown": 2, "steps": 2})
    return check_recipe(table, "small")


@pytest.fixture(scope="module")
def config(recipe: Recipe) -> LayoutConfig:
    assert isinstance(recipe.task, LayoutConfig)
    return recipe.task


def square(x: float, y: float, side: float) -> np.ndarray:
    return np.array([[x, y], [x + side, y], [x + side, y + side], [x, y + side]])


def crop(quads: list[np.ndarray], complete: bool = True) -> ObjectCrop:
    pixels = np.random.default_rng(1).integers(0, 256, (3, 32, 32), dtype=np.uint8)
    stacked = np.stack(quads) if quads else np.zeros((0, 4, 2))
    return ObjectCrop(pixels, stacked, np.arange(len(quads)) % 4, "a caption", 0.3, complete, "crop")


def test_conditions_are_left_out_as_often_as_the_recipe_says(config: LayoutConfig) -> None:
    one = crop([square(4, 4, 8), square(18, 18, 9)])
    told = [tell(one, config, np.random.default_rng(seed)) for seed in range(1500)]
    drop = config.drop
    without = 1 - (1 - drop.everything) * (1 - drop.layout)
    assert np.mean([not t.present for t in told]) == pytest.approx(without, abs=0.03)
    assert np.mean([not t.caption for t in told]) == pytest.approx(1 - (1 - drop.everything) * (1 - drop.text), abs=0.03)
    assert np.mean([t.repaint for t in told]) == pytest.approx(config.repaint.share, abs=0.05)
    painted = [t for t in told if not t.repaint]
    assert np.mean([t.listed for t in painted]) == pytest.approx(1 - drop.object, abs=0.03)
    assert all((t.mask == 1).all() for t in painted)


def test_nothing_unlisted_lies_under_a_mask(config: LayoutConfig) -> None:
    """What is painted must be what is listed, and only that: objects under a mask keep their box, and empty masks hold none."""
    one = crop([square(3, 3, 8), square(20, 18, 9), square(19, 4, 6)])
    around, empty = 0, 0
    for seed in range(300):
        told = tell(one, config, np.random.default_rng(seed))
        if not told.repaint:
            continue
        under = touching(one.quads, told.mask)
        assert told.listed[under].all()
        around, empty = around + bool(under.any()), empty + (not under.any())
    assert around > 30
    assert empty > 20


def test_empty_ground_is_not_repainted_where_not_all_objects_have_boxes(config: LayoutConfig) -> None:
    told = [tell(crop([square(10, 10, 8)], complete=False), config, np.random.default_rng(seed)) for seed in range(200)]
    assert all(touching(t.crop.quads, t.mask).all() for t in told if t.repaint)
    assert not any(tell(crop([], complete=False), config, np.random.default_rng(seed)).repaint for seed in range(50))


def test_masks_hold_their_object_or_none() -> None:
    quads = np.stack([square(4, 4, 8), square(20, 20, 8)])
    for seed in range(30):
        rng = np.random.default_rng(seed)
        mask = object_mask(quads, 32, (0.1, 0.3), rng)
        inside = [coverage_of(quad[None], 32, 32) > 0 for quad in quads]
        assert any((mask[place] == 1).all() for place in inside)
        empty = background_mask(quads, 32, rng)
        assert (empty == 1).all() or not any(empty[place].any() for place in inside)


def test_small_objects_count_more_and_the_mean_is_one(config: LayoutConfig) -> None:
    large, small = square(2, 2, 16), square(24, 24, 4)
    weight = foreground_weight(np.stack([large, small]), None, 32, config)
    assert weight.mean() == pytest.approx(1, abs=1e-5)
    ground = weight[0, 31]
    rule = config.foreground
    assert weight[8, 8] / ground == pytest.approx(rule.factor * (256 / 1024) ** -rule.power, rel=1e-4)
    assert weight[26, 26] / ground == pytest.approx(rule.factor * (16 / 1024) ** -rule.power, rel=1e-4)
    mask = np.zeros((32, 32), np.float32)
    mask[:20] = 1
    part = foreground_weight(np.stack([large]), mask, 32, config)
    assert part[31, 0] / part[0, 31] == pytest.approx(config.repaint.outside, rel=1e-4)
    assert part.mean() == pytest.approx(1, abs=1e-5)


def test_a_batch_holds_mask_and_kept_picture_in_the_networks_order(config: LayoutConfig) -> None:
    one = crop([square(4, 4, 8)])
    told = next(t for seed in range(99) if (t := tell(one, config, np.random.default_rng(seed))).repaint)
    tensors = tensors_of([told, whole(one)], config)
    assert tensors["kept"].shape == (2, 64, 8, 8)
    mask = F.pixel_shuffle(tensors["kept"][:, :16], 4)
    picture = F.pixel_shuffle(tensors["kept"][:, 16:], 4)
    clean = F.pixel_shuffle(tensors["clean"], 4)
    assert np.array_equal(mask[0, 0].numpy(), told.mask)
    assert torch.equal(picture[0], clean[0] * (1 - mask[0]))
    assert bool((mask[1] == 1).all())
    assert not picture[1].any()
    assert float(clean[1].min()) >= -1
    assert torch.allclose(clean[1] * 127.5 + 127.5, torch.from_numpy(one.pixels).float(), atol=1e-3)


def test_samples_are_functions_of_their_index(recipe: Recipe) -> None:
    task = build_task(recipe)
    together, alone = task.batch([5, 6, 7]).tensors, task.batch([6]).tensors
    for name, value in alone.items():
        other = together[name][1:2]
        if name in ("quads", "labels", "valid"):
            other = other[:, : value.shape[1]]
        assert torch.equal(value, other), name


def test_a_banked_crop_is_turned_anew(recipe: Recipe) -> None:
    table = dump_recipe(recipe)
    table["task"]["bank"] = 2
    bank = LayoutData(check_recipe(table, "bank").task, Path("."), 3)  # type: ignore[arg-type]
    crops = [bank.told([index])[0].crop for index in range(0, 24, 2)]
    assert len({one.pixels.tobytes() for one in crops}) > 3
    assert {tuple(sorted(one.pixels.ravel().tolist())) for one in crops} == {tuple(sorted(crops[0].pixels.ravel().tolist()))}


def test_the_error_of_a_picture_is_weighed_as_that_of_its_velocity() -> None:
    process = layout_process({"prediction_type": "sample", "use_flow_sigmas": True, "flow_shift": 2.0}, None)
    assert isinstance(process, CleanFlow)
    clean, noise, output = (torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(n)) for n in range(3))
    time = torch.tensor([150.0, 400.0, 800.0, 999.0])
    state, share = process.noised(clean, noise, time), (time / 1000).view(-1, 1, 1, 1)
    velocity = ((state - output) / share - (noise - clean)).square().mean((1, 2, 3))
    ours = process.weight(time) * (output - process.target(clean, noise, time)).square().mean((1, 2, 3))
    assert torch.allclose(velocity, ours, rtol=1e-3)
    assert process.weight(torch.tensor([10.0])) == pytest.approx(100.0)
    assert torch.equal(process.clean(output, state, time), output)


def test_times_are_those_that_the_sampler_asks(config: LayoutConfig) -> None:
    """A perfect network, which says the picture at any time, leads every sampler step to the picture."""
    from earthgen.train.tasks.layout_sampling import build_sampler

    scheduler, process = build_sampler(config), layout_process(config.scheduler, None)
    scheduler.set_timesteps(10)
    clean, noise = torch.rand(1, 3, 4, 4), torch.randn(1, 3, 4, 4)
    state = noise
    for number, time in enumerate(scheduler.timesteps):
        if number:
            expected = process.noised(clean, noise, time.reshape(1).float())
            assert torch.allclose(state, expected, atol=0.02)
        state = scheduler.step(clean, time, state).prev_sample
    assert torch.allclose(state, clean, atol=1e-5)


def test_evaluation_pictures_and_probes(recipe: Recipe) -> None:
    task: Any = build_task(recipe)
    model = task.build(None).eval()
    figures = task.evaluate(model)
    assert figures["score"] == -figures["loss"]
    assert {"loss_quarter_1", "loss_quarter_4"} <= set(figures)
    sheets = task.show(model)
    assert sheets["samples"].shape == (96, 64, 3)
    assert sheets["repainted"].shape == (96, 64, 3)
    assert set(task.probes["adherence"](model)) == {"saved_by_layout", "cost_of_wrong_layout", "saved_by_text"}


def test_an_exported_model_goes_on_and_paints(recipe: Recipe, tmp_path: Path) -> None:
    """The training side's sample and the pipeline's picture of the same layout and noise are the same."""
    from earthgen.pipelines import LayoutToImagePipeline

    task: Any = build_task(recipe)
    model = task.build(None).eval()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
            parameter.copy_(parameter.half().float())
    task.export(model, tmp_path / "model", {"licence": "none"})
    pipeline = LayoutToImagePipeline.from_pretrained(tmp_path / "model")
    told = whole(next(one for one in task.data.held_out("validation", 20) if len(one.quads)))
    kept = task.sample(model, [told])[0]

    noise = F.pixel_shuffle(task._noise(0, [0], 3), 4)[0]  # 3 is the stream of evaluations
    scenes = layout_of(told.crop, task.config.names)
    from earthgen.pipelines.layout_request import request_of

    wanted = request_of(pipeline.names, 0.3, scenes, None)
    windows = pipeline._cut([wanted], None, None, 2)
    scales = pipeline.scales_of(None)
    made = pipeline._paint([wanted], [told.crop.caption], [lambda draw, shape: noise], [0], 2, scales, windows, None)
    assert torch.allclose(made[0], kept, atol=2e-3)
    again = build_task(recipe.model_copy(update={"initialise": tmp_path / "model"}))
    state = again.build(tmp_path / "model").state_dict()
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in state.items())


def test_real_sources_are_divided_by_place(shared_data: Path) -> None:
    config = load_recipe("layout-small").task
    assert isinstance(config, LayoutConfig)
    data = LayoutData(config, shared_data, 0)
    parts = {part: {p.place for p in data._samplers[part].pictures} for part in ("train", "validation", "test")}
    assert not parts["train"] & (parts["validation"] | parts["test"])
    assert not parts["validation"] & parts["test"]
    for part in parts:
        seen = {label for p in data._samplers[part].pictures for label in p.labels}
        assert seen == {"building", "tree", "ship", "plane"}, part
    assert data.train.counts()["tree"] > 300
    one = data.told([3])[0].crop
    assert one.pixels.shape == (3, config.objects.size, config.objects.size)
    assert np.array_equal(one.pixels, data.told([3])[0].crop.pixels)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"files": "nowhere.json"}, "nowhere.json"),
        ({"files": "a.json", "tile_zoom": 19}, "no tile numbers"),
        ({"files": "b.json"}, "cannot be read as a picture"),
    ],
)
def test_bad_sources_get_one_sentence(settings: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (20, 20)).save(tmp_path / "one.png")
    (tmp_path / "two.png").write_bytes(b"no picture")
    for name, file in (("a", "one"), ("b", "two")):
        (tmp_path / f"{name}.json").write_text(
            f'{{"images": [{{"id": 1, "file_name": "{file}.png", "width": 20, "height": 20}}], "annotations": '
            '[{"id": 1, "image_id": 1, "category_id": 1, "bbox": [2, 2, 5, 5]}], "categories": [{"id": 1, "name": "ship"}]}'
        )
    with pytest.raises(InputError, match=sentence):
        AnnotatedObjects(**settings).divided(tmp_path, ("train", "validation", "test"))
