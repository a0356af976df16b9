"""Scoring folders of generated pictures: trivial rows, protocols, the command, and what a wrong folder is told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from typer.testing import CliRunner

from earthgen.cli import app
from earthgen.gen.errors import InputError
from earthgen.gen.models.features import FeatureNet
from earthgen.gen.zoo.folder import write_model_folder
from earthgen.metrics.distribution import Estimate
from earthgen.metrics.feature_networks import InceptionFeatures, feature_network, features_of, load_features
from earthgen.metrics.generated import SetProtocol, SetReport, SetScore
from earthgen.metrics.generated_folders import SetOptions, evaluate_folders
from earthgen.metrics.picture_folder import PictureFolder
from earthgen.metrics.trivial_pictures import blurred, colour_noise, fitted, symmetries, trivial_sets


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    net = FeatureNet(classes=["a", "b"], covers=["c"], widths=[8, 8, 8, 8])
    write_model_folder(folder, pipeline="FeatureNetwork", components={"model": net}, settings={}, card={}, half=False)
    return folder


def write_pictures(folder: Path, count: int, seed: int, size: tuple[int, int] = (24, 24), power: float = 1.0) -> Path:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for number in range(count):
        pixels = rng.random((*size, 3)) ** power * 255
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number:03d}.png")
    return folder


def test_a_report_of_two_folders(tmp_path: Path, network: Path) -> None:
    generated = write_pictures(tmp_path / "generated", 24, 0, power=1.1)
    reference = write_pictures(tmp_path / "reference", 30, 1, (30, 40))
    seen: list[tuple[int, int]] = []
    options = SetOptions(generated=generated, reference=reference, features=str(network))
    report = evaluate_folders(options, lambda done, total: seen.append((done, total)))
    assert seen[-1] == (3 * 24 + 30,) * 2
    assert list(report.rows) == ["generated", "blurred", "colour noise"]
    assert set(report.rows["generated"]) == {"FD", "FD, n to infinity", "KD", "precision", "recall", "density", "coverage", "IS"}
    distances = {row: scores["KD"].estimate.value for row, scores in report.rows.items()}
    assert distances["generated"] < distances["blurred"]
    text = report.protocol_text()
    for words in (
        "n = 24 against 30",
        "tiny (24 features, weights",
        "reference cut to 24 x 24",
        "few for 24 features",
        "no training pictures",
    ):
        assert words in text
    report.write(tmp_path / "report.json")
    stored = json.loads((tmp_path / "report.json").read_text())
    assert stored["scores"]["generated"]["FD"]["interval"][0] < stored["scores"]["generated"]["FD"]["value"]
    assert stored["protocols"]["FD"]["reference"] == PictureFolder(reference).digest


def test_the_command(tmp_path: Path, network: Path) -> None:
    generated, reference = write_pictures(tmp_path / "g", 20, 0), write_pictures(tmp_path / "r", 20, 1)
    out = tmp_path / "report.json"
    arguments = ["evaluate", "--generated", str(generated), "--reference", str(reference), "--features", str(network), "--json", str(out)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "KD" in result.output
    assert json.loads(out.read_text())["scores"]["colour noise"]["KD"]["value"] > 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "nothing to evaluate"),
        (["--generated", "GEN"], "give --reference, --hint or --metadata"),
        (["--generated", "GEN", "--pairs", "GEN"], "give one of them"),
        (["--generated", "nowhere", "--reference", "GEN"], "no folder nowhere"),
        (["--generated", "GEN", "--reference", "GEN", "--features", "zoo:none"], "no model 'none'"),
        (["--generated", "GEN", "--reference", "GEN", "--features", "inception:none.pth"], "extra|Inception weights"),
        (["--generated", "GEN", "--reference", "GEN", "--clip", "GEN"], "both a CLIP folder and captions"),
        (["--generated", "GEN", "--reference", "GEN", "--clip", "GEN", "--captions", "GEN/000.png"], "captions .* cannot be read"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, arguments: list[str], sentence: str) -> None:
    generated = write_pictures(tmp_path / "g", 2, 0)
    given = [part.replace("GEN", str(generated)) for part in arguments]
    result = CliRunner().invoke(app, ["evaluate", *given])
    assert result.exit_code != 0
    with pytest.raises(InputError, match=sentence):
        CliRunner().invoke(app, ["evaluate", *given], catch_exceptions=False, standalone_mode=False)


def test_pictures_of_two_sizes_and_broken_ones(tmp_path: Path, network: Path) -> None:
    folder = write_pictures(tmp_path / "g", 3, 0)
    Image.new("RGB", (30, 20)).save(folder / "z.png")
    with pytest.raises(InputError, match="2 sizes"):
        evaluate_folders(SetOptions(generated=folder, reference=folder, features=str(network)))
    (folder / "z.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"z\.png cannot be read"):
        list(PictureFolder(folder))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no picture"):
        PictureFolder(tmp_path / "empty")


def test_two_protocols_do_not_share_a_table() -> None:
    def score(n: int) -> SetScore:
        return SetScore(Estimate(1.0), SetProtocol(metric="FD", definition="d", n_generated=n, n_reference=9))

    SetReport(title="x", rows={"a": {"FD": score(5)}, "b": {"FD": score(5)}})
    with pytest.raises(InputError, match="n_generated is 6 and 5"):
        SetReport(title="x", rows={"a": {"FD": score(5)}, "b": {"FD": score(6)}})
    with pytest.raises(InputError, match="no score"):
        SetReport(title="x", rows={"a": {}})


def test_features_do_not_depend_on_batches(network: Path) -> None:
    ours = load_features(network)
    pictures = [torch.rand(3, 20, 20), torch.rand(3, 20, 20), torch.rand(3, 16, 33), torch.rand(3, 20, 20)]
    together = features_of(pictures, ours, batch=2)
    each = torch.cat([ours(picture[None]) for picture in pictures])
    assert together.dtype == torch.float64
    assert torch.allclose(together, each, atol=1e-6)
    assert ours.name.startswith("tiny (24 features, weights ")
    with pytest.raises(InputError, match="at least one"):
        features_of([], ours)


def test_inception_is_never_fetched(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"earthgen\[fid\]|nothing is downloaded"):
        InceptionFeatures(tmp_path / "weights.pth")
    with pytest.raises(InputError, match="no CLIP folder"):
        feature_network(f"clip:{tmp_path}")


def test_blur_is_a_gaussian() -> None:
    """A point becomes a bell of the right width; the mean stays."""
    point = torch.zeros(1, 65, 65, dtype=torch.float64)
    point[0, 32, 32] = 1
    spread = blurred(point)[0]
    place = torch.arange(65, dtype=torch.float64) - 32
    assert float(spread.sum()) == pytest.approx(1.0)
    assert float((spread.sum(0) * place**2).sum()) == pytest.approx(16.0, rel=0.03)  # cut at three radii
    assert float(spread[32, 36] / spread[32, 32]) == pytest.approx(np.exp(-0.5))
    assert torch.allclose(blurred(torch.full((3, 9, 7), 0.4)), torch.full((3, 9, 7), 0.4))


def test_noise_has_the_pictures_colours() -> None:
    picture = torch.zeros(3, 16, 16)
    picture[0, :, 8:] = 1  # black and red
    noise = colour_noise(picture, 0)
    colours = {tuple(c) for c in noise.flatten(1).T.tolist()}
    assert colours == {(0.0, 0.0, 0.0), (1.0, 0.0, 0.0)}
    assert not torch.equal(noise, colour_noise(picture, 1))
    assert torch.equal(noise, colour_noise(picture, 0))


def test_trivial_sets_are_as_many_as_asked_and_differ() -> None:
    training = [torch.rand(3, 20, 30), torch.rand(3, 12, 12)]
    sets = {name: list(part) for name, part in trivial_sets(lambda: iter(training), 7, (16, 16)).items()}
    for pictures in sets.values():
        assert [tuple(p.shape) for p in pictures] == [(3, 16, 16)] * 7
        assert len({p.numpy().tobytes() for p in pictures}) == 7


def test_fitting_and_symmetries() -> None:
    picture = torch.arange(3 * 5 * 7.0).reshape(3, 5, 7)
    assert torch.equal(fitted(picture, (3, 3)), picture[:, 1:4, 2:5])
    assert fitted(picture, (10, 4)).shape == (3, 10, 4)
    square: Tensor = torch.rand(3, 4, 4)
    assert len({symmetries(square, which).numpy().tobytes() for which in range(8)}) == 8
    assert all(symmetries(picture, which).shape == picture.shape for which in range(8))
