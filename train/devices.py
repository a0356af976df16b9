"""Where and in which precision a run computes."""

from __future__ import annotations

import importlib.util

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from accelerate.utils import DistributedType
from torch import nn

from ..gen.errors import InputError
from ..gen.models.attention import use_attention
from .recipe import Optimizer, Recipe
from .sharded import refuse_unsupported
from .zero import asks_for_deepspeed, begin_launch, compute_in_bfloat16, configure_zero, make_dense


def make_accelerator(recipe: Recipe) -> Accelerator:
    """Accelerate's view of this process: its device, its rank, and the recipe's precision.

    Raises:
        InputError: If the device cannot do the precision, a tracker is missing, or the launcher asks for what is not served.
    """
    missing = [name for name in recipe.trackers if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"the tracker {missing[0]} is missing; pip install 'earthgen[watch]', or leave it out of trackers")
    precision = _precision(recipe)
    if asks_for_deepspeed():
        begin_launch(precision)
    try:
        accelerator = Accelerator(
            mixed_precision="no" if asks_for_deepspeed() else precision,  # `prepare` sees to it there
            gradient_accumulation_steps=recipe.accumulate,
            log_with=list(recipe.trackers) or None,
            project_dir=str(recipe.output / recipe.name) if recipe.trackers else None,
        )
    except ValueError as error:
        raise InputError(f"precision={precision} cannot be had here ({error}); choose precision=no") from error
    refuse_unsupported(accelerator, recipe)
    configure_zero(accelerator, recipe)
    return accelerator


def prepare(
    accelerator: Accelerator, recipe: Recipe, model: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[nn.Module, AcceleratedOptimizer]:
    """The model and its optimizer as the processes use them: moved, wrapped or cut up, computing in the recipe's precision."""
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        make_dense(model)
        if _precision(recipe) == "bf16":
            compute_in_bfloat16(model, accelerator.device)
    network, prepared = accelerator.prepare(model, optimizer)
    return network, prepared


def apply_switches(model: nn.Module, recipe: Recipe, device: torch.device | None = None) -> None:
    """Turn on what the recipe wants of the model itself.

    Args:
        model: Changed in place.
        recipe: With ``gradient_checkpointing`` and ``attention``.
        device: Where the model will run; where it is if left out.

    Raises:
        InputError: If the model has no gradient checkpointing or no attention, or the kernels cannot be had.
    """
    use_attention(model, recipe.attention, device)
    if not recipe.gradient_checkpointing:
        return
    enable = getattr(model, "enable_gradient_checkpointing", None)
    if not callable(enable):
        raise InputError(f"a {type(model).__name__} has no gradient checkpointing; set gradient_checkpointing=false")
    enable()


def compiled(network: nn.Module, recipe: Recipe) -> nn.Module:
    """The prepared network, through torch.compile where the recipe says so; it shares the weights."""
    if not recipe.compile:
        return network
    made = torch.compile(network, dynamic=False)
    assert isinstance(made, nn.Module)
    return made


def make_optimizer(model: nn.Module, spec: Optimizer, device: torch.device) -> torch.optim.Optimizer:
    """AdamW over the trainable weights, in one fused kernel where PyTorch has one."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.optim.AdamW(trainable, lr=spec.lr, betas=spec.betas, weight_decay=spec.weight_decay, fused=device.type in ("cpu", "cuda"))


def _precision(recipe: Recipe) -> str:
    return _fastest() if recipe.precision == "auto" else recipe.precision


def _fastest() -> str:
    from ..gen.models.fast import pick_device, pick_dtype

    return "bf16" if pick_dtype("auto", pick_device("auto")) is torch.bfloat16 else "no"
