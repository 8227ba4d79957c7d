"""What can be trained: one module per task, each with `build(settings, data, *, start, seed)`."""
