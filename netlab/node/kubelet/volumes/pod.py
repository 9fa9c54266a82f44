"""All volumes of one pod: set up, kept up to date, taken away."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from netlab.api.errors import StatusError
from netlab.api.types import Obj
from netlab.client.transport import TransportError
from netlab.node.kubelet.downward import PodFacts
from netlab.node.kubelet.podspec import uid
from netlab.node.kubelet.ports import NodeContext
from netlab.node.kubelet.rubbish import discard
from netlab.node.kubelet.sources import ObjectSource, UnavailableError
from netlab.node.kubelet.volumes import claims, hostpath
from netlab.node.kubelet.volumes.atomic import own, write
from netlab.node.kubelet.volumes.payload import (
    Inputs,
    TokenRequest,
    VolumeError,
    build,
    references,
    token_requests,
)
from netlab.node.kubelet.volumes.tokens import PodTokens

_FILES = ("configMap", "secret", "downwardAPI", "projected")


def kind_of(volume: Obj) -> str:
    """The volume's source field."""
    return next((key for key in volume if key != "name"), "emptyDir")


@dataclass(slots=True)
class PodVolumes:
    """`paths`: volume name → (path, read-only), filled by `mount`. `memory`: the pod's directory on the tmpfs."""

    context: NodeContext
    source: ObjectSource
    uid: str
    tokens: PodTokens = field(init=False)
    memory: str = field(init=False)
    paths: dict[str, tuple[str, bool]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.tokens = PodTokens(self.context)
        self.memory = str(self.context.memory_dir(self.uid))

    async def mount(self, pod: Obj, facts: PodFacts) -> None:
        """Set up every volume that is not yet. Raises VolumeError for the first that cannot be."""
        volumes = pod["spec"].get("volumes") or ()
        for volume in volumes:
            kind = kind_of(volume)
            if volume["name"] in self.paths or kind in _FILES:
                continue
            if kind in ("persistentVolumeClaim", "ephemeral"):
                found = await claims.mounted(self.context.client, pod, volume, self._node_root)
            else:
                found = self._plain(pod, volume, kind)
            self.paths[volume["name"]] = found
        await self._write_files(
            pod, facts, [v for v in volumes if kind_of(v) in _FILES and v["name"] not in self.paths]
        )

    async def refresh(self, pod: Obj, facts: PodFacts) -> None:
        """Bring the files of mounted volumes up to date. Raises VolumeError; what was there stays."""
        mounted = [v for v in pod["spec"].get("volumes") or () if kind_of(v) in _FILES and v["name"] in self.paths]
        await self._write_files(pod, facts, mounted)

    def _plain(self, pod: Obj, volume: Obj, kind: str) -> tuple[str, bool]:
        name = volume["name"]
        if kind == "emptyDir":
            memory = (volume["emptyDir"] or {}).get("medium") == "Memory"
            path = self._directory(name, memory=memory)
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(0o777)
            group = (pod["spec"].get("securityContext") or {}).get("fsGroup")
            if group is not None:
                own(str(path), int(group))
            return str(path), False
        if kind == "hostPath":
            source = volume["hostPath"]
            return hostpath.resolve(name, source["path"], source.get("type") or "", self._node_root)
        raise VolumeError(name, f"volumes of kind {kind} are not supported by netlab")

    @property
    def _node_root(self) -> Path:
        """Where this node's own files are."""
        return self.context.agent.disks_path / self.context.name

    def _directory(self, name: str, *, memory: bool) -> Path:
        return Path(self.memory, name) if memory else self.context.pod_dir(self.uid) / name

    async def _write_files(self, pod: Obj, facts: PodFacts, volumes: Iterable[Obj]) -> None:
        volumes = list(volumes)
        if not volumes:
            return
        inputs = await self._fetch(pod, facts, volumes)
        group = (pod["spec"].get("securityContext") or {}).get("fsGroup")
        for volume in volumes:
            kind = kind_of(volume)
            path = self._directory(volume["name"], memory=kind != "configMap")
            write(path, build(volume, inputs), group)
            self.paths[volume["name"]] = (str(path), kind in ("configMap", "secret", "downwardAPI"))

    async def _fetch(self, pod: Obj, facts: PodFacts, volumes: list[Obj]) -> Inputs:
        refs = {ref: volume["name"] for volume in volumes for ref in references(volume)}
        wanted = {request: volume["name"] for volume in volumes for request in token_requests(volume)}
        objects, tokens = await asyncio.gather(
            asyncio.gather(*(self._object(pod, ref, volume) for ref, volume in refs.items())),
            asyncio.gather(*(self._token(pod, request, volume) for request, volume in wanted.items())),
        )
        found = dict(zip(refs, objects, strict=True))
        return Inputs(
            facts,
            {name: obj for (plural, name), obj in found.items() if plural == "configmaps"},
            {name: obj for (plural, name), obj in found.items() if plural == "secrets"},
            dict(zip(wanted, tokens, strict=True)),
        )

    async def _object(self, pod: Obj, ref: tuple[str, str], volume: str) -> Obj | None:
        try:
            return await self.source.get(ref[0], pod["metadata"]["namespace"], ref[1], uid(pod))
        except UnavailableError as problem:
            raise VolumeError(volume, f"failed to sync {ref[0][:-1]} cache: {problem}") from problem

    async def _token(self, pod: Obj, request: TokenRequest, volume: str) -> str:
        try:
            return await self.tokens.get(pod, request, self.context.clock())
        except (StatusError, TransportError) as problem:
            raise VolumeError(volume, f"failed to fetch token: {problem}") from problem

    def sub_path(self, volume: str, sub_path: str) -> str:
        """The real path of a subPath; made as a directory where it is missing. Raises ValueError when it escapes."""
        base = os.path.realpath(self.paths[volume][0])
        target = Path(os.path.realpath(f"{base}/{sub_path}"))
        if not target.is_relative_to(base):
            raise ValueError(f"subPath {sub_path!r} is outside of the volume")
        if not target.exists():
            target.mkdir(0o777, parents=True, exist_ok=True)
        return str(target)

    def unmount(self) -> None:
        """Delete the pod's directories."""
        discard(self.context.pod_dir(self.uid))
        discard(Path(self.memory))
