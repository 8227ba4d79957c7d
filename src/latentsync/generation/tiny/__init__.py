"""The small model's own way: reference frames warped to pose and lips, one residual step."""
