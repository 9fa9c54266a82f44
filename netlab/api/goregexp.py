"""PURE. Go's regular expressions, as Kubernetes' users write them: in CEL and in the `pattern` of custom kinds.

RE2 is what Go's package regexp follows: no backreferences and no lookaround, and a match takes time linear in the text,
whatever the expression. What it refuses is told in Go's words. Imported late: most labs never need it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

import re2

_WORDS = {
    "invalid perl operator": "invalid or unsupported Perl syntax",
    "bad repetition operator": "invalid nested repetition operator",
    "no argument for repetition operator": "missing argument to repetition operator",
    "invalid repetition size": "invalid repeat count",
    "missing ]": "missing closing ]",
    "missing )": "missing closing )",
    "unexpected )": "unexpected )",
    "trailing \\": "trailing backslash at end of expression",
    "invalid named capture group": "invalid named capture",
    "invalid escape sequence": "invalid escape sequence",
    "invalid character class range": "invalid character class range",
    "invalid character class": "invalid character class",
    "invalid UTF-8": "invalid UTF-8",
    "pattern too large - compile failed": "expression too large",
}
"""RE2's words for what is wrong, and Go's."""
_ANY_BYTE = re.compile(r"(?<!\\)(?:\\\\)*\\C")


class RegexpError(ValueError):
    """The expression is none; str() is what Go's regexp.Compile says."""


class Regexp:
    """A compiled expression; matches are leftmost-first, as Go's without `Longest`."""

    def __init__(self, text: str) -> None:
        options = re2.Options()
        options.log_errors = False
        if _ANY_BYTE.search(text):
            raise _error("invalid escape sequence", "\\C")
        try:
            self._compiled = re2.compile(text, options)
        except re2.error as error:
            raise _told(error, text) from None

    def matches(self, text: str) -> bool:
        """Whether there is a match anywhere."""
        return self._compiled.search(text) is not None

    def find(self, text: str) -> str | None:
        """The first match."""
        found = self._compiled.search(text)
        return None if found is None else str(found[0])

    def find_all(self, text: str) -> Iterator[str]:
        """All matches that do not overlap; an empty one right behind another is none."""
        last = -1
        for found in self._compiled.finditer(text):
            if found.start() == found.end() == last:
                continue
            last = found.end()
            yield str(found[0])


@lru_cache(maxsize=1024)
def regexp(text: str) -> Regexp:
    """Raises RegexpError."""
    return Regexp(text)


def _told(error: re2.error, text: str) -> RegexpError:
    said = error.args[0]
    said = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
    words, _, part = said.partition(": ")
    lookbehind = part in ("(?<=", "(?<!")
    if lookbehind:
        # Go reads the beginning of a named group
        rest = text[text.index(part) :]
        name, end, _ = rest.partition(">")
        return _error("invalid named capture", name + end)
    return _error(_WORDS.get(words, words), part)


def _error(words: str, part: str) -> RegexpError:
    return RegexpError(f"error parsing regexp: {words}: `{part}`")
