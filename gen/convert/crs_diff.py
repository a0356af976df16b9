"""CRS-Diff's published checkpoint (Tang et al., TGRS 2024): Stable Diffusion 1.5, the local and the global adapter, metadata heads.

Its metadata heads were trained on sines and cosines in turn, and `MetadataEmbedding` computes just those for the schema ``crs-diff``, so
their weights stay as they are. (For diffusers' order, all cosines first, the columns of ``fc1.weight`` would go in the order 1, 3, ..., 0,
2, ...) The text adapter is an identity without weights and is left out, as is the second text, which the published code encodes and then
ignores.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..conditioning.schemas import schema
from ..errors import InputError
from ..models.control.content import ContentTokenAdapter
from ..models.control.hints import PUBLISHED_HINTS, MultiHintAdapter
from ..models.embed import MetadataEmbedding
from .ldm_keys import controlnet_key
from .ldm_parts import Checkpoint
from .ldm_shapes import count, eight_heads, encoder_config
from .parts import EarthModel, card, fill, pipeline_settings, read_image_encoder, read_tokenizer

LOCAL, CONTENT, METADATA = "local_adapter.", "global_content_adapter.", "metadata_emb."


def convert_crs_diff(path: Path, base: Path | None) -> EarthModel:
    """Read CRS-Diff's checkpoint.

    Args:
        path: ``last.ckpt``, or its state dict.
        base: A folder with CLIP's tokenizer, which the checkpoint lacks, and with CLIP's ``image_encoder`` if pictures are to be given as
            content; without it, their embeddings can.

    Returns:
        The parts of a model folder.

    Raises:
        InputError: If the file is none, misses weights or has others, or no tokenizer is given.
    """
    if base is None:
        raise InputError(f"{path} has no tokenizer; give a folder with CLIP's (of any Stable Diffusion 1 model) with --base")
    tokenizer = read_tokenizer(base)
    checkpoint = Checkpoint(path)
    components: dict[str, Any] = {
        "unet": checkpoint.unet(eight_heads, class_embed_type="identity"),
        "vae": checkpoint.autoencoder(),
        "text_encoder": checkpoint.clip(),
        "tokenizer": tokenizer,
        "scheduler": checkpoint.scheduler(),
        "metadata_embedding": _metadata(checkpoint),
        "control_adapter": _local(checkpoint),
        "control_content": _content(checkpoint),
    }
    if (base / "image_encoder").is_dir():
        components["image_encoder"] = read_image_encoder(base / "image_encoder")
    checkpoint.drop("text adapter, an identity", "global_text_adapter.")
    taken, dropped = checkpoint.close()
    hints = dict.fromkeys(components["control_adapter"].config["hints"], 3)
    settings = pipeline_settings(512, {"text": 7.5}, control_hints={"adapter": hints, "content": {"content": 0}})
    notes = "Hints are pictures of values 0 to 1, black where absent. Guidance acts on text and content alone."
    source = f"CRS-Diff (Tang et al., TGRS 2024, arXiv 2403.11614), converted from {Path(path).name}"
    about = card("crs-diff", "text, metadata, content and six hints to 512 px RGB", source, "unknown: see its authors", notes, components)
    return EarthModel(components, settings, about, taken, dropped)


def _local(checkpoint: Checkpoint) -> MultiHintAdapter:
    state, path = checkpoint.state, checkpoint.path
    pyramid = f"{LOCAL}feature_extractor."
    if not checkpoint.has(pyramid):
        raise InputError(f"{path} has no {pyramid}*; it is no checkpoint of CRS-Diff, so give its last.ckpt")
    encoder = encoder_config(state, LOCAL, eight_heads, path)
    rename = controlnet_key(encoder["layers_per_block"])
    weights = checkpoint.take(LOCAL, lambda key: key if key.startswith("feature_extractor.") else rename(key))
    widths = [weights[f"feature_extractor.pre_extractor.{number}.weight"].shape[0] for number in (0, 2, 6)]
    levels = count(weights, r"feature_extractor\.zero_convs\.(\d+)\.")
    channels = weights["feature_extractor.pre_extractor.0.weight"].shape[1]
    hints = PUBLISHED_HINTS if channels == 3 * len(PUBLISHED_HINTS) else tuple(f"hint_{number}" for number in range(1, channels // 3 + 1))
    settings: dict[str, Any] = {
        "encoder": encoder,
        "hints": hints,
        "hint_channels": 3,
        "pyramid_channels": widths,
        "inject_channels": [weights[f"feature_extractor.zero_convs.{level}.weight"].shape[0] for level in range(levels)],
        "hint_attention": any(".attention." in key and ".norm1." in key for key in weights),
        "absent": "zeros",
    }
    return fill(lambda: MultiHintAdapter(**settings), weights, "local adapter", path)


def _content(checkpoint: Checkpoint) -> ContentTokenAdapter:
    weights = checkpoint.take(CONTENT, lambda key: key)
    if not {"norm1.weight", "ff2.net.2.weight"} <= weights.keys():
        raise InputError(f"{checkpoint.path} has no {CONTENT}*; give CRS-Diff's complete checkpoint")
    width = weights["norm1.weight"].shape[0]
    tokens = weights["ff2.net.2.weight"].shape[0] // width
    return fill(lambda: ContentTokenAdapter(width, tokens, join="append"), weights, "content adapter", checkpoint.path)


def _metadata(checkpoint: Checkpoint) -> MetadataEmbedding:
    weights = checkpoint.take(METADATA, lambda key: key)
    first = weights.get("mlp_models.0.fc1.weight")
    if first is None or first.ndim != 2:
        raise InputError(f"{checkpoint.path} has no {METADATA}*; give CRS-Diff's complete checkpoint")
    fields = {**schema("crs-diff").model_dump(mode="json"), "dim": first.shape[1]}
    return fill(lambda: MetadataEmbedding(fields, first.shape[0]), weights, "metadata heads", checkpoint.path)
