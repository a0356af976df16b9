"""The house rules of DESIGN.md that a machine can hold: directions, sizes, docstrings, no pickle, no network, no hosts."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("gen", "pipelines", "train", "metrics", "demos")
MODULES = sorted(p for folder in (*FOLDERS, "src/earthgen/cli") for p in (ROOT / folder).rglob("*.py"))
MODULES += sorted((ROOT / "src/earthgen").glob("*.py"))

# What each place may import of ours; anything not listed is refused. "gen" stands for every sub-folder of gen.
ALLOWED = {
    "gen": set(),
    "gen/data": {"gen"},
    "gen/annotations": {"gen", "gen/data"},
    "gen/conditioning": {"gen", "gen/data", "gen/annotations"},
    "gen/models": {"gen", "gen/conditioning"},
    "gen/schedulers": set(),
    "gen/convert": {"gen", "gen/models", "gen/schedulers", "gen/data", "gen/conditioning"},
    "gen/zoo": {"gen", "gen/data"},
    "metrics": {"gen", "gen/data", "gen/models", "gen/annotations", "gen/conditioning", "gen/schedulers", "gen/zoo"},
    "pipelines": {"gen", "gen/data", "gen/models", "gen/schedulers", "gen/conditioning", "gen/annotations", "gen/zoo"},
    "train": {"gen", "gen/data", "gen/models", "gen/schedulers", "gen/conditioning", "gen/annotations", "gen/zoo", "metrics"},
    "demos": {"gen", "gen/data", "gen/models", "gen/schedulers", "gen/conditioning", "gen/annotations", "gen/zoo", "metrics", "pipelines"},
}
MAX_LINES, MAX_FUNCTION = 300, 60


def name_of(path: Path) -> tuple[str, ...]:
    relative = path.relative_to(ROOT / "src" / "earthgen" if path.is_relative_to(ROOT / "src") else ROOT)
    return relative.with_suffix("").parts


def place_of(parts: tuple[str, ...]) -> str:
    if parts[0] == "gen" and len(parts) > 2:
        return f"gen/{parts[1]}"
    return parts[0]


def imports_of(path: Path) -> Iterator[tuple[str, ...]]:
    """The modules of ours that `path` names in any import statement, as parts below `earthgen`."""
    parts = name_of(path)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            package = parts if path.name == "__init__.py" else parts[: len(parts)]
            base = package[: len(package) - node.level]
            target = base + tuple((node.module or "").split(".")) if node.module else base
            for alias in node.names:
                yield (*target, alias.name)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "earthgen":
            yield (*(node.module or "").split(".")[1:], node.names[0].name)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "earthgen":
                    yield tuple(alias.name.split(".")[1:])


def target_place(parts: tuple[str, ...]) -> str:
    if parts and parts[0] == "gen" and len(parts) > 1 and (ROOT / "gen" / parts[1]).is_dir():
        return f"gen/{parts[1]}"
    return parts[0] if parts else ""


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_follow_the_design(path: Path) -> None:
    place = place_of(name_of(path))
    if place not in ALLOWED:
        return  # the root and the command line may import everything
    wrong = {
        ".".join(target)
        for target in imports_of(path)
        if target and target[0] in FOLDERS and target_place(target) != place and target_place(target) not in ALLOWED[place]
    }
    assert not wrong, f"{place} may import {sorted(ALLOWED[place])}, not {sorted(wrong)}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_modules_and_functions_stay_readable(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= MAX_LINES, f"{path.name} has more than {MAX_LINES} lines: split it by subject"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name != "forward":
            first = node.body[0]
            doc = first.end_lineno - first.lineno + 1 if ast.get_docstring(node) and first.end_lineno else 0
            # The signature is a table (a command's options, a pipeline's arguments); what counts is what the function does.
            length = (node.end_lineno or first.lineno) - first.lineno + 1 - doc
            assert length <= MAX_FUNCTION, f"{path.name}:{node.lineno} {node.name} has {length} lines"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_public_things_have_docstrings(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), "the module has no docstring"
    bare = [
        node.name
        for scope in [tree, *[n for n in tree.body if isinstance(n, ast.ClassDef) and not n.name.startswith("_")]]
        for node in scope.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_") and not ast.get_docstring(node)
    ]
    assert not bare, f"without a docstring: {bare}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_can_run_code_from_data_or_reach_out(path: Path) -> None:
    inside_convert = path.is_relative_to(ROOT / "gen" / "convert")
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
            root = (module or "").split(".")[0]
            assert root not in {"pickle", "cPickle", "dill", "joblib", "requests", "urllib3", "httpx"}, f"imports {root}"
            assert module not in {"urllib.request", "http.client", "marshal", "shelve"}, f"imports {module}"
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in {"eval", "exec", "os.system"}, f"line {node.lineno} calls {called}"
            keywords = {k.arg: ast.unparse(k.value) for k in node.keywords}
            if called == "torch.load":
                assert inside_convert, f"line {node.lineno}: torch.load belongs in gen/convert"
                assert keywords.get("weights_only") == "True", f"line {node.lineno}: torch.load without weights_only=True"
            assert keywords.get("allow_pickle", "False") == "False", f"line {node.lineno} allows pickles"
            assert keywords.get("trust_remote_code", "False") == "False", f"line {node.lineno} trusts remote code"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_core_does_not_need_the_extras(path: Path) -> None:
    extras = {"torchvision", "gradio", "xformers", "controlnet_aux", "torch_fidelity", "wandb", "skimage", "scipy", "pyarrow"}
    body = ast.parse(path.read_text()).body
    for node in body:
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []
        wrong = {n.split(".")[0] for n in names} & extras
        assert not wrong, f"line {node.lineno}: import {sorted(wrong)} inside the function that needs it"


def test_each_folder_refuses_a_plain_import() -> None:
    for folder in FOLDERS:
        assert f'__name__ == "{folder}"' in (ROOT / folder / "__init__.py").read_text()


def test_no_catch_all_module_and_no_registry_host() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert not [f for f in listed if Path(f).name in {"utils.py", "helpers.py", "misc.py"}]
    hosts = re.compile("|".join(["py" + r"pi\.org", "files\\.python" + "hosted", "npm" + r"js\.org", r"deb\.debian" + r"\.org"]))
    for name in listed:
        path = ROOT / name
        if path.suffix in {".py", ".toml", ".md", ".yml", ".cff", ""} and path.is_file():
            found = hosts.search(path.read_text(errors="ignore"))
            assert not found, f"{name} names a registry host"


def test_the_repository_stays_small() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    sizes = {name: (ROOT / name).stat().st_size for name in listed if name and (ROOT / name).is_file()}
    zoo = sum(size for name, size in sizes.items() if name.startswith("gen/zoo/"))
    assert zoo <= 24e6, f"the zoo has {zoo / 1e6:.1f} MB of the 24 MB it may have"
    assert sum(sizes.values()) <= 40e6
