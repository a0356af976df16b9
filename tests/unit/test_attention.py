"""The switch of attention kernels: all of them compute the same, and what cannot be had is refused."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from earthgen.gen.errors import InputError
from earthgen.gen.models.attention import FlashProcessor, attention_layers, use_attention
from earthgen.gen.models.eanet import EANet

with_xformers = pytest.mark.skipif(
    importlib.util.find_spec("xformers") is None or not torch.cuda.is_available(), reason="needs a CUDA device and xformers"
)


def unet() -> Any:
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32),
        norm_num_groups=4,
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=2,
    )


def transformer() -> Any:
    """A network whose layers take a backend by name."""
    from diffusers import FluxTransformer2DModel

    torch.manual_seed(0)
    return FluxTransformer2DModel(
        in_channels=4,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=8,
        pooled_projection_dim=8,
        axes_dims_rope=(4, 4, 8),
    )


def run(model: Any) -> Tensor:
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> Tensor:
        first = next(model.parameters())
        return torch.randn(shape, generator=generator).to(first)

    if hasattr(model, "transformer_blocks"):
        ids = {"img_ids": torch.zeros(9, 3), "txt_ids": torch.zeros(5, 3)}
        return model(draw(1, 9, 4), draw(1, 5, 8), draw(1, 8), torch.tensor([0.5]), guidance=None, **ids).sample
    return model(draw(2, 4, 8, 8), 5, draw(2, 3, 16)).sample


@pytest.mark.parametrize("make", [unet, transformer])
def test_the_kernels_agree(make: Any) -> None:
    model = make()
    with sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        expected = run(model)
    for name in ("sdpa", "flash", "auto"):
        assert use_attention(model, name) == ("sdpa" if name == "auto" else name)
        with torch.no_grad():
            torch.testing.assert_close(run(model), expected, rtol=0, atol=1e-5)


def test_gradients_agree() -> None:
    found = {}
    for name in ("sdpa", "flash"):
        model = unet()
        use_attention(model, name)
        run(model).square().sum().backward()
        found[name] = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
    torch.testing.assert_close(found["sdpa"], found["flash"], rtol=0, atol=1e-4 * float(found["sdpa"].abs().max()))


def test_the_switch_reaches_every_layer_and_goes_back() -> None:
    model = unet()
    layers = list(attention_layers(model))
    assert len(layers) == 8
    use_attention(model, "flash")
    assert all(isinstance(layer.processor, FlashProcessor) for layer in layers)
    use_attention(model, "sdpa")
    assert not any(isinstance(layer.processor, FlashProcessor) for layer in layers)
    model = transformer()
    use_attention(model, "flash")
    assert {layer.processor._attention_backend.value for layer in attention_layers(model)} == {"_native_flash"}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device: on CPUs the flash kernel does all that these networks ask")
def test_the_flash_kernel_says_what_it_does_not_do() -> None:
    model = unet().cuda()
    use_attention(model, "flash")
    with pytest.raises(InputError, match=r"the flash kernel does not do torch\.float32 on cuda .* or attention=sdpa"):
        run(model)


def test_a_network_without_attention() -> None:
    model = EANet(bands=1, width=8, enc_blocks=(1,), mid_blocks=1, dec_blocks=(1,), scale=2)
    assert use_attention(model) == use_attention(model, "sdpa") == "none"
    for name in ("flash", "xformers"):
        with pytest.raises(InputError, match="a EANet has no attention layers"):
            use_attention(model, name)


def test_what_cannot_be_had_is_refused() -> None:
    with pytest.raises(InputError, match="attention='fast' is unknown"):
        use_attention(nn.Linear(1, 1), "fast")  # type: ignore[arg-type]
    if importlib.util.find_spec("xformers") is None:
        with pytest.raises(InputError, match=r"pip install 'earthgen\[cuda\]'"):
            use_attention(unet(), "xformers")
    else:
        with pytest.raises(InputError, match="xformers computes on CUDA devices, and this is cpu"):
            use_attention(unet(), "xformers")


@pytest.mark.gpu
@with_xformers
@pytest.mark.parametrize("make", [unet, transformer])
def test_xformers_agrees(make: Any) -> None:
    model = make().cuda()
    use_attention(model, "sdpa")
    with torch.no_grad():
        expected = run(model)
        assert use_attention(model) == "xformers"
        torch.testing.assert_close(run(model), expected, rtol=0, atol=1e-4)
