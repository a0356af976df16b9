"""Control networks beside the denoiser: called as plain diffusers calls them, nothing when new or absent, kept in the model folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel
from safetensors.torch import save_file

from earthgen.gen.conditioning.metadata import Metadata
from earthgen.gen.data.noise import noise_field
from earthgen.gen.errors import InputError
from earthgen.gen.models.control import ContentTokenAdapter, LocationResidualNet, MultiHintAdapter, TemporalControlNet
from earthgen.gen.models.embed import LocationEncoder, MetadataEmbedding
from earthgen.pipelines.earth import EarthPipeline

TWO = {"num_inference_steps": 2, "output_type": "pt"}


def with_controls(base: Any, controls: dict[str, Any], slots: dict[str, Any], **more: Any) -> EarthPipeline:
    parts = (base.vae, base.unet, base.scheduler, base.text_encoder, base.tokenizer, base.metadata_embedding)
    return EarthPipeline(*parts, controls=controls, control_hints=slots, sizes=[32], num_inference_steps=2, **more)


def random(module: Any, std: float = 0.2) -> Any:
    torch.manual_seed(1)
    for parameter in module.parameters():
        if not bool(parameter.any()):
            torch.nn.init.normal_(parameter, std=std)
    return module.eval()


def layout(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((3, 32, 32)).astype(np.float32)


@pytest.fixture(scope="module")
def base(earth: Any) -> Any:
    return earth(hints=[], inpainting=False)


def stock(base: Any) -> ControlNetModel:
    return ControlNetModel.from_unet(base.unet, conditioning_channels=3, conditioning_embedding_out_channels=(8, 8, 8))


def adapter(base: Any) -> MultiHintAdapter:
    encoder = {
        "block_out_channels": (8, 16), "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"), "layers_per_block": 1,
        "norm_num_groups": 4, "cross_attention_dim": 16, "attention_head_dim": 4,
    }  # fmt: skip
    return MultiHintAdapter(
        encoder, hints=("edges", "road"), hint_channels=3, hint_scale=4, pyramid_channels=(4, 8, 8), inject_channels=(8, 8)
    )


def test_a_stock_controlnet_is_called_as_diffusers_does(base: Any, tmp_path: Path) -> None:
    """map-sat and GeoSynth's layouts: the loop written out with stock calls."""
    net = random(stock(base))
    pipeline = with_controls(base, {"layout": net}, {"layout": {"osm": 3}}, guidance_scale={"text": 3.0})
    got = pipeline("a bay", gsd=10.0, hints={"osm": layout()}, hint_weights={"osm": 0.7}, seed=2, **TWO).images
    embedding = base.metadata_embedding
    label = embedding(*embedding.schema.encode([Metadata(gsd=10.0)]))
    ids = [base.tokenizer(text, padding="max_length", max_length=12, return_tensors="pt")["input_ids"] for text in ("", "a bay")]
    with torch.no_grad():
        scheduler = type(base.scheduler).from_config(base.scheduler.config)
        scheduler.set_timesteps(2)
        latents, hint = noise_field(2, 4, 0, 0, 8, 8)[None], torch.from_numpy(layout())[None]
        for time in scheduler.timesteps:
            outputs = []
            for tokens in ids:
                words = base.text_encoder(tokens).last_hidden_state
                down, middle = net(latents, time, words, hint, 0.7, class_labels=label, return_dict=False)
                residuals = {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}
                outputs.append(base.unet(latents, time, words, class_labels=label, **residuals).sample)
            latents = scheduler.step(outputs[0] + 3.0 * (outputs[1] - outputs[0]), time, latents).prev_sample
        wanted = ((base.vae.decode(latents / 0.5).sample + 1) / 2).clamp(0, 1)
    assert torch.allclose(got, wanted, atol=1e-5)
    assert (got - pipeline("a bay", gsd=10.0, seed=2, **TWO).images).abs().max() > 1e-4
    pipeline.save_pretrained(tmp_path / "model")
    again = EarthPipeline.from_pretrained(tmp_path / "model")
    assert torch.equal(again("a bay", gsd=10.0, hints={"osm": layout()}, hint_weights={"osm": 0.7}, seed=2, **TWO).images, got)


def test_new_adapters_change_nothing(base: Any) -> None:
    plain = with_controls(base, {}, {})("a bay", **TWO).images
    place = LocationResidualNet(block_out_channels=(8, 16), layers_per_block=1, width=8, heads=2)
    encoder = LocationEncoder(degree=4, width=8, outputs=8)
    pipeline = with_controls(
        base, {"maps": adapter(base).eval(), "where": place.eval()}, {"maps": {"edges": 3, "road": 3}, "where": {"place": 0}},
        location_encoder=encoder,
    )  # fmt: skip
    assert torch.equal(pipeline("a bay", hints={"edges": layout()}, **TWO).images, plain)
    metadata = with_controls(base, {}, {})("a bay", lat=3.0, lon=4.0, **TWO).images
    assert torch.equal(pipeline("a bay", lat=3.0, lon=4.0, **TWO).images, metadata)


def test_several_hints_with_weights_and_mixed_batches(base: Any, tmp_path: Path) -> None:
    pipeline = with_controls(base, {"maps": random(adapter(base))}, {"maps": {"edges": 3, "road": 3}})
    hints = {"edges": layout(1), "road": layout(2)}
    both, none = pipeline("a bay", hints=hints, **TWO).images, pipeline("a bay", **TWO).images
    assert (both - none).abs().max() > 1e-4
    one = pipeline("a bay", hints={"edges": hints["edges"]}, **TWO).images
    off = pipeline("a bay", hints=hints, hint_weights={"road": 0.0}, **TWO).images
    assert torch.allclose(one, off, atol=1e-5)
    mixed = pipeline("a bay", hints={"edges": [layout(1), layout(1)], "road": [layout(2), None]}, seed=[0, 0], **TWO).images
    assert torch.allclose(mixed[0], both[0], atol=1e-5)
    assert torch.allclose(mixed[1], one[0], atol=1e-5)
    pipeline.save_pretrained(tmp_path / "model")
    assert torch.equal(EarthPipeline.from_pretrained(tmp_path / "model")("a bay", hints=hints, **TWO).images, both)
    with pytest.raises(InputError, match="has 13 bands and the model's slot 3"):
        pipeline("a bay", hints={"edges": np.zeros((13, 32, 32), np.float32)}, **TWO)


def test_a_place_without_a_layout(base: Any, tmp_path: Path) -> None:
    """GeoSynth's location network, which the published code cannot run alone."""
    place = random(LocationResidualNet(block_out_channels=(8, 16), layers_per_block=1, width=8, heads=2))
    pipeline = with_controls(
        base, {"where": place}, {"where": {"place": 0}}, location_encoder=LocationEncoder(degree=4, width=8, outputs=8)
    )
    here, there = (pipeline("a bay", lat=3.0, lon=lon, **TWO).images for lon in (4.0, 100.0))
    assert (here - there).abs().max() > 1e-5
    pair = pipeline("a bay", metadata=[{"lat": 3.0, "lon": 4.0}, {}], seed=[0, 0], **TWO).images
    assert torch.allclose(pair[0], here[0], atol=1e-5)
    pipeline.save_pretrained(tmp_path / "model")
    assert torch.equal(EarthPipeline.from_pretrained(tmp_path / "model")("a bay", lat=3.0, lon=4.0, **TWO).images, here)


def test_frames_of_a_time_series(base: Any) -> None:
    encoder = {
        "block_out_channels": (8, 16), "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"), "layers_per_block": 1,
        "norm_num_groups": 4, "cross_attention_dim": 16, "attention_head_dim": 4, "class_embed_type": "identity",
    }  # fmt: skip
    net = random(TemporalControlNet(encoder, hint_channels=3, hint_widths=(4, 4, 4)))
    pipeline = with_controls(base, {"time": net}, {"time": {"frames": 3}})
    frames = [layout(1), layout(2)]
    dated = [{"date": "2019-05"}, {"date": "2020-05"}]
    made = pipeline("a bay", date="2021-05", frames=frames, frame_metadata=dated, **TWO).images
    assert (made - pipeline("a bay", date="2021-05", **TWO).images).abs().max() > 1e-4
    assert (made - pipeline("a bay", date="2021-05", frames=frames, frame_metadata=dated[::-1], **TWO).images).abs().max() > 1e-6
    own = MetadataEmbedding("earthgen", 32)
    for parameter in own.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    apart = with_controls(base, {"time": net}, {"time": {"frames": 3}}, metadata_embedding_of_controls=own)
    assert (made - apart("a bay", date="2021-05", frames=frames, frame_metadata=dated, **TWO).images).abs().max() > 1e-5
    with pytest.raises(InputError, match="2 frames and metadata for 1"):
        pipeline("a bay", frames=frames, frame_metadata=dated[:1], **TWO)


def test_a_content_picture_becomes_words(base: Any, tmp_path: Path) -> None:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(0)
    vision = CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=16, patch_size=8, projection_dim=6
        )
    ).eval()  # fmt: skip
    words = random(ContentTokenAdapter(width=16, tokens=2, embedding_width=6, join="append")).eval()
    pipeline = with_controls(base, {"global": words}, {"global": {"content": 0}}, image_encoder=vision, guidance_scale={"text": 3.0})
    plain = pipeline("a bay", **TWO).images
    shown = pipeline("a bay", hints={"content": layout()}, **TWO).images
    assert (plain - shown).abs().max() > 1e-5
    vector = np.random.default_rng(0).standard_normal(6).astype(np.float32)
    given = pipeline("a bay", hints={"content": vector}, **TWO).images
    mixed = pipeline("a bay", hints={"content": [vector, None]}, seed=[0, 0], **TWO).images
    assert torch.allclose(mixed[0], given[0], atol=1e-5)
    assert torch.allclose(mixed[1], plain[0], atol=1e-5)
    pipeline.save_pretrained(tmp_path / "model")
    assert torch.equal(EarthPipeline.from_pretrained(tmp_path / "model")("a bay", hints={"content": layout()}, **TWO).images, shown)
    with pytest.raises(InputError, match="a vector of 5 numbers; the model takes 6"):
        pipeline("a bay", hints={"content": vector[:5]}, **TWO)
    blind = with_controls(base, {"global": words}, {"global": {"content": 0}})
    with pytest.raises(InputError, match="has no image encoder; give the content as its embedding"):
        blind("a bay", hints={"content": layout()}, **TWO)


def test_an_adapter_of_thin_matrices(earth: Any, tmp_path: Path) -> None:
    from earthgen.gen.models.lora import DESCRIPTION, WEIGHTS, adapter_parts, add_lora, can_hold

    trained, fresh = earth(hints=[]), earth(hints=[])
    layers = [name for name, layer in trained.unet.named_modules() if can_hold(layer) and "attn" in name]
    add_lora(trained.unet, layers, rank=2, alpha=2.0)
    for name, parameter in trained.unet.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    thin, about, described = adapter_parts(trained.unet)
    save_file(thin, tmp_path / WEIGHTS, metadata=about)
    (tmp_path / DESCRIPTION).write_text(json.dumps(described))
    wanted, plain = trained("a bay", **TWO).images, fresh("a bay", **TWO).images
    assert (wanted - plain).abs().max() > 1e-5
    fresh.load_lora(tmp_path)
    result = fresh("a bay", **TWO)
    assert torch.allclose(result.images, wanted, atol=1e-6)
    assert result.tags[0]["EARTHGEN_LORA"] == tmp_path.name
    with pytest.raises(InputError, match="has an adapter already"):
        fresh.load_lora(tmp_path)
    fresh.save_pretrained(tmp_path / "model")
    assert torch.allclose(EarthPipeline.from_pretrained(tmp_path / "model")("a bay", **TWO).images, wanted, atol=1e-5)
