"""`python -m latentsync` is the command `latentsync`."""

from latentsync.cli.main import main

main()
