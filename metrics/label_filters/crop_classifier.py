"""Whether a crop looks like its class: a small network trained on crops of real pictures, with a class for ground that holds nothing.

AeroGen keeps a picture by the least confidence over its objects, ODGEN drops objects that look like background; here both are one score.
The network is `FeatureNet`'s trunk, trained as for the classification accuracy score (`metrics.classification`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...gen.annotations.box import Layout
from ...gen.errors import InputError
from ...gen.models.features import FeatureNet
from ...gen.zoo.folder import load_weights, read_config, read_index, write_model_folder
from ..classification import Training, train_classifier
from .crops import SIZE, LabelledCrops, cut, object_crops
from .scores import Scores, check_picture

PIPELINE = "CropClassifier"
BACKGROUND = "background"
_BATCH = 256


@dataclass
class CropClassifier:
    """The probability of each object's own class, given its crop.

    Attributes:
        net: Its classes are the names and then the background.
        name: Of the filter.
    """

    net: FeatureNet
    name: str = "classifier"

    @property
    def classes(self) -> list[str]:
        """Class names, without the background."""
        return [str(name) for name in self.net.config["classes"]][:-1]

    @property
    def words(self) -> str:
        """What the figure is."""
        return f"probability of the own class among {', '.join(self.classes)} and background; upright crops of {SIZE} px"

    @classmethod
    def fit(
        cls,
        pairs: Sequence[tuple[Tensor, Layout]],
        names: Sequence[str],
        training: Training | None = None,
        least: int = 1024,
    ) -> Self:
        """Train on real pictures.

        Args:
            pairs: Pictures ``[3, H, W]``, 0 to 1, and layouts.
            names: Classes.
            training: How; its seed also places the background crops.
            least: Crops of an epoch at least: few are drawn again, in other light. Each class has the same number.

        Raises:
            InputError: If a class has no object, or there is no room for background.
        """
        how = training or Training(epochs=20, widths=(16, 32, 48, 64))
        rng = np.random.default_rng([how.seed, 7])
        crops = _balanced(object_crops(pairs, names, rng), [*names, BACKGROUND], least, rng)
        net = train_classifier(crops.pixels, crops.labels, len(names) + 1, how)
        net.register_to_config(classes=[*names, BACKGROUND])
        return cls(net)

    @torch.no_grad()
    def probabilities(self, crops: Tensor) -> Tensor:
        """``[n, K + 1]`` of crops ``[n, 3, SIZE, SIZE]``; the last column is the background."""
        parts = [self.net(part.to(self.net.device)).classes.softmax(1).cpu() for part in crops.split(_BATCH)]
        return torch.cat([torch.zeros(0, len(self.classes) + 1), *parts])

    def __call__(self, picture: Tensor, layout: Layout) -> Scores:
        """Probability of the own class; 0 for a class that the network does not know."""
        check_picture(picture, layout)
        found = self.probabilities(cut(picture, layout.boxes)).double().numpy()
        own = [found[row, self.classes.index(name)] if name in self.classes else 0.0 for row, name in enumerate(layout.names)]
        return Scores.least(self.name, np.array(own, np.float64))

    def save(self, folder: str | Path) -> None:
        """Write a model folder, whole or not at all."""
        write_model_folder(Path(folder), pipeline=PIPELINE, components={"model": self.net}, settings={}, card={}, half=False)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read what `save` wrote.

        Raises:
            InputError: If it is no such folder.
        """
        folder = Path(folder)
        read_index(folder, PIPELINE)
        config = {key: value for key, value in read_config(folder / "model" / "config.json").items() if not key.startswith("_")}
        try:
            net = FeatureNet(**config)
        except TypeError as error:
            raise InputError(f"the config of {folder} does not describe a crop classifier ({error}); train it again") from error
        net.load_state_dict(load_weights(folder / "model", net))
        return cls(net.eval())


def _balanced(crops: LabelledCrops, names: Sequence[str], least: int, rng: np.random.Generator) -> LabelledCrops:
    """As many crops of each class, the rarer ones drawn again; brightness, contrast and tint vary; some background is noise."""
    counts = np.bincount(crops.labels.numpy(), minlength=len(names))
    if not counts.all():
        raise InputError(f"there are no crops of {names[int(np.argmin(counts))]}; give pictures that show it")
    each = max(int(counts.max()), -(-least // len(names)))
    chosen = [np.resize(rng.permutation(np.flatnonzero(crops.labels.numpy() == kind)), each) for kind in range(len(names))]
    rows = torch.from_numpy(np.concatenate(chosen))
    shape = (len(rows), 1, 1, 1)
    gain = torch.from_numpy(rng.uniform(0.75, 1.3, shape).astype(np.float32))
    tint = torch.from_numpy(rng.uniform(0.93, 1.07, (len(rows), 3, 1, 1)).astype(np.float32))
    pixels = _with_failures(crops.pixels[rows], torch.arange(len(rows)) >= each * (len(names) - 1), rng)
    middle = pixels.mean((1, 2, 3), keepdim=True)
    contrast = torch.from_numpy(rng.uniform(0.8, 1.25, shape).astype(np.float32))
    return LabelledCrops((((pixels - middle) * contrast + middle) * gain * tint).clamp(0, 1), crops.labels[rows])


def _with_failures(pixels: Tensor, background: Tensor, rng: np.random.Generator) -> Tensor:
    """Crops of which every third of the background is what a generator paints when it fails, in the colours of any crop.

    Pixels in random order, alone or in grains of 2 to 8 pixels, since a crop may be magnified; and no more than a blur.
    """
    made = pixels.clone()
    for row in np.flatnonzero(background.numpy())[::3]:
        source = pixels[int(rng.integers(len(pixels)))]
        grain = int(rng.choice([1, 2, 4, 8]))
        small = F.avg_pool2d(source, grain)
        if rng.random() < 0.75:
            order = torch.from_numpy(rng.permutation(small[0].numel()))
            small = small.flatten(1)[:, order].view_as(small)
        else:
            small = F.adaptive_avg_pool2d(source, 3)
        middle = small.mean((1, 2), keepdim=True)
        small = middle + float(rng.uniform(0.1, 1.0)) * (small - middle)  # as when a large crop was averaged down
        how = "bilinear" if rng.random() < 0.5 else "nearest"
        made[row] = F.interpolate(small[None], size=source.shape[1:], mode=how)[0]
    return made
