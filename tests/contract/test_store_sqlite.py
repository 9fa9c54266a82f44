"""What the SQLite store promises about the disk: nothing acknowledged is lost, a full disk is survived."""

import asyncio
import os
import signal
import sqlite3
import sys
from pathlib import Path

import pytest

from netlab.store import StoreError, StoreFull
from netlab.store.sqlite import SqliteStore, open_sqlite

WRITER = """
import asyncio, sys
from pathlib import Path
from netlab.store.sqlite import open_sqlite

async def main():
    store = open_sqlite(Path(sys.argv[1]))
    async def writer(number):
        for count in range(100000):
            item = await store.create(f"pods/w{number}/{count:06}", lambda r: b"x" * 500)
            print(item.key, flush=True)
    await asyncio.gather(*(writer(n) for n in range(8)))

asyncio.run(main())
"""


async def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "api.db"
    for round_ in range(3):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            WRITER.replace("pods/w", f"pods/r{round_}w"),
            str(path),
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        acknowledged = [(await process.stdout.readline()).decode().strip() for _ in range(300 + 77 * round_)]
        os.kill(process.pid, signal.SIGKILL)
        acknowledged += [line.decode().strip() async for line in process.stdout if line.endswith(b"\n")]
        await process.wait()
        store = open_sqlite(path)
        missing = [key for key in acknowledged if store.get(key) is None]
        await store.close()
        assert missing == []


def limit_pages(store: SqliteStore, pages: int) -> None:
    """What SQLite answers when the file cannot grow is what it answers on a full disk: SQLITE_FULL."""
    store._db.execute(f"PRAGMA max_page_count={pages}")


async def test_a_full_disk_refuses_writes_and_loses_nothing(tmp_path: Path) -> None:
    store = open_sqlite(tmp_path / "api.db")
    kept = await store.create("pods/d/kept", lambda r: b"kept")
    limit_pages(store, 8)
    big = store.create("pods/d/big", lambda r: b"x" * 100_000)
    after = store.update("pods/d/kept", lambda r: b"later", kept.revision)
    for future in (big, after):
        with pytest.raises(StoreFull, match=r"no space left on the disk that holds .*api\.db"):
            await future
    assert store.get("pods/d/big") is None
    assert store.latest("pods/d/kept") is kept
    limit_pages(store, 100_000)
    changed = await store.update("pods/d/kept", lambda r: b"again", kept.revision)
    await store.close()
    again = open_sqlite(tmp_path / "api.db")
    found = again.get("pods/d/kept")
    assert found is not None
    assert (found.value, found.revision) == (b"again", changed.revision)
    await again.close()


async def test_compaction_gives_the_space_back(tmp_path: Path) -> None:
    store = open_sqlite(tmp_path / "api.db")
    item = await store.create("pods/d/a", lambda r: b"x")
    for _ in range(20):
        item = await store.update("pods/d/a", lambda r: b"x", item.revision)
    store.compact(item.revision)
    await store.close()
    rows = sqlite3.connect(tmp_path / "api.db").execute("SELECT count(*) FROM log").fetchone()[0]
    assert rows == 1


async def test_a_file_that_is_not_a_store_is_named_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "api.db").write_bytes(b"not a database, certainly" * 100)
    with pytest.raises(StoreError, match=r"cannot open the store .*api\.db: file is not a database"):
        open_sqlite(tmp_path / "api.db")
