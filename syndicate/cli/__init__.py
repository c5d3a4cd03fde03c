"""The command line: one module for each noun, each command a thin layer over one use case."""

from syndicate.cli.app import main

__all__ = ["main"]
