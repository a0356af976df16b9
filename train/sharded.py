"""Runs whose weights are cut up over the processes: checkpoints that do not show it, and what such runs cannot do.

FSDP2 leaves every process a share of each weight, average and optimizer moment (a ``DTensor``). A checkpoint holds the whole tensors,
gathered to the first process one group after the other, so that it is the same file whatever the number of processes and the way they
share, and a run can be taken up by another number of processes, or by one. Without such sharding nothing here copies anything.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Protocol, TypeVar, cast

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, broadcast_object_list
from torch import Tensor, nn

from ..gen.errors import InputError
from .checkpoint import Snapshot
from .recipe import Recipe

T = TypeVar("T")


class _Share(Protocol):
    """What we use of a ``DTensor``, whose module takes long to import."""

    device_mesh: Any
    placements: Any

    def full_tensor(self) -> Tensor: ...

    def to_local(self) -> Tensor: ...


def is_sharded(model: nn.Module) -> bool:
    """Whether this process holds only shares of the model's weights."""
    # Not parameters(): those are whole for a while after a forward pass without gradients.
    return any(_is_share(value) for value in model.state_dict().values())


def whole(value: Tensor) -> Tensor:
    """The whole of a tensor that is cut up; all processes must ask for it together. Other tensors are given back as they are."""
    return cast(_Share, value).full_tensor() if _is_share(value) else value


def whole_state(model: nn.Module, keep: bool = True) -> dict[str, Tensor]:
    """A model's state dict with whole tensors; all processes must ask for it together.

    Args:
        model: The model.
        keep: Whether this process wants it; else it only takes part, and gets nothing.
    """
    return _gathered(model.state_dict(), keep)


def gather(snapshot: Snapshot, keep: bool) -> Snapshot:
    """A snapshot with whole tensors; all processes must ask for it together.

    Args:
        snapshot: The state as this process has it.
        keep: Whether this process wants it; the others only take part, and get a snapshot without those tensors.
    """
    if not any(_is_share(value) for group in snapshot.tensors.values() for value in group.values()):
        return snapshot
    tensors = {group: _gathered(values, keep) for group, values in snapshot.tensors.items()}
    return Snapshot(snapshot.samples, tensors, snapshot.meta)


def scatter(snapshot: Snapshot, model: nn.Module, optimizer: torch.optim.Optimizer) -> Snapshot:
    """The opposite: this process's shares of a snapshot that holds whole tensors.

    Args:
        snapshot: As read from a checkpoint.
        model: Tells how weights, and averages of the same names, are cut up.
        optimizer: Tells which weight a moment belongs to.

    Returns:
        A snapshot with the same names.
    """
    if not is_sharded(model):
        return snapshot
    named = model.state_dict()
    numbered = {str(number): value for number, value in enumerate(v for group in optimizer.param_groups for v in group["params"])}
    tensors: dict[str, dict[str, Tensor]] = {}
    for group, values in snapshot.tensors.items():
        like = {name: numbered[name.partition(".")[0]] for name in values} if group == "optimizer" else named
        tensors[group] = {name: _share(value, like[name]) for name, value in values.items()}
    return Snapshot(snapshot.samples, tensors, snapshot.meta)


def same_everywhere(value: T, model: nn.Module) -> T:
    """The first process's value on all of them, where each has a share of the model and they must go the same way."""
    if not is_sharded(model):
        return value
    listed = [value]
    broadcast_object_list(listed, 0)
    return listed[0]


def refuse_unsupported(accelerator: Accelerator, recipe: Recipe) -> None:
    """Stop a run at its start that would go wrong later, or be something else than what was asked for.

    Raises:
        InputError: For FSDP on CPUs and its first version, Megatron, and averages that are stored by one process alone.
    """
    kind = accelerator.distributed_type
    if os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true" and kind != DistributedType.FSDP:
        raise InputError(f"FSDP is for several GPUs, and these processes compute on {accelerator.device.type}; launch with ddp.yaml")
    if kind == DistributedType.FSDP and not accelerator.is_fsdp2:
        raise InputError(
            "the first version of FSDP flattens weights, which our checkpoints cannot hold; set fsdp_version: 2 as fsdp2.yaml has"
        )
    if kind == DistributedType.MEGATRON_LM:
        raise InputError(
            f"{kind.value} takes its own optimizer steps and keeps its own weights, which our checks and checkpoints do not reach; "
            "launch with ddp.yaml, or with fsdp2.yaml, which saves the same memory"
        )
    if kind == DistributedType.FSDP and recipe.ema_profiles:
        raise InputError("ema_profiles are stored by one process, which has only a share of the weights here; set ema_profiles=[]")


def _gathered(values: Mapping[str, Tensor], keep: bool) -> dict[str, Tensor]:
    kept: dict[str, Tensor] = {}
    for name, value in values.items():
        if not _is_share(value):
            kept[name] = value
            continue
        complete = whole(value)
        if keep:
            kept[name] = complete.detach().cpu()
    return kept


def _share(value: Tensor, like: Tensor) -> Tensor:
    """This process's share of a whole tensor, cut up as `like` is; what has another shape (a step count) is shared by nobody."""
    if not _is_share(like) or value.shape != like.shape:
        return value
    from torch.distributed.tensor import DTensor, distribute_tensor

    mesh = cast(_Share, like).device_mesh
    placed = distribute_tensor(value.to(mesh.device_type), mesh, cast(_Share, like).placements)
    local = placed.to_local().to(cast(_Share, like).to_local().device)
    return DTensor.from_local(local, mesh, cast(_Share, like).placements, shape=placed.shape, stride=placed.stride(), run_check=False)


def _is_share(value: Tensor) -> bool:
    return hasattr(value, "full_tensor")
