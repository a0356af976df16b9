"""The measure of seams: closed forms, and pictures of the small model glued beside the same model's scene."""

from __future__ import annotations

import numpy as np
import pytest

from earthgen.gen.errors import InputError
from earthgen.metrics.seams import seams
from earthgen.pipelines.earth import EarthPipeline
from earthgen.pipelines.earth_scene import generate_scene


def test_a_step_of_known_size() -> None:
    """A ramp of 1 a column with a step of 3 at column 8, and rows of 2 with nothing special: 3 and 1."""
    image = np.arange(16.0)[None, None, :] + 2 * np.arange(12.0)[None, :, None] + 2 * (np.arange(16) >= 8)[None, None, :]
    found = seams(image, [6], [8])
    assert (found.rows, found.cols) == (pytest.approx(1), pytest.approx(3))
    assert found.ratio == pytest.approx(3)
    assert found.steps == 16 + 12
    assert seams(image, [6], [0, 7, 16]).cols == pytest.approx(1 / ((13 + 3) / 14))  # edges are left out; the step is inside


def test_only_like_places_of_the_decoders_grid_count() -> None:
    """Steps of 4 at every fourth column, as of a coarse decoder: no seam where all of these are alike."""
    image = np.repeat(np.arange(8.0), 4)[None, None, :] * 4 + np.arange(32.0)[None, :, None] * np.ones((1, 1, 32))
    assert seams(image, [16], [16], phase=4).cols == pytest.approx(1)
    assert seams(image, [16], [16]).cols > 4
    rising = np.cumsum(np.arange(32.0))[None, None, :] + np.arange(32.0)[None, :, None]
    assert seams(rising, [16], [16], reach=2).cols == pytest.approx(1)  # its own neighbourhood: 14, 15 and 17, 18
    assert seams(rising, [16], [20]).cols > 1.2


@pytest.mark.parametrize(
    ("shape", "rows", "sentence"),
    [((8, 8), [4], r"\[C, H, W\]"), ((1, 8, 8), [0, 8], "no border lies within the 8"), ((1, 8, 8), [4], "nothing inside")],
)
def test_bad_seams_get_one_sentence(shape: tuple[int, ...], rows: list[int], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        seams(np.zeros(shape), rows, [4])


def test_windows_of_the_small_model_do_not_show_and_glued_ones_do() -> None:
    """160 x 160 pixels of windows of 64 on a moving grid, and four pictures glued: the same borders, the same measure.

    The few steps across three borders have a spread of about 0.1 without any seam; a seam of glue is many times that.
    """
    pipeline = EarthPipeline.load("zoo:earth-small", device="cpu", dtype="float32")
    given = {"prompt": "farmland", "gsd": 10.0}
    scene = generate_scene(pipeline, **given, height=160, width=160, steps=3, guidance=1.0, batch=16, tile=96)
    assert scene.image is not None
    made = pipeline(**given, num_images=4, num_inference_steps=3, guidance_scale=1.0, output_type="pt").images.numpy()
    glued = np.concatenate([np.concatenate(list(made[at : at + 2]), 2) for at in (0, 2)], 1)
    borders = (48, 64, 96, 112, 128)
    assert seams(scene.image, borders, borders, phase=4).ratio < 1.25
    assert seams(glued, [64], [64], phase=4).ratio > 3
