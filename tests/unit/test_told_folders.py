"""`earthgen evaluate` on what pictures were told: hints, metadata and classes read back, floors beside them, bad input in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from earthgen.cli import app
from earthgen.gen.conditioning.hints import canny
from earthgen.gen.data.described import COVER
from earthgen.gen.data.described_world import COVER_OF_WORLD
from earthgen.gen.errors import InputError
from earthgen.metrics.control import segmented
from earthgen.metrics.feature_networks import load_features
from earthgen.metrics.picture_folder import PictureFolder
from earthgen.metrics.told_folders import FLOOR, hint_scores, metadata_scores

NETWORK = load_features("zoo:features-small")


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> PictureFolder:
    """Six pictures of dark and bright fields with sharp borders, unlike each other."""
    rng = np.random.default_rng(0)
    for number in range(6):
        coarse = torch.from_numpy((0.85 * (rng.random((1, 1, 6, 7)) > 0.5) + 0.15 * rng.random((1, 3, 6, 7))).astype(np.float32))
        soft = torch.nn.functional.interpolate(coarse, (40, 48), mode="nearest")[0]
        save(tmp_path / "made" / f"{number}.png", (soft.numpy().transpose(1, 2, 0) * 255).astype(np.uint8))
    return PictureFolder(tmp_path / "made")


def read_covers(picture: torch.Tensor) -> np.ndarray:
    groups = {NETWORK.covers.index(name): COVER.index(to) for name, to in COVER_OF_WORLD.items()}
    return segmented(NETWORK.read(picture[None]).cover, (40, 48), groups)[0].numpy().astype(np.uint8)


def test_hints_that_were_read_off_the_pictures_are_kept_wholly_and_the_next_ones_are_not(folder: PictureFolder, tmp_path: Path) -> None:
    for path, picture in zip(folder.paths, folder, strict=True):
        save(tmp_path / "canny" / path.name, (canny(picture[None])[0, 0].numpy() * 255).astype(np.uint8))
        save(tmp_path / "content" / path.name, (picture.numpy().transpose(1, 2, 0) * 255 + 0.5).astype(np.uint8))
        save(tmp_path / "mask" / path.name, read_covers(picture))
    for kind, metric, best in (("canny", "canny F1", 1.0), ("content", "content colour error", 0.0), ("mask", "mask mIoU", 1.0)):
        rows = hint_scores(folder, kind, tmp_path / kind, NETWORK)
        assert rows["generated"][metric].estimate.value == pytest.approx(best, abs=1e-6)
        assert abs(rows[FLOOR][metric].estimate.value - best) > 0.05
        assert rows["generated"][metric].protocol.n_generated == 6


def test_one_class_of_a_mask(folder: PictureFolder, tmp_path: Path) -> None:
    """IoU by hand: half of what is read as the class is asked for and nothing else."""
    read = [read_covers(picture) for picture in folder]
    code = int(np.bincount(np.concatenate(read).ravel())[: len(COVER)].argmax())
    shares = []
    for path, codes in zip(folder.paths, read, strict=True):
        found = codes == code
        asked = found.copy()
        asked[:20] = False
        save(tmp_path / "asked" / path.name, asked.astype(np.uint8) * 255)
        if found.any():
            shares.append(asked.sum() / found.sum())
    rows = hint_scores(folder, COVER[code], tmp_path / "asked", NETWORK)
    assert 0 < np.mean(shares) < 1
    assert rows["generated"][f"{COVER[code]} IoU"].estimate.value == pytest.approx(np.mean(shares))


def test_metadata_that_were_read_off_the_pictures(folder: PictureFolder, tmp_path: Path) -> None:
    lines = []
    for number, (path, picture) in enumerate(zip(folder.paths, folder, strict=True)):
        found = NETWORK.read(picture[None])
        turn = float(torch.atan2(found.month[0, 0], found.month[0, 1])) / (2 * np.pi) * 12 % 12
        lines.append(
            {"file_name": path.name, "gsd": float(2 ** found.log2_gsd[0]), "date": f"2021-{int(turn) + 1:02d}", "pair": number // 2}
        )
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    rows = metadata_scores(folder, tmp_path / "a.jsonl", NETWORK)
    assert rows["generated"]["GSD error, octaves"].estimate.value == pytest.approx(0, abs=1e-5)
    assert rows["generated"]["month error"].estimate.value <= 0.5
    assert rows[FLOOR]["GSD error, octaves"].estimate.value > 1e-3
    assert rows["generated"]["GSD direction"].estimate.value == 1
    for pair in range(3):  # what was asked of one is said of the other
        one, other = lines[2 * pair : 2 * pair + 2]
        one["gsd"], other["gsd"] = other["gsd"], one["gsd"]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert metadata_scores(folder, tmp_path / "a.jsonl", NETWORK)["generated"]["GSD direction"].estimate.value == 0


def test_the_command_without_real_pictures(folder: PictureFolder, tmp_path: Path) -> None:
    for path, picture in zip(folder.paths, folder, strict=True):
        save(tmp_path / "edges" / path.with_suffix(".jpg").name, (canny(picture[None])[0, 0].numpy() * 255).astype(np.uint8))
    (tmp_path / "m.jsonl").write_text("\n".join(json.dumps({"file_name": path.name, "date": "--06"}) for path in folder.paths))
    arguments = ["--generated", folder.folder, "--hint", f"canny={tmp_path / 'edges'}", "--metadata", tmp_path / "m.jsonl"]
    result = CliRunner().invoke(app, ["evaluate", *map(str, arguments), "--json", str(tmp_path / "out.json")], catch_exceptions=False)
    assert result.exit_code == 0
    stored = json.loads((tmp_path / "out.json").read_text())
    assert stored["scores"]["generated"]["canny F1"]["value"] > 0.8  # JPEG moves an edge here and there
    assert set(stored["scores"]) == {"generated", FLOOR}
    assert "GSD error, octaves" not in stored["scores"]["generated"]


def coloured(folder: Path, count: int, seed: int, right: bool = True) -> Path:
    """Reddish and greenish pictures in a sub-folder each; with `right` off the names are exchanged."""
    rng = np.random.default_rng(seed)
    for number, name in enumerate(("desert", "forest")):
        for at in range(count):
            pixels = rng.integers(60, 120, (24, 24, 3))
            pixels[..., number if right else 1 - number] += 90
            save(folder / name / f"{at}.png", pixels.astype(np.uint8))
    return folder


def test_the_classification_accuracy_score(tmp_path: Path) -> None:
    made, wrong = coloured(tmp_path / "made", 12, 0), coloured(tmp_path / "wrong", 12, 1, right=False)
    real, training = coloured(tmp_path / "real", 10, 2), coloured(tmp_path / "training", 14, 3)
    found = {}
    for name, folder in (("made", made), ("wrong", wrong)):
        arguments = ["--generated", folder, "--reference", real, "--training", training, "--cas", "--epochs", 6]
        arguments += ["--features", "zoo:features-small", "--json", tmp_path / "out.json"]
        CliRunner().invoke(app, ["evaluate", *map(str, arguments)], catch_exceptions=False)
        found[name] = json.loads((tmp_path / "out.json").read_text())["scores"]
    assert found["made"]["generated"]["CAS"]["value"] > 0.9
    assert found["wrong"]["generated"]["CAS"]["value"] < 0.1
    assert found["made"]["training pictures"]["CAS"]["value"] > 0.9
    assert "KD" in found["made"]["generated"]


def test_the_rsicd_protocol(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, shape in (("generated", (40, 8)), ("reference", (30, 8)), ("logits", (40, 5)), ("images", (40, 6)), ("texts", (4, 6))):
        np.save(tmp_path / f"{name}.npy", rng.standard_normal(shape))
    np.save(tmp_path / "right.npy", np.arange(30) < 12)
    arguments = ["evaluate", "--rsicd", str(tmp_path), "--networks", "Inception abc;CLIP def", "--json", str(tmp_path / "out.json")]
    assert CliRunner().invoke(app, arguments, catch_exceptions=False).exit_code == 0
    stored = json.loads((tmp_path / "out.json").read_text())
    assert set(stored["scores"]["generated"]) == {"FID", "IS", "CLIP", "Cls-OA"}
    assert stored["scores"]["generated"]["Cls-OA"]["value"] == pytest.approx(0.4)
    assert (stored["protocols"]["FID"]["network"], stored["protocols"]["CLIP"]["network"]) == ("Inception abc", "CLIP def")
    assert "not its numbers" in stored["protocols"]["FID"]["definition"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--generated", "MADE", "--hint", "canny"], "give KIND=FOLDER"),
        (["--generated", "MADE", "--hint", "hed=MADE"], "cannot be read back from pictures; choose from canny, sobel"),
        (["--generated", "MADE", "--hint", "canny=TMP/none"], "there is no hint .*none/0"),
        (["--generated", "MADE", "--hint", "mask=MADE"], "has the code .* codes are 0 to 6"),
        (["--generated", "MADE", "--hint", "water=TMP/small"], "the hint .* has 8 x 8 pixels, the picture 48 x 40"),
        (["--generated", "MADE", "--metadata", "TMP/bad.jsonl"], "line 1 of .* is no object with a file_name"),
        (["--generated", "MADE", "--metadata", "TMP/few.jsonl"], r"has no line for 1.png \(5 missing\)"),
        (["--generated", "MADE", "--cas", "--hint", "content=MADE"], "give their folder with --reference"),
        (["--generated", "MADE", "--reference", "MADE", "--cas"], "lies in no sub-folder"),
        (["--rsicd", "TMP"], "needs the name of the network"),
        (["--rsicd", "TMP", "--networks", "a"], "there is no .*generated.npy"),
        (["--rsicd", "TMP", "--generated", "MADE"], "are two evaluations"),
    ],
)
def test_what_is_wrong_is_said(folder: PictureFolder, tmp_path: Path, arguments: list[str], sentence: str) -> None:
    (tmp_path / "bad.jsonl").write_text("[1]\n")
    (tmp_path / "few.jsonl").write_text('{"file_name": "0.png", "gsd": 10}\n')
    save(tmp_path / "small" / "0.png", np.zeros((8, 8), np.uint8))
    given = [part.replace("MADE", str(folder.folder)).replace("TMP", str(tmp_path)) for part in arguments]
    with pytest.raises(InputError, match=sentence):
        CliRunner().invoke(app, ["evaluate", *given], catch_exceptions=False, standalone_mode=False)
