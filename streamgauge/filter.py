"""Display filters: the little language of ``streamgauge tail`` that chooses rows of a batch.

    tcp port 443 and not host 10.0.0.1
    dns name *.example.com or dns_rcode = 3

Words (``dns``, ``tcp``), qualified values (``host``, ``net``, ``port``, each also after ``src`` or ``dst``, ``node``,
``interface``, ``vlan``, ``name``) and comparisons of any column (``ttl < 5``), joined by ``and``, ``or``, ``not`` and
parentheses; two tests side by side mean ``and``. A filter also knows which classes of traffic can match, so that a
subscriber need not take the others.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

import pyarrow as pa

from streamgauge import filter_words
from streamgauge.errors import ConfigurationError
from streamgauge.filter_words import OPERATORS, Test

if TYPE_CHECKING:
    from streamgauge.schema import TrafficClass

_TOKEN: Final = re.compile(r"\s*(?:(\(|\)|<=|>=|!=|==|=|<|>|!|&&|\|\|)|([^\s()<>=!&|]+))")
_SPELLINGS: Final = {"&&": "and", "||": "or", "!": "not"}
_JOINING: Final = {"and", "or", ")"}


class Filter:
    """A filter, read once and applied to any number of batches."""

    def __init__(self, text: str) -> None:
        """Read a filter; an empty one takes everything.

        Raises:
            ConfigurationError: it is none; says where and why.

        """
        self.text = text
        self._test = _Parser(text).read() if text.strip() else Test(_everything)

    @property
    def classes(self) -> frozenset[TrafficClass]:
        """Classes of traffic in which a row can match."""
        return self._test.classes

    @property
    def node(self) -> str | None:
        """The only node whose rows can match; None: any."""
        return self._test.node

    def apply(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the rows that match, in their order."""
        return batch.filter(self._test.mask(batch))


def _everything(batch: pa.RecordBatch) -> pa.Array:
    return pa.repeat(True, len(batch))


class _Token(NamedTuple):
    text: str
    position: int


class _Parser:
    """Recursive descent: or, and, not, test."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[_Token] = []
        self._next = 0
        position = 0
        while text[position:].strip():
            match = _TOKEN.match(text, position)
            if match is None:
                self._fail("unknown character", len(text) - len(text[position:].lstrip()))
            word = match[1] or match[2]
            self._tokens.append(_Token(_SPELLINGS.get(word, word), match.end() - len(word)))
            position = match.end()

    def read(self) -> Test:
        test = self._either()
        if self._peek():
            self._fail(f"{self._peek()!r} has no beginning")
        return test

    def _either(self) -> Test:
        test = self._both()
        while self._peek() == "or":
            self._take()
            test = test.either(self._both())
        return test

    def _both(self) -> Test:
        test = self._one()
        while self._peek() == "and" or (self._peek() and self._peek() not in _JOINING):
            if self._peek() == "and":
                self._take()
            test = test.both(self._one())
        return test

    def _one(self) -> Test:
        word = self._peek()
        if word == "not":
            self._take()
            return self._one().negated()
        if word == "(":
            self._take()
            test = self._either()
            if self._peek() != ")":
                self._fail("a closing parenthesis is missing")
            self._take()
            return test
        return self._test()

    def _test(self) -> Test:
        if not self._peek():
            self._fail("a test is missing")
        position = self._position()
        word = self._take()
        try:
            if self._peek() in OPERATORS:
                return filter_words.comparison(word, self._take(), self._value(word))
            side = ""
            if word in ("src", "dst"):
                side, word = word, self._value(word)
            if word in filter_words.QUALIFIED:
                return filter_words.qualified(word, self._value(word), side)
            return filter_words.word(word, side)
        except ValueError as error:
            self._fail(str(error), position)

    def _value(self, of: str) -> str:
        if not self._peek() or self._peek() in _JOINING or self._peek() == "(":
            raise ValueError(f"{of!r} needs a value")
        return self._take()

    def _peek(self) -> str:
        return self._tokens[self._next].text if self._next < len(self._tokens) else ""

    def _position(self) -> int:
        return self._tokens[self._next].position if self._next < len(self._tokens) else len(self._text.rstrip())

    def _take(self) -> str:
        self._next += 1
        return self._tokens[self._next - 1].text

    def _fail(self, reason: str, position: int | None = None) -> NoReturn:
        at = self._position() if position is None else position
        raise ConfigurationError(f"filter {self._text!r}, position {at + 1}: {reason}")
