"""The parts of a super-resolution model: read from a folder, and held against each other."""

from __future__ import annotations

from pathlib import Path

import torch

from ..gen.errors import InputError
from ..gen.models.eanet import EANet
from ..gen.schedulers.mean_reverting import MeanRevertingScheduler
from ..gen.zoo.folder import load_weights, read_config


def load_network(folder: Path) -> EANet:
    """The network of a model folder, in float32.

    Args:
        folder: The component's folder, with its config and weights.

    Raises:
        InputError: If a file is missing or damaged, or config and weights do not fit.
    """
    config = read_config(folder / EANet.config_name)
    with torch.device("meta"):  # shapes alone: a bad config is found before memory is taken for it
        weights = load_weights(folder, EANet.from_config(config))
    model = EANet.from_config(config)
    model.load_state_dict(weights)
    return model


def check_parts(model: EANet, scheduler: MeanRevertingScheduler, bands: list[str], scale: int, steps: int) -> None:
    """Refuse a network, a scheduler and settings that do not fit together."""
    if not isinstance(steps, int) or steps < 1:
        raise InputError(f"the model's own number of steps is {steps!r}; it is a whole number of at least 1, such as 20")
    if len(bands) != model.config["bands"] or len(set(bands)) != len(bands):
        raise InputError(f"the model takes {model.config['bands']} bands, and the names are {', '.join(bands)}; name each band once")
    if model.config["variant"] == "cpem_lr" and model.config["scale"] != scale:
        raise InputError(f"the pipeline's scale is {scale}, the network's {model.config['scale']}; take the same for both")
    if model.config["prediction"] != scheduler.config["prediction_type"]:
        raise InputError(
            f"the network predicts {model.config['prediction']}, the scheduler takes {scheduler.config['prediction_type']}; "
            "take the same for both"
        )
