"""etcd, as far as a test pod needs one: its JSON gateway (/v3/kv: range, put, deleterange, txn), /health and /version.

One member, in memory: what was written is gone with the container, as in a pod whose etcd has no volume. gRPC, leases,
watches and history are not here; a request for them is refused. Source followed: etcd api/etcdserverpb/rpc.proto.
"""

import base64
import json
import os
import signal
import socket
import sys
from typing import Any

from netlab.runtime.builtin.common import UsageError, fail, go_errno, listen, parse_flags, split_host_port
from netlab.runtime.builtin.web import Request, Response, Server

VERSION = "3.5.21"
JSON = {"Content-Type": "application/json"}
FLAGS = {
    "listen-client-urls": "http://localhost:2379",
    "advertise-client-urls": "http://localhost:2379",
    "listen-peer-urls": "",
    "initial-advertise-peer-urls": "",
    "initial-cluster": "",
    "initial-cluster-state": "",
    "initial-cluster-token": "",
    "data-dir": "",
    "name": "default",
    "log-level": "",
    "logger": "",
}


class Refused(Exception):  # noqa: N818
    """Not a request that is understood; gRPC's code 3."""


class Keys:
    """Pairs by key, with the revisions in which each was made and last changed."""

    def __init__(self) -> None:
        self.revision = 1
        self.pairs: dict[bytes, dict[str, Any]] = {}

    def header(self) -> dict[str, str]:
        return {"cluster_id": "14841639068965178418", "member_id": "10276657743932975437",
                "revision": str(self.revision), "raft_term": "2"}  # fmt: skip

    def range(self, ask: dict[str, Any]) -> dict[str, Any]:
        found = self._between(ask)
        limit = int(ask.get("limit") or 0)
        shown = found[:limit] if limit else found
        answer: dict[str, Any] = {"header": self.header()}
        if found:
            answer["count"] = str(len(found))
            if not ask.get("count_only"):
                answer["kvs"] = [_pair(key, self.pairs[key], bool(ask.get("keys_only"))) for key in shown]
            if len(shown) < len(found):
                answer["more"] = True
        return answer

    def put(self, ask: dict[str, Any], revision: int) -> dict[str, Any]:
        key = _bytes(ask, "key")
        old = self.pairs.get(key)
        made, version = (old["create"], old["version"]) if old else (revision, 0)
        self.pairs[key] = {"value": _bytes(ask, "value"), "create": made, "mod": revision, "version": version + 1}
        self.revision = revision
        return {"header": self.header()}

    def delete(self, ask: dict[str, Any], revision: int) -> dict[str, Any]:
        found = self._between(ask)
        for key in found:
            del self.pairs[key]
        if found:
            self.revision = revision
        return {"header": self.header(), **({"deleted": str(len(found))} if found else {})}

    def txn(self, ask: dict[str, Any]) -> dict[str, Any]:
        """All in one revision: the first list where every comparison holds, else the second."""
        holds = all(self._holds(one) for one in ask.get("compare") or ())
        revision, answers = self.revision + 1, []
        for one in ask.get("success" if holds else "failure") or ():
            name = next(iter(one), "")
            body = one.get(name) or {}
            answers.append(self._operation(name.replace("_", "").lower(), body, revision))
        return {"header": self.header(), **({"succeeded": True} if holds else {}), "responses": answers}

    def _operation(self, name: str, body: dict[str, Any], revision: int) -> dict[str, Any]:
        if name == "requestput":
            return {"response_put": self.put(body, revision)}
        if name == "requestdeleterange":
            return {"response_delete_range": self.delete(body, revision)}
        if name == "requestrange":
            return {"response_range": self.range(body)}
        raise Refused(f"unknown operation {name!r}")

    def _holds(self, compare: dict[str, Any]) -> bool:
        pair = self.pairs.get(_bytes(compare, "key")) or {"create": 0, "mod": 0, "version": 0, "value": b""}
        target = compare.get("target", "VERSION")
        fields = {"MOD": ("mod", "mod_revision"), "CREATE": ("create", "create_revision"), "VERSION": ("version",) * 2}
        if target == "VALUE":
            have: Any = pair["value"]
            want: Any = _bytes(compare, "value")
        elif target in fields:
            mine, theirs = fields[target]
            have, want = pair[mine], int(compare.get(theirs) or compare.get(_camel(theirs)) or 0)
        else:
            raise Refused(f"unknown target {target!r}")
        result = compare.get("result", "EQUAL")
        verdicts = {"EQUAL": have == want, "NOT_EQUAL": have != want, "GREATER": have > want, "LESS": have < want}
        if result not in verdicts:
            raise Refused(f"unknown result {result!r}")
        return bool(verdicts[result])

    def _between(self, ask: dict[str, Any]) -> list[bytes]:
        """The keys that are meant, in order: one, or up to `range_end`, where a zero byte means all that follow."""
        key, end = _bytes(ask, "key"), _bytes(ask, "range_end" if "range_end" in ask else "rangeEnd")
        if not end:
            return [key] if key in self.pairs else []
        return sorted(one for one in self.pairs if one >= key and (end == b"\0" or one < end))


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _bytes(body: dict[str, Any], name: str) -> bytes:
    try:
        return base64.b64decode(body.get(name) or "", validate=True)
    except (ValueError, TypeError):
        raise Refused(f"invalid value for bytes field {name}") from None


def _pair(key: bytes, pair: dict[str, Any], keys_only: bool) -> dict[str, str]:
    shown = {"key": base64.b64encode(key).decode(), "create_revision": str(pair["create"])}
    shown |= {"mod_revision": str(pair["mod"]), "version": str(pair["version"])}
    if pair["value"] and not keys_only:
        shown["value"] = base64.b64encode(pair["value"]).decode()
    return shown


def answer(keys: Keys, request: Request) -> Response:
    if request.path == "/health":
        return Response(json.dumps({"health": "true", "reason": ""}), headers=JSON)
    if request.path == "/version":
        return Response(json.dumps({"etcdserver": VERSION, "etcdcluster": "3.5.0"}), headers=JSON)
    calls = {
        "/v3/kv/range": keys.range,
        "/v3/kv/put": lambda body: keys.put(body, keys.revision + 1),
        "/v3/kv/deleterange": lambda body: keys.delete(body, keys.revision + 1),
        "/v3/kv/txn": keys.txn,
    }
    call = calls.get(request.path)
    if call is None or request.method != "POST":
        return Response("404 page not found\n", 404)
    try:
        body = json.loads(request.body or b"{}")
        if not isinstance(body, dict):
            raise Refused("the body is no object")
        return Response(json.dumps(call(body)), headers=JSON)
    except (Refused, ValueError, TypeError, AttributeError) as problem:
        text = str(problem)
        return Response(json.dumps({"error": text, "code": 3, "message": text}), 400, JSON)


def main(*arguments: str) -> int:
    """`etcd --listen-client-urls=http://127.0.0.1:2379`; flags about peers are accepted."""
    flags: dict[str, Any] = dict(FLAGS)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))
    keys = Keys()
    server = Server(lambda request: answer(keys, request))
    try:
        parse_flags(arguments, flags)
        for url in str(flags["listen-client-urls"]).split(","):
            host, port = split_host_port(url.partition("://")[2].rstrip("/"))
            server.add(listen(socket.SOCK_STREAM, int(port), "127.0.0.1" if host == "localhost" else host))
    except UsageError as problem:
        return fail(str(problem))
    except (OSError, ValueError) as problem:
        return fail(f"etcd: {go_errno(problem) if isinstance(problem, OSError) else problem}")
    server.run()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
