"""Errors a person can act on; each message says what, where and how to mend it.

* StreamgaugeError
  * ConfigurationError       wrong settings, options or usage                       exit 2
  * CaptureFileError         a file that is no capture, or one that breaks off      exit 1
  * CaptureError             an interface that cannot be captured                   exit 1
  * PayloadError             a message that is no batch of summaries                (quarantined)
  * SubjectError             a subject that is none of ours                         (quarantined)
  * BusError                 NATS is away, refuses, or lacks a stream               exit 1
  * StoreError               object storage is away or refuses                      exit 1
    * StoreAwayError         it does not answer now; the same call may succeed later
    * StoreDeniedError       the access key is not allowed to
    * StoreConflictError     the key exists already and the call was to create it
"""

from __future__ import annotations


def one_line(error: BaseException) -> str:
    """Return what another library's error says, on one line: Arrow's words often have several."""
    return " ".join(str(error).split())


class StreamgaugeError(Exception):
    """Base of all errors that are answered with one line instead of a traceback."""

    #: Exit status of a command that ends with this error.
    exit_code = 1


class ConfigurationError(StreamgaugeError):
    """Settings, options or arguments are wrong; one line a fault."""

    exit_code = 2


class CaptureFileError(StreamgaugeError):
    """A capture file cannot be read (further); rows before the damage stay good."""


class CaptureError(StreamgaugeError):
    """An interface cannot be captured: it does not exist, or a permission is missing."""


class PayloadError(StreamgaugeError):
    """A message is no batch of summaries that this version understands."""


class SubjectError(StreamgaugeError):
    """A subject is none of ours."""


class BusError(StreamgaugeError):
    """NATS is away, refuses, or lacks what we need."""


class StoreError(StreamgaugeError):
    """Object storage is away, refuses, or answers with something else than was stored."""


class StoreAwayError(StoreError):
    """Object storage does not answer, or is overloaded: worth another try."""


class StoreDeniedError(StoreError):
    """The access key is not allowed to do this."""


class StoreConflictError(StoreError):
    """The key exists already, and was to be created."""
