"""Names for addresses from a file."""

from __future__ import annotations

import ipaddress

import pytest

from streamgauge.errors import ConfigurationError
from streamgauge.identity import labels
from streamgauge.identity.table import Network, Owner

CSV = """\
network,namespace,workload,kind,node
# the office
10.1.0.0/16, office, laptops

192.168.1.10,,db-1,Host,db-1
2001:db8::/32,"a, b",six
"""
TOML = """\
# the office
["10.1.0.0/16"]
namespace = "office"
workload = "laptops"

["192.168.1.10"]
workload = "db-1"
node = "db-1"

["2001:db8::/32"]
namespace = "a, b"
workload = "six"
"""


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("labels.csv", CSV),
        ("labels.toml", TOML),
        ("labels", CSV),
        # As a spreadsheet writes it.
        ("labels.csv", "\ufeff" + CSV.replace("network,", "Network,", 1).replace("\n", "\r\n")),
        ("labels.csv", "# ours\n" + CSV),
        ("labels.toml", "\ufeff" + TOML),
    ],
)
def test_both_forms_say_the_same(scratch, name, content):
    """CSV with or without its heading; TOML with a table each."""
    (scratch / name).write_text(content)

    assert labels.read(scratch / name) == [
        Network(ipaddress.ip_network("10.1.0.0/16"), Owner("office", "laptops", "Host", "")),
        Network(ipaddress.ip_network("192.168.1.10"), Owner("", "db-1", "Host", "db-1")),
        Network(ipaddress.ip_network("2001:db8::/32"), Owner("a, b", "six", "Host", "")),
    ]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("l.csv", "10.1.0.0/16,office,laptops\n10.1.0.300,x,y\n", ["l.csv:2: ", "10.1.0.300", "write 10.1.0.0/16"]),
        ("l.csv", "10.1.2.3/16,office,laptops\n", ["l.csv:1: ", "has host bits set"]),
        ("l.csv", "10.1.0.0/16,office\n", ["l.csv:1: 10.1.0.0/16 has no workload"]),
        ("l.csv", "10.1.0.0/16,a,b,c,d,e\n", ["l.csv:1: too many values"]),
        ("l.csv", "10.1.0.0/16,a,b\x07\n", ["l.csv:1: workload is"]),
        ("l.csv", "10.1.0.0/16,a,b\n10.1.0.0/16,c,d\n", ["l.csv:2: 10.1.0.0/16 is named in line 1, too"]),
        ("l.csv", "10.1.0.0/16,a,__other__\n", ["l.csv:1: workload is '__other__'", "begin with __"]),
        ("l.csv", "x,a,b\n# fine\ny,a,b\n", ["l.csv:1: ", "l.csv:3: "]),
        ("l.toml", '["10.1.0.0/16"]\nworkload = "a"\n\n["no"]\nworkload = "b"\n', ["l.toml:4: ", "'no'"]),
        ("l.toml", '"10.1.0.0/16" = {workload = "a", zone = "b"}\n', ["l.toml:1: zone: an entry has"]),
        ("l.toml", '["10.1.0.0/16"]\nworkload = 3\n', ["l.toml:1: workload is 3"]),
        ("l.toml", '"10.1.0.0/16" = "web"\n', ["l.toml:1: a value: an entry has"]),
        ("l.toml", "[10.1.0.0/16]\n", ["l.toml: is not TOML", "line 1"]),
    ],
)
def test_what_is_wrong_is_told_with_its_line(scratch, name, content, said):
    """All faults at once, each with the number of its line and what would be right."""
    (scratch / name).write_text(content)
    with pytest.raises(ConfigurationError) as caught:
        labels.read(scratch / name)

    assert [part for part in said if part not in str(caught.value)] == []


def test_a_file_that_cannot_be_read(scratch):
    """Not there, not text, too large."""
    with pytest.raises(ConfigurationError, match="No such file"):
        labels.read(scratch / "nowhere.csv")
    (scratch / "binary.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        labels.read(scratch / "binary.csv")
    with (scratch / "large.csv").open("wb") as file:
        file.truncate(labels.LARGEST + 1)
    with pytest.raises(ConfigurationError, match="larger than"):
        labels.read(scratch / "large.csv")
