"""Twenty steps of every recipe at a tiny size, held against numbers in a file.

The data are synthetic and the arithmetic is float64, so that the numbers are the same on every machine. After a wanted change write them
anew: ``python tests/numeric/test_train_golden.py``.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from earthgen.gen.models.eanet import EANet
from earthgen.gen.schedulers.mean_reverting import MeanRevertingScheduler
from earthgen.gen.zoo.folder import write_model_folder
from earthgen.train.launch import build_task
from earthgen.train.loop import train
from earthgen.train.recipe import RECIPES, Recipe, check_recipe, dump_recipe, load_recipe
from earthgen.train.task import Batch, Task
from earthgen.train.tasks.generation import GenerationTask
from earthgen.train.tasks.super_resolution import SuperResolutionTask

pytestmark = pytest.mark.usefixtures("fresh_accelerate")

GOLDEN = Path(__file__).with_name("golden_losses.json")
NAMES = sorted(path.stem for path in RECIPES.glob("*.toml"))
STEPS, BATCH = 20, 2


def in_double_precision(task: Task) -> Task:
    """The task itself, computed in float64."""
    build, batch = task.build, task.batch

    def double(indices: list[int]) -> Batch:
        made = batch(indices)
        tensors = {name: value.double() if value.is_floating_point() else value for name, value in made.tensors.items()}
        return Batch(made.indices, made.names, tensors)

    if isinstance(task, GenerationTask):
        for frozen in (task.data.autoencoder, *task.controls.encoders.values()):
            frozen.double()
    task.build, task.batch = (lambda initialise: build(initialise).double()), double
    return task


def shrunk(name: str, folder: Path) -> Recipe:
    """The recipe with everything that costs time made small, and its pictures replaced by keyed ones."""
    table = dump_recipe(load_recipe(name))
    table.update(samples=STEPS * BATCH, batch=BATCH, accumulate=1, workers=0, precision="no", log_every=BATCH, evaluate_every=0)
    table.update(save_every=STEPS * BATCH, show_every=0, probe_every=0, output=str(folder / "runs"), data=str(folder))
    table["optimizer"].update(warm_up=10, lr=1e-3)
    SHRINK[table["task"]["kind"]](table["task"], folder)
    return check_recipe(table, name)


def _shrink_super_resolution(task: dict[str, Any], folder: Path) -> None:
    bands = len(task["bands"])
    steps = np.random.default_rng(11).standard_normal((3, bands, 48, 48)).astype(np.float32)
    np.savez(folder / "pictures.npz", x=0.3 + 0.02 * steps.cumsum(-1).cumsum(-2) / 10)
    source = {"kind": "array", "files": "pictures.npz", "key": "x", "bands": list(range(bands))}
    task.update(crop=32, sources=[source], held_out={"sources": []})
    task["model"].update(width=8, enc_blocks=[1, 1, 1, 1])
    if task["model"].get("variant") == "cpem_lr":
        task["model"].update(cpem_width=16)


def _shrink_autoencoder(task: dict[str, Any], folder: Path) -> None:
    task["pictures"] = _described_pictures(folder)
    task["model"].update(block_out_channels=[8, 16])


def _described_pictures(folder: Path) -> dict[str, Any]:
    """Pictures of one training place with captions, dates and masks."""
    from PIL import Image

    rng = np.random.default_rng(11)
    (folder / "pictures").mkdir()
    (folder / "masks").mkdir()
    for number in range(3):
        walk = rng.standard_normal((40, 40, 3)).cumsum(0).cumsum(1)
        Image.fromarray(np.clip(128 + 2 * walk, 0, 255).astype(np.uint8)).save(folder / f"pictures/2021-0{number + 4}.png")
        Image.fromarray((255 * (walk[..., 0] > 0)).astype(np.uint8)).save(folder / f"masks/2021-0{number + 4}.png")
    known = {"gsd": 10.0, "lat": 48.0, "lon": 11.0, "subject": "fields and woods", "place": "a field"}
    source = {"kind": "images", "files": "pictures/*.png", "mask": "masks/{stem}.png", "mask_class": "water", **known}
    return {"size": 16, "sources": [source]}


def _shrink_generation(task: dict[str, Any], folder: Path) -> None:
    hints = sorted({hint for control in task["controls"].values() for hint in control["hints"]})
    task["pictures"] = _described_pictures(folder)
    if hints:
        task["pictures"]["sources"] = [_collection(folder, hints)]
    for given in ("also", "autoencoder", "base"):
        task.pop(given, None)
    task.update(also_share=0.0, bank=min(task["bank"], 6), vae={"block_out_channels": [8, 16], "norm_num_groups": 1})
    task["unet"].update(block_out_channels=[8, 16], attention_head_dim=2, norm_num_groups=4, layers_per_block=1, sample_size=8)
    task["unet"].update(down_block_types=["DownBlock2D", "CrossAttnDownBlock2D"], up_block_types=["CrossAttnUpBlock2D", "UpBlock2D"])
    task["text"]["vocabulary"] = 520
    task["text"]["model"] = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    tower = {"projection_dim": 16, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    small = {
        "hints": {"hint_scale": 2, "pyramid_channels": [4, 4, 8], "inject_channels": [8, 8]},
        "controlnet": {"conditioning_embedding_out_channels": [4, 8]},
        "location": {"width": 16, "heads": 2},
        "content": {"width": 16, "embedding_width": 16, "dropout": [0.0, 0.0], "encoder": {**tower, "image_size": 8, "patch_size": 4}},
    }
    for control in task["controls"].values():
        control["model"].update(small[control["kind"]])


def _collection(folder: Path, hints: list[str]) -> dict[str, Any]:
    """The same pictures as a folder with metadata and hint pictures."""
    from PIL import Image

    (folder / "hints").mkdir()
    rows = []
    for number, path in enumerate(sorted((folder / "pictures").glob("*.png"))):
        shade = np.asarray(Image.open(path))
        row = {
            "file_name": path.name,
            "caption": "fields and woods",
            "lat": 48.0,
            "lon": 11.0,
            "gsd": 2.0,
            "date": f"2021-0{number + 4}-01",
        }
        Image.fromarray(shade).save(folder / "hints" / path.name)
        for kind, hint in enumerate(hints):
            Image.fromarray(np.roll(shade, kind + 1, 0)).save(folder / "hints" / f"{hint}_{path.name}")
            row[f"{hint}_file_name"] = f"{hint}_{path.name}"
        rows.append(json.dumps(row))
    (folder / "hints/metadata.jsonl").write_text("\n".join(rows) + "\n")
    return {"kind": "collection", "format": "imagefolder", "files": "hints", "hints": {hint: hint for hint in hints}}


def _shrink_distillation(task: dict[str, Any], folder: Path) -> None:
    """With a teacher of its own, whose weights come from a keyed generator."""
    system = task["of"]
    _shrink_super_resolution(system, folder)
    model = EANet(bands=len(system["bands"]), scale=system["scale"], **system["model"])
    rng = np.random.default_rng(12)
    for parameter in model.parameters():
        parameter.data = torch.from_numpy(0.1 * rng.standard_normal(tuple(parameter.shape)).astype(np.float32))
    settings = {"bands": system["bands"], "unit": system["unit"], "scale": system["scale"], "mtf": 0.3, "contrast": system["contrast"]}
    components = {"model": model, "scheduler": MeanRevertingScheduler(**system["scheduler"])}
    write_model_folder(
        folder / "teacher", pipeline="SuperResolutionPipeline", components=components, settings=settings, card={}, half=False
    )
    task.update(teacher=str(folder / "teacher"), steps=3, bank=0)


def _shrink_features(task: dict[str, Any], folder: Path) -> None:
    """Pictures of one training place in an index, two of them with classes."""
    from PIL import Image

    rng = np.random.default_rng(11)
    rows = ["path,gsd_m,place,date,class"]
    for number, label in enumerate(("Forest", "River", "")):
        walk = rng.standard_normal((48, 40, 3)).cumsum(0).cumsum(1)
        Image.fromarray(np.clip(128 + 2 * walk, 0, 255).astype(np.uint8)).save(folder / f"{number}.png")
        rows.append(f"{number}.png,{2 + number},a field,2021-0{number + 1},{label}")
    (folder / "index.csv").write_text("\n".join(rows) + "\n")
    task.update(sources=[{"kind": "index", "index": "index.csv"}], crop=32)
    task["model"].update(widths=[8, 8, 8, 8])


def _shrink_layout(task: dict[str, Any], folder: Path) -> None:
    """Two scenes where the recipe draws some, and labelled pictures where it reads some."""
    from PIL import Image

    rng = np.random.default_rng(13)
    images, boxes = [], []
    for number in range(3):
        walk = rng.standard_normal((48, 40, 3)).cumsum(0).cumsum(1)
        Image.fromarray(np.clip(128 + 2 * walk, 0, 255).astype(np.uint8)).save(folder / f"{number}.png")
        images.append({"id": number + 1, "file_name": f"{number}.png", "width": 40, "height": 48})
        for at in range(2):
            box = {"bbox": [4 + 12 * at, 6 + 3 * number, 11, 9], "area": 99, "iscrowd": 0}
            boxes.append({"id": len(boxes) + 1, "image_id": number + 1, "category_id": 1 + at, **box})
    names = [{"id": 1, "name": "building"}, {"id": 2, "name": "tree"}]
    (folder / "annotations.json").write_text(json.dumps({"images": images, "annotations": boxes, "categories": names}))
    read = {"kind": "annotations", "files": "annotations.json", "captions": ["houses", "trees"], "validation": ["nowhere"]}
    drawn = [{"kind": "scenes", "size": 40}]
    real = any(source["kind"] == "annotations" for source in task["objects"]["sources"])
    task["objects"].update(size=32, extent=[8, 16], sources=[read] if real else drawn)
    task["model"].update(block_out_channels=[8, 16], attention=[False, True], heads=2, encoder={"start": "any", "hidden": 16})
    task["bank"] = min(task["bank"], 6)
    task["text"] = {"vocabulary": 520, "model": {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}}
    task["text"]["model"].update(num_attention_heads=2, max_position_embeddings=12)


def _shrink_layout_prior(task: dict[str, Any], folder: Path) -> None:
    """Three pictures with boxes, one of them held out."""
    from PIL import Image

    rng = np.random.default_rng(11)
    categories = [{"id": number + 1, "name": name} for number, name in enumerate(task["names"])]
    table: dict[str, Any] = {"images": [], "annotations": [], "categories": categories}
    for number, place in enumerate(("a", "b", "held")):
        name = f"{place}.png"
        Image.fromarray(np.full((48, 64, 3), 90, np.uint8)).save(folder / name)
        table["images"].append({"id": number + 1, "file_name": name, "width": 64, "height": 48})
        for kind in range(6):
            box = [*rng.uniform(2, 24, 2).tolist(), *rng.uniform(8, 20, 2).tolist()]
            label, identity = kind % len(task["names"]) + 1, len(table["annotations"]) + 1
            table["annotations"].append(
                {"id": identity, "image_id": number + 1, "category_id": label, "bbox": box, "area": box[2] * box[3]}
            )
    (folder / "boxes.json").write_text(json.dumps(table))
    task.update(sources=[{"kind": "annotations", "files": "boxes.json", "validation": ["held"]}], size=16, count=2, steps=2)
    task["model"].update(block_out_channels=[8, 16], attention_head_dim=4)


SHRINK = {
    "layout_prior": _shrink_layout_prior,
    "layout": _shrink_layout,
    "features": _shrink_features,
    "generation": _shrink_generation,
    "super_resolution": _shrink_super_resolution,
    "autoencoder": _shrink_autoencoder,
    "distillation": _shrink_distillation,
}


def losses(name: str, folder: Path) -> list[float]:
    recipe = shrunk(name, folder)
    trainer = train(recipe, in_double_precision(build_task(recipe)))
    lines = [json.loads(line) for line in (trainer.folder / "log.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines]


@pytest.mark.parametrize("name", NAMES)
def test_golden_losses(name: str, tmp_path: Path) -> None:
    found, expected = losses(name, tmp_path), json.loads(GOLDEN.read_text())[name]
    assert len(found) == STEPS
    assert found == pytest.approx(expected, rel=1e-6)


def test_gradient_checkpointing_changes_no_number(tmp_path: Path) -> None:
    recipe = shrunk("ediffsr-x4-small", tmp_path).model_copy(update={"gradient_checkpointing": True, "samples": 5 * BATCH})
    trainer = train(recipe, in_double_precision(SuperResolutionTask(recipe)))
    lines = [json.loads(line) for line in (trainer.folder / "log.jsonl").read_text().splitlines()]
    assert trainer.state.model.gradient_checkpointing is True
    expected = json.loads(GOLDEN.read_text())["ediffsr-x4-small"][:3]
    # Later steps differ by the schedule, whose length is the run's.
    assert [line["loss"] for line in lines[:3]] == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
def test_four_pictures_are_learnt_by_heart(tmp_path: Path) -> None:
    """The small network brings its loss on four fixed crops far under that of a network that says nothing."""
    recipe = shrunk("ediffsr-x4-small", tmp_path)
    table = dump_recipe(recipe)
    table.update(samples=4 * 600, batch=4, save_every=10_000, log_every=400, ema_half_life=0)
    table["optimizer"].update(lr=3e-3, warm_up=100)
    table["task"].update(final_time_share=1.0)
    table["task"]["model"].update(width=16, cpem_width=48)
    recipe = check_recipe(table, "overfit")

    class FourPictures(SuperResolutionTask):
        def batch(self, indices: list[int]) -> Batch:
            return super().batch([index % 4 for index in indices])

    trainer = train(recipe, FourPictures(recipe))
    lines = [json.loads(line) for line in (trainer.folder / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["mean_error"] < 0.1 * lines[-1]["bicubic_error"]


if __name__ == "__main__":
    torch.set_num_threads(1)
    # Names of recipes may be given; the others stay as they are.
    chosen = sys.argv[1:] or NAMES
    written = {name: kept for name, kept in json.loads(GOLDEN.read_text()).items() if name in NAMES and name not in chosen}
    for recipe_name in chosen:
        with tempfile.TemporaryDirectory() as scratch:
            written[recipe_name] = losses(recipe_name, Path(scratch))
    GOLDEN.write_text(json.dumps(dict(sorted(written.items())), indent=1) + "\n")
