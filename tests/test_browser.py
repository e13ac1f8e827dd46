"""The notebook for one's own photograph as a person meets it: in JupyterLab, and as a page from disk, in Chromium.

pytest -m browser     needs chromium and chromedriver (Debian's chromium-driver), and the Python package selenium
"""

import io
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

NOTEBOOK = Path(__file__).resolve().parents[1] / "notebooks" / "08_restore_your_photograph.ipynb"
PATIENCE = 180  # seconds, for a page or a restoration on a busy machine

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not shutil.which("chromium") or not shutil.which("chromedriver"), reason="no Chromium here"),
]


@pytest.fixture
def browser(tmp_path):
    selenium = pytest.importorskip("selenium.webdriver")
    options = selenium.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "window-size=1400,1300"):
        options.add_argument(f"--{argument}")
    options.add_experimental_option("prefs", {"download.default_directory": str(tmp_path / "downloads")})
    driver = selenium.Chrome(options, selenium.ChromeService(shutil.which("chromedriver")))
    yield driver
    driver.quit()


@pytest.fixture
def notebook(tmp_path):
    """A copy of the notebook in a folder of its own, with a faded photograph, `old.png`."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(90, 170, (6, 8, 3), dtype=np.uint8))
    coarse.resize((800, 600), Image.Resampling.BICUBIC).save(tmp_path / "old.png")
    given = {"photograph": "old.png", "models": "faded", "run_folder": "run"}
    content = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    [cell] = [cell for cell in content["cells"] if "parameters" in cell["metadata"].get("tags", [])]
    cell["source"] += [f"\n{name} = {value!r}  # of the test" for name, value in given.items()]
    (tmp_path / NOTEBOOK.name).write_text(json.dumps(content), encoding="utf-8")
    return tmp_path / NOTEBOOK.name


@pytest.fixture
def lab(notebook):
    """The address of a JupyterLab in the notebook's folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = notebook.parent / ".jupyter" / "settings" / "@jupyterlab" / "notebook-extension"
    settings.mkdir(parents=True)  # all cells stay in the page, those out of sight, too
    (settings / "tracker.jupyterlab-settings").write_text('{"windowingMode": "none"}', encoding="utf-8")
    own = {f"JUPYTER_{name}_DIR": str(notebook.parent / ".jupyter" / name) for name in ("CONFIG", "DATA", "RUNTIME")}
    own["JUPYTERLAB_SETTINGS_DIR"] = str(settings.parents[1])
    options = [f"--ServerApp.port={port}", f"--ServerApp.root_dir={notebook.parent}", "--IdentityProvider.token="]
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ServerApp.port_retries=0"]
    with open(notebook.parent / "lab.log", "wb") as log:
        server = subprocess.Popen([*command, *options], env={**os.environ, **own}, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/lab/tree/{notebook.name}"
    finally:
        server.terminate()
        server.wait(PATIENCE)


def wait(browser, selector: str):
    """The last element that a CSS selector, or an XPath, finds, as soon as it can be seen; scrolled to."""
    how = "xpath" if selector.startswith("//") else "css selector"
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with suppress(Exception):  # not there yet, or replaced in between
            element = browser.find_elements(how, selector)[-1]
            browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
            if element.is_displayed():
                return element
        time.sleep(0.2)
    raise AssertionError(f"{selector} did not come")


def seen(element) -> np.ndarray:
    """What the browser shows of an element, (H, W, 3)."""
    time.sleep(0.5)
    return np.asarray(Image.open(io.BytesIO(element.screenshot_as_png)).convert("RGB")).astype(int)


def differs(pixels: np.ndarray, path: Path) -> float:
    """Mean difference of what is shown from an image file, in levels; without the edges, where the line may be."""
    image = Image.open(path).convert("RGB").resize(pixels.shape[1::-1])
    return abs(pixels - np.asarray(image))[:, 8:-8].mean()


def move_and_compare(browser, selector: str, before: Path, after: Path) -> None:
    """By keys to either end, and with the mouse: what is shown is the file before, the one after, a part of each."""
    from selenium.webdriver import ActionChains, Keys

    page = wait(browser, selector)
    knob = page.find_element("css selector", "input")  # transparent: Selenium thinks that it is not displayed
    ActionChains(browser).click(page).send_keys(Keys.END).perform()
    assert differs(seen(page), before) < 3 < 10 < differs(seen(page), after)
    ActionChains(browser).send_keys(Keys.HOME).perform()
    assert differs(seen(page), after) < 3 < 10 < differs(seen(page), before)
    ActionChains(browser).send_keys(Keys.ARROW_RIGHT).perform()
    assert knob.get_attribute("value") == "1"
    ActionChains(browser).move_to_element(knob).click_and_hold().move_by_offset(-knob.size["width"] // 4, 0).perform()
    ActionChains(browser).release().perform()
    assert 22 <= int(knob.get_attribute("value")) <= 28
    shown = seen(page)
    first = int(0.2 * shown.shape[1])
    parts = [
        np.asarray(Image.open(path).convert("RGB").resize(shown.shape[1::-1])).astype(int) for path in (before, after)
    ]
    assert abs(shown - parts[0])[:, :first].mean() < 3 > abs(shown - parts[1])[:, 2 * first :].mean()


def drop(browser, path: Path, element) -> None:
    """A file from the desktop, let fall on an element."""
    place = browser.execute_script("return arguments[0].getBoundingClientRect().toJSON()", element)
    data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
    at = {"x": place["x"] + place["width"] / 2, "y": place["y"] + place["height"] / 2, "data": data}
    for kind in ("dragEnter", "dragOver", "drop"):
        browser.execute_cdp_cmd("Input.dispatchDragEvent", {"type": kind, **at})


def test_in_jupyterlab_it_runs_the_slider_moves_and_the_panel_restores(browser, lab, notebook):
    folder = notebook.parent
    browser.get(lab)
    wait(browser, ".jp-Notebook .jp-CodeCell")
    wait(browser, "//div[@id = 'jp-main-statusbar']//span[contains(., '| Idle')]")  # before, nothing runs
    wait(browser, "//div[contains(@class, 'lm-MenuBar-itemLabel') and text() = 'Run']").click()
    wait(browser, "//li[@data-command = 'runmenu:run-all']").click()
    panel = ".jp-OutputArea-output .widget-html .before-after"
    wait(browser, panel)
    static = ".jp-RenderedHTML .before-after"
    move_and_compare(browser, static, folder / "old.png", folder / "run" / "old.png")
    move_and_compare(browser, panel, folder / "old.png", folder / "run" / "panel" / "tried" / "old.png")

    wait(browser, "//label[contains(., 'faded:')]/input").click()
    wait(browser, "//div[contains(@class, 'widget-html-content') and contains(., 'faded, for its contrast')]")
    wait(browser, "//button[contains(., 'Restore at full size')]").click()
    wait(browser, "//a[@download = 'old.png']").click()
    downloaded = folder / "downloads" / "old.png"
    deadline = time.monotonic() + PATIENCE
    while not downloaded.exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert downloaded.read_bytes() == (folder / "run" / "panel" / "restored" / "old.png").read_bytes()

    (folder / "desktop").mkdir()
    other = folder / "desktop" / "other.png"
    Image.open(folder / "old.png").rotate(180).save(other)
    drop(browser, other, wait(browser, ".restore-panel .drop"))
    wait(browser, "//button[contains(@class, 'widget-upload') and contains(., '(1)')]")
    chosen, tried = (folder / "run" / "panel" / place / "other.png" for place in ("chosen", "tried"))
    deadline = time.monotonic() + PATIENCE
    while not tried.exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert chosen.read_bytes() == other.read_bytes()
    move_and_compare(browser, panel, other, tried)


def test_as_a_page_from_disk_the_slider_moves(browser, notebook):
    folder = notebook.parent
    command = [sys.executable, "-m", "nbconvert", "--to", "html", "--execute", notebook.name]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    page = notebook.with_suffix(".html")
    assert page.stat().st_size < 1_200_000
    browser.get(page.as_uri())
    move_and_compare(browser, ".before-after", folder / "old.png", folder / "run" / "old.png")
