"""GroupNorm of channels-last activations."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from latentsync.models.norm import SMALL, group_norm


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("places", [1, 30, SMALL + 1])
def test_it_is_the_norm_and_stays_channels_last(dtype: torch.dtype, places: int) -> None:
    torch.manual_seed(0)
    norm = nn.GroupNorm(4, 12)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    hidden = (3 + 2 * torch.randn(2, 12, places, 3)).to(dtype).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        wanted = norm(hidden.float())
        made = group_norm(norm.to(dtype), hidden)
    assert made.dtype == dtype and made.is_contiguous(memory_format=torch.channels_last)
    close = 1e-5 if dtype == torch.float32 else 2**-6  # bfloat16 keeps 8 bits
    torch.testing.assert_close(made.float(), wanted, rtol=close, atol=close)
