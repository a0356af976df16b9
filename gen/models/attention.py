"""Which kernels compute attention: one switch for every network, through diffusers.

diffusers has two ways, and neither alone reaches every layer: newer transformers take a backend by name (`set_attention_backend`), while
the U-Nets' `Attention` ignores that without a word and has processors instead. The switch sets whichever a layer has. What is computed
stays the same up to rounding.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..errors import InputError

Kernels = Literal["auto", "sdpa", "xformers", "flash"]
_BACKENDS = {"sdpa": "native", "xformers": "xformers", "flash": "_native_flash"}


def use_attention(model: nn.Module, name: Kernels = "auto", device: torch.device | str | None = None) -> str:
    """Choose the kernels of every attention layer of a network.

    Args:
        model: Changed in place; a network without attention layers is left alone by ``auto`` and ``sdpa``.
        name: ``sdpa`` is PyTorch's own choice among its kernels; ``flash`` is its flash kernel and nothing else (half precision on CUDA, no
            masks); ``xformers`` needs a CUDA device and the extra ``cuda``; ``auto`` is xformers where that can be had, else ``sdpa``.
        device: Where the network will run; where its weights are if left out.

    Returns:
        The name in use: ``sdpa``, ``xformers``, ``flash``, or ``none`` without attention layers.

    Raises:
        InputError: If the name is unknown or cannot be had here, or the network has no attention layer that can be switched.
    """
    if name not in get_args(Kernels):
        raise InputError(f"attention={name!r} is unknown; it is {', '.join(get_args(Kernels))}; choose one of them")
    layers = list(attention_layers(model))
    if not layers:
        if name in ("xformers", "flash"):
            raise InputError(f"a {type(model).__name__} has no attention layers, so attention={name} means nothing; set attention=auto")
        return "none"
    place = torch.device(device) if device is not None else next((p.device for p in model.parameters()), torch.device("cpu"))
    chosen = _available(place) if name == "auto" else name
    if chosen == "xformers":
        _require_xformers(place)
    for layer in layers:
        _switch(layer, chosen)
    return chosen


def attention_layers(model: nn.Module) -> Iterator[nn.Module]:
    """Layers of a network whose kernels can be chosen."""
    candidates = [module for module in model.modules() if getattr(module, "processor", None) is not None]
    if not candidates:
        return  # before an import that a network without attention can do without
    from diffusers.models.attention import AttentionModuleMixin
    from diffusers.models.attention_processor import Attention

    yield from (module for module in candidates if isinstance(module, Attention | AttentionModuleMixin))


class FlashProcessor:
    """Attention of diffusers' U-Nets by PyTorch's flash kernel alone, which is refused where it does not fit instead of replaced."""

    def __init__(self) -> None:
        """Stand before diffusers' processor for scaled dot products."""
        from diffusers.models.attention_processor import AttnProcessor2_0

        self._processor = AttnProcessor2_0()

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """What ``AttnProcessor2_0`` does.

        Raises:
            InputError: If the kernel does not do this dtype, size or mask on this device.
        """
        try:
            with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
                return cast(Tensor, self._processor(attn, hidden_states, encoder_hidden_states, attention_mask, temb))
        except RuntimeError as error:
            if "available kernel" not in str(error):
                raise
            masked = "" if attention_mask is None else " with a mask"
            raise InputError(
                f"the flash kernel does not do {hidden_states.dtype}{masked} on {hidden_states.device.type} ({error}); "
                "set precision=bf16, or attention=sdpa"
            ) from error


def _available(place: torch.device) -> str:
    return "xformers" if place.type == "cuda" and importlib.util.find_spec("xformers") is not None else "sdpa"


def _require_xformers(place: torch.device) -> None:
    if importlib.util.find_spec("xformers") is None:
        raise InputError("attention=xformers needs xformers, which is not installed; pip install 'earthgen[cuda]', or set attention=sdpa")
    if place.type != "cuda":
        raise InputError(f"xformers computes on CUDA devices, and this is {place.type}; set attention=sdpa")


def _switch(layer: nn.Module, name: str) -> None:
    """Set the kernels of one layer in the way that it understands."""
    from diffusers.models.attention_dispatch import AttentionBackendName
    from diffusers.models.attention_processor import Attention, AttnProcessor2_0, XFormersAttnProcessor

    processor = cast(Any, layer).processor
    if hasattr(processor, "_attention_backend"):
        processor._attention_backend = AttentionBackendName(_BACKENDS[name])
        return
    plain = isinstance(processor, AttnProcessor2_0 | XFormersAttnProcessor | FlashProcessor)
    if not isinstance(layer, Attention) or not plain:
        if name == "sdpa":
            return  # every processor of diffusers computes by PyTorch's scaled dot products where nothing else is asked for
        raise InputError(f"the attention layers of this network ({type(processor).__name__}) have no {name} kernels; set attention=sdpa")
    made = {"sdpa": AttnProcessor2_0, "xformers": XFormersAttnProcessor, "flash": FlashProcessor}[name]
    layer.set_processor(made())
