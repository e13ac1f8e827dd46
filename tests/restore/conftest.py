"""Models of chance in place of those that are shipped: tiny, and quick."""

import numpy as np
import pytest
import torch

from restoration_lib.restore import photo, weights
from restoration_lib.restore.weights import COLOUR, DAMAGE, IMAGE, Model

NETWORKS = {  # kind, network, arguments
    "scratches": (DAMAGE, "refined.RefinedGenerator", {"features": 4, "depth": 3}),
    "faded": (COLOUR, "tone.ToneGenerator", {}),
    "shuffled": (IMAGE, "fcn.ResidualFCN", {"channels": 8, "blocks": 2}),
    "enlarge-2x": (
        IMAGE,
        "srresnet.SRResNet",
        {"scale": 2, "features": 4, "blocks": 1, "norm": "none", "residual": True},
    ),
    "enlarge-4x": (
        IMAGE,
        "srresnet.SRResNet",
        {"scale": 4, "features": 4, "blocks": 1, "norm": "none", "residual": True},
    ),
}
RECORD = {
    "does": "Nothing: its weights are of chance.",
    "data": {"none": "no licence"},
    "training": {"steps": 0, "device": "any"},
    "metric": "PSNR (dB) ↑",
    "results": [{"images": "none (0)", "degraded input": 20.0, "median 5x5": 21.254, "this model": 5}],
    "limits": ["It cannot restore.", "It does not learn."],
    "failure": "failure.jpg",
}


def network_of_chance(name: str) -> torch.nn.Module:
    """A network whose effect can be seen: it finds damage in a part of the pixels, and changes colours."""
    kind, network, arguments = NETWORKS[name]
    torch.manual_seed(0)
    made = Model(kind, network, arguments, "", "").build()
    last = [layer for layer in made.modules() if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear)][-1]
    torch.nn.init.normal_(last.weight, std=0.3)
    if kind == DAMAGE:
        torch.nn.init.normal_(made.finder.last.weight, std=3)
        torch.nn.init.constant_(made.finder.last.bias, -2)
    return made


@pytest.fixture
def of_chance():
    return network_of_chance


@pytest.fixture
def record():
    return dict(RECORD)


@pytest.fixture
def register(tmp_path_factory, monkeypatch):
    """Ship a network and register it, in a folder of its own, which is returned; there are no others."""
    folder = tmp_path_factory.mktemp("weights")
    monkeypatch.setattr(weights, "FOLDER", folder)
    for name in list(weights.MODELS):
        monkeypatch.delitem(weights.MODELS, name)
    photo._ready.cache_clear()

    def register(name: str, network: torch.nn.Module | None = None, **more):
        kind, module, arguments = NETWORKS[name]
        sha256 = weights.ship(name, network or network_of_chance(name), RECORD, folder)
        more = {"side": 32} | more
        monkeypatch.setitem(weights.MODELS, name, Model(kind, module, arguments, sha256, f"does {name}", **more))
        return folder

    yield register
    photo._ready.cache_clear()


@pytest.fixture
def models(register):
    """All five, with weights of chance; their folder."""
    for name in NETWORKS:
        folder = register(name)
    return folder


@pytest.fixture
def levels():
    """A smooth coloured image with noise, uint8 (61, 83, 3)."""
    rows, columns = np.mgrid[0:61, 0:83]
    noise = np.random.default_rng(0).integers(0, 40, (61, 83, 3))
    return (np.stack([rows * 3, columns * 2, rows + columns], axis=2) + noise).astype(np.uint8)
