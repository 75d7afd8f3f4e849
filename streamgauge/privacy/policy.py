"""Which rule an address falls under: the settings for all, and rules for networks from a file.

    [[rule]]
    namespace = "payments"
    networks = ["10.244.3.0/24"]
    addresses = "all"
    names = "drop"
    paths = "drop"

A collector knows no namespaces, only addresses: a rule names the networks of one (an IP pool of the CNI, a subnet), and
``namespace`` is for people. The most specific network that holds an address decides for it; what a rule leaves out is
as in the settings.
"""

from __future__ import annotations

import ipaddress
import tomllib
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final, Self, get_args

from streamgauge.errors import ConfigurationError
from streamgauge.settings.privacy import Addresses, Words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from streamgauge.settings.privacy import PrivacySettings

_KEYS: Final = {"namespace", "networks", "addresses", "names", "paths"}
#: Addresses that say nothing of a host; a pseudonym would only hide that they are special.
_NOBODY: Final = ("0.0.0.0/32", "127.0.0.0/8", "224.0.0.0/4", "255.255.255.255/32", "::/128", "::1/128", "ff00::/8")
#: Groups with an address or a network in them, which is hidden as such: the group that a neighbour is asked for by
#: (RFC 4291, 2.7.1), those made of a network or a router (RFC 3306, 3956: flag P), the same of IPv4 (RFC 6034). With
#: each, how many of 128 bits tell nobody and stay.
_TELLING: Final = (
    ("ff02::1:ff00:0/104", 104),
    *((f"ff{flags:x}0::/12", 16) for flags in range(16) if flags & 2),
    ("234.0.0.0/8", 104),
)
_MAPPED: Final = 0xFFFF << 32


class Treatment(IntEnum):
    """What becomes of a text; the greater of two is the stricter."""

    KEEP = 0
    HASH = 1
    DROP = 2


@dataclass(frozen=True, slots=True)
class Rule:
    """What holds for one address."""

    addresses: Addresses
    names: Treatment
    paths: Treatment


class Networks:
    """Networks with a value each; addresses are 128-bit numbers, IPv4 mapped into ::ffff:0:0/96."""

    def __init__(self, networks: Iterable[tuple[str, Any]]) -> None:
        """Take networks as text.

        Raises:
            ValueError: one is none.

        """
        by_length: dict[int, dict[int, Any]] = {}
        for text, value in networks:
            network = ipaddress.ip_network(text.strip())
            first, length = int(network.network_address), network.prefixlen
            if network.version == 4:
                first, length = first | _MAPPED, length + 96
            by_length.setdefault(length, {})[first] = value
        self._by_length = sorted(by_length.items(), reverse=True)

    def values(self) -> Iterator[Any]:
        """Yield the values of all networks."""
        for _, networks in self._by_length:
            yield from networks.values()

    def find(self, address: int) -> Any:
        """Return the value of the most specific network that holds an address, None if none does."""
        for length, networks in self._by_length:
            value = networks.get(address >> (128 - length) << (128 - length) if length else 0)
            if value is not None:
                return value
        return None


class Policy:
    """The rules in force."""

    def __init__(self, default: Rule, inside: Networks, rules: Networks) -> None:
        """Take the rule for whatever no network holds, the networks that are inside, and rules by network."""
        self.default = default
        self._inside = inside
        self._rules = rules
        self._nobody = Networks((network, True) for network in _NOBODY)
        self._telling = Networks(_TELLING)
        every = [default, *rules.values()]
        #: Whether some address gets a pseudonym.
        self.hides_any = any(rule.addresses != "off" for rule in every)
        #: Whether anything is done under a key.
        self.needs_key = self.hides_any or any(Treatment.HASH in (rule.names, rule.paths) for rule in every)
        #: Whether anything is hidden at all.
        self.active = self.hides_any or any(rule.names or rule.paths for rule in every)

    @classmethod
    def of(cls, settings: PrivacySettings) -> Self:
        """Return the policy that the settings ask for, with the rules of their file.

        Raises:
            ConfigurationError: the file cannot be read, or holds a fault; one line a fault.

        """
        default = Rule(settings.addresses, _treatment(settings.names), _treatment(settings.paths))
        inside = Networks((network, True) for network in settings.inside.split(","))
        rules = [] if settings.policy is None else _read(settings.policy, default)
        _leave_room([*settings.inside.split(","), *(network for network, _ in rules)])
        return cls(default, inside, Networks(rules))

    def rule(self, address: int) -> Rule:
        """Return the rule for an address."""
        found: Rule | None = self._rules.find(address)
        return self.default if found is None else found

    def hides(self, address: int) -> bool:
        """Return whether an address gets a pseudonym."""
        if self._nobody.find(address):
            return False
        asked = self.rule(address).addresses
        return asked == "all" or (asked == "outside" and not self._inside.find(address))

    def names_host(self, address: int) -> bool:
        """Return whether an address is somebody's, and not a group's, everybody's or nobody's."""
        return not self._nobody.find(address)

    def kept_bits(self, address: int) -> int:
        """Return how many leading bits of a group with an address in it stay; 0 for one that is left as it is."""
        return (self._telling.find(address) or 0) if self.hides_any else 0

    def free(self, address: int) -> bool:
        """Return whether a pseudonym may look like this: it is none of ours, or ours and never shown."""
        if self.hides(address):
            return True
        return not (self._nobody.find(address) or self._inside.find(address) or self._rules.find(address))


def _treatment(word: str) -> Treatment:
    return Treatment[word.upper()]


def _leave_room(networks: Iterable[str]) -> None:
    """Make sure that there are addresses enough for pseudonyms beside the networks that are inside.

    Raises:
        ConfigurationError: they hold more than half of all addresses.

    """
    parsed = [ipaddress.ip_network(network.strip()) for network in networks]
    for version, bits in ((4, 32), (6, 128)):
        held = sum(network.num_addresses for network in parsed if network.version == version)
        if held > 1 << (bits - 1):
            raise ConfigurationError(
                f"STREAMGAUGE_PRIVACY_INSIDE and the rules hold more than half of all IPv{version} addresses: "
                "that leaves no room for pseudonyms; name the networks that are yours"
            )


def _read(path: Path, default: Rule) -> list[tuple[str, Rule]]:
    where = f"STREAMGAUGE_PRIVACY_POLICY={path}"
    try:
        with path.open("rb") as handle:
            table = tomllib.load(handle)
    except OSError as error:
        raise ConfigurationError(f"{where}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{where}: is not TOML: {error}") from error
    faults = [f"{where}: {name} is not known; rules stand under [[rule]]" for name in table if name != "rule"]
    rules: list[tuple[str, Rule]] = []
    listed = table.get("rule", [])
    if not isinstance(listed, list) or not listed:
        faults.append(f"{where}: holds no [[rule]]")
        listed = []
    for number, entry in enumerate(listed, 1):
        rules += _rule(f"{where}: rule {number}", entry, default, faults)
    if faults:
        raise ConfigurationError("\n".join(faults))
    return rules


def _rule(where: str, entry: Any, default: Rule, faults: list[str]) -> list[tuple[str, Rule]]:
    """Return one rule for each of its networks; what is wrong with it goes to ``faults``."""
    if not isinstance(entry, dict):
        faults.append(f"{where}: is no table; write [[rule]]")
        return []
    faults += [f"{where}: {name} is none of {', '.join(sorted(_KEYS))}" for name in sorted(entry.keys() - _KEYS)]
    changes: dict[str, Any] = {}
    for name, known in (("addresses", get_args(Addresses)), ("names", get_args(Words)), ("paths", get_args(Words))):
        if name not in entry:
            continue
        if entry[name] not in known:
            faults.append(f"{where}: {name} = {entry[name]!r} is none of {', '.join(known)}")
        else:
            changes[name] = entry[name] if name == "addresses" else _treatment(entry[name])
    networks = entry.get("networks")
    if not isinstance(networks, list) or not networks:
        faults.append(f'{where}: networks is missing; for example networks = ["10.244.3.0/24"]')
        return []
    rules = []
    for network in networks:
        try:
            Networks([(network, True)])
        except (ValueError, AttributeError) as error:
            faults.append(f"{where}: {network!r} is no network: {error}")
        else:
            rules.append((network, replace(default, **changes)))
    return rules
