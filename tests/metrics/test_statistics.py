"""Intervals over clips."""

import numpy as np
import pytest

from latentsync.metrics.statistics import bootstrap_mean


def test_interval_covers_the_true_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(100):
        found = bootstrap_mean(rng.normal(0.5, 0.2, 40), num_resamples=300)
        inside += found.low <= 0.5 <= found.high
    assert 85 <= inside <= 100


def test_clips_of_few_people_are_worth_less() -> None:
    people = np.repeat(np.arange(4), 10)
    values = people * 0.1 + np.random.default_rng(1).normal(0, 0.005, 40)
    alone = bootstrap_mean(values)
    grouped = bootstrap_mean(values, groups=people.tolist())
    assert grouped.high - grouped.low > 2 * (alone.high - alone.low)
    assert grouped.mean == pytest.approx(alone.mean) and grouped.num_groups == 4


def test_missing_values_are_left_out_and_counted() -> None:
    found = bootstrap_mean([1.0, float("nan"), 3.0], groups=["a", "b", "b"])
    assert found.mean == 2.0 and found.num == 2
    empty = bootstrap_mean([float("nan")])
    assert np.isnan(empty.mean) and empty.num == 0 and str(empty) == "–"
    with pytest.raises(ValueError, match="groups"):
        bootstrap_mean([1.0], groups=["a", "b"])
