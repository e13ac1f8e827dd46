"""Does the ageing look like the real thing? Statistics of real old photographs beside those of aged samples.

    python benchmarks/ageing.py FOLDER_OF_OLD_PHOTOGRAPHS

All images are reduced to 256 px. Black and white are the 1st and 99th percentile of the luma, chroma and b* (yellow)
are CIELAB means, contrast is the standard deviation of the luma; grain is the luma's RMS in the flattest tenth of the
16 x 16 tiles, in two bands of spatial frequency (cycles per pixel).
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from skimage.color import rgb2gray, rgb2lab

from restoration_lib.data import datasets, samples
from restoration_lib.data.files import list_images, to_uint8
from restoration_lib.degradations import age

SIDE, TILE, DRAWS = 256, 16, 5
BANDS = {"grain 1/8-1/4": (0.125, 0.25), "grain 1/4-1/2": (0.25, 0.51)}


def statistics(image: np.ndarray) -> dict[str, float]:
    """Figures of one image (H, W, 3), 8 bits; luma in grey levels."""
    luma, lab = 255 * rgb2gray(image), rgb2lab(image)
    black, white = np.percentile(luma, (1, 99))
    figures = {"black": black, "white": white, "contrast": luma.std()}
    figures |= {"chroma": np.hypot(lab[..., 1], lab[..., 2]).mean(), "b*": lab[..., 2].mean()}
    height, width = (side // TILE * TILE for side in luma.shape)
    tiles = luma[:height, :width].reshape(height // TILE, TILE, width // TILE, TILE).swapaxes(1, 2)
    tiles = tiles.reshape(-1, TILE, TILE)
    flat = tiles[np.argsort(tiles.std((1, 2)))][: max(1, len(tiles) // 10)]
    power = np.abs(np.fft.fft2(flat - flat.mean((1, 2), keepdims=True))) ** 2 / TILE**4
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(TILE), np.fft.fftfreq(TILE)))
    for name, (low, high) in BANDS.items():
        figures[name] = np.sqrt(power[:, (frequency >= low) & (frequency < high)].sum(1).mean())
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    real = datasets.load(list_images(parser.parse_args().folder), SIDE)
    clean = datasets.load(samples.split("photographs")["train"], SIDE)
    aged = []
    for draw in range(DRAWS):
        aged += [to_uint8(pair.input)[0] for pair in datasets.degraded_pairs(clean, age, seed=draw)]
    rows = [
        {"set": name, **statistics(array)}
        for name, arrays in (("real old", real.arrays), ("samples, aged", aged), ("samples", clean.arrays))
        for array in arrays
    ]
    quartiles = pd.DataFrame(rows).groupby("set", sort=False).quantile([0.25, 0.5, 0.75])
    print(quartiles.round(1).to_string())


if __name__ == "__main__":
    main()
