"""The contract of DESIGN.md section 5 for super-resolution: saving, batches, seeds, any bands and sizes, bf16, threads, bad values."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline

from earthgen.gen.data.frames import frame_of
from earthgen.gen.data.noise import noise_field
from earthgen.gen.data.resample import upsample
from earthgen.gen.errors import InputError
from earthgen.pipelines.noise_sources import STEPS_PER_SAMPLE, FieldNoise
from earthgen.pipelines.super_resolution import SuperResolutionPipeline
from earthgen.pipelines.upscaling import Upscaler, UpscaleSettings
from earthgen.train.tasks.super_resolution_evaluation import one_step, sample

TWO = {"num_inference_steps": 2}


@pytest.mark.parametrize("contrast", [None, {"window": 5, "floor": 0.002}])
def test_save_and_load_give_the_same_picture(tiny: Any, landscape: Any, tmp_path: Path, contrast: dict[str, Any] | None) -> None:
    pipeline, low = tiny(3, contrast=contrast), torch.from_numpy(landscape(3, 12, 9))
    pipeline.save_pretrained(tmp_path / "model", card={"name": "tiny"})
    again = SuperResolutionPipeline.from_pretrained(tmp_path / "model")
    assert torch.equal(again(low, **TWO).images, pipeline(low, **TWO).images)
    assert {**again.config, "_name_or_path": 0} == {**pipeline.config, "_name_or_path": 0}
    assert (again.bands, again.scale, again.unit, again.name) == (pipeline.bands, 4, "reflectance", "model")
    again.save_pretrained(tmp_path / "copy")
    assert (tmp_path / "copy" / "card.toml").read_text() == 'name = "tiny"\n'
    assert SuperResolutionPipeline.from_pretrained(tmp_path / "copy").digest == again.digest


def test_diffusers_own_loader_takes_the_folder(tiny: Any, landscape: Any, tmp_path: Path) -> None:
    """`DiffusionPipeline.from_pretrained`, called for our class, finds the components through the top-level package."""
    pipeline, low = tiny(2), torch.from_numpy(landscape(2, 8, 8))
    pipeline.save_pretrained(tmp_path / "model")
    theirs = DiffusionPipeline.from_pretrained.__func__(SuperResolutionPipeline, str(tmp_path / "model"))
    assert torch.allclose(theirs(low, **TWO).images, pipeline(low, **TWO).images, atol=1e-5)


def test_half_precision_on_disk_is_full_precision_in_memory(tiny: Any, tmp_path: Path) -> None:
    pipeline = tiny(2)
    pipeline.save_pretrained(tmp_path / "half", half=True)
    again = SuperResolutionPipeline.from_pretrained(tmp_path / "half")
    for key, value in again.model.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, pipeline.model.state_dict()[key].half().float())


@pytest.mark.parametrize("sampler", ["dpmpp_2m", "posterior", "em", "ode"])
def test_a_batch_equals_its_pictures(tiny: Any, landscape: Any, sampler: str) -> None:
    pipeline = tiny(2, sampler=sampler)
    low = torch.from_numpy(np.stack([landscape(2, 6, 5, seed=s) for s in range(3)]))
    whole = pipeline(low, seed=[5, 9, 2], batch_size=3, num_inference_steps=3)
    assert whole.seeds == [5, 9, 2]
    for number, seed in enumerate(whole.seeds):
        alone = pipeline(low[number], seed=seed, num_inference_steps=3)
        assert torch.allclose(alone.images, whole.images[number], atol=1e-5)
        assert alone.consistency_error[0] == pytest.approx(whole.consistency_error[number], abs=1e-5)
    assert torch.allclose(pipeline(low, seed=[5, 9, 2], batch_size=2, num_inference_steps=3).images, whole.images, atol=1e-5)


def test_seeds_and_generators(tiny: Any, landscape: Any) -> None:
    pipeline, low = tiny(2), torch.from_numpy(landscape(2, 8, 8))
    pair = torch.stack([low, low])
    one, other = pipeline(pair, seed=3, **TWO).images
    assert pipeline(pair, seed=3, **TWO).seeds == [3, 4]
    assert (one - other).abs().max() > 1e-3  # equal inputs, different seeds
    assert torch.allclose(pipeline(low, seed=4, **TWO).images, other, atol=1e-5)

    def drawn(*seeds: int) -> torch.Tensor:
        return pipeline(pair[: len(seeds)], generator=[torch.Generator().manual_seed(s) for s in seeds], **TWO).images

    assert torch.allclose(drawn(7, 8)[1], drawn(8)[0], atol=1e-5)
    assert (drawn(7)[0] - drawn(8)[0]).abs().max() > 1e-3


def test_sampling_is_that_of_training(tiny: Any, landscape: Any) -> None:
    """The trainer's own evaluation is a second implementation of the sampler."""
    pipeline = tiny(2, contrast={"window": 5, "floor": 0.01})
    low = torch.from_numpy(landscape(2, 9, 11))[None]
    noise = noise_field(6, 2, 0, 0, 36, 44)[None]
    frame = frame_of(low, 4, 2.0, pipeline.contrast)
    for steps in (1, 4):
        with torch.no_grad():
            wanted = one_step(pipeline.model, pipeline.scheduler, frame, noise) if steps == 1 else None
            wanted = sample(pipeline.model, pipeline.scheduler, frame, noise, steps) if wanted is None else wanted
        got = pipeline(low, seed=6, num_inference_steps=steps, consistency="none")
        assert torch.allclose(got.images, wanted, atol=1e-5)
        assert torch.allclose(got.invented, (wanted - upsample(low, 4)).abs(), atol=1e-5)


def test_an_ensemble_is_the_mean_and_spread_of_its_members(tiny: Any, landscape: Any) -> None:
    pipeline, low = tiny(2), torch.from_numpy(landscape(2, 8, 10))[None]

    class Member(FieldNoise):
        """The noise of the k-th member, as the only one."""

        def __call__(self, draw: int, shape: tuple[int, int, int]) -> torch.Tensor:
            return noise_field(0, shape[0], 0, 0, shape[1], shape[2], draw=draw + self.seed * STEPS_PER_SAMPLE)

    upscaler = Upscaler(pipeline.model, pipeline.scheduler, pipeline.sensor, UpscaleSettings(steps=2))
    members = torch.cat([upscaler(low, [Member(k)]).image for k in range(3)])
    result = pipeline(low, samples=3, **TWO)
    assert torch.allclose(result.images[0], members.mean(0), atol=1e-5)
    assert torch.allclose(result.uncertainty[0], members.std(0), atol=1e-5)
    assert torch.allclose(pipeline(low, samples=3, reduce="first", **TWO).images[0], members[0], atol=1e-5)
    assert pipeline(low, **TWO).uncertainty is None
    assert result.consistency_error[0] < 1e-4  # the mean of consistent members is consistent


@pytest.mark.parametrize("bands", [1, 3, 4, 13])
@pytest.mark.parametrize("scale", [2, 4, 8])
def test_any_bands_sizes_and_scales(tiny: Any, landscape: Any, bands: int, scale: int) -> None:
    result = tiny(bands, scale)(landscape(bands, 7, 11), **TWO)
    assert isinstance(result.images, np.ndarray)
    assert result.images.shape == result.invented.shape == (bands, 7 * scale, 11 * scale)
    assert np.isfinite(result.images).all()
    assert result.consistency_error[0] < 1e-4


@pytest.mark.parametrize("size", [(1, 1), (1, 6), (3, 2), (17, 5)])
@pytest.mark.parametrize("variant", ["cpem_lr", "rcab"])
def test_small_and_odd_sizes(tiny: Any, landscape: Any, size: tuple[int, int], variant: str) -> None:
    result = tiny(2, variant=variant)(landscape(2, *size), **TWO)
    assert result.images.shape == (2, size[0] * 4, size[1] * 4)
    assert np.isfinite(result.images).all()


def test_temperature_zero_leaves_out_the_noise(tiny: Any, landscape: Any) -> None:
    pipeline, low = tiny(2), landscape(2, 8, 8)
    for sampler in ("dpmpp_2m", "posterior"):
        cold = [pipeline(low, seed=s, temperature=0.0, sampler=sampler, **TWO).images for s in (0, 1)]
        assert np.array_equal(*cold)
    warm = pipeline(low, temperature=1.0, **TWO).images
    assert np.abs(warm - cold[0]).max() > 1e-3


def test_bf16_is_close(tiny: Any, landscape: Any, tmp_path: Path) -> None:
    pipeline, low = tiny(4), torch.from_numpy(landscape(4, 12, 12))
    exact = pipeline(low, num_inference_steps=4).images
    pipeline.save_pretrained(tmp_path / "model")
    rough = SuperResolutionPipeline.from_pretrained(tmp_path / "model", torch_dtype=torch.bfloat16)
    got = rough(low, num_inference_steps=4).images
    assert got.dtype == torch.float32
    error, signal = (got - exact).square().mean().sqrt(), (exact - upsample(low[None], 4)[0]).square().mean().sqrt()
    assert 0 < error < 0.03 * signal


def test_values_that_are_not_finite_are_reported_with_their_step(tiny: Any, landscape: Any) -> None:
    pipeline, low = tiny(2), torch.from_numpy(landscape(2, 8, 8))

    def spoil(_: Any, step: int, time: torch.Tensor, values: dict[str, Any]) -> dict[str, Any]:
        return {"sample": values["sample"] * float("inf")} if step == 1 else values

    with pytest.raises(InputError, match=r"not finite after step 3 of 4"):
        pipeline(low, num_inference_steps=4, callback_on_step_end=spoil)
    with torch.no_grad():
        pipeline.model.ending.bias[0] = float("nan")
    with pytest.raises(InputError, match=r"not finite after step 1 of 2"):
        pipeline(low, **TWO)


def test_callbacks_and_progress(tiny: Any, landscape: Any) -> None:
    pipeline, low = tiny(2), torch.from_numpy(np.stack([landscape(2, 6, 6)] * 3))
    seen: list[Any] = []
    counted: list[tuple[int, int]] = []

    def watch(pipe: Any, step: int, time: torch.Tensor, values: dict[str, Any]) -> None:
        seen.append((pipe is pipeline, step, float(time), tuple(values["sample"].shape), tuple(values["pred_original_sample"].shape)))

    result = pipeline(
        low, samples=2, batch_size=2, num_inference_steps=3, callback_on_step_end=watch, progress=lambda *at: counted.append(at)
    )
    assert counted == [(n, 12) for n in range(1, 13)]  # 2 batches, 2 samples, 3 steps
    assert [entry[1] for entry in seen] == [0, 1, 2] * 4
    assert seen[0][0]
    assert seen[0][3:] == ((2, 2, 24, 24), (2, 2, 24, 24))
    assert seen[-1][3] == (1, 2, 24, 24)
    assert seen[0][2] > seen[1][2] > seen[2][2]
    assert torch.equal(result.images, pipeline(low, samples=2, batch_size=2, num_inference_steps=3).images)

    def replace(_: Any, step: int, time: torch.Tensor, values: dict[str, Any]) -> dict[str, Any]:
        return {"sample": torch.zeros_like(values["sample"])}

    assert not pipeline(low, consistency="none", callback_on_step_end=replace, **TWO).images.any()


def test_threads_may_share_a_pipeline(tiny: Any, landscape: Any) -> None:
    pipeline = tiny(2)
    steps = [2, 3, 4, 3, 2, 4]

    def work(number: int) -> torch.Tensor:
        low = torch.from_numpy(landscape(2, 8, 8, seed=number))
        return pipeline(low, seed=number, num_inference_steps=steps[number]).images

    serial = [work(number) for number in range(6)]
    with ThreadPoolExecutor(4) as pool:
        parallel = list(pool.map(work, range(6)))
    for one, other in zip(serial, parallel, strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_a_call_leaves_the_pipeline_as_it_was(tiny: Any, landscape: Any) -> None:
    pipeline = tiny(2)
    timesteps, weights = pipeline.scheduler.timesteps.clone(), {k: v.clone() for k, v in pipeline.model.state_dict().items()}
    low = torch.from_numpy(landscape(2, 6, 6))
    kept = low.clone()
    pipeline(low, num_inference_steps=3, sampler="posterior")
    assert torch.equal(pipeline.scheduler.timesteps, timesteps)
    assert pipeline.scheduler.config["sampler"] == "dpmpp_2m"
    assert all(torch.equal(value, weights[key]) for key, value in pipeline.model.state_dict().items())
    assert torch.equal(low, kept)


def test_results_can_be_used_with_gradients(tiny: Any, landscape: Any) -> None:
    result = tiny(2)(torch.from_numpy(landscape(2, 6, 6)), **TWO).images
    weight = torch.ones((), requires_grad=True)
    (result * weight).sum().backward()
    assert weight.grad is not None


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"num_inference_steps": 0}, "at least 1"),
        ({"samples": 0}, "at least 1"),
        ({"batch_size": 0}, "batch size"),
        ({"consistency": "fft"}, "one of ibp, none"),
        ({"reduce": "median"}, "one of mean, first"),
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"sampler": "ddim"}, "one of em, posterior"),
        ({"sampler": "em", "num_inference_steps": 101}, "1 to 100"),
        ({"output_type": "pil"}, "one of np, pt, xarray"),
        ({"seed": [1, 2]}, "1 picture"),
        ({"seed": 1.5}, "seed"),
        ({"generator": [torch.Generator(), torch.Generator()]}, "2 generators for 1"),
    ],
)
def test_bad_arguments_get_one_sentence(tiny: Any, landscape: Any, arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        tiny(2)(torch.from_numpy(landscape(2, 6, 6)), **arguments)
    assert "\n" not in str(caught.value)


def test_parts_that_do_not_fit_are_refused(tiny: Any) -> None:
    pipeline = tiny(2)
    with pytest.raises(InputError, match="takes 2 bands"):
        SuperResolutionPipeline(pipeline.model, pipeline.scheduler, ["B04"], "reflectance", 4, 0.3)
    with pytest.raises(InputError, match="scale is 2, the network's 4"):
        SuperResolutionPipeline(pipeline.model, pipeline.scheduler, ["B04", "B03"], "reflectance", 2, 0.3)
    other = type(pipeline.scheduler)(prediction_type="epsilon")
    with pytest.raises(InputError, match="predicts v_prediction, the scheduler takes epsilon"):
        SuperResolutionPipeline(pipeline.model, other, ["B04", "B03"], "reflectance", 4, 0.3)
