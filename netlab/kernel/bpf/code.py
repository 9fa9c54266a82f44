"""A tree of tests becomes jumps: each part is told where to go when it is true and when it is false. linux/filter.h."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

from netlab.kernel.bpf.words import FilterError

LD_W, LD_H, LD_B = 0x20, 0x28, 0x30
LD_W_X, LD_H_X, LD_B_X = 0x40, 0x48, 0x50
LD_LEN, LD_K, LD_M, ST_M = 0x80, 0x00, 0x60, 0x02
LDX_IP_HEADER, TAX = 0xB1, 0x07
ADD, SUB, MUL, DIV, MOD, OR, AND, XOR, LSH, RSH, NEG = 0x04, 0x14, 0x24, 0x34, 0x94, 0x44, 0x54, 0xA4, 0x64, 0x74, 0x84
"""The second operand is k."""
X = 0x08
"""Added to an operation or a jump: the second operand is X."""
JA, JEQ, JGT, JGE, JSET = 0x05, 0x15, 0x25, 0x35, 0x45
RET = 0x06
ACCEPT = 0x40000
MOST = 4096
"""Instructions of a program (BPF_MAXINSNS)."""
REACH = 255
"""Instructions that a conditional jump can pass."""

INSTRUCTION = struct.Struct("=HBBI")
"""code, where to go if true and if false (instructions to pass), k: struct sock_filter."""
Op = tuple[int, int]
"""(code, k)"""


@dataclass(frozen=True, slots=True)
class Test:
    """Load, then compare what is in A with `k`, or with X where the jump says so."""

    loads: tuple[Op, ...]
    jump: int
    k: int


@dataclass(frozen=True, slots=True)
class Not:
    a: Tree


@dataclass(frozen=True, slots=True)
class And:
    a: Tree
    b: Tree


@dataclass(frozen=True, slots=True)
class Or:
    a: Tree
    b: Tree


Tree = Test | Not | And | Or


def any_of(trees: Iterable[Tree]) -> Tree:
    """Or, of one or more."""
    first, *others = trees
    for other in others:
        first = Or(first, other)
    return first


def all_of(trees: Iterable[Tree]) -> Tree:
    """And, of one or more."""
    first, *others = trees
    for other in others:
        first = And(first, other)
    return first


@dataclass(slots=True)
class _Line:
    """An instruction; `yes` and `no` are labels (-1: it does not jump)."""

    code: int
    k: int
    yes: int = -1
    no: int = -1


def assemble(tree: Tree, expression: str) -> bytes:
    """The instructions, 8 bytes each. FilterError where there are more than the kernel takes."""
    return _Assembler(expression).assemble(tree)


class _Assembler:
    def __init__(self, expression: str) -> None:
        self.expression = expression
        self.lines: list[_Line] = []
        self.labels: dict[int, int] = {0: -1, 1: -1}
        """Label → the number of the instruction that it is before."""

    def assemble(self, tree: Tree) -> bytes:
        self._emit(tree, 0, 1)
        for label, result in ((0, ACCEPT), (1, 0)):
            self.labels[label] = len(self.lines)
            self.lines.append(_Line(RET, result))
        if len(self.lines) <= MOST:
            self._lengthen()
        if len(self.lines) > MOST:
            raise FilterError(self.expression, f"it is too long: {len(self.lines)} instructions, {MOST} are possible")
        return b"".join(self._instruction(place, line) for place, line in enumerate(self.lines))

    def _emit(self, tree: Tree, yes: int, no: int) -> None:
        match tree:
            case Test():
                self.lines += [_Line(code, k) for code, k in tree.loads]
                self.lines.append(_Line(tree.jump, tree.k, yes, no))
            case Not():
                self._emit(tree.a, no, yes)
            case And() | Or():
                second = len(self.labels)
                self.labels[second] = -1
                self._emit(tree.a, *((second, no) if isinstance(tree, And) else (yes, second)))
                self.labels[second] = len(self.lines)
                self._emit(tree.b, yes, no)

    def _lengthen(self) -> None:
        """Give each conditional jump that reaches too far two unconditional ones behind it.

        All jumps go forward, so from the end on: what is put in changes the distances of earlier ones only.
        """
        for place in range(len(self.lines) - 1, -1, -1):
            line = self.lines[place]
            if line.yes < 0 or max(self._steps(place, line)) <= REACH:
                continue
            for label, target in self.labels.items():
                if target > place:
                    self.labels[label] = target + 2
            near = len(self.labels)
            self.labels |= {near: place + 1, near + 1: place + 2}
            self.lines[place + 1 : place + 1] = [_Line(JA, 0, line.yes), _Line(JA, 0, line.no)]
            line.yes, line.no = near, near + 1

    def _steps(self, place: int, line: _Line) -> list[int]:
        return [self.labels[label] - place - 1 if label >= 0 else 0 for label in (line.yes, line.no)]

    def _instruction(self, place: int, line: _Line) -> bytes:
        yes, no = self._steps(place, line)
        return (
            INSTRUCTION.pack(line.code, 0, 0, yes) if line.code == JA else INSTRUCTION.pack(line.code, yes, no, line.k)
        )
