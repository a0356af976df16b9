"""From the name of a model to its folder: a path, then ``zoo:name``, then a hub id, which is reached only where the user asks."""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import InputError

ZOO = Path(__file__).parent
PREFIX = "zoo:"
INDEX = "model_index.json"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def zoo_models() -> list[tuple[str, Path]]:
    """The models that ship with the package.

    Returns:
        Names without the prefix ``zoo:``, sorted, and their folders.
    """
    return sorted((path.parent.name, path.parent) for path in ZOO.glob(f"*/{INDEX}"))


def resolve_model(name: str | Path, *, allow_download: bool = False) -> Path:
    """Find a model's folder.

    Args:
        name: A folder, ``zoo:name``, or a hub id such as ``owner/model``.
        allow_download: Whether a hub id may be fetched over the network.

    Returns:
        A folder that has a ``model_index.json``.

    Raises:
        InputError: If there is no such model.
    """
    text = str(name)
    if text.startswith(PREFIX):
        return _in_zoo(text.removeprefix(PREFIX))
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / INDEX).is_file():
            raise InputError(f"the folder {path} has no {INDEX}; give a model folder as `earthgen train` and `convert` write it")
        return path
    if path.exists():
        raise InputError(f"the model {path} is a file, not a folder; published weight files are turned into folders by `earthgen convert`")
    if text in dict(zoo_models()):
        raise InputError(f"there is no folder {text!r}; a model of the zoo is called {PREFIX}{text}")
    if allow_download and _HUB_ID.fullmatch(text):
        return _from_hub(text)
    hint = "; to fetch a model of this name from the hub, allow the download" if _HUB_ID.fullmatch(text) else ""
    raise InputError(f"there is no model {text!r}; give a folder or one of {_listed()}{hint}")


def _in_zoo(name: str) -> Path:
    models = dict(zoo_models())
    if name not in models:
        raise InputError(f"there is no model {name!r} in the zoo; it has {_listed()}")
    return models[name]


def _listed() -> str:
    return ", ".join(PREFIX + name for name, _ in zoo_models()) or "no models yet"


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        # Only what a model folder is made of: no pickles, no code.
        folder = Path(snapshot_download(name, allow_patterns=["*.json", "*.safetensors", "card.toml"]))
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError) as error:
        raise InputError(f"the model {name!r} could not be fetched from the hub ({error}); check the name and the connection") from error
    if not (folder / INDEX).is_file():
        raise InputError(f"the hub's {name!r} has no {INDEX}; give a model that was saved as a diffusers pipeline")
    return folder
