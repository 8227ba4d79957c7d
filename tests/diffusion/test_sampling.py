"""The flow sampler against diffusers' scheduler, and what a run loads."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor

from latentsync.diffusion import SamplerConfig, sample

FLOW = SamplerConfig(kind="flow", prediction="x0", steps=1, guidance=1.0)


@pytest.mark.parametrize("steps", [1, 3, 8])
def test_the_flow_is_that_of_diffusers(steps: int) -> None:
    from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler

    noise = torch.randn(1, 4, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    asked: list[float] = []

    def denoise(x: Tensor, timestep: Tensor, step: int) -> Tensor:
        asked.append(float(timestep))
        return torch.sin(3 * x) * timestep / 1000 + step

    made = sample(denoise, noise, FLOW, steps)
    ours, asked = asked, []
    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000)
    scheduler.set_timesteps(sigmas=[1 - k / steps for k in range(steps)])
    x = noise
    for k, t in enumerate(scheduler.timesteps):
        x = scheduler.step((x - denoise(x, t, k)) / scheduler.sigmas[k], t, x, return_dict=False)[0]
    assert ours == pytest.approx(asked, rel=1e-6)
    torch.testing.assert_close(made, x, rtol=1e-5, atol=1e-5)


def test_the_flow_loads_no_diffusers() -> None:
    code = (
        "import sys, torch\n"
        "from latentsync.diffusion import SamplerConfig, sample\n"
        "flow = SamplerConfig(kind='flow', prediction='x0', steps=1, guidance=1.0)\n"
        "sample(lambda x, t, k: 0 * x, torch.zeros(1, 1, 1, 1, 1), flow, 1)\n"
        "sys.exit('diffusers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
