"""Room `cli` (imports everything): the command line. Thin: parse, call, print. `main` is the entry point."""

from antiphon.cli.root import main

__all__ = ["main"]
