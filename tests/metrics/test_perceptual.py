"""The feature distance, with a small random network."""

import pytest
import torch

from latentsync.metrics.perceptual import PerceptualNetwork, perceptual_distance


@pytest.fixture
def network() -> PerceptualNetwork:
    torch.manual_seed(0)
    first, second = torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.Conv2d(8, 8, 3, stride=2, padding=1)
    return PerceptualNetwork("stand-in", lambda x: (first(x), second(torch.relu(first(x)))))


def test_distance_grows_with_damage_and_is_differentiable(network: PerceptualNetwork) -> None:
    real = torch.rand(2, 3, 16, 16) * 2 - 1
    noise = torch.randn_like(real)
    small, large = (real + scale * noise for scale in (0.05, 0.5))
    near, far = perceptual_distance(network, small, real), perceptual_distance(network, large, real)
    assert near.shape == (2,) and (near < far).all() and (near > 0).all()
    assert torch.equal(perceptual_distance(network, real, real), torch.zeros(2))
    start = real.clone().requires_grad_()
    perceptual_distance(network, start, small).sum().backward()
    assert start.grad is not None and start.grad.abs().sum() > 0


def test_region_and_heads_are_obeyed(network: PerceptualNetwork) -> None:
    real = torch.rand(1, 3, 16, 16)
    changed = real.clone()
    changed[:, :, :4] += 1
    below, above = torch.zeros(16, 16), torch.zeros(16, 16)
    below[10:], above[:4] = 1, 1
    assert perceptual_distance(network, changed, real, below) == 0
    assert perceptual_distance(network, changed, real, above) > 0
    silent = PerceptualNetwork("stand-in", network.layers, [torch.zeros(8), torch.zeros(8)])
    assert perceptual_distance(silent, changed, real) == 0
    with pytest.raises(ValueError, match="heads"):
        perceptual_distance(PerceptualNetwork("x", network.layers, [torch.ones(8)]), real, real)
    with pytest.raises(ValueError, match="empty"):
        perceptual_distance(network, real, real, torch.zeros(16, 16))
