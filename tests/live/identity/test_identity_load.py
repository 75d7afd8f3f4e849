"""Identities out of the bucket: as far back as it takes, and no further."""

from __future__ import annotations

import pytest

from streamgauge.errors import PayloadError
from streamgauge.identity import load
from streamgauge.identity.events import Binding, Event
from streamgauge.objects import ObjectName, partition_hour
from streamgauge.store import Store
from tests.support.identities import Archive

pytestmark = pytest.mark.live

HOUR = 3600 * 10**9
START = 490_000 * HOUR


def pod(name, ip, start, end=None):
    return Binding(ip, "pod", name, "shop", name, name, "Deployment", "node-a", False, start, end)


@pytest.fixture(name="store")
async def _store(s3_settings):
    store = Store(s3_settings)
    await store.start()
    yield store
    await store.stop()


async def test_a_window_has_the_bindings_that_held_in_it(store, monkeypatch):
    """Begun long before, begun within, ended within; not what ended before or began behind."""
    archive = Archive(store)
    old, gone, within = (
        pod("old", "10.0.0.1", START),
        pod("gone", "10.0.0.2", START),
        pod("within", "10.0.0.3", START + 10 * HOUR),
    )
    for hour in range(12):
        at = START + hour * HOUR
        living = [old, *([gone] if hour < 8 else []), *([within] if hour > 10 else [])]
        await archive.put(Event("home", at, tuple(living), at, len(living)))
    await archive.put(Event("home", START + 10 * HOUR + 5, (within,)))

    assert await archive.names(START + 10 * HOUR, START + 10 * HOUR + 9) == {
        "old": (START, None),
        "within": (START + 10 * HOUR, None),
    }
    assert await archive.names(START + 3 * HOUR, START + 8 * HOUR) == {
        "old": (START, None),
        "gone": (START, START + 8 * HOUR),
    }
    assert await archive.names(START + 9 * HOUR, START + 9 * HOUR) == {"old": (START, None)}

    read = []
    get = store.get

    async def counted(key, *where):
        read.append(key)
        return await get(key, *where)

    monkeypatch.setattr(store, "get", counted)
    await archive.names(START + 10 * HOUR, START + 10 * HOUR)
    assert len(read) == 5


async def test_it_goes_back_to_a_snapshot_that_is_whole(store):
    """The exporter was away for days: the last complete snapshot is older than the hours looked at first."""
    archive = Archive(store)
    old = pod("old", "10.0.0.1", START)
    await archive.put(Event("home", START, (old,), START, 1))
    await archive.put(Event("home", START + 40 * HOUR, (pod("new", "10.0.0.2", START + 40 * HOUR),)))

    assert await archive.names(START + 40 * HOUR, START + 41 * HOUR) == {
        "old": (START, None),
        "new": (START + 40 * HOUR, None),
    }


async def test_an_empty_bucket_and_a_damaged_object(store):
    """Nothing stored is nobody known; what is damaged is told with its name."""
    assert await Archive(store).names(START, START + HOUR) == {}
    name = ObjectName("identity", "20261125T000000000000Z", 1, 1, partition_hour(START))
    await store.put(name.key, memoryview(b"PAR1 no PAR1"), content_type="application/x-parquet")
    with pytest.raises(PayloadError, match=name.key):
        await load.load(store, START, START + HOUR)
