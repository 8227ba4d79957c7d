"""Training: one module per network of `tiny`, a shared resumable loop, and the preparation of clips."""
