"""The figures that an evaluation can compute, by name: each with its definition, unit and direction.

A figure is a function of one `Sample`: one method's picture with its truth, its low picture and the pixels that count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..gen.errors import InputError
from .fidelity import psnr, rmse, ssim
from .pixels import rgb_indices
from .protocol import Better
from .sample import Sample
from .spectral import ergas, sam
from .spectrum import band_power_ratio


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A figure's name and meaning.

    Attributes:
        name: Column title.
        definition: Formula or parameters in words.
        compute: Figure of a sample.
        unit: Unit of the figure.
        better: Direction.
        chosen_bands: Whether it is measured on the chosen bands; otherwise on all.
        ranged: Whether it depends on the data range.
        digits: Decimals in tables.
    """

    name: str
    definition: str
    compute: Callable[[Sample], float]
    unit: str = ""
    better: Better = "none"
    chosen_bands: bool = False
    ranged: bool = False
    digits: int = 4


def _psnr(s: Sample) -> float:
    image, truth, mask = s.chosen
    return float(psnr(image, truth, data_range=s.data_range, mask=mask)[0])


def _rmse(s: Sample) -> float:
    image, truth, mask = s.chosen
    return float(rmse(image, truth, mask=mask)[0])


def _ssim(s: Sample) -> float:
    image, truth, mask = s.chosen
    return float(ssim(image, truth, data_range=s.data_range, mask=mask)[0])


def _sam(s: Sample) -> float:
    image, truth, mask = s.cut
    return float(sam(image, truth, mask=mask)[0])


def _ergas(s: Sample) -> float:
    image, truth, mask = s.cut
    return float(ergas(image, truth, ratio=s.scale, mask=mask)[0])


def _spectrum(s: Sample) -> float:
    image, truth, mask = s.chosen
    return float(band_power_ratio(image, truth, mask=mask)[0])


def _lpips(s: Sample) -> float:
    where = rgb_indices(s.names)
    if s.lpips is None or where is None:
        return float("nan")
    image, truth, _ = s.cut
    return float(s.lpips(image[:, list(where)] / s.data_range, truth[:, list(where)] / s.data_range)[0])


def _seen_mean(s: Sample) -> float:
    return float(s.seen_again.mean[0]) if s.seen_again else float("nan")


def _seen_largest(s: Sample) -> float:
    return float(s.seen_again.largest[0]) if s.seen_again else float("nan")


_OPENSR = "opensr-test 1.3.2 definition, 16 px border"
MEASURES: dict[str, Measure] = {
    m.name: m
    for m in (
        Measure(
            name="PSNR",
            definition="10 log10(range^2 / MSE), MSE over bands and pixels",
            compute=_psnr,
            unit="dB",
            better="higher",
            chosen_bands=True,
            ranged=True,
            digits=2,
        ),
        Measure(
            name="SSIM",
            definition="Gaussian window 11x11, sigma 1.5, K 0.01 0.03, whole windows",
            compute=_ssim,
            better="higher",
            chosen_bands=True,
            ranged=True,
        ),
        Measure(
            name="RMSE",
            definition="root mean square error over bands and pixels",
            compute=_rmse,
            better="lower",
            chosen_bands=True,
            digits=5,
        ),
        Measure(
            name="SAM", definition="mean spectral angle; zero vectors left out", compute=_sam, unit="degrees", better="lower", digits=3
        ),
        Measure(name="ERGAS", definition="100/scale sqrt(mean_b(MSE_b / mean_b^2))", compute=_ergas, better="lower", digits=3),
        Measure(
            name="power ratio",
            definition="power over truth's, radial frequency 0.25-0.5 cycles/px, Welch, Hann blocks of 64 px, summed over bands",
            compute=_spectrum,
            better="one",
            chosen_bands=True,
            digits=3,
        ),
        Measure(
            name="LPIPS",
            definition="learned perceptual distance, bands red green blue, clipped to 0-1",
            compute=_lpips,
            better="lower",
            ranged=True,
        ),
        Measure(
            name="sensor error",
            definition="mean |A(image) - low|, A the declared sensor model",
            compute=_seen_mean,
            better="lower",
            digits=5,
        ),
        Measure(
            name="largest sensor error",
            definition="max |A(image) - low|, A the declared sensor model",
            compute=_seen_largest,
            better="lower",
            digits=5,
        ),
        Measure(
            name="reflectance",
            definition=f"mean |bilinear antialiased reduction - low|, {_OPENSR}",
            compute=lambda s: float(s.triple.reflectance[0]),
            better="lower",
            digits=5,
        ),
        Measure(
            name="spectral",
            definition=f"mean spectral angle to low, {_OPENSR}",
            compute=lambda s: float(s.triple.spectral[0]),
            unit="degrees",
            better="lower",
            digits=3,
        ),
        Measure(
            name="spatial",
            definition=f"shift against low by phase correlation, {_OPENSR}",
            compute=lambda s: float(s.triple.spatial[0]),
            unit="low px",
            better="lower",
            digits=3,
        ),
        Measure(
            name="synthesis",
            definition=f"L1 to bilinear low after harmonising, {_OPENSR}",
            compute=lambda s: float(s.correctness["nd"].synthesis[0]),
            digits=5,
        ),
        *(
            Measure(
                name=f"{share} ({distance})",
                definition=f"share of {share}, distance {distance}, {_OPENSR}",
                compute=lambda s, share=share, distance=distance: float(getattr(s.correctness[distance], share)[0]),  # type: ignore[misc]
                better="higher" if share == "improvement" else "lower",
                digits=3,
            )
            for distance in ("nd", "l1")
            for share in ("hallucination", "omission", "improvement")
        ),
    )
}
STANDARD = (
    "PSNR",
    "SSIM",
    "SAM",
    "ERGAS",
    "power ratio",
    "sensor error",
    "largest sensor error",
    "reflectance",
    "spectral",
    "spatial",
    "synthesis",
)
OPENSR = tuple(
    name
    for name in MEASURES
    if name.split()[0] in {"reflectance", "spectral", "spatial", "synthesis", "hallucination", "omission", "improvement"}
)

GROUPS = {"standard": STANDARD, "opensr": OPENSR}


def measures_named(names: Sequence[str]) -> list[Measure]:
    """Look figures up by name.

    Args:
        names: Names as in `MEASURES` in any case, with spaces or dashes, or names of `GROUPS`.

    Returns:
        The figures in the same order, each once.

    Raises:
        InputError: If a name is unknown.
    """
    lower = {name.lower(): [measure] for name, measure in MEASURES.items()}
    lower |= {group: [MEASURES[name] for name in members] for group, members in GROUPS.items()}
    keys = [" ".join(name.lower().replace("-", " ").replace("_", " ").split()) for name in names]
    unknown = [name for name, key in zip(names, keys, strict=True) if key not in lower]
    if unknown:
        raise InputError(f"unknown metric {', '.join(unknown)}; choose from {', '.join([*MEASURES, *GROUPS])}")
    return list({measure.name: measure for key in keys for measure in lower[key]}.values())
