"""The matrix: every verb of kubectl × every kubectl found. A verb is a small check of what was printed and of what the
cluster then held; a chapter is the verbs that share one preparation and one namespace.

`since` is a table, not a skip: a version that never had the verb, or speaks to an API that 1.33 no longer serves, has
no cell. The versions between the oldest and the newest do the everyday verbs only.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import pty
import shlex
import ssl
import subprocess
import time
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import yaml

OLDEST = 20
PREFIXES = {
    **dict.fromkeys(
        ("deployments", "replicasets", "statefulsets", "daemonsets", "controllerrevisions"), "apis/apps/v1"
    ),
    **dict.fromkeys(("jobs", "cronjobs"), "apis/batch/v1"),
    "horizontalpodautoscalers": "apis/autoscaling/v2",
    "poddisruptionbudgets": "apis/policy/v1",
    "ingresses": "apis/networking.k8s.io/v1",
    **dict.fromkeys(("roles", "rolebindings"), "apis/rbac.authorization.k8s.io/v1"),
    **dict.fromkeys(("clusterroles", "clusterrolebindings"), "apis/rbac.authorization.k8s.io/v1"),
    "priorityclasses": "apis/scheduling.k8s.io/v1",
}
CLUSTER_WIDE = ("nodes", "namespaces", "clusterroles", "clusterrolebindings", "priorityclasses")


@dataclass(frozen=True)
class Verb:
    """One row of the matrix."""

    name: str
    check: Callable[[Kubectl], None]
    since: int
    everyday: bool


@dataclass
class Chapter:
    """Verbs that share a preparation."""

    name: str
    prepare: Callable[[Kubectl], None] = lambda kubectl: None
    verbs: list[Verb] = field(default_factory=list)

    def verb(
        self, name: str, *, since: int = OLDEST, everyday: bool = False
    ) -> Callable[[Callable[[Kubectl], None]], Callable[[Kubectl], None]]:
        """Decorator: adds the check to the chapter, in the order of the file."""

        def add(check: Callable[[Kubectl], None]) -> Callable[[Kubectl], None]:
            self.verbs.append(Verb(name, check, since, everyday))
            return check

        return add

    def of(self, minor: int, everything: bool) -> list[Verb]:
        """What a version does of it."""
        return [verb for verb in self.verbs if minor >= verb.since and (everything or verb.everyday)]


@dataclass(frozen=True)
class Result:
    """What a command ended with."""

    command: str
    code: int
    out: str
    error: str

    def __str__(self) -> str:
        return f"{self.command} → {self.code}\n{self.out}{self.error}"


class Kubectl:
    """One version in one namespace of one lab."""

    def __init__(
        self, program: str, minor: int, namespace: str, kubeconfig: Path, environment: Mapping[str, str]
    ) -> None:
        self.program, self.minor, self.namespace, self.kubeconfig = program, minor, namespace, kubeconfig
        self.environment = {**environment, "KUBECONFIG": str(kubeconfig)}

    def _command(self, command: str) -> list[str]:
        words = shlex.split(command)
        place = [] if words[0] in ("__complete", "config") else ["-n", self.namespace]
        return [self.program, *place, *words]

    def run(self, command: str, stdin: str = "", timeout: float = 60, **environment: str) -> Result:
        """Run it, whatever comes."""
        done = subprocess.run(
            self._command(command),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**self.environment, **environment},
            check=False,
        )
        return Result(f"kubectl {command}", done.returncode, done.stdout, done.stderr)

    def ok(self, command: str, stdin: str = "", **environment: str) -> str:
        """What it printed; it must succeed."""
        result = self.run(command, stdin, 60, **environment)
        assert result.code == 0, str(result)
        return result.out

    def says(self, command: str, want: str, stdin: str = "", **environment: str) -> str:
        """It must succeed, and print this somewhere."""
        out = self.ok(command, stdin, **environment)
        assert want in out, f"kubectl {command}: no {want!r} in\n{out}"
        return out

    def fails(self, command: str, want: str, code: int = 1, stdin: str = "") -> None:
        """It must fail, and say why."""
        result = self.run(command, stdin)
        assert result.code == code, str(result)
        assert want in result.error + result.out, str(result)

    @contextlib.contextmanager
    def background(self, command: str) -> Iterator[subprocess.Popen[str]]:
        """Runs until the block ends."""
        process = subprocess.Popen(
            self._command(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.environment,
        )
        try:
            yield process
        finally:
            process.terminate()
            if process.stdout is not None and not process.stdout.closed:
                process.communicate(timeout=10)

    def until_printed(self, process: subprocess.Popen[str], word: str) -> str:
        """Read what it prints until a line has the word; that line. The output's end before it is a failure."""
        assert process.stdout is not None
        read = []
        for line in process.stdout:
            read.append(line)
            if word in line:
                return line
        raise AssertionError(f"{shlex.join(map(str, process.args[3:]))}: no {word!r} in\n{''.join(read)}")  # type: ignore[index]

    def ends(self, process: subprocess.Popen[str], code: int, timeout: float = 60) -> str:
        """It must end by itself with this code; what it still printed."""
        rest, _ = process.communicate(timeout=timeout)
        assert process.returncode == code, f"→ {process.returncode}\n{rest}"
        return rest

    def on_terminal(
        self, command: str, typed: str = "", size: tuple[int, int] = (24, 80), timeout: float = 30
    ) -> Result:
        """Run it on a terminal of its own, `size` = rows and columns; what the terminal showed, without CRs."""
        import fcntl
        import struct
        import termios

        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
        process = subprocess.Popen(
            self._command(command), stdin=theirs, stdout=theirs, stderr=theirs, env=self.environment, close_fds=True
        )
        os.close(theirs)
        os.write(ours, typed.encode())
        os.set_blocking(ours, False)
        shown, end = b"", time.monotonic() + timeout
        try:
            while True:
                over = process.poll() is not None
                try:
                    while part := os.read(ours, 65536):
                        shown += part
                except (BlockingIOError, OSError):
                    pass
                if over:
                    break
                assert time.monotonic() < end, f"kubectl {command}: still running; showed {shown!r}"
                time.sleep(0.02)
        finally:
            process.kill()
            os.close(ours)
        return Result(f"kubectl {command}", process.wait(), shown.decode().replace("\r", ""), "")

    @cached_property
    def _server(self) -> tuple[str, ssl.SSLContext]:
        config = yaml.safe_load(self.kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        context = ssl.create_default_context(cadata=b64decode(cluster["certificate-authority-data"]).decode())
        pair = self.kubeconfig.parent / "matrix-client.pem"
        pair.write_bytes(b64decode(user["client-certificate-data"]) + b64decode(user["client-key-data"]))
        context.load_cert_chain(pair)
        return urlsplit(cluster["server"]).netloc, context

    def request(self, path: str) -> tuple[int, Any]:
        """GET without kubectl: the status and the answer."""
        netloc, context = self._server
        connection = http.client.HTTPSConnection(netloc, context=context, timeout=30)
        try:
            connection.request("GET", "/" + path)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def _path(self, plural: str, name: str = "") -> str:
        place = "" if plural in CLUSTER_WIDE else f"namespaces/{self.namespace}/"
        return f"{PREFIXES.get(plural, 'api/v1')}/{place}{plural}" + (f"/{name}" if name else "")

    def held(self, plural: str, name: str) -> Any:
        """The object that the cluster holds."""
        code, found = self.request(self._path(plural, name))
        assert code == 200, found
        return found

    def gone(self, plural: str, name: str) -> bool:
        """Nothing of that name is held any more."""
        return self.request(self._path(plural, name))[0] == 404

    def names(self, plural: str, selector: str = "") -> list[str]:
        """The names of what the cluster holds of a kind."""
        query = f"?labelSelector={quote(selector)}" if selector else ""
        return [item["metadata"]["name"] for item in self.request(self._path(plural) + query)[1]["items"]]

    def until(self, what: str, holds: Callable[[], object], timeout: float = 30) -> None:
        """Wait for it."""
        end = time.monotonic() + timeout
        while not holds():
            assert time.monotonic() < end, f"{what}: not within {timeout:.0f} s"
            time.sleep(0.05)


CELLS = "kubectl matrix"
"""The user property under which a test's report carries its cells: [version, [[verb, "ok" | "FAIL"], …]]."""


def table(cells: Sequence[tuple[str, Sequence[tuple[str, str]]]]) -> str:
    """Rows are verbs, columns are versions; an empty cell: not of this version, or not an everyday verb."""
    found: dict[str, dict[str, str]] = {}
    for version, results in cells:
        for verb, result in results:
            found.setdefault(verb, {})[version] = result
    versions = sorted({version for version, _ in cells}, key=lambda name: [int(part) for part in name.split(".")])
    width = max(map(len, found), default=0) + 2
    lines = ["verb".ljust(width) + "".join(version.rjust(6) for version in versions)]
    lines += [
        verb.ljust(width) + "".join(row.get(version, "").rjust(6) for version in versions)
        for verb, row in found.items()
    ]
    total = sum(len(row) for row in found.values())
    good = sum(result == "ok" for row in found.values() for result in row.values())
    return "\n".join([*lines, f"{good} of {total} cells ok"])
