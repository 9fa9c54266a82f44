"""Which kernel parameters of a pod a node takes: upstream pkg/kubelet/sysctl and pkg/apis/core/validation's forms."""

from __future__ import annotations

import pytest

from netlab.node.kubelet.admission import Admission
from netlab.node.kubelet.sysctls import dotted, wanted


def _pod(name: str, **spec: object) -> dict[str, object]:
    context = {"sysctls": [{"name": name, "value": "1"}]}
    return {"metadata": {"name": "p", "uid": "u"}, "spec": {"containers": [], "securityContext": context, **spec}}


@pytest.mark.parametrize(
    ("name", "spec", "message"),
    [
        ("kernel.shm_rmid_forced", {}, None),
        ("net.ipv4.tcp_syncookies", {}, None),
        ("net/ipv4/tcp_syncookies", {}, None),
        ("kernel.msgmax", {}, 'forbidden sysctl: "kernel.msgmax" not allowlisted'),
        ("net.ipv4.ip_forward", {}, 'forbidden sysctl: "net.ipv4.ip_forward" not allowlisted'),
        ("kernel.shm_rmid_forced", {"hostNetwork": True}, None),
        (
            "net.ipv4.tcp_syncookies",
            {"hostNetwork": True},
            'forbidden sysctl: "net.ipv4.tcp_syncookies" not allowed with host net enabled',
        ),
    ],
)
def test_admission(name: str, spec: dict[str, object], message: str | None) -> None:
    found = Admission({"pods": "10"}).admit(_pod(name, **spec), None)
    assert (found and (found.reason, found.message)) == (message and ("SysctlForbidden", message))


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("kernel.shmmax", "kernel.shmmax"),
        ("kernel/shmmax", "kernel.shmmax"),
        ("net/ipv4/conf/eth0.100/x", "net.ipv4.conf.eth0/100.x"),
        ("net.ipv4.conf.eth0/100.x", "net.ipv4.conf.eth0/100.x"),
    ],
)
def test_names(written: str, read: str) -> None:
    assert dotted(written) == read
    assert wanted(_pod(written)["spec"]) == ((read, "1"),)
