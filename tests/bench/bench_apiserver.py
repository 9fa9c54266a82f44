"""The API server against its floors, on one core: bare aiohttp serving the same bytes, bare SQLite group commit.

`python -m tests.bench.bench_apiserver`: every server is kept on one core, the load generator on the others. Rates of
reading are per second of the server's CPU time, so that whatever else runs on the machine does not count; ratios
compare two servers in this one run, which take turns, and the best turn of each counts.

Durable creates are compared with bare SQLite group commit: as many writers at once, one thread that commits what they
left (WAL, synchronous=FULL, the same directory), the very bytes that the API server stores of a ConfigMap with 2 KB of
data, and nothing else: no HTTP, no JSON, no revisions, no index, no watchers. Between the two stands "bare HTTP": the
same group commit behind uvloop, which looks for nothing but the end of a request's head, and answers with its body; no
server of this kind can do better. Pods cost more: their specs are larger, and decoded, defaulted and judged; that they
are all alike is as it is for the pods of a workload. The ratio is of rates by the clock, so it is true only where
nothing else runs; that of the CPU time is always.
"""

import asyncio
import itertools
import multiprocessing
import os
import sqlite3
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import orjson
import uvloop

TOKEN = "bench"
CONNECTIONS = int(os.environ.get("W", "16"))
CORE = min(os.sched_getaffinity(0))
"""Where the servers run; of use before the load generator is sent elsewhere."""
PODS = "/api/v1/namespaces/default/pods"
WATCHED = "/api/v1/namespaces/kube-public/configmaps"
"""Apart from the objects of the other measurements, or every watcher would first be told those."""


def pod(name: str) -> dict[str, object]:
    """A pod of about 2 KB, as stored."""
    mounts = [{"name": f"v{n}", "mountPath": f"/data/{n}/{'x' * 40}"} for n in range(6)]
    container = {
        "name": "main",
        "image": "registry.example.com/team/application:1.2.3",
        "env": [{"name": f"VARIABLE_{n}", "value": "value" * 4} for n in range(10)],
        "volumeMounts": mounts,
    }
    volumes = [{"name": f"v{n}", "emptyDir": {}} for n in range(6)]
    spec = {"containers": [container], "volumes": volumes, "automountServiceAccountToken": False}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": "bench"}}, "spec": spec}


async def _serve_bare(pipe: Connection, bodies: dict[str, bytes]) -> None:
    from aiohttp import web

    async def handle(request: web.BaseRequest) -> web.Response:
        return web.Response(body=bodies[request.path], content_type="application/json")

    server = web.Server(handle, access_log=None)
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    await _answer_parent(pipe, listener.sockets[0].getsockname()[1])


async def _serve_netlab(pipe: Connection, state: str) -> None:
    from netlab.apiserver.assembly import assemble, server_pki
    from netlab.apiserver.config import ApiServerConfig
    from netlab.apiserver.server import Server

    config = ApiServerConfig(state_dir=Path(state), static_tokens={TOKEN: ("bench", ("system:masters",))})
    api = await assemble(config, server_pki(config))
    server = Server(api)
    listener = await asyncio.get_running_loop().create_server(server.http, "127.0.0.1", 0)
    await _answer_parent(pipe, listener.sockets[0].getsockname()[1])
    await api.store.close()


def _open_bare(directory: str) -> sqlite3.Connection:
    db = sqlite3.connect(Path(directory) / "bare.db", isolation_level=None, check_same_thread=False)
    db.executescript("PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL")
    db.execute("CREATE TABLE log (revision INTEGER PRIMARY KEY, value BLOB NOT NULL)")
    return db


class GroupCommit(threading.Thread):
    """Bare group commit: whoever put a value is told in the event loop, by `tell`, when it is durable."""

    def __init__(self, directory: str, tell: Callable[[Any], None]) -> None:
        super().__init__(daemon=True)
        self.waiting: SimpleQueue[tuple[Any, bytes] | None] = SimpleQueue()
        self._db, self._tell, self._loop = _open_bare(directory), tell, asyncio.get_running_loop()
        self._numbers = itertools.count(1)
        self.start()

    def run(self) -> None:
        while (first := self.waiting.get()) is not None:
            group = [first]
            while not self.waiting.empty() and (more := self.waiting.get()) is not None:
                group.append(more)
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany("INSERT INTO log VALUES (?, ?)", [(next(self._numbers), value) for _, value in group])
            self._db.execute("COMMIT")
            self._loop.call_soon_threadsafe(self._tell_all, group)
        self._db.close()

    def _tell_all(self, group: list[tuple[Any, bytes]]) -> None:
        for who, _ in group:
            self._tell(who)


async def _commit_bare(pipe: Connection, asked: tuple[str, bytes, int, int]) -> None:
    """Tell what committing `count` rows by so many writers took: seconds, CPU seconds."""
    directory, value, count, writers = asked
    commit = GroupCommit(directory, lambda future: future.set_result(None))
    loop, left = asyncio.get_running_loop(), iter(range(count))

    async def writer() -> None:
        for _ in left:
            future: asyncio.Future[None] = loop.create_future()
            commit.waiting.put((future, value))
            await future

    used, began = time.process_time(), time.perf_counter()
    await asyncio.gather(*(writer() for _ in range(writers)))
    pipe.send((time.perf_counter() - began, time.process_time() - used))
    commit.waiting.put(None)
    commit.join()


async def _serve_bare_commits(pipe: Connection, directory: str) -> None:
    """Every request, whatever it is, is a row; its answer is its body, once that is durable."""

    class Protocol(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport: Any = transport

        def data_received(self, data: bytes) -> None:
            self.body = data[data.index(b"\r\n\r\n") + 4 :]
            commit.waiting.put((self, self.body))

        def answer(self) -> None:
            head = b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            self.transport.write(head % len(self.body) + self.body)

    commit = GroupCommit(directory, Protocol.answer)
    listener = await asyncio.get_running_loop().create_server(Protocol, "127.0.0.1", 0)
    await _answer_parent(pipe, listener.sockets[0].getsockname()[1])
    commit.waiting.put(None)
    commit.join()


def keep_to(cores: set[int]) -> None:
    """This process, and what it starts, runs on these cores only (all, where there is but one)."""
    os.sched_setaffinity(0, cores or os.sched_getaffinity(0))


async def _answer_parent(pipe: Connection, port: int) -> None:
    """Tell the port, then the CPU seconds used so far at every question, until told to end."""
    pipe.send(port)
    loop = asyncio.get_running_loop()
    ended = loop.create_future()

    def ask() -> None:
        try:
            asked = pipe.recv()
        except EOFError:
            asked = "end"  # whoever measures is gone
        if asked == "end":
            loop.remove_reader(pipe.fileno())
            ended.set_result(None)
        else:
            pipe.send(time.process_time())

    loop.add_reader(pipe.fileno(), ask)
    await ended


def _child(kind: str, pipe: Connection, argument: object, core: int) -> None:
    keep_to({core})
    serve = {"bare": _serve_bare, "netlab": _serve_netlab, "sqlite": _commit_bare, "http": _serve_bare_commits}[kind]
    uvloop.run(serve(pipe, argument))  # type: ignore[operator]


class Served:
    """A server in a process of its own."""

    def __init__(self, kind: str, argument: object) -> None:
        self.pipe, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        self.process = context.Process(target=_child, args=(kind, theirs, argument, CORE))
        self.process.start()
        # so that a server that dies is an end of file, not a silence
        theirs.close()
        self.port: int = self.pipe.recv()

    def cpu(self) -> float:
        self.pipe.send("cpu")
        return float(self.pipe.recv())

    def end(self) -> None:
        self.pipe.send("end")
        self.process.join()


class Connected:
    """One keep-alive connection that asks, and reads whole answers."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, request: bytes) -> bytes:
        self.writer.write(request)
        head = await self.reader.readuntil(b"\r\n\r\n")
        at = head.lower().index(b"content-length:") + 15
        length = int(head[at : head.index(b"\r", at)])
        body = await self.reader.readexactly(length)
        if not head.startswith((b"HTTP/1.1 200", b"HTTP/1.1 201")):
            raise RuntimeError(f"{head[:40]!r} {body[:300]!r}")
        return body


def request(method: str, path: str, body: bytes = b"") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nAccept: application/json\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def connect(port: int) -> Connected:
    return Connected(*await asyncio.open_connection("127.0.0.1", port, limit=1 << 26))


async def load(
    served: Served, count: int, make: Callable[[int], bytes], writers: int = CONNECTIONS
) -> tuple[float, float]:
    """Ask `count` times over some connections; (per CPU second of the server, per second)."""
    connections = [await connect(served.port) for _ in range(writers)]
    numbers = iter(range(count))

    async def one(connection: Connected) -> None:
        for number in numbers:
            await connection.ask(make(number))

    before, began = served.cpu(), time.perf_counter()
    await asyncio.gather(*(one(connection) for connection in connections))
    used, took = served.cpu() - before, time.perf_counter() - began
    for connection in connections:
        connection.writer.close()
    return count / used, count / took


async def reading(netlab: Served) -> None:
    connection = await connect(netlab.port)
    for number in range(500):
        await connection.ask(request("POST", PODS, orjson.dumps(pod(f"p{number:04}"))))
    one, many = f"{PODS}/p0001", PODS
    bodies = {path: await connection.ask(request("GET", path)) for path in (one, many)}
    connection.writer.close()
    bare = Served("bare", bodies)
    rows = [("GET", one, 20_000), ("LIST of 500", many, 300)]
    for name, path, count in rows:
        asked = request("GET", path)
        best = {}
        for _ in range(3):
            for which, served in (("bare", bare), ("netlab", netlab)):
                rate = (await load(served, count, lambda _, asked=asked: asked))[0]
                best[which] = max(best.get(which, 0.0), rate)
        size = len(bodies[path])
        print(
            f"{name:14} {size / 1000:8.1f} kB  bare aiohttp {best['bare']:9.0f}/CPU-s  "
            f"netlab {best['netlab']:9.0f}/CPU-s  ratio {best['netlab'] / best['bare']:.2f}"
        )
    bare.end()


def bare_sqlite(value: bytes, count: int, writers: int) -> tuple[float, float]:
    """Durable rows per CPU second and per second of bare group commit."""
    with tempfile.TemporaryDirectory() as directory:
        ours, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        process = context.Process(target=_child, args=("sqlite", theirs, (directory, value, count, writers), CORE))
        process.start()
        theirs.close()
        took, used = ours.recv()
        process.join()
    return count / used, count / took


def config_map(name: str) -> dict[str, object]:
    """A ConfigMap of about 2 KB; no two are alike."""
    data = {f"key{n}": f"{name}-{n}-{'v' * 170}" for n in range(10)}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


async def creating(netlab: Served, kind: str, path: str, make: Callable[[str], object], writers: int) -> None:
    """Durable creates by so many writers: bare SQLite, bare HTTP before it, and the API server take turns."""
    count, turns = 1_500, 3
    connection = await connect(netlab.port)
    value = await connection.ask(request("POST", path, orjson.dumps(make(f"first-{writers}"))))
    connection.writer.close()
    rates: dict[str, list[tuple[float, float]]] = {"SQLite": [], "HTTP": [], "netlab": []}
    with tempfile.TemporaryDirectory() as directory:
        http = Served("http", directory)
        for turn in range(turns):
            rates["SQLite"].append(bare_sqlite(value, count, writers))
            names = [f"c{writers}-{turn}-{number:05}" for number in range(count)]
            bodies = [request("POST", path, orjson.dumps(make(name))) for name in names]
            for which, served in (("HTTP", http), ("netlab", netlab)):
                rates[which].append(await load(served, count, lambda number, bodies=bodies: bodies[number], writers))
        http.end()
    (floor_cpu, floor), (http_cpu, http_rate), (cpu, rate) = (tuple(map(max, *found)) for found in rates.values())
    print(
        f"CREATE {kind:9} by {writers:3} writers: bare SQLite {floor:6.0f}/s {floor_cpu:6.0f}/CPU-s  "
        f"bare HTTP {http_rate:6.0f}/s {http_cpu:6.0f}/CPU-s  netlab {rate:5.0f}/s {cpu:5.0f}/CPU-s\n"
        f"    of bare SQLite {rate / floor:.2f} (CPU {cpu / floor_cpu:.2f}), "
        f"of bare HTTP {rate / http_rate:.2f} (CPU {cpu / http_cpu:.2f})"
    )


async def writing(netlab: Served) -> None:
    maps = "/api/v1/namespaces/default/configmaps"
    for writers in (CONNECTIONS, 16 * CONNECTIONS):
        await creating(netlab, "ConfigMap", maps, config_map, writers)
        await creating(netlab, "Pod", PODS, pod, writers)
    await renewing(netlab, 3_000)


async def renewing(netlab: Served, count: int) -> None:
    """A node's heartbeat."""
    leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
    connection = await connect(netlab.port)
    lease = {"metadata": {"name": "l"}, "spec": {"holderIdentity": "x", "leaseDurationSeconds": 4}}
    made = orjson.loads(await connection.ask(request("POST", leases, orjson.dumps(lease))))
    connection.writer.close()

    def renew(number: int) -> bytes:
        made["spec"]["renewTime"] = f"2026-01-01T00:00:00.{number:06d}Z"
        made["metadata"].pop("resourceVersion", None)
        patch = {"spec": {"renewTime": made["spec"]["renewTime"]}}
        return request("PATCH", f"{leases}/l", orjson.dumps(patch)).replace(
            b"Content-Type: application/json", b"Content-Type: application/merge-patch+json"
        )

    cpu, rate = await load(netlab, count, renew)
    print(f"PATCH a Lease    netlab {rate:7.0f}/s {cpu:8.0f}/CPU-s")


async def watching(netlab: Served, watchers: int) -> None:
    """One write told to many watchers: events delivered per CPU second of the server, and how long the last waits."""
    readers = []
    got = 0

    class Counter(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            nonlocal got
            got += data.count(b'{"type":')

    loop = asyncio.get_running_loop()
    asked = request("GET", f"{WATCHED}?watch=1&resourceVersion=0")
    for _ in range(watchers):
        transport, _protocol = await loop.create_connection(Counter, "127.0.0.1", netlab.port)
        transport.write(asked)
        readers.append(transport)
    await asyncio.sleep(1)
    connection = await connect(netlab.port)
    got, writes = 0, 50
    before, took = netlab.cpu(), []
    for number in range(writes):
        body = {"metadata": {"name": f"w{watchers}-{number}"}, "data": {"x": "y" * 1500}}
        began = time.perf_counter()
        await connection.ask(request("POST", WATCHED, orjson.dumps(body)))
        while got < (number + 1) * watchers:  # noqa: ASYNC110
            await asyncio.sleep(0)
        took.append(time.perf_counter() - began)
    used = netlab.cpu() - before
    took.sort()
    print(
        f"WATCH {watchers:5} watchers, {writes} writes: {writes * watchers / used:9.0f} events/CPU-s, "
        f"last watcher told after {took[len(took) // 2] * 1000:.1f} ms (worst {took[-1] * 1000:.1f})"
    )
    for transport in readers:
        transport.close()


async def changing(netlab: Served, watchers: int, rate: int) -> None:
    """The latency of a mutating call at a steady rate, with watchers of everything."""
    loop = asyncio.get_running_loop()
    readers = []
    asked = request("GET", f"{WATCHED}?watch=1&resourceVersion=0")
    for _ in range(watchers):
        transport, _ = await loop.create_connection(asyncio.Protocol, "127.0.0.1", netlab.port)
        transport.write(asked)
        readers.append(transport)
    await asyncio.sleep(1)
    connections = [await connect(netlab.port) for _ in range(CONNECTIONS)]
    free: asyncio.Queue[Connected] = asyncio.Queue()
    for connection in connections:
        free.put_nowait(connection)
    took: list[float] = []

    async def one(number: int) -> None:
        body = {"metadata": {"name": f"r{watchers}-{number}"}, "data": {"x": "y" * 1500}}
        connection = await free.get()
        began = time.perf_counter()
        await connection.ask(request("POST", WATCHED, orjson.dumps(body)))
        took.append(time.perf_counter() - began)
        free.put_nowait(connection)

    tasks = []
    for number in range(rate * 3):
        tasks.append(asyncio.create_task(one(number)))
        await asyncio.sleep(1 / rate)
    await asyncio.gather(*tasks)
    took.sort()
    middle, high = took[len(took) // 2] * 1000, took[int(len(took) * 0.99)] * 1000
    print(f"MUTATE at {rate}/s with {watchers} watchers: p50 {middle:.1f} ms, p99 {high:.1f} ms")
    for transport in readers:
        transport.close()


async def large(netlab: Served, count: int) -> None:
    """What `kubectl get pods -A` asks first, with many pods in the store."""
    bodies = [request("POST", PODS, orjson.dumps(pod(f"z{number:05}"))) for number in range(count)]
    await load(netlab, count, lambda number: bodies[number])
    connection = await connect(netlab.port)
    table = b"Accept: application/json;as=Table;v=v1;g=meta.k8s.io\r\n"
    asked = request("GET", "/api/v1/pods?limit=500").replace(b"Accept: application/json\r\n", table)
    took = []
    for _ in range(5):
        began = time.perf_counter()
        connection.writer.write(asked)
        first = await connection.reader.readuntil(b"\r\n\r\n")
        took.append(time.perf_counter() - began)
        at = first.lower().index(b"content-length:") + 15
        await connection.reader.readexactly(int(first[at : first.index(b"\r", at)]))
    best, worst = min(took) * 1000, max(took) * 1000
    print(f"TABLE of the first 500 of {count + 9502} pods: first byte after {best:.1f} ms (worst {worst:.1f})")


async def main() -> None:
    others = os.sched_getaffinity(0) - {CORE}
    with tempfile.TemporaryDirectory() as state:
        netlab = Served("netlab", state)
        keep_to(others)
        connection = await connect(netlab.port)
        account = {"metadata": {"name": "default"}}
        await connection.ask(request("POST", "/api/v1/namespaces/default/serviceaccounts", orjson.dumps(account)))
        connection.writer.close()
        steps: list[Callable[[], Awaitable[None]]] = [
            lambda: reading(netlab),
            lambda: writing(netlab),
            lambda: watching(netlab, 100),
            lambda: watching(netlab, 1000),
            lambda: changing(netlab, 1000, 100),
            lambda: large(netlab, int(os.environ.get("NETLAB_BENCH_PODS", "500"))),
        ]
        for step in steps:
            await step()
        netlab.end()


if __name__ == "__main__":
    uvloop.run(main())
