"""Networks that turn pictures into features for distribution distances, each with the name and digest that a report must carry.

Nothing is ever downloaded. `zoo:features-small` comes with the package; Inception is taken where torch-fidelity is installed and its
weights already lie on this machine; CLIP is any folder of a transformers model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ..gen.errors import InputError
from ..gen.models.features import FeatureNet, Features
from ..gen.zoo.folder import load_weights, model_digest, read_config, read_index
from ..gen.zoo.names import resolve_model

PIPELINE = "FeatureNetwork"
INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"
DEFAULT = "zoo:features-small"


class FeatureNetwork(Protocol):
    """What distances are measured with.

    Attributes:
        name: With the digest of the weights.
        resize: How a picture comes to the network's size, in words.
    """

    name: str
    resize: str

    def __call__(self, pictures: Tensor) -> Tensor:
        """``[B, 3, H, W]`` display values 0 to 1 to ``[B, D]``."""
        ...


@dataclass
class OurFeatures:
    """The offline network of the zoo, or one trained by the same recipe."""

    net: FeatureNet
    name: str
    resize: str = "none (means and spreads over the picture at its own size)"

    @torch.no_grad()
    def __call__(self, pictures: Tensor) -> Tensor:
        """``[B, D]`` float64."""
        return self.read(pictures).features.double()

    @torch.no_grad()
    def read(self, pictures: Tensor) -> Features:
        """Everything that the network says."""
        found: Features = self.net(pictures.to(self.net.device))
        return found

    @property
    def classes(self) -> list[str]:
        """Names of the scene classes."""
        return list(self.net.config["classes"])

    @property
    def covers(self) -> list[str]:
        """Names of the land-cover classes."""
        return list(self.net.config["covers"])


class InceptionFeatures:
    """Inception-v3 with the weights of the first FID code, through torch-fidelity: 2048 features."""

    resize = "bilinear as in TensorFlow 1 to 299 x 299, uint8"

    def __init__(self, weights: Path) -> None:
        """Read the weights.

        Args:
            weights: torch-fidelity's file.

        Raises:
            InputError: If torch-fidelity is not installed or the file is missing.
        """
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
        except ImportError as error:
            raise InputError("Inception features need torch-fidelity; install the extra: pip install 'earthgen[fid]'") from error
        if not weights.is_file():
            raise InputError(f"there are no Inception weights at {weights}; put {INCEPTION_FILE} there, nothing is downloaded")
        with weights.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()[:12]
        self.net = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=str(weights))
        self.name = f"Inception-v3 2015-12-05 pool 2048, weights {digest}"

    @torch.no_grad()
    def __call__(self, pictures: Tensor) -> Tensor:
        """``[B, 2048]`` float64."""
        return self.net((pictures * 255 + 0.5).floor().clamp(0, 255).to(torch.uint8))[0].double()


class ClipFeatures:
    """Image embeddings of a CLIP folder, not normalised."""

    def __init__(self, folder: Path) -> None:
        """Read the model; see `clip_score.ClipModel`."""
        from .clip_score import ClipModel

        self.clip = ClipModel(folder)
        self.name, self.resize = f"CLIP image features, {self.clip.name}", self.clip.resize

    def __call__(self, pictures: Tensor) -> Tensor:
        """``[B, D]`` float64."""
        return self.clip.embed_images(list(pictures)).double()


def load_features(name: str | Path, device: str = "cpu") -> OurFeatures:
    """Our feature network from the zoo or a folder.

    Args:
        name: ``zoo:features-small``, or a folder that its recipe wrote.
        device: Where it runs.

    Raises:
        InputError: If there is no such model, or it is another pipeline's.
    """
    folder = resolve_model(name)
    read_index(folder, PIPELINE)
    config = {key: value for key, value in read_config(folder / "model" / "config.json").items() if not key.startswith("_")}
    try:
        net = FeatureNet(**config)
    except TypeError as error:
        raise InputError(f"the config of {folder} does not describe a feature network ({error}); copy the model again") from error
    net.load_state_dict(load_weights(folder / "model", net))
    label = str(name) if str(name).startswith("zoo:") else folder.name
    return OurFeatures(net.eval().to(device), f"{label} ({net.width} features, weights {model_digest(folder)})")


def feature_network(name: str, device: str = "cpu") -> FeatureNetwork:
    """A network by name.

    Args:
        name: ``auto`` (Inception where its weights lie on this machine, else the zoo's), ``inception``, ``inception:FILE``,
            ``clip:FOLDER``, or a model name as for `load_features`.
        device: Where ours runs.

    Raises:
        InputError: If it is not to be had.
    """
    if name == "auto":
        return InceptionFeatures(inception_weights()) if _has_inception() else load_features(DEFAULT, device)
    if name == "inception" or name.startswith("inception:"):
        given = name.partition(":")[2]
        return InceptionFeatures(Path(given) if given else inception_weights())
    if name.startswith("clip:"):
        return ClipFeatures(Path(name.partition(":")[2]))
    return load_features(name, device)


def inception_weights() -> Path:
    """Where torch-fidelity keeps its weights once somebody has fetched them."""
    return Path(torch.hub.get_dir()) / "checkpoints" / INCEPTION_FILE


def features_of(pictures: Iterable[Tensor], network: FeatureNetwork, batch: int = 32) -> Tensor:
    """Features of pictures of any sizes, in their order.

    Args:
        pictures: ``[3, H, W]`` each.
        network: What reads them.
        batch: Pictures of one size that are read together.

    Returns:
        ``[n, D]`` float64 on the CPU.

    Raises:
        InputError: If there is no picture.
    """
    rows: list[Tensor] = []
    waiting: list[Tensor] = []
    for picture in pictures:
        if waiting and (picture.shape != waiting[0].shape or len(waiting) == batch):
            rows.append(network(torch.stack(waiting)).cpu())
            waiting = []
        waiting.append(picture)
    if not waiting:
        raise InputError("there are no pictures to take features of; give at least one")
    rows.append(network(torch.stack(waiting)).cpu())
    return torch.cat(rows)


def resized(pictures: Tensor, size: int) -> Tensor:
    """``[B, 3, H, W]`` to a square of `size`: bilinear with antialiasing, half-pixel centres."""
    return F.interpolate(pictures, size=(size, size), mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)


def _has_inception() -> bool:
    from importlib.util import find_spec

    return find_spec("torch_fidelity") is not None and inception_weights().is_file()
