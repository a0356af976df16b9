"""Networks of a checkpoint in the layout of latent diffusion, and the account of what was taken from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..errors import InputError
from .ldm_keys import Rename, autoencoder_key, clip_key, open_clip_key, rename_all, split_projections, unet_key
from .ldm_shapes import Heads, autoencoder_config, clip_config, count, noise_config, unet_config
from .parts import fill, scheduler, text_encoder
from .weight_files import read_state_dict

UNET, AUTOENCODER = "model.diffusion_model.", "first_stage_model."
CLIP, OPEN_CLIP = "cond_stage_model.transformer.", "cond_stage_model.model."
# What checkpoints hold beside weights that are used.
DEAD = {
    "tables of the diffusion": (
        "betas", "alphas_cumprod", "alphas_cumprod_prev", "sqrt_alphas_cumprod", "sqrt_one_minus_alphas_cumprod",
        "log_one_minus_alphas_cumprod", "sqrt_recip_alphas_cumprod", "sqrt_recipm1_alphas_cumprod", "posterior_variance",
        "posterior_log_variance_clipped", "posterior_mean_coef1", "posterior_mean_coef2", "logvar", "scale_factor", "lvlb_weights",
    ),
    "averages of training": ("model_ema.",),
    "loss of the autoencoder": ("first_stage_model.loss.",),
    "positions of the text": ("cond_stage_model.transformer.text_model.embeddings.position_ids",),
}  # fmt: skip
DEAD_OPEN_CLIP = ("text_projection", "logit_scale", "attn_mask", "transformer.resblocks.")


class Checkpoint:
    """A state dict that is taken apart: every tensor is used once, or dropped for a reason."""

    def __init__(self, path: Path, state: Mapping[str, Tensor] | None = None) -> None:
        """Read it, unless its weights are given, where a file holds them in another way."""
        self.path = Path(path)
        self.state: dict[str, Tensor] = read_state_dict(self.path) if state is None else dict(state)
        self.taken: set[str] = set()
        self.dropped: Counter[str] = Counter()
        self._dead: set[str] = set()

    def take(self, prefix: str, rename: Rename) -> dict[str, Tensor]:
        """Weights under a prefix by our names."""
        found, taken = rename_all(self.state, prefix, rename)
        self.taken |= taken
        return found

    def drop(self, reason: str, *beginnings: str) -> None:
        """Leave out what is called like this, or begins with it if it ends in a dot, and was not taken."""
        for key in self.state.keys() - self.taken - self._dead:
            if any(key.startswith(part) if part.endswith(".") else key == part for part in beginnings):
                self._dead.add(key)
                self.dropped[reason] += 1

    def has(self, prefix: str) -> bool:
        """Whether anything is under a prefix."""
        return any(key.startswith(prefix) for key in self.state)

    def close(self) -> tuple[int, dict[str, int]]:
        """The account.

        Returns:
            How many tensors were taken, and how many dropped for each reason.

        Raises:
            InputError: If some are left over.
        """
        for reason, names in DEAD.items():
            self.drop(reason, *names)
        left = sorted(self.state.keys() - self.taken - self._dead)
        if left:
            more = f" and {len(left) - 4} more" if len(left) > 4 else ""
            raise InputError(f"{self.path} has {len(left)} unexpected weights ({', '.join(left[:4])}{more}); give published weights")
        return len(self.taken), dict(self.dropped)

    def unet(self, heads: Heads, **settings: Any) -> nn.Module:
        """The U-Net."""
        from diffusers import UNet2DConditionModel

        config = unet_config(self.state, UNET, heads, self.path) | settings
        weights = self.take(UNET, unet_key(config["layers_per_block"], len(config["block_out_channels"])))
        return fill(lambda: UNet2DConditionModel(**config), weights, "U-Net", self.path)

    def autoencoder(self) -> nn.Module:
        """The autoencoder; its attention has 1 x 1 convolutions where ours has linear layers."""
        from diffusers import AutoencoderKL

        config = autoencoder_config(self.state, AUTOENCODER, self.path)
        weights = self.take(AUTOENCODER, autoencoder_key(len(config["block_out_channels"])))
        weights = {key: value[:, :, 0, 0] if ".attentions." in key and value.ndim == 4 else value for key, value in weights.items()}
        return fill(lambda: AutoencoderKL(**config), weights, "autoencoder", self.path)

    def clip(self) -> nn.Module:
        """The text encoder of Stable Diffusion 1."""
        weights = self.take(CLIP, clip_key)
        return self._text(weights, "quick_gelu")

    def open_clip(self) -> nn.Module:
        """The text encoder of Stable Diffusion 2, which stops before the last layer."""
        layers = count(self.state, r"cond_stage_model\.model\.transformer\.resblocks\.(\d+)\.") - 1
        weights = split_projections(self.take(OPEN_CLIP, open_clip_key(layers)))
        self.drop("text encoder behind its last used layer", *(OPEN_CLIP + name for name in DEAD_OPEN_CLIP))
        return self._text(weights, "gelu")

    def scheduler(self) -> Any:
        """A sampler for the checkpoint's own diffusion."""
        return scheduler(noise_config(self.state))

    def _text(self, weights: Mapping[str, Tensor], activation: str) -> nn.Module:
        names = ("embeddings.token_embedding.weight", "embeddings.position_embedding.weight", "encoder.layers.0.mlp.fc1.weight")
        missing = [name for name in names if name not in weights]
        if missing:
            raise InputError(f"{self.path} has no text encoder ({', '.join(missing)}); give a complete checkpoint")
        tokens, positions, inner = (weights[name] for name in names)
        layers = count(weights, r"encoder\.layers\.(\d+)\.")
        return text_encoder(clip_config(tokens, positions, inner, layers, activation), weights, self.path)
