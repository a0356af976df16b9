"""Which models a tab offers, and the one that the user names."""

from __future__ import annotations

from ..gen.errors import InputError


def models_for(pipeline: str, default: str) -> list[str]:
    """The zoo's models of a pipeline as the user writes them, the default first.

    Args:
        pipeline: Name of the class that runs them.
        default: Name of the model that comes first.
    """
    from ..gen.zoo.folder import read_index
    from ..gen.zoo.names import zoo_models

    names = []
    for name, folder in zoo_models():
        try:
            read_index(folder, pipeline)
        except InputError:
            continue
        names.append(f"zoo:{name}")
    return sorted(names, key=lambda name: (name != default, name))


def chosen_model(name: str | None) -> str:
    """The name without blanks around it.

    Raises:
        InputError: If it is empty.
    """
    if not name or not name.strip():
        raise InputError("no model is chosen; choose one of the list, or type the path of a model folder")
    return name.strip()
