"""The layout network keeps what it promises: nothing new at first, no order, no cap, padding unseen, each sample by its own time."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from earthgen.gen.errors import InputError
from earthgen.gen.models.attention import use_attention
from earthgen.gen.models.layout import LayoutEncoder, LayoutUNet, install_layout
from earthgen.gen.models.layout.regions import covered_cells
from earthgen.gen.models.layout.unet import layout_channels, small_settings

NAMES = ["ship", "plane", "tree"]
TINY: dict[str, Any] = {
    "in_channels": 7,
    "out_channels": 5,
    "patch": 4,
    "classes": NAMES,
    "block_out_channels": (16, 32),
    "attention": (False, True),
    "cross_attention_dim": 24,
    "heads": 2,
    "encoder": {"vector_width": 8, "hidden": 16},
}


def shaken(network: nn.Module, seed: int = 3) -> Any:
    """As after training: no weight at zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in network.parameters():
            value.add_(0.3 / max(value[0].numel() if value.ndim else 1, 1) ** 0.5 * torch.randn(value.shape, generator=generator))
    return network.eval()


def tiny(**settings: Any) -> LayoutUNet:
    torch.manual_seed(1)
    return shaken(LayoutUNet(**{**TINY, **settings}))  # type: ignore[no-any-return]


def boxes(batch: int, count: int, seed: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    centre = torch.rand(batch, count, 1, 2, generator=generator)
    size = 0.05 + 0.3 * torch.rand(batch, count, 1, 2, generator=generator)
    angle = math.pi * torch.rand(batch, count, generator=generator)
    corners = torch.tensor([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]]) * size
    turn = torch.stack([torch.stack([angle.cos(), angle.sin()], -1), torch.stack([-angle.sin(), angle.cos()], -1)], -2)
    return centre + corners @ turn


def request(batch: int = 3, count: int = 6, **more: Any) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(7)
    return {
        "sample": torch.randn(batch, 7, 16, 12, generator=generator),
        "timestep": torch.tensor([0.0, 300.0, 999.0])[:batch],
        "quads": boxes(batch, count),
        "labels": torch.randint(0, 3, (batch, count), generator=generator),
        "valid": torch.rand(batch, count, generator=generator) < 0.7,
        "raster": torch.rand(batch, 5, 64, 48, generator=generator),
        **more,
    }


def run(network: LayoutUNet, **given: Any) -> Tensor:
    with torch.no_grad():
        made: Tensor = network(**given)
    assert made.isfinite().all()
    return made


def same(one: Tensor, other: Tensor, tolerance: float = 2e-5) -> None:
    assert torch.allclose(one, other, atol=tolerance, rtol=1e-4), float((one - other).abs().max())


def differ(one: Tensor, other: Tensor) -> None:
    assert float((one - other).abs().max()) > 1e-3


def trained_unet() -> UNet2DConditionModel:
    torch.manual_seed(2)
    blocks: dict[str, Any] = {
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    }
    unet = UNet2DConditionModel(
        block_out_channels=(16, 32), cross_attention_dim=24, attention_head_dim=2, norm_num_groups=8, layers_per_block=2, **blocks
    )
    return shaken(unet)  # type: ignore[no-any-return]


@pytest.mark.parametrize("compat", [None, "gligen"])
@pytest.mark.parametrize("region", [False, True])
def test_a_new_network_is_its_unet_bit_for_bit(compat: Any, region: bool) -> None:
    unet = trained_unet()
    network = LayoutUNet.from_unet(unet, NAMES, compat=compat, region=region, raster_patch=8).eval()
    sample, text, raster = torch.randn(2, 4, 8, 10), torch.randn(2, 5, 24), torch.rand(2, 5, 64, 80)
    time = torch.tensor([3, 801])
    labels = torch.randint(0, 3, (2, 4))
    with torch.no_grad():
        before = unet(sample, time, text).sample
        after = network(sample, time, boxes(2, 4), labels, None, raster, text)
        scalar = network(sample, 7, boxes(2, 4), labels, None, raster, text)
        assert torch.equal(before, after)
        assert torch.equal(unet(sample, 7, text).sample, scalar)
        uneven = torch.randn(2, 4, 7, 9)
        assert torch.equal(
            unet(uneven, time, text).sample, network(uneven, time, boxes(2, 4), labels, None, torch.rand(2, 5, 56, 72), text)
        )


@pytest.mark.parametrize("compat", [None, "aerogen", "gligen"])
def test_no_layout_scale_is_the_base(compat: Any) -> None:
    encoder = {"vector_width": 8, "hidden": 16}
    network = shaken(LayoutUNet.from_unet(trained_unet(), NAMES, compat=compat, encoder=encoder, raster_patch=8))
    sample, text, raster = torch.randn(2, 4, 8, 8), torch.randn(2, 5, 24), torch.rand(2, 5, 64, 64)
    given = (sample, torch.tensor([3, 801]), boxes(2, 4), torch.randint(0, 3, (2, 4)), None, raster, text)
    with torch.no_grad():
        base = copy.deepcopy(network).unet(sample, torch.tensor([3, 801]), text).sample
        assert torch.equal(base, network(*given, layout_scale=0.0))
        full, both = network(*given), network(*given, layout_scale=torch.tensor([1.0, 0.0]))
    differ(full, base)
    same(both[0], full[0])
    same(both[1], base[1])


@pytest.mark.parametrize("region", [False, True])
def test_objects_have_no_order_and_padding_is_not_seen(region: bool) -> None:
    network, given = tiny(region=region), request()
    made = run(network, **given)
    order = torch.tensor([4, 2, 0, 5, 1, 3])
    same(made, run(network, **{**given, **{name: given[name][:, order] for name in ("quads", "labels", "valid")}}))
    rubbish = torch.full((3, 4, 4, 2), torch.nan)
    padded = {
        "quads": torch.cat([given["quads"], rubbish], dim=1),
        "labels": torch.cat([given["labels"], torch.full((3, 4), 77)], dim=1),
        "valid": torch.cat([given["valid"], torch.zeros(3, 4, dtype=torch.bool)], dim=1),
    }
    same(made, run(network, **{**given, **padded}))
    differ(made, run(network, **{**given, "valid": ~given["valid"]}))
    assert run(network, **request(count=300)).shape == (3, 5, 16, 12)


@pytest.mark.parametrize("region", [False, True])
@pytest.mark.parametrize("compat", [None, "aerogen", "gligen"])
def test_a_batch_of_mixed_times_is_its_samples(region: bool, compat: Any) -> None:
    network, given = tiny(region=region, least_timestep=200.0, compat=compat), request(encoder_hidden_states=torch.randn(3, 4, 24))
    made = run(network, **given)
    for number in range(3):
        same(made[number : number + 1], run(network, **{name: value[number : number + 1] for name, value in given.items()}))


def test_the_raster_is_let_in_from_a_time_on() -> None:
    network, given = tiny(least_timestep=300.0), request()
    other = {**given, "raster": 1 - given["raster"]}
    one, two = run(network, **given), run(network, **other)
    assert torch.equal(one[0], two[0])
    differ(one[1], two[1])
    differ(one[2], two[2])


@pytest.mark.parametrize("region", [False, True])
@pytest.mark.parametrize("compat", [None, "aerogen", "gligen"])
def test_no_objects_at_all(region: bool, compat: Any) -> None:
    network = tiny(region=region, compat=compat)
    given = request(encoder_hidden_states=torch.randn(3, 4, 24))
    nothing = {
        "quads": torch.zeros(3, 0, 4, 2),
        "labels": torch.zeros(3, 0, dtype=torch.long),
        "valid": torch.zeros(3, 0, dtype=torch.bool),
    }
    empty = run(network, **{**given, **nothing})
    if compat is None:  # published weights attend to padding
        same(empty, run(network, **{**given, "valid": torch.zeros_like(given["valid"])}))


def test_an_absent_layout_is_no_empty_one() -> None:
    network, given = tiny(region=True), request()
    none = torch.zeros(3, 6, dtype=torch.bool)
    empty, absent = run(network, **{**given, "valid": none}), run(network, **given, present=torch.zeros(3, dtype=torch.bool))
    differ(empty, absent)
    # What an absent layout holds does not matter, and presence is each sample's own.
    changed = {**given, "quads": boxes(3, 6, seed=9), "raster": 1 - given["raster"]}
    same(absent, run(network, **changed, present=torch.zeros(3, dtype=torch.bool)))
    mixed = run(network, **given, present=torch.tensor([True, False, True]))
    same(mixed[1], absent[1])
    same(mixed[0], run(network, **given)[0])


def test_a_region_shows_objects_to_the_cells_that_they_cover_alone() -> None:
    """What attention adds at a cell depends on an object exactly where it covers the cell."""
    network = tiny(region=True)
    found: list[Tensor] = []
    attention = next(
        module for name, module in network.unet.named_modules() if name.endswith("down_blocks.1.attentions.0.transformer_blocks.0.attn2")
    )
    attention.register_forward_hook(lambda _module, _given, made: found.append(made))
    given = request(count=1, valid=torch.ones(3, 1, dtype=torch.bool))
    run(network, **given)
    run(network, **{**given, "labels": (given["labels"] + 1) % 3})
    changed = (found[0] - found[1]).abs().amax(dim=2) > 1e-6
    assert torch.equal(changed, covered_cells(given["quads"], 8, 6)[:, 0].flatten(1))
    assert changed.any()
    assert not changed.all()


def test_covered_cells_agree_with_exact_overlaps() -> None:
    shapely = pytest.importorskip("shapely")
    quads = torch.cat([boxes(1, 60), boxes(1, 40).flip(2), boxes(1, 20) * 0.02 + 0.4], dim=1)
    covered = covered_cells(quads, 9, 13)[0]
    for number, quad in enumerate(quads[0].double().numpy()):
        polygon = shapely.Polygon(quad * [13, 9])
        for row in range(9):
            for column in range(13):
                area = polygon.intersection(shapely.box(column, row, column + 1, row + 1)).area
                if area > 1e-5:
                    assert covered[number, row, column]
                elif polygon.distance(shapely.box(column, row, column + 1, row + 1)) > 1e-5:
                    assert not covered[number, row, column]
    # A box without area is somewhere all the same.
    assert covered_cells(torch.full((1, 1, 4, 2), 0.51), 4, 4).sum() == 1


def test_horizontal_boxes_are_rotated_ones_at_no_angle() -> None:
    x, y, w, h = 0.2, 0.3, 0.25, 0.125
    horizontal = torch.tensor([[[[x, y], [x + w, y], [x + w, y + h], [x, y + h]]]])
    angle = torch.tensor(0.0)
    turn = torch.stack([torch.stack([angle.cos(), angle.sin()]), torch.stack([-angle.sin(), angle.cos()])])
    rotated = torch.tensor([x + w / 2, y + h / 2]) + torch.tensor([[-w, -h], [w, -h], [w, h], [-w, h]]) / 2 @ turn
    labels = torch.zeros(1, 1, dtype=torch.long)
    eight, four = shaken(LayoutEncoder(classes=2)), shaken(LayoutEncoder(classes=2, coordinates=4))
    with torch.no_grad():
        same(eight(horizontal, labels), eight(rotated[None, None], labels))
        # Four coordinates are the box around, whichever corner comes first.
        same(four(horizontal, labels), four(rotated.roll(1, 0)[None, None], labels))
        assert torch.allclose(four.code(horizontal)[0, 0, :4], (math.pi * torch.tensor([x, y, x + w, y + h])).sin(), atol=1e-6)


def test_the_first_corner_counts_only_if_told_so() -> None:
    quads, labels = boxes(2, 5), torch.zeros(2, 5, dtype=torch.long)
    declared, free = shaken(LayoutEncoder(classes=1, width=16)), shaken(LayoutEncoder(classes=1, width=16, start="any"))
    with torch.no_grad():
        same(free(quads, labels), free(quads.roll(1, 2), labels))
        differ(declared(quads, labels), declared(quads.roll(1, 2), labels))
        differ(free(quads, labels), free(quads.flip(2), labels))


def test_codes_of_corners() -> None:
    quad = torch.tensor([[[[0.1, 0.2], [0.3, 0.25], [0.28, 0.5], [0.08, 0.45]]]])
    published = LayoutEncoder(fourier="published", coord_space="grid64").code(quad)[0, 0]
    cells = [6, 12, 19, 16, 17, 32, 5, 28]
    expected = [f(100 ** (k / 8) * c) for k in range(8) for f in (math.sin, math.cos) for c in cells]
    assert torch.allclose(published, torch.tensor(expected), atol=3e-4)
    split = LayoutEncoder(fourier="published", corner_order="xs_then_ys").code(quad)[0, 0]
    assert torch.allclose(split[:8], torch.tensor([0.1, 0.3, 0.28, 0.08, 0.2, 0.25, 0.5, 0.45]).sin(), atol=1e-6)
    ours = LayoutEncoder(bands=8, shortest=1 / 64)
    frequencies = ours._frequencies(torch.device("cpu"))
    assert torch.allclose(2 * math.pi / frequencies, torch.tensor([2.0 ** (1 - k) for k in range(8)]), rtol=1e-5)


def test_unknown_classes_and_given_vectors() -> None:
    encoder = shaken(LayoutEncoder(classes=3, vector_width=8, hidden=16, width=12))
    quads = boxes(1, 2)
    with torch.no_grad():
        known = encoder(quads, torch.tensor([[1, 2]]))
        same(known, encoder(quads, encoder.table.weight[[1, 2]][None]))
        unknown = encoder(quads, torch.tensor([[1, -1]]))
        same(unknown[:, 1], encoder(quads, torch.cat([encoder.table.weight[1:2], encoder.null_text_feature[None]])[None])[:, 1])
    differ(unknown[:, 1], known[:, 1])


@pytest.mark.parametrize(("compat", "region"), [(None, False), (None, True), ("aerogen", False), ("gligen", False)])
def test_gradients_reach_every_parameter_after_one_step(compat: Any, region: bool) -> None:
    torch.manual_seed(1)
    network = LayoutUNet(
        **{**TINY, "compat": compat, "region": region, "encoder": {"vector_width": 8, "hidden": 16, "start": "any"}}
    ).train()
    optimiser = torch.optim.SGD(network.parameters(), lr=0.5)
    given, words = request(labels=torch.tensor([[0, 1, 2, -1, 0, 1]] * 3)), torch.randn(3, 4, 24)
    valid = torch.ones(3, 6, dtype=torch.bool)
    valid[:, 2] = False
    for step in range(3):
        optimiser.zero_grad()
        loss = network(**{**given, "valid": valid}, encoder_hidden_states=words, present=torch.tensor([True, False, True])).square().mean()
        if compat is None:
            loss = loss + network(**{**given, "valid": valid}).square().mean()
        loss.backward()
        if step < 2:
            optimiser.step()
    # A gate of GLIGEN's is open after one step, and what it lets through learns at the next.
    silent = [name for name, value in network.named_parameters() if value.grad is None or not bool((value.grad != 0).any())]
    assert not silent


def test_checkpointing_changes_no_gradient() -> None:
    one, two = tiny(region=True, gate=0.5).train(), tiny(region=True, gate=0.5).train()
    two.enable_gradient_checkpointing()
    assert any(getattr(block, "gradient_checkpointing", False) for block in two.unet.modules())
    for network in (one, two):
        network(**request()).square().mean().backward()
    for (name, value), other in zip(one.named_parameters(), two.parameters(), strict=True):
        if value.grad is not None:
            assert other.grad is not None, name
            assert torch.allclose(value.grad, other.grad, atol=1e-6), name


@pytest.mark.parametrize("settings", [{"region": True, "gate": 0.5}, {"compat": "aerogen"}, {"compat": "gligen", "pad_objects": 9}])
def test_saved_and_loaded(tmp_path: Path, settings: dict[str, Any]) -> None:
    network, given = tiny(**settings), request(encoder_hidden_states=torch.randn(3, 4, 24))
    network.save_pretrained(tmp_path)
    again = LayoutUNet.from_pretrained(tmp_path)
    assert again.config["classes"] == NAMES
    assert torch.equal(run(network, **given), run(again.eval(), **given))


def test_half_precision_and_the_switch_of_kernels() -> None:
    network, given = tiny(region=True), request()
    made = run(network, **given)
    assert use_attention(network) == "sdpa"
    assert torch.equal(made, run(network, **given))
    half = run(network.to(torch.bfloat16), **given)
    assert half.dtype == torch.bfloat16
    assert float((half.float() - made).abs().max()) < 0.1 * float(made.abs().max())


def test_the_small_configuration() -> None:
    with torch.device("meta"):
        network = LayoutUNet(classes=NAMES, **small_settings())
    assert 4e6 < sum(value.numel() for value in network.parameters()) < 6.2e6
    assert layout_channels(4) == (112, 48)
    assert layout_channels(2, inpainting=False) == (12, 12)


def test_what_does_not_fit_is_told() -> None:
    network, given = tiny(), request()
    wrong = [
        ({"raster": given["raster"][:, :4]}, "coverage of 3 classes"),
        ({"raster": given["raster"][:, :, :32]}, "rasterise at the picture's size"),
        ({"labels": torch.full((3, 6), 3)}, "there is a class 3, and this network knows 0 to 2"),
        ({"quads": given["quads"][..., :1]}, "four corners each"),
        ({"sample": given["sample"][:, :4]}, r"takes \[B, 7, h, w\]"),
        ({"encoder_hidden_states": torch.zeros(3, 4, 25)}, r"it is \[3, tokens, 24\]"),
        ({"raster": None}, "the raster"),
    ]
    for change, sentence in wrong:
        with pytest.raises(InputError, match=sentence):
            network(**{**given, **change})
    with pytest.raises(InputError, match="no table of classes"):
        LayoutEncoder()(boxes(1, 2), torch.zeros(1, 2, dtype=torch.long))
    with pytest.raises(InputError, match="each class once"):
        LayoutUNet(**{**TINY, "classes": ["ship", "ship"]})
    with pytest.raises(InputError, match="need text"):
        tiny(compat="aerogen")(**given)
    with pytest.raises(InputError, match="no cross-attention"):
        install_layout(
            UNet2DConditionModel(
                block_out_channels=(32,), down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",), mid_block_type=None
            ),
            8,
        )
