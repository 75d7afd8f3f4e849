"""Pages over HTTP, read with the standard library: the doctor must run where little is installed."""

from __future__ import annotations

import base64
import http.client
import ssl
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

from streamgauge.errors import StreamgaugeError

if TYPE_CHECKING:
    from pathlib import Path

_TIMEOUT: Final = 5.0  # seconds
#: Most bytes read of a page.
_MOST: Final = 64 << 20


class NoAnswerError(StreamgaugeError):
    """Nobody answers at a URL; says why."""


class CertificateError(NoAnswerError):
    """The other side is not trusted."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A page, whatever its status."""

    status: int
    body: str
    #: Seconds the server's clock is ahead of ours, by its header ``Date`` (whole seconds); NaN without one.
    ahead: float


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_arguments: object) -> None:
        """Leave a redirect as it is: where it leads is part of the answer."""


def get(url: str, *, ca: Path | None = None, login: tuple[str, str] | None = None) -> Answer:
    """Ask for a page; blocks up to five seconds.

    Raises:
        CertificateError: its certificate is not trusted, or not for this name.
        NoAnswerError: nobody answers.

    """
    request = urllib.request.Request(url)  # noqa: S310 the settings allow http and https only
    if login is not None:
        request.add_header("Authorization", "Basic " + base64.b64encode(":".join(login).encode()).decode())
    try:
        context = ssl.create_default_context(cafile=ca)
        opener = urllib.request.build_opener(_NoRedirect, urllib.request.HTTPSHandler(context=context))
        began = time.time()
        with opener.open(request, timeout=_TIMEOUT) as answer:
            return _answer(answer, began)
    except urllib.error.HTTPError as error:
        with error:
            return _answer(error, began)
    except urllib.error.URLError as error:
        reason = error.reason
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise CertificateError(reason.verify_message) from error
        raise NoAnswerError(_reason(reason)) from error
    except (OSError, http.client.HTTPException) as error:
        raise NoAnswerError(_reason(error)) from error


def _answer(answer: http.client.HTTPResponse | urllib.error.HTTPError, began: float) -> Answer:
    body = answer.read(_MOST).decode(errors="replace")
    return Answer(answer.status or 0, body, ahead_by(answer.headers.get("Date"), began, time.time()))


def ahead_by(date: str | None, began: float, ended: float) -> float:
    """Return how many seconds a header ``Date`` is ahead of our clock between two moments; 0 when it fits between."""
    try:
        then = parsedate_to_datetime(date or "").timestamp()
    except ValueError:
        return float("nan")
    # The header has whole seconds, rounded down.
    if then > ended:
        return then - ended
    return min(0.0, then + 1 - began)


def _reason(error: object) -> str:
    return str(getattr(error, "strerror", None) or error) or type(error).__name__
