"""Developer's tool: read the shapes of the API's Go types out of a real kubectl and write `table.json`.

`python -m netlab.api.gotypes.extract /path/to/kubectl > table.json`

The facts wanted (which field is a pointer, what a type is called in an error message, the protobuf field number) are in
no published schema, but every Go program carries them for reflection. Source followed: Go's `internal/abi/type.go` of
Go 1.24 (layouts of `Type`, `StructType`, `MapType`, `Name`). Needs a non-PIE amd64 ELF binary, as released.
"""

from __future__ import annotations

import json
import re
import struct
import sys
from dataclasses import dataclass, field
from pathlib import Path

_KINDS = tuple(
    re.findall(
        r"\w+",
        "invalid bool int int8 int16 int32 int64 uint uint8 uint16 uint32 uint64 uintptr float32 float64 complex64 "
        "complex128 array chan func interface map ptr slice string struct unsafeptr",
    )
)
_TYPE_SIZE = 48
_UNCOMMON_AT = {"ptr": 56, "slice": 56, "array": 72, "map": 112, "struct": 80, "interface": 80, "func": 56, "chan": 64}
_PACKAGES = re.compile(
    r"k8s\.io/api/((?:core|apps|batch|rbac|networking|policy|storage|scheduling|discovery|events|coordination|node"
    r"|certificates|admissionregistration|flowcontrol|authentication|authorization|autoscaling|admission)/v1"
    r"|autoscaling/v2|authentication/v1beta1)$"
)
_OTHER_PACKAGES = {
    "k8s.io/apimachinery/pkg/apis/meta/v1": "meta/v1",
    "k8s.io/apimachinery/pkg/api/resource": "resource",
    "k8s.io/apimachinery/pkg/util/intstr": "intstr",
    "k8s.io/apimachinery/pkg/runtime": "runtime",
    "k8s.io/apimachinery/pkg/types": "types",
}


@dataclass
class GoType:
    """One type descriptor; `elem` and `key` are addresses, `fields` are (name, type address, tag, embedded)."""

    kind: str
    text: str
    named: bool
    package: str = ""
    elem: int = 0
    key: int = 0
    fields: list[tuple[str, int, str, bool]] = field(default_factory=list)


class Binary:
    """The type section of a Go program."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        sections = dict(self._sections())
        self.base, self.offset, self.size = sections[".rodata"]
        _, link_offset, link_size = sections[".typelink"]
        self.links = struct.unpack_from(f"<{link_size // 4}i", data, link_offset)

    def _sections(self) -> list[tuple[str, tuple[int, int, int]]]:
        start, entry_size, count, names_index = struct.unpack_from("<Q10xHHH", self.data, 40)
        heads = [struct.unpack_from("<IIQQQQ", self.data, start + entry_size * i) for i in range(count)]
        names = heads[names_index][4]
        found = []
        for name, _, _, address, offset, size in heads:
            end = self.data.index(b"\0", names + name)
            found.append((self.data[names + name : end].decode(), (address, offset, size)))
        return found

    def at(self, address: int) -> int:
        """File offset of an address in the type section."""
        return address - self.base + self.offset

    def holds(self, address: int) -> bool:
        """Whether the address lies in the type section."""
        return self.base <= address < self.base + self.size

    def name(self, offset: int) -> tuple[str, str, bool]:
        """(name, tag, embedded) of an encoded name."""
        flags = self.data[offset]
        text, offset = self._text(offset + 1)
        tag = self._text(offset)[0] if flags & 2 else ""
        return text, tag, bool(flags & 8)

    def _text(self, offset: int) -> tuple[str, int]:
        length = shift = 0
        while True:
            byte = self.data[offset]
            offset += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        return self.data[offset : offset + length].decode("utf-8", "replace"), offset + length

    def type(self, address: int) -> GoType:
        """Decode the descriptor at `address`."""
        here = self.at(address)
        flags, kind_byte, text_offset = struct.unpack_from("<20xB2xB16xi", self.data, here)
        kind = _KINDS[kind_byte & 31]
        text = self.name(self.offset + text_offset)[0]
        found = GoType(kind, text[1:] if flags & 2 else text, bool(flags & 4))
        if kind in ("ptr", "slice"):
            found.elem = struct.unpack_from("<Q", self.data, here + _TYPE_SIZE)[0]
        elif kind == "map":
            found.key, found.elem = struct.unpack_from("<QQ", self.data, here + _TYPE_SIZE)
        elif kind == "struct":
            package, fields, count = struct.unpack_from("<QQQ", self.data, here + _TYPE_SIZE)
            found.package = self.name(self.at(package))[0] if package else ""
            for index in range(count):
                name, type_, _ = struct.unpack_from("<QQQ", self.data, self.at(fields) + 24 * index)
                field_name, tag, embedded = self.name(self.at(name))
                found.fields.append((field_name, type_, tag, embedded))
        if flags & 1:
            uncommon = here + _UNCOMMON_AT.get(kind, _TYPE_SIZE)
            offset = struct.unpack_from("<i", self.data, uncommon)[0]
            found.package = self.name(self.offset + offset)[0] if offset > 0 else found.package
        return found


def _package(path: str) -> str | None:
    match = _PACKAGES.match(path)
    return match.group(1) if match else _OTHER_PACKAGES.get(path)


class Table:
    """What `table.json` holds: `structs` and `names`, keyed `<group>/<version>.<GoName>`."""

    def __init__(self, binary: Binary) -> None:
        self.binary = binary
        self.structs: dict[str, list[list[object]]] = {}
        self.names: dict[str, str] = {}
        self._seen: set[int] = set()

    def collect(self) -> None:
        """Walk all types reachable from the binary's type links."""
        stack = [self.binary.base + link for link in self.binary.links]
        while stack:
            address = stack.pop()
            if address in self._seen or not self.binary.holds(address):
                continue
            self._seen.add(address)
            found = self.binary.type(address)
            stack += [found.elem, found.key, *(one[1] for one in found.fields)]
            package = _package(found.package) if found.named else None
            if package is None:
                continue
            name = found.text.rpartition(".")[2]
            key = f"{package}.{name}"
            if not name[0].isupper() or "/" not in package or found.kind in ("func", "interface"):
                continue
            if found.kind == "struct":
                self.structs[key] = [self._field(*one) for one in found.fields if one[0][0].isupper()]
            else:
                self.names[key] = self._unnamed(found)

    def _field(self, name: str, address: int, tag: str, embedded: bool) -> list[object]:
        json_tag = re.search(r'json:"([^"]*)"', tag)
        json_name, *options = json_tag.group(1).split(",") if json_tag else [name]
        flags = "i" if embedded and not json_name else "" if "omitempty" in options else "r"
        number = re.search(r'protobuf:"[^",]*,(\d+)', tag)
        return [json_name, self.written(address), flags, int(number.group(1)) if number else 0]

    def written(self, address: int) -> str:
        """The type as `table.json` writes it: Go's notation with `<group>/<version>.` before the name."""
        found = self.binary.type(address)
        if found.named:
            package = _package(found.package)
            return f"{package}.{found.text.rpartition('.')[2]}" if package else found.text
        return self._unnamed(found)

    def _unnamed(self, found: GoType) -> str:
        if found.kind == "ptr":
            return "*" + self.written(found.elem)
        if found.kind == "slice":
            return "[]" + self.written(found.elem)
        if found.kind == "map":
            return f"map[{self.written(found.key)}]{self.written(found.elem)}"
        return found.kind


def main() -> None:
    """Write the table of the binary named on the command line to standard output, one type per line."""
    table = Table(Binary(Path(sys.argv[1]).read_bytes()))
    table.collect()
    out = sys.stdout
    out.write('{"names": {\n')
    out.write(",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in sorted(table.names.items())))
    out.write('},\n"structs": {\n')
    compact = (f"{json.dumps(k)}: {json.dumps(v, separators=(',', ':'))}" for k, v in sorted(table.structs.items()))
    out.write(",\n".join(compact) + "}}\n")


if __name__ == "__main__":
    main()
