"""Training from streams: every picture once an epoch, the same whatever the batch, mixed with sources in memory, nothing held out."""

from __future__ import annotations

import io
import json
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from earthgen.gen.data.datasets import PairDataset
from earthgen.gen.data.degrade import Decimate, build_degradation
from earthgen.gen.data.sources import ArrayFiles, ImageFiles, StreamFiles
from earthgen.gen.data.stream import free_corners
from earthgen.gen.errors import InputError
from earthgen.train.loop import train
from earthgen.train.order import Stream, sample_rng
from earthgen.train.recipe import Recipe, check_recipe, dump_recipe, load_recipe
from earthgen.train.tasks.super_resolution import SuperResolutionTask

HALVE = build_degradation([Decimate(scale=2)])
SHARDS = StreamFiles(format="webdataset", files="shards/*.tar")
MODEL = {"width": 8, "enc_blocks": [1, 1], "dec_blocks": [1, 1], "pool_size": 16, "cpem_width": 16, "cpem_blocks": 1}


def write_shards(folder: Path, pictures: dict[str, bytes], shards: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(shards):
        with tarfile.open(folder / f"{shard}.tar", "w") as tar:
            for name, data in list(pictures.items())[shard::shards]:
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


def encoded(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """60 pictures in 5 shards, each of one brightness: 4 times its number."""
    write_shards(tmp_path / "shards", {f"p{n:02d}.png": encoded(np.full((18, 20, 3), 4 * n, np.uint8)) for n in range(60)}, 5)
    np.savez(tmp_path / "x.npz", x=np.full((3, 32, 32), 0.999, np.float32))
    return tmp_path


def drawn(data: PairDataset, index: int) -> Any:
    return data.item(sample_rng(3, index, Stream.DATA), index)


def test_each_epoch_sees_each_picture_once_in_an_order_of_its_own(root: Path) -> None:
    data = PairDataset([SHARDS], root, 16, HALVE, seed=3)
    assert (data.bands, len(data.names), data.pictures) == (3, 60, [])
    orders = []
    for epoch in range(3):
        pairs = [drawn(data, index) for index in range(60 * epoch, 60 * epoch + 60)]
        values = [round(float(pair.high.mean()) * 255 / 4) for pair in pairs]
        assert sorted(values) == list(range(60))
        assert all(f"/p{value:02d}+" in pair.name for value, pair in zip(values, pairs, strict=True))
        orders.append(values)
    assert len({tuple(order) for order in orders}) == 3
    other = PairDataset([SHARDS], root, 16, HALVE, seed=4)
    assert [drawn(other, index).name for index in range(60)] != [drawn(data, index).name for index in range(60)]


def test_a_sample_is_a_function_of_its_index(root: Path) -> None:
    first = [drawn(PairDataset([SHARDS], root, 16, HALVE, seed=3), index) for index in (70, 7)]
    data = PairDataset([SHARDS], root, 16, HALVE, seed=3)
    again = {index: drawn(data, index) for index in range(80)}
    for pair, index in zip(first, (70, 7), strict=True):
        assert torch.equal(pair.high, again[index].high)
        assert pair.name == again[index].name
    with pytest.raises(ValueError, match="sample index"):
        data.item(np.random.default_rng(0))


def test_streams_beside_pictures_in_memory(root: Path) -> None:
    sources = [ArrayFiles(files="x.npz", key="x", bands=(0, 1, 2), weight=1), SHARDS.model_copy(update={"weight": 3.0})]
    data = PairDataset(sources, root, 16, HALVE, seed=0)
    names = [drawn(data, index).name.split("+")[0] for index in range(1000)]
    counts = Counter(names)
    assert counts.pop("x.npz") == 250
    assert len(counts) == 60
    assert set(counts.values()) <= {12, 13}  # 750 turns of 60 pictures: twelve and a half epochs
    assert list(data.names)[:2] == ["x.npz", "shards/0.tar/p00"]
    assert data.names[60] == list(data.names)[60]


def test_formats_give_the_same_pictures(root: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    (root / "folder").mkdir()
    (root / "tiles").mkdir()
    rows = []
    for number in range(10):
        data = encoded(np.full((16, 16, 3), 20 * number, np.uint8))
        (root / f"folder/{number}.png").write_bytes(data)
        (root / f"tiles/5_{number}_3.png").write_bytes(data)
        rows.append({"image": {"bytes": data, "path": None}})
    parquet.write_table(arrow.Table.from_pylist(rows), root / "rows.parquet", row_group_size=3)
    for layout, files in (("imagefolder", "folder"), ("tiles", "tiles"), ("parquet", "rows.parquet")):
        data = PairDataset([StreamFiles(format=layout, files=files)], root, 16, HALVE)  # type: ignore[arg-type]
        values = sorted(round(float(drawn(data, index).high.mean()) * 255 / 20) for index in range(10))
        assert values == list(range(10)), layout
        assert all(name.startswith(files) for name in data.names)


def test_bands_nodata_and_patterns(tmp_path: Path) -> None:
    array = np.arange(4 * 20 * 24, dtype=np.uint16).reshape(4, 20, 24) + 1
    array[:, 3, 5] = 0
    stream = io.BytesIO()
    np.save(stream, array)
    write_shards(tmp_path / "s", {"a.npy": stream.getvalue(), "b.npy": stream.getvalue()}, 1)
    source = StreamFiles(format="webdataset", files="s/*.tar", bands=(2, 0), scale=0.5, nodata=0, exclude=("*/b",))
    data = PairDataset([source], tmp_path, 16, HALVE)
    assert list(data.names) == ["s/0.tar/a"]
    corners = {tuple(map(int, drawn(data, index).name.split("+")[1].split(","))) for index in range(300)}
    allowed = {(top, left) for top in range(5) for left in range(9) if not (top <= 3 < top + 16 and left <= 5 < left + 16)}
    assert corners == allowed
    assert drawn(data, 0).high.shape == (2, 16, 16)
    picture = data.streams[0].picture(0, 0).picture
    np.testing.assert_array_equal(picture.pixels[:, 0], array[[2, 0], 0] * np.float32(0.5))


def test_free_corners_against_a_search() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        pixels = np.where(rng.random((2, 9, 11)) < 0.02, np.nan, 1.0).astype(np.float32)
        found = free_corners(pixels, 4)
        expected = [[r, c] for r in range(6) for c in range(8) if np.isfinite(pixels[:, r : r + 4, c : c + 4]).all()]
        if np.isfinite(pixels).all():
            assert found is None
        else:
            assert found is not None
            assert found.tolist() == expected


def recipe(root: Path, **task: Any) -> Recipe:
    config = {
        "kind": "super_resolution",
        "bands": ["r", "g", "b"],
        "scale": 2,
        "crop": 16,
        "model": {**MODEL, "prediction": "v_prediction"},
        "scheduler": {"data_scale": 2.0, "prediction_type": "v_prediction"},
        "degradation": [{"kind": "mtf_blur", "scale": 2}, {"kind": "decimate", "scale": 2}],
        "sources": [{"kind": "stream", "format": "webdataset", "files": "shards/*.tar", "gain": [0.8, 1.2]}],
        **task,
    }
    table = {
        "name": "t",
        "samples": 24,
        "batch": 4,
        "save_every": 8,
        "log_every": 4,
        "output": str(root / "runs"),
        "data": str(root),
        "task": config,
    }
    return check_recipe(table, "test")


def test_a_held_out_picture_is_found_by_name_and_by_content(root: Path) -> None:
    one = {"kind": "stream", "format": "webdataset", "files": "shards/*.tar"}
    with pytest.raises(InputError, match=r"shards/0\.tar/p05 is also trained on"):
        SuperResolutionTask(recipe(root, held_out={"sources": [{**one, "only": ["*/p05"]}], "crop": 16}))
    apart = [{**one, "exclude": ["*/p05"]}]
    SuperResolutionTask(recipe(root, sources=apart, held_out={"sources": [{**one, "only": ["*/p05"]}], "crop": 16}))
    (root / "copy.png").write_bytes(encoded(np.full((18, 20, 3), 4 * 7, np.uint8)))
    task = SuperResolutionTask(recipe(root, held_out={"sources": [{"kind": "image", "files": "copy.png"}], "crop": 16}))
    with pytest.raises(InputError, match=r"copy\.png is also trained on, as shards/\d\.tar/p07"):
        task.batch(list(range(60)))
    assert isinstance(ImageFiles(files="copy.png").weight, float)


@pytest.mark.usefixtures("fresh_accelerate")
def test_a_run_from_shards_resumes_bit_for_bit_and_names_what_it_skipped(root: Path) -> None:
    broken = encoded(np.full((18, 20, 3), 9, np.uint8))
    many = {f"q{n:03d}.png": encoded(np.random.default_rng(n).integers(0, 256, (16, 16, 3), dtype=np.uint8)) for n in range(100)}
    many["q010.png"] = broken[:60]
    for path in (root / "shards").iterdir():
        path.unlink()
    write_shards(root / "shards", many, 7)
    whole = recipe(root).model_copy(update={"samples": 100, "save_every": 32, "workers": 2, "name": "whole"})
    first = train(whole, SuperResolutionTask(whole))
    log = (first.folder / "log.jsonl").read_text()
    assert "q010" in log
    parts = whole.model_copy(update={"name": "parts", "workers": 0})
    seen = iter(range(100))
    half = train(parts, SuperResolutionTask(parts), stop=lambda: next(seen) == 10)
    assert half.samples == 44
    last = train(parts, SuperResolutionTask(parts))
    for name, value in first.state.model.state_dict().items():
        assert torch.equal(value, last.state.model.state_dict()[name]), name


def test_a_shipped_recipe_takes_shards_from_the_command_line(root: Path) -> None:
    override = 'task.sources=[{kind="stream", format="webdataset", files="shards/*.tar"}]'
    given = load_recipe("ediffsr-x4-small-rgb", [override, "task.crop=16", "task.held_out.sources=[]", f"data={root}"])
    batch = SuperResolutionTask(given).batch([0, 1, 2])
    assert batch.tensors["high"].shape == (3, 3, 16, 16)
    assert batch.tensors["low"].shape == (3, 3, 4, 4)
    assert check_recipe(json.loads(json.dumps(dump_recipe(given))), "again") == given
    with pytest.raises(InputError, match=r"task\.sources\.0\.format"):
        load_recipe("ediffsr-x4-small-rgb", [override.replace("webdataset", "webdatset")])
