"""The spool: what it keeps through a restart, what it removes, what it does when the disk refuses."""

from __future__ import annotations

import errno
from dataclasses import asdict

import pytest

from services.collector import boot_log
from services.collector.recovery import leftovers
from services.collector.reserve import RESERVE_BYTES
from services.collector.spool import bound_bytes, segment_bytes
from services.collector.spool_records import Kind, Scan, message_head
from streamgauge.errors import ConfigurationError
from tests.unit.collector.desk import Desk, crash, restarted
from tests.unit.collector.making import message


async def test_what_was_not_acknowledged_is_there_after_a_crash(tmp_path):
    """The next start finds the messages without acknowledgement, in order, with their own boot and sequence."""
    first = Desk(tmp_path)
    await first.spool.start()
    entries = await first.append(1, 2, 3, 4, payload=b"of the first boot")
    await first.done([entries[0], entries[2]])
    await crash(first)
    second = await restarted(tmp_path)

    assert [entry.envelope.message_id for entry in second.spool.left] == ["node-a/boot-1/2", "node-a/boot-1/4"]
    assert all(entry.payload is None and entry.may_be_stored for entry in second.spool.left)
    assert await second.spool.read(second.spool.left[0]) == b"of the first boot"
    totals = second.spool.books["boot-1"].account.totals()
    assert (totals.decoded, totals.published, totals.pending, totals.crashed) == (4, 2, 2, 0)
    await second.spool.stop()


async def test_two_crashes_lose_nothing(tmp_path):
    """What a second process acknowledged of a first one's messages is known to the third."""
    first = Desk(tmp_path)
    await first.spool.start()
    await first.append(1, 2, 3)
    await crash(first)
    second = await restarted(tmp_path)
    left = second.spool.left
    second.spool.books["boot-1"].account.published(left[0].envelope)
    await second.spool.done(left[:1])
    await second.append(1)
    await crash(second)
    third = await restarted(tmp_path, "boot-3")

    ids = [entry.envelope.message_id for entry in third.spool.left]
    assert ids == ["node-a/boot-1/2", "node-a/boot-1/3", "node-a/boot-1/1"]
    assert third.spool.books["boot-1"].account.totals().published == 1
    await third.spool.stop()


async def test_packets_that_went_down_with_the_process_are_counted(tmp_path):
    """What the last account says was received, and no batch holds, is the loss of the crash."""
    first = Desk(tmp_path, received=10)
    await first.spool.start()
    first.account.decoded(3)
    await first.append(1, 2)
    await crash(first)
    second = await restarted(tmp_path)
    book = second.spool.books["boot-1"]
    record = book.leftover.record(book.account.totals(), settled=0)

    assert second.spool.crashed == 8
    assert (record.reason, record.kernel_received, record.decoded, record.crashed) == ("recovered", 10, 10, 8)
    assert (record.spooled, record.published, record.unpublished, record.undecoded) == (2, 0, 0, 0)
    await second.spool.stop()


async def test_a_torn_tail_is_cut_and_counted(tmp_path):
    """A record that the crash cut short is left out; its bytes are counted, and the messages before it are there."""
    first = Desk(tmp_path)
    await first.spool.start()
    await first.append(1)
    (path,) = first.files()
    whole = path.stat().st_size
    await first.append(2)
    await crash(first)
    with path.open("r+b") as file:
        file.truncate(whole + 20)
    second = await restarted(tmp_path)

    assert [entry.envelope.sequence for entry in second.spool.left] == [1]
    assert second.spool.torn == 20
    await second.spool.stop()


async def test_power_lost_at_any_byte(tmp_path):
    """Wherever the file ends, the next start finds what is whole before, and an account that comes out even.

    Messages that are noted as acknowledged are not sent again; those whose note is torn are, under the same identity.
    """
    desk = Desk(tmp_path / "before")
    await desk.spool.start()
    await desk.done((await desk.append(1, 2, payload=bytes(64)))[:1])
    await desk.append(3, payload=bytes(64))
    await desk.spool.stop()
    (path,) = desk.files()
    content = path.read_bytes()
    ends, done = [0], []
    for record in (scan := Scan(content)):
        ends.append(record.offset + record.length)
        done.append((record.kind, record.head))
    assert scan.torn == 0
    folder = tmp_path / "after" / path.parent.name
    folder.mkdir(parents=True)
    for end in range(len(content) + 1):
        (folder / path.name).write_bytes(content[:end])
        (found,) = leftovers(folder.parent)
        whole = max(number for number, at in enumerate(ends) if at <= end)
        sent = {head["envelope"]["sequence"] for kind, head in done[:whole] if kind is Kind.MESSAGE}
        noted = {sequence for kind, head in done[:whole] if kind is Kind.DONE for sequence in head["sequences"]}
        totals = found.totals()

        assert found.torn == end - ends[whole]
        assert {entry.envelope.sequence for entry in found.entries} == sent - noted
        assert totals.decoded == totals.published + totals.evicted + totals.crashed + totals.pending
        assert totals.published == len(noted)


async def test_files_go_when_their_messages_are_acknowledged(tmp_path, monkeypatch):
    """A full file is removed once all its messages, and those before them, are settled; disk use stays bounded."""
    desk = Desk(tmp_path)
    await desk.spool.start()
    seen = []
    for sequence in range(1, 41):
        entries = await desk.append(sequence, payload=bytes(200_000))
        await desk.done(entries)
        seen.append(len(desk.files()))

    assert max(seen) <= 2
    late = await desk.append(41, payload=bytes(3_000_000))
    await desk.done(await desk.append(42, 43, payload=bytes(3_000_000)))
    assert late[0].location.segment in {int(path.stem) for path in desk.files()}
    await desk.spool.stop()


async def test_nothing_is_read_from_disk_while_acknowledgements_flow(tmp_path, monkeypatch):
    """Payloads are published from memory: the read path is not used."""
    desk = Desk(tmp_path)
    await desk.spool.start()

    async def read(*_arguments):
        raise AssertionError("read")

    monkeypatch.setattr(boot_log.BootLog, "read", read)
    entries = await desk.append(1, 2, 3)
    await desk.done(entries)

    assert all(entry.payload is not None for entry in entries)
    await desk.spool.stop()


async def test_a_closed_boot_leaves_nothing(tmp_path):
    """When a boot's account is closed its folder goes; only the lock is left."""
    desk = Desk(tmp_path)
    await desk.spool.start()
    await desk.done(await desk.append(1))
    await desk.spool.forget("boot-1")
    await desk.spool.stop()

    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


async def test_a_disk_that_refuses_is_counted_and_tried_again(tmp_path, monkeypatch):
    """On a full disk messages live in memory and the error is counted; later ones are spooled again."""
    desk = Desk(tmp_path)
    await desk.spool.start()
    await desk.append(1)
    write = boot_log.BootLog._write

    async def refuse(self, chunk):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(boot_log.BootLog, "_write", refuse)
    (second,) = await desk.append(2)
    assert second.location is None
    assert second.payload == b"payload"
    assert desk.spool.errors == 1
    monkeypatch.setattr(boot_log.BootLog, "_write", write)
    monkeypatch.setattr(desk.spool, "_not_before", 0.0)
    (third,) = await desk.append(3)

    assert third.location is not None
    await desk.done([second, third])
    await desk.spool.stop()


async def refuse(self, chunk):
    raise OSError(errno.ENOSPC, "No space left on device")


async def test_the_account_of_a_former_boot_outlives_a_full_disk(tmp_path, monkeypatch):
    """Files with the last account stay while the disk takes no newer one: the boot can still be closed."""
    first = Desk(tmp_path)
    await first.spool.start()
    await first.append(1, 2)
    await crash(first)
    second = await restarted(tmp_path)
    with monkeypatch.context() as full:
        full.setattr(boot_log.BootLog, "_write", refuse)
        for entry in second.spool.left:
            second.spool.books["boot-1"].account.published(entry.envelope)
        await second.spool.done(second.spool.left)
    await crash(second)
    third = await restarted(tmp_path, "boot-3")

    assert "boot-1" in third.spool.books
    await third.spool.stop()


@pytest.mark.parametrize("later", ["another note", "an account"])
async def test_what_the_disk_refused_to_note_is_noted_later(tmp_path, monkeypatch, later):
    """Messages acknowledged while the disk was full do not come again, and are counted once."""
    first = Desk(tmp_path)
    await first.spool.start()
    entries = await first.append(1, 2, 3)
    with monkeypatch.context() as full:
        full.setattr(boot_log.BootLog, "_write", refuse)
        await first.done(entries[:1])
    if later == "another note":
        monkeypatch.setattr(first.spool, "_no_notes_before", 0.0)
        await first.done(entries[1:2])
    else:
        await first.spool._write(first.spool.books["boot-1"].log, [(Kind.ACCOUNT, first.spool._account(), b"")])
    await crash(first)
    second = await restarted(tmp_path)
    totals = second.spool.books["boot-1"].account.totals()

    assert 1 not in {entry.envelope.sequence for entry in second.spool.left}
    assert (totals.decoded, totals.crashed, totals.published + totals.pending) == (3, 0, 3)
    await second.spool.stop()


async def test_nothing_but_numbers_is_kept_while_the_disk_refuses(tmp_path, monkeypatch):
    """A disk that stays full does not fill the memory: no payload waits for its note, and notes wait a while."""
    desk = Desk(tmp_path)
    await desk.spool.start()
    tries = 0

    async def count(self, chunk):
        nonlocal tries
        tries += 1
        await refuse(self, chunk)

    monkeypatch.setattr(boot_log.BootLog, "_write", count)
    for sequence in range(1, 51):
        await desk.done(await desk.append(sequence))

    assert tries < 20
    assert desk.spool.books["boot-1"].unnoted == [(Kind.DONE, sequence) for sequence in range(1, 51)]
    await desk.spool.stop()


async def test_notes_have_room_on_a_full_disk(tmp_path, monkeypatch):
    """A message that was published from memory while the disk was full is known as published after a crash."""
    desk = Desk(tmp_path)
    await desk.spool.start()
    spooled = await desk.append(1)
    write = boot_log.BootLog._write

    async def full(self, chunk):
        """Refuse as long as the reserve takes the last room."""
        if (tmp_path / "reserve").exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        await write(self, chunk)

    monkeypatch.setattr(boot_log.BootLog, "_write", full)
    in_memory = await desk.append(2)
    await desk.done([*spooled, *in_memory])
    await crash(desk)
    monkeypatch.undo()
    again = await restarted(tmp_path)
    totals = again.spool.books["boot-1"].account.totals()

    assert in_memory[0].location is None
    assert (totals.published, totals.pending, totals.crashed) == (2, 0, 0)
    await again.spool.stop()


async def test_a_half_written_piece_is_taken_back(tmp_path):
    """A write that fails in the middle leaves no half record between whole ones."""
    desk = Desk(tmp_path)
    await desk.spool.start()
    await desk.append(1)
    log = desk.spool.books["boot-1"].log
    handle = log._handle

    class Half:
        """A file that takes half of what it is given, then nothing."""

        def __init__(self):
            self.calls = 0

        async def write(self, view):
            self.calls += 1
            if self.calls > 1:
                raise OSError(errno.ENOSPC, "No space left on device")
            return await handle.write(bytes(view[: len(view) // 2]))

        def __getattr__(self, name):
            return getattr(handle, name)

    log._handle = Half()
    assert (await desk.append(2))[0].location is None
    log._handle = handle
    desk.spool._not_before = 0.0
    await desk.append(3)
    await crash(desk)
    second = await restarted(tmp_path)

    assert [entry.envelope.sequence for entry in second.spool.left] == [1, 3]
    assert second.spool.torn == 0
    await second.spool.stop()


async def test_a_log_that_was_removed_takes_no_more(tmp_path):
    """What comes after a boot was closed does not bring its folder back."""
    desk = Desk(tmp_path)
    await desk.spool.start()
    await desk.append(1)
    log = desk.spool.books["boot-1"].log
    await desk.spool.forget("boot-1")

    assert await log.append([(Kind.ACCOUNT, {}, b"")]) == []
    await desk.spool.stop()
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


async def test_fields_of_a_newer_collector_are_left_out(tmp_path):
    """After a return to an older version, what the newer one left is still published."""
    desk = Desk(tmp_path)
    await desk.spool.start()
    record = asdict(desk.record()) | {"newer": 1}
    head = message_head(message(1))
    head["envelope"]["newer"] = 1
    await desk.spool.books["boot-1"].log.append([(Kind.ACCOUNT, record, b""), (Kind.MESSAGE, head, b"payload")])
    await crash(desk)
    second = await restarted(tmp_path)

    assert [entry.envelope.sequence for entry in second.spool.left] == [1]
    assert second.spool.books["boot-1"].leftover.last.node == "node-a"
    await second.spool.stop()


async def test_one_collector_a_folder(tmp_path):
    """A second collector on the same folder is refused with the reason."""
    desk = Desk(tmp_path)
    await desk.spool.start()
    with pytest.raises(ConfigurationError, match="another collector uses it"):
        await Desk(tmp_path, "boot-2").spool.start()
    await desk.spool.stop()


async def test_folders_of_others_are_left_alone(tmp_path):
    """A folder that is no boot's (lost+found, a home directory by mistake) is neither adopted nor removed."""
    others = [tmp_path / "lost+found" / "deep" / "file", tmp_path / "2026-11-25" / "00.spool", tmp_path / "lock"]
    for path in others:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("not ours")
    desk = Desk(tmp_path)
    await desk.spool.start()
    await desk.spool.stop()

    assert [path.read_text() for path in others] == ["not ours"] * len(others)
    assert len(desk.spool.books) == 1


async def test_a_folder_that_cannot_be_used(tmp_path):
    """A path that is no folder is a fault of the configuration."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigurationError, match=r"STREAMGAUGE_COLLECTOR_SPOOL_DIR=.*cannot be used"):
        await Desk(tmp_path / "file").spool.start()


async def test_without_a_folder_nothing_is_written(tmp_path):
    """No folder, no files: messages are in memory only."""
    desk = Desk(None)
    await desk.spool.start()
    (entry,) = await desk.append(1)
    await desk.done([entry])
    await desk.spool.stop()

    assert entry.location is None


def test_the_folder_stays_within_its_bound():
    """Messages may fill the folder but for two files, the first and the last, and the room for notes."""
    for size in (16 << 20, 1 << 30, 100 << 30):
        assert bound_bytes(size) + 2 * segment_bytes(size) + RESERVE_BYTES == size
        assert bound_bytes(size) > 0
