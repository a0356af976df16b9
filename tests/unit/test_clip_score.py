"""CLIP scores with a tiny CLIP saved as transformers saves one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from earthgen.gen.errors import InputError
from earthgen.metrics.clip_score import ClipModel, clip_scores, raw_scores, retrieval, zero_shot


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizerFast

    torch.manual_seed(0)
    where = tmp_path_factory.mktemp("clip")
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (where / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    (where / "merges.txt").write_text("#version: 0.2\n")
    CLIPTokenizerFast(str(where / "vocab.json"), str(where / "merges.txt")).save_pretrained(where)
    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**size, "vocab_size": len(words), "max_position_embeddings": 12, "bos_token_id": 52, "eos_token_id": 53, "pad_token_id": 53}
    config = CLIPConfig(text_config=text, vision_config={**size, "image_size": 16, "patch_size": 8}, projection_dim=8)
    CLIPModel(config).save_pretrained(where)
    CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}).save_pretrained(where)
    return where


def test_embeddings_and_scores(folder: Path) -> None:
    clip = ClipModel(folder)
    pictures = [torch.rand(3, 20, 24), torch.rand(3, 16, 16), torch.rand(3, 40, 18)]
    images, texts = clip.embed_images(pictures, batch=2), clip.embed_texts(["sea", "a wood", "town"])
    assert torch.allclose(images[2:], clip.embed_images(pictures[2:]), atol=1e-5)
    normal = [torch.nn.functional.normalize(value.double(), dim=1) for value in (images, texts)]
    assert torch.allclose(clip_scores(images, texts), 100 * (normal[0] * normal[1]).sum(1))
    assert torch.allclose(raw_scores(images, texts), (images.double() * texts.double()).sum(1) / 100)
    assert clip.cut == 0
    clip.embed_texts(["a very long sentence about the sea"])
    assert clip.cut == 1
    assert zero_shot(clip, images, ["sea", "town"]).shape == (3,)
    assert "weights" in clip.name
    assert "16 x 16" in clip.resize
    with pytest.raises(InputError, match="one caption for each"):
        clip_scores(images, texts[:2])


def test_half_white_is_not_darkened_twice(folder: Path) -> None:
    """The processor divides by 255 itself; pictures of 0 to 1 are handed over as bytes."""
    clip = ClipModel(folder)
    grey = torch.full((3, 16, 16), 128 / 255)
    values = clip.processor(images=[(grey * 255).to(torch.uint8).numpy()], return_tensors="pt", input_data_format="channels_first")
    truth = clip.model.get_image_features(pixel_values=values["pixel_values"])
    truth = truth if isinstance(truth, torch.Tensor) else truth.pooler_output
    assert torch.allclose(clip.embed_images([grey]), truth.detach(), atol=1e-5)
    mean, std = torch.tensor(clip.processor.image_mean), torch.tensor(clip.processor.image_std)
    assert torch.allclose(values["pixel_values"][0, :, 0, 0], (128 / 255 - mean) / std, atol=1e-5)


def test_retrieval_counts_equal_captions_once() -> None:
    images = torch.eye(4)[[0, 1, 2, 0]]
    texts = torch.eye(4)[[0, 1, 1, 0]]
    captions = ["a", "b", "c", "a"]
    # c's embedding is b's, so that the third picture is as near to a as to its own, and nearer to none.
    assert retrieval(images, texts, captions).tolist() == [True, True, True, True]
    texts[2] = torch.tensor([0.0, 0.0, -1.0, 0.0])
    assert retrieval(images, texts, captions).tolist() == [True, True, False, True]
    assert retrieval(images, texts, captions, top=3).tolist() == [True] * 4


def test_folders_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no config\.json"):
        ClipModel(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="cannot be read"):
        ClipModel(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(InputError, match="pickle"):
        ClipModel(tmp_path)
