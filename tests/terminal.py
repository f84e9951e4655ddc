"""A pretended terminal of 80 columns, and what stands on it."""

import io
import re
import sys
from typing import Any


class Terminal(io.StringIO):
    """Takes the place of stdout and stderr until the test is over."""

    encoding = "utf-8"

    def __init__(self, monkeypatch: Any, columns: int = 80) -> None:
        super().__init__()
        if monkeypatch is None:  # a screen alone
            return
        for name in ("CI", "LOCAL_RANK"):
            monkeypatch.delenv(name, raising=False)
        for name, value in {"TERM": "xterm", "COLUMNS": str(columns)}.items():
            monkeypatch.setenv(name, value)
        for name in ("stdout", "stderr"):
            monkeypatch.setattr(sys, name, self)

    def isatty(self) -> bool:
        return True

    @property
    def drawn(self) -> list[str]:
        """The texts of the line that is drawn over, in their order."""
        return [text for text in re.findall(r"\r([^\r\n]*)\x1b\[K", self.getvalue()) if text]

    def screen(self) -> list[str]:
        """The lines that are left; every write of the live line erases what follows it."""
        lines, x = [""], 0
        for part in re.findall(r"\x1b\[K|\r|\n|[^\r\n\x1b]+", self.getvalue()):
            if part == "\n":
                lines, x = [*lines, ""], 0
            elif part == "\r":
                x = 0
            elif part == "\x1b[K":
                lines[-1] = lines[-1][:x]
            else:
                lines[-1] = lines[-1][:x] + part + lines[-1][x + len(part) :]
                x += len(part)
        return lines if lines[-1] else lines[:-1]
