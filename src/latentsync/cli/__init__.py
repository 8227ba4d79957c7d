"""The command line: parse, call the library, show. The only floor that prints. `--help` imports nothing heavy."""
