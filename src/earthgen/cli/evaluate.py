"""`earthgen evaluate`: figures on pairs of low and high pictures, or of a folder of generated pictures, baselines beside them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from ..metrics.evaluate import Options, Predict
    from ..metrics.report import Report
    from ..pipelines.super_resolution import SuperResolutionPipeline

_DEFAULT_MODEL = "zoo:ediffsr-x4-small"


def evaluate(
    pairs: Path | None = typer.Option(
        None, help="Folder with sub-folders low/ and high/ (or dataroot_LQ/, dataroot_GT/), files of equal names."
    ),
    model: str = typer.Option(_DEFAULT_MODEL, help="Model: a folder, zoo:NAME, or a hub id already on this machine."),
    bands: str = typer.Option("", help="Bands to read, by name or position and in the model's order; default: the model's own names."),
    metrics: str = typer.Option("", help="Comma-separated, such as psnr,ssim,lpips,sam,ergas,opensr. Default: the standard set."),
    on: str = typer.Option("all", help="Bands of PSNR, SSIM and power ratio: all, RGB, or Y."),
    steps: int | None = typer.Option(None, min=1, help="Sampling steps of the samples. Default: the model's, 20, or 1 if distilled."),
    seed: int = typer.Option(0, help="Seed of the samples; image i gets seed + i."),
    samples: int = typer.Option(1, min=1, help="Above 1: also score the mean of so many samples."),
    border: int = typer.Option(-1, help="High-resolution pixels left out along each edge; default: the scale."),
    data_range: float = typer.Option(1.0, help="Range of PSNR and SSIM in physical units: 1 for reflectance and display values."),
    degradation: str = typer.Option("as given, not stated", help="How the low pictures came to be, for the protocol."),
    lpips: Path | None = typer.Option(None, help="Local .safetensors of torchmetrics' LPIPS network (AlexNet trunk)."),
    radiometry: str = typer.Option(
        "", help="How stored numbers become physical ones, if the files do not say: s2, s2-offset, display8, ..."
    ),
    device: str = typer.Option("auto", help="auto, cpu, cuda."),
    dtype: str = typer.Option("auto", help="auto, float32, bfloat16, float16."),
    json_out: Path | None = typer.Option(None, "--json", help="Write everything, per image and with the protocol, to this file."),
    generated: Path | None = typer.Option(None, help="Instead of --pairs: folder of generated pictures, scored as a set."),
    reference: Path | None = typer.Option(None, help="Folder of real pictures that the generated ones are held against."),
    training: Path | None = typer.Option(None, help="Folder of the generator's training pictures, for the trivial rows."),
    features: str = typer.Option(
        "auto", help="Feature network: zoo:features-small, inception, inception:FILE, clip:FOLDER, a folder; auto: inception if it is here."
    ),
    clip: Path | None = typer.Option(None, help="CLIP folder, for caption scores."),
    captions: Path | None = typer.Option(None, help="Text file with a line 'name<TAB>caption' for each generated picture."),
    hint: list[str] = typer.Option(
        [], help="Hints of the generated pictures, KIND=FOLDER with files of their names: canny, sobel, content, mask (codes), water, ..."
    ),
    metadata: Path | None = typer.Option(
        None, help="metadata.jsonl of the generated pictures: file_name, gsd, date; 'pair' joins two that differ in one request."
    ),
    cas: bool = typer.Option(False, "--cas", help="Train a classifier on --generated, test it on --reference; classes are sub-folders."),
    epochs: int = typer.Option(20, min=1, help="Of that classifier."),
    rsicd: Path | None = typer.Option(
        None, help="The RSICD protocol: folder with generated.npy, reference.npy and, if wanted, logits, images, texts, right."
    ),
    networks: str = typer.Option("", help="Names of the networks of --rsicd: 'Inception, weights ...;CLIP, weights ...'."),
) -> None:
    """Score a model on pairs of pictures, or a folder of generated pictures against real ones, with trivial baselines beside it.

    Pairs: two rows are the model's, the one-step mean (best in PSNR) and a sample (with detail like the truth). Sets: distances between
    distributions, precision and recall, and caption scores; how well hints and metadata are kept, read back from the pictures, with the
    next picture's beside it as the floor; the classification accuracy score. Every number has its protocol.

    Example: `earthgen evaluate --pairs pairs/ --model zoo:ediffsr-x4-small --metrics psnr,ssim,sam --json report.json`

    Example: `earthgen evaluate --generated out/ --reference real/ --features zoo:features-small`

    Example: `earthgen evaluate --generated out/ --hint water=masks/ --hint canny=edges/ --metadata out/metadata.jsonl`

    Example: `earthgen evaluate --generated out/ --reference test/ --training train/ --cas`
    """
    if json_out is not None:
        _check_target(json_out)
    if generated is not None or rsicd is not None:
        from .evaluate_sets import SetWishes, evaluate_sets

        _refuse_both(pairs, generated, rsicd)
        wishes = SetWishes(
            generated=generated, reference=reference, training=training, features=features, clip=clip, captions=captions, hints=hint,
            metadata=metadata, cas=cas, epochs=epochs, rsicd=rsicd, networks=networks, seed=seed, device=device, json_out=json_out,
        )  # fmt: skip
        evaluate_sets(wishes)
        return
    pairs = _required(pairs)
    from ..gen.data.radiometry import radiometry_from_options
    from ..metrics.measures import STANDARD, measures_named
    from ..metrics.pair_folder import PairFolder
    from ..pipelines.super_resolution import SuperResolutionPipeline
    from .progress import progress_bar

    names = _listed(metrics) or list(STANDARD)
    measures_named([*names])
    pipeline = SuperResolutionPipeline.load(model, device, dtype)
    folder = PairFolder(
        pairs,
        bands=_listed(bands) or list(pipeline.bands),
        scale=pipeline.scale,
        radiometry=radiometry_from_options(radiometry or None),
    )
    options = _options(pipeline, names, on, border, data_range, degradation, lpips)
    with progress_bar(f"Evaluating {pipeline.name}", "pairs") as progress:
        report = _run(pipeline, folder, options, steps=pipeline.steps(steps), seed=seed, samples=samples, progress=progress)
    _show(report)
    if json_out is not None:
        report.write(json_out)
        typer.echo(f"wrote {json_out}")


def _refuse_both(pairs: Path | None, generated: Path | None, rsicd: Path | None) -> None:
    from ..gen.errors import InputError

    given = [name for name, path in (("--pairs", pairs), ("--generated", generated), ("--rsicd", rsicd)) if path is not None]
    if len(given) > 1:
        raise InputError(f"{' and '.join(given)} are two evaluations; give one of them")


def _required(pairs: Path | None) -> Path:
    from ..gen.errors import InputError

    if pairs is None:
        raise InputError("there is nothing to evaluate; give --pairs, --generated with --reference, --hint or --metadata, or --rsicd")
    return pairs


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _check_target(path: Path) -> None:
    """Fail before the work, not after it."""
    from ..gen.errors import InputError

    if path.is_dir():
        raise InputError(f"{path} is a folder; give --json a file name")
    if not path.parent.is_dir():
        raise InputError(f"the folder {path.parent} does not exist; create it, or give --json another file")


def _options(
    pipeline: SuperResolutionPipeline,
    names: list[str],
    on: str,
    border: int,
    data_range: float,
    degradation: str,
    lpips: Path | None,
) -> Options:
    from ..gen.errors import InputError
    from ..metrics.evaluate import Options
    from ..metrics.fidelity import Lpips

    if any(name.lower() == "lpips" for name in names) and lpips is None:
        raise InputError("LPIPS needs weights, and nothing is downloaded; give a local .safetensors file with --lpips, or leave lpips out")
    chosen = on if on in ("all", "RGB", "Y") else tuple(_listed(on))
    return Options(
        degradation=degradation,
        metrics=names,
        bands=chosen,
        data_range=data_range,
        border=None if border < 0 else border,
        sensor=pipeline.sensor,
        lpips=Lpips(lpips) if lpips else None,
    )


def _run(pipeline: SuperResolutionPipeline, pairs: Any, options: Options, *, steps: int, seed: int, samples: int, progress: Any) -> Report:
    from ..metrics.evaluate import evaluate_pairs

    facts = {
        "model": pipeline.name,
        "digest": pipeline.digest,
        "sampler": pipeline.scheduler.config["sampler"],
        "steps": steps,
        "seed": seed,
        "samples": samples,
        "temperature": pipeline.warmth(None),
        "consistency": "ibp",
        "dtype": str(pipeline.dtype).removeprefix("torch."),
    }
    how, mean = (f"{steps} {facts['sampler']} steps", ", one-step mean one evaluation; both") if steps > 1 else ("one evaluation", ";")
    note = (
        f"{pipeline.name}, weights {facts['digest']}: sample is one draw of {how} at temperature {facts['temperature']:g}, "
        f"seed {seed} + image number{mean} back-projected onto the low picture."
    )
    return evaluate_pairs(
        _methods(pipeline, steps, seed, samples),
        pairs,
        options,
        title=f"{pipeline.name} on {len(pairs)} pair{'s' * (len(pairs) != 1)}",
        notes=[note],
        facts=facts,
        progress=progress,
    )


def _methods(pipeline: SuperResolutionPipeline, steps: int, seed: int, samples: int) -> dict[str, Predict]:
    """The rows of the table by name; each counts its pictures, so that every one has a seed of its own."""
    rows = {"one-step mean": (1, 1)} if steps > 1 else {}
    rows["sample"] = (steps, 1)
    if samples > 1:
        rows[f"mean of {samples}"] = (steps, samples)

    def method(count: int, members: int) -> Predict:
        number = iter(range(seed, seed + (1 << 62)))
        return lambda low: pipeline(low, num_inference_steps=count, samples=members, seed=next(number))

    return {name: method(*settings) for name, settings in rows.items()}


def _show(report: Report) -> None:
    from rich.console import Console

    Console().print(report.table())
