"""The networks of a layout-to-image generator: made anew from the recipe, or read from an exported folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import CLIPTextModel

from ...gen.errors import InputError
from ...gen.models.generator import build_text_encoder
from ...gen.models.layout.unet import LayoutUNet, small_settings
from ...gen.zoo.folder import TEXT_WEIGHTS, load_weights
from ...gen.zoo.names import resolve_model
from .layout_config import LayoutConfig

if TYPE_CHECKING:
    from transformers import CLIPTokenizer


class LayoutGenerator(nn.Module):
    """Denoiser and text encoder as one network."""

    def __init__(self, unet: LayoutUNet, text_encoder: CLIPTextModel | None = None) -> None:
        super().__init__()
        self.unet, self.text_encoder = unet, text_encoder

    def enable_gradient_checkpointing(self) -> None:
        """Compute inner values of the denoiser again on the way back."""
        self.unet.enable_gradient_checkpointing()

    def forward(
        self,
        inputs: Tensor,
        time: Tensor,
        quads: Tensor,
        labels: Tensor,
        valid: Tensor,
        raster: Tensor,
        present: Tensor,
        tokens: Tensor | None = None,
    ) -> Tensor:
        """One evaluation: as `LayoutUNet`, with the text as tokens ``[B, L]``."""
        words = None if self.text_encoder is None or tokens is None else self.text_encoder(tokens).last_hidden_state
        made: Tensor = self.unet(inputs, time, quads, labels, valid, raster, words, present=present)
        return made


def build_network(config: LayoutConfig, tokenizer: CLIPTokenizer | None, initialise: Path | None) -> LayoutGenerator:
    """The network that is trained.

    Args:
        config: The task's.
        tokenizer: Of the text encoder; None for a model without text.
        initialise: Exported folder whose weights are all taken over; None for random ones.

    Raises:
        InputError: If the settings fit no network, or the weights do not fit the recipe's network.
    """
    text = None
    settings: dict[str, Any] = {**small_settings(config.patch), **config.model}
    if config.text is not None and tokenizer is not None:
        try:
            text = build_text_encoder(len(tokenizer), tokenizer.eos_token_id, tokenizer.bos_token_id, **config.text.model)
        except (TypeError, ValueError) as error:
            raise InputError(f"task.text.model: {error}") from error
        settings["cross_attention_dim"] = text.config.hidden_size
    try:
        unet = LayoutUNet(classes=list(config.names), **settings)
    except (TypeError, ValueError) as error:
        raise error if isinstance(error, InputError) else InputError(f"task.model: {error}") from error
    if initialise is not None:
        folder = resolve_model(initialise)
        unet.load_state_dict(load_weights(folder / "unet", unet))
        if text is not None:
            _fill(text, folder / "text_encoder" / TEXT_WEIGHTS)
    return LayoutGenerator(unet, text)


def read_tokenizer(initialise: Path | None) -> CLIPTokenizer | None:
    """The tokenizer of an exported folder, as its text encoder needs it; None where nothing is given.

    Raises:
        InputError: If the folder has none.
    """
    if initialise is None:
        return None
    from transformers import CLIPTokenizer

    folder = resolve_model(initialise) / "tokenizer"
    if not folder.is_dir():
        raise InputError(f"the folder {folder.parent} has no tokenizer; give an exported model whose text is trained")
    return CLIPTokenizer.from_pretrained(folder, local_files_only=True)


def _fill(text: CLIPTextModel, path: Path) -> None:
    try:
        stored = load_file(path)
        missing, unexpected = text.load_state_dict({key: value.float() for key, value in stored.items()}, strict=False)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise InputError(
            f"the text encoder {path} does not fit the recipe ({str(error).splitlines()[0]}); use the recipe it was trained with"
        ) from error
    wrong = [key for key in (*missing, *unexpected) if not key.endswith("position_ids")]
    if wrong:
        raise InputError(f"the text encoder {path} has other weights than the recipe's ({wrong[0]}); use the recipe it was trained with")
