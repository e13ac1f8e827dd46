"""VGG-16 as a fixed judge of what is in a picture."""

import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, which it was trained on


class VGG16(nn.Module):
    """The convolutions of VGG-16 (Simonyan and Zisserman 2015, configuration D), frozen.

    Args:
        tensors: `conv0.weight`, `conv0.bias`, … as `weights.vgg16` gives them.
    """

    def __init__(self, tensors: dict[str, Tensor]):
        super().__init__()
        widths = [3, *(width for block in WIDTHS for width in block)]
        for k in range(len(widths) - 1):
            self.add_module(f"conv{k}", nn.Conv2d(widths[k], widths[k + 1], 3, padding=1))
        self.load_state_dict({name: tensor for name, tensor in tensors.items() if name.startswith("conv")})
        self.requires_grad_(False)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """Maps after ReLU at the end of each block, relu1_2 to relu5_3, of pictures (N, 3, H, W) in [0, 1].

        Raises:
            ValueError: a side below 16 pixels, of which four halvings leave nothing.
        """
        if min(pictures.shape[-2:]) < 16:
            raise ValueError(f"VGG-16: pictures of {tuple(pictures.shape[-2:])} px are too small, take 16 px or more")
        mean, deviation = (pictures.new_tensor(values).view(1, 3, 1, 1) for values in (MEAN, DEVIATION))
        x, maps, layers = (pictures - mean) / deviation, [], iter(self.children())
        for block in WIDTHS:
            if maps:
                x = F.max_pool2d(x, 2)
            for _ in block:
                x = F.relu(next(layers)(x))
            maps.append(x)
        return maps
