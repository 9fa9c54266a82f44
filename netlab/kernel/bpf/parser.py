"""The grammar: words to a tree of tests, as libpcap's grammar.y reads them."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import NoReturn, cast

from netlab.kernel.bpf import arithmetic, primitives
from netlab.kernel.bpf.arithmetic import Value
from netlab.kernel.bpf.code import JGE, JGT, LD_LEN, And, Not, Or, Test, Tree
from netlab.kernel.bpf.primitives import ETHERTYPES, PROTOCOLS, WITH_PORTS, Direction
from netlab.kernel.bpf.words import FilterError, Word, suggestion, words

KINDS = ("host", "net", "port", "portrange", "proto")
LACKING = {
    "gateway": "write 'ether host MAC and not host ADDRESS'",
    "protochain": "write 'ip6 proto N', or compare bytes: ip6[6] = N",
    "mpls": "compare bytes: ether[12:2] = 0x8847",
    "pppoed": "compare bytes: ether[12:2] = 0x8863",
    "pppoes": "compare bytes: ether[12:2] = 0x8864",
    "geneve": "write 'udp port 6081', and look inside with tshark",
    "llc": "compare bytes: ether[12:2] < 1536",
    "iso": "compare bytes: ether[14:2] = 0xfefe",
    "stp": "write 'ether host 01:80:c2:00:00:00'",
    "wlan": "frames of a lab are Ethernet's",
    "ifname": "name the interface in the place: node1:eth0",
}
"""Words of pcap-filter(7) that are refused, and what does the same."""
KNOWN = [
    *KINDS, *ETHERTYPES, *PROTOCOLS, "ether", "src", "dst", "and", "or", "not", "broadcast", "multicast", "vlan",
    "inbound", "outbound", "less", "greater", "len",
]  # fmt: skip
MANUAL = "; 'man pcap-filter' has the language"
_MAC = re.compile(r"[0-9a-f]{1,2}(?:([:.-])[0-9a-f]{1,2})(?:\1[0-9a-f]{1,2}){4}", re.IGNORECASE)
_RANGE = re.compile(r"([\w.]+)-([\w.]+)")
_ADDRESS = re.compile(r"[0-9a-f.:/]*[.:][0-9a-f.:/]*|\d+(?:/\d+)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Qualifiers:
    """What stands before a value; a value without any takes over those of the one before it."""

    header: str = ""
    direction: Direction = ""
    kind: str = ""


def parse(expression: str) -> Tree:
    """The tree. FilterError says which word is wrong, where it is, and what to write."""
    return _Parser(expression).parse()


class _Parser:
    def __init__(self, expression: str) -> None:
        self.expression = expression
        self.words = words(expression)
        self.at = 0
        self.before = Qualifiers()

    def parse(self) -> Tree:
        tree = self._expression()
        if self.at < len(self.words):
            word = self._peek()
            close = "" if word in KNOWN or not word[0].isalpha() else suggestion(word, ["and", "or", *KNOWN])
            unread = close or not word[0].isalnum()
            self._fail(f"it is not understood{close}" if unread else "'and' or 'or' is missing before it")
        return tree

    # words

    def _peek(self, ahead: int = 0) -> str:
        return self.words[self.at + ahead].text if self.at + ahead < len(self.words) else ""

    def _take(self, *wanted: str) -> str:
        word = self._peek()
        if wanted and word not in wanted:
            return ""
        self.at += 1
        return word

    def _expect(self, sign: str) -> None:
        if not self._take(sign):
            self._fail(f"'{sign}' is expected here")

    def _fail(self, why: str, back: int = 0) -> NoReturn:
        """About the next word, or one that was taken already."""
        place = self.at - back
        if place >= len(self.words):
            raise FilterError(self.expression, f"it is unfinished: {why}", len(self.expression))
        word: Word = self.words[place]
        raise FilterError(self.expression, f"{word.text!r} at character {word.at + 1}: {why}", word.at)

    # and, or, not, ( )

    def _expression(self) -> Tree:
        """`and` and `or` bind alike, from left to right."""
        tree = self._term()
        while joined := self._take("and", "or"):
            tree = (And if joined == "and" else Or)(tree, self._term())
        return tree

    def _term(self) -> Tree:
        if self._take("not", "!"):
            return Not(self._term())
        if self._is_number():
            return self._relation()
        if self._peek() == "(":
            return self._group()
        return self._primitive()

    def _group(self) -> Tree:
        """A parenthesis around tests, or around numbers that are compared."""
        start = self.at
        try:
            return self._relation()
        except FilterError as problem:
            first = problem
        self.at = start
        try:
            self._take("(")
            tree = self._expression()
            self._expect(")")
        except FilterError as problem:
            raise (problem if problem.at >= first.at else first) from None
        return tree

    # numbers

    def _is_number(self) -> bool:
        """Whether a number begins here, and not the value of a test (`port 80 or 443`)."""
        word, after = self._peek(), self._peek(1)
        if word in ("len", "-") or word in arithmetic.NAMES or (word in arithmetic.HEADERS and after == "["):
            return True
        return word[:1].isdigit() and (after in arithmetic.OPERATORS or after in arithmetic.COMPARISONS)

    def _relation(self) -> Tree:
        left = self._arithmetic(0)
        sign = self._take(*arithmetic.COMPARISONS)
        if not sign:
            self._fail(f"a comparison is expected here ({' '.join(arithmetic.COMPARISONS)})")
        right = self._arithmetic(0)
        with self._computing():
            return arithmetic.comparison(sign, left, right)

    @contextlib.contextmanager
    def _computing(self) -> Iterator[None]:
        try:
            yield
        except ZeroDivisionError:
            self._fail("division by zero", 1)
        except OverflowError:
            self._fail("it is nested too deeply", 1)

    def _arithmetic(self, level: int) -> Value:
        if level == len(arithmetic.BINDING):
            return self._factor()
        left = self._arithmetic(level + 1)
        while sign := self._take(*arithmetic.BINDING[level]):
            right = self._arithmetic(level + 1)
            with self._computing():
                left = arithmetic.operation(sign, left, right)
        return left

    def _factor(self) -> Value:
        word = self._peek()
        if self._take("("):
            inner = self._arithmetic(0)
            self._expect(")")
            return inner
        if self._take("-"):
            return arithmetic.negative(self._factor())
        if self._take("len"):
            return arithmetic.LENGTH
        if word in arithmetic.NAMES:
            self._take()
            return arithmetic.number(arithmetic.NAMES[word])
        if word in arithmetic.HEADERS and self._peek(1) == "[":
            return self._access()
        if word[:1].isdigit():
            return arithmetic.number(self._number(0xFFFFFFFF))
        close = suggestion(word, list(arithmetic.NAMES))
        return self._fail(f"a number is expected here, len, or PROTOCOL[OFFSET:SIZE]{close}")

    def _access(self) -> Value:
        header = self._take()
        self._expect("[")
        offset, size = self._arithmetic(0), 1
        if self._take(":"):
            size = self._number(4)
            if size not in arithmetic.SIZES:
                self._fail("1, 2 or 4 bytes can be compared", 1)
        self._expect("]")
        return arithmetic.access(header, offset, size)

    def _number(self, most: int) -> int:
        word = self._peek()
        with contextlib.suppress(ValueError):
            value = int(word, 8 if re.fullmatch("0[0-7]+", word) else 0)
            if value <= most:
                self._take()
                return value
        return self._fail(f"a number up to {most} is expected here")

    # tests

    def _primitive(self) -> Tree:
        word = self._peek()
        if word in LACKING:
            self._fail(f"it is not supported here; {LACKING[word]}")
        simple: dict[str, Callable[[], Tree]] = {
            "less": lambda: Not(Test(((LD_LEN, 0),), JGT, self._number(0xFFFF))),
            "greater": lambda: Test(((LD_LEN, 0),), JGE, self._number(0xFFFF)),
            "inbound": lambda: Not(primitives.outbound()),
            "outbound": primitives.outbound,
            "broadcast": lambda: primitives.ether(b"\xff" * 6, "dst"),
            "multicast": lambda: primitives.multicast(""),
            "vlan": lambda: primitives.vlan(self._number(4095) if self._peek()[:1].isdigit() else None),
        }
        if word in simple:
            self._take()
            return simple[word]()
        if word in ETHERTYPES or word in PROTOCOLS or word in ("ether", "link"):
            return self._header()
        if word in (*KINDS, "src", "dst"):
            return self._qualified("")
        if word[:1].isalnum() or word.startswith("::"):
            return self._value(self.before)
        return self._fail(
            "it is not understood" if word else "a test is expected here, like 'port 80' or 'host 10.244.1.2'"
        )

    def _header(self) -> Tree:
        header = self._take().replace("link", "ether")
        after = self._peek()
        if after in ("broadcast", "multicast") and header in ("ether", "ip", "ip6"):
            if (header, after) == ("ip", "broadcast"):
                self._fail("the network's mask is not known here; write 'dst host' and its last address")
            self._take()
            return primitives.ether(b"\xff" * 6, "dst") if after == "broadcast" else primitives.multicast(header)
        if after in (*KINDS, "src", "dst"):
            return self._qualified(header)
        if header == "ether":
            if _MAC.fullmatch(after):
                return self._value(Qualifiers(header))
            self._fail("'host', 'src', 'dst', 'proto', 'broadcast' or 'multicast' is expected here")
        return primitives.protocol(header)

    def _qualified(self, header: str) -> Tree:
        direction = self._direction()
        kind = self._take(*KINDS)
        self._check(header, kind)
        self.before = Qualifiers(header, direction, kind)
        return self._values(self.before)

    def _direction(self) -> Direction:
        first = self._take("src", "dst")
        if first and self._peek() in ("or", "and") and self._peek(1) == ("dst" if first == "src" else "src"):
            joined = self._take()
            self._take()
            return "both" if joined == "and" else ""
        return cast("Direction", first)

    def _check(self, header: str, kind: str) -> None:
        """Whether such a value can be in such a header."""
        possible = {
            "host": ("", "ether", "ip", "ip6", "arp", "rarp"),
            "net": ("", "ip", "ip6", "arp", "rarp"),
            "port": ("", *WITH_PORTS),
            "portrange": ("", *WITH_PORTS),
            "proto": ("", "ether", "ip", "ip6"),
            "": ("", "ether", "ip", "ip6", "arp", "rarp"),
        }[kind]
        if header not in possible:
            self._fail(f"it cannot follow '{header}'; write '{header} and {kind or 'host'} …'", bool(kind))

    def _values(self, asked: Qualifiers) -> Tree:
        """One value, or several in a parenthesis."""
        if self._take("not", "!"):
            return Not(self._values(asked))
        if not self._take("("):
            return self._value(asked)
        tree = self._values(asked)
        while joined := self._take("and", "or"):
            tree = (And if joined == "and" else Or)(tree, self._values(asked))
        self._expect(")")
        return tree

    def _value(self, asked: Qualifiers) -> Tree:
        if asked.kind in ("port", "portrange"):
            protocols = (asked.header,) if asked.header else WITH_PORTS
            low, high = self._ports(asked.kind)
            return primitives.ports(low, high, asked.direction, protocols)
        if asked.kind == "proto":
            return self._protocol(asked.header)
        if _MAC.fullmatch(self._peek()):
            return self._mac(asked)
        if asked.header == "ether":
            self._fail("a hardware address is expected here, like 02:42:0a:f4:01:02")
        return self._address(asked)

    def _ports(self, kind: str) -> tuple[int, int]:
        found = _RANGE.fullmatch(self._peek())
        if kind == "portrange" and found:
            low, high = sorted(self._port(end) for end in found.groups())
        else:
            low = high = self._port(self._peek())
        self._take()
        return low, high

    def _port(self, word: str) -> int:
        if word.isdigit():
            return int(word) if int(word) <= 0xFFFF else self._fail("a port is a number up to 65535")
        try:
            return socket.getservbyname(word) if word else self._fail("a port is expected here")
        except OSError:
            self._fail(f"it is no port; write its number{'' if '-' not in word else ', or portrange N-M'}")

    def _protocol(self, header: str) -> Tree:
        word = self._peek()
        known = ETHERTYPES if header == "ether" else PROTOCOLS
        if not word[:1].isdigit() and word not in known:
            self._fail(f"a number is expected here, or one of {', '.join(known)}{suggestion(word, list(known))}")
        if header == "ether":
            kind = ETHERTYPES[self._take()] if word in ETHERTYPES else self._number(0xFFFF)
            return primitives.ethertype(kind) if kind > 1500 else self._fail("an EtherType is 1501 or more", 1)
        number = PROTOCOLS[self._take()] if word in PROTOCOLS else self._number(255)
        if header:
            return primitives.ip4(number) if header == "ip" else primitives.ip6(number)
        return Or(primitives.ip4(number), primitives.ip6(number))

    def _mac(self, asked: Qualifiers) -> Tree:
        if asked.header not in ("", "ether") or asked.kind not in ("", "host"):
            self._fail(f"a hardware address cannot follow '{asked.header or asked.kind}'; write 'ether host …'")
        parts = re.split("[:.-]", self._take())
        return primitives.ether(bytes(int(part, 16) for part in parts), asked.direction)

    def _address(self, asked: Qualifiers) -> Tree:
        network = self._network(asked)
        six = isinstance(network, IPv6Network)
        if asked.header and six != (asked.header == "ip6"):
            self._fail(f"it is no address that '{asked.header}' can have", 1)
        return primitives.network(network, asked.direction, asked.header)

    def _network(self, asked: Qualifiers) -> IPv4Network | IPv6Network:
        word = self._peek()
        if not _ADDRESS.fullmatch(word) or (asked == Qualifiers() and "." not in word and ":" not in word):
            self._no_address(word, asked)
        if asked.kind == "host" and "/" in word:
            self._fail("a host has no prefix; write 'net' instead")
        text = word
        if asked.kind == "net" and ":" not in word:
            parts = word.partition("/")[0].split(".")
            length = word.partition("/")[2] or str(8 * len(parts))
            text = f"{'.'.join([*parts, *['0'] * (4 - len(parts))])}/{length}"
            if self._peek(1) == "mask":
                text = f"{text.partition('/')[0]}/{self._peek(2)}"
        try:
            found = ip_network(text)
        except ValueError:
            self._fail(self._wrong_network(text))
        self.at += 3 if asked.kind == "net" and self._peek(1) == "mask" else 1
        return found

    @staticmethod
    def _wrong_network(text: str) -> str:
        try:
            meant = ip_network(text, strict=False)
        except ValueError:
            return "it is no address, and no prefix like 10.244.0.0/16"
        return f"it is an address inside of a network; write '{meant}', or 'host' and the address"

    def _no_address(self, word: str, asked: Qualifiers) -> NoReturn:
        if not word:
            self._fail("an address is expected here")
        if "." in word and word[0].isalpha():
            self._fail(
                "display filters are Wireshark's; here it is 'host 10.244.1.2', 'tcp port 80', as tcpdump has it"
            )
        if asked == Qualifiers():
            self._fail(f"it is not understood{suggestion(word, KNOWN) or MANUAL}")
        self._fail(
            f"it is no address, and names are not looked up here{suggestion(word, KNOWN)}; "
            "'klab kubectl get pods,services -A -o wide' shows addresses"
        )
