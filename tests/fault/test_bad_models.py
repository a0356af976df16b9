"""Model folders that are damaged, incomplete, made for something else, or dangerous: one sentence each, and no code runs."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from earthgen.gen.errors import InputError
from earthgen.gen.models.eanet import EANet
from earthgen.gen.schedulers.mean_reverting import MeanRevertingScheduler
from earthgen.pipelines.super_resolution import SuperResolutionPipeline

WEIGHTS = "model/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good") / "model"
    network = EANet(bands=1, width=4, enc_blocks=[1], dec_blocks=[1], pool_size=16, cpem_width=4, cpem_blocks=1)
    SuperResolutionPipeline(network, MeanRevertingScheduler(), ["B04"]).save_pretrained(folder)
    return folder


def edit(name: str, change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        value = json.loads((folder / name).read_text())
        change(value)
        (folder / name).write_text(json.dumps(value))

    return spoil


def reweigh(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        tensors = load_file(folder / WEIGHTS)
        change(tensors)
        save_file(tensors, folder / WEIGHTS)

    return spoil


def cut(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-100])


def huge_header(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((2**62).to_bytes(8, "little") + b"{}")


def header_beyond_the_file(folder: Path) -> None:
    header = b'{"intro.weight":{"dtype":"F32","shape":[99999999,99999999],"data_offsets":[0,4]}}'
    (folder / WEIGHTS).write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 4)


CASES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no index": (lambda f: (f / "model_index.json").unlink(), "has no model_index.json"),
    "no config": (lambda f: (f / "model/config.json").unlink(), "has no config.json; it is incomplete"),
    "no scheduler": (lambda f: shutil.rmtree(f / "scheduler"), "has no scheduler_config.json; it is incomplete"),
    "no weights": (lambda f: (f / WEIGHTS).unlink(), "has no diffusion_pytorch_model.safetensors; it is incomplete"),
    "empty weights": (lambda f: (f / WEIGHTS).write_bytes(b""), "are damaged"),
    "cut weights": (cut, "are damaged"),
    "huge header": (huge_header, "are damaged"),
    "header beyond the file": (header_beyond_the_file, "are damaged"),
    "index no JSON": (lambda f: (f / "model_index.json").write_text("{"), "not valid JSON"),
    "index no object": (lambda f: (f / "model_index.json").write_text("[]"), "a list where a JSON object is expected"),
    "index binary": (lambda f: (f / "model_index.json").write_bytes(b"\xff\xfe\0"), "not valid JSON"),
    "index too deep": (lambda f: (f / "model_index.json").write_text("[" * 100_000), "not valid JSON"),
    "other pipeline": (
        edit("model_index.json", lambda v: v.update(_class_name="StableDiffusionPipeline")),
        "made for StableDiffusionPipeline",
    ),
    "no pipeline": (edit("model_index.json", lambda v: v.pop("_class_name")), "made for None"),
    "bands wrong": (edit("model_index.json", lambda v: v.update(bands=["B04", "B03"])), "takes 1 bands"),
    "bands no list": (edit("model_index.json", lambda v: v.update(bands=3)), "cannot be built"),
    "scale wrong": (edit("model_index.json", lambda v: v.update(scale=2)), "scale is 2, the network's 4"),
    "mtf wrong": (edit("model_index.json", lambda v: v.update(mtf=3.0)), "MTF 3.0"),
    "variant unknown": (edit("model/config.json", lambda v: v.update(variant="new")), "variant is 'new'"),
    "width wrong": (edit("model/config.json", lambda v: v.update(width=8)), "do not fit their config: .* instead of"),
    "width absurd": (edit("model/config.json", lambda v: v.update(width=10**7)), "do not fit their config|cannot be built"),
    "width no number": (edit("model/config.json", lambda v: v.update(width="wide")), "cannot be built"),
    "blocks wrong": (edit("model/config.json", lambda v: v.update(mid_blocks=2)), "keys .* missing"),
    "scheduler wrong": (edit("scheduler/scheduler_config.json", lambda v: v.update(sampler="magic")), "sampler is 'magic'"),
    "scheduler prediction": (
        edit("scheduler/scheduler_config.json", lambda v: v.update(prediction_type="v_prediction")),
        "predicts epsilon",
    ),
    "missing key": (reweigh(lambda t: t.pop("intro.weight")), r"1 missing \(intro\.weight\)"),
    "unexpected key": (reweigh(lambda t: t.update(extra=torch.zeros(1))), r"1 unexpected \(extra\)"),
    "wrong shape": (reweigh(lambda t: t.update({"intro.bias": torch.zeros(7)})), r"intro\.bias is \(7,\) instead of \(4,\)"),
    "not finite": (reweigh(lambda t: t["intro.bias"].fill_(float("nan"))), r"values in intro\.bias that are not finite"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_bad_folder_gets_one_sentence(good: Path, tmp_path: Path, case: str) -> None:
    spoil, sentence = CASES[case]
    folder = tmp_path / "model"
    shutil.copytree(good, folder)
    SuperResolutionPipeline.from_pretrained(folder)
    spoil(folder)
    with pytest.raises(InputError, match=sentence) as caught:
        SuperResolutionPipeline.from_pretrained(folder)
    assert "\n" not in str(caught.value)


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return Path.write_text, (self.target, "boom")


@pytest.mark.parametrize("name", ["model/diffusion_pytorch_model.bin", "weights.pt", "model/x.ckpt", "A.PTH", "scheduler/state.pkl"])
@pytest.mark.parametrize("keep_safe", [True, False])
def test_a_pickle_is_refused_unopened(good: Path, tmp_path: Path, name: str, keep_safe: bool) -> None:
    folder, mark = tmp_path / "model", tmp_path / "boom"
    shutil.copytree(good, folder)
    (folder / name).write_bytes(pickle.dumps(Bomb(mark)))
    if not keep_safe:
        (folder / WEIGHTS).unlink()
    with pytest.raises(InputError, match="a pickle, which can run code") as caught:
        SuperResolutionPipeline.from_pretrained(folder)
    assert name in str(caught.value)
    assert not mark.exists()
    pickle.loads((folder / name).read_bytes())  # it would have
    assert mark.exists()


def test_code_in_a_folder_is_not_run(good: Path, tmp_path: Path) -> None:
    """diffusers can load components from Python files beside the weights; we do not."""
    folder, mark = tmp_path / "model", tmp_path / "boom"
    shutil.copytree(good, folder)
    for name in ("pipeline.py", "model/earthgen.py", "scheduler/earthgen.py"):
        (folder / name).write_text(f"open({str(mark)!r}, 'w').close()")
    SuperResolutionPipeline.from_pretrained(folder)
    edit("model_index.json", lambda v: v.update(model=["subprocess", "Popen"]))(folder)
    SuperResolutionPipeline.from_pretrained(folder)  # classes are ours, whatever the index says
    assert not mark.exists()
