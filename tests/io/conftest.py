"""Small Sentinel-2 products in the real layout: metadata, folders and JPEG 2000 images as the agency distributes them."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

SIDE = 60  # of the 10 m images
BANDS_10 = ("B02", "B03", "B04", "B08")
BANDS_20 = ("B05", "B06", "B07", "B8A", "B11", "B12")
BANDS_60 = ("B01", "B09")
_IDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")

Product = Callable[..., Path]


def stored(band: str, side: int) -> np.ndarray:
    """What the product's image of a band holds: a ramp that differs from band to band, with one pixel of nodata."""
    rows, cols = np.mgrid[:side, :side]
    image = (1500 + 100 * _IDS.index(band) + 3 * rows + 2 * cols).astype(np.uint16)
    image[0, 0] = 0
    return image


def _metadata(level: str, baseline: str, offsets: bool, quantification: bool) -> str:
    name, prefix = ("Level-2A", "BOA_") if level == "2A" else ("Level-1C", "")
    element = "BOA_ADD_OFFSET" if level == "2A" else "RADIO_ADD_OFFSET"
    wrapper = "BOA_ADD_OFFSET_VALUES_LIST" if level == "2A" else "Radiometric_Offset_List"
    listed = "".join(f'<{element} band_id="{number}">-1000</{element}>' for number in range(13)) if offsets else ""
    offset_list = f"<{wrapper}>{listed}</{wrapper}>" if offsets else ""
    scale = f'<{prefix}QUANTIFICATION_VALUE unit="none">10000</{prefix}QUANTIFICATION_VALUE>' if quantification else ""
    if level == "2A":
        scale += '<AOT_QUANTIFICATION_VALUE unit="none">1000.0</AOT_QUANTIFICATION_VALUE>'
        scale = f"<QUANTIFICATION_VALUES_LIST>{scale}</QUANTIFICATION_VALUES_LIST>"
    return f"""<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<n1:{name}_User_Product xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/User_Product_{name}.xsd">
  <n1:General_Info>
    <Product_Info>
      <PRODUCT_START_TIME>2023-06-05T10:15:59.024Z</PRODUCT_START_TIME>
      <PRODUCT_URI>S2B_MSIL{level}_20230605T101559_N{baseline.replace(".", "")}_R065_T32TQM_20230605T132108.SAFE</PRODUCT_URI>
      <PROCESSING_LEVEL>{name}</PROCESSING_LEVEL>
      <PRODUCT_TYPE>S2MSI{level}</PRODUCT_TYPE>
      <PROCESSING_BASELINE>{baseline}</PROCESSING_BASELINE>
      <Datatake datatakeIdentifier="GS2B_20230605T101559_032630_N{baseline}"><SPACECRAFT_NAME>Sentinel-2B</SPACECRAFT_NAME></Datatake>
    </Product_Info>
    <Product_Image_Characteristics>
      <Special_Values><SPECIAL_VALUE_TEXT>NODATA</SPECIAL_VALUE_TEXT><SPECIAL_VALUE_INDEX>0</SPECIAL_VALUE_INDEX></Special_Values>
      <Special_Values><SPECIAL_VALUE_TEXT>SATURATED</SPECIAL_VALUE_TEXT><SPECIAL_VALUE_INDEX>65535</SPECIAL_VALUE_INDEX></Special_Values>
      {scale}{offset_list}
    </Product_Image_Characteristics>
  </n1:General_Info>
</n1:{name}_User_Product>
"""


def _image(file: Path, band: str, gsd: int) -> None:
    side = SIDE * 10 // gsd
    file.parent.mkdir(parents=True, exist_ok=True)
    profile = {"driver": "JP2OpenJPEG", "width": side, "height": side, "count": 1, "dtype": "uint16", "crs": "EPSG:32632"}
    place = from_origin(600_000, 5_000_040, gsd, gsd)
    with rasterio.open(file, "w", **profile, transform=place, QUALITY=100, REVERSIBLE="YES") as dataset:
        dataset.write(stored(band, side), 1)


def _build(folder: Path, level: str, baseline: str, offsets: bool, quantification: bool) -> Path:
    stem = "T32TQM_20230605T101559"
    safe = folder / f"S2B_MSIL{level}_20230605T101559_N{baseline.replace('.', '')}_R065_T32TQM_20230605T132108.SAFE"
    images = safe / "GRANULE" / f"L{level}_T32TQM_A032630_20230605T101604" / "IMG_DATA"
    native = {**dict.fromkeys(BANDS_10, 10), **dict.fromkeys(BANDS_20, 20), **dict.fromkeys(BANDS_60, 60)}
    if level == "1C":
        for band, gsd in {**native, "B10": 60}.items():
            _image(images / f"{stem}_{band}.jp2", band, gsd)
    else:
        for band, gsd in native.items():
            _image(images / f"R{gsd}m" / f"{stem}_{band}_{gsd}m.jp2", band, gsd)
        for band in ("B02", "B03", "B04"):  # distributed at 20 m as well; near infrared is not
            _image(images / "R20m" / f"{stem}_{band}_20m.jp2", band, 20)
        (images / "R10m" / f"{stem}_TCI_10m.jp2").write_bytes(b"not read")
    (safe / f"MTD_MSIL{level}.xml").write_text(_metadata(level, baseline, offsets, quantification))
    (safe / "GRANULE" / "note.txt").write_text("anything else is left alone")
    return safe


@pytest.fixture(scope="session")
def make_product(tmp_path_factory: pytest.TempPathFactory) -> Product:
    """Build a product, once for each set of arguments: `make_product(level, baseline, offsets=..., zipped=...)`."""
    made: dict[tuple[object, ...], Path] = {}

    def make(
        level: str = "2A", baseline: str = "05.09", *, offsets: bool = True, quantification: bool = True, zipped: bool = False
    ) -> Path:
        key = (level, baseline, offsets, quantification)
        if key not in made:
            made[key] = _build(tmp_path_factory.mktemp("product"), level, baseline, offsets, quantification)
        if not zipped:
            return made[key]
        archive = made[key].with_suffix(".zip")
        if not archive.exists():
            with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
                for file in sorted(made[key].rglob("*")):
                    if file.is_file():
                        out.write(file, file.relative_to(made[key].parent).as_posix())
        return archive

    return make
