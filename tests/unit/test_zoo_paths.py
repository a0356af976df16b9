"""What ships names no path of the machine that it was trained on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from earthgen.gen.models.eanet import EANet
from earthgen.gen.schedulers.mean_reverting import MeanRevertingScheduler
from earthgen.gen.zoo import zoo_models
from earthgen.gen.zoo.folder import write_model_folder


@pytest.mark.parametrize("folder", [folder for _, folder in zoo_models()], ids=lambda folder: folder.name)
def test_no_file_of_the_zoo_has_an_absolute_path(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.suffix in (".json", ".toml"):
            text = path.read_text()
            # A tokenizer's vocabulary has a slash of its own.
            assert not re.search(r'"/\w', text), f"{path.name} names an absolute path"
            assert "_name_or_path" not in text


def test_a_network_that_was_loaded_forgets_where_from(tmp_path: Path) -> None:
    def written(name: str, network: EANet) -> Path:
        folder = tmp_path / name
        write_model_folder(folder, pipeline="P", components={"model": network, "scheduler": MeanRevertingScheduler()}, settings={}, card={})
        return folder / "model"

    first = written("first", EANet(bands=1, width=4, enc_blocks=[1], dec_blocks=[1]))
    second = written("second", EANet.from_pretrained(first, torch_dtype=torch.float32))
    assert str(tmp_path) not in (second / "config.json").read_text()
    assert (first / "config.json").read_text() == (second / "config.json").read_text()
