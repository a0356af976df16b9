"""Published weights of Text2Earth, CRS-Diff, GeoSynth, DiffusionSat and map-sat at tiny size compute what they did.

Checkpoints are written under the published names by `published_layouts`, which walks through the blocks on its own; outputs are held
against the networks that the weights came from and against functions that read the published names.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from diffusers.models.embeddings import TimestepEmbedding
from diffusers.models.transformers.transformer_temporal import TransformerTemporalModel
from safetensors.torch import save_file
from torch import Tensor, nn

from earthgen.cli import main
from earthgen.gen.conditioning.metadata import Metadata
from earthgen.gen.conditioning.schemas import schema
from earthgen.gen.conditioning.tokenizer import train_tokenizer
from earthgen.gen.convert.crs_diff import convert_crs_diff
from earthgen.gen.convert.diffusionsat import convert_diffusionsat
from earthgen.gen.convert.geosynth import convert_geosynth
from earthgen.gen.convert.stock import PROMPT, convert_map_sat, convert_text2earth
from earthgen.gen.convert.weight_files import read_state_dict
from earthgen.gen.errors import InputError
from earthgen.gen.models.embed import LocationEncoder
from earthgen.pipelines.earth import EarthPipeline

State = dict[str, Tensor]


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
def reference(bench_module: Callable[[str], ModuleType]) -> ModuleType:
    return bench_module("reference_control")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, layouts: ModuleType) -> Path:
    """A Stable Diffusion pipeline in diffusers layout, as older versions named things."""
    folder = tmp_path_factory.mktemp("base")
    layouts.make_unet().save_pretrained(folder / "unet")
    vae = layouts.make_vae()
    vae.save_pretrained(folder / "vae")
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    state = {}
    for key, value in vae.state_dict().items():
        name = key
        for new, name_before in old.items():
            name = name.replace(f"attentions.0.{new}.", f"attentions.0.{name_before}.")
        state[name] = value
    save_file(state, folder / "vae" / "diffusion_pytorch_model.safetensors")
    text = layouts.make_text()
    text.config.save_pretrained(folder / "text_encoder")
    torch.save(layouts.old_clip(text), folder / "text_encoder" / "pytorch_model.bin")
    train_tokenizer(["a harbour", "a field"], 514).save_pretrained(folder / "tokenizer")
    (folder / "scheduler").mkdir()
    noise = {
        "_class_name": "PNDMScheduler",
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "skip_prk_steps": True,
    }
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(noise))
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "SomethingElsePipeline", "_diffusers_version": "0.1"}))
    return folder


def inputs(batch: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    sample, text = torch.randn(batch, 4, 8, 8, generator=generator), torch.randn(batch, 7, 64, generator=generator)
    return sample, torch.tensor([3, 801])[:batch], text


def same(one: Tensor, other: Tensor, tolerance: float = 1e-5) -> None:
    assert one.shape == other.shape
    assert float(other.abs().max()) > 1e-3
    assert torch.allclose(one, other, atol=tolerance, rtol=1e-5), float((one - other).abs().max())


def check_autoencoder_and_text(components: dict[str, Any], layouts: ModuleType, text: nn.Module) -> None:
    picture, ids = torch.rand(1, 3, 16, 24), torch.tensor([[512, 5, 9, 513, 513]])
    vae = layouts.make_vae()
    with torch.no_grad():
        same(components["vae"].encode(picture).latent_dist.mean, vae.encode(picture).latent_dist.mean)
        latents = torch.randn(1, 4, 2, 3)
        same(components["vae"].decode(latents).sample, vae.decode(latents).sample)
        same(components["text_encoder"](ids).last_hidden_state, text(ids).last_hidden_state)
    assert components["vae"].config["scaling_factor"] == 0.18215
    assert components["scheduler"].config["beta_end"] == pytest.approx(0.012)
    assert components["scheduler"].config["beta_schedule"] == "scaled_linear"
    assert components["tokenizer"]("a field")["input_ids"][0] == 512


@pytest.fixture(scope="module")
def crs(layouts: ModuleType) -> tuple[State, UNet2DConditionModel, nn.Module]:
    return crs_state(layouts)


def crs_state(layouts: ModuleType) -> tuple[State, UNet2DConditionModel, nn.Module]:
    """CRS-Diff's whole state dict; the adapter's encoder is a ControlNet's with other norms where hints come in."""
    unet, text = layouts.make_unet(class_embed_type="identity"), layouts.make_text()
    controlnet = layouts.randomise(
        ControlNetModel(**{k: v for k, v in layouts.unet_settings().items() if k not in ("sample_size", "up_block_types")}), 4
    )
    local = layouts.ldm_encoder(controlnet.state_dict()) | layouts.ldm_zero_convs(controlnet.state_dict())
    shapes: dict[str, tuple[int, ...]] = {}
    inject = (6, 10)
    for block, (before, after, hints) in {1: (32, 32, inject[0]), 4: (32, 64, inject[1])}.items():
        for name in ("in_layers.0", "out_layers.0"):
            del local[f"input_blocks.{block}.0.{name}.weight"], local[f"input_blocks.{block}.0.{name}.bias"]
        for norm, width in (("norm_in", before), ("norm_out", after)):
            for conv in ("conv_gamma", "conv_beta"):
                shapes[f"input_blocks.{block}.0.{norm}.fdn.{conv}.weight"] = (width, hints, 3, 3)
                shapes[f"input_blocks.{block}.0.{norm}.fdn.{conv}.bias"] = (width,)
            for part, out in (("query", width // 8), ("key", width // 8), ("value", width)):
                shapes[f"input_blocks.{block}.0.{norm}.attention.{part}_conv.weight"] = (out, width, 1, 1)
                shapes[f"input_blocks.{block}.0.{norm}.attention.{part}_conv.bias"] = (out,)
    sizes = [(0, 4, 18), (2, 6, 4), (4, 6, 6), (6, 8, 6), (8, 8, 8)]
    convs = {f"pre_extractor.{number}": (out, into) for number, out, into in sizes}
    convs |= {"extractors.0.0": (inject[0], 8), "extractors.1.0": (inject[1], inject[0])}
    convs |= {f"zero_convs.{level}": (width, width) for level, width in enumerate(inject)}
    for name, (out, into) in convs.items():
        shapes[f"feature_extractor.{name}.weight"], shapes[f"feature_extractor.{name}.bias"] = (out, into, 3, 3), (out,)
    local |= layouts.random_layers(shapes, 6)
    content = {
        "norm1.weight": (64,), "norm1.bias": (64,), "norm2.weight": (128,), "norm2.bias": (128,),
        "ff1.net.0.proj.weight": (512, 64), "ff1.net.0.proj.bias": (512,), "ff1.net.2.weight": (128, 256), "ff1.net.2.bias": (128,),
        "ff2.net.0.proj.weight": (1024, 128), "ff2.net.0.proj.bias": (1024,), "ff2.net.2.weight": (256, 512), "ff2.net.2.bias": (256,),
    }  # fmt: skip
    heads = {f"mlp_models.{field}.fc1.{kind}": shape for field in range(7) for kind, shape in (("weight", (128, 32)), ("bias", (128,)))}
    state = layouts.below("model.diffusion_model.", layouts.ldm_unet(unet)) | layouts.below(
        "first_stage_model.", layouts.ldm_vae(layouts.make_vae())
    )
    state |= layouts.below("cond_stage_model.transformer.", layouts.old_clip(text)) | layouts.below("local_adapter.", local)
    state |= layouts.below("global_content_adapter.", layouts.random_layers(content, 7))
    state |= layouts.below("metadata_emb.", layouts.random_layers(heads, 8)) | layouts.diffusion_tables()
    return state, unet, text


def test_crs_diff(
    tmp_path: Path, base: Path, layouts: ModuleType, reference: ModuleType, crs: tuple[State, UNet2DConditionModel, nn.Module]
) -> None:
    state, unet, text = crs
    torch.save({"epoch": 3, "global_step": 9, "state_dict": state, "optimizer_states": []}, tmp_path / "last.ckpt")
    model = convert_crs_diff(tmp_path / "last.ckpt", base)
    assert model.dropped == {"tables of the diffusion": 7, "positions of the text": 1}
    assert model.taken == len(state) - 8
    check_autoencoder_and_text(model.components, layouts, text)
    assert model.settings["control_hints"] == {
        "adapter": dict.fromkeys(("mlsd", "hed", "sketch", "road", "depth", "segmentation"), 3),
        "content": {"content": 0},
    }
    sample, steps, words = inputs()
    hints, picture = torch.rand(2, 18, 64, 64), torch.randn(2, 64)
    facts = [
        Metadata(lat=10, lon=20, gsd=2, cloud_cover=0.5, date="2002-06-14"),
        Metadata(lat=0, lon=0, gsd=0.5, cloud_cover=0, date="2015-12-31"),
    ]
    shares = torch.tensor([[22 / 44, 6 / 12, 14 / 31, 2 / 5, 0.5, 100 / 180, 200 / 360], [35 / 44, 1, 1, 0.1, 0, 0.5, 0.5]])
    with torch.no_grad():
        vector = model.components["metadata_embedding"](*schema("crs-diff").encode(facts))
        # float32 has sines of 1000 to 6e-5.
        same(vector, reference.metadata_vector(state, "metadata_emb.", shares), tolerance=1e-4)
        context = model.components["control_content"](picture, words)
        same(context, torch.cat([words, reference.content_tokens(state, "global_content_adapter.", picture)], dim=1))
        adapter = model.components["control_adapter"]
        ours = adapter(sample, steps, context, hints)
        theirs = reference.encoder(state, "local_adapter.", sample, steps, context, {32: 8, 64: 8}, hints=hints)
        for one, other in zip([*ours.down_block_res_samples, ours.mid_block_res_sample], theirs, strict=True):
            same(one, other)
        # An absent hint is black, as published.
        black = hints.clone()
        black[:, 3:6] = 0
        present = torch.tensor([True, False, True, True, True, True])
        same(
            adapter(sample, steps, context, hints, present=present).mid_block_res_sample,
            adapter(sample, steps, context, black).mid_block_res_sample,
        )
        added = {"down_block_additional_residuals": ours.down_block_res_samples, "mid_block_additional_residual": ours.mid_block_res_sample}
        whole = model.components["unet"](sample, steps, context, class_labels=vector, **added).sample
        added = {"down_block_additional_residuals": theirs[:-1], "mid_block_additional_residual": theirs[-1]}
        same(whole, unet(sample, steps, context, class_labels=vector, **added).sample)


def test_the_published_column_order_of_sinusoids(reference: ModuleType) -> None:
    """Interleaved columns are diffusers' columns in another order: the odd ones, then the even ones."""
    value = torch.tensor([0.0, 795.45, 1000.0])
    order = [*range(1, 32, 2), *range(0, 32, 2)]
    assert torch.allclose(reference.interleaved(value, 32)[:, order], reference.sinusoid(value, 32), atol=1e-6)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda state: state.pop("local_adapter.input_blocks.1.0.norm_in.fdn.conv_beta.bias"),
            "local adapter.*1 missing.*norm1.fdn.conv_beta.bias",
        ),
        (lambda state: state.pop("local_adapter.zero_convs.2.0.weight"), "1 missing"),
        (lambda state: state.update({"metadata_emb.mlp_models.7.fc1.bias": torch.zeros(128)}), "1 unexpected"),
        (lambda state: state.update({"strange.weight": torch.zeros(3)}), r"1 unexpected weights \(strange.weight"),
        (lambda state: state.update({"model.diffusion_model.out.2.bias": torch.full((4,), torch.nan)}), "conv_out.bias is not finite"),
        (lambda state: state.update({"model.diffusion_model.time_embed.0.weight": torch.zeros(1, 2)}), "instead of"),
        (lambda state: [state.pop(key) for key in list(state) if key.startswith("local_adapter.")], "no checkpoint of CRS-Diff"),
        (lambda state: [state.pop(key) for key in list(state) if key.startswith("cond_stage")], "no text encoder"),
    ],
)
def test_crs_diff_is_strict(
    tmp_path: Path, base: Path, crs: tuple[State, UNet2DConditionModel, nn.Module], change: Callable[[State], Any], sentence: str
) -> None:
    state = dict(crs[0])
    change(state)
    torch.save({"state_dict": state}, tmp_path / "last.ckpt")
    with pytest.raises(InputError, match=sentence):
        convert_crs_diff(tmp_path / "last.ckpt", base)


def geosynth_state(layouts: ModuleType, place: bool, trained: bool = True) -> tuple[State, dict[str, Any]]:
    shape = {"attention_head_dim": (1, 1), "use_linear_projection": True}
    unet, text = layouts.make_unet(**shape), layouts.make_text(3, "gelu")
    settings = {key: value for key, value in layouts.unet_settings(**shape).items() if key not in ("sample_size", "up_block_types")}
    controlnet = layouts.randomise(ControlNetModel(**settings, conditioning_embedding_out_channels=(4, 6, 8, 10)), 4)
    if not trained:
        for name, value in controlnet.named_parameters():
            if "controlnet_down" in name or "controlnet_mid" in name:
                value.data.zero_()
    control = layouts.ldm_controlnet(controlnet)
    if place:
        shapes: dict[str, tuple[int, ...]] = {}
        names = [f"loc_blocks.{number}" for number in range(6)]
        for name, channels in zip([*names, "loc_middle_block"], (32, 32, 32, 32, 64, 64, 64), strict=True):
            shapes |= {f"{name}.{part}_embed.weight": (16, 16 if part == "query" else 128) for part in ("query", "key", "value")}
            shapes |= {f"{name}.cross_attn.in_proj_weight": (48, 16), f"{name}.cross_attn.in_proj_bias": (48,)}
            shapes |= {f"{name}.cross_attn.out_proj.weight": (16, 16), f"{name}.cross_attn.out_proj.bias": (16,)}
            shapes |= {f"{name}.norm{number}.{kind}": (16,) for number in (1, 2) for kind in ("weight", "bias")}
            shapes |= {f"{name}.ff.weight": (16, 16), f"{name}.ff_zero.weight": (channels, 16)}
        control |= layouts.random_layers(shapes, 9)
    state = layouts.below("model.diffusion_model.", layouts.ldm_unet(unet)) | layouts.below(
        "first_stage_model.", layouts.ldm_vae(layouts.make_vae())
    )
    state |= layouts.below("cond_stage_model.model.", layouts.open_clip(text)) | layouts.below("control_model.", control)
    return state | layouts.diffusion_tables(), {"unet": unet, "text": text, "controlnet": controlnet}


@pytest.mark.parametrize("place", [True, False])
def test_geosynth(tmp_path: Path, base: Path, layouts: ModuleType, reference: ModuleType, place: bool) -> None:
    state, stock = geosynth_state(layouts, place)
    torch.save({"state_dict": state}, tmp_path / "geosynth.ckpt")
    encoder = layouts.randomise(LocationEncoder(degree=5, width=8, depth=2, outputs=16), 10)
    satclip = {f"model.location.{key}": value for key, value in encoder.state_dict().items()} | {
        "model.visual.conv1.weight": torch.zeros(3)
    }
    torch.save({"state_dict": satclip}, tmp_path / "satclip.ckpt")
    model = convert_geosynth(tmp_path / "geosynth.ckpt", base, "sam", tmp_path / "satclip.ckpt" if place else None)
    assert model.dropped == {"text encoder behind its last used layer": 14, "tables of the diffusion": 7}
    assert model.taken == len(state) - 21
    assert model.settings["control_hints"] == {**({"location": {"place": 0}} if place else {}), "layout": {"sam": 3}}
    check_autoencoder_and_text(model.components, layouts, stock["text"])
    sample, steps, words = inputs()
    hint, where = torch.rand(2, 3, 64, 64), torch.randn(2, 16)
    with torch.no_grad():
        same(model.components["unet"](sample, steps, words).sample, stock["unet"](sample, steps, words).sample)
        ours = model.components["control_layout"](sample, steps, words, hint)
        theirs = reference.encoder(state, "control_model.", sample, steps, words, {32: 1, 64: 1}, hint=hint)
        for one, other in zip([*ours.down_block_res_samples, ours.mid_block_res_sample], theirs, strict=True):
            same(one, other)
        assert ("control_location" in model.components) is place
        if place:
            vectors = model.components["control_location"](steps, where)
            expected = reference.place_residuals(state, "control_model.", where, steps)
            for one, other in zip([*vectors.down_block_res_samples, vectors.mid_block_res_sample], expected, strict=True):
                same(one[:, :, 0, 0], other)
            lonlat = torch.tensor([[4.9, 52.4]], dtype=torch.float64)
            same(model.components["location_encoder"](lonlat), encoder(lonlat))


def test_geosynth_with_a_place_and_no_layout(tmp_path: Path, base: Path, layouts: ModuleType) -> None:
    state, _ = geosynth_state(layouts, True, trained=False)
    torch.save({"state_dict": state}, tmp_path / "geosynth.ckpt")
    model = convert_geosynth(tmp_path / "geosynth.ckpt", base)
    assert model.settings["control_hints"] == {"location": {"place": 0}}
    assert "control_layout" not in model.components
    # The time embedding went into the location network.
    controlnet = len([key for key in state if key.startswith("control_model.") and ".loc_" not in key and "time_embed" not in key])
    assert model.dropped["ControlNet that was not trained"] == controlnet
    wrong = state | {"control_model.loc_blocks.0.more.weight": torch.zeros(2)}
    torch.save({"state_dict": wrong}, tmp_path / "wrong.ckpt")
    with pytest.raises(InputError, match=r"location network.*1 unexpected"):
        convert_geosynth(tmp_path / "wrong.ckpt", base)


def test_geosynth_and_map_sat_as_folders(tmp_path: Path, base: Path, layouts: ModuleType) -> None:
    settings = {key: value for key, value in layouts.unet_settings().items() if key not in ("sample_size", "up_block_types")}
    controlnet = layouts.randomise(ControlNetModel(**settings, conditioning_embedding_out_channels=(4, 6, 8, 10)), 4)
    controlnet.save_pretrained(tmp_path / "controlearth", safe_serialization=False)
    sample, steps, words = inputs()
    hint = torch.rand(2, 3, 64, 64)
    for model, name in (
        (convert_map_sat(tmp_path / "controlearth", base), "osm"),
        (convert_geosynth(tmp_path / "controlearth", base, "canny"), "canny"),
    ):
        assert model.settings["control_hints"] == {"layout": {name: 3}}
        assert model.dropped == {}
        check_autoencoder_and_text(model.components, layouts, layouts.make_text())
        with torch.no_grad():
            ours = model.components["control_layout"](sample, steps, words, hint)
            same(ours.mid_block_res_sample, controlnet(sample, steps, words, hint).mid_block_res_sample)
    assert PROMPT in convert_map_sat(tmp_path / "controlearth", base).card["notes"]
    with pytest.raises(InputError, match="no ControlNet"):
        convert_map_sat(base, None)
    with pytest.raises(InputError, match="no unet; give the folder"):
        convert_map_sat(tmp_path / "controlearth", None)
    assert convert_geosynth(base, None).settings["control_hints"] == {}


@pytest.mark.parametrize("channels", [4, 9])
def test_text2earth(tmp_path: Path, base: Path, layouts: ModuleType, channels: int) -> None:
    unet = layouts.make_unet(class_embed_type="timestep", in_channels=channels)
    unet.half().save_pretrained(tmp_path / "unet")
    (tmp_path / "model_index.json").write_text('{"_class_name": "NoSuchPipeline", "unet": ["os", "system"]}')
    model = convert_text2earth(tmp_path, base)
    unet.float()
    sample, steps, words = inputs()
    sample = torch.cat([sample, sample, sample], dim=1)[:, :channels]
    levels = torch.tensor([0, 17])
    with torch.no_grad():
        same(
            model.components["unet"](sample, steps, words, class_labels=levels).sample,
            unet(sample, steps, words, class_labels=levels).sample,
        )
    assert model.settings["schema"] == "text2earth"
    assert model.settings["sizes"] == [256]
    assert model.settings.get("inpainting", False) is (channels == 9)
    with pytest.raises(InputError, match="4 or 9 and 'timestep'"):
        convert_text2earth(base, None)


def satunet(layouts: ModuleType, folder: Path, network: nn.Module, extra: dict[str, Any], fields: int = 7) -> nn.ModuleList:
    """A network as DiffusionSat saves it: metadata heads inside, a config with entries that stock classes do not have."""
    heads = layouts.randomise(nn.ModuleList(TimestepEmbedding(32, 128) for _ in range(fields)), 11)
    network.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    for name in ("class_embed_type", "addition_embed_type"):
        config.pop(name, None)
    (folder / "config.json").write_text(
        json.dumps({**config, "_class_name": "SatUNet", "use_metadata": True, "num_metadata": fields, **extra})
    )
    state = network.state_dict() | {f"metadata_embedding.{key}": value for key, value in heads.state_dict().items()}
    (folder / "diffusion_pytorch_model.safetensors").unlink()
    torch.save(state, folder / "diffusion_pytorch_model.bin")
    return heads


def published_vector(heads: nn.ModuleList, values: Tensor, reference: ModuleType) -> Tensor:
    """Each number through its sinusoid and its own two layers, summed."""
    return sum((head(reference.sinusoid(values[:, field], 32)) for field, head in enumerate(heads)), torch.zeros(()))


GOLDEN = torch.tensor([712.698, 659.425, 929.418, 76.571, 291.667, 166.667, 870.968])
FACTS = Metadata(lon=76.5712666476, lat=28.6965307997, gsd=0.929417550564, cloud_cover=0.0765712666476, date="2015-02-27")


def test_diffusionsat(tmp_path: Path, base: Path, layouts: ModuleType, reference: ModuleType) -> None:
    unet = layouts.make_unet(class_embed_type="identity")
    heads = satunet(layouts, tmp_path / "checkpoint-7" / "unet", unet, {})
    model = convert_diffusionsat(tmp_path / "checkpoint-7", base)
    sample, steps, words = inputs()
    values, known = schema("diffusionsat").encode([FACTS, Metadata()])
    assert torch.allclose(values[0], GOLDEN, atol=1e-3)
    with torch.no_grad():
        vector = model.components["metadata_embedding"](values, known)
        expected = published_vector(heads, torch.stack([values[0], torch.zeros(7)]), reference)
        same(vector, expected)
        same(
            model.components["unet"](sample, steps, words, class_labels=vector).sample,
            unet(sample, steps, words, class_labels=expected).sample,
        )
    assert model.components["metadata_embedding"].schema.name == "diffusionsat"
    check_autoencoder_and_text(model.components, layouts, layouts.make_text())
    with pytest.raises(InputError, match="DiffusionSat's own U-Net"):
        convert_diffusionsat(base, None)


@pytest.mark.parametrize("scale", [1, 2])
def test_diffusionsat_from_one_picture(tmp_path: Path, base: Path, layouts: ModuleType, reference: ModuleType, scale: int) -> None:
    satunet(layouts, tmp_path / "unet", layouts.make_unet(class_embed_type="identity"), {})
    settings = {key: value for key, value in layouts.unet_settings().items() if key not in ("sample_size", "up_block_types")}
    widths = {"conditioning_channels": 10, "conditioning_embedding_out_channels": (4, 6, 8, 10)}
    controlnet = layouts.randomise(ControlNetModel(**settings, **widths, class_embed_type="identity"), 4)
    extra = {"conditioning_in_channels": 10, "conditioning_scale": scale, "_class_name": "ControlNetModel"}
    heads = satunet(layouts, tmp_path / "controlnet", controlnet, extra)
    if scale == 2:  # the published encoder stops halving when the hint has the size of the latents
        controlnet.controlnet_cond_embedding.blocks[5].stride = (1, 1)
    model = convert_diffusionsat(tmp_path, base)
    assert model.settings["control_hints"] == {"picture": {"picture": 10}}
    sample, steps, words = inputs()
    values, known = schema("diffusionsat").encode([FACTS, FACTS])
    hint = torch.rand(2, 10, 64 // scale, 64 // scale)
    with torch.no_grad():
        own = model.components["metadata_embedding_of_controls"](values, known)
        same(own, published_vector(heads, values, reference))
        ours = model.components["control_picture"](sample, steps, words, hint, class_labels=own)
        same(ours.mid_block_res_sample, controlnet(sample, steps, words, hint, class_labels=own).mid_block_res_sample)


def test_diffusionsat_from_frames(tmp_path: Path, base: Path, layouts: ModuleType, reference: ModuleType) -> None:
    satunet(layouts, tmp_path / "unet", layouts.make_unet(class_embed_type="identity"), {})
    settings = {key: value for key, value in layouts.unet_settings().items() if key not in ("sample_size", "up_block_types")}
    stock = layouts.randomise(ControlNetModel(**settings, class_embed_type="identity"), 4)
    closing = nn.ModuleList(nn.Conv3d(conv.in_channels, conv.out_channels, 1) for conv in stock.controlnet_down_blocks)
    middle = nn.Conv3d(64, 64, 1)
    mixers = nn.ModuleList(nn.Identity() for _ in range(6))
    mixers[0], mixers[3] = (
        TransformerTemporalModel(8, 64, in_channels=32),
        TransformerTemporalModel(4, 8, in_channels=32, cross_attention_dim=64),
    )
    convs = nn.ModuleDict({"conv_in": nn.Conv3d(3, 4, 3, padding=1), "conv_out": nn.Conv3d(10, 32, 3, padding=1)})
    blocks = []
    for before, after in ((4, 6), (6, 8), (8, 10)):
        blocks += [nn.Conv3d(before, before, 3, padding=1), nn.Conv3d(before, after, (1, 3, 3), padding=(0, 1, 1), stride=(1, 2, 2))]
    convs["blocks"] = nn.ModuleList(blocks)
    holder = nn.ModuleDict({"closing": closing, "middle": middle, "mixers": mixers, "convs": convs})
    layouts.randomise(holder, 12)
    extra = {"conditioning_in_channels": 3, "conditioning_embedding_out_channels": (4, 6, 8, 10), "use_temporal_transformer": True}
    heads = satunet(layouts, tmp_path / "controlnet", stock, {**extra, "_class_name": "ControlNetModel3D"})
    path = tmp_path / "controlnet" / "diffusion_pytorch_model.bin"
    state = {key: value for key, value in torch.load(path, weights_only=True).items() if not key.startswith("controlnet_")}
    state |= {f"controlnet_cond_embedding.{key}": value for key, value in convs.state_dict().items()}
    state |= {f"controlnet_down_blocks.{key}": value for key, value in closing.state_dict().items()}
    state |= {f"controlnet_mid_block.{key}": value for key, value in middle.state_dict().items()}
    state |= {f"temporal_blocks.{key}": value for key, value in mixers.state_dict().items()}
    alphas = [0.3, 0.0, 0.0, 0.8, 0.0, 0.0]
    torch.save(state | {f"mixing_attns.{tap}": torch.tensor(alpha) for tap, alpha in enumerate(alphas)}, path)
    model = convert_diffusionsat(tmp_path, base)
    assert model.settings["control_hints"] == {"frames": {"frames": 3}}
    sample, steps, words = inputs()
    frames = torch.rand(2, 3, 3, 64, 64)
    values = torch.rand(2, 7) * 1000
    each = torch.rand(2, 3, 7) * 1000
    with torch.no_grad():
        own = model.components["metadata_embedding_of_controls"]
        labels, extra_labels = own(values), torch.stack([own(each[:, frame]) for frame in range(3)], dim=1)
        ours = model.components["control_frames"](sample, steps, words, frames, class_labels=labels, frame_labels=extra_labels)
        features = torch.nn.functional.silu(convs["conv_in"](frames.transpose(1, 2)))
        for block in convs["blocks"]:
            features = torch.nn.functional.silu(block(features))
        features = convs["conv_out"](features)
        taps: list[list[Tensor]] = []
        for frame in range(3):  # one frame after the other through the stock encoder
            emb = stock.time_embedding(stock.time_proj(steps))
            emb = emb + published_vector(heads, values, reference) + published_vector(heads, each[:, frame], reference)
            hidden = stock.conv_in(sample) + features[:, :, frame]
            found = [hidden]
            hidden, more = stock.down_blocks[0](hidden, emb, encoder_hidden_states=words)
            found += more
            hidden, more = stock.down_blocks[1](hidden, emb)
            taps.append([*found, *more, stock.mid_block(hidden, emb, encoder_hidden_states=words)])
        for tap, (got, *over_time) in enumerate(zip([*ours.down_block_res_samples, ours.mid_block_res_sample], *taps, strict=True)):
            value = (middle if tap == 6 else closing[tap])(torch.stack(over_time, dim=2))
            if tap in (0, 3):
                folded = value.transpose(1, 2).flatten(0, 1)
                mixed = mixers[tap](folded, num_frames=3).sample.unflatten(0, (2, 3)).transpose(1, 2)
                value = alphas[tap] * mixed + (1 - alphas[tap]) * value
            same(got, value.sum(dim=2))


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """`earthgen convert` in this process: exit code, standard output, standard error."""

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["earthgen", "convert", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main()
        captured = capsys.readouterr()
        return int(stopped.value.code or 0), captured.out, captured.err

    return run


def test_a_converted_folder_runs_in_the_pipeline(
    tmp_path: Path, base: Path, crs: tuple[State, UNet2DConditionModel, nn.Module], layouts: ModuleType, command: Callable[..., Any]
) -> None:
    torch.save({"state_dict": crs[0]}, tmp_path / "last.ckpt")
    code, said, complained = command("crs-diff", tmp_path / "last.ckpt", tmp_path / "crs", "--base", base)
    assert code == 0, complained
    assert "7 dropped (tables of the diffusion)" in said
    assert "none missing, none unexpected" in said
    pipeline = EarthPipeline.from_pretrained(tmp_path / "crs")
    size = {"height": 64, "width": 72, "num_inference_steps": 2, "num_images": 1, "guidance_scale": 1.0}
    roads = np.zeros((1, 64, 72), dtype=np.float32)
    roads[:, 20:40] = 1
    plain = pipeline("a field", gsd=2.0, **size).images[0]
    hinted = pipeline("a field", gsd=2.0, hints={"road": roads}, **size).images[0]
    assert plain.shape == (3, 64, 72)
    assert np.isfinite(hinted).all()
    assert np.abs(plain - hinted).max() > 1e-4
    content = pipeline("a field", gsd=2.0, hints={"content": np.sin(np.arange(64, dtype=np.float32))}, **size).images[0]
    assert np.abs(plain - content).max() > 1e-5
    state, _ = geosynth_state(layouts, True)
    torch.save({"state_dict": state}, tmp_path / "geosynth.ckpt")
    encoder = LocationEncoder(degree=5, width=8, depth=2, outputs=16)
    torch.save({f"model.location.{key}": value for key, value in encoder.state_dict().items()}, tmp_path / "satclip.ckpt")
    places = ("--place", tmp_path / "satclip.ckpt", "--hint", "canny")
    assert command("geosynth", tmp_path / "geosynth.ckpt", tmp_path / "geo", "--base", base, *places)[0] == 0
    pipeline = EarthPipeline.from_pretrained(tmp_path / "geo")
    here, there = (pipeline("a field", lat=lat, lon=5.0, hints={"canny": roads}, **size).images[0] for lat in (10.0, 50.0))
    assert np.abs(here - there).max() > 1e-5


def test_the_command_says_what_is_wrong_and_leaves_nothing(tmp_path: Path, base: Path, command: Callable[..., Any]) -> None:
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.iterdir())
    for words, sentence in [
        (("crs-diff", tmp_path / "none.ckpt", tmp_path / "out"), "there is no"),
        (("crs-diff", base / "model_index.json", tmp_path / "out"), "with --base"),
        (("crs-diff", base / "model_index.json", tmp_path / "out", "--base", base), "model_index.json"),
        (("crs-diff", base / "model_index.json", tmp_path / "out", "--base", tmp_path / "empty"), "no CLIP vocabulary"),
        (("text2earth", tmp_path / "empty", tmp_path / "out"), "has no unet"),
        (("text2earth", base / "model_index.json", tmp_path / "out"), "is no folder"),
        (("map-sat", base, tmp_path / "out", "--base", tmp_path / "away"), "no folder"),
        (("diffusionsat", base, tmp_path / "out"), "own U-Net"),
        (("stable-diffusion", base, tmp_path / "out"), "there are ones for"),
    ]:
        code, said, complained = command(*words)
        assert (code, said, complained.count("\n")) == (2, "", 1), complained
        assert sentence in complained
        assert sorted(tmp_path.iterdir()) == before


class Trap:
    """Pickles as a call."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_a_checkpoint_of_lightning_is_read_without_lightning_and_a_trap_in_it_is_not_sprung(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("pytorch_lightning", "pytorch_lightning.callbacks")
    for name in names:
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    callback = type("ModelCheckpoint", (), {"__module__": names[1]})
    monkeypatch.setattr(sys.modules[names[1]], "ModelCheckpoint", callback, raising=False)
    content = {"state_dict": {"a.weight": torch.ones(2)}, "callbacks": {callback: {"kept": callback(), "path": tmp_path}}}
    torch.save(content, tmp_path / "plain.ckpt")
    torch.save({**content, "hook": Trap(tmp_path / "sprung")}, tmp_path / "trap.ckpt")
    for name in names:
        monkeypatch.delitem(sys.modules, name)
    assert set(read_state_dict(tmp_path / "plain.ckpt")) == {"a.weight"}
    assert not any(name in sys.modules for name in names)
    with pytest.raises(InputError, match="could run code"):
        read_state_dict(tmp_path / "trap.ckpt")
    assert not (tmp_path / "sprung").exists()
