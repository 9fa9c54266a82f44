"""What every store promises, on every store."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from netlab.store import Compacted, Conflict, Event, Exists, Item, NotFound, Store, StoreError
from netlab.store.sqlite import SqliteStore, open_sqlite


def value(text: str):  # type: ignore[no-untyped-def]
    return lambda revision: f"{text}@{revision}".encode()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = open_sqlite(tmp_path / "api.db")
    yield opened
    await opened.close()


def names(items: "list[Item] | tuple[Item, ...]") -> list[str]:
    return [item.key.rsplit("/", 1)[1] for item in items]


async def test_a_value_is_seen_when_it_is_durable_and_carries_its_revision(store: Store) -> None:
    future = store.create("pods/default/a", value("a"))
    assert store.get("pods/default/a") is None
    assert store.latest("pods/default/a") is not None
    item = await future
    assert item.value == b"a@1"
    assert store.get("pods/default/a") is item
    assert store.revision == item.revision == item.created == 1


async def test_writes_check_the_revision_they_were_computed_from(store: Store) -> None:
    with pytest.raises(NotFound):
        store.update("pods/default/a", value("x"), 1)
    first = await store.create("pods/default/a", value("a"))
    with pytest.raises(Exists):
        store.create("pods/default/a", value("b"))
    second = await store.update("pods/default/a", value("b"), first.revision)
    assert second.created == first.revision
    with pytest.raises(Conflict) as caught:
        store.update("pods/default/a", value("c"), first.revision)
    assert (caught.value.expected, caught.value.actual) == (first.revision, second.revision)
    with pytest.raises(Conflict):
        store.delete("pods/default/a", value("c"), first.revision)
    gone = await store.delete("pods/default/a", value("gone"), second.revision)
    assert gone.revision == 3
    assert store.get("pods/default/a") is None
    with pytest.raises(NotFound):
        store.delete("pods/default/a", value("c"), 3)


async def test_writes_of_one_turn_see_each_other_before_they_are_durable(store: Store) -> None:
    made = store.create("pods/default/a", value("a"))
    with pytest.raises(Exists):
        store.create("pods/default/a", value("a"))
    changed = store.update("pods/default/a", value("b"), 1)
    gone = store.delete("pods/default/a", value("c"), 2)
    assert store.latest("pods/default/a") is None
    again = store.create("pods/default/a", value("d"))
    assert [item.revision for item in await asyncio.gather(made, changed, gone, again)] == [1, 2, 3, 4]
    item = store.latest("pods/default/a")
    assert item is not None
    assert (item.value, item.created) == (b"d@4", 4)


async def test_lists_are_ordered_by_namespace_and_name_and_cut_in_pages(store: Store) -> None:
    for key in ("b/z", "a/y", "a/x", "ab/w"):
        store.create(f"pods/{key}", value(key))
    await store.create("nodes/n", value("n"))
    everything = store.list("pods")
    assert names(everything.items) == ["x", "y", "w", "z"]
    assert (everything.revision, everything.remaining) == (5, 0)
    assert names(store.list("pods", "a").items) == ["x", "y"]
    page = store.list("pods", limit=3)
    assert (names(page.items), page.remaining) == (["x", "y", "w"], 1)
    assert names(store.list("pods", start=page.items[-1].key, limit=3).items) == ["z"]
    assert names(store.list("nothing").items) == []


async def test_a_list_of_the_past_is_what_it_was(store: Store) -> None:
    a = await store.create("pods/d/a", value("a"))
    b = await store.create("pods/d/b", value("b"))
    await store.create("pods/d/c", value("c"))
    await store.delete("pods/d/a", value("a"), a.revision)
    await store.update("pods/d/b", value("b2"), b.revision)
    await store.create("pods/d/aa", value("aa"))
    then = store.list("pods", "d", revision=3)
    assert [(item.key, item.value) for item in then.items] == [
        ("pods/d/a", b"a@1"),
        ("pods/d/b", b"b@2"),
        ("pods/d/c", b"c@3"),
    ]
    rest = store.list("pods", "d", revision=3, start="pods/d/a", limit=1)
    assert (names(rest.items), rest.remaining, rest.revision) == (["b"], 1, 3)


async def test_history_is_told_from_any_known_revision(store: Store) -> None:
    told: list[Event] = []
    leave = store.subscribe("pods", told.extend)
    a = await store.create("pods/d/a", value("a"))
    await store.create("nodes/n", value("n"))
    b = await store.update("pods/d/a", value("b"), a.revision)
    await store.delete("pods/d/a", value("c"), b.revision)
    leave()
    await store.create("pods/d/z", value("z"))
    assert [(e.type, e.revision) for e in told] == [("ADDED", 1), ("MODIFIED", 3), ("DELETED", 4)]
    assert [e.revision for e in store.history("pods", 1)] == [3, 4, 5]
    assert store.history("pods", 5) == ()
    previous = store.history("pods", 2)[0].previous
    assert previous is not None
    assert previous.value == b"a@1"


async def test_compaction_forgets_history_and_keeps_the_present(store: Store) -> None:
    a = await store.create("pods/d/a", value("a"))
    a = await store.update("pods/d/a", value("b"), a.revision)
    await store.update("pods/d/a", value("c"), a.revision)
    store.compact(2)
    with pytest.raises(Compacted) as caught:
        store.history("pods", 1)
    assert str(caught.value) == "too old resource version: 1 (2)"
    with pytest.raises(Compacted):
        store.list("pods", revision=1)
    assert [e.revision for e in store.history("pods", 2)] == [3]
    assert store.list("pods", revision=2).items[0].value == b"b@2"


@pytest.mark.parametrize("compacted", [0, 3, 6])
async def test_a_store_opened_again_knows_the_present_and_the_history(tmp_path: Path, compacted: int) -> None:
    store = open_sqlite(tmp_path / "api.db")
    a = await store.create("pods/d/a", value("a"))
    b = await store.create("pods/d/b", value("b"))
    a = await store.update("pods/d/a", value("a2"), a.revision)
    await store.delete("pods/d/b", value("b"), b.revision)
    await store.update("pods/d/a", value("a3"), a.revision)
    await store.delete("pods/d/a", value("a"), 5)
    store.compact(compacted)
    after = [(e.type, e.revision, e.previous and e.previous.value) for e in store.history("pods", compacted)]
    await store.close()
    again = open_sqlite(tmp_path / "api.db")
    assert again.revision == 6
    assert [(e.type, e.revision, e.previous and e.previous.value) for e in again.history("pods", compacted)] == after
    if compacted:
        with pytest.raises(Compacted):
            again.history("pods", compacted - 1)
    assert [item.value for item in again.list("pods", revision=compacted or 6).items] == {
        0: [],
        3: [b"a2@3", b"b@2"],
        6: [],
    }[compacted]
    assert (await again.create("pods/d/a", value("new"))).revision == 7
    await again.close()


async def test_a_closed_store_refuses_writes_and_has_written_what_it_accepted(tmp_path: Path) -> None:
    store = open_sqlite(tmp_path / "api.db")
    accepted = [store.create(f"pods/d/{n}", value("x")) for n in range(50)]
    await store.close()
    assert all(future.done() for future in accepted)
    with pytest.raises(StoreError, match="closed"):
        store.create("pods/d/late", value("x"))
    again = open_sqlite(tmp_path / "api.db")
    assert again.count("pods") == 50
    await again.close()
