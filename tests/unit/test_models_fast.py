"""Devices, dtypes, and the fast path: the same outputs as the plain one."""

from __future__ import annotations

import copy
import threading
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from earthgen.gen.errors import InputError
from earthgen.gen.models import fast, strips
from earthgen.gen.models.eanet import EANet
from earthgen.gen.models.eanet_blocks import EfficientActivationBlock
from earthgen.gen.models.fast import pick_device, pick_dtype, prepare_for_inference
from earthgen.gen.models.pooling import ContextPool

CPU = torch.device("cpu")


def network(variant: str = "cpem_lr", pool: str = "local", width: int = 8) -> EANet:
    torch.manual_seed(0)
    model = EANet(
        bands=3, width=width, enc_blocks=(2, 1), dec_blocks=(1, 1), variant=variant, pool=pool, pool_size=32, cpem_blocks=1, group_blocks=1
    )
    for name, parameter in model.named_parameters():
        if name.endswith(("beta", "gamma")) or "unfold" in name or "ending" in name:
            nn.init.normal_(parameter, std=0.4)
    return model


def inputs(model: EANet, height: int, width: int, batch: int = 2) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    values = [torch.randn(batch, 3, height, width, generator=generator), torch.linspace(80, 3, batch)]
    values.append(torch.randn(batch, 3, height, width, generator=generator))
    if model.config["variant"] == "cpem_lr":
        values.append(torch.randn(batch, 3, -(-height // 4), -(-width // 4), generator=generator))
    return values


@pytest.mark.parametrize("pool", ["global", "local"])
@pytest.mark.parametrize("variant", ["rcab", "msgroup_b", "cpem_lr"])
@pytest.mark.parametrize(("height", "width"), [(16, 16), (70, 33), (3, 130)])
def test_preparing_changes_nothing_but_rounding(variant: str, pool: str, height: int, width: int) -> None:
    model = network(variant, pool)
    values = inputs(model, height, width)
    with torch.no_grad():
        expected = model.eval()(*values)
        prepared = prepare_for_inference(copy.deepcopy(model), CPU, torch.float32)
        torch.testing.assert_close(prepared(*values), expected, rtol=1e-4, atol=2e-5)
    assert float(expected.std()) > 0.1
    assert prepared.striped
    assert not prepared.training


@pytest.mark.parametrize("local", [None, 4, 16, 64])
@pytest.mark.parametrize("pixels", [16, 48, 1000])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 5), (37, 12), (40, 24), (65, 7)])
def test_strips_of_any_height_give_the_block(
    monkeypatch: pytest.MonkeyPatch, local: int | None, pixels: int, height: int, width: int
) -> None:
    monkeypatch.setattr(strips, "STRIP_VALUES", 1)
    monkeypatch.setattr(strips, "LEAST_PIXELS", pixels)
    torch.manual_seed(0)
    block = EfficientActivationBlock(8, 32, ContextPool(local, 1)).double()
    for gain in (block.beta, block.gamma, block.norm1.g, block.norm2.g):
        nn.init.normal_(gain)
    value, embedding = torch.randn(2, 8, height, width, dtype=torch.float64), torch.randn(2, 32, dtype=torch.float64)
    with torch.no_grad():
        expected = block(block(value, embedding), embedding)
        found = strips.run_striped([block, block], value.clone(), embedding)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_strips_are_whole_cells_and_cover_the_picture() -> None:
    for height, width, channels, cell in ((256, 256, 64, 16), (256, 256, 64, 1), (10, 4000, 16, 8), (3, 3, 8, 4), (500, 1, 256, 2)):
        rows = strips.strip_rows(height, width, channels, cell)
        assert 1 <= rows <= height
        assert rows % cell == 0 or rows == height


def test_inputs_and_weights_are_left_alone() -> None:
    model = prepare_for_inference(network(), CPU, torch.float32)
    values = [value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value for value in inputs(model, 32, 32)]
    before, weights = [value.clone() for value in values], copy.deepcopy(model.state_dict())
    with torch.inference_mode():
        first = model(*values)
        assert torch.equal(model(*values), first)
    assert all(torch.equal(a, b) for a, b in zip(values, before, strict=True))
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())


def test_a_prepared_network_still_trains_and_sees_new_weights() -> None:
    model = prepare_for_inference(network(), CPU, torch.float32)
    values = inputs(model, 16, 16)
    model(*values).square().mean().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    with torch.no_grad():
        before = model(*values)
        model.encoders[0][0].beta.add_(1.0)
        after = model(*values)
        model.striped = False
        torch.testing.assert_close(after, model(*values), rtol=1e-4, atol=2e-5)
    assert not torch.allclose(after, before, atol=1e-3)


def test_preparing_leaves_config_and_keys(tmp_path: Any) -> None:
    model = network()
    keys, config = set(model.state_dict()), dict(model.config)
    prepared = prepare_for_inference(model, CPU, torch.float32)
    prepared.save_pretrained(tmp_path)
    loaded = EANet.from_pretrained(tmp_path)
    assert set(loaded.state_dict()) == keys
    assert {key: value for key, value in loaded.config.items() if not key.startswith("_")} == {
        key: list(value) if isinstance(value, tuple) else value for key, value in config.items() if not key.startswith("_")
    }
    assert not loaded.striped


def test_bfloat16_stays_close() -> None:
    model = network("rcab", "global")
    values = inputs(model, 48, 32)
    with torch.no_grad():
        expected = model.eval()(*values)
        half = prepare_for_inference(copy.deepcopy(model), CPU, torch.bfloat16)
        found = half(*values)
    assert half.dtype == torch.bfloat16
    assert found.dtype == torch.float32
    assert float((found - expected).square().mean().sqrt() / expected.std()) < 0.05


def test_threads_share_a_prepared_network() -> None:
    model = prepare_for_inference(network(), CPU, torch.float32)
    jobs = [inputs(model, 32, 16 + 8 * number) for number in range(4)]
    with torch.inference_mode():
        expected = [model(*job) for job in jobs]
    found: dict[int, Tensor] = {}

    def work(number: int) -> None:
        with torch.inference_mode():
            for _ in range(3):
                found[number] = model(*jobs[number])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(found[number], expected[number]) for number in range(4))


def test_devices_by_name() -> None:
    assert pick_device("cpu") == CPU
    assert pick_device("auto").type in {"cpu", "cuda", "mps"}
    with pytest.raises(InputError, match="unknown"):
        pick_device("tpu-v9")
    with pytest.raises(InputError, match="not on this machine"):
        pick_device("cuda:63")
    with pytest.raises(InputError, match="not on this machine"):
        pick_device("meta")


def test_dtypes_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pick_dtype("bfloat16", CPU) == torch.bfloat16
    assert pick_dtype("float32", CPU) == torch.float32
    assert pick_dtype("float16", torch.device("cuda")) == torch.float16
    with pytest.raises(InputError, match="unknown"):
        pick_dtype("int8", CPU)
    with pytest.raises(InputError, match="not for CPUs"):
        pick_dtype("float16", CPU)
    for amx, expected in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(fast, "has_amx", lambda amx=amx: amx)
        assert pick_dtype("auto", CPU) == expected
