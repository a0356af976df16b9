"""The denoiser that paints objects where a layout says: a stock U-Net with the parts of this package, as one network.

Letters: B batch, N objects, K classes, L tokens of text, D their width, h w rows and columns of what is denoised, H W those of the raster.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, Literal, Self, cast

import torch
from diffusers import ConfigMixin, ModelMixin, UNet2DConditionModel
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from ...errors import InputError
from .attention import LayoutContext, install_layout
from .backbone import run_unet, stock_unet
from .encoder import LayoutEncoder
from .gated import install_fusers
from .mask import MaskInjector
from .object_mask import LEAST, ObjectMaskInjector
from .regions import published_masks

Compat = Literal["aerogen", "gligen"]
PUBLISHED: dict[str, dict[str, Any]] = {
    "aerogen": {"coord_space": "grid64", "fourier": "published", "coordinates": 8},
    "gligen": {"coord_space": "unit", "fourier": "published", "coordinates": 4},
}


def layout_channels(patch: int, inpainting: bool = True) -> tuple[int, int]:
    """Channels in and out of a network for RGB pictures in patches: noisy, and for inpainting what to repaint and what is kept."""
    picture, mask = 3 * patch**2, patch**2
    return picture + (mask + picture if inpainting else 0), picture


def small_settings(patch: int = 4, inpainting: bool = True) -> dict[str, Any]:
    """Settings of `LayoutUNet` for RGB pictures of 128 to 256 pixels that a CPU can paint; for training from random weights.

    Args:
        patch: Pixels along a cell.
        inpainting: Whether the network also gets what to repaint, and the rest of the picture.

    Returns:
        Keyword arguments, `classes` aside. Cells see the objects that cover them, and the gates stand open, since there is no trained
        U-Net to keep.
    """
    into, out = layout_channels(patch, inpainting)
    return {
        "in_channels": into,
        "out_channels": out,
        "patch": patch,
        "block_out_channels": (64, 96, 128),
        "attention": (False, True, True),
        "region": True,
        "gate": 1.0,
        "encoder": {"start": "any"},
    }


class LayoutUNet(ModelMixin, ConfigMixin):
    """A stock `UNet2DConditionModel` that takes objects."""

    _supports_gradient_checkpointing = True

    @register_to_config
    def __init__(
        self,
        in_channels: int = 4,
        out_channels: int = 4,
        patch: int = 1,
        classes: Sequence[str] = (),
        block_out_channels: Sequence[int] = (64, 128, 192),
        attention: Sequence[bool] = (False, True, True),
        layers_per_block: int = 1,
        cross_attention_dim: int = 128,
        heads: int = 4,
        backbone: dict[str, Any] | None = None,
        encoder: dict[str, Any] | None = None,
        raster_patch: int | None = None,
        raster_hidden: int = 32,
        least_timestep: float = 0.0,
        region: bool = False,
        gate: float = 0.0,
        pad_objects: int = 0,
        compat: Compat | None = None,
    ) -> None:
        """Build the network.

        Args:
            in_channels: Of ``sample``.
            out_channels: Of the result.
            patch: Pixels of a picture along a cell of ``sample``, which is unshuffled by it; 1 for latents. It is told, not applied here.
            classes: Names, in the order of their numbers.
            block_out_channels: Widths of the levels.
            attention: Which levels attend, to themselves, text and objects.
            layers_per_block: Residual blocks of a level.
            cross_attention_dim: D, of text and objects.
            heads: Of attention.
            backbone: Other settings of `UNet2DConditionModel`, which go before these.
            encoder: Other settings of `LayoutEncoder`.
            raster_patch: Pixels of the raster along a cell; `patch` if left out (8 for latents of Stable Diffusion).
            raster_hidden: Channels of the raster's first convolution.
            least_timestep: Time below which the raster is not looked at.
            region: Whether a cell sees only the objects that cover it.
            gate: Where the gates of attention start; at 0 objects change nothing yet.
            pad_objects: Tokens that there are at least, learnt nulls behind the objects; for published weights, which attend to them.
            compat: Whose arithmetic, for converted weights: ``aerogen`` (Tang et al. 2025), ``gligen`` (Li et al. 2023); ours if left out.

        Raises:
            InputError: If the settings do not go together.
        """
        super().__init__()
        if compat not in (None, *PUBLISHED) or len(attention) != len(block_out_channels) or patch < 1 or len(set(classes)) != len(classes):
            raise InputError(
                f"a layout network of {len(block_out_channels)} levels, attention {list(attention)}, patch {patch}, compat {compat!r} and "
                f"classes {list(classes)} cannot be built; give one attention for each level, and each class once"
            )
        self.unet = stock_unet(
            in_channels, out_channels, block_out_channels, attention, layers_per_block, cross_attention_dim, heads, backbone
        )
        config = self.unet.config
        width, first = config["cross_attention_dim"], config["block_out_channels"][0]
        own: dict[str, Any] = {
            "classes": len(classes),
            "vector_width": 128,
            "hidden": 256,
            "width": width,
            "null_position": compat is not None,
        }
        self.layout_encoder = LayoutEncoder(**{**own, **PUBLISHED.get(compat or "", {}), **(encoder or {})})
        if compat == "gligen":
            install_fusers(self.unet, width)
        elif compat == "aerogen":
            install_layout(self.unet, width, alpha=None)
            self.mask_injector: nn.Module = ObjectMaskInjector(self.layout_encoder.config["vector_width"], first, LEAST)
        else:
            install_layout(self.unet, width, alpha=gate)
            self.mask_injector = MaskInjector(len(classes), first, raster_patch or patch, raster_hidden, least_timestep)
            self.null_text = nn.Parameter(torch.zeros(1, 1, width))
            # What a cell sees beside the objects; the second one says that nothing is known of any.
            self.null_object = nn.Parameter(torch.randn(2, width) * 0.02)

    @classmethod
    def from_unet(cls, unet: UNet2DConditionModel, classes: Sequence[str], **settings: Any) -> Self:
        """A new network around a trained stock U-Net; with fresh parts it computes what the U-Net does, bit for bit.

        Args:
            unet: Its weights are copied.
            classes: Names.
            **settings: Further arguments of this class.

        Returns:
            The network, in the U-Net's dtype and on its device.

        Raises:
            InputError: If the settings do not go together.
        """
        known = inspect.signature(UNet2DConditionModel.__init__).parameters
        config = {name: value for name, value in unet.config.items() if name in known}
        shared = {name: config[name] for name in ("in_channels", "out_channels")}
        widths = config["block_out_channels"]
        network = cls(
            **shared, classes=list(classes), block_out_channels=widths, attention=[True] * len(widths), backbone=config, **settings
        )
        missing, unexpected = network.unet.load_state_dict(unet.state_dict(), strict=False)
        fresh = ("_layout.weight", ".processor.alpha")
        if unexpected or any(".fuser." not in key and not key.endswith(fresh) for key in missing):
            raise InputError(f"the U-Net is no stock one ({(unexpected or missing)[0]}); give one without adapters in it")
        network = network.to(unet.device)
        return network if network.dtype == unet.dtype else network.to(unet.dtype)

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | float,
        quads: Tensor,
        labels: Tensor,
        valid: Tensor | None = None,
        raster: Tensor | None = None,
        encoder_hidden_states: Tensor | None = None,
        layout_scale: float | Tensor = 1.0,
        present: Tensor | None = None,
        class_labels: Tensor | None = None,
    ) -> Tensor:
        """One evaluation.

        Args:
            sample: ``[B, in_channels, h, w]``.
            timestep: ``[B]``, or one for all.
            quads: Corners ``[B, N, 4, 2]`` in pictures (x right, y down, 0 to 1). N may be 0.
            labels: Class numbers ``[B, N]``, or vectors ``[B, N, V]``.
            valid: Which objects there are, bool ``[B, N]``; all if left out. The others are padding.
            raster: ``[B, K + 2, H, W]``, see `MaskInjector`; not read with `compat`.
            encoder_hidden_states: Text ``[B, L, D]``; a learnt token if left out, which published weights (`compat`) have not.
            layout_scale: Factor of all that objects add, one or ``[B]``; at 0 this is the stock U-Net.
            present: Of which samples a layout is known at all, bool ``[B]``; of all if left out. An empty layout says that there are no
                objects; an absent one says nothing (for guidance).
            class_labels: See `UNet2DConditionModel`.

        Returns:
            ``[B, out_channels, h, w]``.

        Raises:
            InputError: If shapes disagree.
        """
        self._check(sample, quads, labels, encoder_hidden_states)
        batch = len(sample)
        time = torch.as_tensor(timestep, device=sample.device).reshape(-1).expand(batch)
        valid = torch.ones(quads.shape[:2], dtype=torch.bool, device=quads.device) if valid is None else valid.bool()
        valid = valid if present is None else valid & present[:, None]
        labels = torch.where(valid, labels, -1) if labels.ndim == 2 else labels
        text = self.null_text.expand(batch, -1, -1) if encoder_hidden_states is None else encoder_hidden_states
        sample, text = sample.to(self.dtype), text.to(self.dtype)
        tokens = self.layout_encoder(*self._padded(quads, labels, valid))
        compat, extra, context = self.config["compat"], None, None
        if compat == "gligen":
            off = isinstance(layout_scale, float | int) and layout_scale == 0
            extra = None if off else {"gligen": {"objs": (tokens, layout_scale)}}
        else:
            context = self._context(tokens, quads, valid, present, sample, layout_scale)

        def inject(features: Tensor) -> Tensor:
            if compat == "gligen":
                return features
            if compat == "aerogen":
                masks = published_masks(quads, *features.shape[2:]) & valid[:, :, None, None]
                return cast(Tensor, self.mask_injector(features, self.layout_encoder.vectors(labels), masks, time, layout_scale))
            if raster is None:
                raise InputError("this network needs the raster of its layouts, of empty ones too; rasterise them with its classes")
            added = self.mask_injector(raster, time, present)
            if added.shape != features.shape:
                raise InputError(
                    f"the raster makes {list(added.shape)} of the features' {list(features.shape)}; rasterise at the picture's size"
                )
            return features + (layout_scale.view(-1, 1, 1, 1).to(added) if isinstance(layout_scale, Tensor) else layout_scale) * added

        return run_unet(self.unet, sample, time, text if context is None else (text, context), class_labels, inject, extra)

    def _context(
        self, tokens: Tensor, quads: Tensor, valid: Tensor, present: Tensor | None, sample: Tensor, scale: float | Tensor
    ) -> LayoutContext:
        """What the layers get."""
        grid = (sample.shape[2], sample.shape[3])
        if self.config["compat"] == "aerogen":
            return LayoutContext(tokens, None, False, None, grid, scale)
        known = torch.ones(len(sample), dtype=torch.long, device=sample.device) if present is None else present.long()
        null = self.null_object[1 - known][:, None]
        # Padding may hold anything; its token is finite and is not seen, and neither may its corners be read.
        corners = torch.where(valid[..., None, None], quads.float(), 0.0) if self.config["region"] else None
        return LayoutContext(torch.cat([tokens, null], dim=1), valid, True, corners, grid, scale)

    def _padded(self, quads: Tensor, labels: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The objects, with padding where published weights want some."""
        lack = self.config["pad_objects"] - quads.shape[1]
        if lack <= 0:
            return quads, labels, valid
        behind = nn.functional.pad
        more = (0, 0, 0, lack) if labels.ndim == 3 else (0, lack)
        return behind(quads, (0, 0, 0, 0, 0, lack)), behind(labels, more), behind(valid, (0, lack))

    def _check(self, sample: Tensor, quads: Tensor, labels: Tensor, text: Tensor | None) -> None:
        channels = self.unet.config["in_channels"]
        if sample.ndim != 4 or sample.shape[1] != channels or len(quads) != len(sample) or len(labels) != len(sample):
            raise InputError(
                f"sample has shape {tuple(sample.shape)} and there are layouts for {len(quads)}; this network takes "
                f"[B, {channels}, h, w] and a layout for each sample"
            )
        width = self.unet.config["cross_attention_dim"]
        if text is None and self.config["compat"] is not None:
            raise InputError(
                f"{self.config['compat']}'s weights need text; give encoder_hidden_states, of an empty prompt if there is none"
            )
        if text is not None and (text.ndim != 3 or text.shape[0] != len(sample) or text.shape[2] != width):
            raise InputError(
                f"the text has shape {tuple(text.shape)}; it is [{len(sample)}, tokens, {width}]; use the encoder it was trained with"
            )
