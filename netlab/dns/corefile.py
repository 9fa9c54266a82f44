"""Corefile text to server blocks of directives, with the place of each. Pure but for `import` of other files.

The language is Caddy's: words, quoted strings, comments, `{$VARIABLE}`, a brace that ends its line and one that stands
alone, snippets `(name) { … }` and `import`. What a directive means is `directives`' part.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')
_VARIABLE = re.compile(r"\{\$(\w+)\}|\{%(\w+)%\}")

ReadFiles = Callable[[str], list[tuple[str, str]]]
"""A pattern of `import` to (name, text) of the files that match."""


class CorefileError(ValueError):
    """The text says where (file, line), which directive, and what was expected, as CoreDNS does."""


@dataclass(frozen=True, slots=True)
class Directive:
    """`name arguments { block }` at a place."""

    line: int
    name: str
    arguments: tuple[str, ...] = ()
    block: tuple[Directive, ...] = ()
    file: str = "Corefile"

    def error(self, text: str, plugin: str = "") -> CorefileError:
        """Of this directive; `plugin` is the one whose property it is."""
        prefix = f"plugin/{plugin}: " if plugin else ""
        return CorefileError(f"{prefix}{self.file}:{self.line} - Error during parsing: {text}")

    def argument_error(self, plugin: str = "") -> CorefileError:
        """CoreDNS' words for too few or too many arguments."""
        last = self.arguments[-1] if self.arguments else self.name
        return self.error(f"Wrong argument count or unexpected line ending after '{last}'", plugin)


@dataclass(slots=True)
class _Line:
    file: str
    number: int
    words: list[str]
    quoted: list[bool] = field(default_factory=list)


def parse(text: str, file: str = "Corefile", *, read_files: ReadFiles | None = None) -> list[Directive]:
    """The server blocks: name is the first zone (with its port), arguments the others."""
    reader = _Reader(_lines(text, file, os.environ), read_files or (lambda _: []))
    return reader.blocks()


def _lines(text: str, file: str, environment: Mapping[str, str]) -> list[_Line]:
    found = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = _Line(file, number, [])
        for match in _WORD.finditer(raw):
            quoted, plain = match.groups()
            if plain is not None and plain.startswith("#"):
                break
            word = plain if plain is not None else re.sub(r'\\(["\\])', r"\1", quoted)
            line.words.append(_VARIABLE.sub(lambda m: environment.get(m[1] or m[2], ""), word))
            line.quoted.append(plain is None)
        if line.words:
            found.append(line)
    return found


class _Reader:
    def __init__(self, lines: list[_Line], read_files: ReadFiles) -> None:
        self._lines, self._at, self._read_files = lines, 0, read_files
        self._snippets: dict[str, list[_Line]] = {}
        self._imports = 0

    def blocks(self) -> list[Directive]:
        found: list[Directive] = []
        while self._at < len(self._lines):
            line = self._next()
            if line.words[0] == "import":
                self._import(line)
            elif line.words == ["}"]:
                raise CorefileError(
                    f"{line.file}:{line.number} - Error during parsing: a closing brace without an opening one"
                )
            elif re.fullmatch(r"\(\S+\)", line.words[0]) and line.words[1:] == ["{"]:
                self._snippet(line)
            else:
                found.append(self._server(line))
        return found

    def _next(self) -> _Line:
        line = self._lines[self._at]
        self._at += 1
        return line

    def _server(self, line: _Line) -> Directive:
        words = list(line.words)
        while words[-1] != "{" and (words[-1].endswith(",") or self._opens_next()):
            if self._at == len(self._lines):
                break
            words += self._next().words
        keys = [key for word in words if word != "{" for key in word.split(",") if key]
        if words[-1] != "{" or not keys:
            raise CorefileError(
                f"{line.file}:{line.number} - Error during parsing: expected zones and an opening brace, found "
                f"'{' '.join(line.words)}'"
            )
        return Directive(line.number, keys[0], tuple(keys[1:]), self._body(line), line.file)

    def _opens_next(self) -> bool:
        return self._at < len(self._lines) and self._lines[self._at].words == ["{"]

    def _body(self, opened: _Line) -> tuple[Directive, ...]:
        found: list[Directive] = []
        while self._at < len(self._lines):
            line = self._next()
            words = line.words
            if words == ["}"]:
                return tuple(found)
            if words[0] == "import":
                self._import(line)
                continue
            opens = words[-1] == "{" and not line.quoted[-1]
            if opens and len(words) == 1:
                raise CorefileError(
                    f"{line.file}:{line.number} - Error during parsing: expected a directive before the brace"
                )
            if "}" in words or "{" in words[:-1]:
                raise CorefileError(
                    f"{line.file}:{line.number} - Error during parsing: a brace must end its line, or stand alone"
                )
            inner = self._body(line) if opens else ()
            arguments = tuple(words[1:-1] if opens else words[1:])
            found.append(Directive(line.number, words[0], arguments, inner, line.file))
        raise CorefileError(
            f"{opened.file}:{opened.number} - Error during parsing: the brace opened here is never closed"
        )

    def _snippet(self, opened: _Line) -> None:
        depth = 1
        lines: list[_Line] = []
        while self._at < len(self._lines):
            line = self._next()
            depth += line.words[-1] == "{"
            depth -= line.words == ["}"]
            if depth == 0:
                self._snippets[opened.words[0][1:-1]] = lines
                return
            lines.append(line)
        raise CorefileError(
            f"{opened.file}:{opened.number} - Error during parsing: the brace opened here is never closed"
        )

    def _import(self, line: _Line) -> None:
        """Puts a snippet's or a file's lines where the import stands. A pattern may match no file."""
        self._imports += 1
        if len(line.words) < 2 or self._imports > 100:
            raise CorefileError(f"{line.file}:{line.number} - Error during parsing: import: expected a file or snippet")
        name = line.words[1]
        if name in self._snippets:
            wanted = list(self._snippets[name])
        else:
            files = self._read_files(name)
            if not files and not re.search(r"[*?\[]", name):
                raise CorefileError(
                    f"{line.file}:{line.number} - Error during parsing: File to import not found: {name}"
                )
            wanted = [one for file, text in files for one in _lines(text, file, os.environ)]
        self._lines[self._at : self._at] = wanted
