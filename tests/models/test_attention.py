"""Attention takes other ways on a CPU for short sequences; the result is the same."""

from __future__ import annotations

import pytest
import torch

from latentsync.models.attention import attend


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("trains", [False, True])
@pytest.mark.parametrize("length", [8, 200])
def test_attention_is_the_formula_whatever_the_way(dtype: torch.dtype, trains: bool, length: int) -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(3, 2, length, 16).to(dtype) for _ in range(3))
    wanted = (query.double() @ key.double().mT / 4).softmax(-1) @ value.double()
    with torch.set_grad_enabled(trains):
        made = attend(query, key, value)
    assert made.dtype == dtype
    tolerance = 1e-5 if dtype == torch.float32 else 0.02
    torch.testing.assert_close(made.double(), wanted, atol=tolerance, rtol=tolerance)
