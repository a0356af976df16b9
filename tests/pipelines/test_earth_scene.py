"""Scenes: windows that cover and sum to one, the same as one picture where they fit one window, files at their place, kept pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch

from earthgen.gen.errors import InputError
from earthgen.pipelines.earth_scene import cut, generate_scene, scene_request
from earthgen.pipelines.earth_windows import Windows, starts, window_weights

FACTS = {"gsd": 10.0, "lat": -33.9, "lon": 18.4, "date": "2021-06-14"}


@pytest.mark.parametrize(("length", "side", "stride"), [(64, 16, 12), (50, 16, 4), (17, 16, 9), (16, 16, 5), (9, 16, 3)])
def test_windows_cover_an_axis_at_every_step(length: int, side: int, stride: int) -> None:
    seen = set()
    for step in range(40):
        places = starts(length, min(side, length), stride, step)
        covered = {at for start in places for at in range(start, start + min(side, length))}
        assert covered == set(range(length))
        assert places[0] == 0
        assert max(np.diff(places), default=0) <= stride
        seen |= set(places[1:-1])
    if length > 2 * side:
        assert len(seen) >= 0.9 * (length - side - 1)  # no border stays in its place


def test_blended_predictions_are_those_of_the_network_where_windows_agree(earth: Any) -> None:
    """A denoiser whose output is a function of the latent alone is reproduced exactly: the weights sum to one."""
    pipeline = earth()
    request = scene_request(pipeline, "", 100, 140, {})

    class Pointwise:
        config, dtype = pipeline.unet.config, torch.float32

        def __call__(self, inputs: torch.Tensor, *args: Any, **more: Any) -> Any:
            return type("Output", (), {"sample": inputs[:, :4].sin()})

    from earthgen.gen.conditioning.guidance import plan_guidance
    from earthgen.pipelines.earth_prepare import conditions_of

    conditions, _ = conditions_of(pipeline, request)
    windows = cut(pipeline, request, 32, None, 3)
    sample = torch.randn(1, 4, windows.height, windows.width)
    predict = windows.predictor(Pointwise(), conditions, plan_guidance({"text": 1.0, "metadata": 1.0, "hints": 1.0}, ()))
    for step in (0, 3):
        assert torch.allclose(predict(sample, torch.tensor(5.0), step), sample.sin(), atol=1e-6)
    assert (window_weights(5, 9) > 0).all()


def test_a_scene_of_one_window_is_the_pipelines_picture(earth: Any) -> None:
    pipeline = earth()
    hint = np.random.default_rng(0).random((30, 32)).astype(np.float32)
    given = {**FACTS, "hints": {"road": hint}}
    alone = pipeline("a bay", **given, seed=4, num_inference_steps=3, height=30, width=32, output_type="pt").images[0].numpy()
    scene = generate_scene(pipeline, prompt="a bay", **given, seed=4, steps=3, height=30, width=32)
    assert scene.windows == 1
    assert scene.image is not None
    assert np.allclose(scene.image, alone, atol=1e-5)
    assert scene.tags["EARTHGEN_PROMPT"] == "a bay"


def test_scenes_do_not_depend_on_batches_and_repeat(earth: Any) -> None:
    pipeline = earth()
    hint = np.random.default_rng(0).random((70, 90)).astype(np.float32)
    given = {"prompt": "a bay", **FACTS, "hints": {"road": hint}, "height": 70, "width": 90, "steps": 2, "seed": 1}
    first = generate_scene(pipeline, **given, batch=1)
    assert first.windows > 4
    assert first.image is not None
    assert first.image.shape == (3, 70, 90)
    again = generate_scene(pipeline, **given, batch=5)
    assert np.allclose(first.image, again.image, atol=1e-5)
    assert not np.allclose(first.image, generate_scene(pipeline, **{**given, "seed": 2}).image)
    assert not np.allclose(first.image, generate_scene(pipeline, **{**given, "hints": {}}).image)


def seam_energy(image: np.ndarray, period: int) -> float:
    """Mean squared step across borders of tiles of a period, over that inside tiles."""
    ratios = []
    for axis in (1, 2):
        steps = np.square(np.diff(image.astype(np.float64), axis=axis))
        at = np.arange(1, image.shape[axis]) % period == 0
        ratios.append(np.compress(at, steps, axis).mean() / np.compress(~at, steps, axis).mean())
    return float(max(ratios))


def test_no_seams_at_the_borders_of_windows(earth: Any) -> None:
    """Without overlap the borders show; with it, they do not. Borders of latents are those of the decoder, measured beside them."""
    pipeline = earth(guidance_scale=1.0)
    scene = generate_scene(pipeline, prompt="a bay", height=256, width=256, steps=6, window=32, batch=16, tile=64)
    assert scene.image is not None
    on_grid = seam_energy(scene.image, 32) / seam_energy(np.roll(scene.image, 4, (1, 2))[:, 4:, 4:], 32)
    assert on_grid < 1.25  # 7 x 256 steps on borders: the spread of the ratio without any seam is about 0.1


def test_a_scene_at_its_place(earth: Any, tmp_path: Path) -> None:
    pipeline = earth()
    counted: list[tuple[int, int]] = []
    scene = generate_scene(
        pipeline, tmp_path / "scene.tif", prompt="a bay", **FACTS, height=60, width=84, steps=2, progress=lambda *at: counted.append(at)
    )
    assert counted == [(1, 2), (2, 2)]
    with rasterio.open(tmp_path / "scene.tif") as file:
        assert (file.height, file.width, file.count) == (60, 84, 3)
        assert file.crs.to_epsg() == 32734
        assert file.res == (10.0, 10.0)
        assert file.tags()["EARTHGEN_SYNTHETIC"] == "true"
        assert file.tags()["EARTHGEN_SEED"] == "0"
        assert file.read().std() > 1
    assert scene.image is None
    assert list(tmp_path.iterdir()) == [tmp_path / "scene.tif"]


def test_a_picture_is_continued_and_kept(earth: Any) -> None:
    pipeline = earth()
    image = np.random.default_rng(1).random((3, 20, 24)).astype(np.float32)
    scene = generate_scene(pipeline, prompt="a bay", image=image, extend=(20, 30, 30, 8), steps=2)
    assert scene.image is not None
    assert scene.image.shape == (3, 58, 74)
    assert np.allclose(scene.image[:, 30:50, 20:44], image, atol=1e-6)
    assert scene.image[:, :28].std() > 1e-3


@pytest.mark.parametrize("told", [True, False])
def test_a_continued_picture_is_the_same_in_tiles_as_in_one(earth: Any, told: bool) -> None:
    """What leads up to the kept pixels is made tile by tile; the decoder's statistics differ a little from tile to tile."""
    pipeline = earth(inpainting=told, guidance_scale=1.0)
    image = np.random.default_rng(1).random((3, 40, 44)).astype(np.float32)
    given = {"prompt": "a bay", "image": image, "extend": (60, 30, 31, 58), "steps": 1}
    whole, tiled = (generate_scene(pipeline, **given, tile=tile).image for tile in (512, 32))
    assert whole is not None
    assert tiled is not None
    assert np.array_equal(whole[:, 30:70, 60:104], image)
    assert np.array_equal(tiled[:, 30:70, 60:104], image)
    differing = np.abs(whole - tiled).mean(0)
    ring = np.zeros(differing.shape, bool)
    ring[14:86, 44:120] = True
    elsewhere = differing[~ring].mean()
    ring[30:70, 60:104] = False
    assert elsewhere < 0.05
    assert differing[ring].mean() < 1.5 * elsewhere + 0.005


class Killed(Exception):
    """Stands for whatever ends a run."""


@pytest.mark.parametrize("sampler", ["multistep", "with noise"])
@pytest.mark.parametrize("evaluations", [0, 1, 7, 14])
def test_a_scene_that_was_killed_goes_on_to_the_same_bytes(earth: Any, tmp_path: Path, evaluations: int, sampler: str) -> None:
    from diffusers import DDPMScheduler

    pipeline = earth(guidance_scale=1.0, **({"scheduler": DDPMScheduler()} if sampler == "with noise" else {}))
    given = {"prompt": "a bay", "height": 70, "width": 90, "steps": 3, "seed": 1, "batch": 2}
    generate_scene(pipeline, tmp_path / "whole.png", **given)
    calls = 0

    def count(*_: Any) -> None:
        nonlocal calls
        calls += 1
        if calls > limit:
            raise Killed

    hook = pipeline.unet.register_forward_pre_hook(count)
    limit = evaluations
    with pytest.raises(Killed):
        generate_scene(pipeline, tmp_path / "part.png", **given)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".part.png.work", "whole.png"]
    limit, calls = 1000, 0
    scene = generate_scene(pipeline, tmp_path / "part.png", **given, resume=True)
    hook.remove()
    assert scene.resumed == evaluations
    assert calls + evaluations == sum(-(-len(cut_of(pipeline, given).spans(step)) // 2) for step in range(3))
    assert (tmp_path / "part.png").read_bytes() == (tmp_path / "whole.png").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["part.png", "whole.png"]


def cut_of(pipeline: Any, given: dict[str, Any]) -> Windows:
    return cut(pipeline, scene_request(pipeline, given["prompt"], given["height"], given["width"], {}), None, None, given["batch"])


def test_another_scenes_work_is_not_gone_on_with(earth: Any, tmp_path: Path) -> None:
    pipeline = earth(guidance_scale=1.0)
    given = {"prompt": "a bay", "height": 70, "width": 90, "steps": 2}
    hint = np.random.default_rng(0).random((70, 90)).astype(np.float32)

    def stop(done: int, total: int) -> None:
        raise Killed

    with pytest.raises(Killed):
        generate_scene(pipeline, tmp_path / "a.png", **given, progress=stop)
    for change, word in (
        ({"seed": 3}, "SEED"),
        ({"hints": {"road": hint}}, "hint road"),
        ({"width": 94}, "94 x 70"),
        ({"batch": 1}, "1 at"),
    ):
        with pytest.raises(InputError, match=f"belongs to another run: .*{word}"):
            generate_scene(pipeline, tmp_path / "a.png", **{**given, **change}, resume=True)
    generate_scene(pipeline, tmp_path / "a.png", **given, seed=3)  # without resuming, what is there is thrown away
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"climate": 3}, "a scene has no condition 'climate'"),
        ({"window": 4}, "windows of 4 pixels"),
        ({"overlap": 32}, "share less than they have"),
        ({"batch": 0}, "at least 1 at once"),
        ({"lat": 91.0}, "lat is 91"),
        ({"steps": 0}, "at least 1"),
        ({"height": -3}, "height is -3"),
        ({"target": Path("/nowhere/out.tif")}, "folder /nowhere does not exist"),
    ],
)
def test_bad_scenes_get_one_sentence(earth: Any, arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        generate_scene(earth(), **{"prompt": "a", "height": 64, "width": 64, **arguments})


def test_windows_of_a_small_scene() -> None:
    assert Windows(8, 20, (16, 16), 4).spans(0) == [((0, 8), (0, 16)), ((0, 8), (4, 20))]
