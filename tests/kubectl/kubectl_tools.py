"""Every real kubectl of this machine, and an API server on loopback for it."""

import asyncio
import contextlib
import json
import os
import re
import shlex
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path

from netlab.apiserver import pki
from netlab.apiserver.config import ApiServerConfig
from netlab.apiserver.server import serve


def kubectls() -> list[Path]:
    """kubectl of PATH, or all the numbered ones beside it, oldest first."""
    found = shutil.which("kubectl")
    if found is None:
        return []
    real = Path(found).resolve()
    beside: dict[int, Path] = {}
    for path in real.parent.glob("kubectl.*"):
        if named := re.fullmatch(r"kubectl\.1\.(\d+)", path.name):
            beside[int(named[1])] = path
    return [beside[minor] for minor in sorted(beside)] or [real]


def ends() -> list[Path]:
    """The oldest and the newest: what differs between versions shows there."""
    every = kubectls()
    return [every[0], every[-1]] if len(every) > 1 else every


class Cluster:
    """A server and the kubectl that talks to it."""

    def __init__(self, state: Path, kubectl: Path) -> None:
        self.state, self.kubectl = state, kubectl

    async def run(self, command: str, stdin: str = "", timeout: float = 60) -> tuple[int, str, str]:
        environment = {**os.environ, "KUBECONFIG": str(self.state / "kubeconfig"), "HOME": str(self.state)}
        process = await asyncio.create_subprocess_exec(
            str(self.kubectl),
            *shlex.split(command),
            env=environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, error = await asyncio.wait_for(process.communicate(stdin.encode()), timeout)
        return process.returncode or 0, out.decode(), error.decode()

    async def ok(self, command: str, stdin: str = "") -> str:
        code, out, error = await self.run(command, stdin)
        assert code == 0, f"kubectl {command}: {error}"
        return out

    async def fails(self, command: str, stdin: str = "") -> str:
        code, out, error = await self.run(command, stdin)
        assert code != 0, f"kubectl {command} should fail: {out}"
        return error


@contextlib.asynccontextmanager
async def cluster(state: Path, kubectl: Path) -> AsyncIterator[Cluster]:
    """A fresh API server on a free port of loopback."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    config = ApiServerConfig(
        state_dir=state,
        listen_fds=(listening.detach(),),
        advertise_address="127.0.0.1",
        advertise_port=port,
    )
    ready = asyncio.Event()
    serving = asyncio.create_task(serve(config, ready=ready.set))
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait([serving, waiting], return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        serving.result()
    found = pki.ensure_pki(config.pki_dir)
    admin = pki.ensure_client(found, "admin", *pki.ADMIN)
    content = pki.kubeconfig(f"https://127.0.0.1:{port}", found.ca.cert, admin)
    (state / "kubeconfig").write_text(json.dumps(content))
    try:
        yield Cluster(state, kubectl)
    finally:
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving
