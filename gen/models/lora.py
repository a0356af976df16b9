"""LoRA by peft: thin trained matrices beside frozen layers (Hu et al. 2021, arXiv 2106.09685).

A layer ``W x`` becomes ``W x + (alpha / rank) B A x``; B starts at zero, so the start is the model itself. What was trained is kept in two
ways: merged into the weights, which gives a plain network, or as ``adapter.safetensors`` in diffusers' key layout
(``<layer>.lora_A.weight``) with ``adapter.json``, which is small and needs the network that it was trained on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ..errors import InputError

WEIGHTS, DESCRIPTION = "adapter.safetensors", "adapter.json"
ADAPTER = "default"
_BASE, _METADATA = ".base_layer.", "lora_adapter_metadata"


def add_lora(model: nn.Module, layers: Iterable[str], rank: int, alpha: float, dropout: float = 0.0) -> None:
    """Put thin matrices beside layers of a model, in place; every other parameter is frozen.

    Args:
        model: Changed in place; its layers keep their names, their weights get ``base_layer`` into theirs.
        layers: Names of linear and convolution layers.
        rank: Columns of B.
        alpha: Strength; B A is multiplied by ``alpha / rank``.
        dropout: Share of the inputs of A that is dropped in training.

    Raises:
        InputError: If a layer cannot hold such matrices.
    """
    import re

    from peft import LoraConfig, inject_adapter_in_model

    pattern = "|".join(re.escape(name) for name in sorted(layers))
    try:
        config = LoraConfig(r=rank, lora_alpha=cast(int, alpha), lora_dropout=dropout, target_modules=pattern)
        inject_adapter_in_model(config, model, adapter_name=ADAPTER)
    except ValueError as error:
        raise InputError(f"LoRA of rank {rank} does not fit these layers ({error}); choose other targets or another rank") from error


def can_hold(layer: nn.Module) -> bool:
    """Whether thin matrices can stand beside a layer, and be merged into it: linear layers, plain convolutions.

    Grouped and dilated convolutions are not among them: peft's matrices see all groups and undilated neighbours.
    """
    if isinstance(layer, nn.Conv2d):
        return layer.groups == 1 and layer.dilation == (1, 1) and layer.padding_mode == "zeros"
    return isinstance(layer, nn.Linear)


def has_lora(model: nn.Module) -> bool:
    """Whether the model has thin matrices beside its layers."""
    return any(True for _ in _lora_layers(model))


def plain_name(name: str) -> str:
    """The name that a weight had before `add_lora`."""
    return name.replace(_BASE, ".")


def merged_state(model: nn.Module, values: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """The state dict of the plain model that computes the same: W + (alpha / rank) B A.

    Args:
        model: With thin matrices; it is left as it is.
        values: Whole tensors by the names of its state dict; the model's own if left out.

    Returns:
        Weights by the names that the model had before `add_lora`.
    """
    values = model.state_dict() if values is None else values
    merged = {plain_name(name): value for name, value in values.items() if ".lora_" not in name}
    for name, layer in _lora_layers(model):
        first, second = (values[f"{name}.{side}.{ADAPTER}.weight"].float() for side in ("lora_A", "lora_B"))
        base = merged[f"{name}.weight"]
        product = (second.flatten(1) @ first.flatten(1)).view(base.shape)
        merged[f"{name}.weight"] = base + (layer.scaling[ADAPTER] * product).to(base)
    return merged


def base_digest(values: Iterable[tuple[str, Tensor]]) -> str:
    """sha256 over names, shapes and float32 values of weights, in the order of their plain names."""
    digest = hashlib.sha256()
    for name, value in sorted((plain_name(name), value) for name, value in dict(values).items()):
        digest.update(f"{name} {tuple(value.shape)}\n".encode())
        kept = value.detach().to("cpu", torch.float32 if value.is_floating_point() else value.dtype).contiguous()
        digest.update(kept.view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def adapter_parts(model: nn.Module, values: Mapping[str, Tensor] | None = None) -> tuple[dict[str, Tensor], dict[str, str], dict[str, Any]]:
    """What ``adapter.safetensors`` and ``adapter.json`` hold.

    Args:
        model: With thin matrices.
        values: Whole tensors by the names of its state dict; the model's own if left out.

    Returns:
        Tensors by name and the metadata of the first, and the content of the second.
    """
    values = model.state_dict() if values is None else values
    infix = f".{ADAPTER}."
    thin = {name.replace(infix, "."): value.detach().cpu().contiguous() for name, value in values.items() if ".lora_" in name}
    given = cast(Any, model).peft_config[ADAPTER].to_dict()
    config = {key: sorted(value) if isinstance(value, set) else value for key, value in given.items()}
    described = {
        "kind": "lora",
        "model": type(model).__name__.removeprefix("FSDP"),
        "base_sha256": base_digest((name, values[name]) for name, _ in model.named_parameters() if ".lora_" not in name),
        "layers": [name for name, _ in _lora_layers(model)],
        "rank": config["r"],
        "alpha": config["lora_alpha"],
        "dropout": config["lora_dropout"],
    }
    return thin, {"format": "pt", _METADATA: json.dumps(config, sort_keys=True, default=str)}, described


def load_adapter(model: nn.Module, folder: Path, check_base: bool = True) -> None:
    """Put a saved adapter onto the network that it was trained on.

    Args:
        model: Changed in place.
        folder: With ``adapter.safetensors`` and ``adapter.json``.
        check_base: Refuse another network than the one that it was trained on; off for a network in lower precision.

    Raises:
        InputError: If a file is missing or damaged, or the network is another.
    """
    try:
        described = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        thin = load_file(folder / WEIGHTS)
        layers, rank, alpha = list(described["layers"]), int(described["rank"]), float(described["alpha"])
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise InputError(f"{folder} holds no readable adapter ({error}); give a folder with {WEIGHTS} and {DESCRIPTION}") from error
    own = dict(model.named_modules())
    strange = [name for name in layers if name not in own or not can_hold(own[name])]
    if strange or (check_base and base_digest(model.named_parameters()) != described.get("base_sha256")):
        said = f"it has no layer {strange[0]}" if strange else "its weights are others"
        raise InputError(f"the adapter {folder} was trained on another network than this one ({said}); give the model that its card names")
    add_lora(model, layers, rank, alpha)
    targets = {name.replace(f".{ADAPTER}.", "."): value for name, value in model.state_dict().items() if ".lora_" in name}
    if {name: value.shape for name, value in targets.items()} != {name: value.shape for name, value in thin.items()}:
        raise InputError(f"the weights in {folder / WEIGHTS} do not fit its {DESCRIPTION}; copy the adapter again")
    for name, target in targets.items():
        target.copy_(thin[name])


def _lora_layers(model: nn.Module) -> Iterator[tuple[str, Any]]:
    for name, module in model.named_modules():
        if hasattr(module, "lora_A") and hasattr(module, "get_base_layer"):
            yield name, module
