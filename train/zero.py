"""DeepSpeed's ZeRO-1 and ZeRO-2: every process has the whole weights, and a piece of the gradients and of the optimizer's moments.

DeepSpeed lays all trained weights end to end and gives each process one piece of that line: of the gradients (stage 2), and of the fp32
weights and moments that its optimizer works on. A checkpoint holds none of this. It has the moments of each parameter, whole and under the
parameter's number, as one process would write them; so a run can be taken up with or without DeepSpeed, by any number of processes.
"""

from __future__ import annotations

import os
from typing import Any, cast

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import DistributedType, convert_outputs_to_fp32
from accelerate.utils import is_deepspeed_available as _is_installed
from torch import Tensor, nn

from ..gen.errors import InputError
from ..gen.models.fast import pick_device
from .checkpoint import optimizer_tensors, restore_optimizer
from .recipe import Recipe

_RECIPES = ("optimizer", "scheduler", "amp", "torch_autocast", "compile")


def asks_for_deepspeed() -> bool:
    """Whether this process was launched to train with DeepSpeed."""
    return os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() == "true"


def begin_launch(precision: str) -> None:
    """Look at what can be known before the processes meet, and let them meet where there are no GPUs, which Accelerate does not.

    Args:
        precision: The recipe's, ``auto`` resolved.

    Raises:
        InputError: If DeepSpeed is missing, or the precision needs a loss scale.
    """
    if not _is_installed():
        raise InputError("DeepSpeed is missing; pip install 'earthgen[deepspeed]', or launch with ddp.yaml or fsdp2.yaml")
    if precision == "fp16":
        raise InputError(
            "precision=fp16 scales the loss by a state that DeepSpeed keeps to itself; set precision=bf16, or launch with ddp.yaml"
        )
    if pick_device("auto").type == "cpu" and "LOCAL_RANK" in os.environ:
        PartialState(backend="gloo")


def configure_zero(accelerator: Accelerator, recipe: Recipe) -> None:
    """Write the recipe's batch, accumulation and clipping into DeepSpeed's settings; nothing is done in other runs.

    Raises:
        InputError: If the settings cut up the weights, offload, or want what the recipe decides, or the recipe compiles.
    """
    if accelerator.distributed_type != DistributedType.DEEPSPEED:
        return
    settings: dict[str, Any] = accelerator.deepspeed_plugin.deepspeed_config
    zero = settings.get("zero_optimization", {})
    if zero.get("stage") not in (1, 2):
        raise InputError(
            f"ZeRO stage {zero.get('stage')} is not served, only 1 and 2 are, where every process has the whole weights; to cut up weights "
            "too launch with fsdp2.yaml, to cut up nothing with ddp.yaml"
        )
    for part in ("offload_optimizer", "offload_param"):
        device = (zero.get(part) or {}).get("device")
        if device not in (None, "none"):
            raise InputError(f"{part} to {device} trains with an optimizer of DeepSpeed's own; set {part}_device: none")
    wanted = [key for key in _RECIPES if key in settings]
    wanted += [key for key in ("fp16", "bf16") if settings.get(key, {}).get("enabled") not in (None, False, "auto")]
    if wanted:
        raise InputError(f"DeepSpeed's settings have {', '.join(wanted)}, which the recipe decides; leave it out there")
    if recipe.compile:
        raise InputError("compile=true would hide DeepSpeed's engine, which takes the steps; set compile=false, or launch with ddp.yaml")
    settings["train_micro_batch_size_per_gpu"] = recipe.batch
    settings["gradient_accumulation_steps"] = recipe.accumulate
    settings["train_batch_size"] = recipe.batch * recipe.accumulate * accelerator.num_processes
    settings["gradient_clipping"] = recipe.optimizer.clip
    accelerator.gradient_accumulation_steps = recipe.accumulate  # the launcher's file may have said otherwise


def compute_in_bfloat16(model: nn.Module, device: torch.device) -> None:
    """Let a model's forward pass compute in bfloat16 and give float32, with its weights as they are.

    DeepSpeed's own way would leave bfloat16 weights in the model, from which the average would be taken.

    Args:
        model: Changed in place.
        device: Where it will run.
    """
    forward = torch.autocast(device.type, dtype=torch.bfloat16)(model.forward)
    model.forward = convert_outputs_to_fp32(forward)


def make_dense(model: nn.Module) -> None:
    """Give weights kept with channels last the plain order in memory, which DeepSpeed sends them around in."""
    for value in (*model.parameters(), *model.buffers()):
        value.data = value.data.clone(memory_format=torch.contiguous_format)  # `contiguous` would leave kernels of one pixel


def is_zero(optimizer: torch.optim.Optimizer) -> bool:
    """Whether an optimizer (without Accelerate's wrapper) is DeepSpeed's around pieces of the weights."""
    return hasattr(optimizer, "single_partition_of_fp32_groups")


def moments(model: nn.Module, optimizer: torch.optim.Optimizer, keep: bool = True) -> dict[str, Tensor]:
    """An optimizer's state as `optimizer_tensors` names it, whole; under ZeRO all processes must ask for it together.

    Args:
        model: Whose weights it trains.
        optimizer: Without Accelerate's wrapper.
        keep: Whether this process wants it; under ZeRO the others only take part, and get nothing.
    """
    if not is_zero(optimizer):
        return optimizer_tensors(optimizer)
    from deepspeed.utils import safe_get_full_optimizer_state

    state = _state(optimizer)
    tensors: dict[str, Tensor] = {}
    for number, parameter in enumerate(_trained(model) if state else []):
        for name, value in state.items():
            complete = value.clone() if name == "step" else safe_get_full_optimizer_state(parameter, name)
            if keep:
                tensors[f"{number}.{name}"] = complete.detach().cpu()
    return tensors


def restore_moments(model: nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what `moments` gave, in whatever run; the model has its weights already.

    Args:
        model: Whose weights it trains.
        optimizer: Without Accelerate's wrapper.
        tensors: By number and entry.
    """
    if not is_zero(optimizer):
        restore_optimizer(optimizer, tensors)
        return
    from deepspeed.utils import safe_set_full_optimizer_state

    engine = cast(Any, optimizer)
    engine.refresh_fp32_params()  # its piece of the weights is a copy
    entries = {name.partition(".")[2] for name in tensors} - {"step"}
    if not entries:
        return
    state = _state(optimizer)
    for name in entries - state.keys():
        state[name] = torch.zeros_like(engine.single_partition_of_fp32_groups[0])
    steps = max(float(value) for name, value in tensors.items() if name.endswith(".step"))
    state["step"] = torch.tensor(steps, dtype=torch.float32, device=engine.single_partition_of_fp32_groups[0].device)
    engine._lazy_init_hp_params_optimizer_state()  # DeepSpeed links parameters to moments after its first step only
    for number, parameter in enumerate(_trained(model)):
        for name in entries:
            # A parameter that had no gradient has no moments in a run of one process; here they are zero.
            whole = tensors.get(f"{number}.{name}")
            safe_set_full_optimizer_state(parameter, torch.zeros_like(parameter) if whole is None else whole, name)


def _trained(model: nn.Module) -> list[nn.Parameter]:
    """Parameters in the order in which the optimizer was given them."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def _state(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What AdamW keeps of this process's piece; live, and empty before the first step."""
    wrapped = cast(Any, optimizer)
    (piece,) = wrapped.single_partition_of_fp32_groups
    return cast(dict[str, Tensor], wrapped.optimizer.state[piece])
