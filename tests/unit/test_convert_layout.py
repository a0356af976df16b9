"""AeroGen's and GLIGEN's published weights at tiny size compute what they did.

The state dicts are written under the published names; outputs are held against functions that read those names and follow the published
formulas step by step: every object by itself, the attention over one key with its queries and keys, nothing shared with the network.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from torch.nn import functional

from earthgen.cli import main
from earthgen.gen.conditioning.tokenizer import train_tokenizer
from earthgen.gen.convert.aerogen import DIOR, convert_aerogen
from earthgen.gen.convert.gligen import convert_gligen
from earthgen.gen.errors import InputError
from earthgen.gen.models.layout import LayoutEncoder, LayoutUNet, ObjectMaskInjector
from earthgen.gen.models.layout.unet import PUBLISHED

State = dict[str, Tensor]
WIDTH, FIRST, HIDDEN, HEADS, NULLS = 64, 32, 48, 8, {"aerogen": 20, "gligen": 30}
UNET = "model.diffusion_model."
SD15: dict[str, Any] = {"cross_attention_dim": 768, "attention_head_dim": 8}


@pytest.fixture(scope="module")
def layouts() -> ModuleType:
    path = Path(__file__).parent / "published_layouts.py"
    spec = importlib.util.spec_from_file_location("published_layouts", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules.setdefault("published_layouts", importlib.util.module_from_spec(spec))
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    train_tokenizer(["a harbour", "a field", "ship"], 514).save_pretrained(folder / "tokenizer")
    return folder


def linear(shapes: dict[str, tuple[int, ...]], name: str, out: int, into: int, bias: bool = True) -> None:
    shapes[f"{name}.weight"] = (out, into)
    if bias:
        shapes[f"{name}.bias"] = (out,)


def encoder_shapes(prefix: str, coded: int, null: str) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {f"{prefix}{null}": (WIDTH,), f"{prefix}null_position_feature": (coded,)}
    for number, (out, into) in {0: (HIDDEN, WIDTH + coded), 2: (HIDDEN, HIDDEN), 4: (WIDTH, HIDDEN)}.items():
        linear(shapes, f"{prefix}linears.{number}", out, into)
    return shapes


def mask_shapes(width: int, first: int) -> dict[str, tuple[int, ...]]:
    """Of `maskcrossattention`, dead ones among them."""
    shapes: dict[str, tuple[int, ...]] = {f"norm{n}.{kind}": (first,) for n in (1, 2, 3) for kind in ("weight", "bias")}
    for name in ("proj_in", "proj_out", "crossattn.to_out.0"):
        linear(shapes, name, first, first)
    linear(shapes, "crossattn.to_q", first, first, bias=False)
    linear(shapes, "crossattn.to_k", first, width, bias=False)
    linear(shapes, "crossattn.to_v", first, width, bias=False)
    linear(shapes, "ffn.net.0.proj", 8 * first, first)
    linear(shapes, "ffn.net.2", first, 4 * first)
    return shapes


def aerogen_state(layouts: ModuleType) -> tuple[State, UNet2DConditionModel]:
    unet = layouts.make_unet()
    state: State = layouts.below(UNET, layouts.ldm_unet(unet))
    extra = encoder_shapes("condition_tokenizer.", 128, "null_text_feature")
    extra |= {f"{UNET}maskcrossattention.{name}": shape for name, shape in mask_shapes(WIDTH, FIRST).items()}
    for key, value in list(state.items()):
        for part in ("to_k", "to_v"):
            if key.endswith((f"attn1.{part}.weight", f"attn2.{part}.weight")):
                extra[key.replace(part, f"{part}_control")] = (len(value), value.shape[1])
    state |= layouts.random_layers(extra, 11)
    state |= layouts.below("first_stage_model.", layouts.ldm_vae(layouts.make_vae()))
    state |= layouts.below("cond_stage_model.transformer.", layouts.old_clip(layouts.make_text())) | layouts.diffusion_tables()
    state |= {"model_ema.diffusion_modelinput_blocks00weight": torch.zeros(3), "model_ema.num_updates": torch.tensor(4)}
    return state, unet


def gligen_groups(layouts: ModuleType) -> tuple[dict[str, Any], UNet2DConditionModel]:
    unet = layouts.make_unet()
    model: State = layouts.ldm_unet(unet)
    shapes = encoder_shapes("position_net.", 64, "null_positive_feature")
    for key in [key for key in model if key.endswith("attn1.to_q.weight")]:
        name, width = key.replace("attn1.to_q.weight", "fuser"), model[key].shape[0]
        linear(shapes, f"{name}.linear", width, WIDTH)
        for part in "qkv":
            linear(shapes, f"{name}.attn.to_{part}", width, width, bias=False)
        linear(shapes, f"{name}.attn.to_out.0", width, width)
        linear(shapes, f"{name}.ff.net.0.proj", 8 * width, width)
        linear(shapes, f"{name}.ff.net.2", width, 4 * width)
        shapes |= {f"{name}.norm{n}.{kind}": (width,) for n in (1, 2) for kind in ("weight", "bias")}
        shapes |= {f"{name}.alpha_attn": (), f"{name}.alpha_dense": ()}
    model |= layouts.random_layers(shapes, 12)
    text = {f"transformer.{key}": value for key, value in layouts.old_clip(layouts.make_text()).items()}
    groups = {
        "model": model,
        "autoencoder": layouts.ldm_vae(layouts.make_vae()),
        "text_encoder": text,
        "diffusion": layouts.diffusion_tables(),
    }
    return groups, unet


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Softmax attention of ``[L, C]`` in eight heads, written out."""
    parts = []
    for q, k, v in zip(*(part.chunk(HEADS, dim=1) for part in (query, key, value)), strict=True):
        parts.append(torch.softmax(q @ k.T / q.shape[1] ** 0.5, dim=1) @ v)
    return torch.cat(parts, dim=1)


def dense(state: State, name: str, value: Tensor) -> Tensor:
    return value @ state[f"{name}.weight"].T + state.get(f"{name}.bias", torch.zeros(()))


def norm(state: State, name: str, value: Tensor) -> Tensor:
    return functional.layer_norm(value, value.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"])


def feed_forward(state: State, name: str, value: Tensor) -> Tensor:
    inner, gate = dense(state, f"{name}.net.0.proj", value).chunk(2, dim=1)
    return dense(state, f"{name}.net.2", inner * functional.gelu(gate))


def tokens_of(state: State, prefix: str, null: str, numbers: Tensor, vectors: Tensor, count: int) -> Tensor:
    """Tokens of one sample: objects, then nulls up to `count`."""
    rows = []
    for row in range(count):
        text, code = state[f"{prefix}{null}"], state[f"{prefix}null_position_feature"]
        if row < len(numbers):
            text, features = vectors[row], []
            for band in range(8):
                features += [(100 ** (band / 8) * numbers[row]).sin(), (100 ** (band / 8) * numbers[row]).cos()]
            code = torch.cat(features)
        inner = functional.silu(dense(state, f"{prefix}linears.0", torch.cat([text, code])))
        rows.append(dense(state, f"{prefix}linears.4", functional.silu(dense(state, f"{prefix}linears.2", inner))))
    return torch.stack(rows)


def mask_attention(state: State, features: Tensor, masks: Tensor, vectors: Tensor) -> Tensor:
    """`maskcrossattention` as published on ``[C, h, w]``: object by object over the whole grid."""
    place = f"{UNET}maskcrossattention."
    total = torch.zeros_like(features)
    for mask, vector in zip(masks, vectors, strict=True):
        x = dense(state, f"{place}proj_in", features.flatten(1).T)
        query = dense(state, f"{place}crossattn.to_q", norm(state, f"{place}norm2", x))
        key, value = (dense(state, f"{place}crossattn.to_{part}", vector[None]) for part in "kv")
        x = x + dense(state, f"{place}crossattn.to_out.0", attend(query, key, value))
        x = x + feed_forward(state, f"{place}ffn", norm(state, f"{place}norm3", x))
        total += dense(state, f"{place}proj_out", x).T.reshape(features.shape) * mask
    return 0.2 * total + 0.8 * features


class Dual:
    """Cross-attention to text and boxes by published weights, for one sample."""

    def __init__(self, state: State, name: str, tokens: Tensor) -> None:
        self.state, self.name, self.tokens = state, name, tokens

    def __call__(self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, **_: Any) -> Tensor:
        assert encoder_hidden_states is not None
        cells, text = hidden_states[0], encoder_hidden_states[0]
        query = dense(self.state, f"{self.name}.to_q", cells)
        mixed = attend(query, *(dense(self.state, f"{self.name}.to_{part}", text) for part in "kv"))
        mixed = mixed + attend(query, *(dense(self.state, f"{self.name}.to_{part}_control", self.tokens) for part in "kv"))
        return dense(self.state, f"{self.name}.to_out.0", mixed)[None]


def published_blocks(unet: UNet2DConditionModel) -> list[tuple[str, Any]]:
    """The transformer blocks of the tiny U-Net by their published names: levels with attention are the first down and the last up."""
    places = {f"down_blocks.0.attentions.{n}": f"input_blocks.{n + 1}.1" for n in range(2)}
    places |= {"mid_block.attentions.0": "middle_block.1"}
    places |= {f"up_blocks.1.attentions.{n}": f"output_blocks.{n + 3}.1" for n in range(3)}
    return [(f"{name}.transformer_blocks.0", unet.get_submodule(f"{place}.transformer_blocks.0")) for place, name in places.items()]


def quads_and_more() -> tuple[Tensor, Tensor, Tensor]:
    quads = torch.tensor(
        [
            [[[0.1, 0.12], [0.62, 0.2], [0.55, 0.66], [0.03, 0.58]], [[0.5, 0.5], [0.9, 0.5], [0.9, 0.81], [0.5, 0.81]]],
            [[[0.3, 0.0], [0.7, 0.33], [0.4, 0.7], [0.0, 0.37]], [[0.2, 0.2], [0.8, 0.2], [0.8, 0.9], [0.2, 0.9]]],
        ]
    )
    return quads, torch.randn(2, 2, WIDTH, generator=torch.Generator().manual_seed(4)), torch.tensor([[True, True], [True, False]])


def grid_points_inside(corners: Tensor, side: int) -> Tensor:
    shapely = pytest.importorskip("shapely")
    polygon = shapely.Polygon(corners.tolist())
    step = 64 // side
    return torch.tensor([[polygon.intersects(shapely.Point(x * step, y * step)) for x in range(side)] for y in range(side)])


def reference_aerogen(
    state: State, unet: UNet2DConditionModel, sample: Tensor, time: int, text: Tensor, quads: Tensor, vectors: Tensor
) -> Tensor:
    """One sample; `quads` and `vectors` of the objects that there are."""
    cells = (quads * 64).int().float()
    tokens = tokens_of(state, "condition_tokenizer.", "null_text_feature", cells.flatten(1), vectors, NULLS["aerogen"])
    masks = torch.stack([grid_points_inside(corners, sample.shape[-1]) for corners in cells])
    for name, block in published_blocks(unet):
        block.attn2.processor = Dual(state, f"{UNET}{name}.attn2", tokens)

    def mixed(_module: nn.Module, _given: Any, made: Tensor) -> Tensor:
        return mask_attention(state, made[0], masks, vectors)[None] if time >= 200 else made

    handle = unet.conv_in.register_forward_hook(mixed)
    made: Tensor = unet(sample[None], time, text[None]).sample[0]
    handle.remove()
    return made


def close(one: Tensor, other: Tensor) -> None:
    assert one.shape == other.shape
    assert float(other.abs().max()) > 1e-3
    assert torch.allclose(one, other, atol=3e-5, rtol=1e-4), float((one - other).abs().max())


def test_aerogen_computes_what_was_published(tmp_path: Path, base: Path, layouts: ModuleType) -> None:
    state, unet = aerogen_state(layouts)
    torch.save({"epoch": 3, "state_dict": state, "optimizer_states": []}, tmp_path / "last.ckpt")
    table = torch.randn(20, WIDTH, generator=torch.Generator().manual_seed(9))
    np.save(tmp_path / "category_embeddings.npy", table.numpy())
    model = convert_aerogen(tmp_path / "last.ckpt", base)
    dead = sum(".attn1." in key and "_control" in key for key in state)
    assert dead == 12
    assert model.dropped == {
        "boxes in self-attention, never used": dead,
        "mask attention over one key": 6,
        "tables of the diffusion": 7,
        "averages of training": 2,
        "positions of the text": 1,
    }
    assert model.taken == len(state) - dead - 6 - 7 - 2 - 1
    network = model.components["unet"]
    assert isinstance(network, LayoutUNet)
    assert network.config["classes"] == list(DIOR)
    assert {name: network.layout_encoder.config[name] for name in PUBLISHED["aerogen"]} == PUBLISHED["aerogen"]
    quads, vectors, valid = quads_and_more()
    labels = torch.tensor([[6, 0], [13, 2]])
    generator = torch.Generator().manual_seed(2)
    sample, text = torch.randn(2, 4, 16, 16, generator=generator), torch.randn(2, 7, WIDTH, generator=generator)
    with torch.no_grad():
        for times in ([801, 3], [199, 200]):
            for given in (vectors, table[labels]):
                made = network(sample, torch.tensor(times), quads, given if given is vectors else labels, valid, None, text)
                for number in range(2):
                    there = valid[number]
                    args = (sample[number], times[number], text[number], quads[number][there], given[number][there])
                    close(made[number], reference_aerogen(state, unet, *args))


def test_gligen_computes_what_was_published(tmp_path: Path, base: Path, layouts: ModuleType) -> None:
    groups, unet = gligen_groups(layouts)
    torch.save(groups, tmp_path / "diffusion_pytorch_model.bin")
    model = convert_gligen(tmp_path / "diffusion_pytorch_model.bin", base, ["ship", "a field"])
    assert model.dropped == {"tables of the diffusion": 7, "positions of the text": 1}
    assert model.taken == sum(map(len, groups.values())) - 8
    network, state = model.components["unet"], groups["model"]
    quads, vectors, valid = quads_and_more()
    generator = torch.Generator().manual_seed(2)
    sample, text = torch.randn(2, 4, 8, 8, generator=generator), torch.randn(2, 7, WIDTH, generator=generator)
    time = torch.tensor([3, 801])
    with torch.no_grad():
        made = network(sample, time, quads, vectors, valid, None, text)
        for number in range(2):
            there = valid[number]
            boxes = torch.cat([quads[number][there].amin(1), quads[number][there].amax(1)], dim=1)
            tokens = tokens_of(state, "position_net.", "null_positive_feature", boxes, vectors[number][there], NULLS["gligen"])
            handles = []
            for name, block in published_blocks(unet):

                def gated(_module: nn.Module, given: Any, *, name: str = f"{name}.fuser", tokens: Tensor = tokens) -> Any:
                    """Before the norm of cross-attention: both gates."""
                    x = given[0][0]
                    joined = norm(state, f"{name}.norm1", torch.cat([x, dense(state, f"{name}.linear", tokens)]))
                    query, key, value = (dense(state, f"{name}.attn.to_{part}", joined) for part in "qkv")
                    seen = dense(state, f"{name}.attn.to_out.0", attend(query, key, value))[: len(x)]
                    x = x + state[f"{name}.alpha_attn"].tanh() * seen
                    return x + state[f"{name}.alpha_dense"].tanh() * feed_forward(state, f"{name}.ff", norm(state, f"{name}.norm2", x))

                handles += _insert(block, gated)
            theirs = unet(sample[number : number + 1], int(time[number]), text[number : number + 1]).sample[0]
            for undo in handles:
                undo()
            close(made[number], theirs)
        # The classes are the pooled text of their names.
        words = model.components["tokenizer"](["a field"], padding="max_length", max_length=77, return_tensors="pt").input_ids
        close(network.layout_encoder.table.weight[1], model.components["text_encoder"](words).pooler_output[0])


def _insert(block: Any, gated: Callable[..., Tensor]) -> list[Callable[[], None]]:
    """Put a function between self-attention and the norm of cross-attention: what comes in is replaced, and so is what is added to it."""
    original, norm2 = block.forward, block.norm2

    def forward(hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, **_: Any) -> Tensor:
        x = hidden_states + block.attn1(block.norm1(hidden_states))
        x = gated(block, (x,))[None]
        x = x + block.attn2(norm2(x), encoder_hidden_states=encoder_hidden_states)
        out: Tensor = x + block.ff(block.norm3(x))
        return out

    block.forward = forward
    return [lambda: setattr(block, "forward", original)]


def test_parameters_are_as_many_as_published() -> None:
    """Spec figures: encoder 1.117 M, keys and values 19.17 M (24.78 M more of them dead), mask attention 2.136 M."""
    with torch.device("meta"):
        network = LayoutUNet(
            block_out_channels=(320, 640, 1280, 1280),
            attention=(True, True, True, False),
            layers_per_block=2,
            backbone={**SD15, "norm_num_groups": 32, "use_linear_projection": False},
            encoder={"vector_width": 768, "hidden": 512},
            compat="aerogen",
        )
        gligen = LayoutEncoder(**PUBLISHED["gligen"])
    counts = {name: value.numel() for name, value in network.named_parameters()}
    assert sum(n for name, n in counts.items() if name.startswith("layout_encoder.")) == 1_116_800
    assert sum(n for name, n in counts.items() if "_layout.weight" in name) == 19_169_280
    dead = sum(2 * n for name, n in counts.items() if name.endswith("attn1.to_k.weight"))
    assert dead == pytest.approx(24.78e6, rel=1e-4)
    kept = sum(n for name, n in counts.items() if name.startswith("mask_injector."))
    shapes = mask_shapes(768, 320)
    idle = sum(
        torch.Size(shape).numel()
        for name, shape in shapes.items()
        if name.startswith(("norm1", "norm2", "crossattn.to_q", "crossattn.to_k"))
    )
    assert kept + idle == 2_135_680
    names = {name.removeprefix("mask_injector.") for name in counts if name.startswith("mask_injector.")}
    assert names < shapes.keys()
    assert sum(value.numel() for value in gligen.parameters()) == pytest.approx(1.08e6, rel=0.01)
    assert sum(value.numel() for value in network.unet.parameters()) == pytest.approx(859.52e6 + 19.17e6, rel=1e-4)


def test_a_new_mask_attention_keeps_four_fifths() -> None:
    """As published, it starts at 0.8 of the features, not at the features."""
    injector, features = ObjectMaskInjector(8, 16), torch.randn(2, 16, 4, 4)
    masks = torch.rand(2, 3, 4, 4) < 0.5
    with torch.no_grad():
        made = injector(features, torch.randn(2, 3, 8), masks, torch.tensor([100, 300]))
    assert torch.equal(made[0], features[0])
    assert torch.allclose(made[1], 0.8 * features[1])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda s: s.pop(f"{UNET}maskcrossattention.ffn.net.2.bias"), "1 missing.*mask_injector.ffn.net.2.bias"),
        (lambda s: s.pop(f"{UNET}middle_block.1.transformer_blocks.0.attn2.to_v_control.weight"), "1 missing.*to_v_layout"),
        (lambda s: s.update({"condition_tokenizer.linears.6.weight": torch.zeros(2, 2)}), "1 unexpected"),
        (lambda s: s.update({"strange.weight": torch.zeros(3)}), r"1 unexpected weights \(strange.weight"),
        (lambda s: s.update({"condition_tokenizer.null_position_feature": torch.full((128,), torch.nan)}), "is not finite"),
        (lambda s: [s.pop(key) for key in list(s) if "maskcrossattention" in key], "no checkpoint of AeroGen"),
        (lambda s: [s.pop(key) for key in list(s) if key.startswith("condition_tokenizer")], "no checkpoint of AeroGen"),
    ],
)
def test_aerogen_is_strict(tmp_path: Path, base: Path, layouts: ModuleType, change: Callable[[State], Any], sentence: str) -> None:
    state, _ = aerogen_state(layouts)
    change(state)
    torch.save({"state_dict": state}, tmp_path / "last.ckpt")
    with pytest.raises(InputError, match=sentence):
        convert_aerogen(tmp_path / "last.ckpt", base)


def test_class_vectors_are_checked(tmp_path: Path, base: Path, layouts: ModuleType) -> None:
    state, _ = aerogen_state(layouts)
    torch.save(state, tmp_path / "last.ckpt")
    assert convert_aerogen(tmp_path / "last.ckpt", base).components["unet"].config["classes"] == []
    with pytest.raises(InputError, match="beside the checkpoint"):
        convert_aerogen(tmp_path / "last.ckpt", base, ["ship"])
    vectors = tmp_path / "category_embeddings.npy"
    np.save(vectors, np.zeros((2, WIDTH), np.float32))
    assert convert_aerogen(tmp_path / "last.ckpt", base, ["ship", "dam"]).components["unet"].config["classes"] == ["ship", "dam"]
    with pytest.raises(InputError, match=r"1 classes are named.*2 rows"):
        convert_aerogen(tmp_path / "last.ckpt", base, ["ship"])
    np.save(vectors, np.array([{"code": "that runs"}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="no array of numbers"):
        convert_aerogen(tmp_path / "last.ckpt", base)
    with pytest.raises(InputError, match="--base"):
        convert_aerogen(tmp_path / "last.ckpt", None)


def test_gligen_is_strict(tmp_path: Path, base: Path, layouts: ModuleType) -> None:
    groups, _ = gligen_groups(layouts)
    path = tmp_path / "diffusion_pytorch_model.bin"
    torch.save({name: group for name, group in groups.items() if name != "autoencoder"}, path)
    with pytest.raises(InputError, match="no model, autoencoder and text_encoder"):
        convert_gligen(path, base)
    lost = "input_blocks.1.1.transformer_blocks.0.fuser.alpha_attn"
    torch.save({**groups, "model": {key: value for key, value in groups["model"].items() if key != lost}}, path)
    with pytest.raises(InputError, match=r"1 missing.*fuser.alpha_attn"):
        convert_gligen(path, base)
    torch.save({**groups, "model": {key: value for key, value in groups["model"].items() if not key.startswith("position_net")}}, path)
    with pytest.raises(InputError, match="no position_net"):
        convert_gligen(path, base)


def test_the_command_writes_a_model_folder(
    tmp_path: Path, base: Path, layouts: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    state, _ = aerogen_state(layouts)
    torch.save(state, tmp_path / "last.ckpt")
    words = ["convert", "aerogen", str(tmp_path / "last.ckpt"), str(tmp_path / "out"), "--base", str(base)]
    monkeypatch.setattr(sys, "argv", ["earthgen", *words])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert not stopped.value.code
    assert "12 dropped (boxes in self-attention, never used)" in capsys.readouterr().out
    again = LayoutUNet.from_pretrained(tmp_path / "out" / "unet")
    assert again.config["compat"] == "aerogen"
    assert torch.equal(again.layout_encoder.linears[4].bias, state["condition_tokenizer.linears.4.bias"])
