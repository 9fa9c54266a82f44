# ruff: noqa: ASYNC110, ASYNC240
"""Containers are what programs expect of one: their root, their /proc, their users, their pod."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from runtime_pods import AGNHOST, Pod, ended, pod, text
from sandbox_lab import Box, running

from netlab.runtime.contract import Mount, StartError


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    with running() as box:
        yield box


# -- the root ---------------------------------------------------------------------------------------------------------


def test_a_pods_files(box: Box) -> None:
    box.call(pod_files)


async def pod_files() -> None:
    async with pod() as web:
        script = "hostname; cat /etc/hostname; cat /etc/resolv.conf; tail -1 /etc/hosts; echo $HOSTNAME; pwd"
        assert (await web.output("sh", "-c", script, working_dir="/srv/deep")).splitlines() == [
            *("web", "web", "search default.svc.cluster.local cluster.local", "nameserver 10.96.0.10"),
            *("options ndots:5", "10.244.1.5\tweb", "web", "/srv/deep"),
        ]


@pytest.mark.parametrize("image", ["netlab/host", "busybox", AGNHOST])
def test_every_directory_of_the_root_is_writable_and_private(box: Box, image: str) -> None:
    box.call(writable, image)


async def writable(image: str) -> None:
    async with pod() as web:
        places = (
            "/ /etc /tmp /var /root /home /bin"
            if image == "busybox"
            else "/ /etc /tmp /var/log /root /home /opt /srv /run"
        )
        script = f"for d in {places}; do echo x > $d/mine || exit 1; done; rm /etc/passwd && mkdir /new && ls -a /new"
        first = await ended(web.runtime, await web.run("sh", "-c", script, image=image))
        assert first.exit_code == 0, text(first)
        second = await web.output(
            "sh", "-c", "ls /mine /etc/mine /new 2>/dev/null; test -e /etc/passwd && echo whole", image=image
        )
        assert second.splitlines()[-1] == "whole"
        assert "x" not in second.split()


def test_nothing_of_the_machine_is_writable_or_personal(box: Box) -> None:
    box.call(machine)


async def machine() -> None:
    async with pod() as web:
        status = await ended(
            web.runtime,
            await web.run(
                "sh", "-c", "touch /usr/mine; ls -A /home /root /root/.local/bin /run /tmp; ls -A / | grep netlab"
            ),
        )
        assert "Read-only file system" in text(status, "stderr")
        own = ["/root:", ".local", "/root/.local/bin:", "python", "python3"]  # of the image python
        assert text(status, "stdout").split() == ["/home:", *own, "/run:", "lock", "/tmp:"]


def test_read_only_root(box: Box) -> None:
    box.call(read_only)


async def read_only() -> None:
    async with pod() as web:
        script = "touch /x 2>&1; echo y > /dev/shm/y && cat /dev/shm/y; echo > /dev/null; echo z > /v/z && cat /v/z"
        source = Path("/run/netlab/volume")
        source.mkdir(exist_ok=True)
        output = await web.output("sh", "-c", script, read_only_rootfs=True, mounts=(Mount(str(source), "/v"),))
        assert output.splitlines() == ["touch: cannot touch '/x': Read-only file system", "y", "z"]


def test_mounts(box: Box) -> None:
    box.call(mounts)


async def mounts() -> None:
    place = Path("/run/netlab/mounts")
    shutil.rmtree(place, ignore_errors=True)
    for name in ("data", "secret", "page"):
        (place / name).mkdir(parents=True)
        (place / name / "file").write_text(name)
    single = place / "single"
    single.write_text("one file")
    async with pod() as web:
        token = "/var/run/secrets/kubernetes.io/serviceaccount"
        id_ = await web.run(
            "sh",
            "-c",
            f"cat /data/file {token}/file /usr/share/some/where/file /etc/deep/one /etc/hosts;"
            f" echo w > /data/new; echo w > /etc/deep/one; echo w > {token}/new",
            mounts=(
                Mount(str(place / "data"), "/data/"),
                Mount(str(place / "secret"), "/var/run/secrets/kubernetes.io/serviceaccount", read_only=True),
                Mount(str(place / "page"), "/usr/share/some/where"),
                Mount(str(single), "/etc/deep/one"),
                Mount(str(single), "/etc/hosts", read_only=True),
            ),
        )
        status = await ended(web.runtime, id_)
        assert text(status, "stdout") == "datasecretpageone fileone file"
        assert text(status, "stderr").count("Read-only file system") == 1
        assert (place / "data/new").read_text() == "w\n"
        assert single.read_text() == "w\n"
        with pytest.raises(StartError, match=r'error mounting "/no/such" to rootfs at "/x": no such file or directory'):
            await web.run("true", mounts=(Mount("/no/such", "/x"),))


def test_devices(box: Box) -> None:
    box.call(devices)


async def devices() -> None:
    async with pod() as web:
        script = (
            "head -c3 /dev/zero | wc -c; head -c3 /dev/urandom | wc -c; echo x > /dev/full || echo full; touch /dev/x"
        )
        lines = (await web.output("sh", "-c", script)).splitlines()
        assert lines[:2] == ["3", "3"]
        assert "full" in lines
        log = Path("/run/netlab/termination")
        log.write_text("")
        await web.output(
            "sh", "-c", "echo bye > /dev/termination-log", mounts=(Mount(str(log), "/dev/termination-log"),)
        )
        assert log.read_text() == "bye\n"
        extra = await web.output(
            "sh", "-c", "cat /dev/extra; echo > /dev/null", mounts=(Mount(str(log), "/dev/extra"),)
        )
        assert extra == "bye\n"


# -- processes --------------------------------------------------------------------------------------------------------


def test_own_processes_and_network(box: Box) -> None:
    box.call(own)


async def own() -> None:
    async with pod() as web:
        output = await web.output(
            "sh", "-c", "echo $$; ls -d /proc/[0-9]* | wc -l; ls /sys/class/net; cat /proc/net/dev | wc -l"
        )
        first, processes, *network = output.split()
        assert first == "1" and network == ["lo", "3"]
        assert processes in ("2", "3")  # the shell and ls; wc may have begun by then
        assert "Read-only" in await web.output("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")


def test_shared_process_namespace(box: Box) -> None:
    box.call(shared)


async def shared() -> None:
    async with pod("shared", share_pids=True) as web:
        first = await web.run("sleep", "1000")
        script = "cat /proc/1/comm; grep -l sleep /proc/[0-9]*/comm | wc -l; echo $$; (sleep 0.01 &); sleep 0.1"
        output = await web.output("sh", "-c", script)
        assert "Z" not in await web.output("sh", "-c", "cut -d ' ' -f 3 /proc/[0-9]*/stat")
        assert output.split()[:2] == ["pause", "1"]
        assert int(output.split()[2]) > 1
        await web.runtime.stop_container(first, 5)
        assert (await ended(web.runtime, first)).exit_code == 143, "not number 1: SIGTERM works"


def test_containers_of_a_pod_share_localhost_and_collide(box: Box) -> None:
    box.call(localhost)


async def localhost() -> None:
    async with pod("local") as web:
        await web.run(image=AGNHOST, args=("netexec", "--http-port=8080"))
        script = "for i in 1 2 3 4 5 6 7 8 9; do wget -qO- http://127.0.0.1:8080/hostname && break; sleep 0.1; done"
        assert await web.output("sh", "-c", script, image="busybox") == "local"
        second = await ended(
            web.runtime, await web.run(image=AGNHOST, args=("netexec", "--http-port=8080", "--udp-port=-1"))
        )
        assert second.exit_code == 1
        assert "address already in use" in text(second)
        assert await web.output("sh", "-c", "ipcs -m >/dev/null 2>&1; hostname", image="busybox") == "local\n"


def test_memory_shared_by_the_pod_only(box: Box) -> None:
    box.call(shm)


async def shm() -> None:
    async with pod("one") as one, pod("two") as two:
        await one.output("sh", "-c", "echo here > /dev/shm/note")
        assert await one.output("cat", "/dev/shm/note") == "here\n"
        assert "No such file" in await two.output("cat", "/dev/shm/note")


# -- identity ---------------------------------------------------------------------------------------------------------


def test_capabilities(box: Box) -> None:
    box.call(capabilities)


async def capabilities() -> None:
    async with pod() as web:
        script = "grep CapEff /proc/self/status; ip link add dummy1 type veth && echo made || echo refused"
        default = await web.output("sh", "-c", script)
        assert "00000000a80425fb" in default
        assert "refused" in default
        added = await web.output("sh", "-c", script, capabilities_add=("NET_ADMIN",), capabilities_drop=("ALL",))
        assert "0000000000001000" in added
        assert "made" in added
        assert "0000000000000000" in await web.output("grep", "CapEff", "/proc/self/status", capabilities_drop=("ALL",))
        assert "made" in await web.output("sh", "-c", script.replace("dummy1", "dummy2"), privileged=True)
        with pytest.raises(StartError, match="unknown capability"):
            await web.run("true", capabilities_add=("NONSENSE",))


def test_users(box: Box) -> None:
    box.call(users, os.getuid() == 0 or box.launched.subordinate_ids)


async def users(mapped: bool) -> None:
    async with pod() as web:
        assert (await web.output("id", "-u")).strip() == "0"
        if not mapped:
            with pytest.raises(StartError, match="is not mapped into this lab"):
                await web.run("id", run_as_user=1000)
            return
        script = "id -u; id -g; id -G; grep CapEff /proc/self/status; touch /x || echo refused; echo $HOME"
        output = await web.output(
            "sh", "-c", script, run_as_user=1000, run_as_group=3000, supplemental_groups=(2000,), no_new_privs=True
        )
        assert output.split()[:4] == ["1000", "3000", "3000", "2000"]
        assert "0000000000000000" in output
        assert "refused" in output
        assert (await web.output("sh", "-c", "grep NoNewPrivs /proc/self/status", no_new_privs=True)).split()[1] == "1"


def test_errors_in_runcs_words(box: Box) -> None:
    box.call(errors)


async def errors() -> None:
    async with pod() as web:
        for argv, words in (
            (("/no/such",), 'exec: "/no/such": stat /no/such: no such file or directory'),
            (("/etc/passwd",), 'exec: "/etc/passwd": permission denied'),
            (("/tmp",), 'exec: "/tmp": is a directory'),
        ):
            with pytest.raises(StartError) as caught:
                await web.run(*argv)
            assert str(caught.value) == (
                "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create "
                f"failed: unable to start container process: error during container init: {words}"
            )
        with pytest.raises(StartError, match=r'no command specified for image "netlab/host"|executable file not found'):
            await web.run("nothing-like-that")


def test_signals_and_codes(box: Box) -> None:
    box.call(signals)


async def signals() -> None:
    async with pod() as web:
        trap = await web.run("sh", "-c", "trap 'echo bye; exit 4' TERM; echo ready; while :; do sleep 0.02; done")
        path = (await web.runtime.container_status(trap)).log_path
        while "ready" not in (Path(path).read_text() if Path(path).exists() else ""):
            await asyncio.sleep(0.01)
        await web.runtime.stop_container(trap, 10)
        status = await ended(web.runtime, trap)
        assert (status.exit_code, status.reason, text(status)) == (4, "Error", "ready\nbye\n")
        killed = await ended(web.runtime, await web.run("sh", "-c", "sh -c 'kill -9 $$'; exit $?"))
        assert killed.exit_code == 137


def test_memory_limit(box: Box) -> None:
    if not box.call(lab_cgroup):
        assert box.call(limit_is_ignored) == 0
        return
    assert box.call(out_of_memory) == (137, "OOMKilled")


def test_no_cgroup_is_left() -> None:
    with running() as box:
        group = box.call(lab_cgroup)
        if group:
            box.call(out_of_memory)
    assert not group or not os.path.exists(group)


async def lab_cgroup() -> str:
    from netlab.sandbox.client import InitClient

    client = await InitClient.connect()
    return str((await client.info())["cgroup"])


EAT = "x = [bytearray(1 << 20) for _ in range(64)]"


async def limit_is_ignored() -> int:
    async with pod() as web:
        return (await ended(web.runtime, await web.run("python3", "-c", EAT, memory_limit=32 << 20))).exit_code


async def out_of_memory() -> tuple[int, str]:
    async with pod() as web:
        status = await ended(web.runtime, await web.run("python3", "-c", EAT, memory_limit=32 << 20))
        return status.exit_code, status.reason


# -- builtin images ---------------------------------------------------------------------------------------------------


def test_a_builtin_image_has_a_shell_and_tools(box: Box) -> None:
    box.call(tools)


async def tools() -> None:
    async with pod("tools") as web:
        id_ = await web.run(image=AGNHOST, args=("pause",))
        for command in (
            "ls /",
            "nslookup --help 2>&1",
            "wget --help 2>&1",
            "ps",
            "ip addr",
            "hostname -i",
            "/agnhost --version",
        ):
            result = await web.runtime.exec_sync(id_, ["sh", "-c", command], timeout=20)
            assert result.exit_code in (0, 1), (command, result)
            assert result.stdout, command
        assert (await web.runtime.exec_sync(id_, ["ps", "-o", "comm=,args=", "1"])).stdout.split() == [
            *(b"agnhost", b"/agnhost", b"pause")
        ]
        assert (await web.runtime.exec_sync(id_, ["cat", "/proc/1/environ"])).stdout.strip(b"\0") == b""


async def agnhost(web: Pod, *arguments: str) -> tuple[int, str]:
    status = await ended(web.runtime, await web.run(image=AGNHOST, args=arguments))
    return status.exit_code, text(status)


def test_agnhost_commands(box: Box) -> None:
    box.call(commands)


async def commands() -> None:
    async with pod("agn") as web:
        assert await agnhost(web, "dns-suffix") == (0, "default.svc.cluster.local,cluster.local\n")
        assert await agnhost(web, "dns-server-list") == (0, "10.96.0.10\n")
        assert (await agnhost(web, "etc-hosts"))[1].startswith("127.0.0.1\tlocalhost\n")
        assert await agnhost(web, "entrypoint-tester", "a", "b") == (0, "[/agnhost entrypoint-tester a b]\n")
        assert (await agnhost(web, "nonsense"))[0] == 1
        code, lines = await agnhost(web, "logs-generator", "-t", "5", "-d", "10ms")
        assert (code, len(lines.splitlines())) == (0, 5)
        for arguments, expected in (
            (("127.0.0.1:1",), "REFUSED\n"),
            (("127.0.0.1",), "UNKNOWN: address 127.0.0.1: missing port in address\n"),
            (("no.such.name.invalid:80",), "DNS: lookup no.such.name.invalid: no such host\n"),
            (("--protocol=udp", "--timeout=1s", "127.0.0.1:1"), "REFUSED: "),
            (("--timeout=100ms", "192.0.2.1:80"), "OTHER: dial tcp 192.0.2.1:80: connect: network is unreachable\n"),
        ):
            code, output = await agnhost(web, "connect", *arguments)
            assert code == 1
            assert output.startswith(expected), output


def test_netexec(box: Box) -> None:
    box.call(netexec)


async def netexec() -> None:
    async with pod("exec") as web:
        id_ = await web.run(image=AGNHOST, args=("netexec", "--http-port=8080", "--udp-port=8081"))

        async def get(path: str) -> str:
            command = ["curl", "-sS", "--max-time", "10", "-w", " %{http_code}", f"http://127.0.0.1:8080{path}"]
            result = await web.runtime.exec_sync(id_, command)
            assert result.exit_code == 0, result
            return result.stdout.decode()

        while (await web.runtime.exec_sync(id_, ["/agnhost", "connect", "127.0.0.1:8080"])).exit_code:
            await asyncio.sleep(0.02)
        assert await get("/hostname") == "exec 200"
        assert await get("/hostName") == "exec 200"
        assert (await get("/")).startswith("NOW: 20")
        assert (await get("/clientip")).startswith("127.0.0.1:")
        assert await get("/echo?msg=hello%20you") == "hello you 200"
        assert await get("/echo?msg=tea&code=418") == "tea 418"
        assert await get("/healthz") == " 200"
        assert await get("/shell?cmd=echo%20hi") == '{"output":"hi\\n"} 200'
        assert await get("/shell?cmd=exit%203") == '{"error":"exit status 3"} 200'
        assert (
            await get("/dial?host=127.0.0.1&port=8081&protocol=udp&request=hostname&tries=2")
            == '{"responses":["exec","exec"]} 200'
        )
        assert await get("/dial?host=127.0.0.1&port=8080&request=echo?msg%3Dx") == '{"responses":["x"]} 200'
        assert "connection refused" in await get("/dial?host=127.0.0.1&port=9&request=x")
        assert (await get("/dial?host=127.0.0.1&port=9&request=x&protocol=smoke")).endswith(" 400")
        assert (
            await get("/dial?host=127.0.0.1&port=8081&protocol=udp&request=echo%20one%20two")
            == '{"responses":["one two"]} 200'
        )
        upload = ["curl", "-sS", "-F", "file=@/etc/hostname", "http://127.0.0.1:8080/upload"]
        name = (await web.runtime.exec_sync(id_, upload)).stdout.decode().split('"')[3]
        assert (await web.runtime.exec_sync(id_, ["cat", name])).stdout == b"exec\n"
        assert (
            await web.runtime.exec_sync(id_, ["/agnhost", "connect", "--protocol=udp", "127.0.0.1:8081"])
        ).exit_code == 0
        await web.runtime.exec_sync(id_, ["curl", "-sS", "http://127.0.0.1:8080/exit?code=7"])
        assert (await ended(web.runtime, id_)).exit_code == 7
