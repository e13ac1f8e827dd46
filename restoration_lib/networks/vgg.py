"""VGG as a fixed judge of what is in an image."""

import torch.nn.functional as F
from torch import Tensor, nn

# Convolutions of each block, by their number in all.
WIDTHS = {
    13: ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512)),
    16: ((64, 64), (128, 128), (256,) * 4, (512,) * 4, (512,) * 4),
}
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, which it was trained on


class VGG(nn.Module):
    """The convolutions of VGG-16 or VGG-19 (Simonyan and Zisserman 2015, configurations D and E), frozen.

    Args:
        tensors: `conv0.weight`, `conv0.bias`, … as `vgg_weights.vgg16` and `vgg19` give them; how many there are
            says which network it is.
    """

    def __init__(self, tensors: dict[str, Tensor]):
        super().__init__()
        tensors = {name: tensor for name, tensor in tensors.items() if name.startswith("conv")}
        self.blocks = WIDTHS[len(tensors) // 2]
        self.name = f"vgg{len(tensors) // 2 + 3}"  # three more layers made it a classifier
        widths = [3, *(width for block in self.blocks for width in block)]
        for k in range(len(widths) - 1):
            # without memory: weights to begin with would be drawn for nothing
            self.add_module(f"conv{k}", nn.Conv2d(widths[k], widths[k + 1], 3, padding=1, device="meta"))
        self.load_state_dict(tensors, assign=True)
        self.requires_grad_(False)

    def forward(self, images: Tensor, depth: int = 5) -> list[Tensor]:
        """Maps after the last ReLU of each block, relu1_2 to relu5_3 or relu5_4, of images (N, 3, H, W) in [0, 1].

        Args:
            depth: how many blocks; those after them are not computed.

        Raises:
            ValueError: a side below 16 pixels, of which four halvings leave nothing.
        """
        if min(images.shape[-2:]) < 16:
            raise ValueError(f"VGG: images of {tuple(images.shape[-2:])} px are too small, take 16 px or more")
        mean, deviation = (images.new_tensor(values).view(1, 3, 1, 1) for values in (MEAN, DEVIATION))
        x, maps, layers = (images - mean) / deviation, [], iter(self.children())
        for block in self.blocks[:depth]:
            if maps:
                x = F.max_pool2d(x, 2)
            for _ in block:
                x = F.relu(next(layers)(x))
            maps.append(x)
        return maps
