"""Published weights become a model folder that computes what the published network computes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from typer.testing import CliRunner

from earthgen.cli import app
from earthgen.gen.convert.ediffsr import convert_ediffsr
from earthgen.gen.errors import InputError
from earthgen.gen.zoo.card import read_card
from earthgen.pipelines.super_resolution import SuperResolutionPipeline

VARIANTS = ("rcab", "msgroup_a", "msgroup_b")


@pytest.fixture(scope="module")
def reference(bench_module: Callable[[str], ModuleType]) -> ModuleType:
    """The straightforward implementation in the published naming."""
    return bench_module("reference_eanet")


def published(reference: ModuleType, variant: str, *, bands: int = 3, seed: int = 0) -> nn.Module:
    """A tiny network in the published naming, every weight random."""
    torch.manual_seed(seed)
    network: nn.Module = reference.ReferenceEANet(bands, 8, (2, 1), 1, (1, 1), variant)
    for name, parameter in network.named_parameters():
        if name.endswith(("beta", "gamma")):
            nn.init.normal_(parameter, std=0.5)
    return network.eval()


def answers_alike(mine: nn.Module, theirs: nn.Module, bands: int = 3) -> None:
    generator = torch.Generator().manual_seed(1)
    sample, mu = torch.randn(2, 2, bands, 24, 16, generator=generator)
    time = torch.tensor([3.0, 87.0])
    with torch.no_grad():
        expected = theirs(sample, time, mu)
        torch.testing.assert_close(mine(sample, time, mu), expected, atol=1e-5, rtol=1e-5)
    assert expected.std() > 0.1


def wrap(state: Mapping[str, Tensor], kind: str) -> dict[str, Any]:
    """The forms in which the published code saves."""
    if kind == "parallel":
        return {f"module.{key}": value for key, value in state.items()}
    if kind == "averaged":
        average = {f"ema_model.{key}": value for key, value in state.items()}
        online = {f"online_model.{key}": torch.zeros_like(value) for key, value in state.items()}
        return {"initted": torch.tensor(True), "step": torch.tensor(7), **online, **average}
    return dict(state)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("kind", ["plain", "parallel", "averaged"])
def test_each_version_is_told_by_its_keys_and_computes_the_same(tmp_path: Path, reference: ModuleType, variant: str, kind: str) -> None:
    network = published(reference, variant)
    torch.save(wrap(network.state_dict(), kind), tmp_path / "weights.pth")
    converted = convert_ediffsr(tmp_path / "weights.pth")
    assert converted.model.config["variant"] == variant
    assert converted.model.config["pool"] == "global"
    assert converted.model.config["enc_blocks"] == (2, 1)
    answers_alike(converted.model, network)


def test_averaged_weights_of_a_parallel_network(tmp_path: Path, reference: ModuleType) -> None:
    network = published(reference, "rcab")
    torch.save({f"ema_model.module.{key}": value for key, value in network.state_dict().items()}, tmp_path / "lastest_EMA.pth")
    answers_alike(convert_ediffsr(tmp_path / "lastest_EMA.pth").model, network)


def test_safetensors_and_other_band_counts(tmp_path: Path, reference: ModuleType) -> None:
    network = published(reference, "rcab", bands=7)
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    with pytest.raises(InputError, match="7 bands and none is named"):
        convert_ediffsr(tmp_path / "weights.safetensors")
    names = [f"B{number}" for number in range(1, 8)]
    converted = convert_ediffsr(tmp_path / "weights.safetensors", bands=names, unit="reflectance", sampler="em")
    assert converted.settings["bands"] == names
    assert converted.scheduler.config["final_noise"] is True
    answers_alike(converted.model, network, bands=7)


def test_a_group_of_unpublished_length_needs_its_variant(tmp_path: Path, reference: ModuleType) -> None:
    network = published(reference, "msgroup_a")
    del network.enhance.residual_group[4]
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    with pytest.raises(InputError, match=r"fit msgroup_a and msgroup_b.*--variant"):
        convert_ediffsr(tmp_path / "weights.pth")
    first = convert_ediffsr(tmp_path / "weights.pth", variant="msgroup_a").model
    answers_alike(first, network)
    second = convert_ediffsr(tmp_path / "weights.pth", variant="msgroup_b").model
    network.variant = "msgroup_b"
    answers_alike(second, network)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda state: state.pop("encoders.0.1.conv3.bias"), "1 missing"),
        (lambda state: state.update({"extra.weight": torch.zeros(1)}), "1 unexpected"),
        (lambda state: state.update({"downs.0.weight": torch.zeros(16, 8, 3, 3)}), "downs.0.weight is"),
        (lambda state: state.update({"ending.bias": torch.full((3,), torch.nan)}), "ending.bias is not finite"),
        (lambda state: state.pop("intro.weight"), "no EDiffSR network"),
        (lambda state: [state.pop(key) for key in list(state) if key.startswith("enhance.")], "fit no version"),
        (lambda state: state.update({"encoders.0.0.conv2_3.weight": torch.zeros(16, 1, 3, 3)}), "fit no version"),
        (lambda state: state.update({"intro.weight": torch.zeros(1).expand(2**40, 6, 3, 3)}), "claims more numbers"),
        (lambda state: state.update({"encoders.0.999999999999.norm1.g": torch.zeros(1)}), "do not fit"),
        (lambda state: state.update({"ending.weight": torch.zeros(4, 8, 3, 3)}), "twice what it returns"),
        (lambda state: state.update({"ending.weight": 3}), "holds a int"),
    ],
)
def test_conversion_is_strict(tmp_path: Path, reference: ModuleType, change: Any, sentence: str) -> None:
    state = dict(published(reference, "rcab").state_dict())
    change(state)
    torch.save(state, tmp_path / "weights.pth")
    with pytest.raises(InputError, match=sentence):
        convert_ediffsr(tmp_path / "weights.pth")


@pytest.mark.parametrize(("variant", "asked"), [("rcab", "msgroup_a"), ("msgroup_b", "rcab"), ("rcab", "refusion")])
def test_a_variant_that_the_keys_contradict_is_refused(tmp_path: Path, reference: ModuleType, variant: str, asked: str) -> None:
    torch.save(published(reference, variant).state_dict(), tmp_path / "weights.pth")
    with pytest.raises(InputError, match="variant"):
        convert_ediffsr(tmp_path / "weights.pth", variant=asked)


def test_the_command_writes_a_folder_that_upscales(tmp_path: Path, reference: ModuleType) -> None:
    network = published(reference, "msgroup_b")
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    folder = tmp_path / "model"
    outcome = CliRunner().invoke(app, ["convert", "ediffsr", str(tmp_path / "weights.pth"), str(folder)])
    assert outcome.exit_code == 0, outcome.output
    count = sum(parameter.numel() for parameter in network.parameters())
    assert "msgroup_b" in outcome.output
    assert f"{count / 1e6:.2f} M" in outcome.output
    assert read_card(folder)["parameters"] == count
    pipeline = SuperResolutionPipeline.from_pretrained(folder)
    assert pipeline.bands == ("red", "green", "blue")
    assert (pipeline.unit, pipeline.scale, pipeline.scheduler.config["sampler"]) == ("display", 4, "dpmpp_2m")
    answers_alike(pipeline.model, network)  # full precision is kept
    result = pipeline(torch.rand(3, 8, 5), num_inference_steps=2, output_type="pt")
    assert result.images.shape[-3:] == (3, 32, 20)


@pytest.mark.slow
def test_published_size_has_its_parameter_count(tmp_path: Path, reference: ModuleType) -> None:
    network = reference.ReferenceEANet(3, 64, (14, 1, 1, 1), 1, (1, 1, 1, 1), "rcab")
    torch.save(network.state_dict(), tmp_path / "180000_G.pth")
    assert convert_ediffsr(tmp_path / "180000_G.pth").card["parameters"] == 20_403_719
