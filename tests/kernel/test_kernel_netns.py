"""Namespaces on the real kernel."""

from __future__ import annotations

import errno
import os
import socket
import subprocess

import pytest

from netlab.kernel import netns
from netlab.kernel.errors import KernelError


def inode(ns: netns.NetNs) -> int:
    return os.fstat(ns.fd).st_ino


def test_a_created_namespace_is_new_pinned_and_visible_to_ip(sandbox):
    before = os.stat("/proc/self/ns/net").st_ino
    ns = netns.create("node1")
    assert os.stat("/proc/self/ns/net").st_ino == before
    assert inode(ns) == os.stat("/run/netns/node1").st_ino != before
    assert netns.names() == ["node1"]
    assert "node1" in subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout


def test_creating_twice_is_refused_and_ensure_adopts(sandbox):
    ns = netns.create("node1")
    with pytest.raises(KernelError) as refusal:
        netns.create("node1")
    assert refusal.value.errno == errno.EEXIST
    assert "node1" in str(refusal.value)
    adopted, made = netns.ensure("node1")
    assert not made and inode(adopted) == inode(ns)
    assert netns.ensure("node2")[1]


def test_a_file_left_by_an_interrupted_creation_is_no_namespace(sandbox):
    os.makedirs("/run/netns")
    open("/run/netns/node1", "w").close()
    assert netns.names() == []
    with pytest.raises(KernelError) as refusal:
        netns.open("node1")
    assert refusal.value.errno == errno.ENOENT
    netns.create("node1")
    assert netns.names() == ["node1"]


def test_sockets_and_children_live_in_the_namespace_of_which_they_were_asked(sandbox):
    one, two = netns.many(["one", "two"])
    for ns in (one, two):
        subprocess.run(["ip", "-n", ns.name, "link", "set", "lo", "up"], check=True)
    server = one.socket(socket.AF_INET, socket.SOCK_STREAM)
    server.bind(("127.0.0.1", 8080))
    server.listen()
    client = one.socket(socket.AF_INET, socket.SOCK_STREAM)
    client.connect(("127.0.0.1", 8080))
    with pytest.raises(ConnectionRefusedError):
        two.socket(socket.AF_INET, socket.SOCK_STREAM).connect(("127.0.0.1", 8080))
    child = two.popen(["stat", "-Lc", "%i", "/proc/self/ns/net"], stdout=subprocess.PIPE)
    assert int(child.communicate()[0]) == inode(two)


def test_sysctls_are_written_in_the_new_namespace_only(sandbox):
    ns = netns.create("router", sysctls={"net/ipv4/ip_forward": "1"})
    assert ns.read_proc("/proc/sys/net/ipv4/ip_forward").strip() == "1"
    assert netns.own().read_proc("/proc/sys/net/ipv4/ip_forward").strip() == "0"


def test_a_namespace_without_pin_ends_when_it_is_closed(sandbox):
    ns = netns.create("pod", pin=False)
    assert netns.names() == []
    inside = ns.popen(["sleep", "60"])
    same = netns.open(inside.pid)
    assert inode(same) == inode(ns)
    ns.close()
    assert inode(same)
    inside.kill()
    inside.wait()


def test_removing_is_idempotent_and_leaves_no_file(sandbox):
    netns.create("node1").close()
    netns.remove("node1")
    netns.remove("node1")
    assert os.listdir("/run/netns") == []


def test_a_failed_batch_leaves_nothing(sandbox):
    netns.create("n5").close()
    with pytest.raises(KernelError):
        netns.many([f"n{i}" for i in range(10)])
    assert netns.names() == ["n5"]


def test_two_hundred_namespaces_and_a_fork(sandbox):
    made = netns.many([f"n{i}" for i in range(200)])
    assert len({inode(ns) for ns in made}) == 200
    pid = os.fork()
    if pid == 0:  # the child has no worker thread and must start its own
        os._exit(0 if netns.open("n7").socket(socket.AF_INET, socket.SOCK_DGRAM) else 1)
    assert os.waitpid(pid, 0)[1] == 0
