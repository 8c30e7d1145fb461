"""Notes: what a person should know of a command that goes on, in lines of 100 columns."""

from __future__ import annotations

import textwrap
import warnings


def note(text: str, width: int = 100) -> str:
    """Return "note: text", wrapped; a path stays whole."""
    return textwrap.fill(
        f"note: {text}",
        width=width,
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def warn_in_notes() -> None:
    """Print warnings of this process as notes.

    For commands: the line of code that Python shows beside a warning tells their users nothing.
    """
    warnings.formatwarning = lambda message, *_, **__: note(str(message)) + "\n"
