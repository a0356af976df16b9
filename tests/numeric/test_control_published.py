"""Sizes of the published control networks, and their mathematics against second implementations."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from earthgen.gen.models.control import ContentTokenAdapter, LocationResidualNet, MultiHintAdapter, TemporalControlNet
from earthgen.gen.models.control.fdn import InjectionNorm, PositionAttention


@pytest.fixture(scope="module")
def reference(bench_module: Callable[[str], ModuleType]) -> ModuleType:
    return bench_module("reference_control")


def millions(*modules: nn.Module | nn.Parameter) -> float:
    numbers = [
        module.numel() if isinstance(module, nn.Parameter) else sum(value.numel() for value in module.parameters()) for module in modules
    ]
    return sum(numbers) / 1e6


def test_the_published_local_adapter_has_its_published_size() -> None:
    with torch.device("meta"):
        network = MultiHintAdapter(absent="zeros")
    parts: dict[str, Any] = dict(network.named_modules())
    fdn = [module for name, module in parts.items() if name.endswith(".fdn")]
    attention = [module for name, module in parts.items() if isinstance(module, PositionAttention)]
    assert len(fdn) == len(attention) == 8
    assert millions(network) == pytest.approx(419.46, abs=0.005)
    assert millions(network.feature_extractor) == pytest.approx(8.21, abs=0.005)
    assert millions(*fdn) == pytest.approx(43.5, abs=0.05)
    assert millions(*attention) == pytest.approx(7.56, abs=0.005)
    assert millions(network.mid_block) == pytest.approx(97.0, abs=0.05)
    assert millions(network.controlnet_down_blocks) == pytest.approx(9.84, abs=0.005)
    assert millions(network.conv_in, network.down_blocks) == pytest.approx(300.7, abs=0.05)
    # Ours adds 18 numbers: what an absent channel is.
    with torch.device("meta"):
        assert round(1e6 * (millions(MultiHintAdapter()) - millions(network))) == 18


def test_other_published_sizes() -> None:
    with torch.device("meta"):
        content = ContentTokenAdapter()
        location = LocationResidualNet(mode="legacy")
        frames = TemporalControlNet(hint_frames=3)
    assert millions(content) == pytest.approx(47.21, abs=0.005)
    assert millions(location.blocks, location.middle_block) == pytest.approx(16.44, abs=0.005)
    assert (
        sum(value.numel() for block in location.blocks for value in block.ff_zero.parameters())
        + location.middle_block.ff_zero.weight.numel()
        == 2_785_280
    )
    mixing = {tap: block for tap, block in enumerate(frames.temporal_blocks) if not isinstance(block, nn.Identity)}
    heads = {tap: (block.num_attention_heads, block.attention_head_dim) for tap, block in mixing.items()}
    assert heads == {0: (8, 64), 3: (64, 5), 6: (64, 10), 9: (64, 20)}
    assert frames.controlnet_cond_embedding.conv_in.weight.shape == (16, 3, 3, 3, 3)
    assert all(conv.weight.ndim == 5 for conv in frames.controlnet_down_blocks)


def test_injection_against_the_written_out_form(reference: ModuleType) -> None:
    torch.manual_seed(0)
    for channels, height, width in ((64, 6, 5), (32, 9, 1)):
        norm = InjectionNorm(channels, 10, 32, 1e-5, attention=True)
        value, hints = 3 * torch.randn(2, channels, height, width), torch.randn(2, 10, height, width)
        state = {f"n.{key}": tensor for key, tensor in norm.state_dict().items()}
        with torch.no_grad():
            assert torch.allclose(norm(value, hints), reference.injection(state, "n", value, hints), atol=1e-5)


def test_gradients_of_attention_against_the_written_out_form(reference: ModuleType) -> None:
    torch.manual_seed(0)
    layer, value = PositionAttention(16).double(), torch.randn(2, 16, 4, 5, dtype=torch.float64)
    weights = torch.randn_like(value)
    (layer(value) * weights).sum().backward()
    ours = {name: parameter.grad.clone() for name, parameter in layer.named_parameters() if parameter.grad is not None}
    layer.zero_grad()
    state = {f"a.{name}": parameter for name, parameter in layer.named_parameters()}
    (reference.position_attention(state, "a", value) * weights).sum().backward()
    for name, parameter in layer.named_parameters():
        assert torch.allclose(ours[name], parameter.grad, atol=1e-10), name


def test_the_map_of_all_pairs_is_never_held() -> None:
    layer, value = PositionAttention(64), torch.randn(1, 64, 12, 11)
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):  # an error where this kernel cannot take what it is given
        layer(value).sum().backward()


def test_the_legacy_place_cannot_ask() -> None:
    torch.manual_seed(0)
    place = torch.randn(3, 32)
    outcomes = {}
    for mode in ("legacy", "multi"):
        network = LocationResidualNet((32, 64), 2, width=32, heads=4, mode=mode)
        with torch.no_grad():
            for block in [*network.blocks, network.middle_block]:
                nn.init.normal_(block.ff_zero.weight)
            before = network(7, place)
            for block in [*network.blocks, network.middle_block]:
                nn.init.normal_(block.query_embed.weight)
            after = network(7, place)
        outcomes[mode] = torch.equal(before.mid_block_res_sample, after.mid_block_res_sample)
    assert outcomes == {"legacy": True, "multi": False}


def test_the_legacy_place_against_the_written_out_form(reference: ModuleType) -> None:
    torch.manual_seed(0)
    network = LocationResidualNet((32, 64), 2, width=32, heads=4, mode="legacy")
    with torch.no_grad():
        for value in network.parameters():
            value.add_(0.1 * torch.randn_like(value))
    state = {}
    for key, value in network.state_dict().items():
        renamed = key.replace("time_embedding.linear_1", "time_embed.0").replace("time_embedding.linear_2", "time_embed.2")
        state[f"c.loc_{renamed}" if key.startswith(("blocks", "middle")) else f"c.{renamed}"] = value
    place, steps = torch.randn(3, 32), torch.tensor([0, 17, 999])
    with torch.no_grad():
        ours, theirs = network(steps, place), reference.place_residuals(state, "c.", place, steps)
    assert len(theirs) == 7
    for one, other in zip([*ours.down_block_res_samples, ours.mid_block_res_sample], theirs, strict=True):
        assert torch.allclose(one[:, :, 0, 0], other, atol=1e-5)


@pytest.mark.gpu
def test_memory_of_the_published_adapter_on_a_gpu(reference: ModuleType) -> None:
    """At 512 px, forward and backward of the top level's attention: at most half of what the written-out form takes."""
    torch.manual_seed(0)
    layer = PositionAttention(320).cuda()
    value = torch.randn(1, 320, 64, 64, device="cuda", requires_grad=True)
    state = {f"a.{name}": parameter for name, parameter in layer.named_parameters()}
    peaks = []
    for call in (lambda: layer(value), lambda: reference.position_attention(state, "a", value)):
        call().sum().backward()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call().sum().backward()
        peaks.append(torch.cuda.max_memory_allocated() - before)
    assert peaks[0] <= 0.5 * peaks[1], peaks
