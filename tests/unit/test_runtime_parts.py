"""Log records, what is kept in PID 1, command lines and identities, the builtin servers' parsing."""

from __future__ import annotations

import pytest

from netlab.runtime import containers, pausebinary, records
from netlab.runtime.builtin.common import (
    UsageError,
    format_address,
    parse_duration,
    parse_flags,
    split_host_port,
)
from netlab.runtime.builtin.web import BadRequest, parse, parse_query, quote, unquote
from netlab.runtime.contract import ContainerConfig, DnsConfig, Mount, SandboxConfig
from netlab.runtime.crilog import MAX_LINE, LineSplitter, timestamp
from netlab.runtime.images.model import Image
from netlab.sandbox.spec import ExitInfo, ProcessInfo

NOW = 1_700_000_000_123_456_789
STAMP = b"2023-11-14T22:13:20.123456789Z"


def test_timestamp() -> None:
    assert timestamp(NOW).encode() == STAMP


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ([b"a\n"], [b"F a"]),
        ([b"a\nb\n"], [b"F a", b"F b"]),
        ([b"a", b"b\n"], [b"F ab"]),
        ([b"\n\n"], [b"F ", b"F "]),
        ([b"a"], [b"P a"]),
        ([b"x" * MAX_LINE + b"y\n"], [b"P " + b"x" * MAX_LINE, b"F y"]),
        ([b"x" * MAX_LINE, b"\n"], [b"P " + b"x" * MAX_LINE, b"F "]),
        ([b"x" * (2 * MAX_LINE)], [b"P " + b"x" * MAX_LINE, b"P " + b"x" * MAX_LINE]),
        ([b"\xff\x00\n"], [b"F \xff\x00"]),
    ],
)
def test_log_records(chunks: list[bytes], expected: list[bytes]) -> None:
    splitter = LineSplitter("stdout")
    out = b"".join(splitter.feed(chunk, NOW) for chunk in chunks) + splitter.end(NOW)
    assert out == b"".join(STAMP + b" stdout " + line + b"\n" for line in expected)


SANDBOX = SandboxConfig(
    "n1", "ns", "web", "u1", "/run/netns/x", 2, "web", ("10.0.0.1",), DnsConfig(("10.96.0.10",), ("a",), ("ndots:5",)),
    etc_hosts="127.0.0.1 localhost\n", labels={"a": "b"}, share_pids=True,
)  # fmt: skip
CONTAINER = ContainerConfig(
    "s1", "main", "busybox", 3, ("sh",), ("-c", "true"), (("A", "1"),), "/w", (Mount("/a", "/b", True),), "main/3.log",
    run_as_user=5, labels={"x": "y"}, memory_limit=1 << 20,
)  # fmt: skip
IMAGE = Image("sha256:i", ("busybox",), "host", cmd=("sh",), env=(("PATH", "/bin"), ("A", "0")), view="busybox")


def test_records_come_back_as_they_were() -> None:
    assert records.sandbox_config(records.sandbox_meta(SANDBOX)) == SANDBOX
    plain = SandboxConfig("n", "ns", "p", "u", "")
    assert records.sandbox_config(records.sandbox_meta(plain)) == plain
    record = records.ContainerRecord(
        CONTAINER, "n1", "sha256:i", 1.0, "/log", "/w", "SIGQUIT", {"A": "1"}, (5, 0), (7,), ("KILL",), ("agnhost",)
    )
    back = records.container_record(records.container_meta(record))
    assert back.config.env == (), "the environment is kept once, resolved"
    assert back.env == {"A": "1"}
    for field in ("node", "cwd", "user", "groups", "capabilities", "programs", "stop_signal"):
        assert getattr(back, field) == getattr(record, field)
    assert back.config.mounts == CONTAINER.mounts


@pytest.mark.parametrize(
    ("ended", "code", "reason"),
    [
        (ExitInfo(0, 0, 2.0), 0, "Completed"),
        (ExitInfo(3, 0, 2.0), 3, "Error"),
        (ExitInfo(0, 9, 2.0), 137, "Error"),
        (ExitInfo(0, 9, 2.0, oom=True), 137, "OOMKilled"),
        (ExitInfo(128, 0, 2.0, error="exec: …"), 128, "StartError"),
    ],
)
def test_reasons(ended: ExitInfo, code: int, reason: str) -> None:
    record = records.ContainerRecord(CONTAINER, "n1", "i", 1.0, "/log")
    status = records.container_status("c", record, ProcessInfo("ctr/n1/c", 9, 1.5, ended))
    assert (status.state, status.exit_code, status.reason, status.pid) == ("exited", code, reason, 0)


@pytest.mark.parametrize(
    ("command", "args", "entrypoint", "cmd", "expected"),
    [
        ((), (), ("/e",), ("c",), ["/e", "c"]),
        ((), ("a",), ("/e",), ("c",), ["/e", "a"]),
        (("x",), (), ("/e",), ("c",), ["x"]),
        (("x",), ("a",), ("/e",), ("c",), ["x", "a"]),
        ((), (), (), ("c",), ["c"]),
    ],
)
def test_command_and_args(
    command: tuple[str, ...],
    args: tuple[str, ...],
    entrypoint: tuple[str, ...],
    cmd: tuple[str, ...],
    expected: list[str],
) -> None:
    image = Image("i", ("x",), "loaded", entrypoint=entrypoint, cmd=cmd)
    assert containers.command_line(ContainerConfig("s", "c", "x", command=command, args=args), image) == expected


def test_environment() -> None:
    env = containers.environment(CONTAINER, SANDBOX, IMAGE)
    assert env == {"PATH": "/bin", "A": "1", "HOSTNAME": "web", "HOME": "/"}


@pytest.mark.parametrize(
    ("add", "drop", "has", "lacks"),
    [
        ((), (), "NET_RAW", "NET_ADMIN"),
        (("NET_ADMIN",), (), "NET_ADMIN", "SYS_ADMIN"),
        (("CAP_NET_ADMIN",), ("ALL",), "NET_ADMIN", "CHOWN"),
        (("ALL",), ("SYS_ADMIN",), "NET_ADMIN", "SYS_ADMIN"),
        ((), ("net_raw",), "CHOWN", "NET_RAW"),
    ],
)
def test_capabilities(add: tuple[str, ...], drop: tuple[str, ...], has: str, lacks: str) -> None:
    kept = containers.capability_set(ContainerConfig("s", "c", "x", capabilities_add=add, capabilities_drop=drop))
    assert kept is not None
    assert has in kept
    assert lacks not in kept


def test_hosts_file() -> None:
    assert containers.hosts_file(SANDBOX) == "127.0.0.1 localhost\n"
    pod = SandboxConfig("n", "ns", "p", "u", "", hostname="p", ips=("10.0.0.1",))
    assert containers.hosts_file(pod).splitlines()[-1] == "10.0.0.1\tp"


@pytest.mark.parametrize(
    ("program", "found"),
    [("/agnhost", True), ("agnhost", True), ("/opt/netlab/bin/agnhost", True), ("/x/agnhost", False), ("sh", False)],
)
def test_own_programs(program: str, found: bool) -> None:
    assert (containers.target(program, ("agnhost",)) is not None) is found


# -- builtin servers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"), [("1s", 1.0), ("1m30s", 90.0), ("250ms", 0.25), ("0", 0.0), ("1.5h", 5400.0), ("-2s", -2.0)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "1", "s", "1x", "."])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="time: "):
        parse_duration(text)


def test_flags() -> None:
    flags = {"http-port": "8080", "close": "false", "name": ""}
    assert parse_flags(("--http-port=1", "-close", "x", "--name", "n", "--", "--y"), flags) == ["x", "--y"]
    assert flags == {"http-port": "1", "close": "true", "name": "n"}
    for wrong in (("--nothing",), ("--name",)):
        with pytest.raises(UsageError):
            parse_flags(wrong, flags)


@pytest.mark.parametrize(
    ("text", "pair"),
    [("a:1", ("a", "1")), ("[::1]:80", ("::1", "80")), (":5", ("", "5")), ("10.0.0.1:http", ("10.0.0.1", "http"))],
)
def test_host_port(text: str, pair: tuple[str, str]) -> None:
    assert split_host_port(text) == pair


def test_addresses() -> None:
    assert format_address(("::ffff:10.0.0.1", 5, 0, 0)) == "10.0.0.1:5"
    assert format_address(("fd00::1", 5, 0, 0)) == "[fd00::1]:5"
    with pytest.raises(ValueError, match="too many colons"):
        split_host_port("::1:80")


def test_requests_in_pieces() -> None:
    text = b"POST /a%20b?x=1+2&y=%41 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.0\r\n\r\n"
    buffer = bytearray()
    found = []
    for byte in text:
        buffer.append(byte)
        request = parse(buffer)
        if request is not None:
            found.append(request)
    assert [(r.method, r.path, r.body, r.version) for r in found] == [
        ("POST", "/a b", b"abc", "HTTP/1.1"),
        ("GET", "/", b"", "HTTP/1.0"),
    ]
    assert found[0].query == {"x": "1 2", "y": "A"}


def test_chunked_requests() -> None:
    buffer = bytearray(b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n")
    request = parse(buffer)
    assert request is not None
    assert (request.body, buffer) == (b"abcde", b"")


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/2\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
    ],
)
def test_bad_requests(data: bytes) -> None:
    with pytest.raises(BadRequest):
        parse(bytearray(data))


@pytest.mark.parametrize("text", ["", "a b", "äöü", "%", "a=b&c", "100%"])
def test_quoting(text: str) -> None:
    assert unquote(quote(text)) == text
    assert parse_query(f"k={quote(text)}")["k"] == text


def test_the_pause_program_is_an_elf_file_that_the_kernel_would_load() -> None:
    data = pausebinary.elf()
    assert data[:7] == b"\x7fELF\x02\x01\x01"
    assert len(data) < 300
    # p_filesz is the whole file, one read-execute segment, no interpreter
    assert int.from_bytes(data[64 + 32 : 64 + 40], "little") == len(data)
