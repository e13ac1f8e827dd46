"""The painter alone: a step against one worked out by hand, who learns, what stays as it was."""

import pytest
import torch
import torch.nn.functional as F

from restoration_lib.degradations.scratches import scratched
from restoration_lib.methods import painter as module
from restoration_lib.methods.painter import Painter
from restoration_lib.networks.refined import RefinedGenerator, fill


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def generator():
    """Its finder finds about half of the pixels."""
    network = RefinedGenerator(4, 2)
    torch.nn.init.normal_(network.finder.last.weight, std=2.0)
    torch.nn.init.zeros_(network.finder.last.bias)
    return network


def painter(network=None, **changes):
    return Painter(**({"steps": 60, "generator": network or generator()} | changes))


def batch(count=2, side=32):
    target = F.interpolate(torch.rand(count, 3, 5, 5), (side, side), mode="bilinear").mul(255).round() / 255
    return {"input": scratched(target, torch.Generator().manual_seed(1)), "target": target}


def test_the_loss_is_the_error_where_damage_is_found(monkeypatch):
    monkeypatch.setattr(module, "THRESHOLDS", (0.5, 0.5))
    network, given = generator(), batch()
    method = painter(network).train()
    errors = []
    with torch.no_grad():
        damage = network.finder(2 * given["input"] - 1)
        filled = fill(given["input"], (damage > 0.5).float())
        made = network.painter(torch.cat([2 * filled - 1, 2 * given["input"] - 1, damage.sigmoid()], 1))
    for n, _, y, x in (damage > 0.5).nonzero().tolist():
        keep = made[n, 3, y, x].sigmoid()
        pixel = keep * given["input"][n, :, y, x] + (1 - keep) * filled[n, :, y, x] + made[n, :3, y, x]
        errors += (2 * (pixel - given["target"][n, :, y, x]).abs()).tolist()
    assert 0 < len(errors) < 3 * damage.numel()
    assert method.step(given)["generator"].item() == pytest.approx(sum(errors) / len(errors), rel=1e-4)


def test_the_painter_learns_and_the_finder_does_not():
    network, given = generator(), batch()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    method = painter(network).train()
    method.step(given)
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key]) == key.startswith("finder"), key


@pytest.mark.slow
def test_it_learns_to_paint_a_batch():
    method, given = painter(learning_rate=3e-3, ema_decay=0.5).train(), batch()
    losses = [method.train().step(given)["generator"].item() for _ in range(60)]
    assert sum(losses[-10:]) < sum(losses[:10]) / 1.5


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_is_not_found_stays_bit_for_bit(precision):
    method, images = painter(), torch.rand(2, 3, 21, 30)
    method.precision = precision
    shares = []
    for threshold in (0.0, 1.0):
        with method.autocast(images.device), torch.no_grad():
            found = (method.frozen["finder"](2 * images - 1) > threshold).expand_as(images)
        restored = method.restore(images, threshold)
        assert torch.equal(restored[~found], images[~found]) and 0 <= restored.min() <= restored.max() <= 1
        assert not torch.isclose(restored[found], images[found]).all()
        shares.append(found.float().mean())
    assert 1 > shares[0] > shares[1] > 0


def test_where_nothing_is_found_nothing_is_learned():
    network = RefinedGenerator(4, 2)
    torch.nn.init.constant_(network.finder.last.bias, -50.0)
    terms = painter(network).train().step(batch())
    assert terms["generator"] == 0 and terms["painter_gradient"] == 0


@pytest.mark.parametrize("changes", [{"steps": 0}, {"ema_decay": 2.0}], ids=str)
def test_an_argument_out_of_its_range_is_refused_by_name(changes):
    with pytest.raises(ValueError, match=rf"\A{next(iter(changes))}: "):
        painter(**changes)
