"""Super-resolution: small pictures and their truths, and how good their enlargements are. One row per picture."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from skimage.color import rgb2ycbcr
from torch import Tensor

from restoration_lib.baselines import BICUBIC
from restoration_lib.data import CropBatches, Pair, Pictures, central, load
from restoration_lib.degradations import downscale, upscale
from restoration_lib.evaluation import RESTORED, beside
from restoration_lib.images import ImageError, list_images, to_uint8
from restoration_lib.methods.srgan import SRGAN
from restoration_lib.metrics import METRICS, lpips, psnr, ssim

SMALLEST = 32  # px, side of a picture that can be measured: what VGG and the window of SSIM leave of it
RGB = ("psnr", "ssim", "lpips")  # of METRICS


class TurnedBatches(CropBatches):
    """As `data.CropBatches`, each crop turned by a random multiple of 90° as well."""

    def _crop(self, index: int, generator: torch.Generator) -> Tensor:
        turns = int(torch.randint(4, (), generator=generator))
        return super()._crop(index, generator).rot90(turns, (1, 2)).contiguous()


def enlargement_pairs(pictures: Pictures, scale: int, crop: int = 0) -> list[Pair]:
    """Small pictures and their truths, which lose the rows and columns that `scale` leaves over.

    Args:
        crop: of each picture, take the central `crop` x `crop` px, or what there is of them; 0 takes all.
    """
    pairs = []
    for name, array in zip(pictures.names, pictures.arrays, strict=True):
        whole = central(array, crop)
        height, width = (side // scale * scale for side in whole.shape[-2:])
        truth = whole[..., :height, :width]
        pairs.append(Pair(name, downscale(truth, scale), truth))
    return pairs


def test_sets(folder: str, scale: int, taken: str = "") -> tuple[dict[str, list[Pair]], list[str]]:
    """Pairs of whole pictures, by the name of the subfolder that holds them, and a line for each picture left out.

    "" is no folder and no sets; hidden subfolders are none.

    Args:
        taken: a name that stands for another set.

    Raises:
        ImageError: no such folder, no subfolders in it, one with the name that is taken, or none of a subfolder's
            pictures can be used.
    """
    if not folder:
        return {}, []
    place = Path(folder).expanduser()
    found = sorted(path for path in place.glob("[!.]*") if path.is_dir())
    if not found:
        raise ImageError(f"{place}: no test sets; give a folder with a subfolder for each")
    if place / taken in found:
        raise ImageError(f"{place / taken}: the data set's own test pictures have this name; rename the folder")
    sets = {path.name: load(list_images(path), least=SMALLEST) for path in found}
    skipped = [f"{name}/{line}" for name, pictures in sets.items() for line in pictures.skipped]
    return {name: enlargement_pairs(pictures, scale) for name, pictures in sets.items()}, skipped


def measure(
    method: SRGAN, pairs: list[Pair], scale: int, bicubic: bool = True, network: str = "generator"
) -> pd.DataFrame:
    """Rows `picture, method`, of the restored picture and of the bicubic enlargement (unless it is not asked for), with

    - `psnr_y`, `ssim_y`: of the luma, `scale` pixels of each border left out, as in the papers,
    - `psnr`, `ssim`, `lpips`: of the whole picture in RGB.

    Args:
        network: of the method, that restores.
    """
    rows = []
    for pair in pairs:
        truth = to_uint8(pair.target)[0]
        results = {RESTORED: method.restore(beside(method, pair.input), network)}
        if bicubic:
            results[BICUBIC] = upscale(pair.input, scale)
        for name, picture in results.items():
            rows.append({"picture": pair.name, "method": name} | figures_of(truth, to_uint8(picture)[0], scale))
    return pd.DataFrame(rows)


def figures_of(truth: np.ndarray, picture: np.ndarray, scale: int) -> dict[str, float]:
    """The figures of `measure` of one 8-bit picture (H, W, 3)."""
    lumas = luma(truth, scale), luma(picture, scale)
    return {"psnr_y": psnr(*lumas), "ssim_y": ssim(*lumas), **{name: METRICS[name](truth, picture) for name in RGB}}


def luma(picture: np.ndarray, border: int) -> np.ndarray:
    """BT.601 studio-range luma (H, W) of 8-bit RGB, rounded to 8 bits as in the papers' code, without the border.

    A grey picture is taken as RGB, and so as luma of a smaller range: its PSNR is 1.3 dB above that of its grey.
    """
    return rgb2ycbcr(picture)[border:-border, border:-border, 0].round().astype(np.uint8)


def validator(pairs: list[Pair], scale: int) -> Callable[[SRGAN], dict[str, float]]:
    """For `training.fit`: means of `psnr_y` and `lpips`."""

    def validate(method: SRGAN) -> dict[str, float]:
        rows = []
        for pair in pairs:
            truth, picture = (to_uint8(p)[0] for p in (pair.target, method.restore(beside(method, pair.input))))
            rows.append((psnr(luma(truth, scale), luma(picture, scale)), lpips(truth, picture)))
        return dict(zip(("psnr_y", "lpips"), map(float, np.mean(rows, 0)), strict=True))

    return validate


def require_crop(name: str, crop: int, scale: int) -> None:
    """Raise ValueError if crops of this side, in pixels, the parameter `name`, cannot train or be measured."""
    if crop < SMALLEST or crop % scale:
        raise ValueError(f"{name}: expected {SMALLEST} px or more and a multiple of the scale {scale}, got {crop}")
