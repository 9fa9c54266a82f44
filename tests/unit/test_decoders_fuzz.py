"""Whatever bytes come in: decoders answer with a value or with the error that they promise, and in bounded memory."""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netlab.api import decoding, fields, labels, patch, protobuf, quantity, resources
from netlab.api.errors import StatusError
from netlab.apiserver.wire import yamlguard
from netlab.node.streams import spdy
from netlab.node.streams.pipe import Channel
from netlab.node.streams.portforward import SpdyForward
from netlab.node.streams.remotecommand import Options, SpdyStreams, WebSocketStreams
from netlab.node.streams.spdy import Decoder, Encoder, Frame, SpdyError
from netlab.node.streams.spdysession import MAX_STREAMS, SpdySession
from netlab.node.streams.websocket import WebSocket

POD = resources.get("v1", "Pod")
many = settings(max_examples=150, deadline=None)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
NAMES = st.sampled_from(
    ["metadata", "spec", "containers", "name", "labels", "env", "ports", "status", "$patch", "data"]
)
SHAPED: st.SearchStrategy[Any] = st.recursive(
    SCALARS | st.sampled_from(["delete", "merge", "replace", "1Gi", "2020-01-01T00:00:00Z"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


@many
@given(st.binary(max_size=300), st.booleans())
def test_protobuf(data: bytes, named: bool) -> None:
    start = b"k8s\0\x0a\x09\x0a\x02v1\x12\x03Pod" if named else b"k8s\0"
    try:
        found = protobuf.decode(start + data)
    except StatusError as refused:
        assert refused.code == 400
    else:
        assert isinstance(found, dict)


@many
@given(st.binary(max_size=200) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_json_bodies(data: bytes) -> None:
    try:
        found, _ = decoding.decode(data, POD, "Strict")
    except StatusError as refused:
        assert refused.code == 400
        assert refused.message
    else:
        assert found["kind"] == "Pod"


@many
@given(st.binary(max_size=200) | st.text("&*!|>-[]{}:,# \n\tab1'\"", max_size=120).map(str.encode))
def test_yaml_is_measured(data: bytes) -> None:
    try:
        yamlguard.check(data)
    except StatusError as refused:
        assert refused.code == 400


@many
@given(st.sampled_from([patch.JSON_PATCH, patch.MERGE_PATCH, patch.STRATEGIC_MERGE_PATCH]), SHAPED, SHAPED)
def test_patches(kind: str, body: Any, target: Any) -> None:
    current = {"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c", "env": []}]}}
    if isinstance(target, dict):
        current.update(target)
    try:
        found = patch.apply(kind, patch.parse(kind, json.dumps(body).encode()), current, POD)
    except StatusError as refused:
        assert 400 <= refused.code < 500
    else:
        assert isinstance(found, dict)


@many
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test", "x"]),
                "path": st.text("/ab~01-", max_size=6),
            },
            optional={"value": VALUES, "from": st.text("/ab", max_size=4)},
        ),
        max_size=5,
    )
)
def test_json_patches(operations: list[Any]) -> None:
    try:
        found = patch.apply(
            patch.JSON_PATCH, patch.parse(patch.JSON_PATCH, json.dumps(operations).encode()), {"a": {"b": []}}, POD
        )
    except StatusError as refused:
        assert refused.code in (400, 422)
    else:
        assert isinstance(found, dict)


@many
@given(st.text("abz.-/_!=,() 019inotexs\n<>é", max_size=40))
def test_selectors(text: str) -> None:
    with contextlib.suppress(labels.SelectorError):
        assert isinstance(labels.parse_selector(text).matches({"a": "b"}), bool)
    with contextlib.suppress(fields.FieldSelectorError):
        assert isinstance(fields.parse_field_selector(text, POD).matches({"metadata": {"name": "a"}}), bool)


@many
@given(st.text("0123456789.+-eEinumkKMGTP ", max_size=24) | st.text(max_size=6) | st.integers())
def test_quantities(value: str | int) -> None:
    try:
        found = quantity.parse(value)
    except ValueError:
        return
    assert quantity.parse(quantity.canonical(value)) >= found, "canonical text rounds up, never down"


@many
@given(st.lists(st.binary(max_size=60), max_size=6))
def test_spdy_bytes(parts: list[bytes]) -> None:
    decoder = Decoder()
    try:
        for part in parts:
            for frame in decoder.feed(part):
                assert isinstance(frame, Frame)
    except SpdyError:
        pass


def test_spdy_headers_that_unpack_to_gigabytes() -> None:
    packed = zlib.compressobj(zdict=spdy.DICTIONARY)
    block = packed.compress(struct.pack(">II", 1, 1 << 30) + b"x" * (64 << 20)) + packed.flush(zlib.Z_SYNC_FLUSH)
    body = struct.pack(">IIBB", 1, 0, 0, 0) + block
    with pytest.raises(SpdyError, match="more than 65536 bytes of headers"):
        Decoder().feed(struct.pack(">HHI", 0x8003, spdy.SYN_STREAM, len(body)) + body)


class Script:
    """A Wire that says what it was given, then nothing more; it keeps what it is told."""

    def __init__(self, *parts: bytes) -> None:
        self.parts, self.told, self.closed = list(parts), b"", False

    async def read(self) -> bytes:
        await asyncio.sleep(0)
        return self.parts.pop(0) if self.parts and not self.closed else b""

    async def write(self, data: bytes) -> None:
        if self.closed:
            raise ConnectionResetError
        self.told += data

    def close(self) -> None:
        self.closed = True


def _frame(first: int, data: bytes, *, masked: bool = True, size: int | None = None) -> bytes:
    length = len(data) if size is None else size
    bit = 0x80 if masked else 0
    head = bytes((first, bit | length)) if length < 126 else bytes((first, bit | 127)) + struct.pack(">Q", length)
    return head + (b"\0\0\0\0" if masked else b"") + data


FINAL = 0x80
CLOSE_1002, CLOSE_1009 = b"\x88\x02\x03\xea", b"\x88\x02\x03\xf1"


@pytest.mark.parametrize(
    "sent, answer",
    [
        (_frame(FINAL | 2, b"x", masked=False), CLOSE_1002),
        (_frame(FINAL | 3, b"x"), CLOSE_1002),
        (_frame(FINAL | 11, b"x"), CLOSE_1002),
        (_frame(FINAL | 0x40 | 2, b"x"), CLOSE_1002),
        (_frame(FINAL | 0, b"x"), CLOSE_1002),
        (_frame(2, b"x") + _frame(FINAL | 2, b"y"), CLOSE_1002),
        (_frame(9, b""), CLOSE_1002),
        (_frame(FINAL | 9, b"x" * 126), CLOSE_1002),
        (_frame(FINAL | 2, b"", size=(16 << 20) + 1), CLOSE_1009),
        (_frame(FINAL | 2, b"", size=1 << 62), CLOSE_1009),
        (_frame(2, b"x" * (9 << 20)) + _frame(FINAL, b"x" * (9 << 20)), CLOSE_1009),
        (_frame(2, b"") + _frame(0, b"") * 70_000, CLOSE_1009),
        (_frame(FINAL | 8, b"\x03\xe8"), b"\x88\x02\x03\xe8"),
        (_frame(FINAL | 9, b"ping") + _frame(FINAL | 8, b""), b"\x8a\x04ping\x88\x00"),
        (_frame(FINAL | 2, b"cut off")[:6], b""),
    ],
)
async def test_websocket_frames_that_are_none(sent: bytes, answer: bytes) -> None:
    wire = Script(*(sent[at : at + 65536] for at in range(0, len(sent), 65536)))
    assert await WebSocket(wire).receive() is None
    assert wire.told == answer
    assert wire.closed == (answer in (CLOSE_1002, CLOSE_1009))


@many
@given(st.lists(st.binary(max_size=40), max_size=5), st.sampled_from(["v4.channel.k8s.io", "v4.base64.channel.k8s.io"]))
def test_websocket_bytes(parts: list[bytes], protocol: str) -> None:
    async def run() -> None:
        streams = WebSocketStreams(WebSocket(Script(*parts)), protocol, Options(True, True, True, True))
        await streams.open()
        while await streams.read_stdin():
            pass
        while await streams.resize() is not None:
            pass
        assert streams._reader is not None
        await streams._reader

    asyncio.run(asyncio.wait_for(run(), 30))


def _opened(number: int, **headers: str) -> bytes:
    return Encoder().encode(Frame(spdy.SYN_STREAM, number, headers=headers))


@pytest.mark.parametrize(
    "sent",
    [
        struct.pack(">HHI", 0x8002, 1, 0),
        struct.pack(">HHI", 0x8003, 1, 20) + b"garbage that is no z",
        _opened(1, streamtype="data", port="http"),
        _opened(1, streamtype="data", port="99999999999"),
        _opened(1, streamtype="nonsense", port="80"),
        _opened(1, streamtype="data", port="80") * 2,
        struct.pack(">II", 7, 3) + b"abc",
        struct.pack(">HHI", 0x8003, 3, 8) + struct.pack(">II", 9, 1),
    ],
)
async def test_port_forwards_that_are_none(sent: bytes) -> None:
    """They end, and no connection is made."""

    async def dial(port: int) -> Any:
        raise AssertionError(port)

    wire = Script(sent)
    await asyncio.wait_for(SpdyForward(SpdySession(wire), dial).run(), 10)


async def test_streams_are_limited() -> None:
    encoder, heard = Encoder(), Decoder()
    wire = Script(b"".join(encoder.encode(Frame(spdy.SYN_STREAM, 2 * n + 1)) for n in range(MAX_STREAMS + 3)))
    session = SpdySession(wire)
    await session.run()
    told = [frame.kind for frame in heard.feed(wire.told)]
    assert (told.count(spdy.SYN_REPLY), told.count(spdy.RST_STREAM)) == (MAX_STREAMS, 3)


async def test_an_exec_whose_client_leaves_before_it_began() -> None:
    streams = SpdyStreams(SpdySession(Script(_opened(1, streamtype="error"))), "v4.channel.k8s.io")
    with pytest.raises(ConnectionResetError, match="went away"):
        await streams.open(Options(stdin=True))


async def test_whoever_feeds_waits_for_whoever_reads() -> None:
    channel = Channel()
    channel.feed(b"x" * (Channel.ROOM + 1))
    waiting = asyncio.create_task(channel.room())
    await asyncio.sleep(0)
    assert not waiting.done()
    assert len(await channel.read()) == Channel.ROOM + 1
    await asyncio.wait_for(waiting, 5)
    channel.feed(b"x" * (Channel.ROOM + 1))
    abandoned = asyncio.create_task(channel.room())
    await asyncio.sleep(0)
    channel.end()
    await asyncio.wait_for(abandoned, 5)
