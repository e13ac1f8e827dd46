"""S0 and S3: translation between two domains of which no pairs are known (CycleGAN, Zhu et al. 2017)."""

import math
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from restoration_lib import losses
from restoration_lib.methods.base import Method, constant_then_linear
from restoration_lib.networks.cyclegan import NORMS, OldPhotoDiscriminator, OldPhotoGenerator, ResnetGenerator
from restoration_lib.networks.discriminators import PatchGAN

SYSTEMS = ("s0", "s3")
# The eight pictures of a step; a name is that of the domain that the picture should belong to.
PATHS = ("real_a", "fake_b", "round_trip_a", "identity_a", "real_b", "fake_a", "round_trip_b", "identity_b")


class PicturePool:
    """A history of generated pictures, lest a discriminator forget (Shrivastava et al. 2017, section 2.3)."""

    def __init__(self, size: int):
        self.size = size
        self.pictures: list[Tensor] = []

    def swap(self, pictures: Tensor) -> Tensor:
        """Take the pictures in; half of the time, and only once the pool is full, an old one comes back instead."""
        out = []
        for picture in pictures.detach():
            if len(self.pictures) < self.size:
                self.pictures.append(picture.clone())  # not a view of its whole batch
            elif self.size and torch.rand(()) < 0.5:
                place = int(torch.randint(self.size, ()))
                picture, self.pictures[place] = self.pictures[place], picture.clone()
            out.append(picture)
        return torch.stack(out)

    def state_dict(self) -> dict:
        return {"pictures": [picture.cpu() for picture in self.pictures]}

    def load_state_dict(self, state: dict) -> None:
        self.pictures = list(state["pictures"])


class CycleGAN(Method):
    """Two generators, two discriminators. Generator A makes pictures of domain A, B of B; `restore` is generator B.

    The objective of the generators, with pictures in [-1, 1] as in the paper, so that its weights mean what they mean
    there: least squares on the discriminators' verdicts, `lambda_cycle` times the L1 of the round trips,
    `lambda_identity` times the L1 between a picture of its own domain and what its generator makes of it.

    Generators in training circle around where they should be: running means of their weights translate and restore
    (Karras et al. 2018, section 4; Yazıcı et al. 2019).

    Args:
        steps: length of the training: the learning rates are constant for half of it, then fall linearly to 0.
        system: "s0", the old-photo networks, or "s3", those of the paper, with a 70 x 70 patch discriminator.
        features: channels of the first layer of all networks.
        blocks: residual blocks of the generators.
        upsampling: "transposed" or "resize".
        norm, output: of the generators, see `networks.cyclegan`.
        discriminator_norm: of the s0 discriminators, "batch", "instance" or "none"; those of s3 have InstanceNorm.
        lambda_cycle, lambda_identity: weights; an identity weight of 0 costs nothing.
        discriminator_blur: side in pixels, odd, of a box that blurs the discriminators' pictures, twice; 1 leaves them
            sharp. Dust and grain give an aged picture away at once; blurred, it is judged by its colours and
            contrast (as by the colour discriminator of WESPE, Ignatov et al. 2018, section 3).
        averaging: decay of the running mean of the generators' weights; 0 takes the weights as they are.
        learning_rate, discriminator_learning_rate: of Adam, betas (0.5, 0.999).
        pool_size: generated pictures kept for each discriminator.
        stretch_weight: in [0, 1], of the histogram stretch in what `restore` gives, the rest being generator B's. An
            adversarial training guesses a likely exposure for each picture, the stretch measures one; both err, for
            different reasons, and their mean errs less.

    Raises:
        ValueError: an unknown name, a negative weight, or a stretch_weight above 1.
    """

    def __init__(
        self,
        steps: int,
        system: str = "s0",
        features: int = 64,
        blocks: int = 6,
        upsampling: str = "resize",
        norm: str = "instance",
        output: str = "tanh",
        discriminator_norm: str = "batch",
        discriminator_blur: int = 1,
        lambda_cycle: float = 10.0,
        lambda_identity: float = 5.0,
        averaging: float = 0.99,
        learning_rate: float = 2e-4,
        discriminator_learning_rate: float = 2e-4,
        pool_size: int = 50,
        stretch_weight: float = 0.0,
    ):
        super().__init__()
        if system not in SYSTEMS:
            raise ValueError(f"system: expected one of {', '.join(SYSTEMS)}, got {system!r}")
        for name, value in {
            "lambda_cycle": lambda_cycle, "lambda_identity": lambda_identity, "pool_size": pool_size
        }.items():  # fmt: skip
            if value < 0:
                raise ValueError(f"{name}: expected 0 or more, got {value}")
        if discriminator_norm not in NORMS:
            raise ValueError(f"discriminator_norm: expected one of {', '.join(NORMS)}, got {discriminator_norm!r}")
        if discriminator_blur < 1 or discriminator_blur % 2 == 0:
            raise ValueError(
                f"discriminator_blur: expected an odd number of pixels, 1 or more, got {discriminator_blur}"
            )
        if not 0 <= averaging < 1:
            raise ValueError(f"averaging: expected a decay from 0 to below 1, got {averaging}")
        if not 0 <= stretch_weight <= 1:
            raise ValueError(f"stretch_weight: expected a number from 0 to 1, got {stretch_weight}")
        self.discriminator_blur, self.stretch_weight = discriminator_blur, stretch_weight
        self.lambda_cycle, self.lambda_identity = lambda_cycle, lambda_identity
        generator = OldPhotoGenerator if system == "s0" else ResnetGenerator
        for domain in ("a", "b"):
            network = generator(features, blocks, upsampling, norm, output)
            self.add(f"generator_{domain}", network, learning_rate, (0.5, 0.999), constant_then_linear(steps))
        for domain in ("a", "b"):
            mean = AveragedModel(self.networks[f"generator_{domain}"], avg_fn=running_mean(averaging))
            self.networks[f"average_{domain}"] = mean
            if system == "s0":
                network = OldPhotoDiscriminator(features, discriminator_norm)
            else:
                network = PatchGAN(features, halvings=3, pictures=1)
            rate = discriminator_learning_rate
            self.add(f"discriminator_{domain}", network, rate, (0.5, 0.999), constant_then_linear(steps))
        self.parts["pool_a"], self.parts["pool_b"] = PicturePool(pool_size), PicturePool(pool_size)

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        terms: dict[str, Tensor] = {}
        fakes: dict[str, Tensor] = {}
        norm = self.update(self._generator_losses(batch, terms, fakes), "generator_a", "generator_b")
        terms = {"generator": sum(terms.values()), **terms, "generator_gradient": norm}
        for domain, fake in fakes.items():
            terms |= self._discriminator_step(domain, batch[domain], fake)
        terms["discriminator"] = terms["discriminator_a"] + terms["discriminator_b"]
        for scheduler in self.schedulers.values():
            scheduler.step()
        for domain in ("a", "b"):
            self.networks[f"average_{domain}"].update_parameters(self.networks[f"generator_{domain}"])
        return {name: term.detach() for name, term in terms.items()}

    def _generator_losses(self, batch: dict[str, Tensor], terms: dict, fakes: dict) -> Iterator[Tensor]:
        """The generators' loss in parts, for `update`; fills in `terms` and `fakes`. With A and B exchanged:

        real_a -> generator B -> fake_b -> generator A -> round_trip_a, and real_a -> generator A -> identity_a.
        """
        for domain, other in (("a", "b"), ("b", "a")):
            real, generator, back = batch[domain], *(self.networks[f"generator_{d}"] for d in (other, domain))
            discriminator = self.networks[f"discriminator_{other}"].requires_grad_(False)
            with self.autocast(real.device):
                fake = generator(real)
                round_trip = back(fake)
                verdict = discriminator(self._blurred(fake))
            discriminator.requires_grad_(True)
            fakes[other] = fake.detach()
            terms[f"adversarial_{other}"] = losses.least_squares(verdict, 1.0)
            terms[f"cycle_{domain}"] = self.lambda_cycle * 2 * losses.l1(round_trip, real)
            yield terms[f"adversarial_{other}"] + terms[f"cycle_{domain}"]
            if self.lambda_identity:
                with self.autocast(real.device):
                    identity = back(real)
                terms[f"identity_{domain}"] = self.lambda_identity * 2 * losses.l1(identity, real)
                yield terms[f"identity_{domain}"]

    def _discriminator_step(self, domain: str, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        name = f"discriminator_{domain}"
        discriminator, shown = self.networks[name], self.parts[f"pool_{domain}"].swap(fake)
        with self.autocast(real.device):  # apart: BatchNorm must not mix the two
            verdicts = discriminator(self._blurred(real)), discriminator(self._blurred(shown))
        total = (losses.least_squares(verdicts[0], 1.0) + losses.least_squares(verdicts[1], 0.0)) / 2
        norm = self.update([total], name)
        return {name: total, f"{name}_gradient": norm}

    def _blurred(self, pictures: Tensor) -> Tensor:
        """What the discriminators see."""
        side, reach = self.discriminator_blur, self.discriminator_blur // 2
        if side == 1:
            return pictures
        for box, padding in 2 * (((side, 1), (reach, 0)), ((1, side), (0, reach))):  # rows and columns: fewer sums
            pictures = F.avg_pool2d(pictures, box, stride=1, padding=padding, count_include_pad=False)
        return pictures

    @torch.no_grad()
    def translate(self, pictures: Tensor, domain: str) -> Tensor:
        """Pictures (N, 3, H, W) in [0, 1] as pictures of `domain`, "a" or "b"."""
        generator = self.networks[f"average_{domain}"].eval()
        with self.autocast(pictures.device):
            return generator(pictures).clamp(0, 1)

    def restore(self, pictures: Tensor) -> Tensor:
        restored = self.translate(pictures, "b")
        return torch.lerp(restored, stretch(pictures), self.stretch_weight) if self.stretch_weight else restored


def stretch(pictures: Tensor) -> Tensor:
    """Each channel of each picture (N, 3, H, W) by itself, its 0.1 and 99.9 percentiles to 0 and 1, as the baseline.

    Of a large picture a million pixels at most, in even steps, stand for all.
    """
    step = math.ceil(math.sqrt(pictures.shape[-2] * pictures.shape[-1] / 2**20))
    values = pictures[..., ::step, ::step].flatten(2).float()
    low, high = values.quantile(values.new_tensor((0.001, 0.999)), dim=2)[..., None, None]
    return ((pictures - low) / (high - low).clamp(min=1 / 255)).clamp(0, 1)


def running_mean(decay: float) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """For `AveragedModel`: an exponential mean, over less at the beginning, to forget the first weights soon."""
    return lambda mean, weight, count: mean.lerp(weight, 1 - min(decay, float(count) / (float(count) + 9)))
