"""A photograph restored, to be looked at in a notebook: a slider between before and after, what was painted, a detail.

All of that is plain HTML and figures. With a kernel and a person at it there is a `Panel` to turn knobs, too.
"""

import base64
import html
import io
import mimetypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import ipywidgets as widgets
import numpy as np
from IPython import get_ipython
from matplotlib.figure import Figure
from PIL import Image

from restoration_lib import plots
from restoration_lib.data.files import SUFFIXES
from restoration_lib.filesystem import expanded, shown
from restoration_lib.restore.levels import images_of
from restoration_lib.restore.photo import AUTO, mask_of, restore_photo
from restoration_lib.restore.photograph import read
from restoration_lib.restore.weights import COLOUR, DAMAGE, IMAGE, MODELS, WeightsError

SIDE = 1000  # px, longer side of what is shown, at most: a page with a slider stays under a megabyte
DETAIL = 320  # px
RED = (255, 0, 0)
ORDER = (DAMAGE, COLOUR, IMAGE)  # kinds of models: damage is found best in what nothing has changed yet
STYLE = """<style>
.before-after { position: relative; width: fit-content; max-width: 100%; overflow: hidden; }
.before-after img { display: block; max-width: 100%; margin: 0; }
.before-after .before { position: absolute; inset: 0; width: 100%; height: 100%;
  clip-path: inset(0 calc(100% - var(--at)) 0 0); }
.before-after input { position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0;
  cursor: ew-resize; }
.before-after i { position: absolute; top: 0; bottom: 0; left: calc(var(--at) - 1px); width: 2px; background: white;
  box-shadow: 0 0 3px black; pointer-events: none; }
.before-after input:focus-visible + i { box-shadow: 0 0 0 3px dodgerblue; }
</style>"""

DROP = """<div style="border: 1px dashed gray; padding: 0 1em" class="drop" ondragover="event.preventDefault()" ondrop="
  event.preventDefault(); event.stopPropagation();
  const files = event.dataTransfer.files, input = HTMLInputElement.prototype, click = input.click;
  input.click = function () { this.files = files; this.dispatchEvent(new Event('change')); };
  try { this.closest('.restore-panel').querySelector('.widget-upload').click(); } finally { input.click = click; }
">or drop it here</div>"""  # the button takes no drop; it asks a hidden field for a file, which gets the dropped one


@dataclass(frozen=True)
class Restored:
    """What there is to see of a restored photograph.

    Attributes:
        target: its file.
        before, after: (H, W, C), see `levels`; after an enlargement the second is larger.
        mask: (h, w), bool, the pixels that were painted, before or after an enlargement; None where nobody looked.
        words: what was done and why.
    """

    target: Path
    before: np.ndarray
    after: np.ndarray
    mask: np.ndarray | None
    words: list[str]


def restore(
    source: str | Path, folder: Path, models: str | Sequence[str] = AUTO, mask: str = "", **options
) -> Restored:
    """Restore a photograph into a folder, under its own name, and the mask as NAME.mask.png.

    Args:
        mask: file of a mask to be used; "" has one found.
        options: of `restore_photo`, whose errors these are.
    """
    source = expanded(source)
    target, painted = folder / source.name, folder / f"{source.name}.mask.png"
    painted.unlink(missing_ok=True)  # of an earlier run; this one may find none
    given = expanded(mask) if mask else None
    words = restore_photo(source, target, models, mask=given, mask_target=painted, **options)
    found = read(painted).pixels[..., 0] > 0 if painted.exists() else None
    return Restored(target, read(source).pixels, read(target).pixels, found, words)


def slider(before: np.ndarray, after: np.ndarray) -> str:
    """Before | after as HTML, on its own: it needs no kernel, no script file, and works from disk.

    JupyterLab would take the arrow keys for its own, but for `data-lm-suppress-shortcuts`.

    Args:
        before, after: (H, W, C), see `levels`; they are reduced to SIDE.
    """
    return f"""{STYLE}
<div class="before-after" style="--at: 50%">
<img class="after" alt="the photograph after" src="{_embedded(after)}">
<img class="before" alt="the photograph before" src="{_embedded(before)}">
<input type="range" value="50" aria-label="how much is shown as before, in percent" data-lm-suppress-shortcuts="true"
  oninput="this.parentNode.style.setProperty('--at', this.value + '%')"><i></i>
</div>
<p>Before | after: drag the line, or press the arrow keys.</p>"""


def marked(pixels: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """A photograph (H, W, C), reduced to SIDE, with the pixels of a mask of any size in red."""
    image = thumbnail(pixels)
    seen = np.array(image)
    if mask is not None:
        seen[resized(mask, image.size)] = RED
    return seen


def painted(restored: Restored) -> Figure:
    """The photograph with what was painted in red."""
    return plots.images([[images_of(marked(restored.before, restored.mask))]], side=SIDE)


def detail(restored: Restored) -> Figure:
    """A square of DETAIL px, where most was painted, else in the middle, before and after; each pixel is seen."""
    height, width = restored.before.shape[:2]
    top, left = max(0, height - DETAIL) // 2, max(0, width - DETAIL) // 2
    if restored.mask is not None and restored.mask.any():
        grid = -(-width // DETAIL), -(-height // DETAIL)
        squares = Image.fromarray(restored.mask).convert("F").resize(grid, Image.Resampling.BOX)
        row, column = np.unravel_index(np.asarray(squares).argmax(), grid[::-1])
        top, left = max(0, min(row * DETAIL, height - DETAIL)), max(0, min(column * DETAIL, width - DETAIL))
    crops = []
    for pixels in (restored.before, restored.after):
        scale = len(pixels) // height
        rows, columns = (slice(scale * start, scale * (start + DETAIL)) for start in (top, left))
        crops.append(images_of(pixels[rows, columns]))
    return plots.images([crops], ["before", "after"], side=max(DETAIL, *crops[1].shape[2:]))


def thumbnail(pixels: np.ndarray) -> Image.Image:
    """A photograph (H, W, C) in 8 bits, RGB, its longer side reduced to SIDE where it has more."""
    levels = pixels if pixels.dtype == np.uint8 else (pixels // 257).astype(np.uint8)
    image = Image.fromarray(levels.squeeze(2) if levels.shape[2] == 1 else levels)
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS, reducing_gap=3)
    return image.convert("RGB")


def resized(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A mask (H, W) at another size, (width, height): what holds a pixel of it is of it, so that no line is lost."""
    return np.asarray(Image.fromarray(mask).convert("F").resize(size, Image.Resampling.BOX)) > 0


def _embedded(pixels: np.ndarray) -> str:
    file = io.BytesIO()
    thumbnail(pixels).save(file, "WEBP", quality=85)
    return _data_uri(file.getvalue(), "image/webp")


def _data_uri(data: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def attended(*arguments, **options) -> "Panel | None":
    """A `Panel` where somebody is at the notebook; where papermill or nbconvert executes it, nobody can be asked."""
    kernel = getattr(get_ipython(), "kernel", None)
    if getattr(kernel, "_allow_stdin", False):
        return Panel(*arguments, **options)
    print("Executed by a program: open the notebook in Jupyter for the panel.")
    return None


class Panel(widgets.VBox):
    """Choose a photograph, models, threshold and strength: each change restores it again, a large one reduced to SIDE.

    Args:
        source, models, threshold, strength, mask: as for `restore`, to begin with; the mask is the first photograph's.
        folder: for what is chosen, tried and, on demand, restored at full size.

    Attributes:
        upload, path, models, threshold, strength, show_mask, at_full_size: what a person turns; `models` by name, and
            with none of them chosen the photograph is looked at.
        words, view, download: what they see.
    """

    def __init__(
        self,
        source: str | Path,
        folder: Path,
        models: str | Sequence[str] = AUTO,
        threshold: float = 0.0,
        strength: float = 1.0,
        mask: str = "",
    ):
        chosen = models.split(",") if isinstance(models, str) else models
        names = sorted(MODELS, key=lambda name: ORDER.index(MODELS[name].kind))
        wide = widgets.Layout(width="40em")
        self.folder, self.mask = folder, mask
        self.upload = widgets.FileUpload(accept=",".join(SUFFIXES), description="Choose a file")
        self.path = widgets.Text(
            str(source), description="or its path", continuous_update=False, layout={"width": "30em"}
        )
        self.models = {
            name: widgets.Checkbox(
                name in chosen, description=f"{name}: {MODELS[name].does}", indent=False, layout=wide
            )
            for name in names
        }
        sliding = {"continuous_update": False, "layout": wide}
        self.threshold = widgets.FloatSlider(threshold, min=-10, max=10, description="threshold", **sliding)
        self.strength = widgets.FloatSlider(strength, min=0, max=1, step=0.05, description="strength", **sliding)
        self.show_mask = widgets.ToggleButton(False, description="Show what was painted", layout={"width": "auto"})
        self.at_full_size = widgets.Button(description="Restore at full size", button_style="primary")
        self.words, self.view, self.download = widgets.HTML(), widgets.HTML(), widgets.HTML()
        super().__init__([
            widgets.HBox([self.upload, widgets.HTML(DROP), self.path]),
            widgets.HTML("Models, applied from top to bottom; with none ticked, what the photograph needs:"),
            *self.models.values(), self.threshold, self.strength,
            widgets.HBox([self.show_mask, self.at_full_size]), self.download, self.words, self.view,
        ])  # fmt: skip
        self.add_class("restore-panel")
        self.upload.observe(self._take_upload, "value")
        self.path.observe(self._open_another, "value")
        for knob in (*self.models.values(), self.threshold, self.strength):
            knob.observe(self._try, "value")
        self.show_mask.observe(self._show, "value")
        self.at_full_size.on_click(self._restore_at_full_size)
        self._open()

    def _take_upload(self, change: dict) -> None:
        for file in change["new"]:
            self.path.value = ""  # that a second file of the same name is another one, too
            with self._reporting():
                place = self.folder / "chosen" / Path(file["name"]).name
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(file["content"])
                self.path.value = str(place)

    def _open_another(self, change: dict) -> None:
        self.mask = ""
        self._open()

    def _open(self) -> None:
        """Try the photograph at `path`, or a reduced copy."""
        self.tried = None
        with self._reporting():
            if self.path.value:
                self.tried = self._reduced(expanded(self.path.value.strip()))
        self._try()

    def _reduced(self, source: Path) -> tuple[Path, str]:
        """The files of a photograph and its mask, or of reduced copies."""
        pixels = read(source).pixels
        if max(pixels.shape[:2]) <= SIDE:
            return source, self.mask
        folder, image, mask = self.folder / "reduced", thumbnail(pixels), ""
        folder.mkdir(parents=True, exist_ok=True)
        image.save(copy := folder / f"{source.stem}.png")
        if self.mask:
            given = mask_of(read(expanded(self.mask)).pixels)
            mask = str(folder / f"{source.stem}.mask.png")
            Image.fromarray(resized(given, image.size)).save(mask)
        return copy, mask

    def _try(self, change: dict | None = None) -> None:
        self.download.value, self.restored = "", None
        if self.tried:
            with self._reporting():
                source, mask = self.tried
                self.restored = restore(source, self.folder / "tried", mask=mask, **self._options())
                height, width = self.restored.before.shape[:2]
                self._say(f"Tried on {width} x {height} px.", *self.restored.words)
        self._show()

    def _options(self) -> dict:
        chosen = [name for name, box in self.models.items() if box.value]
        return {"models": chosen or AUTO, "threshold": self.threshold.value, "strength": self.strength.value}

    def _show(self, change: dict | None = None) -> None:
        seen = self.restored
        if not seen:
            self.view.value = ""
        elif self.show_mask.value:
            self.view.value = slider(seen.before, marked(seen.before, seen.mask))
        else:
            self.view.value = slider(seen.before, seen.after)

    def _restore_at_full_size(self, button: widgets.Button) -> None:
        self.download.value = "Restoring at full size …"
        link = ""
        with self._reporting():
            done = restore(self.path.value.strip(), self.folder / "restored", mask=self.mask, **self._options())
            height, width = done.after.shape[:2]
            link = f"{_download(done.target)}, {width} x {height} px, in {html.escape(shown(done.target.parent))}"
            self._say(*done.words)
        self.download.value = link

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        """What cannot be done is said, in a line."""
        self._say("Restoring …")
        try:
            yield
        except (ValueError, OSError, MemoryError, WeightsError) as error:
            self._say(str(error) or type(error).__name__)

    def _say(self, *words: str) -> None:
        self.words.value = "<br>".join(html.escape(shown(word)) for word in words)


def _download(path: Path) -> str:
    """A link that holds the whole file: the browser saves it wherever the kernel runs."""
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    name = html.escape(shown(path.name))
    return f'<a download="{name}" href="{_data_uri(path.read_bytes(), kind)}">Download {name}</a>'
