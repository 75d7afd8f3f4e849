"""What is hidden before anything leaves the node: addresses get pseudonyms, names and paths are hashed or dropped.

Works on row buffers, between decoding and everything that writes: what is measured with clear addresses (round trips,
unanswered queries) is measured before, and no clear address is in a batch, and so in the spool, NATS, S3 or a metric.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from streamgauge.errors import ConfigurationError
from streamgauge.logs import get
from streamgauge.privacy.addresses import Addresses
from streamgauge.privacy.crypto_pan import CryptoPan
from streamgauge.privacy.policy import Policy, Treatment
from streamgauge.privacy.texts import Texts, holds_an_address, is_origin_form
from streamgauge.schema import SLOTS, Present

if TYPE_CHECKING:
    from streamgauge.rows import Rows
    from streamgauge.settings import CollectorSettings, PrivacySettings

_log = get("privacy")

_Treatments = npt.NDArray[np.uint8]

#: Columns with an address, and the bit that says whether a row has one.
_ADDRESSES: Final = (
    ("src_ip", Present.IP),
    ("dst_ip", Present.IP),
    ("outer_src_ip", Present.OUTER_IP),
    ("outer_dst_ip", Present.OUTER_IP),
)
_NAMES: Final = (
    ("dns_name", Present.DNS_QUESTION),
    ("tls_sni", Present.TLS_SNI),
    ("http_host", Present.HTTP_HOST),
)


class Privacy:
    """Hides what the policy asks for in blocks of rows. Belongs to one thread."""

    def __init__(self, policy: Policy, key: bytes | None, *, community_id: bool) -> None:
        """Take a policy and, where it needs one, the key of 32 bytes; ``community_id`` if rows hold that column."""
        self._policy = policy
        self._addresses = Addresses(policy, None if key is None else CryptoPan(key))
        self._texts = Texts(key)
        self._community_ids: Any = None
        if community_id:
            from streamgauge.flows.community_id import CommunityIds

            self._community_ids = CommunityIds()

    def apply(self, rows: Rows) -> None:
        """Hide, in place, what is to be hidden in all rows; to be called once for a row."""
        if not len(rows):
            return
        present = rows.column("present")
        names = np.full(len(rows), self._policy.default.names, np.uint8)
        paths = np.full(len(rows), self._policy.default.paths, np.uint8)
        hidden = np.zeros(len(rows), np.bool_)
        shown = np.zeros(len(rows), np.bool_)
        # The packet's own addresses decide for its texts; a rule that is laxer than the other side's gives way.
        seen = np.zeros(len(rows), np.bool_)
        for column, bit in _ADDRESSES:
            chosen = np.flatnonzero(present & np.uint64(bit))
            if not len(chosen):
                continue
            found = self._addresses.find(rows.column(column)[chosen], rows.second(column)[chosen])
            hidden[chosen] |= found.high != rows.column(column)[chosen]
            hidden[chosen] |= found.low != rows.second(column)[chosen]
            shown[chosen] |= found.shown
            rows.buffers.u8[SLOTS[column], chosen] = found.high
            rows.buffers.u8[SLOTS[column] + 1, chosen] = found.low
            if bit is Present.IP:
                for levels, of_address in ((names, found.names), (paths, found.paths)):
                    levels[chosen] = np.where(seen[chosen], np.maximum(levels[chosen], of_address), of_address)
                seen[chosen] = True
        self._hide_hardware(rows, hidden, shown)
        self._hide_texts(rows, names, paths)
        if self._community_ids is not None:
            # Made of the addresses: made anew of the pseudonyms, so that it still joins the two directions.
            self._community_ids.fill(rows, 0)

    def _hide_hardware(self, rows: Rows, hidden: npt.NDArray[np.bool_], shown: npt.NDArray[np.bool_]) -> None:
        """Take out the hardware addresses of rows with a pseudonym, and of rows that show no host (ARP, DHCP)."""
        if self._policy.hides_any:
            hidden = hidden | ~shown
        chosen = np.flatnonzero(hidden)
        rows.buffers.u8[SLOTS["present"], chosen] &= ~np.uint64(Present.ETHERNET)

    def _hide_texts(self, rows: Rows, names: _Treatments, paths: _Treatments) -> None:
        present = rows.column("present")
        replaced: dict[bytes, int] = {}
        for column, bit in _NAMES:
            for position in np.flatnonzero(present & np.uint64(bit)).tolist():
                name = _text(rows, column, position)
                treatment = self._of_name(name, Treatment(int(names[position])))
                if treatment:
                    self._replace(rows, column, position, self._texts.treated(name, treatment), replaced)
        for position in np.flatnonzero(present & np.uint64(Present.HTTP_REQUEST)).tolist():
            target = _text(rows, "http_path", position)
            treatment = Treatment(int(paths[position]))
            if not is_origin_form(target):
                treatment = max(treatment, self._of_name(target, Treatment(names[position])), self._of_host())
            if treatment:
                self._replace(rows, "http_path", position, self._texts.treated(target, treatment), replaced)

    def _of_name(self, name: bytes, treatment: Treatment) -> Treatment:
        """Return what becomes of a name: one that is an address is never kept where addresses are hidden."""
        if treatment is Treatment.KEEP and self._policy.hides_any and holds_an_address(name):
            return Treatment.HASH
        return treatment

    def _of_host(self) -> Treatment:
        """Return what becomes at least of a request target that names a host."""
        return Treatment.HASH if self._policy.hides_any else Treatment.KEEP

    @staticmethod
    def _replace(rows: Rows, column: str, position: int, text: bytes, written: dict[bytes, int]) -> None:
        """Put a text in the place of another; each is written to the pool once."""
        at = written.get(text)
        if at is None:
            at = written[text] = rows.reserve_text(len(text))
            rows.buffers.pool[at : at + len(text)] = np.frombuffer(text, np.uint8)
        slot = SLOTS[column]
        rows.buffers.u4[slot, position] = at
        rows.buffers.u4[slot + 1, position] = len(text)


def _text(rows: Rows, column: str, position: int) -> bytes:
    slot = SLOTS[column]
    first, length = int(rows.buffers.u4[slot, position]), int(rows.buffers.u4[slot + 1, position])
    return rows.buffers.pool[first : first + length].tobytes()


def make(settings: PrivacySettings, collector: CollectorSettings) -> Privacy | None:
    """Return what hides as the settings ask, None if they ask for nothing.

    Raises:
        ConfigurationError: a rule is wrong, the key is missing, or frames are kept, which would tell everything.

    """
    policy = Policy.of(settings)
    if not policy.active:
        return None
    if collector.frame_bytes:
        raise ConfigurationError(
            f"STREAMGAUGE_COLLECTOR_FRAME_BYTES={collector.frame_bytes} keeps the packets themselves, with all that "
            "STREAMGAUGE_PRIVACY_… hides; set it to 0, or switch privacy off"
        )
    if settings.key is None and policy.needs_key:
        raise ConfigurationError("STREAMGAUGE_PRIVACY_KEY is not set, and pseudonyms and hashes are asked for")
    _log.info(
        "what is hidden before anything leaves the node",
        addresses=settings.addresses,
        names=settings.names,
        paths=settings.paths,
        rules=str(settings.policy or "none"),
    )
    key = None if settings.key is None else bytes.fromhex(settings.key.get_secret_value())
    return Privacy(policy, key, community_id=collector.community_id)
