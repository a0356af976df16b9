"""What a stranger installs: the wheel's files, its only top-level name, light imports, and folders named like ours beside it."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

FOLDERS = ("gen", "pipelines", "train", "metrics", "demos")


def run(*command: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    result = subprocess.run(command, cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return result


def tracked(repository: Path) -> set[str]:
    """What git would put into the wheel: tracked and new files of the package folders."""
    listed = run("git", "ls-files", "-co", "--exclude-standard", *FOLDERS, "src/earthgen", cwd=repository).stdout.split("\n")
    return {name.removeprefix("src/earthgen/") for name in listed if name and (repository / name).is_file()}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built the long way: sdist first, wheel from the sdist."""
    repository = Path(__file__).resolve().parents[2]
    out = tmp_path_factory.mktemp("dist")
    build = "from hatchling.build import build_{0} as b; import sys; print(b(sys.argv[1]))"
    run(sys.executable, "-c", build.format("sdist"), str(out), cwd=repository)
    unpacked = out / "unpacked"
    run(sys.executable, "-m", "tarfile", "-e", str(next(out.glob("*.tar.gz"))), str(unpacked), cwd=out)
    run(sys.executable, "-c", build.format("wheel"), str(out), cwd=next(unpacked.iterdir()))
    return next(out.glob("*.whl"))


def test_the_wheel_holds_every_file_of_the_package(wheel: Path, repository: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {n.removeprefix("earthgen/") for n in archive.namelist() if n.startswith("earthgen/")}
        others = {n.split("/")[0] for n in archive.namelist()} - {"earthgen"}
    assert all(name.endswith(".dist-info") for name in others), "only one top-level name may be installed"
    assert names == tracked(repository)


def test_it_runs_from_a_wheel_beside_folders_of_the_same_names(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    user = tmp_path / "user"
    (user / "metrics").mkdir(parents=True)
    (user / "train.py").write_text("raise SystemExit('the user\\'s train.py was imported')\n")
    (user / "metrics" / "__init__.py").write_text("raise SystemExit('the user\\'s metrics was imported')\n")
    code = "import earthgen, earthgen.train.recipe, earthgen.metrics.fidelity as f; print(f.__file__)"
    printed = run(sys.executable, "-c", code, cwd=user, PYTHONPATH=f"{user}{os.pathsep}{site}").stdout
    assert str(site) in printed


def test_importing_the_package_is_light(tmp_path: Path) -> None:
    code = "import sys, earthgen, earthgen.cli; print(sorted({'torch', 'diffusers', 'gradio', 'rasterio', 'xarray'} & set(sys.modules)))"
    assert run(sys.executable, "-c", code, cwd=tmp_path).stdout.strip() == "[]"


def test_a_plain_import_of_a_folder_says_what_to_do(repository: Path) -> None:
    result = subprocess.run([sys.executable, "-c", "import gen"], cwd=repository, capture_output=True, text=True)
    assert result.returncode != 0
    assert "import earthgen.gen" in result.stderr
