"""`klab capture -w` on 50 interfaces beside tcpdump on one: the same sender at its full rate, captured and lost.

In namespaces of its own, without root. The sender writes frames of 128 bytes to the far ends of veth pairs as fast as
it can; a capture's rate is frames in its file per second that the sender computed (what it waited for a processor that
others had says nothing about captures). Ratio above 1: more than tcpdump in the same run.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from netlab.trace.observe import Point, request

PAIRS, FRAMES, ROUNDS, SIZE = 50, 300_000, 3, 128
INSIDE = "NETLAB_BENCH_INSIDE"


def send(pairs: int) -> float:
    """All frames over so many pairs in turn, from a process of its own; seconds of its computing, the kernel's too."""
    pid = os.fork()
    if pid == 0:
        sockets = [socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) for _ in range(pairs)]
        for number, sock in enumerate(sockets):
            sock.bind((f"a{number}", 0))
        frame = bytes(12) + b"\x88\xb5" + bytes(SIZE - 14)
        sends = [sock.send for sock in sockets]
        for _ in range(FRAMES // pairs):
            for one in sends:
                try:
                    one(frame)
                except OSError:  # a full queue: the frame was not sent, and is tried again
                    one(frame)
        os._exit(0)
    used = os.wait4(pid, 0)[2]
    return used.ru_utime + used.ru_stime


def tcpdump(file: Path) -> tuple[float, int, int]:
    """(seconds of the sender's computing, captured, dropped) of tcpdump on one interface."""
    command = ["tcpdump", "-i", "b0", "-Z", "root", "-w", str(file), "ether", "proto", "0x88b5"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        process.stderr.readline()
        seconds = send(1)
        time.sleep(1.0)
        process.terminate()
        said = process.stderr.read()
    captured = re.search(r"(\d+) packets? captured", said)
    dropped = re.search(r"(\d+) packets? dropped by kernel", said)
    assert captured and dropped, said
    return seconds, int(captured[1]), int(dropped[1])


def ours(file: Path, pairs: int) -> tuple[float, int, int]:
    """The same of our observer, on so many interfaces; counted in its file."""
    points = [Point(f"place{number}", "", f"b{number}") for number in range(pairs)]
    command = [sys.executable, "-m", "netlab.trace.observe", request(points, "", form="pcapng")]
    with file.open("wb") as target, subprocess.Popen(command, stdin=subprocess.PIPE, stdout=target) as process:
        while file.stat().st_size < 28:
            time.sleep(0.02)
        time.sleep(0.2)
        seconds = send(pairs)
        process.communicate(timeout=300)
    return seconds, *count(file.read_bytes())


def count(data: bytes) -> tuple[int, int]:
    """Frames of ours in a pcapng file, and frames lost by its statistics."""
    at = captured = dropped = 0
    while at < len(data):
        kind, length = int.from_bytes(data[at : at + 4], "little"), int.from_bytes(data[at + 4 : at + 8], "little")
        if kind == 6:
            captured += data[at + 40 : at + 42] == b"\x88\xb5"
        elif kind == 5:
            dropped += int.from_bytes(data[at + 36 : at + 44], "little") if length >= 48 else 0
        at += length
    return captured, dropped


def inside() -> None:
    for number in range(PAIRS):
        names = (f"a{number}", f"b{number}")
        subprocess.run(["ip", "link", "add", names[0], "type", "veth", "peer", "name", names[1]], check=True)
        for name in names:
            subprocess.run(["ip", "link", "set", name, "up"], check=True)
    with tempfile.TemporaryDirectory(prefix="netlab-bench-") as home:
        file = Path(home) / "packets"
        print(f"{'':28}{'sent/s':>12}{'captured/s':>12}{'lost':>10}{'of tcpdump':>12}")
        for _ in range(ROUNDS):
            base = _row("tcpdump -w, 1 interface", *tcpdump(file), 0.0)
            _row("klab capture -w, 1", *ours(file, 1), base)
            _row(f"klab capture -w, {PAIRS}", *ours(file, PAIRS), base)


def _row(name: str, seconds: float, captured: int, dropped: int, base: float) -> float:
    rate = captured / seconds
    sent = FRAMES // (PAIRS if str(PAIRS) in name else 1) * (PAIRS if str(PAIRS) in name else 1)
    ratio = f"{rate / base:11.2f}×" if base else f"{'1':>12}"
    print(f"{name:28}{sent / seconds:12,.0f}{rate:12,.0f}{max(sent - captured, dropped):10,}{ratio}")
    return rate


def main() -> None:
    if os.environ.get(INSIDE):
        inside()
        return
    # tcpdump wants to become somebody else where it is root, which a user namespace of one id does not allow
    own = [] if os.getuid() == 0 else ["--user", "--map-current-user", "--keep-caps"]
    command = ["unshare", *own, "--net", sys.executable, "-m", "tests.bench.bench_capture"]
    sys.exit(subprocess.run(command, env={**os.environ, INSIDE: "1"}, check=False).returncode)


if __name__ == "__main__":
    main()
