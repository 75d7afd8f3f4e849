"""Names for addresses from a file: without Kubernetes, or for networks beside the cluster.

CSV: ``network,namespace,workload,kind,node``; the last two may be left out, a line that begins with ``#`` is a comment.

    10.1.0.0/16,office,laptops
    192.168.1.10,,db-1,Host,db-1

TOML, a table an address or network:

    ["10.1.0.0/16"]
    namespace = "office"
    workload = "laptops"
"""

from __future__ import annotations

import csv
import ipaddress
import re
import tomllib
from typing import TYPE_CHECKING, Any, Final

from streamgauge.errors import ConfigurationError
from streamgauge.identity.table import Network, Owner

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: The kind of what a file names, unless it says another.
DEFAULT_KIND: Final = "Host"

#: Bytes of the largest file that is read: some hundred thousand lines.
LARGEST: Final = 16 << 20

_FIELDS: Final = ("namespace", "workload", "kind", "node")
_LONGEST: Final = 253
#: ``__other__``, ``__world__`` and their like: a name that is one would be a second series with the same labels.
_RESERVED: Final = "__"


def read(path: Path) -> list[Network]:
    """Return what a file says, in its order; ``.toml`` is TOML, anything else CSV.

    Raises:
        ConfigurationError: the file cannot be read, or a line is wrong: one line for each fault, with its number.

    """
    try:
        if path.stat().st_size > LARGEST:
            raise ConfigurationError(f"{path}: is larger than {LARGEST >> 20} MiB")
        # Spreadsheets begin a text with a byte order mark.
        content = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: is not UTF-8: {error.reason}") from error
    networks: list[Network] = []
    faults: list[str] = []
    entries = _toml(content, path) if path.suffix == ".toml" else _csv(content)
    lines: dict[Any, int] = {}
    for line, network, values in entries:
        try:
            entry = _network(network, values)
        except ValueError as error:
            faults.append(f"{path}:{line}: {error}")
            continue
        if entry.network in lines:
            faults.append(f"{path}:{line}: {network} is named in line {lines[entry.network]}, too; leave one of them")
        lines[entry.network] = line
        networks.append(entry)
    if faults:
        raise ConfigurationError("\n".join(faults))
    return networks


def _csv(content: str) -> Iterator[tuple[int, str, dict[str, Any]]]:
    first = True
    for line, text in enumerate(content.splitlines(), 1):
        if not text.strip() or text.lstrip().startswith("#"):
            continue
        values = [value.strip() for value in next(csv.reader([text]))]
        heading, first = first and values[0].lower() == "network", False
        if heading:
            continue
        more = {"too many values": text} if len(values) > 1 + len(_FIELDS) else {}
        yield line, values[0], {**dict(zip(_FIELDS, values[1:], strict=False)), **more}


def _toml(content: str, path: Path) -> Iterator[tuple[int, str, dict[str, Any]]]:
    try:
        tables = tomllib.loads(content)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path}: is not TOML: {error}") from error
    lines = content.splitlines()
    for network, values in tables.items():
        # tomllib does not tell where a table stands.
        key = re.compile(rf"""\s*\[?\s*["']?{re.escape(network)}["']?\s*[\]=.]""")
        line = next((number for number, text in enumerate(lines, 1) if key.match(text)), 0)
        yield line, network, values if isinstance(values, dict) else {"a value": values}


def _network(text: str, values: dict[str, Any]) -> Network:
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(f"{error}; write 10.1.0.0/16 or 10.1.2.3") from error
    unknown = [name for name in values if name not in _FIELDS]
    if unknown:
        raise ValueError(f"{unknown[0]}: an entry has {', '.join(_FIELDS)}")
    for name, value in values.items():
        if not isinstance(value, str) or len(value) > _LONGEST or not (value.isprintable() or not value):
            raise ValueError(f"{name} is {value!r}; write a name of at most {_LONGEST} characters")
        if value.startswith(_RESERVED):
            raise ValueError(f"{name} is {value!r}; names that begin with {_RESERVED} are those of the metrics")
    if not values.get("workload"):
        raise ValueError(f"{text} has no workload")
    owner = Owner(
        values.get("namespace") or "", values["workload"], values.get("kind") or DEFAULT_KIND, values.get("node") or ""
    )
    return Network(network, owner)
