"""Fréchet and kernel distances against torchmetrics', which is given the same features."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from earthgen.gen.models.features import FeatureNet
from earthgen.metrics.distribution import frechet, kernel_distance
from earthgen.metrics.moments import Moments

fid = pytest.importorskip("torchmetrics.image.fid")
kid = pytest.importorskip("torchmetrics.image.kid")


class Pooled(nn.Module):
    """The feature network in the form that torchmetrics calls: pictures to ``[n, D]``, with D in `num_features`."""

    def __init__(self, net: FeatureNet) -> None:
        super().__init__()
        self.net, self.num_features = net, net.width

    def forward(self, pictures: Tensor) -> Tensor:
        return self.net(pictures.float()).features.double()


@pytest.fixture(scope="module")
def extractor() -> Pooled:
    torch.manual_seed(0)
    return Pooled(FeatureNet(widths=[8, 8, 8, 16]).eval())


@pytest.fixture(scope="module")
def sets() -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(0)
    reference = rng.random((60, 3, 32, 32)).astype(np.float32)
    generated = (rng.random((70, 3, 32, 32)) ** 1.4).astype(np.float32)
    return torch.from_numpy(generated), torch.from_numpy(reference)


@torch.no_grad()
def test_frechet_distance(extractor: Pooled, sets: tuple[Tensor, Tensor]) -> None:
    theirs = fid.FrechetInceptionDistance(feature=extractor, normalize=True, input_img_size=(3, 32, 32)).set_dtype(torch.float64)
    theirs.update(sets[1].double(), real=True)
    theirs.update(sets[0].double(), real=False)
    ours = frechet(*(Moments.of(extractor(part)) for part in sets))
    assert ours == pytest.approx(float(theirs.compute()), rel=1e-6)


@torch.no_grad()
def test_kernel_distance(extractor: Pooled, sets: tuple[Tensor, Tensor]) -> None:
    """One subset of all pictures; torchmetrics' default kernel is ours. It takes equal sets."""
    theirs = kid.KernelInceptionDistance(feature=extractor, subsets=1, subset_size=60, normalize=True).set_dtype(torch.float64)
    theirs.update(sets[1].double(), real=True)
    theirs.update(sets[0][:60].double(), real=False)
    ours = kernel_distance(extractor(sets[0][:60]), extractor(sets[1]))
    assert ours == pytest.approx(float(theirs.compute()[0]), rel=1e-6, abs=1e-9)
