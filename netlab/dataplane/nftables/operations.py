"""What a transaction is made of: operations as data, each of which prints in nft's words. Pure.

The text is what a person reads, a fake plays and `nft -f` takes; `netlab.kernel.nftables` writes the same to the kernel
without a program in between.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

from netlab.dataplane.nftables.rules import Chain, Container, Element, Ip, Rule, quote

Verb = Literal["add", "delete", "flush"]


class Table(NamedTuple):
    """The table itself. Its comment counts where it is made."""

    comment: str = ""


class Placed(NamedTuple):
    """A rule at the end of a chain."""

    chain: str
    rule: Rule


Object = Table | Chain | Container | Placed | Element


class Operation(NamedTuple):
    """One verb on one object of the table `ip table`. Adding a chain is declaring it: its rules are added by
    themselves. Chains alone are flushed."""

    verb: Verb
    ip: Ip
    table: str
    what: Object

    def __str__(self) -> str:
        return f"{self.verb} {self.subject()}{self._body()}"

    def subject(self) -> str:
        """What it is about, as nft addresses it: "chain ip kube-proxy services"."""
        where, what = f"{self.ip} {self.table}", self.what
        if isinstance(what, Placed):
            return f"rule {where} {what.chain}"
        if isinstance(what, Element):
            return f"element {where} {what.container}"
        if isinstance(what, Chain):
            return f"chain {where} {what.name}"
        return f"{what.kind} {where} {what.name}" if isinstance(what, Container) else f"table {where}"

    def belongs_to(self, previous: Operation) -> bool:
        """Whether the table lacks something between the two: a chain some of its rules, a map a key's new value."""
        what, other = self.what, previous.what
        if isinstance(what, Placed):
            return what.chain == (other.chain if isinstance(other, Placed) else getattr(other, "name", ""))
        if isinstance(what, Element) and isinstance(other, Element):
            return (what.container, what.key) == (other.container, other.key)
        return False

    def _body(self) -> str:
        what = self.what
        if isinstance(what, Placed):
            return f" {what.rule}"
        if isinstance(what, Element):
            # Without its comment and verdict, for a deletion: that is all that it may say.
            return f" {{ {' . '.join(what.key) if self.verb == 'delete' else what} }}"
        if self.verb != "add":
            return ""
        if isinstance(what, Container):
            return f" {{ {what.spec()} }}"
        words = [f"type {what.hook} ;"] if isinstance(what, Chain) and what.hook else []
        words += [f"comment {quote(what.comment)} ;"] if what.comment else []
        return f" {{ {' '.join(words)} }}" if words else ""


def text(operations: Iterable[Operation]) -> str:
    """Input for `nft -f`."""
    return "".join(f"{one}\n" for one in operations)
