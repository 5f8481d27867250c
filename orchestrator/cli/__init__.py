"""The command line: one module per noun, `app.py` joins them."""

from orchestrator.cli.app import app, main

__all__ = ["app", "main"]
