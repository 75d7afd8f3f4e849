"""What is read over HTTP: the services' pages, Prometheus, the door."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import orjson

from streamgauge.doctor import web, words
from streamgauge.doctor.words import Finding, age, broken, count, ok, size, unchecked, warning

if TYPE_CHECKING:
    from streamgauge.settings import DoctorSettings

EXPORTER: Final = "exporter"
PROMETHEUS: Final = "Prometheus"
DOOR: Final = "door"

#: Jobs of the scrape configuration that must have a target.
_JOBS: Final = ("collector", "backup", "exporter")
_TIMEOUT: Final = 5.0  # seconds
_LABEL: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


async def trouble(hop: str, url: str | None) -> Finding | None:
    """Return what a service says is wrong with it, None if nothing is or no URL is known."""
    if url is None:
        return None
    try:
        answer = await asyncio.to_thread(web.get, f"{url}/readyz")
    except web.NoAnswerError as error:
        return broken(hop, f"no answer from {url}: {error}", f"look at its log: `docker compose logs {hop}`")
    if answer.status == 200:
        return None
    return broken(hop, f"{url} is not ready: {answer.body.strip()[:200]}", f"`docker compose logs {hop}`")


async def look_at_exporter(url: str | None) -> Finding:
    """Judge the exporter by its page."""
    if url is None:
        return unchecked(EXPORTER, "its URL is not known", "--exporter URL, or STREAMGAUGE_DOCTOR_EXPORTER")
    wrong = await trouble(EXPORTER, url)
    if wrong is not None:
        return wrong
    try:
        answer = await asyncio.to_thread(web.get, f"{url}/metrics")
    except web.NoAnswerError as error:
        return broken(EXPORTER, f"no answer from {url}/metrics: {error}", "`docker compose logs exporter`")
    return judge_exporter(url, answer.status, answer.body)


def judge_exporter(url: str, status: int, page: str) -> Finding:
    """Judge the exporter's metrics page."""
    figures = totals(page)
    if status != 200 or "streamgauge_exporter_batches_total" not in figures:
        return broken(EXPORTER, f"{url}/metrics is no page of an exporter (status {status})", "correct --exporter")
    lag, pending = (
        figures.get("streamgauge_exporter_behind_seconds", 0.0),
        int(figures.get("streamgauge_exporter_pending_batches", 0.0)),
    )
    packets = int(figures.get("streamgauge_packets_total", 0.0))
    skipped = int(figures.get("streamgauge_exporter_skipped_packets_total", 0.0))
    counted = f"{count(packets, 'packet')} counted, page of {size(len(page))}"
    if lag > words.BEHIND:
        return warning(EXPORTER, f"{words.behind(lag, pending)}; {counted}", "more replicas: docs/83-scale.md")
    if skipped:
        return warning(
            EXPORTER, f"{count(skipped, 'packet')} skipped so far; {counted}", "more replicas: docs/83-scale.md"
        )
    return ok(EXPORTER, counted)


def totals(page: str) -> dict[str, float]:
    """Return the sum of each metric of a page in Prometheus' text format."""
    return {name: sum(value for _, value in found) for name, found in samples(page).items()}


def samples(page: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    """Return the samples of a page in Prometheus' text format by metric: labels (values as written) and value."""
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for line in page.splitlines():
        if line and not line.startswith("#"):
            series, _, value = line.rpartition(" ")
            name, _, labels = series.partition("{")
            with contextlib.suppress(ValueError):
                found.setdefault(name, []).append((dict(_LABEL.findall(labels)), float(value)))
    return found


async def look_at_prometheus(url: str | None, *, now: float | None = None) -> Finding:
    """Judge Prometheus by its targets."""
    if url is None:
        return unchecked(PROMETHEUS, "its URL is not known", "--prometheus URL, or STREAMGAUGE_DOCTOR_PROMETHEUS")
    try:
        answer = await asyncio.to_thread(web.get, f"{url}/api/v1/targets?state=active")
    except web.NoAnswerError as error:
        return broken(PROMETHEUS, f"no answer from {url}: {error}", "`docker compose up -d prometheus`")
    try:
        targets = orjson.loads(answer.body)["data"]["activeTargets"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return broken(
            PROMETHEUS,
            f"{url}/api/v1/targets is no answer of Prometheus (status {answer.status})",
            "give its URL with the path it serves below: http://host:9090/prometheus",
        )
    return judge_targets(targets, url=url, now=time.time() if now is None else now)


def judge_targets(targets: list[dict[str, Any]], *, url: str, now: float) -> Finding:
    """Judge the list of active targets as Prometheus' API gives it."""
    by_job = {job: [each for each in targets if each["labels"].get("job") == job] for job in _JOBS}
    listed = f"`{url}/targets`; scrape_configs in prometheus/prometheus.yml (or kubernetes.yml)"
    for job in reversed(_JOBS):
        if not by_job[job]:
            return broken(PROMETHEUS, f"the {job} is not scraped: no target of job {job}", listed)
        down = [each for each in by_job[job] if each["health"] == "down"]
        if down:
            return broken(
                PROMETHEUS,
                f"the {job} is not scraped: {down[0]['scrapeUrl']}: {down[0]['lastError']}"
                + (f" ({len(down)} of {len(by_job[job])} down)" if len(by_job[job]) > 1 else ""),
                listed,
            )
    ages = [now - datetime.fromisoformat(each["lastScrape"]).timestamp() for job in _JOBS for each in by_job[job]]
    oldest = max(ages)
    if any(each["health"] == "unknown" for job in _JOBS for each in by_job[job]):
        return warning(PROMETHEUS, "a target was not scraped yet", "wait for one interval, 15 s, and look again")
    if oldest > words.UNREAD:
        return broken(PROMETHEUS, f"not scraped for {age(oldest)}", listed)
    return ok(PROMETHEUS, f"{count(len(ages), 'target')} up, read at most {age(max(oldest, 0.0))} ago")


async def look_at_door(settings: DoctorSettings) -> Finding:
    """Judge the door: its certificate, that it asks for a login, and that it takes ours if there is one."""
    url = settings.door
    if url is None:
        return unchecked(DOOR, "its URL is not known", "--door URL, or STREAMGAUGE_DOCTOR_DOOR")
    return await asyncio.to_thread(_look_at_door, url, settings)


def _look_at_door(url: str, settings: DoctorSettings) -> Finding:
    left, until = float("nan"), ""
    try:
        if url.startswith("https://"):
            left, until = certificate_end(url)
            wrong = words.certificate(DOOR, left, until)
            if wrong is not None and wrong.state is words.State.BROKEN:
                return wrong
        else:
            wrong = None
        closed = web.get(f"{url}/", ca=settings.door_ca)
        if closed.status == 200:
            return broken(
                DOOR, f"{url}/ opens without a login", "nginx/login/: which login does environment.conf name?"
            )
        if closed.status not in (401, 302, 303, 307):
            return broken(DOOR, f"{url}/ answers with status {closed.status}", "`docker compose logs nginx`")
        opened = _log_in(url, settings)
    except web.CertificateError as error:
        return broken(DOOR, f"certificate not trusted: {error}", "--door-ca secrets/authority/ca.crt, or trust it")
    except web.NoAnswerError as error:
        return broken(DOOR, f"no answer from {url}: {error}", "`docker compose up -d nginx`, and DOOR_PORT in .env")
    good = f"certificate good for {age(left * 86400)}, " if until else "no TLS here, "
    return opened or words.skew(DOOR, "its", closed.ahead) or wrong or ok(DOOR, f"{good}asks for a login")


def _log_in(url: str, settings: DoctorSettings) -> Finding | None:
    if settings.door_user is None or settings.door_password is None:
        return None
    login = (settings.door_user, settings.door_password.get_secret_value())
    answer = web.get(f"{url}/", ca=settings.door_ca, login=login)
    if answer.status == 401:
        return broken(
            DOOR,
            f"credentials refused for {settings.door_user}",
            'the password is in secrets/login.txt; another: `make secrets ARGS="--rotate login"`',
        )
    if answer.status >= 500:
        return broken(DOOR, f"behind the door is nobody: status {answer.status}", "`docker compose up -d exporter`")
    return None


def certificate_end(url: str) -> tuple[float, str]:
    """Return in how many days the certificate behind a URL ends (negative: since when), and the day it does.

    Raises:
        NoAnswerError: nobody answers, or not with TLS.

    """
    from cryptography import x509

    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 443
    # Looked at whoever signed it and however old it is: that is what is asked here.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((host, port), _TIMEOUT) as plain,
            context.wrap_socket(plain, server_hostname=host) as secured,
        ):
            presented = secured.getpeercert(binary_form=True) or b""
    except OSError as error:
        raise web.NoAnswerError(error.strerror or str(error)) from error
    ends = x509.load_der_x509_certificate(presented).not_valid_after_utc
    return (ends - datetime.now(UTC)).total_seconds() / 86400, f"{ends:%Y-%m-%d}"
