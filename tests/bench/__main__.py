"""All benchmarks, one after the other: `python -m tests.bench OUT [NAME ...]` (what `make bench` runs).

Each `bench_NAME.py` beside this file has a function ``run(out) -> dict`` that measures side by side and returns plain JSON types. Every
result is written to ``OUT/NAME.json`` with the machine it was measured on; a benchmark that fails is reported and the others go on.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def machine() -> dict[str, Any]:
    """What a figure must name: processor, cores, threads, versions."""
    import torch

    cpu = next((line.split(":")[1].strip() for line in _cpu_lines() if line.startswith("model name")), platform.processor())
    flags = next((line for line in _cpu_lines() if line.startswith("flags")), "")
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "amx": "amx_bf16" in flags,
        "avx512": "avx512f" in flags,
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }


def _cpu_lines() -> list[str]:
    info = Path("/proc/cpuinfo")
    return info.read_text().splitlines() if info.is_file() else []


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("names", nargs="*", help="benchmarks to run; all if none is named")
    arguments = parser.parse_args()
    known = sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))
    unknown = set(arguments.names) - set(known)
    if unknown:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    failed = [name for name in arguments.names or known if not _run(name, arguments.out)]
    if failed:
        sys.stderr.write(f"failed: {', '.join(failed)}\n")
    return 1 if failed else 0


def _run(name: str, out: Path) -> bool:
    sys.stderr.write(f"== {name}\n")
    started = time.perf_counter()
    try:
        figures = importlib.import_module(f"tests.bench.bench_{name}").run(out)
    except Exception:
        traceback.print_exc()
        return False
    record = {"benchmark": name, "machine": machine(), "seconds": round(time.perf_counter() - started, 1), "figures": figures}
    text = json.dumps(record, indent=1)
    (out / f"{name}.json").write_text(text + "\n")
    sys.stdout.write(text + "\n")
    return True


if __name__ == "__main__":
    raise SystemExit(main())
