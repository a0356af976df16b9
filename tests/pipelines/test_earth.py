"""The contract of DESIGN.md section 5 for generation: saving, batches, seeds, sizes, absent conditions, bad values, plain diffusers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import EulerAncestralDiscreteScheduler, EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler

from earthgen.gen.conditioning.metadata import Metadata
from earthgen.gen.data.noise import noise_field
from earthgen.gen.errors import InputError
from earthgen.pipelines.earth import EarthPipeline

TWO = {"num_inference_steps": 2, "output_type": "pt"}
FACTS = {"gsd": 10.0, "lat": 47.0, "lon": 9.0, "date": "2021-06-14", "cloud_cover": 0.1}


def mask(height: int = 32, width: int = 32, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).random((height, width)) > 0.5).astype(np.float32)


def picture(height: int = 32, width: int = 32, bands: int = 3) -> np.ndarray:
    return np.random.default_rng(7).random((bands, height, width)).astype(np.float32)


def everything(number: int = 0) -> dict[str, Any]:
    return {"prompt": "a bay", **FACTS, "hints": {"water": mask(seed=number)}, "image": picture(), "mask": mask(seed=9)}


def test_save_and_load_give_the_same_picture(earth: Any, tmp_path: Path) -> None:
    pipeline = earth(hints=["water", "road"], guidance_scale={"text": 3.0, "metadata": 2.0})
    pipeline.save_pretrained(tmp_path / "model", card={"name": "tiny"})
    again = EarthPipeline.from_pretrained(tmp_path / "model")
    assert torch.equal(again(**everything(), **TWO).images, pipeline(**everything(), **TWO).images)
    assert {**again.config, "_name_or_path": 0} == {**pipeline.config, "_name_or_path": 0}
    assert again.name == "model"
    again.save_pretrained(tmp_path / "copy")
    assert (tmp_path / "copy" / "card.toml").read_text() == 'name = "tiny"\n'
    assert EarthPipeline.from_pretrained(tmp_path / "copy").digest == again.digest


@pytest.mark.parametrize(
    "scheduler", [None, EulerDiscreteScheduler(), EulerAncestralDiscreteScheduler(), FlowMatchEulerDiscreteScheduler()]
)
def test_a_batch_equals_its_pictures(earth: Any, scheduler: Any) -> None:
    pipeline = earth(scheduler=scheduler)
    prompts, facts = ["a bay", "", "abcdefghijklmnop"], [FACTS, {}, {"gsd": 1.0, "date": "2020"}]
    hints = {"water": [mask(seed=0), None, mask(seed=2)], "road": [None, None, mask(seed=3)]}
    whole = pipeline(prompts, metadata=facts, hints=hints, seed=[5, 9, 2], batch_size=3, height=32, width=32, **TWO)
    assert whole.seeds == [5, 9, 2]
    assert whole.images.std() > 1e-3
    for number, seed in enumerate(whole.seeds):
        own = {name: entries[number] for name, entries in hints.items() if entries[number] is not None}
        alone = pipeline(prompts[number], metadata=facts[number], hints=own, seed=seed, height=32, width=32, **TWO)
        assert torch.allclose(alone.images[0], whole.images[number], atol=1e-5)
    again = pipeline(prompts, metadata=facts, hints=hints, seed=[5, 9, 2], batch_size=2, height=32, width=32, **TWO)
    assert torch.allclose(again.images, whole.images, atol=1e-5)


def test_seeds_and_generators(earth: Any) -> None:
    pipeline = earth()
    pair = pipeline("a bay", num_images=2, seed=3, **TWO)
    assert pair.seeds == [3, 4]
    assert (pair.images[0] - pair.images[1]).abs().max() > 1e-3
    assert torch.allclose(pipeline("a bay", seed=4, **TWO).images[0], pair.images[1], atol=1e-5)
    drawn = [pipeline("a bay", generator=torch.Generator().manual_seed(n), **TWO).images for n in (1, 1, 2)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.allclose(drawn[0], drawn[2])


def test_our_forward_is_a_plain_diffusers_forward(earth: Any) -> None:
    """The loop written out with stock calls: joint guidance over text and metadata, hints and inpainting channels at their null."""
    pipeline = earth(guidance_scale=2.5)
    got = pipeline("a bay", **FACTS, seed=6, num_inference_steps=4, output_type="pt").images

    def words(text: str) -> torch.Tensor:
        ids = pipeline.tokenizer(text, padding="max_length", max_length=12, return_tensors="pt")["input_ids"]
        return pipeline.text_encoder(ids).last_hidden_state

    embedding = pipeline.metadata_embedding
    on, off = (embedding(*embedding.schema.encode([Metadata(**facts)])) for facts in (FACTS, {}))
    with torch.no_grad():
        scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config)
        scheduler.set_timesteps(4)
        latents = noise_field(6, 4, 0, 0, 8, 8)[None]
        extra = torch.cat([torch.ones(1, 1, 8, 8), torch.zeros(1, 4 + 3, 8, 8)], 1)
        for time in scheduler.timesteps:
            inputs = torch.cat([torch.cat([latents, extra], 1)] * 2)
            out = pipeline.unet(inputs, time, torch.cat([words(""), words("a bay")]), class_labels=torch.cat([off, on])).sample
            plain, conditional = out.chunk(2)
            latents = scheduler.step(plain + 2.5 * (conditional - plain), time, latents).prev_sample
        wanted = ((pipeline.vae.decode(latents / 0.5).sample + 1) / 2).clamp(0, 1)
    assert torch.allclose(got, wanted, atol=1e-5)


@pytest.mark.parametrize("size", [(32, 32), (24, 40), (33, 21), (4, 4)])
@pytest.mark.parametrize("bands", [1, 3, 4, 13])
def test_any_size_and_bands(earth: Any, size: tuple[int, int], bands: int) -> None:
    pipeline = earth(bands=[f"b{n}" for n in range(bands)])
    result = pipeline("x", height=size[0], width=size[1], num_inference_steps=1)
    assert result.images.shape == (1, bands, *size)
    assert np.isfinite(result.images).all()


@pytest.mark.parametrize("absent", ["prompt", "gsd", "lat", "date", "cloud_cover", "hints", "mask"])
def test_each_condition_may_be_absent_and_is_then_its_null(earth: Any, absent: str) -> None:
    pipeline = earth()
    given = everything()
    whole = pipeline(**given, **TWO).images
    rest = {name: value for name, value in given.items() if name != absent}
    if absent == "lat":
        rest.pop("lon")
    without = pipeline(**rest, **TWO).images
    assert (whole - without).abs().max() > 1e-4
    null = {"prompt": "", "hints": {}}.get(absent)
    assert torch.equal(pipeline(**rest, **{absent: null}, **TWO).images, without)


def test_a_condition_without_guidance_is_its_absence(earth: Any) -> None:
    """Scale 0 of a group is the picture without it; scale 1 of all is the plain conditional one."""
    pipeline = earth()
    free = pipeline("a bay", **FACTS, guidance_scale={"text": 0.0}, **TWO).images
    assert torch.allclose(free, pipeline(**FACTS, guidance_scale=1.0, **TWO).images, atol=1e-6)
    equal = pipeline("a bay", **FACTS, guidance_scale={"text": 3.0, "metadata": 3.0, "hints": 3.0}, **TWO).images
    assert torch.equal(equal, pipeline("a bay", **FACTS, guidance_scale=3.0, **TWO).images)


def test_text2earth_takes_a_level_as_metres_or_before_the_prompt(earth: Any) -> None:
    pipeline = earth(metadata_schema=None, class_embed_type="timestep", schema="text2earth", hints=[], inpainting=False)
    by_gsd = pipeline("a bay", gsd=2.0, **TWO)
    assert torch.equal(by_gsd.images, pipeline("16_GOOGLE_LEVEL_a bay", **TWO).images)
    assert torch.equal(pipeline("a bay", **TWO).images, pipeline("0_GOOGLE_LEVEL_a bay", **TWO).images)
    assert not torch.allclose(by_gsd.images, pipeline("a bay", **TWO).images)
    both = pipeline(["16_GOOGLE_LEVEL_a bay", "a bay"], seed=[0, 0], **TWO).images
    assert torch.allclose(both[0], by_gsd.images[0], atol=1e-5)
    said = pipeline("a bay", gsd=2.0, date="2020", **TWO).notes
    assert said == ["the model unsaved does not know date; it is only written into the file"]


def test_long_prompts_are_read_whole_and_that_is_said(earth: Any) -> None:
    pipeline = earth()
    long = pipeline("abcdefghijklmnopqrst", **TWO)
    assert "20 tokens, more than the 10 of one window; it is read in 2 chunks" in long.notes[0]
    assert (long.images - pipeline("abcdefghij", **TWO).images).abs().max() > 1e-4


def test_a_picture_is_changed_as_far_as_the_strength_says(earth: Any) -> None:
    pipeline, image = earth(inpainting=False), picture()
    steps = {"num_inference_steps": 10, "output_type": "pt"}
    with torch.no_grad():
        from earthgen.gen.models.autoencoder import decode, encode_mean

        copied = decode(pipeline.vae, encode_mean(pipeline.vae, torch.from_numpy(image)[None]))
    near, far = (pipeline("a bay", image=image, strength=s, **steps).images for s in (0.1, 1.0))
    assert (near - copied).abs().mean() < (far - copied).abs().mean()
    assert torch.equal(far, pipeline("a bay", height=32, width=32, **steps).images)  # made anew


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("masked", ["latents", "image"])
def test_inpainting_keeps_what_is_not_masked(earth: Any, told: bool, masked: str) -> None:
    pipeline, image = earth(inpainting=told, masked=masked), picture(24, 40)
    hole = np.zeros((24, 40), np.float32)
    hole[:, 8:20] = 1
    result = pipeline("a bay", image=image, mask=hole, **TWO).images[0].numpy()
    assert np.array_equal(result[:, hole == 0], image[:, hole == 0])
    assert np.abs(result - image)[:, hole == 1].max() > 1e-2
    other = image.copy()
    other[:, :, 30:] = 1 - other[:, :, 30:]
    assert not np.allclose(
        pipeline("a bay", image=other, mask=hole, **TWO).images[0].numpy()[:, hole == 1], result[:, hole == 1], atol=1e-5
    )


def test_outpainting_keeps_the_picture_and_fills_the_rest(earth: Any) -> None:
    pipeline, image = earth(), picture(16, 20)
    result = pipeline("a bay", image=image, extend=(8, 4, 12, 0), **TWO).images[0].numpy()
    assert result.shape == (3, 20, 40)
    assert np.array_equal(result[:, 4:, 8:28], image)
    assert result[:, :, 28:].std() > 1e-3


def test_non_finite_values_are_reported_with_their_step(earth: Any) -> None:
    pipeline = earth()

    def spoil(_: Any, step: int, time: torch.Tensor, values: dict[str, Any]) -> dict[str, Any]:
        return {"sample": values["sample"] * float("inf")} if step == 1 else values

    with pytest.raises(InputError, match=r"not finite after step 3 of 4"):
        pipeline("x", num_inference_steps=4, callback_on_step_end=spoil)


def test_callbacks_and_progress(earth: Any) -> None:
    pipeline = earth()
    counted: list[tuple[int, int]] = []
    seen: list[tuple[int, tuple[int, ...]]] = []
    pipeline(
        ["a", "b", "c"], batch_size=2, num_inference_steps=3, progress=lambda *at: counted.append(at),
        callback_on_step_end=lambda pipe, step, time, values: seen.append((step, tuple(values["sample"].shape))),
    )  # fmt: skip
    assert counted == [(n, 6) for n in range(1, 7)]
    assert seen[0] == (0, (2, 4, 8, 8))
    assert seen[-1] == (2, (1, 4, 8, 8))
    blank = pipeline(
        "a",
        callback_on_step_end=lambda *a: {"sample": torch.zeros_like(a[3]["sample"])},
        output_type="latent",
        **{"num_inference_steps": 2},
    )
    assert not blank.images.any()


def test_forms_and_tags(earth: Any, tmp_path: Path) -> None:
    import rasterio

    pipeline = earth()
    pil = pipeline("a bay", num_images=2, num_inference_steps=1, output_type="pil", height=20, width=28)
    assert [image.size for image in pil.images] == [(28, 20)] * 2
    result = pipeline(
        "a bay", **FACTS, num_inference_steps=1, output_type="xarray", seed=5, hints={"water": mask()}, hint_weights={"water": 0.5}
    )
    raster = result.images[0]
    assert raster.rio.crs.to_epsg() == 32632
    left, bottom, right, top = raster.rio.bounds()
    assert (right - left, top - bottom) == (320.0, 320.0)
    from rasterio.warp import transform

    (lon,), (lat,) = transform(raster.rio.crs, "EPSG:4326", [(left + right) / 2], [(top + bottom) / 2])
    assert abs(lon - 9.0) < 1e-4
    assert abs(lat - 47.0) < 1e-4
    tags = result.tags[0]
    assert tags["EARTHGEN_SYNTHETIC"] == "true"
    assert (tags["EARTHGEN_SEED"], tags["EARTHGEN_PROMPT"], tags["EARTHGEN_HINTS"]) == ("5", "a bay", "water 0.5")
    from earthgen.pipelines.earth_output import write_picture

    write_picture(tmp_path / "out.tif", raster)
    with rasterio.open(tmp_path / "out.tif") as file:
        assert file.crs.to_epsg() == 32632
        assert file.tags()["EARTHGEN_SYNTHETIC"] == "true"
        assert file.dtypes == ("uint8",) * 3


def test_hints_and_their_weights(earth: Any) -> None:
    pipeline = earth()
    whole, half, none, absent = (
        pipeline(hints={"water": mask()}, hint_weights={"water": weight}, **TWO).images if weight is not None else pipeline(**TWO).images
        for weight in (1.0, 0.5, 0.0, None)
    )
    assert torch.allclose(none, absent, atol=1e-6)
    assert (half - absent).abs().mean() > 0
    assert (whole - half).abs().max() > 1e-5


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"lat": 91.0}, "lat is 91"),
        ({"gsd": 0.0}, "gsd is 0"),
        ({"metadata": {"gsd": 3.0}, "gsd": 4.0}, "gsd is given as 3.0 in the metadata and as 4.0"),
        ({"metadata": {"zoom_level": 17}, "gsd": 10.0, "lat": 0.0}, "contradict each other"),
        ({"metadata": 3}, "metadata is a int"),
        ({"hints": {"roads": mask()}}, "takes no hint 'roads'; it takes water, road"),
        ({"hints": {"road": np.zeros((13, 32, 32), np.float32)}}, "has 13 bands and the model's slot 1"),
        ({"hints": {"road": mask(16, 16)}}, "has 16 x 16 pixels, the picture 32 x 32"),
        ({"hints": {"road": mask() * 7}}, "from 0 to 1"),
        ({"hints": {"road": np.full((32, 32), np.nan, np.float32)}}, "not finite"),
        ({"hints": {"road": "nowhere.png"}}, "no file nowhere.png for the hint 'road'"),
        ({"hint_weights": {"road": 3.0}}, "from 0 .not used."),
        ({"hint_weights": {"rail": 1.0}}, "weight is given for the hint 'rail'"),
        ({"mask": mask()}, "a mask was given without a picture"),
        ({"image": picture(), "mask": mask(16, 32)}, "the mask has 1 bands and 32 x 16 pixels"),
        ({"image": picture(bands=13)}, "the picture has 13 bands; the model takes 3"),
        ({"image": picture() * 255}, "about 0 to 1"),
        ({"image": picture(), "height": 64, "width": 64}, "has 32 x 32 pixels, and 64 x 64 were asked for"),
        ({"image": picture(), "strength": 0.0}, "strength is 0"),
        ({"image": picture(), "extend": (1, 2, -3, 0)}, "each 0 or more"),
        ({"extend": (1, 2, 3, 0)}, "no picture to extend"),
        ({"prompt": ["a", "b"], "seed": [1, 2, 3]}, "number of pictures is said twice"),
        ({"prompt": 3}, "a prompt is a int"),
        ({"prompt": "x" * 200}, "at most 80 are read"),
        ({"guidance_scale": {"place": 3}}, "no group of conditions 'place'"),
        ({"guidance_scale": -1.0}, "guidance scale of hints is -1"),
        ({"num_inference_steps": 0}, "at least 1"),
        ({"output_type": "jpeg"}, "one of np, pt, pil, xarray, latent"),
        ({"height": 0}, "height is 0"),
        ({"height": 31.5}, "height is 31.5"),
        ({"seed": 1.5}, "seed"),
        ({"frames": [picture()]}, "takes no frames"),
        ({"num_images": 0}, "0 pictures were asked for"),
    ],
)
def test_bad_arguments_get_one_sentence(earth: Any, arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        earth()(**{"prompt": "a", "num_inference_steps": 1, **arguments})
    assert "\n" not in str(caught.value)


def test_parts_that_do_not_fit_are_refused(earth: Any, tmp_path: Path) -> None:
    import json

    pipeline = earth()
    parts = (pipeline.vae, pipeline.unet, pipeline.scheduler, pipeline.text_encoder, pipeline.tokenizer, pipeline.metadata_embedding)
    with pytest.raises(InputError, match="input channels; 4 latents, no inpainting and 2 hints make 7"):
        EarthPipeline(*parts, hints=["water", "road"])
    with pytest.raises(InputError, match="takes 3 bands, and the names are grey"):
        EarthPipeline(*parts, bands=["grey"], hints=["water", "road"], inpainting=True)
    with pytest.raises(InputError, match="there is no metadata embedding"):
        EarthPipeline(*parts[:-1], hints=["water", "road"], inpainting=True)
    pipeline.save_pretrained(tmp_path / "model")
    index = json.loads((tmp_path / "model" / "model_index.json").read_text())
    for name, entry, sentence in (
        ("unet", ["os", "system"], "'system' as its unet, which a generator cannot have"),
        ("unet", None, "names no unet"),
        ("text_encoder", ["transformers", "CLIPVisionModel"], "'CLIPVisionModel' as its text_encoder"),
    ):
        (tmp_path / "model" / "model_index.json").write_text(json.dumps({**index, name: entry}))
        with pytest.raises(InputError, match=sentence):
            EarthPipeline.from_pretrained(tmp_path / "model")


def test_a_call_leaves_the_pipeline_as_it_was(earth: Any) -> None:
    pipeline = earth()
    times, weights = pipeline.scheduler.timesteps.clone(), {k: v.clone() for k, v in pipeline.unet.state_dict().items()}
    first = pipeline(**everything(), **TWO).images
    assert torch.equal(pipeline.scheduler.timesteps, times)
    assert all(torch.equal(value, weights[key]) for key, value in pipeline.unet.state_dict().items())
    assert torch.equal(pipeline(**everything(), **TWO).images, first)


def test_bf16_is_close(earth: Any, tmp_path: Path) -> None:
    pipeline = earth(guidance_scale=1.0)
    exact = pipeline("a bay", **FACTS, **TWO).images
    pipeline.save_pretrained(tmp_path / "model")
    rough = EarthPipeline.from_pretrained(tmp_path / "model", torch_dtype=torch.bfloat16)("a bay", **FACTS, **TWO).images
    assert rough.dtype == torch.float32
    assert 0 < float((rough - exact).square().mean().sqrt()) < 0.05 * float(exact.std()) + 0.02
