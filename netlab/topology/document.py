"""YAML with places: every value knows its file, line, column and key path, so that every error can say them.

The composer's nodes are read directly (no constructor runs), which keeps the marks and costs no second pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import yaml

from netlab.topology.errors import TopologyError

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MERGE = "tag:yaml.org,2002:merge"
SHOWN = 60
"""Characters of what was found instead, in an error."""
_NULL = "tag:yaml.org,2002:null"
_BOOL = "tag:yaml.org,2002:bool"
_INT = "tag:yaml.org,2002:int"


@dataclass(frozen=True, slots=True)
class Place:
    """Where something was said. Line and column are 0 for what no line of the file says (a Mininet topology)."""

    file: str
    line: int = 0
    column: int = 0
    key: str = ""

    def error(self, message: str, suggestion: str = "") -> TopologyError:
        return TopologyError(
            message, file=self.file, line=self.line, column=self.column, key=self.key, suggestion=suggestion
        )


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A suggestion for a misspelt word: the nearest known one, else all of them."""
    import difflib

    known = sorted(known)
    lowered = {item.lower(): item for item in known}
    near = difflib.get_close_matches(word.lower(), lowered, n=1, cutoff=0.5)
    return f"did you mean {lowered[near[0]]!r}?" if near else f"known: {', '.join(known)}"


class Value:
    """One YAML node with its place. Each reader returns what was asked for, or raises the error that says so."""

    __slots__ = ("node", "place")

    def __init__(self, node: yaml.Node, place: Place) -> None:
        self.node, self.place = node, place

    @property
    def is_null(self) -> bool:
        return isinstance(self.node, yaml.ScalarNode) and self.node.tag == _NULL

    @property
    def is_mapping(self) -> bool:
        return isinstance(self.node, yaml.MappingNode)

    @property
    def is_sequence(self) -> bool:
        return isinstance(self.node, yaml.SequenceNode)

    def expected(self, what: str) -> TopologyError:
        return self.place.error(f"expected {what}, found {self._found()}")

    def mapping(self, what: str, known: Iterable[str] | None = None) -> dict[str, Value]:
        """The entries of a mapping by key; null counts as empty. Keys outside `known` and repeated keys are refused."""
        if self.is_null:
            return {}
        if not isinstance(self.node, yaml.MappingNode):
            raise self.expected(what)
        entries: dict[str, Value] = {}
        for key, value in self._entries(self.node, what):
            if key in entries:
                raise value.place.error(
                    f"duplicate key {key!r}, first given on line {entries[key].place.line}", "keep one of the two"
                )
            if known is not None and key not in known:
                raise value.place.error(f"unknown key {key!r} in {what}", did_you_mean(key, known))
            entries[key] = value
        return entries

    def sequence(self, what: str) -> list[Value]:
        if self.is_null:
            return []
        if not isinstance(self.node, yaml.SequenceNode):
            raise self.expected(what)
        return [self._child(item, f"[{index}]") for index, item in enumerate(self.node.value)]

    def text(self, what: str) -> str:
        """A scalar as it is written: quoting a number or a MAC address is not needed."""
        if not isinstance(self.node, yaml.ScalarNode) or self.is_null or not self.node.value:
            raise self.expected(what)
        return str(self.node.value)

    def integer(self, what: str, low: int, high: int) -> int:
        if not isinstance(self.node, yaml.ScalarNode) or self.node.tag != _INT or not self.node.value.isdigit():
            raise self.expected(f"{what} (a number from {low} to {high})")
        number = int(self.node.value)
        if not low <= number <= high:
            raise self.expected(f"{what} (a number from {low} to {high})")
        return number

    def boolean(self, what: str) -> bool:
        if not isinstance(self.node, yaml.ScalarNode) or self.node.tag != _BOOL:
            raise self.expected(f"{what} (true or false)")
        return self.node.value.lower() in ("true", "yes", "on")

    def choice(self, what: str, options: Iterable[str]) -> str:
        options = tuple(options)
        text = self.text(what)
        if text not in options:
            raise self.place.error(
                f"unknown {what} {text!r}, expected one of {', '.join(options)}", did_you_mean(text, options)
            )
        return text

    def _found(self) -> str:
        if isinstance(self.node, yaml.MappingNode):
            return "a mapping"
        if isinstance(self.node, yaml.SequenceNode):
            return "a list"
        text = self.node.value if len(self.node.value) <= SHOWN else f"{self.node.value[:SHOWN]}…"
        return "nothing" if self.is_null or not text else repr(text)

    def _child(self, node: yaml.Node, suffix: str) -> Value:
        mark = node.start_mark
        return Value(node, Place(self.place.file, mark.line + 1, mark.column + 1, self.place.key + suffix))

    def _entries(self, node: yaml.MappingNode, what: str) -> Iterator[tuple[str, Value]]:
        """The entries in order; those merged in by `<<` come last, and only where the mapping has no such key."""
        merged: list[yaml.Node] = []
        own: set[str] = set()
        for key, value in node.value:
            if key.tag == _MERGE:
                merged.extend(value.value if isinstance(value, yaml.SequenceNode) else [value])
                continue
            if not isinstance(key, yaml.ScalarNode):
                raise self._child(key, "").place.error(f"expected a plain key in {what}")
            own.add(key.value)
            suffix = f".{key.value}" if self.place.key else key.value
            child = self._child(value, suffix)
            # An error about a key points at the key: an empty value has no place of its own worth showing.
            mark = key.start_mark
            yield (
                key.value,
                child if not child.is_null else Value(value, _at(child.place, mark.line + 1, mark.column + 1)),
            )
        for source in merged:
            if not isinstance(source, yaml.MappingNode):
                raise self._child(source, "").place.error("expected a mapping to merge")
            for key_text, value_ in self._entries(source, what):
                if key_text not in own:
                    own.add(key_text)
                    yield key_text, value_


def _at(place: Place, line: int, column: int) -> Place:
    return Place(place.file, line, column, place.key)


def parse(text: str, file: str) -> Value:
    """The root of a document; a syntax error becomes a TopologyError with the parser's own place."""
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(file, mark.line + 1, mark.column + 1) if mark else Place(file)
        raise place.error(f"not valid YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise Place(file).error(f"not valid YAML: {error}") from None
    finally:
        loader.dispose()
    if node is None:
        raise Place(file, 1, 1).error("the file is empty, expected a mapping with at least `nodes`")
    mark = node.start_mark
    return Value(node, Place(file, mark.line + 1, mark.column + 1))
