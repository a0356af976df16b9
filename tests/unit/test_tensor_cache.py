"""The cache of tensors: equal bit for bit, told apart by digest, whole under races and kills, and no reason to stop when it fails."""

from __future__ import annotations

import errno
import logging
import multiprocessing
import os
import pickle
import resource
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from earthgen.gen.data.tensor_cache import TensorCache, digest_of, digest_of_array, digest_of_text
from earthgen.gen.errors import InputError

NUMBERS = torch.Generator().manual_seed(0)


def tensors(size: int = 8) -> dict[str, Tensor]:
    half = torch.randn(size, 3, generator=NUMBERS)
    return {
        "latent": half,
        "bf16": half.to(torch.bfloat16),
        "ids": torch.arange(size),
        "scalar": torch.tensor(2.5),
        "none": torch.zeros(0, 4),
    }


def never() -> dict[str, Tensor]:
    raise AssertionError("computed although it was there")


def test_what_was_kept_is_what_was_computed(tmp_path: Path) -> None:
    cache, made = TensorCache(tmp_path / "cache", "vae"), tensors()
    key = cache.key(digest_of_text("a field"), {"size": 64})
    turned = {**made, "turned": made["latent"].T, "grad": made["latent"].clone().requires_grad_()}
    first = cache.get(key, lambda: turned)
    again = TensorCache(tmp_path / "cache", "vae").get(key, never)
    assert first.keys() == again.keys() == turned.keys()
    for name, value in turned.items():
        assert torch.equal(first[name], value.detach())
        assert torch.equal(again[name], value.detach())
        assert again[name].dtype == value.dtype
    assert (cache.hits, cache.misses) == (0, 1)
    assert torch.equal(pickle.loads(pickle.dumps(cache)).get(key, never)["ids"], made["ids"])


def test_names_depend_on_network_content_and_settings(tmp_path: Path) -> None:
    one, two = TensorCache(tmp_path, "vae-1"), TensorCache(tmp_path, "vae-2")
    keys = [
        one.key("a"),
        two.key("a"),
        one.key("b"),
        one.key("a", {"size": 64}),
        one.key("a", {"size": 65}),
        one.key("a", {"size": 64, "dtype": "bf16"}),
    ]
    assert len(set(keys)) == len(keys)
    assert one.key("a", {"x": 1, "y": 2}) == one.key("a", {"y": 2, "x": 1})
    assert one.folder != two.folder


def test_digests_see_every_bit_and_nothing_else() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    before = digest_of(module)
    assert digest_of(module.to(memory_format=torch.channels_last)) == before == digest_of(module.eval())
    with torch.no_grad():
        module[0].weight[0, 0, 0, 0] = torch.nextafter(module[0].weight[0, 0, 0, 0], torch.tensor(9.0))
    assert digest_of(module) != before
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    shared = digest_of_array(array)
    assert shared == digest_of_array(torch.from_numpy(array)) == digest_of_array(np.asfortranarray(array))
    assert digest_of_array(array.T) == digest_of_array(np.ascontiguousarray(array.T)) != shared
    assert digest_of_array(array.reshape(4, 3)) != shared != digest_of_array(array.astype(np.float64))
    assert digest_of_array(array[:1]) != digest_of_array(array[:1].view(np.int32))


@pytest.mark.parametrize(
    "damage", ["cut", "empty", "foreign", "bit in the numbers", "bit in the header", "type in the header", "no file of ours", "moved"]
)
def test_torn_and_foreign_files_are_computed_again_and_named(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    cache, made = TensorCache(tmp_path, "vae"), tensors(64)
    key, other = cache.key("a"), cache.key("b")
    path = cache.path(key)
    cache.get(key, lambda: made)
    cache.get(other, lambda: tensors(64))
    whole = bytearray(path.read_bytes())
    flipped = len(whole) - 5 if damage == "bit in the numbers" else 60
    broken = {
        "cut": whole[:-10],
        "empty": b"",
        "foreign": b"GIF89a" * 50,
        "no file of ours": b"\xff" * 64,
        "moved": cache.path(other).read_bytes(),
    }
    if damage == "type in the header":
        assert whole.count(b'"I64"') == 1
        whole = whole.replace(b'"I64"', b'"U64"')
    if damage.startswith("bit"):
        whole[flipped] ^= 1
    path.write_bytes(broken.get(damage, whole))
    calls = []
    with caplog.at_level(logging.WARNING):
        found = cache.get(key, lambda: calls.append(1) or made)  # type: ignore[func-returns-value]
    assert calls == [1]
    assert torch.equal(found["latent"], made["latent"])
    assert str(path) in caplog.text
    assert torch.equal(cache.get(key, never)["latent"], made["latent"])


def _work(folder: str, number: int) -> None:
    cache = TensorCache(folder, "vae")
    for turn in range(60):
        value = turn % 12
        found = cache.get(cache.key(str(value)), lambda value=value: {"x": torch.full((4096,), float(value))})  # type: ignore[misc]
        assert bool((found["x"] == value).all()), number


def test_processes_and_threads_write_the_same_entries(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_work, args=(str(tmp_path), number)) for number in range(3)]
    for worker in workers:
        worker.start()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: _work(str(tmp_path), number), range(4)))
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 12
    assert all(path.suffix == ".safetensors" and not path.name.startswith(".") for path in files)


def _write_for_ever(folder: str) -> None:
    cache, value = TensorCache(folder, "vae"), 0
    while True:
        cache.get(cache.key(str(value)), lambda: {"x": torch.full((200_000,), float(value))})  # noqa: B023
        value += 1


def test_a_kill_leaves_whole_entries(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    for trial in range(3):
        worker = context.Process(target=_write_for_ever, args=(str(tmp_path),))
        worker.start()
        time.sleep(0.3 + 0.07 * trial)
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        worker.join()
    cache = TensorCache(tmp_path, "vae")
    whole = [path for path in tmp_path.rglob("*.safetensors") if not path.name.startswith(".")]
    assert whole
    for value in range(len(whole)):
        assert float(cache.get(cache.key(str(value)), never)["x"][0]) == value


@contextmanager
def no_more_room() -> Iterator[None]:
    """Files may not grow beyond 1 kB: writing fails in the kernel, as on a full disk."""
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_costs_time_only_and_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache, made = TensorCache(tmp_path, "vae"), tensors(500)
    with caplog.at_level(logging.WARNING), no_more_room():
        for number in range(5):
            assert torch.equal(cache.get(cache.key(str(number)), lambda: made)["latent"], made["latent"])
    assert len(caplog.records) == 1
    assert os.strerror(errno.EFBIG) in caplog.text
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert torch.equal(cache.get(cache.key("0"), lambda: made)["latent"], made["latent"])
    assert torch.equal(cache.get(cache.key("0"), never)["latent"], made["latent"])


def test_a_folder_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be made"):
        TensorCache(tmp_path / "file/cache", "vae")
    if os.geteuid():
        (tmp_path / "closed").mkdir(mode=0o500)
        with pytest.raises(InputError, match="cache folder"):
            TensorCache(tmp_path / "closed", "vae")


def test_no_handle_stays_open(tmp_path: Path) -> None:
    cache = TensorCache(tmp_path, "vae")
    before = len(os.listdir("/proc/self/fd"))
    kept = [cache.get(cache.key(str(number)), lambda: {"x": torch.zeros(10)}) for _ in range(2) for number in range(200)]
    assert len(os.listdir("/proc/self/fd")) <= before + 1
    assert len(kept) == 400
    assert (cache.hits, cache.misses) == (200, 200)
    assert len(list(cache.folder.iterdir())) > 100
