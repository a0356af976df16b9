"""A folder of low and high pictures of the same ground, as an evaluation reads it.

Two sub-folders hold files of equal names: ``low`` and ``high``, or ``dataroot_LQ`` and ``dataroot_GT`` as EDiffSR's published code calls
them. Endings may differ (``low/a.png`` and ``high/a.tif``).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import overload

import xarray as xr

from ..gen.data.radiometry import Radiometry
from ..gen.data.rasters import read_raster
from ..gen.errors import InputError
from .evaluate import Pair

FOLDERS = (("low", "high"), ("dataroot_LQ", "dataroot_GT"), ("LR", "HR"), ("lq", "gt"))
ENDINGS = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".jp2")
_NAMED = 3


class PairFolder(Sequence[Pair]):
    """Pairs of a folder, read one at a time.

    Attributes:
        names: Names of the pairs without ending, sorted.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        bands: Sequence[str] | None = None,
        scale: int | None = None,
        radiometry: Radiometry | None = None,
    ) -> None:
        """Look what is there; no picture is opened yet.

        Args:
            folder: Holds the two sub-folders.
            bands: Bands to read, by name; None = all of each file.
            scale: Factor that every pair must have; None = any.
            radiometry: How stored numbers become physical ones; None = as the files say.

        Raises:
            InputError: If a folder is missing or empty, or a name has no partner.
        """
        self._bands, self._scale, self._radiometry = bands, scale, radiometry
        low, high = _sub_folders(Path(folder))
        self._low, self._high = _pictures(low), _pictures(high)
        for ours, theirs, where in ((self._low, self._high, high), (self._high, self._low, low)):
            alone = sorted(set(ours) - set(theirs))
            if alone:
                more = f" and {len(alone) - _NAMED} more" if len(alone) > _NAMED else ""
                names = ", ".join(ours[name].name for name in alone[:_NAMED])
                raise InputError(f"{names}{more} has no partner in {where}; both folders must hold files of equal names")
        self.names = tuple(sorted(self._low))

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> Pair: ...

    @overload
    def __getitem__(self, index: slice) -> list[Pair]: ...

    def __getitem__(self, index: int | slice) -> Pair | list[Pair]:
        """Read a pair.

        Raises:
            InputError: If a file cannot be read, or the sizes do not fit each other or the scale.
        """
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        name = self.names[index]
        low, high = self._read(self._low[name]), self._read(self._high[name])
        self._check_sizes(low, high, self._low[name], self._high[name])
        return Pair(name, low, high)

    def _read(self, path: Path) -> xr.DataArray:
        return read_raster(path, bands=self._bands, radiometry=self._radiometry)

    def _check_sizes(self, low: xr.DataArray, high: xr.DataArray, low_path: Path, high_path: Path) -> None:
        small, large = low.shape[-2:], high.shape[-2:]
        factor = large[0] // small[0]
        sizes = f"{high_path} has {large[0]} x {large[1]} px and {low_path} {small[0]} x {small[1]} px"
        if factor < 1 or large != (small[0] * factor, small[1] * factor):
            raise InputError(f"{sizes}, which is no whole factor; crop both to the same ground")
        if self._scale is not None and factor != self._scale:
            raise InputError(f"{sizes}, a factor of {factor}, but the model works by {self._scale}; choose pairs or a model that fit")


def _sub_folders(folder: Path) -> tuple[Path, Path]:
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}; give one with the sub-folders low and high")
    for low, high in FOLDERS:
        if (folder / low).is_dir() and (folder / high).is_dir():
            return folder / low, folder / high
    there = ", ".join(sorted(path.name for path in folder.iterdir() if path.is_dir())[:6]) or "no sub-folder"
    raise InputError(
        f"{folder} holds {there}; expected the sub-folders low and high (or dataroot_LQ and dataroot_GT) with files of equal names"
    )


def _pictures(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in ENDINGS or path.name.startswith("."):
            continue
        if path.stem in found:
            raise InputError(f"{folder} holds both {found[path.stem].name} and {path.name}; keep one picture of each name")
        found[path.stem] = path
    if not found:
        raise InputError(f"{folder} holds no picture; put files ending in {', '.join(ENDINGS[:4])} there")
    return found
