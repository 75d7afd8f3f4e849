"""NATS, the stream in it, and the backup's consumers of the stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from nats.errors import Error as NatsError

from streamgauge import subjects
from streamgauge.doctor import words
from streamgauge.doctor.nats_view import NoStreamError, NotAllowedError, RefusedError, seconds
from streamgauge.doctor.words import Finding, broken, count, ok, size, some, unchecked, warning

if TYPE_CHECKING:
    from streamgauge.doctor.nats_view import NatsView

NATS: Final = "NATS"
STREAM: Final = "stream"
BACKUP: Final = "backup"

_CREATE: Final = "`streamgauge bootstrap` creates it"
_OPERATOR: Final = "use the operator's user: STREAMGAUGE_NATS_USER=operator"
#: Share of its bytes from which the stream is called full.
_FULL: Final = 0.95


async def look_at_nats(view: NatsView) -> Finding:
    """Judge the server itself: does it answer, is JetStream on, is its clock right."""
    url = view.settings.url
    if view.refusal is not None:
        return _away(view, str(view.refusal))
    try:
        await view.ask(f"STREAM.INFO.{view.stream}")
    except NoStreamError:
        pass
    except NotAllowedError as error:
        return warning(NATS, f"{view.server} at {url} lets us in, but {error}", _OPERATOR)
    except RefusedError as error:
        return broken(NATS, f"{view.server} at {url}: {error}", "switch JetStream on: `nats-server -js`")
    reached = f"{view.server} at {url}, {1000 * view.round_trip:.1f} ms away"
    return words.skew(NATS, "its", view.ahead) or ok(NATS, reached)


def _away(view: NatsView, refusal: str) -> Finding:
    reason = refusal.partition("; ")[0]
    user = view.settings.user
    if "authorization" in refusal.lower():
        who = f"user {user}" if user else "a client without a user"
        return broken(
            NATS, f"credentials refused for {who}: {reason}", "correct STREAMGAUGE_NATS_USER and _PASSWORD(_FILE)"
        )
    if "certificate" in refusal.lower():
        return broken(NATS, reason, "set STREAMGAUGE_NATS_TLS_CA to the authority: secrets/authority/ca.crt")
    if "no TLS" in refusal:
        return broken(NATS, reason, "give the server its certificates (`make secrets`), or write nats:// without a CA")
    return broken(NATS, reason, "start the server (`docker compose up -d nats`) or correct STREAMGAUGE_NATS_URL")


async def look_at_stream(view: NatsView) -> Finding:
    """Judge the stream: is it there, does it take our subjects, does anything come in, is it full."""
    if view.refusal is not None:
        return unchecked(STREAM, "NATS is away")
    try:
        info = await view.ask(f"STREAM.INFO.{view.stream}")
    except NoStreamError as error:
        return broken(STREAM, str(error), _CREATE)
    except RefusedError as error:
        return unchecked(STREAM, str(error), _OPERATOR)
    return judge_stream(view.stream, info, now=view.now)


def judge_stream(name: str, info: dict[str, Any], *, now: float) -> Finding:
    """Judge JetStream's answer to STREAM.INFO at Unix time ``now``."""
    config, state = info["config"], info["state"]
    if subjects.ALL_TRAFFIC not in (config.get("subjects") or []):
        return broken(STREAM, f"{name} does not take {subjects.ALL_TRAFFIC}: {config.get('subjects')}", _CREATE)
    cluster = info.get("cluster") or {}
    if cluster.get("name") and not cluster.get("leader"):
        return broken(
            STREAM,
            f"{name} has no leader: most of its servers are away",
            "`kubectl get pods -l app.kubernetes.io/name=nats -A`",
        )
    messages, used, most = int(state["messages"]), int(state["bytes"]), int(config.get("max_bytes", 0))
    if not messages:
        return warning(STREAM, f"{name} is empty: nothing was published yet", "look at the collector's log")
    newest = now - seconds(state["last_ts"])
    filled = f"{name}: {count(messages, 'message')}, {size(used)}" + (f" of {size(most)}" if most > 0 else "")
    if newest > words.SILENT:
        return warning(STREAM, f"{filled}; nothing came in for {words.age(newest)}", "look at the collector's log")
    offline = [each["name"] for each in cluster.get("replicas") or () if each.get("offline")]
    if offline:
        return warning(STREAM, f"{filled}; copies are away: {some(offline)}", "`kubectl get pods -n streamgauge`")
    if most > 0 and used > _FULL * most:
        return ok(STREAM, f"{filled}: full, the oldest go; newest {words.age(newest)} old")
    return ok(STREAM, f"{filled}, newest {words.age(newest)} old")


async def look_at_backup(view: NatsView, late: float) -> Finding:
    """Judge the backup by its consumers: is there one for each shard, are they asked, is what they hand out stored."""
    if view.refusal is not None:
        return unchecked(BACKUP, "NATS is away")
    try:
        stream = await view.ask(f"STREAM.INFO.{view.stream}")
        consumers = await _consumers(view)
        oldest = {each["name"]: await _oldest(view, each) for each in consumers}
    except NoStreamError as error:
        return unchecked(BACKUP, str(error))
    except (RefusedError, NatsError, TimeoutError) as error:
        return unchecked(BACKUP, str(error) or "no answer", _OPERATOR)
    return judge_backup(consumers, oldest, shards=_shards(stream), late=late, now=view.now)


def judge_backup(
    consumers: list[dict[str, Any]], oldest: dict[str, float], *, shards: int, late: float, now: float
) -> Finding:
    """Judge the consumers as CONSUMER.LIST describes them.

    ``oldest`` is the age of the first message that is not stored, in seconds, by the consumer's name.
    """
    if not consumers:
        return broken(BACKUP, "no consumer of the backup in the stream: it has never run", words.START_BACKUP)
    there = {each["name"] for each in consumers}
    missing = [f"{shard:02}" for shard in range(shards) if f"backup-shard-{shard:02}" not in there]
    if missing:
        return broken(
            BACKUP,
            f"nobody stores shard {some(missing)} of {shards}: no consumer",
            "replicas and STREAMGAUGE_BACKUP_REPLICAS must agree: docs/13-kubernetes.md, Change the number of replicas",
        )
    unasked = [each for each in consumers if _waits_unasked(each, oldest[each["name"]], now)]
    if unasked:
        names, messages = [each["name"] for each in unasked], sum(int(each["num_pending"]) for each in unasked)
        evidence = words.unasked(names, messages, max(oldest[name] for name in names))
        return broken(BACKUP, evidence, words.START_BACKUP)
    pending = sum(int(each["num_pending"]) + int(each["num_ack_pending"]) for each in consumers)
    worst = max(oldest, key=lambda name: oldest[name])
    if words.stored_too_late(oldest[worst], late):
        return broken(
            BACKUP,
            f"consumer stuck: {worst} has handed out messages that are not stored; "
            f"{words.waiting(pending, oldest[worst])}",
            "the next hop, or the backup's log: `docker compose logs backup`, `kubectl logs -n streamgauge backup-0`",
            look_on=True,
        )
    return ok(BACKUP, f"{count(shards, 'shard')}; {words.waiting(pending, oldest[worst])}")


def _waits_unasked(consumer: dict[str, Any], oldest: float, now: float) -> bool:
    """Tell whether messages wait and no request for them is open, and none was answered for a while."""
    active = consumer["delivered"].get("last_active")
    quiet = None if active is None else now - seconds(active)
    return words.waits_unasked(int(consumer["num_pending"]), int(consumer.get("num_waiting", 0)), oldest, quiet)


def _shards(info: dict[str, Any]) -> int:
    destination = (info["config"].get("subject_transform") or {}).get("dest", "")
    return int(destination.partition("partition(")[2].partition(",")[0]) if "partition(" in destination else 1


async def _consumers(view: NatsView) -> list[dict[str, Any]]:
    """Return the backup's consumers."""
    found: list[dict[str, Any]] = []
    offset = 0
    while True:
        page = await view.ask(f"CONSUMER.LIST.{view.stream}", offset=offset)
        found += page["consumers"] or []
        offset = len(found)
        if not page["consumers"] or offset >= int(page["total"]):
            return [each for each in found if each["name"].startswith("backup-")]


async def _oldest(view: NatsView, consumer: dict[str, Any]) -> float:
    """Return the age of the first message that a consumer has not acknowledged, in seconds; 0 when it has all."""
    if not consumer["num_pending"] and not consumer["num_ack_pending"]:
        return 0.0
    floor = int(consumer["ack_floor"]["stream_seq"])
    wanted = {"seq": floor + 1, "next_by_subj": consumer["config"].get("filter_subject", ">")}
    try:
        message = await view.ask(f"STREAM.MSG.GET.{view.stream}", **wanted)
    except NotAllowedError:
        raise
    except RefusedError:
        # It was acknowledged, or went with its age, in the meantime.
        return 0.0
    return max(0.0, view.now - seconds(message["message"]["time"]))
