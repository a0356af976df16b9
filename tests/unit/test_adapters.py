"""LoRA and partial training: the identity at the start, what is trained, merging, files, checkpoints and exports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from earthgen.gen.errors import InputError
from earthgen.gen.models.eanet import EANet
from earthgen.gen.models.lora import add_lora, base_digest, can_hold, load_adapter, merged_state
from earthgen.train.adapters import frozen_digest, frozen_names, matching, save_adapter, train_only

LAYERS = ("time_mlp.3", "intro", "cpem.fold", "encoders.0.0.conv1", "encoders.0.0.conv3", "middle_blks.0.conv5", "downs.0", "ups.0.0")


def network(seed: int = 0) -> EANet:
    """A tiny network that is nowhere zero, so that every layer counts."""
    torch.manual_seed(seed)
    model = EANet(bands=2, width=8, enc_blocks=(1,), mid_blocks=1, dec_blocks=(1,), scale=2, cpem_width=8, cpem_blocks=1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def inputs() -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    high, mu = torch.randn(2, 2, 2, 10, 12, generator=generator)
    return high, torch.tensor([3.0, 70.0]), mu, torch.randn(2, 2, 5, 6, generator=generator)


def moved(model: nn.Module) -> None:
    """Give B some values, as training does."""
    generator = torch.Generator().manual_seed(2)
    for module in model.modules():
        if isinstance(module, LoraLayer):
            weight = module.lora_B["default"].weight
            weight.data = torch.randn(weight.shape, generator=generator) * 0.1


def test_lora_is_the_identity_at_the_start_and_freezes_the_rest() -> None:
    model = network()
    expected = model(*inputs())
    names = [name for name, _ in model.named_parameters()]
    before = base_digest(model.named_parameters())
    add_lora(model, LAYERS, rank=3, alpha=6.0)
    found = model(*inputs())
    # Not bit for bit: the gain of a block is multiplied into plain weights, but onto the result of an adapted layer.
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6 * float(expected.abs().max()))
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert len(trained) == 2 * len(LAYERS)
    assert all(".lora_" in name for name in trained)
    assert len(frozen_names(model)) == len(names)
    assert frozen_digest(model) == before


def test_every_layer_that_can_hold_an_adapter_feels_it() -> None:
    """A network that reads a layer's weights itself would pass the adapter by without a word."""
    model = network()
    layers = [name for name, layer in model.named_modules() if can_hold(layer)]
    assert "encoders.0.0.conv2" not in layers  # grouped: peft cannot merge it
    add_lora(model, layers, rank=2, alpha=2.0)
    moved(model)
    model(*inputs()).square().sum().backward()
    dead = [name for name, p in model.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.abs().max() > 0)]
    assert not dead


@pytest.mark.parametrize("striped", [False, True])
def test_merged_weights_compute_the_same_as_the_adapter(striped: bool) -> None:
    model = network()
    add_lora(model, [name for name, layer in model.named_modules() if can_hold(layer)], rank=3, alpha=5.0)
    moved(model)
    model.eval().striped = striped
    with torch.no_grad():
        found = model(*inputs())
        assert not torch.allclose(found, network()(*inputs()), atol=1e-2)
        plain = network(3).eval()
        plain.load_state_dict(merged_state(model))
        plain.striped = striped
        torch.testing.assert_close(plain(*inputs()), found, rtol=0, atol=1e-5 * float(found.abs().max()))


def test_merging_agrees_with_peft() -> None:
    model = network()
    add_lora(model, LAYERS, rank=3, alpha=5.0)
    moved(model)
    merged = merged_state(model)
    for name, module in model.named_modules():
        if isinstance(module, LoraLayer):
            expected = module.get_base_layer().weight + module.get_delta_weight("default")
            torch.testing.assert_close(merged[f"{name}.weight"], expected, rtol=0, atol=1e-6)


def test_an_adapter_comes_back_from_its_file(tmp_path: Path) -> None:
    model = network()
    add_lora(model, LAYERS, rank=3, alpha=5.0, dropout=0.3)
    moved(model)
    save_adapter(model.eval(), tmp_path)
    other = network()
    load_adapter(other, tmp_path)
    assert torch.equal(other.eval()(*inputs()), model(*inputs()))
    with pytest.raises(InputError, match="another network than this one \\(its weights are others\\)"):
        load_adapter(network(1), tmp_path)
    with pytest.raises(InputError, match="it has no layer"):
        load_adapter(nn.Sequential(nn.Linear(2, 2)), tmp_path)
    (tmp_path / "adapter.safetensors").write_bytes(b"no")
    with pytest.raises(InputError, match="no readable adapter"):
        load_adapter(network(), tmp_path)


def test_diffusers_loads_the_adapter_file(tmp_path: Path) -> None:
    from diffusers import UNet2DConditionModel

    def unet() -> Any:
        torch.manual_seed(0)
        return UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(8, 16),
            norm_num_groups=4,
            layers_per_block=1,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            cross_attention_dim=8,
            attention_head_dim=4,
        ).eval()

    model, other = unet(), unet()
    layers = matching(["to_q", "to_v", "conv1"], [n for n, m in model.named_modules() if can_hold(m)], "adapter.targets", "layer")
    add_lora(model, layers, rank=2, alpha=4.0)
    moved(model)
    save_adapter(model, tmp_path)
    other.load_lora_adapter(tmp_path, weight_name="adapter.safetensors", prefix=None)
    generator = torch.Generator().manual_seed(1)
    given = torch.randn(1, 4, 8, 8, generator=generator), 5, torch.randn(1, 3, 8, generator=generator)
    with torch.no_grad():
        expected = model(*given).sample
        assert not torch.allclose(unet()(*given).sample, expected, atol=1e-3)
        torch.testing.assert_close(other(*given).sample, expected, rtol=0, atol=1e-6)


def test_patterns() -> None:
    names = ["down.0.to_q", "down.0.to_k", "mid.to_q", "to_q_extra"]
    assert matching(["to_q"], names, "w", "layer") == ["down.0.to_q", "mid.to_q"]
    assert matching(["down.*", "mid.to_q"], names, "w", "layer") == ["down.0.to_q", "down.0.to_k", "mid.to_q"]
    with pytest.raises(InputError, match=r"adapter\.targets: no layer is called 'mid.toq'; the nearest are mid\.to_q"):
        matching(["to_q", "mid.toq"], names, "adapter.targets", "layer")
    with pytest.raises(InputError, match=r"no layer is called 'tok'; the nearest are .*down\.0\.to_k"):
        matching(["tok"], names, "adapter.targets", "layer")


def test_train_only_freezes_what_no_pattern_names() -> None:
    model = network()
    train_only(model, ["cpem.*", "ending.bias"])
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert trained == [name for name, _ in model.named_parameters() if name.startswith("cpem.") or name == "ending.bias"]
    with pytest.raises(InputError, match="train_only: no parameter is called 'cpen"):
        train_only(model, ["cpen.*"])
