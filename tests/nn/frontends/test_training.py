"""Frontends learn on real digits, and whatever an optimiser does, what they compute with stays within its bounds."""

import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor, nn

from shardkit.nn import LEAF, SincNet
from shardkit.nn.frontends.frontend import Frontend

RATE = 8_000
FRONTENDS = [LEAF, SincNet]


def bounds_of(frontend: Frontend) -> dict[str, tuple[float, float]]:
    """Return what the documentation promises, computed here anew."""
    if isinstance(frontend, SincNet):
        top = frontend.sample_rate / 2
        return {"low_hz": (50.0, top - 50.0), "high_hz": (100.0, top)}
    window, half = frontend.window_length, math.sqrt(2 * math.log(2)) / math.pi
    return {
        "centres": (0.0, math.pi),
        "widths": (4 * half, window * half),
        "pool_widths": (2 / window, 0.5),
        "alpha": (0.0, 1.0),
        "delta": (1e-6, math.inf),
        "root": (1.0, math.inf),
        "smoothing": (0.0, 1.0),
    }


def assert_in_bounds(frontend: Frontend) -> None:
    found, bounds = frontend.effective(), bounds_of(frontend)
    assert found.keys() == bounds.keys()
    for name, (low, high) in bounds.items():
        values = found[name].detach().double()
        assert (values >= low * (1 - 1e-6)).all(), name
        assert (values <= high * (1 + 1e-6)).all(), name
    if isinstance(frontend, SincNet):
        assert (found["high_hz"] - found["low_hz"] >= 49.9).all()


def digits(folder: Path) -> tuple[Tensor, Tensor]:
    """Return half a second each of four digits, twelve times said, and which one it is."""
    clips, labels = [], []
    for digit in range(4):
        for take in range(12):
            samples, rate = soundfile.read(folder / f"{digit}_jackson_{take}.wav", dtype="float32")
            assert rate == RATE
            clips.append(np.resize(np.pad(samples, (0, RATE)), RATE // 2))
            labels.append(digit)
    return torch.from_numpy(np.stack(clips)).unsqueeze(1), torch.tensor(labels)


class Classifier(nn.Module):
    """A frontend, and as little as possible behind it."""

    def __init__(self, frontend: Frontend) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.frontend = frontend
        self.head = nn.Linear(2 * frontend.n_filters, 4)

    def forward(self, audio: Tensor) -> Tensor:
        features = self.frontend(audio).squeeze(1)
        return self.head(torch.cat([features.mean(dim=-1), features.amax(dim=-1)], dim=1))


def train(net: Classifier, audio: Tensor, labels: Tensor, *, steps: int, lr: float, frontend_lr: float) -> list[float]:
    """Return the loss of each step."""
    groups = [
        {"params": net.head.parameters(), "lr": lr},
        {"params": net.frontend.parameters(), "lr": frontend_lr},
    ]
    optimiser, losses = torch.optim.Adam(groups), []
    for _ in range(steps):
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(net(audio), labels)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
        assert_in_bounds(net.frontend)
    return losses


# SincNet's edges are in Hz, so a step of an adaptive optimiser is as many Hz as its learning rate.
@pytest.mark.parametrize(("kind", "frontend_lr"), [(LEAF, 0.01), (SincNet, 1.0)])
def test_on_real_digits_the_loss_falls_and_every_parameter_moves(data_dir, kind, frontend_lr):
    audio, labels = digits(data_dir / "digits")
    net = Classifier(kind(sample_rate=RATE, n_filters=20))
    before = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    losses = train(net, audio, labels, steps=15, lr=0.01, frontend_lr=frontend_lr)
    assert losses[-1] < 0.8 * losses[0]
    for name, parameter in net.named_parameters():
        assert (parameter.detach() - before[name]).abs().max() > 0, name


@pytest.mark.parametrize("kind", FRONTENDS)
def test_the_frontend_alone_can_lower_the_loss(data_dir, kind):
    audio, labels = digits(data_dir / "digits")
    net = Classifier(kind(sample_rate=RATE, n_filters=20))
    losses = train(net, audio, labels, steps=10, lr=0.0, frontend_lr=0.01)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("kind", FRONTENDS)
@pytest.mark.parametrize("frontend_lr", [1e3, 1e12])
def test_steps_of_any_size_leave_it_within_bounds_and_finite(kind, frontend_lr):
    audio = 0.1 * torch.randn(4, 1, 2_000, generator=torch.Generator().manual_seed(0))
    net = Classifier(kind(sample_rate=RATE, n_filters=8))
    losses = train(net, audio, torch.arange(4), steps=6, lr=1e-3, frontend_lr=frontend_lr)
    assert all(map(math.isfinite, losses))
    features = net.frontend(audio)
    features.square().sum().backward()
    assert torch.isfinite(features).all()
    for parameter in net.frontend.parameters():
        assert parameter.grad is not None
        assert torch.isfinite(parameter.grad).all()
