"""The raster diffusion prior: its network, its training task, and the pipeline that loads what the task wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from earthgen.gen.annotations import Layout, rotated_iou
from earthgen.gen.annotations.priors.raster import encode_raster
from earthgen.gen.annotations.priors.raster_prior import RasterPrior
from earthgen.gen.annotations.priors.rejection import Ground
from earthgen.gen.annotations.priors.statistics import overlaps
from earthgen.gen.errors import InputError
from earthgen.gen.models.layout_prior import build_layout_prior, draw_rasters
from earthgen.pipelines.layout_prior import LayoutPriorPipeline
from earthgen.train.recipe import Recipe, check_recipe, dump_recipe, load_recipe
from earthgen.train.tasks.layout_prior import LayoutPriorTask


def small(folder: Path, **changes: Any) -> Recipe:
    """The recipe that ships, on four pictures of 64 x 48 pixels with turned and horizontal boxes."""
    rng = np.random.default_rng(3)
    names = ["building", "tree"]
    table: dict[str, Any] = {"images": [], "annotations": [], "categories": [{"id": n + 1, "name": name} for n, name in enumerate(names)]}
    for number, place in enumerate(("a", "b", "c", "held")):
        Image.fromarray(np.full((48, 64, 3), 90, np.uint8)).save(folder / f"{place}.png")
        table["images"].append({"id": number + 1, "file_name": f"{place}.png", "width": 64, "height": 48})
        for at, (x, y) in enumerate([(10, 12), (34, 14), (12, 34), (40, 36)]):
            w, h, angle = (*rng.uniform(8, 13, 2), float(rng.uniform(0.2, 1.2)))
            cos, sin = np.cos(angle), np.sin(angle)
            ends = ((-w / 2, -h / 2), (w / 2, -h / 2), (w / 2, h / 2), (-w / 2, h / 2))
            corners = [(x + 6 + cos * u - sin * v, y + sin * u + cos * v) for u, v in ends]
            row = {"id": len(table["annotations"]) + 1, "image_id": number + 1, "category_id": at % 2 + 1}
            row |= {"bbox": [float(x), float(y), float(w), float(h)], "area": float(w * h)}
            table["annotations"].append(row if at % 2 else {**row, "obb": [float(v) for corner in corners for v in corner]})
    (folder / "boxes.json").write_text(json.dumps(table))
    recipe = dump_recipe(load_recipe("layout-prior-small"))
    recipe.update(samples=16, batch=4, accumulate=1, data=str(folder), output=str(folder / "runs"))
    source = {"kind": "annotations", "files": "boxes.json", "validation": ["held"]}
    recipe["task"].update(sources=[source], size=16, count=4, steps=2, zoom=[1.0, 1.0], model={"block_out_channels": [8, 16]}, **changes)
    recipe["task"]["model"]["attention_head_dim"] = 4
    return check_recipe(recipe, "test")


def test_rasters_of_the_task_are_the_layouts(tmp_path: Path) -> None:
    task = LayoutPriorTask(small(tmp_path))
    batch, again = task.batch([0, 1, 2, 3, 4, 5]), task.batch([3])
    rasters = batch.tensors["raster"]
    assert rasters.shape == (6, 2, 16, 16)
    assert torch.equal(again.tensors["raster"][0], rasters[3])
    assert torch.equal(again.tensors["noise"][0], batch.tensors["noise"][3])
    assert len(task.training) == 3
    assert not any("held" in name for name in batch.names)
    # Turns and flips move cells and keep what they hold.
    shares = sorted(round(float(((encode_raster(layout, ["building", "tree"], 16) + 1) / 2).sum()), 1) for layout in task.training)
    drawn = [float(((raster + 1) / 2).sum()) for raster in rasters]
    assert all(min(abs(one - share) for share in shares) < 2.0 for one in drawn)


def test_the_loss_of_a_perfect_prediction_is_zero(tmp_path: Path) -> None:
    task = LayoutPriorTask(small(tmp_path))
    batch = task.batch(list(range(4)))

    class Knows(torch.nn.Module):
        def forward(self, state: torch.Tensor, time: torch.Tensor) -> Any:
            del state
            target = task._process.target(batch.tensors["raster"], batch.tensors["noise"], time)
            return type("Output", (), {"sample": target})

    loss, figures = task.loss(Knows(), batch)
    assert float(loss) == 0.0
    model = task.build(None)
    assert float(task.loss(model, batch)[1]["error"]) > 0.1
    assert float(figures["error"]) == 0.0


def test_the_sampler_finds_the_only_layout(tmp_path: Path) -> None:
    """Data of one raster have a denoiser in closed form; solving with it gives the raster, and its boxes."""
    task = LayoutPriorTask(small(tmp_path))
    layout = task.training[0]
    truth = torch.from_numpy(encode_raster(layout, ["building", "tree"], 64))[None]
    scheduler = task._sampler()
    signal = scheduler.alphas_cumprod

    class Denoiser(torch.nn.Module):
        device, dtype = torch.device("cpu"), torch.float32

        def forward(self, state: torch.Tensor, time: torch.Tensor) -> Any:
            a = signal[time.long()].sqrt()[:, None, None, None]
            s = (1 - signal[time.long()]).sqrt()[:, None, None, None]
            noise = (state - a * truth) / s
            return type("Output", (), {"sample": a * noise - s * truth})

    noise = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 2, 64, 64), dtype=np.float32))
    found = draw_rasters(Denoiser(), scheduler, noise, 10)  # type: ignore[arg-type]
    assert (found - truth).abs().max() < 0.02
    back = task.prior.decode(found[0].numpy(), layout.width, layout.height)
    assert sorted(back.names) == sorted(layout.names)
    assert rotated_iou(layout.quads, back.quads).max(1).min() > 0.75


@pytest.mark.usefixtures("fresh_accelerate")
def test_trained_exported_and_loaded(tmp_path: Path) -> None:
    from earthgen.train.loop import train

    recipe = small(tmp_path)
    task = LayoutPriorTask(recipe)
    model = train(recipe, task).state.model
    figures = task.evaluate(model)
    assert 0 <= figures["score"] <= 1
    shown = task.show(model)["rasters"]
    assert shown.shape == (32, 128, 3)
    task.export(model, tmp_path / "prior", {"licence": "CC0"})
    pipeline = LayoutPriorPipeline.from_pretrained(tmp_path / "prior")
    first = pipeline(5, num_layouts=3)
    assert first == pipeline(5, num_layouts=3)
    assert pipeline([6]) == first[1:2], "a layout depends on its own seed alone"
    assert all(isinstance(layout, Layout) and (layout.width, layout.height) == (64, 48) for layout in first)
    for layout in pipeline.sample(6, np.random.default_rng(0)):
        assert overlaps(layout)[0].max(initial=0) <= pipeline.prior.limits.overlap + 1e-9
        assert pipeline.prior.limits.findings(layout).ok.all()
    nowhere = Ground(np.zeros((2, 2), int), {"building": frozenset({1}), "tree": frozenset({1})})
    assert not any(layout.boxes for layout in pipeline(5, num_layouts=3, ground=nowhere))
    pipeline.save_pretrained(tmp_path / "copy")
    assert LayoutPriorPipeline.from_pretrained(tmp_path / "copy")(5, num_layouts=3) == first
    again = task.build(tmp_path / "prior")
    assert all(torch.equal(a.half(), b.half()) for a, b in zip(again.parameters(), model.parameters(), strict=True))


def test_wrong_input_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be halved"):
        LayoutPriorTask(odd_sized(tmp_path)).build(None)
    with pytest.raises(InputError, match="no training picture holds"):
        LayoutPriorTask(small(tmp_path, names=["ship"]))
    with pytest.raises(TypeError, match="not a layout prior"):
        LayoutPriorTask(load_recipe("ediffsr-x4-small"))
    table = LayoutPriorTask(small(tmp_path)).prior.table()
    assert RasterPrior.from_table(json.loads(json.dumps(table))).table() == table
    with pytest.raises(InputError, match="are damaged"):
        RasterPrior.from_table({**table, "frames": {}})
    with pytest.raises(InputError, match="draws 3 classes"):
        LayoutPriorPipeline(build_layout_prior(3, 8, block_out_channels=(8,)), None, table)


def odd_sized(folder: Path) -> Recipe:
    recipe = dump_recipe(small(folder))
    recipe["task"]["size"] = 17
    return check_recipe(recipe, "test")
