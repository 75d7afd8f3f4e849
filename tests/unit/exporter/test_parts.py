"""The small parts: duplicates, the ledger book, networks, words, shards."""

from __future__ import annotations

import dataclasses
import random

import pytest

from services.exporter import duplicates, ledger_book, networks, words
from services.exporter.duplicates import SeenBatches
from services.exporter.ledger_book import LedgerBook
from services.exporter.shards import shard_of
from streamgauge.errors import ConfigurationError
from streamgauge.ledger import LedgerRecord
from streamgauge.subjects import Envelope

ENVELOPE = Envelope("a", "boot", 1, "eth0", "interface", 1, 1, 1, 0, 0)


def numbered(sequence, **values):
    return dataclasses.replace(ENVELOPE, sequence=sequence, **values)


def record(boot, at, **values):
    return LedgerRecord("a", boot, "eth0", at, values.pop("reason", "tick"), **values)


def test_each_batch_is_new_once_in_any_order_within_the_window():
    """Batches that overtake each other are told from duplicates."""
    generator, order = random.Random(1), []
    for first in range(1, 2001, 100):
        some = [number for number in range(first, first + 100) for _ in range(2)]
        order += generator.sample(some, len(some))
    seen = SeenBatches()
    new = [sequence for sequence in order if seen.is_new(numbered(sequence))]
    assert sorted(new) == list(range(1, 2001))


def test_nodes_and_boots_count_apart():
    """The same sequence of another node or boot is another batch."""
    seen = SeenBatches()
    assert all(seen.is_new(numbered(1, node=node, boot=boot)) for node in "ab" for boot in "xy")
    assert not seen.is_new(numbered(1, boot="x"))


def test_a_batch_older_than_the_window_counts_as_seen():
    """Too old to tell: never counted twice."""
    seen = SeenBatches()
    assert seen.is_new(numbered(1))
    assert seen.is_new(numbered(duplicates.WINDOW + 5))
    assert not seen.is_new(numbered(2))
    assert seen.is_new(numbered(7))
    assert not seen.is_new(numbered(7))


def test_memory_for_duplicates_is_bounded(monkeypatch):
    """The source not heard of for the longest is forgotten first."""
    monkeypatch.setattr(duplicates, "SOURCES", 2)
    seen = SeenBatches()
    for node in "abc":
        assert seen.is_new(numbered(1, node=node))
    assert len(seen._sources) == 2
    assert not seen.is_new(numbered(1, node="c"))


def test_the_ledger_goes_on_over_boots():
    """Totals never fall: a new boot adds to what the former ended with, whatever the order of arrival."""
    book = LedgerBook()
    for at, entry in enumerate(
        [
            record("one", 1, kernel_received=5),
            record("one", 2, kernel_received=9, kernel_dropped=1),
            record("one", 1, kernel_received=5),
            record("two", 3, kernel_received=2),
            record("one", 2, kernel_received=9, kernel_dropped=1),
        ]
    ):
        book.take(entry, at)
    ((_, account),) = book.accounts(5)
    assert account.total("kernel_received") == 11
    assert account.lost == 1


def test_the_accounts_of_killed_boots_are_closed_beside_the_running_one():
    """A collector that goes on with a killed one's account writes both in turns: neither is counted twice."""
    book = LedgerBook()
    killed = record("one", 1, kernel_received=9, decoded=9, published=4, spooled=5)
    book.take(killed, 0)
    running = record("two", 2, kernel_received=2, decoded=2, published=2)
    for at in range(3, 9, 2):
        done = {"reason": "recovered", "crashed": 2, "published": at, "spooled": 7 - at}
        book.take(dataclasses.replace(killed, time=at, **done), at)
        book.take(dataclasses.replace(running, time=at + 1), at)
    ((_, account),) = book.accounts(10)
    assert account.latest.boot == "two"
    assert [account.total(name) for name in ("kernel_received", "published", "crashed")] == [11, 9, 2]
    assert account.lost == 2
    assert (account.spooled, account.imbalance) == (0, 0)


def test_a_clock_that_is_stepped_back_does_not_silence_a_node():
    """Counts tell what is newer, not the time in a record."""
    book = LedgerBook()
    book.take(record("one", 7200, kernel_received=5), 0)
    book.take(record("one", 10, kernel_received=6), 1)
    book.take(record("two", 5, kernel_received=1), 2)
    ((_, account),) = book.accounts(3)
    assert account.total("kernel_received") == 7
    assert account.latest.boot == "two"


def test_what_a_boot_keeps_of_others_is_bounded(monkeypatch):
    """Boots of long ago are one sum."""
    monkeypatch.setattr(ledger_book, "_BOOTS", 3)
    book = LedgerBook()
    for number in range(20):
        book.take(record(f"boot-{number}", number, kernel_received=1), number)
    ((_, account),) = book.accounts(20)
    assert account.total("kernel_received") == 20
    assert len(account._boots) == 3


def test_nodes_that_are_gone_leave_the_book():
    """One that ended in order leaves after ten minutes, one that fell silent after an hour."""
    book = LedgerBook()
    book.take(record("one", 1, reason="stop"), 1000)
    book.take(dataclasses.replace(record("one", 1), node="b"), 1000)
    assert len(list(book.accounts(1500))) == 2
    assert [key for key, _ in book.accounts(2000)] == [("b", "eth0")]
    assert list(book.accounts(5000)) == []


def test_a_network_that_is_none_is_a_fault_of_configuration():
    """The message names the setting and what is wrong."""
    with pytest.raises(ConfigurationError, match=r"STREAMGAUGE_EXPORTER_INSIDE=10.0.0.1/8: .*host bits"):
        networks.parse("10.0.0.1/8")


def test_networks_of_both_versions_are_read():
    """IPv4 networks stand in the IPv4-mapped part of the address space; empty entries are skipped."""
    inside = networks.parse("10.0.0.0/8, ,fd00::/8")
    assert inside.masks.shape == inside.values.shape
    assert inside.masks[0].tobytes() == b"\xff" * 13 + bytes(3)
    assert inside.values[1].tobytes() == b"\xfd" + bytes(15)


def test_words_are_closed_lists():
    """Any number of a packet falls on a word of its list."""
    for table, names in (
        (words.protocol_positions(), words.PROTOCOLS),
        (words.qtype_positions(), words.QTYPES),
        (words.rcode_positions(), words.RCODES),
    ):
        assert table.max() < len(names)
    assert words.QTYPES[words.qtype_positions()[28]] == "AAAA"
    assert words.RCODES[words.rcode_positions()[3]] == "NXDOMAIN"
    assert words.STATUSES[words.status_positions(("new",))[0]] == "unsupported"


def test_shards_are_those_of_nats():
    """The hash is FNV-1a of 32 bits, as in the server's partition function."""
    assert [shard_of(name, 1 << 32) for name in ("", "a", "foobar")] == [0x811C9DC5, 0xE40C292C, 0xBF9CF968]
