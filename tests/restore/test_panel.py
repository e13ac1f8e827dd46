"""What a notebook shows of a restored photograph, and the panel, driven as a browser would."""

import base64
import io
import subprocess
import sys
from datetime import UTC, datetime
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from restoration_lib.restore import panel, restore_photo
from restoration_lib.restore.weights import MODELS


class Page(HTMLParser):
    """The elements of a page as dictionaries of attributes, by tag; every element is closed."""

    def __init__(self, text: str):
        super().__init__()
        self.found, self.open = {}, []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.found.setdefault(tag, []).append(dict(attributes))
        if tag not in ("img", "input", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def image(uri: str) -> Image.Image:
    head, data = uri.split(",")
    assert head == "data:image/webp;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def images(text: str) -> dict[str, np.ndarray]:
    """The images of a slider by their classes."""
    return {found["class"]: np.asarray(image(found["src"])).astype(int) for found in Page(text).found["img"]}


@pytest.fixture
def photograph(levels, tmp_path):
    Image.fromarray(levels).save(tmp_path / "a <b>.png")
    return tmp_path / "a <b>.png"


# ---- what is shown


def test_a_slider_is_two_images_and_an_input_that_moves_the_line(levels):
    page = Page(panel.slider(levels, 255 - levels)).found
    shown = images(panel.slider(levels, 255 - levels))
    assert abs(shown["before"] - levels).mean() < 12 and abs(shown["after"] - (255 - levels)).mean() < 12
    assert all(found["alt"] for found in page["img"])
    [knob] = page["input"]
    assert knob["type"] == "range" and knob["aria-label"] and "--at" in knob["oninput"]
    assert "script" not in page and "link" not in page
    assert not [value for found in page["img"] for value in found.values() if "//" in value and "base64" not in value]


def test_a_slider_of_a_large_photograph_is_small():
    noise = np.random.default_rng(0).integers(0, 65536, (1500, 3000, 1), dtype=np.uint16)
    smooth = np.asarray(Image.fromarray(noise[..., 0]).resize((3000, 1500)))[..., None]
    text = panel.slider(smooth, np.repeat(np.repeat(smooth, 2, 0), 2, 1))
    assert {found["class"] for found in Page(text).found["img"]} == {"before", "after"}
    assert {array.shape for array in images(text).values()} == {(500, 1000, 3)}
    assert len(text) < 1_000_000


def test_16_bits_are_shown_as_their_8_bits(levels):
    deep = levels.astype(np.uint16) * 257
    assert np.array_equal(panel.thumbnail(deep), levels)


def test_what_was_painted_is_red_however_thin(levels):
    mask = np.zeros((61, 83), bool)
    mask[:, 40] = True
    seen = panel.marked(levels, mask)
    assert np.array_equal((seen == panel.RED).all(2), mask) and np.array_equal(seen[~mask], levels[~mask])
    assert np.array_equal(panel.marked(levels, None), levels)
    large = np.zeros((2000, 3000, 3), np.uint8)
    line = np.zeros((2000, 3000), bool)
    line[1001] = True
    seen = (panel.marked(large, line) == panel.RED).all(2)
    assert seen.shape == (667, 1000) and seen.all(1).sum() == 1


def test_the_detail_lies_where_most_was_painted(tmp_path):
    before = np.zeros((1000, 1500, 1), np.uint8)
    before[900:, 1400:] = 255
    mask = np.zeros((1000, 1500), bool)
    mask[950:, 1450:] = True
    after = np.full((2000, 3000, 1), 255, np.uint8)
    figure = panel.detail(panel.Restored(tmp_path, before, after, mask, []))
    left, right = (one.get_array() for one in figure.images)
    assert left.shape == right.shape == (640, 640, 3)
    assert left[-200:, -200:].min() == 255 and left[:-200].max() == 0
    left, right = panel.detail(panel.Restored(tmp_path, before, after, None, [])).images
    assert left.get_array().max() == 0, "in the middle, where nothing was painted"


def test_restored_is_what_restore_photo_makes(models, photograph, tmp_path):
    seen = panel.restore(photograph, tmp_path / "out", "scratches")
    restore_photo(photograph, tmp_path / "other.png", "scratches", mask_target=tmp_path / "mask.png")
    assert np.array_equal(seen.after, np.asarray(Image.open(tmp_path / "other.png")))
    assert np.array_equal(seen.mask, np.asarray(Image.open(tmp_path / "mask.png")) > 0) and seen.mask.any()
    assert (seen.after != seen.before).any() and seen.words
    again = panel.restore(photograph, tmp_path / "out", "faded")
    assert again.mask is None, "that of an earlier run is gone"


# ---- the panel


def test_every_model_can_be_ticked_and_each_change_restores_again(models, photograph, tmp_path):
    shown = panel.Panel(photograph, tmp_path / "panel", "faded")
    assert set(shown.models) == set(MODELS) and [n for n, box in shown.models.items() if box.value] == ["faded"]
    kinds = [MODELS[name].kind for name in shown.models]
    assert kinds == sorted(kinds, key=["damage", "colour", "image"].index)
    views = [shown.view.value]
    shown.strength.value = 0.5
    assert "strength 0.5" in shown.words.value
    views.append(shown.view.value)
    shown.models["faded"].value, shown.models["scratches"].value = False, True
    views.append(shown.view.value)
    few = shown.restored.mask.sum()
    shown.threshold.value = -5
    assert shown.restored.mask.sum() > few
    views.append(shown.view.value)
    assert len(set(views)) == len(views)
    assert not np.array_equal(*images(views[-1]).values())


def test_nothing_ticked_is_auto(models, photograph, tmp_path):
    shown = panel.Panel(photograph, tmp_path / "panel")
    expected = restore_photo(photograph, tmp_path / "out.png")
    assert not any(box.value for box in shown.models.values())
    assert shown.restored.words == expected


def test_the_mask_can_be_shown(models, photograph, tmp_path):
    shown = panel.Panel(photograph, tmp_path / "panel", "scratches")
    shown.show_mask.value = True
    seen = images(shown.view.value)
    painted = (abs(seen["after"] - panel.RED) < 60).all(2)
    assert painted[shown.restored.mask].mean() > 0.5 > painted[~shown.restored.mask].mean()
    shown.show_mask.value = False
    assert np.array_equal(images(shown.view.value)["before"], seen["before"])


def test_a_large_photograph_is_tried_reduced_and_downloaded_whole(models, tmp_path):
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
    coarse.resize((1600, 1200), Image.Resampling.BICUBIC).save(tmp_path / "large.jpg", dpi=(300, 300))
    mask = Image.new("L", (1600, 1200))
    mask.paste(255, (400, 300, 404, 900))
    mask.save(tmp_path / "mine.png")
    shown = panel.Panel(tmp_path / "large.jpg", tmp_path / "panel", "scratches", mask=str(tmp_path / "mine.png"))
    assert "1000 x 750" in shown.words.value and shown.restored.mask.shape == (750, 1000)
    assert shown.restored.mask.any(0).nonzero()[0].tolist() == [250, 251, 252]
    shown.at_full_size.click()
    [link] = Page(shown.download.value).found["a"]
    head, data = link["href"].split(",")
    assert link["download"] == "large.jpg" and head == "data:image/jpeg;base64"
    whole = Image.open(io.BytesIO(base64.b64decode(data)))
    restore_photo(tmp_path / "large.jpg", tmp_path / "o.jpg", "scratches", mask=tmp_path / "mine.png")
    assert whole.size == (1600, 1200) and whole.info["dpi"] == (300, 300)
    assert base64.b64decode(data) == (tmp_path / "o.jpg").read_bytes()
    shown.threshold.value = 1
    assert not shown.download.value, "a link to what the knobs do not say"


def test_a_chosen_file_takes_the_place_of_the_first_and_of_its_mask(models, photograph, tmp_path):
    shown = panel.Panel(photograph, tmp_path / "panel", "scratches", mask=str(photograph))
    for value in (50, 200):
        file = io.BytesIO()
        Image.new("RGB", (40, 30), (value, value, 0)).save(file, "PNG")
        about = {"name": "../b.png", "type": "image/png", "size": len(file.getvalue())}
        about |= {"last_modified": datetime.now(UTC), "content": memoryview(file.getvalue())}
        shown.upload.value = (about,)
        assert shown.restored.before.shape == (30, 40, 3) and shown.restored.before[0, 0, 0] == value
        assert shown.mask == "" and shown.path.value == str(tmp_path / "panel" / "chosen" / "b.png")


def test_what_cannot_be_done_is_said_and_the_next_photograph_is_taken(models, photograph, tmp_path):
    (tmp_path / "<i>.jpg").write_text("no image")
    shown = panel.Panel(tmp_path / "<i>.jpg", tmp_path / "panel")
    assert "&lt;i&gt;.jpg" in shown.words.value and not shown.view.value
    shown.at_full_size.click()
    assert "&lt;i&gt;.jpg" in shown.words.value and not shown.download.value
    shown.path.value = str(photograph)
    assert images(shown.view.value)
    (models / "enlarge-2x.safetensors").unlink()
    shown.models["enlarge-2x"].value = True
    assert "enlarge-2x" in shown.words.value and not shown.view.value


def test_there_is_no_panel_where_nobody_is(capsys, photograph, tmp_path):
    assert panel.attended(photograph, tmp_path / "panel") is None
    assert "Jupyter" in capsys.readouterr().out and not (tmp_path / "panel").exists()


def test_the_command_imports_no_widgets(models, photograph, tmp_path):
    code = "import sys; from restoration_lib.restore.command import restore; from restoration_lib.restore import photo"
    code += "; print({'ipywidgets', 'matplotlib', 'IPython'} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"


def test_a_file_can_be_dropped_beside_the_button(photograph, tmp_path, register):
    """How the browser takes it, `test_browser` tries."""
    register("faded")
    shown = panel.Panel(photograph, tmp_path)
    button, place, _ = shown.children[0].children
    assert button is shown.upload and "ondrop" in place.value and "restore-panel" in shown._dom_classes
