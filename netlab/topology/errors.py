"""The one error a topology file can cause: where it is, what was expected, what to do."""

from __future__ import annotations


class TopologyError(Exception):
    """A topology that cannot be used. Line and column count from 1; both are 0 where a file has no such place.

    `key` is the path in the document ("links[2].delay"), `message` says what is wrong and what was expected,
    `suggestion` what to do about it.
    """

    def __init__(
        self, message: str, *, file: str = "", line: int = 0, column: int = 0, key: str = "", suggestion: str = ""
    ) -> None:
        self.file, self.line, self.column = file, line, column
        self.key, self.message, self.suggestion = key, message, suggestion
        super().__init__(str(self))

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part)
        text = ": ".join(part for part in (place, self.key, self.message) if part)
        return f"{text} ({self.suggestion})" if self.suggestion else text
