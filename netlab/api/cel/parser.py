"""From tokens to nodes; macros are expanded here. Source followed: cel-go `parser/parser.go`, `parser/macro.go`.

Messages are those of the parser generator that cel-go uses, for the mistakes that people make.
"""

from __future__ import annotations

from collections.abc import Callable

from netlab.api.cel.errors import CompileError, Issue
from netlab.api.cel.lexer import Token, tokens
from netlab.api.cel.syntax import Call, Constant, Ident, ListLiteral, Macro, MapLiteral, Message, Node, OptMacro, Select
from netlab.api.cel.values import MAX_INT

_PRIMARY = (
    "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}"
)
_AFTER = "{<EOF>, '==', '!=', '<', '<=', '>=', '>', '&&', '||', '+', '-', '*', '/', '%', '?', '[', '.'}"
_LEVELS: tuple[frozenset[str], ...] = (
    frozenset({"==", "!=", "<", "<=", ">", ">=", "in"}),
    frozenset({"+", "-"}),
    frozenset({"*", "/", "%"}),
)
_FUNCTION = {"in": "@in"}
_WORDS = "as break const continue else false for function if import in let loop package namespace null return true"
_RESERVED = frozenset([*_WORDS.split(), "var", "void", "while"])
_DEEPEST = 250
_ONE = {"all": "all", "exists": "exists", "exists_one": "existsOne", "existsOne": "existsOne", "filter": "filter"}
_TRANSFORMS = frozenset({"transformList", "transformMap", "transformMapEntry"})


def parse(source: str) -> Node:
    """Raises CompileError."""
    found, issues = tokens(source)
    parser = _Parser(source, found, issues)
    node = parser.whole()
    if parser.issues:
        raise CompileError(source, parser.issues)
    return node


class _StopError(Exception):
    """Nothing sensible can be read any more; the issues say why."""


class _Parser:
    def __init__(self, source: str, found: list[Token], issues: list[Issue]) -> None:
        self.source, self.tokens, self.issues, self.at, self.depth = source, found, issues, 0, 0

    def whole(self) -> Node:
        try:
            node = self.expression()
            if self.now.kind != "end":
                last = self.tokens[self.at + 1].kind == "end"
                word, wanted = (
                    ("extraneous", "<EOF>") if last else ("mismatched", _AFTER if not self.issues else "<EOF>")
                )
                self.issue(self.now.offset, f"Syntax error: {word} input '{self.now.text}' expecting {wanted}")
            return node
        except _StopError:
            return Constant(0, None)

    @property
    def now(self) -> Token:
        return self.tokens[self.at]

    def issue(self, offset: int, message: str) -> None:
        self.issues.append(Issue(offset, message))

    def take(self) -> Token:
        token = self.tokens[self.at]
        if token.kind != "end":
            self.at += 1
        return token

    def accept(self, kind: str) -> Token | None:
        return self.take() if self.now.kind == kind else None

    def expect(self, kind: str) -> Token:
        token = self.accept(kind)
        if token is None:
            if self.now.kind == "end":
                self.issue(self.now.offset, f"Syntax error: missing '{kind}' at '<EOF>'")
            else:
                self.issue(self.now.offset, f"Syntax error: mismatched input '{self.now.text}' expecting '{kind}'")
            raise _StopError
        return token

    # -- operators, the loosest first

    def expression(self) -> Node:
        self.depth += 1
        if self.depth > _DEEPEST:
            self.issue(self.now.offset, f"expression recursion limit exceeded: {_DEEPEST}")
            raise _StopError
        condition = self.logical("||", lambda: self.logical("&&", lambda: self.binary(0)))
        question = self.accept("?")
        if question:
            then = self.logical("||", lambda: self.logical("&&", lambda: self.binary(0)))
            self.expect(":")
            condition = Call(question.offset, "_?_:_", None, [condition, then, self.expression()])
        self.depth -= 1
        return condition

    def logical(self, operator: str, read: Callable[[], Node]) -> Node:
        left = read()
        while token := self.accept(operator):
            left = Call(token.offset, f"_{operator}_", None, [left, read()])
        return left

    def binary(self, level: int) -> Node:
        if level == len(_LEVELS):
            return self.unary()
        left = self.binary(level + 1)
        while self._operator(self.now) in _LEVELS[level]:
            token = self.take()
            name = _FUNCTION.get(token.text, f"_{token.text}_")
            left = Call(token.offset, name, None, [left, self.binary(level + 1)])
        return left

    @staticmethod
    def _operator(token: Token) -> str:
        return token.text if token.kind == "ident" and token.text == "in" else token.kind

    def unary(self) -> Node:
        token = self.now
        if token.kind not in ("!", "-"):
            return self.member()
        count = 0
        while self.accept(token.kind):
            count += 1
        number = self.now
        if token.kind == "-" and number.kind in ("int", "float"):
            self.take()
            literal: Node = Constant(token.offset, -number.value)
            return self.suffixes(literal) if count % 2 else self.suffixes(Constant(token.offset, number.value))
        operand = self.unary() if self.now.kind in ("!", "-") else self.member()
        return Call(token.offset, f"{token.kind}_", None, [operand]) if count % 2 else operand

    # -- members and primaries

    def member(self) -> Node:
        return self.suffixes(self.primary())

    def suffixes(self, node: Node) -> Node:
        while True:
            if dot := self.accept("."):
                node = self.selection(node, dot)
            elif bracket := self.accept("["):
                optional = self.accept("?") is not None
                index = self.expression()
                self.expect("]")
                node = Call(bracket.offset, "_[?_]" if optional else "_[_]", None, [node, index])
            else:
                return node

    def selection(self, node: Node, dot: Token) -> Node:
        optional = self.accept("?") is not None
        name = self.now
        if name.kind not in ("ident", "quoted"):
            self.issue(name.offset, f"Syntax error: mismatched input '{name.text}' expecting IDENTIFIER")
            raise _StopError
        self.take()
        if name.kind == "ident" and name.text in ("in", "true", "false", "null"):
            self.issue(name.offset, f"Syntax error: no viable alternative at input '.{name.text}'")
            raise _StopError
        opening = self.accept("(") if name.kind == "ident" and not optional else None
        if opening is None:
            return Select(dot.offset, node, name.value, optional=optional)
        return self.expanded(node, name.text, opening, self.arguments())

    def arguments(self) -> list[Node]:
        found: list[Node] = []
        if self.accept(")"):
            return found
        while True:
            found.append(self.expression())
            if not self.accept(","):
                break
        self.expect(")")
        return found

    def primary(self) -> Node:
        token = self.now
        kind = token.kind
        if kind == "int" and token.value > MAX_INT:
            self.issue(token.offset, "invalid int literal")
        if kind in ("int", "uint", "float", "string", "bytes"):
            self.take()
            return Constant(token.offset, token.value)
        if kind == "(":
            self.take()
            inner = self.expression()
            self.expect(")")
            return inner
        if kind == "[":
            return self.list_literal()
        if kind == "{":
            return self.map_literal(self.take())
        if kind in ("ident", "."):
            return self.identifier()
        self.issue(token.offset, f"Syntax error: mismatched input '{token.text}' expecting {_PRIMARY}")
        raise _StopError

    def identifier(self) -> Node:
        leading = self.accept(".")
        token = self.now
        if token.kind != "ident":
            self.issue(token.offset, f"Syntax error: mismatched input '{token.text}' expecting IDENTIFIER")
            raise _StopError
        self.take()
        if token.text in ("true", "false", "null") and leading is None:
            return Constant(token.offset, {"true": True, "false": False, "null": None}[token.text])
        if token.text in _RESERVED:
            self.issue(token.offset, f"reserved identifier: {token.text}")
        opening = self.accept("(")
        if opening is not None:
            return self.global_call(token.text, opening, self.arguments())
        if self.now.kind == "{":
            brace = self.take()
            self.map_literal(brace, names=True)
            return Message(brace.offset, token.text)
        return Ident(token.offset, token.text)

    def list_literal(self) -> Node:
        opening = self.take()
        found: list[Node] = []
        optional: set[int] = set()
        while self.now.kind != "]":
            if self.accept("?"):
                optional.add(len(found))
            found.append(self.expression())
            if not self.accept(","):
                break
        self.expect("]")
        return ListLiteral(opening.offset, found, frozenset(optional))

    def map_literal(self, opening: Token, *, names: bool = False) -> Node:
        entries: list[tuple[int, Node, Node]] = []
        optional: set[int] = set()
        while self.now.kind != "}":
            if self.accept("?"):
                optional.add(len(entries))
            if names:
                name = self.expect("ident") if self.now.kind != "quoted" else self.take()
                key: Node = Constant(name.offset, name.value)
            else:
                key = self.expression()
            colon = self.expect(":")
            entries.append((colon.offset, key, self.expression()))
            if not self.accept(","):
                break
        self.expect("}")
        return MapLiteral(opening.offset, entries, frozenset(optional))

    # -- macros

    def global_call(self, name: str, opening: Token, args: list[Node]) -> Node:
        if name == "has" and len(args) == 1:
            chosen = args[0]
            if isinstance(chosen, Select) and not chosen.test:
                return Select(opening.offset, chosen.operand, chosen.field, test=True, optional=chosen.optional)
            self.issue(opening.offset, "invalid argument to has() macro")
            return Constant(opening.offset, False)
        return Call(opening.offset, name, None, args)

    def expanded(self, target: Node, name: str, opening: Token, args: list[Node]) -> Node:
        at = opening.offset
        if name in ("optMap", "optFlatMap") and len(args) == 2:
            return OptMacro(at, target, self.variable(args[0], name), args[1], name == "optFlatMap")
        if name in _ONE and len(args) == 2 and name != "existsOne":
            return Macro(at, _ONE[name], target, (self.variable(args[0], name),), args[1])
        if name == "map" and len(args) in (2, 3):
            where = args[1] if len(args) == 3 else None
            return Macro(at, "map", target, (self.variable(args[0], name),), args[-1], where)
        if name in ("all", "exists", "exists_one", "existsOne") and len(args) == 3:
            return Macro(at, _ONE[name], target, self.variables(args, name), args[2])
        if name in _TRANSFORMS and len(args) in (3, 4):
            where = args[2] if len(args) == 4 else None
            return Macro(at, name, target, self.variables(args, name), args[-1], where)
        return Call(at, name, target, args)

    def variable(self, node: Node, macro: str) -> str:
        if isinstance(node, Ident):
            return node.name
        self.issue(
            node.offset,
            "argument must be a simple name"
            if macro != "optMap"
            else "optMap() variable name must be a simple identifier",
        )
        return "_"

    def variables(self, args: list[Node], macro: str) -> tuple[str, ...]:
        return (self.variable(args[0], macro), self.variable(args[1], macro))
