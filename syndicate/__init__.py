"""Syndicate: collects what a publication publishes and delivers it as feeds, a web archive and digests."""

from typing import Final

__all__ = ["__version__"]

__version__: Final = "0.1.0"
