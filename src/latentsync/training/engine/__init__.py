"""The training loop: tasks, optimisers, averaged weights, checkpoints, processes, logs."""
