"""Control networks change nothing when new, learn everywhere, and take the sizes and absences that their docstrings promise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from torch import Tensor, nn

from earthgen.gen.errors import InputError
from earthgen.gen.models.control import (
    ContentTokenAdapter,
    HintScaleControlNet,
    LocationResidualNet,
    MultiHintAdapter,
    TemporalControlNet,
    add_residuals,
)

WIDTH = 24  # of the text


def tiny_unet(channels: tuple[int, ...] = (16, 32), **settings: Any) -> UNet2DConditionModel:
    torch.manual_seed(0)
    levels = len(channels)
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=channels,
        down_block_types=("CrossAttnDownBlock2D",) * (levels - 1) + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * (levels - 1),
        layers_per_block=settings.pop("layers_per_block", 1),
        norm_num_groups=8,
        cross_attention_dim=WIDTH,
        attention_head_dim=2,
        **settings,
    ).eval()


def wake(network: nn.Module) -> nn.Module:
    """Give every zero-initialised layer weights, as after some training."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return network


def run(unet: UNet2DConditionModel, sample: Tensor, text: Tensor, residuals: Any = None, labels: Tensor | None = None) -> Tensor:
    more = {}
    if residuals is not None:
        more = {
            "down_block_additional_residuals": residuals.down_block_res_samples,
            "mid_block_additional_residual": residuals.mid_block_res_sample,
        }
    with torch.no_grad():
        return unet(sample, torch.tensor(7), text, class_labels=labels, **more).sample


def inputs(height: int = 8, width: int = 8, batch: int = 2, channels: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(batch, channels, height, width, generator=generator), torch.randn(batch, 7, WIDTH, generator=generator)


Call = Callable[[nn.Module, Tensor, Tensor], Any]


def hints_of(sample: Tensor, channels: int, scale: int = 8) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.rand(sample.shape[0], channels, sample.shape[2] * scale, sample.shape[3] * scale, generator=generator)


def call_hints(network: nn.Module, sample: Tensor, text: Tensor) -> Any:
    return network(sample, 7, text, hints_of(sample, sum(network.hint_sizes), network.config["hint_scale"]))


def call_location(network: nn.Module, sample: Tensor, text: Tensor) -> Any:
    return network(7, torch.randn(sample.shape[0], network.config["width"], generator=torch.Generator().manual_seed(4)))


def call_frames(network: nn.Module, sample: Tensor, text: Tensor) -> Any:
    frames = torch.stack([hints_of(sample, network.config["hint_channels"], 4) + shift for shift in (0.0, 0.5, 1.0)], dim=1)
    return network(sample, 7, text, frames)


def make(kind: str, unet: UNet2DConditionModel) -> tuple[nn.Module, Call]:
    torch.manual_seed(5)
    if kind == "hints":
        return MultiHintAdapter.from_unet(unet, hints=("roads", "bands"), hint_channels=(1, 13), inject_channels=(8, 12, 16)), call_hints
    if kind in ("legacy", "multi"):
        shape = {"block_out_channels": unet.config["block_out_channels"], "layers_per_block": unet.config["layers_per_block"]}
        return LocationResidualNet(**shape, width=16, heads=2, mode=kind), call_location
    return TemporalControlNet.from_unet(unet, hint_widths=(4, 8, 8), hint_frames=3), call_frames


@pytest.mark.parametrize("kind", ["hints", "legacy", "multi", "frames"])
@pytest.mark.parametrize("channels", [(16, 32), (16, 16, 24)])
def test_a_new_network_leaves_the_unet_bit_identical_and_a_trained_one_does_not(kind: str, channels: tuple[int, ...]) -> None:
    unet = tiny_unet(channels, layers_per_block=2 if len(channels) == 3 else 1)
    sample, text = inputs()
    network, call = make(kind, unet)
    alone = run(unet, sample, text)
    with torch.no_grad():
        assert torch.equal(run(unet, sample, text, call(network, sample, text)), alone)
        assert not torch.allclose(run(unet, sample, text, call(wake(network), sample, text)), alone, atol=1e-4)


@pytest.mark.parametrize("kind", ["hints", "legacy", "multi", "frames"])
def test_gradients_reach_all_that_can_learn(kind: str) -> None:
    unet = tiny_unet()
    sample, text = inputs()
    network, call = make(kind, unet)
    wake(network)
    for alpha in getattr(network, "mixing_attns", ()):
        alpha.data.fill_(0.5)
    out = call(network, sample, text)
    values = [*out.down_block_res_samples, out.mid_block_res_sample]
    sum((value * torch.randn(value.shape, generator=torch.Generator().manual_seed(6))).sum() for value in values).backward()
    sizes = {
        name: 0.0 if value.grad is None else float(value.grad.abs().max())
        for name, value in network.named_parameters()
        if value.requires_grad
    }
    # A key's bias shifts all scores alike, and a softmax does not see it: what is left is rounding.
    still = {name for name, size in sizes.items() if size < 1e-7 and not name.endswith("key_conv.bias")}
    if kind == "legacy":  # one key: neither queries nor keys can matter
        assert still == {name for name in sizes if "query_embed" in name or "key_embed" in name}
        assert len(still) == 2 * (len(network.blocks) + 1)
    else:
        assert still == ({"null"} if kind in ("hints", "multi") else set())  # nothing was absent


def test_a_first_step_reaches_the_zero_convolutions() -> None:
    unet = tiny_unet()
    sample, text = inputs()
    for kind in ("hints", "multi", "frames"):
        network, call = make(kind, unet)
        out = call(network, sample, text)
        sum(value.sum() for value in [*out.down_block_res_samples, out.mid_block_res_sample]).backward()
        words = ("ff_zero",) if kind == "multi" else ("controlnet_down_blocks", "controlnet_mid_block")
        closing = {name: value.grad for name, value in network.named_parameters() if any(word in name for word in words)}
        assert closing
        assert all(gradient is not None and gradient.any() for gradient in closing.values())


@pytest.mark.parametrize("kind", ["hints", "legacy", "multi", "frames"])
def test_saved_and_loaded_it_says_the_same(kind: str, tmp_path: Path) -> None:
    unet = tiny_unet()
    sample, text = inputs()
    network, call = make(kind, unet)
    wake(network).eval().save_pretrained(tmp_path)
    loaded = type(network).from_pretrained(tmp_path)
    with torch.no_grad():
        first, second = call(network, sample, text), call(loaded, sample, text)
    for one, other in zip(first.down_block_res_samples, second.down_block_res_samples, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(("height", "width"), [(7, 9), (5, 8), (1, 3)])
@pytest.mark.parametrize("kind", ["hints", "frames"])
def test_odd_sizes(kind: str, height: int, width: int) -> None:
    unet = tiny_unet((16, 16, 24))
    sample, text = inputs(height, width)
    network, call = make(kind, unet)
    out = run(unet, sample, text, call(wake(network), sample, text))
    assert out.shape == sample.shape
    assert bool(out.isfinite().all())


@pytest.mark.parametrize("scale", [1, 2, 4, 8])
def test_hints_of_other_autoencoders_and_pixels_that_do_not_divide(scale: int) -> None:
    unet = tiny_unet()
    sample, text = inputs(5, 6)
    network = wake(MultiHintAdapter.from_unet(unet, hints=("roads",), hint_scale=scale, inject_channels=(8, 8)))
    whole = torch.rand(2, 3, 5 * scale, 6 * scale)
    assert network(sample, 7, text, whole).mid_block_res_sample.shape == (2, 32, 3, 3)
    if scale > 1:  # one pixel less still covers the latents
        network(sample, 7, text, whole[:, :, 1:, 1:])
    with pytest.raises(InputError, match="resize the hints"):
        network(sample, 7, text, torch.rand(2, 3, 5 * scale + 1, 6 * scale))


def test_an_absent_hint_is_its_null_whatever_the_slot_holds() -> None:
    unet = tiny_unet()
    sample, text = inputs()
    network = wake(MultiHintAdapter.from_unet(unet, hints=("roads", "depth"), hint_channels=(1, 3), inject_channels=(8, 8)))
    hints, other = hints_of(sample, 4), hints_of(sample, 4)
    other[0, 1:] = torch.nan  # the absent slot may hold anything
    present = torch.tensor([[True, False], [True, True]])
    with torch.no_grad():
        base, same = (network(sample, 7, text, value, present=present).mid_block_res_sample for value in (hints, other))
        full = network(sample, 7, text, hints).mid_block_res_sample
        weak = network(sample, 7, text, hints, strengths=torch.tensor([[1.0, 0.0], [1.0, 1.0]])).mid_block_res_sample
        half = network(sample, 7, text, hints, strengths=torch.tensor([1.0, 0.5])).mid_block_res_sample
        assert torch.equal(base, same)
        assert torch.equal(base, weak)
        assert torch.allclose(base[1], full[1], atol=1e-6)
        assert not torch.allclose(base[0], full[0], atol=1e-4)
        assert not torch.allclose(half[0], full[0], atol=1e-6)
        assert not torch.allclose(half[0], base[0], atol=1e-6)
        network.null[1:] = 5.0
        assert not torch.allclose(network(sample, 7, text, hints, present=present).mid_block_res_sample[0], base[0], atol=1e-4)
        nothing = network(sample, 7, text, hints, present=torch.tensor([[False, False], [True, True]]))
    assert not nothing.mid_block_res_sample[0].any()
    assert nothing.mid_block_res_sample[1].any()


def test_a_batch_is_its_samples_one_by_one() -> None:
    unet = tiny_unet()
    sample, text = inputs(batch=3)
    network = wake(MultiHintAdapter.from_unet(unet, hints=("roads", "depth"), inject_channels=(8, 8))).eval()
    hints, present = hints_of(sample, 6), torch.tensor([[True, False], [False, True], [True, True]])
    with torch.no_grad():
        batch = network(sample, torch.tensor([3, 500, 999]), text, hints, present=present)
        for row, step in enumerate((3, 500, 999)):
            one = slice(row, row + 1)
            single = network(sample[one], step, text[one], hints[one], present=present[one])
            for many, alone in zip(batch.down_block_res_samples, single.down_block_res_samples, strict=True):
                assert torch.allclose(many[one], alone, atol=1e-5)


def test_scales_of_residuals() -> None:
    unet = tiny_unet()
    sample, text = inputs()
    network, _ = make("hints", unet)
    hints = hints_of(sample, 14)
    wake(network)
    with torch.no_grad():
        full, half = network(sample, 7, text, hints), network(sample, 7, text, hints, conditioning_scale=0.5)
        taps = len(full.down_block_res_samples)
        each = network(sample, 7, text, hints, conditioning_scale=[float(number) for number in range(taps + 1)])
    for number, (one, two, three) in enumerate(
        zip(full.down_block_res_samples, half.down_block_res_samples, each.down_block_res_samples, strict=True)
    ):
        assert torch.allclose(two, 0.5 * one)
        assert torch.allclose(three, number * one)
    assert torch.allclose(add_residuals([half, half]).mid_block_res_sample, full.mid_block_res_sample)
    with pytest.raises(InputError, match="one for each residual"):
        network(sample, 7, text, hints, conditioning_scale=[1.0, 2.0])
    other = LocationResidualNet((16, 16, 24), layers_per_block=2, width=16, heads=2)(7, torch.zeros(2, 16))
    with pytest.raises(InputError, match="of one U-Net"):
        add_residuals([full, other])


def test_checkpointing_changes_no_gradient() -> None:
    unet = tiny_unet()
    sample, text = inputs()
    network, call = make("hints", unet)
    wake(network).train()
    gradients = []
    for checkpointing in (False, True):
        network.zero_grad()
        if checkpointing:
            network.enable_gradient_checkpointing()
        call(network, sample, text).mid_block_res_sample.square().sum().backward()
        gradients.append([value.grad.clone() for value in network.parameters() if value.grad is not None])
    for plain, again in zip(*gradients, strict=True):
        assert torch.allclose(plain, again, atol=1e-6)


def test_metadata_reach_the_copy_in_half_precision_too() -> None:
    for kind in ("timestep", "identity"):
        unet = tiny_unet(class_embed_type=kind)
        sample, text = inputs(2, 2)
        network = wake(MultiHintAdapter.from_unet(unet, hints=("roads",), inject_channels=(8, 8))).to(torch.bfloat16)
        labels = [torch.full((2,), level) if kind == "timestep" else torch.full((2, 64), level) for level in (10.0, 17.0)]
        with torch.no_grad():
            outs = [network(sample.bfloat16(), 7, text.bfloat16(), hints_of(sample, 3), class_labels=label) for label in labels]
        assert outs[0].mid_block_res_sample.dtype == torch.bfloat16
        assert not torch.equal(outs[0].mid_block_res_sample, outs[1].mid_block_res_sample)
        with pytest.raises(InputError, match="needs metadata"):
            network(sample.bfloat16(), 7, text.bfloat16(), hints_of(sample, 3))


def test_an_inpainting_unet_can_have_a_copy_that_sees_only_latents() -> None:
    unet = tiny_unet(in_channels=9)
    network = MultiHintAdapter.from_unet(unet, in_channels=4, hints=("roads",), inject_channels=(8, 8))
    assert torch.equal(network.conv_in.weight, unet.conv_in.weight[:, :4])
    sample, text = inputs()
    network(sample, 7, text, hints_of(sample, 3))


def test_the_place_without_and_with_a_layout() -> None:
    unet = tiny_unet()
    sample, text = inputs()
    location = wake(LocationResidualNet((16, 32), 1, width=16, heads=2))
    place = torch.randn(2, 16)
    layout, call = make("hints", unet)
    wake(layout)
    with torch.no_grad():
        vectors, maps = location(7, place), call(layout, sample, text)
        both = add_residuals([maps, vectors])
        assert both.mid_block_res_sample.shape == maps.mid_block_res_sample.shape
        assert not torch.allclose(run(unet, sample, text, both), run(unet, sample, text, maps), atol=1e-4)
        spread = add_residuals([vectors])
        spread.down_block_res_samples = tuple(
            value.expand(-1, -1, *tap.shape[2:])
            for value, tap in zip(vectors.down_block_res_samples, maps.down_block_res_samples, strict=True)
        )
        assert torch.equal(run(unet, sample, text, vectors), run(unet, sample, text, spread))


def test_an_unknown_place() -> None:
    known, place = torch.tensor([True, False]), torch.randn(2, 16)
    legacy = wake(LocationResidualNet((16, 32), 1, width=16, heads=2, mode="legacy"))
    multi = wake(LocationResidualNet((16, 32), 1, width=16, heads=2))
    with torch.no_grad():
        assert not legacy(7, place, present=known).mid_block_res_sample[1].any()
        first = multi(7, place, present=known).mid_block_res_sample
        second = multi(7, place.flip(0), present=known).mid_block_res_sample
        null = multi(7, multi.null.expand(2, -1)).mid_block_res_sample
    assert torch.equal(first[1], second[1])
    assert torch.allclose(first[1], null[1], atol=1e-6)
    assert not torch.allclose(first[0], second[0], atol=1e-4)
    with pytest.raises(InputError, match="only the mode multi"):
        legacy(7, place, tokens=torch.zeros(2, 3, 16))


@pytest.mark.parametrize("join", ["append", "add"])
def test_content_tokens(join: str) -> None:
    adapter = ContentTokenAdapter(WIDTH, 4, embedding_width=10, join=join).eval()
    embedding, text = torch.randn(2, 10), torch.randn(2, 7, WIDTH)
    with torch.no_grad():
        if join == "add":
            assert torch.equal(adapter(embedding, text), text)
            wake(adapter)
            assert torch.equal(adapter(embedding, text, dropped=True), text)
            assert torch.equal(adapter(embedding, text)[:, :3], text[:, :3])
        context = adapter(embedding, text)
        assert context.shape == (2, 11 if join == "append" else 7, WIDTH)
        some = adapter(embedding, text, present=torch.tensor([True, False]))
        assert torch.allclose(some[0], context[0], atol=1e-6)
        null = adapter(torch.zeros(2, 10), text) if join == "append" else text
        assert torch.allclose(some[1], null[1], atol=1e-6)
        none = adapter(embedding, text, strength=0.0)
        assert torch.equal(none[:, :7], text)
        half = adapter(embedding, text, strength=torch.tensor([0.5, 1.0]))
        assert torch.allclose(half[0, -4:] - none[0, -4:], 0.5 * (context[0, -4:] - none[0, -4:]), atol=1e-6)
    adapter(embedding, text).square().sum().backward()
    assert all(value.grad is not None and value.grad.any() for value in adapter.parameters())


def frames_network(unet: UNet2DConditionModel, **settings: Any) -> TemporalControlNet:
    torch.manual_seed(8)
    network = TemporalControlNet.from_unet(unet, hint_widths=(4, 8, 8), **settings)
    alphas = [value.detach().clone() for value in network.mixing_attns]
    wake(network)
    with torch.no_grad():
        for value, alpha in zip(network.mixing_attns, alphas, strict=True):
            value.copy_(alpha)
    return network.eval()


@pytest.mark.parametrize("hint_frames", [1, 3])
def test_one_frame_without_mixing_is_a_plain_controlnet(hint_frames: int) -> None:
    unet = tiny_unet((16, 32))
    sample, text = inputs()
    network = frames_network(unet, hint_frames=hint_frames)
    plain = ControlNetModel.from_unet(unet, conditioning_channels=3, conditioning_embedding_out_channels=(4, 8, 8))
    state = {}
    for key, value in network.state_dict().items():
        if key.startswith(("temporal_blocks.", "mixing_attns.")):
            continue
        state[key] = value[:, :, value.shape[2] // 2] if value.ndim == 5 else value
    plain.load_state_dict(state)
    hint = hints_of(sample, 3, 4)
    with torch.no_grad():
        ours = network(sample, 7, text, hint[:, None])
        theirs = plain(sample, torch.tensor(7), text, hint)
    for one, other in zip(
        [*ours.down_block_res_samples, ours.mid_block_res_sample],
        [*theirs.down_block_res_samples, theirs.mid_block_res_sample],
        strict=True,
    ):
        assert torch.allclose(one, other, atol=1e-5)


def test_without_mixing_the_order_of_frames_does_not_matter_and_with_kernels_over_time_it_does() -> None:
    unet = tiny_unet()
    sample, text = inputs()
    frames = torch.rand(2, 3, 3, 32, 32, generator=torch.Generator().manual_seed(9))
    order = [2, 0, 1]
    own, published = frames_network(unet), frames_network(unet, hint_frames=3)
    with torch.no_grad():
        for network, same in ((own, True), (published, False)):
            first = network(sample, 7, text, frames).mid_block_res_sample
            second = network(sample, 7, text, frames[:, order]).mid_block_res_sample
            assert torch.allclose(first, second, atol=1e-5) is same
        singles = sum(own(sample, 7, text, frames[:, [index]]).mid_block_res_sample for index in range(3))
        assert torch.allclose(own(sample, 7, text, frames).mid_block_res_sample, singles, atol=1e-5)


@pytest.mark.parametrize("hint_frames", [1, 3])
def test_an_absent_frame_is_as_if_it_had_not_been_given(hint_frames: int) -> None:
    unet = tiny_unet(class_embed_type="identity")
    sample, text = inputs(batch=3)
    network = frames_network(unet, hint_frames=hint_frames)
    with torch.no_grad():
        for alpha in network.mixing_attns:
            alpha.fill_(0.7)
    frames = torch.rand(3, 4, 3, 32, 32)
    target, each = torch.randn(3, 64), torch.randn(3, 4, 64)
    present = torch.tensor([[True, False, True, True], [True, True, True, True], [False] * 4])
    with torch.no_grad():
        got = network(sample, 7, text, frames, class_labels=target, frame_labels=each, present=present)
        kept = [0, 2, 3]
        one = network(sample[:1], 7, text[:1], frames[:1, kept], class_labels=target[:1], frame_labels=each[:1, kept])
        two = network(sample[1:2], 7, text[1:2], frames[1:2], class_labels=target[1:2], frame_labels=each[1:2])
    for tap, first, second in zip(got.down_block_res_samples, one.down_block_res_samples, two.down_block_res_samples, strict=True):
        assert torch.allclose(tap[:1], first, atol=1e-5)
        assert torch.allclose(tap[1:2], second, atol=1e-5)
        assert not tap[2].any()


def test_alpha_is_clamped_with_a_gradient_beyond() -> None:
    unet = tiny_unet()
    sample, text = inputs()
    network = frames_network(unet)
    frames = torch.rand(2, 3, 3, 32, 32)
    with torch.no_grad():
        network.mixing_attns[0].fill_(-3.0)
        below = network(sample, 7, text, frames).down_block_res_samples[0]
        network.mixing_attns[0].fill_(0.0)
        zero = network(sample, 7, text, frames).down_block_res_samples[0]
    assert torch.equal(below, zero)
    with torch.no_grad():
        network.mixing_attns[0].fill_(-3.0)
    network(sample, 7, text, frames).down_block_res_samples[0].square().sum().backward()
    assert network.mixing_attns[0].grad != 0


def test_coarse_hints_of_diffusionsat() -> None:
    torch.manual_seed(0)
    settings: dict[str, Any] = {
        "block_out_channels": (16, 32),
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "layers_per_block": 1,
        "cross_attention_dim": WIDTH,
        "attention_head_dim": 2,
        "norm_num_groups": 8,
        "conditioning_channels": 10,
        "class_embed_type": "identity",
    }
    sample, text = inputs()
    for scale in (1, 2, 4, 8):
        network = HintScaleControlNet(hint_scale=scale, **settings)
        hints = torch.rand(2, 10, 64 // scale, 64 // scale)
        assert network(sample, 7, text, hints, class_labels=torch.zeros(2, 64)).mid_block_res_sample.shape == (2, 32, 4, 4)
        assert set(network.state_dict()) == set(ControlNetModel(**settings).state_dict())
    with pytest.raises(InputError, match="hint_scale is 3"):
        HintScaleControlNet(hint_scale=3, **settings)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"hints": ("a", "a")}, "name each once"),
        ({"hints": ()}, "name each once"),
        ({"hint_channels": (3,)}, "name each once"),
        ({"hint_scale": 3}, "1, 2, 4 or 8"),
        ({"inject_channels": (8,)}, "one number for each level"),
        ({"absent": "black"}, "'null' or 'zeros'"),
        ({"encoder": {"colour": "red"}}, "colour are unknown"),
        ({"encoder": {"block_out_channels": (16, 32), "down_block_types": ("DownBlock2D",)}}, "cannot be built"),
        ({"encoder": {"block_out_channels": (12, 16), "norm_num_groups": 4}, "inject_channels": (8, 8)}, "multiple of 8"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], sentence: str) -> None:
    tiny = {"encoder": {"block_out_channels": (16, 32), "norm_num_groups": 8, "cross_attention_dim": 8, "attention_head_dim": 2}}
    with pytest.raises(InputError, match=sentence):
        MultiHintAdapter(**{**tiny, "hints": ("a", "b"), **settings})


def test_inputs_that_do_not_fit() -> None:
    unet = tiny_unet()
    sample, text = inputs()
    network = MultiHintAdapter.from_unet(unet, hints=("roads", "depth"), inject_channels=(8, 8))
    frames = frames_network(unet)
    for call, sentence in [
        (lambda: network(sample, 7, text, torch.rand(2, 13, 64, 64)), "roads 3, depth 3"),
        (lambda: network(sample[:, :3], 7, text, torch.rand(2, 6, 64, 64)), "the U-Net's latents"),
        (lambda: network(sample, 7, text[:1], torch.rand(2, 6, 64, 64)), "tokens, width"),
        (lambda: network(sample, 7, text, torch.rand(2, 6, 64, 64), present=torch.ones(2, 3)), "present has shape"),
        (lambda: network(sample, 7, text, torch.rand(2, 6, 64, 64), class_labels=torch.zeros(2, 64)), "takes no metadata"),
        (lambda: frames(sample, 7, text, torch.rand(2, 3, 32, 32)), "the frames have shape"),
        (lambda: frames(sample, 7, text, torch.rand(2, 3, 3, 64, 64)), "resize the frames"),
        (lambda: frames(sample, 7, text, torch.rand(2, 3, 3, 32, 32), present=torch.ones(2, 2)), "one for each"),
        (lambda: LocationResidualNet((16, 32), 1)(7, torch.zeros(2, 3)), "location encoder"),
        (lambda: ContentTokenAdapter(8)(torch.zeros(2, 8), torch.zeros(2, 3, 8)), "pad the text"),
        (lambda: ContentTokenAdapter(8)(torch.zeros(2, 9), torch.zeros(2, 7, 8)), "encoders that the adapter"),
        (lambda: ContentTokenAdapter(8, tokens=3), "even number"),
    ]:
        with pytest.raises(InputError, match=sentence):
            call()
