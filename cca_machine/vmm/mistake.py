"""What is wrong with a request to lay out a Realm."""

from __future__ import annotations


class VmmMistake(Exception):
    """A command line, a configuration or an input that no such VMM would take; `hint` says what would be right."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
