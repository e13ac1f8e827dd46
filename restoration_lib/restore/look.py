"""What a photograph lacks, by measures that need no original: contrast, cast, stains. And what `auto` does about it.

The bounds were chosen by looking at old prints before and after: what was not plainly better is left as it is.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from restoration_lib.degradations.monochrome import luma
from restoration_lib.restore.levels import factor_to, reduced

SIDE = 256  # px, of the copy that is looked at
TONES = 32  # levels of the luma that are told apart
BLACK, WHITE, BRIGHT = 0.005, 0.995, 0.97  # quantiles of the luma
ONE_TONE = 4 / 255  # RMS; what is left of the colours of a print of one tone, when its tone is taken out
LOW_CONTRAST = 0.75  # of the range
CAST = 12 / 255  # in the bright areas as in the whole; of a colour photograph
GREY = 3 / 255  # cast of a print that was never toned
STAIN, PART = 7 / 255, 16  # colour in a part of such a print; side of a part in px of the copy
LITTLE, MUCH = 3e-3, 0.25  # shares of the pixels: less is found where nothing is damaged, more is the photograph itself
SPECK = 2e-4  # share of the pixels: less is not worth a word


@dataclass(frozen=True)
class Look:
    """Of a photograph, in shares of the range.

    Attributes:
        contrast: from the black to the white point of the luma.
        cast: how far from grey the bright areas and the whole are, the smaller of the two.
        stain: how far from grey the part is that is furthest.
        is_monochrome: whether its colour follows from its luma, as in a grey, a sepia and a yellowed print.
    """

    contrast: float
    cast: float
    stain: float
    is_monochrome: bool

    @property
    def is_toned(self) -> bool:
        """Whether it is a print of one tone that is not grey."""
        return self.is_monochrome and self.cast > GREY


def look(pixels: np.ndarray) -> Look:
    """Look at a photograph (H, W, C), see `levels`."""
    images = reduced(pixels, factor_to(pixels, SIDE))
    grey = luma(images)
    chroma = (images - grey)[0, ::2]  # red and blue
    stain = F.avg_pool2d(chroma, PART, ceil_mode=True).square().mean(0).sqrt().max().item()
    chroma, grey = chroma.flatten(1), grey.flatten()
    black, bright, white = np.quantile(grey.numpy(), (BLACK, BRIGHT, WHITE)).tolist()
    casts = [_length(chroma[:, chosen].mean(1)) for chosen in (grey >= bright, grey >= 0)]
    tones = (grey * (TONES - 1)).round().long()
    counts = torch.bincount(tones, minlength=TONES).clamp(min=1)
    of_tones = torch.stack([torch.bincount(tones, channel, TONES) / counts for channel in chroma])
    rest = (chroma - of_tones[:, tones]).square().mean().sqrt().item()
    return Look(white - black, min(casts), stain, rest <= ONE_TONE)


def decide(seen: Look, damage: float | None) -> dict[str, str]:
    """What a photograph needs, out of "scratches" and "faded", and why, in words.

    Args:
        damage: share of the pixels found damaged; None where nobody looked.
    """
    needs = {}
    if damage is not None and LITTLE <= damage <= MUCH:
        needs["scratches"] = f"{_percent(damage)} of the pixels look damaged"
    if seen.contrast < LOW_CONTRAST:
        needs["faded"] = f"its contrast is {100 * seen.contrast:.0f} % of the range"
    elif seen.is_monochrome and not seen.is_toned and seen.stain > STAIN:
        needs["faded"] = f"a grey print, and in places {100 * seen.stain:.0f} % of the range from grey"
    return needs


def left(seen: Look, damage: float | None) -> list[str]:
    """What `decide` leaves as it is, for it may be the photograph itself, in words. Arguments as for `decide`."""
    words = []
    if damage is not None and SPECK <= damage < LITTLE:
        few = f"{_percent(damage)} of the pixels may be damaged, too few to be sure"
        words.append(f"{few}: the model scratches would paint them")
    if seen.contrast >= LOW_CONTRAST and not seen.is_monochrome and seen.cast > CAST:
        words.append(
            f"a cast of {100 * seen.cast:.0f} % of the range, which may be its own: the model faded would change it"
        )
    return words


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"


def _length(chroma: torch.Tensor) -> float:
    return chroma.square().mean().sqrt().item()
