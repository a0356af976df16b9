"""EDiffSR's published weights (Xiao et al. 2024) as our network and scheduler.

One name covers several networks, told apart by their keys. ``encoders.0.0.conv2`` with ``enhance.rcab`` is the code since 2024-05
(``rcab``). ``conv2_3``, ``conv2_5``, ``conv2_7`` with ``enhance.residual_group`` is the code before: five residual blocks in the group in
2024-01 (``msgroup_a``), six in 2024-04 (``msgroup_b``). These two add the group with opposite signs, so a group of any other length fits
both and the variant must be named. Sizes are read from the shapes.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from ..models.eanet import GROUP_BLOCKS, EANet
from ..schedulers.mean_reverting import MeanRevertingScheduler
from .weight_files import read_state_dict

VARIANTS = ("rcab", "msgroup_a", "msgroup_b")
SAMPLERS = ("dpmpp_2m", "em", "posterior", "ode")
RGB = ("red", "green", "blue")
# Transfer at the coarse grid's Nyquist frequency of the stretched bicubic kernel that made the published training pairs: the Fourier
# transform of Keys' kernel (a = -1/2) at half a cycle per pixel.
BICUBIC_MTF = 0.493
_LISTED = 4


@dataclass(frozen=True)
class Converted:
    """What a model folder is written from.

    Attributes:
        model: The network with the published weights, float32.
        scheduler: The published diffusion.
        settings: Further arguments of `SuperResolutionPipeline`.
        card: Contents of ``card.toml``.
    """

    model: EANet
    scheduler: MeanRevertingScheduler
    settings: dict[str, Any]
    card: dict[str, Any]


def convert_ediffsr(
    path: Path,
    *,
    variant: str | None = None,
    bands: Sequence[str] = (),
    unit: str = "display",
    scale: int = 4,
    sampler: str = "dpmpp_2m",
) -> Converted:
    """Read published weights.

    Args:
        path: ``.pth`` or safetensors: a state dict, or the wrapper with the averaged weights.
        variant: ``rcab``, ``msgroup_a`` or ``msgroup_b``; told by the keys if left out.
        bands: Names of the bands in the order of the weights; red, green and blue if left out and there are three.
        unit: Unit of the pictures that the weights were trained on.
        scale: Upscaling that they were trained for; the network itself does not know it.
        sampler: ``dpmpp_2m``, ``posterior``, ``ode``, or ``em`` with noise on its last step, as published.

    Returns:
        The parts of a model folder.

    Raises:
        InputError: If the file cannot be read, fits no version or several, or misses or exceeds what its version has.
    """
    if sampler not in SAMPLERS:
        raise InputError(f"the sampler {sampler!r} is unknown; it is one of {', '.join(SAMPLERS)}; choose one of them")
    state = read_state_dict(path)
    config = read_config(state, variant, path)
    names = _band_names(bands, config["bands"], path)
    with torch.device("meta"):
        _check_keys(state, EANet(**config).state_dict(), config["variant"], path)
    model = EANet(**config)
    model.load_state_dict(state)
    scheduler = MeanRevertingScheduler(sampler=sampler, final_noise=sampler == "em")
    settings = {"bands": list(names), "unit": unit, "scale": scale, "mtf": BICUBIC_MTF}
    return Converted(model.eval(), scheduler, settings, _card(path, model, settings))


def read_config(state: Mapping[str, Tensor], variant: str | None, path: Path) -> dict[str, Any]:
    """The network's config from keys and shapes.

    Args:
        state: Published weights.
        variant: The user's choice, or None.
        path: For error messages.

    Returns:
        Arguments of `EANet`.

    Raises:
        InputError: If the weights are no EDiffSR, or fit several versions and none was chosen.
    """
    missing = [key for key in ("intro.weight", "ending.weight", "time_mlp.1.weight") if key not in state]
    if missing or any(state[key].ndim != 4 for key in ("intro.weight", "ending.weight")):
        raise InputError(f"{path} is no EDiffSR network: it has no {', '.join(missing) or 'convolution as intro'}; give its _G.pth file")
    width, inputs = state["intro.weight"].shape[:2]
    bands = state["ending.weight"].shape[0]
    if inputs != 2 * bands:
        raise InputError(f"{path} takes {inputs} channels and returns {bands}; EDiffSR takes twice what it returns; give its weights")
    levels = _count(state, r"encoders\.(\d+)\.")
    blocks = [[_count(state, rf"{part}\.{level}\.(\d+)\.") for level in range(levels)] for part in ("encoders", "decoders")]
    group = _count(state, r"enhance\.residual_group\.(\d+)\.")
    chosen = _variant(state, variant, group, path)
    return {
        "bands": bands,
        "width": width,
        "enc_blocks": tuple(blocks[0]),
        "mid_blocks": _count(state, r"middle_blks\.(\d+)\."),
        "dec_blocks": tuple(blocks[1]),
        "variant": chosen,
        "pool": "global",
        "group_blocks": group if group and group != GROUP_BLOCKS.get(chosen) else None,
    }


def _variant(state: Collection[str], asked: str | None, group: int, path: Path) -> str:
    if asked is not None and asked not in VARIANTS:
        raise InputError(f"the variant {asked!r} is unknown; it is one of {', '.join(VARIANTS)}; choose one of them or leave it out")
    multi_scale = any(re.search(r"\.conv2_[357]\.", key) for key in state)
    plain = any(re.search(r"\.conv2\.weight$", key) for key in state)
    if plain and not multi_scale and any(key.startswith("enhance.rcab.") for key in state):
        fitting = ["rcab"]
    elif multi_scale and not plain and group:
        fitting = [name for name, count in GROUP_BLOCKS.items() if count == group] or list(GROUP_BLOCKS)
    else:
        raise InputError(f"the keys in {path} fit no version of EDiffSR ({', '.join(VARIANTS)}); give the weights of one of them")
    if asked in ("msgroup_a", "msgroup_b") and multi_scale:
        return asked  # the keys are the same for both; who trained them knows better
    if asked is not None and asked not in fitting:
        raise InputError(f"the keys in {path} are those of {' or '.join(fitting)}, not of {asked}; leave the variant out")
    if len(fitting) > 1:
        raise InputError(
            f"the keys in {path} fit {' and '.join(fitting)}, which compute differently (its group has {group} blocks, the "
            f"published ones 5 and 6); say which with --variant"
        )
    return fitting[0]


def _check_keys(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], variant: str, path: Path) -> None:
    faults = [
        f"{len(keys)} {word} ({_some(keys)})"
        for word, keys in (("missing", sorted(wanted.keys() - state.keys())), ("unexpected", sorted(state.keys() - wanted.keys())))
        if keys
    ]
    shared = sorted(wanted.keys() & state.keys())
    shapes = [
        f"{key} is {tuple(state[key].shape)} instead of {tuple(wanted[key].shape)}"
        for key in shared
        if state[key].shape != wanted[key].shape
    ]
    if shapes:
        faults.append(_some(shapes))
    if not faults:
        faults = [f"{key} is not finite" for key in shared if not bool(torch.isfinite(state[key]).all())][:1]
    if faults:
        raise InputError(f"the weights in {path} do not fit the version {variant}: {', '.join(faults)}; give complete published weights")


def _band_names(bands: Sequence[str], count: int, path: Path) -> tuple[str, ...]:
    names = tuple(bands) or (RGB if count == len(RGB) else ())
    if len(names) != count or len(set(names)) != count:
        got = f"the names are {', '.join(names)}" if names else "none is named"
        raise InputError(f"the weights in {path} have {count} bands and {got}; name each band once with --bands, in their order")
    return names


def _card(path: Path, model: EANet, settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": f"ediffsr-{model.config['variant']}",
        "task": f"super-resolution x{settings['scale']} of {', '.join(settings['bands'])} ({settings['unit']})",
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "licence": "unknown: the published repository names none",
        "source": f"EDiffSR (Xiao et al., TGRS 2024, doi 10.1109/TGRS.2023.3341437), converted from {path.name}",
        "notes": "Trained by its authors on bicubic x4 pairs of 8-bit aerial pictures. Pooling is global: the tile's size changes results.",
    }


def _count(state: Collection[str], pattern: str) -> int:
    """How many different numbers the pattern finds at the start of keys; a gap between them shows as a missing key later."""
    return len({match[1] for key in state if (match := re.match(pattern, key))})


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
