"""Tensors that are dear to compute, kept on disk: latents of pictures, embeddings of texts.

An entry is named by what it was computed from: the digest of the network, of the content, and of the settings. Nothing has to be
invalidated; another network is another name. Every file says which entry it is and carries a checksum, so that a torn, damaged or foreign
one is computed again. A full disk costs time, not the run.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from ..errors import InputError
from .atomic import atomic_path

_log = logging.getLogger(__name__)
_HEADER_BYTES = 8
_VERSION = "1"


class TensorCache:
    """Named tensors by digest, in 256 folders of a folder; shared by threads and processes without locks.

    Two that compute the same entry at once both write it, whole; the last one stays. Files are not held open.

    Attributes:
        folder: Where this namespace's entries lie.
        hits: Entries that were found.
        misses: Entries that were computed.
    """

    def __init__(self, folder: str | Path, namespace: str) -> None:
        """Make the folder.

        Args:
            folder: Where the cache lies; several namespaces share it.
            namespace: Digest of what computes the entries, such as `digest_of` a network.

        Raises:
            InputError: If the folder cannot be made or written.
        """
        self.namespace = namespace
        self.folder = Path(folder) / hashlib.sha256(namespace.encode()).hexdigest()[:32]
        self.hits = self.misses = 0
        self._said: set[str] = set()
        self._lock = threading.Lock()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"the cache folder {folder} cannot be made ({error.strerror}); choose another one") from error
        if not os.access(self.folder, os.R_OK | os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
            raise InputError(f"the cache folder {folder} may not be read and written; change its permissions, or choose another one")

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

    def key(self, content: str, settings: Mapping[str, Any] | None = None) -> str:
        """Name of an entry.

        Args:
            content: Digest of what the entry is computed from, such as `digest_of_array`.
            settings: What else it depends on (size, precision, layer), plain JSON types.

        Returns:
            64 hexadecimal digits.
        """
        told = json.dumps([_VERSION, self.namespace, content, dict(settings or {})], sort_keys=True, allow_nan=False)
        return hashlib.sha256(told.encode()).hexdigest()

    def get(self, key: str, compute: Callable[[], Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """Take an entry, or compute and keep it.

        Args:
            key: As `key` gives.
            compute: Makes the tensors; called only where they are not there.

        Returns:
            Tensors on the CPU, equal bit for bit whether they were kept or computed now.
        """
        path = self.path(key)
        found = self._read(path, key)
        with self._lock:
            self.hits += found is not None
            self.misses += found is None
        if found is not None:
            return found
        made = {name: tensor.detach().cpu().contiguous() for name, tensor in compute().items()}
        self._write(path, key, made)
        return made

    def path(self, key: str) -> Path:
        """File of an entry."""
        return self.folder / key[:2] / f"{key[2:]}.safetensors"

    def _read(self, path: Path, key: str) -> dict[str, Tensor] | None:
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            self._say("unreadable", f"the cache entry {path} cannot be read ({error.strerror}); such entries are computed again")
            return None
        try:
            said, checksum = _parts(data)
            if said.get("key") != key or said.get("crc") != checksum:
                raise ValueError("it is another entry, or damaged")
            return load(data)
        except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
            self._say(str(path), f"the cache entry {path} is not what it should be ({error}); it is computed again")
            return None

    def _write(self, path: Path, key: str, tensors: dict[str, Tensor]) -> None:
        data = save(tensors, {"key": key, "crc": _parts(save(tensors))[1]})
        try:
            path.parent.mkdir(exist_ok=True)
            with atomic_path(path, durable=False) as partial:
                partial.write_bytes(data)
        except (OSError, InputError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            self._say("unwritable", f"the cache {self.folder} cannot be written ({reason}); going on without keeping more")

    def _say(self, what: str, sentence: str) -> None:
        with self._lock:
            fresh = what not in self._said and len(self._said) < 100
            if fresh:
                self._said.add(what)
        if fresh:
            _log.warning(sentence)


def digest_of(module: nn.Module) -> str:
    """sha256 over names, types, shapes and bits of a module's parameters and buffers, in order of their names.

    Args:
        module: Any; where its weights lie does not matter.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        if isinstance(tensor, Tensor):
            digest.update(f"{name}\0".encode())
            _add(digest, tensor)
    return digest.hexdigest()


def digest_of_array(array: np.ndarray[Any, Any] | Tensor) -> str:
    """sha256 over type, shape and bits of an array or tensor; 64 hexadecimal digits."""
    digest = hashlib.sha256()
    _add(digest, torch.from_numpy(np.ascontiguousarray(array)) if isinstance(array, np.ndarray) else array)
    return digest.hexdigest()


def digest_of_text(text: str) -> str:
    """sha256 of a text; 64 hexadecimal digits."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _add(digest: Any, tensor: Tensor) -> None:
    digest.update(f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}\0".encode())
    digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)


def _parts(data: bytes) -> tuple[dict[str, Any], str]:
    """Metadata of a safetensors file, and the checksum of all else."""
    length = int.from_bytes(data[:_HEADER_BYTES], "little")
    if len(data) < _HEADER_BYTES + length:
        raise ValueError("it is cut short")
    header = json.loads(data[_HEADER_BYTES : _HEADER_BYTES + length])
    metadata = header.pop("__metadata__", None) or {}
    crc = zlib.crc32(json.dumps(header, sort_keys=True).encode(), zlib.crc32(memoryview(data)[_HEADER_BYTES + length :]))
    return metadata, f"{crc:08x}"
