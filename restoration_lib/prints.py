"""Training pictures as monochrome prints, as old photographs are."""

import torch
from torch import Tensor
from torch.utils.data import Dataset

from restoration_lib.data import CropBatches, generator_for
from restoration_lib.degradations.ageing import luma
from restoration_lib.degradations.damage import damage_mask

SEPIA = (1.0, 0.92, 0.75)  # of the luma, in the brownest print
GAMMA = 0.45, 1.5  # of the luma, in the lightest and in the darkest print


class PrintBatches(Dataset):
    """The batches of another set, a share of their pairs as prints: grey to sepia, darker or lighter, both sides alike.

    A network that saw few such pictures may take what is grey and bright for damage.

    Args:
        share: of the pairs, in [0, 1].
        drawn: whether the inputs' damage was drawn on the targets; what no longer shows in a print is then none.

    Raises:
        ValueError: a share out of its range; the message calls it "monochrome".
    """

    def __init__(self, batches: CropBatches, share: float, drawn: bool):
        if not 0 <= share <= 1:
            raise ValueError(f"monochrome: expected a share between 0 and 1, got {share}")
        self.batches, self.share, self.drawn = batches, share, drawn

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        batch, generator = self.batches[step], generator_for("monochrome", self.batches.seed, step)
        chosen, brown, dark = torch.rand(3, self.batches.batch_size, 1, 1, 1, generator=generator)
        tone = torch.lerp(torch.ones(3, 1, 1), torch.tensor(SEPIA).view(3, 1, 1), brown)
        gamma = GAMMA[0] * (GAMMA[1] / GAMMA[0]) ** dark
        made, target = (
            torch.where(chosen < self.share, _printed(batch[side], gamma, tone), batch[side])
            for side in ("input", "target")
        )
        if self.drawn:
            made = torch.where(damage_mask(made, target), made, target)
        return {"input": made, "target": target}


def _printed(pictures: Tensor, gamma: Tensor, tone: Tensor) -> Tensor:
    """Rounded to 8 bits, as in any file."""
    return (luma(pictures) ** gamma * tone * 255).round() / 255
