"""Configuration: environment, file, secrets, faults."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamgauge import settings
from streamgauge.errors import ConfigurationError
from streamgauge.settings import CollectorSettings, NatsSettings, S3Settings, load

S3 = {"STREAMGAUGE_S3_ACCESS_KEY": "key-1", "STREAMGAUGE_S3_SECRET_KEY": "a-long-random-secret"}


def faults(sections: tuple[str, ...], environment: dict[str, str]) -> list[str]:
    """Return the lines of the error that these settings make."""
    with pytest.raises(ConfigurationError) as caught:
        load(sections, environment)
    assert caught.value.exit_code == 2
    return str(caught.value).splitlines()


def test_defaults_are_enough_for_a_collector() -> None:
    """Nothing needs to be set to try it."""
    loaded = load(settings.PROGRAMS["collector"], {})

    assert loaded.section(NatsSettings).url == "nats://127.0.0.1:4222"
    assert loaded.section(CollectorSettings).node


def test_environment_wins_over_the_file(tmp_path: Path) -> None:
    """Order: defaults, file, environment."""
    path = tmp_path / "site.toml"
    path.write_text('[nats]\nurl = "nats://file:4222"\nstream = "FILE"\n[collector]\nbatch_rows = 100\n')
    environment = {"STREAMGAUGE_CONFIG": str(path), "STREAMGAUGE_NATS_URL": "nats://env:4222"}
    loaded = load(("nats", "collector"), environment)

    assert loaded.section(NatsSettings).url == "nats://env:4222"
    assert loaded.section(NatsSettings).stream == "FILE"
    assert loaded.section(CollectorSettings).batch_rows == 100


def test_other_variables_are_not_ours() -> None:
    """Only names with our prefix are read."""
    load(("nats",), {"PATH": "/bin", "NATS_URL": "x"})


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    """One run of `--check` shows everything there is to mend."""
    path = tmp_path / "site.toml"
    path.write_text("[nats]\ncolour = 1\n[weather]\nrain = true\n")
    told = faults(
        ("nats", "s3", "collector"),
        {
            "STREAMGAUGE_CONFIG": str(path),
            "STREAMGAUGE_NATS_UR": "x",
            "STREAMGAUGE_NATS_REPLICAS": "9",
            "STREAMGAUGE_COLLECTOR_BATCH_ROWS": "many",
            "STREAMGAUGE_S3_ENDPOINT": "https://s3",
        },
    )

    expected = (
        f"{path}: [nats] colour is no setting",
        f"{path}: [weather] is no section",
        "STREAMGAUGE_NATS_UR is no setting; `streamgauge config --list` shows all (did you mean STREAMGAUGE_NATS_URL?)",
        "STREAMGAUGE_NATS_REPLICAS=9: ",
        "STREAMGAUGE_COLLECTOR_BATCH_ROWS=many: ",
        "STREAMGAUGE_S3_ENDPOINT=https://s3: 'https://s3' has a scheme or path",
        "STREAMGAUGE_S3_ACCESS_KEY is not set",
        "STREAMGAUGE_S3_SECRET_KEY is not set",
    )
    assert len(told) == len(expected)
    for line in expected:
        assert any(fault.startswith(line) for fault in told), line


def test_unknown_section_of_the_environment_is_a_fault() -> None:
    """A typing error is never silently ignored."""
    (told,) = faults(("nats",), {"STREAMGAUGE_COLECTOR_NODE": "n"})

    assert "did you mean STREAMGAUGE_COLLECTOR_NODE?" in told


def test_variables_of_other_programs_are_known() -> None:
    """Services share one environment file: the backup's settings do not disturb the collector."""
    load(("nats",), {"STREAMGAUGE_BACKUP_ROTATE_SECONDS": "5", **S3})


@pytest.mark.parametrize("weak", ["", "changeme", "minioadmin", "Password", "secret"])
def test_example_secrets_are_refused(weak: str) -> None:
    """A value that stands in an example guards nothing; the message does not repeat what was given."""
    (told,) = faults(("s3",), {**S3, "STREAMGAUGE_S3_SECRET_KEY": weak})

    assert told == "STREAMGAUGE_S3_SECRET_KEY: is empty or an example; generate one (`make secrets`)"


def test_secret_from_a_file(tmp_path: Path) -> None:
    """Docker and Kubernetes mount secrets as files, often with a line feed at the end."""
    path = tmp_path / "secret"
    path.write_text("from-a-file-1234\n")
    loaded = load(("s3",), {"STREAMGAUGE_S3_ACCESS_KEY": "key-1", "STREAMGAUGE_S3_SECRET_KEY_FILE": str(path)})

    assert loaded.section(S3Settings).secret_key.get_secret_value() == "from-a-file-1234"


def test_secret_file_that_is_missing_is_named() -> None:
    """The path is in the message."""
    told = faults(("s3",), {"STREAMGAUGE_S3_ACCESS_KEY": "key-1", "STREAMGAUGE_S3_SECRET_KEY_FILE": "/no/such"})

    assert "STREAMGAUGE_S3_SECRET_KEY_FILE=/no/such: cannot be read: No such file or directory" in told


def test_secret_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    """A key in binary, as `openssl rand 32` writes it."""
    path = tmp_path / "key"
    path.write_bytes(b"\xff\xfe" * 16)

    assert faults(("privacy",), {"STREAMGAUGE_PRIVACY_KEY_FILE": str(path)}) == [
        f"STREAMGAUGE_PRIVACY_KEY_FILE={path}: cannot be read: it is no text (UTF-8)"
    ]


def test_a_fault_says_no_secret(tmp_path: Path) -> None:
    """A key that lacks one digit is most of a key, and faults go to the log; wherever it came from."""
    key = "5ec3e7" * 10 + "5ec"
    path = tmp_path / "site.toml"
    path.write_text(f'[privacy]\nkey = "{key}"\n')

    for environment in ({"STREAMGAUGE_PRIVACY_KEY": key}, {"STREAMGAUGE_CONFIG": str(path)}):
        (told,) = faults(("privacy",), environment)

        assert told == "STREAMGAUGE_PRIVACY_KEY: is not 64 hexadecimal digits; make one: openssl rand -hex 32"


@pytest.mark.parametrize("url", ["nats://me:hunter2@one:4222", "tls://one,nats://me:hunter2@two", "me:hunter2@one"])
def test_a_login_in_a_url_is_refused_and_not_shown(url: str) -> None:
    """URLs are shown wherever something is wrong with them."""
    (told,) = faults(("nats",), {"STREAMGAUGE_NATS_URL": url})

    assert told.endswith("holds a login; set STREAMGAUGE_NATS_USER and _PASSWORD(_FILE) instead")
    assert "hunter2" not in told


def test_a_field_that_ends_in_file_is_no_file_of_a_field() -> None:
    """STREAMGAUGE_COLLECTOR_FILE is a setting of its own."""
    loaded = load(
        ("collector",), {"STREAMGAUGE_COLLECTOR_SOURCE": "file", "STREAMGAUGE_COLLECTOR_FILE": "/captures/a.pcap"}
    )

    assert loaded.section(CollectorSettings).file == Path("/captures/a.pcap")


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "cannot be read"), ("[nats\n", "is not TOML"), ("nats = 3\n", r"\[nats\] is no section")],
)
def test_damaged_file_is_one_line(tmp_path: Path, content: str | None, words: str) -> None:
    """Missing, no TOML, or of another shape."""
    path = tmp_path / "site.toml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigurationError, match=words):
        load(("nats",), {"STREAMGAUGE_CONFIG": str(path)})


@pytest.mark.parametrize("url", ["localhost:4222", "http://nats", "nats://a:1,b:2"])
def test_nats_url_without_a_scheme_is_refused(url: str) -> None:
    """Each of several servers needs its scheme."""
    (told,) = faults(("nats",), {"STREAMGAUGE_NATS_URL": url})

    assert "no NATS URL" in told


def test_dump_masks_secrets_and_leaves_nothing_else_out() -> None:
    """What is in effect can be shown to anybody."""
    loaded = load(("s3", "nats"), {**S3, "STREAMGAUGE_NATS_USER": "u", "STREAMGAUGE_NATS_PASSWORD": "top-hidden"})
    shown = loaded.dump()

    assert shown["STREAMGAUGE_S3_SECRET_KEY"] == shown["STREAMGAUGE_NATS_PASSWORD"] == "********"
    assert shown["STREAMGAUGE_S3_ACCESS_KEY"] == "key-1"
    assert "top-hidden" not in repr(loaded.section(NatsSettings))
    assert not {"a-long-random-secret", "top-hidden"} & set(shown.values())


def test_dump_can_be_loaded_again() -> None:
    """The names and values shown are those that are read."""
    first = load(
        ("nats", "collector"), {"STREAMGAUGE_COLLECTOR_PROMISCUOUS": "true", "STREAMGAUGE_COLLECTOR_INTERFACE": "lo"}
    )
    second = load(("nats", "collector"), first.dump())

    assert first.dump() == second.dump()


def test_settings_are_frozen() -> None:
    """Nothing changes them behind a component's back."""
    section = load(("nats",), {}).section(NatsSettings)
    with pytest.raises(ValueError, match="frozen"):
        section.url = "nats://other"


def test_section_that_was_not_loaded() -> None:
    """A program asks only for its own sections."""
    with pytest.raises(KeyError, match="S3Settings"):
        load(("nats",), {}).section(S3Settings)


@pytest.mark.parametrize("program", settings.PROGRAMS)
def test_every_setting_is_described(program: str) -> None:
    """`streamgauge config --list` has a sentence for each."""
    for section in settings.PROGRAMS[program]:
        for name, field in settings.SECTIONS[section].model_fields.items():
            assert field.description, f"{section}.{name}"


def test_replicas_split_the_shards() -> None:
    """Each shard has one replica; a pod's name tells which replica it is."""
    taken = []
    for pod in ("backup-0", "backup-1", "backup-2"):
        loaded = load(("backup",), {"STREAMGAUGE_BACKUP_REPLICA": pod, "STREAMGAUGE_BACKUP_REPLICAS": "3"})
        taken += loaded.section(settings.BackupSettings).shards_of(8)

    assert sorted(taken) == list(range(8))
