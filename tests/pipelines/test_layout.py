"""Pictures from layouts: contracts of the pipeline, editing of given pictures, windows of large scenes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from earthgen.gen.annotations.box import Box, Layout
from earthgen.gen.conditioning.layout import plan_layout_guidance
from earthgen.gen.errors import InputError
from earthgen.gen.models.layout.unet import LayoutUNet, small_settings
from earthgen.pipelines import LayoutToImagePipeline
from earthgen.pipelines.earth_windows import Windows
from earthgen.pipelines.layout_windows import canvas_of, predictor

NAMES = ["building", "ship"]


def tiny_layout(tokenizer: Any, **settings: Any) -> LayoutToImagePipeline:
    """A generator of about 60,000 weights, every layer random, as after training."""
    from diffusers import DPMSolverMultistepScheduler
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(4)
    model = {
        **small_settings(settings.pop("patch", 4), settings.pop("inpainting", True)),
        "block_out_channels": (8, 16),
        "attention": (False, True),
        "cross_attention_dim": 16,
        "heads": 2,
        "backbone": {"norm_num_groups": 4},
        "encoder": {"start": "any", "hidden": 16, "vector_width": 8},
    }
    unet = LayoutUNet(classes=NAMES, **model)
    text = None
    if settings.pop("text", True):
        text = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
                max_position_embeddings=12, eos_token_id=tokenizer.eos_token_id, bos_token_id=tokenizer.bos_token_id,
            )
        ).eval()  # fmt: skip
    for parameter in unet.parameters():
        if parameter.ndim < 2 or not bool(parameter.any()):
            torch.nn.init.normal_(parameter, std=0.3)
    for parameter in text.parameters() if text is not None else ():  # words that are heard
        torch.nn.init.normal_(parameter, std=0.4)
    scheduler = settings.pop("scheduler", None) or DPMSolverMultistepScheduler(
        prediction_type="sample", use_flow_sigmas=True, flow_shift=2.0
    )
    settings = {"size": 32, "num_inference_steps": 3, "guidance_scale": {"text": 1.5, "layout": 2.0}, **settings}
    return LayoutToImagePipeline(unet.eval(), scheduler, text, tokenizer if text is not None else None, **settings)


@pytest.fixture(scope="module")
def tiny(letters: Any) -> Callable[..., LayoutToImagePipeline]:
    return lambda **settings: tiny_layout(letters, **settings)


def layout(width: int = 32, height: int = 32, seed: int = 0, count: int = 3) -> Layout:
    rng = np.random.default_rng(seed)
    boxes = []
    for number in range(count):
        x, y = rng.uniform(6, width - 6), rng.uniform(6, height - 6)
        boxes.append(Box.rotated(NAMES[number % 2], x, y, rng.uniform(6, 14), rng.uniform(4, 8), rng.uniform(-1.5, 1.5)))
    return Layout(width, height, tuple(boxes))


def photo(height: int = 32, width: int = 32) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (3, height, width), dtype=np.uint8)


def test_save_and_load_give_the_same_picture(tiny: Any, tmp_path: Path) -> None:
    pipeline = tiny()
    first = pipeline(layout(), prompt="ab", seed=3)
    pipeline.save_pretrained(tmp_path / "model")
    again = LayoutToImagePipeline.from_pretrained(tmp_path / "model")
    assert np.array_equal(again(layout(), prompt="ab", seed=3).images, first.images)
    assert again.names == NAMES
    assert again.config["guidance_scale"] == {"text": 1.5, "layout": 2.0}
    assert first.images.shape == (1, 3, 32, 32)
    assert 0 <= first.images.min() <= first.images.max() <= 1


def test_each_condition_is_heard(tiny: Any) -> None:
    pipeline = tiny()
    base = pipeline(layout(), prompt="ab").images
    for other in (
        {"layout": layout(seed=1)}, {"prompt": "zz"}, {"seed": 1}, {"guidance_scale": 1.0}, {"guidance_scale": {"layout": 0.0}},
        {"num_inference_steps": 4},
    ):  # fmt: skip
        assert np.abs(pipeline(**{"layout": layout(), "prompt": "ab", **other}).images - base).max() > 3e-4


def test_a_batch_equals_its_pictures_whatever_their_objects(tiny: Any) -> None:
    pipeline = tiny()
    several = [layout(count=4), layout(seed=1, count=1), Layout(32, 32)]
    prompts = ["ab", "", "c"]
    together = pipeline(several, prompt=prompts, seed=7)
    for number, (one, prompt) in enumerate(zip(several, prompts, strict=True)):
        alone = pipeline(one, prompt=prompt, seed=7 + number)
        assert np.allclose(alone.images[0], together.images[number], atol=2e-5)
    assert together.seeds == [7, 8, 9]
    assert together.labels[0].names == ["building", "ship", "building", "ship"]


def test_the_order_of_objects_and_their_first_corner_do_not_count(tiny: Any) -> None:
    pipeline, one = tiny(), layout(count=4)
    turned = [Box(box.name, box.corners[1:] + box.corners[:1]) for box in reversed(one.boxes)]
    assert np.allclose(pipeline(one).images, pipeline(Layout(32, 32, tuple(turned))).images, atol=2e-5)


def test_guidance_is_the_formula_of_two_scales(tiny: Any) -> None:
    """e0 + gt (e1 - e0) + gl (e2 - e1), computed here from three plain predictions of the network."""
    pipeline = tiny()
    from earthgen.gen.conditioning.layout import layout_tensors
    from earthgen.pipelines.layout_request import request_of

    request = request_of(NAMES, 0.3, layout(), None)
    silent, told = pipeline.words([""]), pipeline.words(["ab"])
    canvas = canvas_of([request], (silent, told), 4, 32, NAMES, 0.3, True)
    state, time = torch.randn(1, 48, 8, 8), torch.tensor(500)
    windows = Windows(8, 8, (8, 8), 2)
    with torch.no_grad():
        ours = predictor(pipeline.unet, canvas, plan_layout_guidance(1.5, 3.0), windows)(state, time, 0)
        inputs = torch.cat([state, torch.ones(1, 16, 8, 8), torch.zeros(1, 48, 8, 8)], 1)
        parts = layout_tensors([layout()], NAMES)
        none, text, both = (
            pipeline.unet(inputs, time, **parts, encoder_hidden_states=words, present=torch.tensor([present]))
            for words, present in ((silent, False), (told, False), (told, True))
        )
    assert torch.allclose(ours, none + 1.5 * (text - none) + 3.0 * (both - text), atol=1e-4)


@pytest.mark.parametrize(
    ("text", "scale", "has_text", "stages", "scales"),
    [
        (1.5, 2.0, True, ((False, False), (True, False), (True, True)), (1.5, 2.0)),
        (2.0, 2.0, True, ((False, False), (True, True)), (2.0,)),
        (1.0, 2.0, True, ((True, False), (True, True)), (2.0,)),
        (1.0, 1.0, True, ((True, True),), ()),
        (1.5, 2.0, False, ((False, False), (False, True)), (2.0,)),
        (1.5, 0.0, True, ((False, False), (True, False)), (1.5,)),
    ],
)
def test_no_prediction_is_made_that_does_not_count(text: float, scale: float, has_text: bool, stages: Any, scales: Any) -> None:
    plan = plan_layout_guidance(text, scale, has_text=has_text)
    assert (plan.stages, plan.scales) == (stages, scales)


def test_objects_go_in_and_out_and_the_rest_is_kept_to_the_last_bit(tiny: Any) -> None:
    pipeline, picture, there = tiny(), photo(), layout(count=2)
    new = Box.rotated("ship", 10, 20, 9, 5, 0.4)
    made = pipeline(there, background=picture, insert=new, seed=1)
    mask = made.masks[0]
    given = picture.astype(np.float32) / np.float32(255)
    assert np.array_equal(made.images[0][:, ~mask], given[:, ~mask])
    assert np.abs(made.images[0][:, mask] - given[:, mask]).max() > 0.01
    assert made.labels[0].boxes == (*there.boxes, new)
    assert mask[20, 10]
    assert mask.sum() < 0.5 * mask.size
    gone = pipeline(there, background=picture, remove=[0], seed=1)
    assert gone.labels[0].boxes == there.boxes[1:]
    assert np.array_equal(gone.images[0][:, ~gone.masks[0]], given[:, ~gone.masks[0]])
    same = pipeline(there, background=picture, remove=there.boxes[0], seed=1)
    assert np.array_equal(same.images, gone.images)


def test_a_mask_of_ones_own_is_painted_in_a_picture_of_any_size(tiny: Any) -> None:
    pipeline, picture = tiny(), photo(45, 70)
    mask = np.zeros((45, 70), np.float32)
    mask[5:20, 40:66] = 1
    made = pipeline(background=picture, mask=mask, insert=Box.horizontal("building", 44, 8, 10, 8))
    given = picture.astype(np.float32) / np.float32(255)
    assert made.images.shape == (1, 3, 45, 70)
    assert np.array_equal(made.images[0][:, mask == 0], given[:, mask == 0])
    assert np.array_equal(made.masks[0], mask > 0)


def test_windows_far_from_the_mask_are_not_computed(tiny: Any) -> None:
    pipeline, calls = tiny(), []
    inner = pipeline.unet.forward
    pipeline.unet.forward = lambda sample, *rest, **more: (calls.append(len(sample)), inner(sample, *rest, **more))[1]
    pipeline(background=photo(128, 128), insert=Box.horizontal("ship", 4, 4, 8, 6), num_inference_steps=1, guidance_scale=1.0)
    part = sum(calls)
    calls.clear()
    pipeline(layout(128, 128), num_inference_steps=1, guidance_scale=1.0)
    assert 0 < part < sum(calls) / 4


def test_large_scenes_repeat_and_do_not_depend_on_the_batch(tiny: Any) -> None:
    pipeline, big = tiny(), layout(84, 60, count=30)
    first = pipeline(big, seed=2, batch_size=3)
    assert first.images.shape == (1, 3, 60, 84)
    assert np.allclose(pipeline(big, seed=2, batch_size=8).images, first.images, atol=2e-5)
    assert np.abs(pipeline(big, seed=3).images - first.images).max() > 0.01


def test_a_window_is_told_the_objects_that_it_shows(tiny: Any) -> None:
    from earthgen.pipelines.layout_request import request_of

    boxes = (Box.horizontal("ship", 2, 2, 10, 6), Box.horizontal("building", 40, 40, 8, 8), Box.horizontal("ship", 28, 10, 20, 6))
    canvas = canvas_of([request_of(NAMES, 0.3, Layout(64, 64, boxes), None)], None, 4, 32, NAMES, 0.3, True)
    told = canvas.told(0, (0, 8), (0, 8))
    assert told["labels"].tolist() == [[1]]  # a fifth of the third object is not enough
    assert torch.allclose(told["quads"][0, 0, 0], torch.tensor([2 / 32, 2 / 32]))
    right = canvas.told(0, (0, 8), (8, 16))
    assert right["labels"].tolist() == [[1]]
    assert float(right["quads"][0, 0, 0, 0]) == pytest.approx((28 - 32) / 32)
    assert right["raster"].shape == (1, 4, 32, 32)


def test_layouts_from_files_of_several_formats(tiny: Any, tmp_path: Path) -> None:
    from PIL import Image

    from earthgen.gen.annotations import AnnotationWriter

    pipeline, one = tiny(), layout(count=2)
    pictures = []
    for kind in ("coco", "dota", "yolo-obb"):
        folder = tmp_path / kind
        with AnnotationWriter(folder, kind, NAMES) as writer:
            writer.add(Layout(32, 32, one.boxes, "a.png"))
        (folder / "images").mkdir(exist_ok=True)
        Image.new("RGB", (32, 32)).save(folder / "images" / "a.png")
        pictures.append(pipeline(folder, seed=4))
    assert all(made.labels[0].names == one.names for made in pictures)
    assert np.allclose(pictures[1].images, pictures[0].images, atol=2e-2)


def test_labels_are_those_that_are_seen(tiny: Any) -> None:
    boxes = (Box.horizontal("ship", 28, 10, 10, 6), Box.horizontal("ship", -9, 2, 10, 6), Box.horizontal("building", 50, 50, 5, 5))
    made = tiny()(Layout(32, 32, boxes))
    assert [box.xywh for box in made.labels[0].boxes] == [(28, 10, 4, 6)]
    assert made.labels[0].boxes[0].truncated
    assert made.notes == ["2 of 3 objects lie mostly outside the picture and were left out"]


def test_seeds_generators_forms_and_progress(tiny: Any) -> None:
    pipeline, steps = tiny(), []
    made = pipeline(layout(), num_images_per_layout=3, seed=5, progress=lambda done, total: steps.append((done, total)))
    assert made.seeds == [5, 6, 7]
    assert steps == [(1, 3), (2, 3), (3, 3)]
    assert np.allclose(pipeline(layout(), seed=6).images[0], made.images[1], atol=2e-5)
    generators = [torch.Generator().manual_seed(1) for _ in range(2)]
    drawn = pipeline([layout(), layout()], generator=generators).images
    assert np.allclose(drawn[0], drawn[1], atol=2e-5)
    assert pipeline(layout(), output_type="pil").images[0].size == (32, 32)
    assert pipeline(layout(), output_type="pt").images.shape == (1, 3, 32, 32)
    assert made.tags[0]["EARTHGEN_SEED"] == "5"
    sizes = pipeline([layout(), layout(48, 40)])
    assert [picture.shape for picture in sizes.images] == [(3, 32, 32), (3, 40, 48)]


def test_without_text_and_without_inpainting(tiny: Any, tmp_path: Path) -> None:
    plain = tiny(text=False, inpainting=False)
    plain.save_pretrained(tmp_path / "plain")
    again = LayoutToImagePipeline.from_pretrained(tmp_path / "plain")
    assert np.array_equal(again(layout()).images, plain(layout()).images)
    with pytest.raises(InputError, match="cannot change a picture"):
        plain(layout(), background=photo())


def test_values_that_are_not_finite_are_reported(tiny: Any) -> None:
    pipeline = tiny()
    with torch.no_grad():
        pipeline.unet.unet.conv_out.bias[0] = float("nan")
    with pytest.raises(InputError, match="not finite after step 1 of 3"):
        pipeline(layout())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({}, "neither a layout nor a background"),
        ({"layout": 3}, "the layout is a int"),
        ({"layout": Layout(32, 32, (Box.horizontal("tree", 1, 1, 5, 5),))}, "cannot paint 'tree'; it knows building, ship"),
        ({"layout": Layout(32, 32), "insert": Box.horizontal("ship", 1, 1, 5, 5)}, "give it as background"),
        ({"background": photo()}, "nothing of the background is to be painted"),
        ({"background": photo(), "mask": np.ones((8, 8), np.float32)}, "the mask is 8 x 8"),
        ({"background": photo(), "layout": Layout(16, 16), "remove": [0]}, "give the layout of this picture"),
        ({"background": photo(), "layout": Layout(32, 32), "remove": [4]}, "object 4 is to be removed"),
        ({"layout": Layout(32, 32), "guidance_scale": {"hints": 2.0}}, "no group of conditions 'hints'"),
        ({"layout": Layout(32, 32), "guidance_scale": -1.0}, "from 0"),
        ({"layout": Layout(32, 32), "num_inference_steps": 0}, "at least 1"),
        ({"layout": Layout(32, 32), "window": 30}, "windows of 30 pixels"),
        ({"layout": Layout(32, 32), "prompt": ["a", "b"]}, "2 prompts were given for 1"),
        ({"layout": Layout(32, 32), "height": 64}, "only one of height and width"),
        ({"layout": Layout(32, 32), "output_type": "jpeg"}, "output_type is 'jpeg'"),
        ({"layout": "nowhere.json"}, "nowhere.json"),
    ],
)
def test_bad_arguments_get_one_sentence(tiny: Any, arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as error:
        tiny()(**arguments)
    assert "\n" not in str(error.value)


def test_a_call_leaves_the_pipeline_as_it_was(tiny: Any) -> None:
    pipeline = tiny()
    first = pipeline(layout(), prompt="ab").images
    pipeline(layout(64, 48, seed=2), seed=9, num_inference_steps=2)
    assert np.array_equal(pipeline(layout(), prompt="ab").images, first)


def test_what_is_kept_has_the_noise_of_its_step(tiny: Any) -> None:
    """Between the steps, cells outside the mask are (1 - t) picture + t noise with the noise that the seed gives them."""
    from earthgen.gen.data.noise import noise_field

    pipeline, picture, states = tiny(num_inference_steps=5), photo(), []

    def look(_: Any, step: int, time: torch.Tensor, values: dict[str, Any]) -> None:
        states.append(torch.nn.functional.pixel_shuffle(values["sample"], 4)[0])

    made = pipeline(background=picture, insert=Box.horizontal("ship", 6, 6, 8, 6), seed=3, callback_on_step_end=look)
    outside = torch.from_numpy(~made.masks[0])
    clean, noise = torch.from_numpy(picture.astype(np.float32) / 127.5 - 1), noise_field(3, 3, 0, 0, 32, 32)
    scheduler = pipeline.scheduler
    scheduler.set_timesteps(5)
    for state, sigma in zip(states, scheduler.sigmas[1:].tolist(), strict=True):
        expected = (1 - sigma) * clean + sigma * noise
        assert torch.allclose(state[:, outside], expected[:, outside], atol=1e-4)


def test_windows_leave_no_seams(tiny: Any) -> None:
    """Steps between neighbouring pixels are as large across the borders of windows as anywhere else."""
    big = layout(128, 128, count=40)
    image = tiny()(big, num_inference_steps=4, window=32, overlap=8).images[0]
    steps = np.abs(np.diff(image, axis=2)).mean((0, 1))
    cells = steps[3::4]  # between cells of the network's grid
    borders = steps[[23, 31, 47, 55, 71, 79, 95]]
    assert borders.mean() < 1.25 * cells.mean()
