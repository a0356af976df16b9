"""The app on a free port with a tiny model, Chromium with the way out barred, and files to upload."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch

CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
]
SCREENSHOTS = Path(__file__).parent / "screenshots"
BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
CORNER, PIXEL, EPSG = (399_960.0, 5_300_040.0), 10.0, 32633


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="the browser tests need the extra 'browser'")
    executable = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chromium-browser"))), None)
    if executable is None:
        pytest.skip("there is no Chromium on this machine; `make test-browser` installs it")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, headless=True, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder of random weights for red, green, blue and near infrared, four times sharper."""
    from earthgen import EANet, MeanRevertingScheduler
    from earthgen.gen.zoo import write_model_folder

    torch.manual_seed(7)
    network = EANet(
        bands=4,
        width=8,
        enc_blocks=[1, 1],
        mid_blocks=1,
        dec_blocks=[1, 1],
        scale=4,
        pool_size=32,
        cpem_width=8,
        cpem_blocks=1,
        prediction="v_prediction",
    )
    folder = tmp_path_factory.mktemp("models") / "tiny-x4"
    write_model_folder(
        folder,
        pipeline="SuperResolutionPipeline",
        # An untrained noise prediction ends hundreds of reflectances away, which no file can hold; an untrained velocity stays near.
        components={"model": network, "scheduler": MeanRevertingScheduler(max_sigma=5, prediction_type="v_prediction")},
        settings={"bands": ["red", "green", "blue", "nir"], "unit": "reflectance", "scale": 4, "mtf": 0.3},
        card={"name": "tiny-x4"},
    )
    return folder


@pytest.fixture(scope="session")
def make_scene(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes a 13-band, 16-bit GeoTIFF of smooth random reflectance."""

    def make(name: str = "scene.tif", height: int = 40, width: int = 56, *, told: bool = True, named: bool = True) -> Path:
        rng = np.random.default_rng(3)
        coarse = torch.from_numpy(rng.uniform(0.02, 0.4, (1, 13, height // 4 + 2, width // 4 + 2)).astype(np.float32))
        smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")[0].numpy()
        path = tmp_path_factory.mktemp("uploads") / name
        grid = rasterio.transform.from_origin(*CORNER, PIXEL, PIXEL)
        with rasterio.open(
            path, "w", driver="GTiff", height=height, width=width, count=13, dtype="uint16", crs=f"EPSG:{EPSG}", transform=grid, nodata=0
        ) as file:
            file.write(np.rint(smooth * 10_000 + 1_000).astype(np.uint16))
            if named:
                file.descriptions = BANDS
            if told:
                file.scales, file.offsets = (1e-4,) * 13, (-0.1,) * 13
        return path

    return make


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    """The running app."""
    import gradio as gr

    from earthgen.demos.app import launch

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    yield launch(port=port, block=False)
    gr.close_all()


@dataclass
class Visitor:
    """A browser window of its own, and what it should not have done.

    Attributes:
        page: Playwright's page, with the app loaded.
        left: Requests that were not to the app; all were refused.
        complaints: Errors on the console, uncaught exceptions and failed requests.
    """

    page: Any
    left: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def watch(self, address: str) -> None:
        host = address.split("//")[1]
        self.page.on("console", lambda message: self.complaints.append(message.text) if message.type == "error" else None)
        self.page.on("websocket", lambda line: None if host in line.url else self.left.append(line.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("response", lambda answer: self.complaints.append(f"{answer.status} {answer.url}") if answer.status >= 400 else None)

    def upload(self, path: Path) -> None:
        if self.page.locator("#up-file input[type=file]").count() == 0:  # an earlier file is in the box: the cross takes it out
            self.page.locator(
                "#up-file [aria-label='Clear' i], #up-file [aria-label='Remove' i], #up-file .icon-button-wrapper button"
            ).first.click()
        self.page.set_input_files("#up-file input[type=file]", str(path))

    def expect(self, text: str, where: str = "#up-status", timeout: float = 240.0) -> None:
        from playwright.sync_api import expect

        expect(self.page.locator(where)).to_contain_text(text, timeout=timeout * 1000)

    def choose_model(self, folder: Path) -> None:
        box = self.page.locator("#up-model input")
        box.click()
        box.fill(str(folder))
        box.press("Enter")

    def choose(self, dropdown: str, title: str) -> None:
        self.page.locator(f"{dropdown} input").click()
        self.page.get_by_role("option", name=title, exact=True).click()

    def unfold(self) -> None:
        self.page.locator("#up-more button").first.click()

    def set_number(self, control: str, value: int) -> None:
        box = self.page.locator(f"{control} input[type=number]").first
        box.fill(str(value))
        box.press("Tab")

    def download(self, button: str, folder: Path) -> Path:
        with self.page.expect_download() as caught:
            self.page.locator(button).click()
        target = folder / caught.value.suggested_filename
        caught.value.save_as(target)
        return target

    def shot(self, name: str) -> None:
        SCREENSHOTS.mkdir(exist_ok=True)
        self.page.screenshot(path=str(SCREENSHOTS / f"{name}.png"), full_page=True)


@pytest.fixture
def visit(chromium: Any, address: str) -> Iterator[Callable[..., Visitor]]:
    """Opens windows on the app; at the end none may have tried to leave this machine or have complained."""
    visitors: list[tuple[Visitor, Any]] = []

    def open_window(width: int = 1280, height: int = 900) -> Visitor:
        context = chromium.new_context(viewport={"width": width, "height": height}, accept_downloads=True)
        context.set_default_timeout(180_000)  # a busy machine is slow, not wrong
        visitor = Visitor(context.new_page())

        def gate(route: Any) -> None:
            url = route.request.url
            if url.startswith(address) or url.startswith(("data:", "blob:")):
                route.continue_()
            else:
                visitor.left.append(url)
                route.abort()

        context.route("**/*", gate)
        visitor.watch(address)
        visitors.append((visitor, context))
        visitor.page.goto(address)
        visitor.page.wait_for_selector("#up-run")
        return visitor

    yield open_window
    for _, context in visitors:
        context.close()
    assert [url for visitor, _ in visitors for url in visitor.left] == [], "the page tried to reach other machines"
    assert [text for visitor, _ in visitors for text in visitor.complaints] == [], "the page has complained"
