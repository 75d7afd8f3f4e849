"""`make secrets`: all is there, nobody else can read it, nothing is written over, rotation is what it says."""

from __future__ import annotations

import os
import re
import shutil
import ssl
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import bcrypt
import pytest

from streamgauge.secrets import authority, hand_out
from streamgauge.secrets.__main__ import main
from streamgauge.secrets.generate import NATS_USERS, PARTS
from streamgauge.settings import load
from tests.support import require

if TYPE_CHECKING:
    from collections.abc import Callable


def run(folder: Path, *options: str) -> int:
    return main(["--folder", str(folder), *options])


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(name="pattern", scope="module")
def _pattern(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Secrets made once: bcrypt is slow on purpose."""
    folder = tmp_path_factory.mktemp("pattern") / "secrets"
    assert run(folder) == 0
    return folder


@pytest.fixture(name="made")
def _made(tmp_path: Path, pattern: Path) -> Path:
    """Return a folder of secrets of this test's own."""
    return Path(shutil.copytree(pattern, tmp_path / "secrets"))


def test_only_the_owner_can_read(made: Path) -> None:
    for path in [made, *made.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


def test_a_wide_umask_changes_nothing(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        assert run(tmp_path / "secrets") == 0
    finally:
        os.umask(before)

    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "secrets").rglob("*") if path.is_file()} == {
        0o600
    }


def test_a_second_run_changes_nothing(made: Path) -> None:
    before = contents(made)

    assert run(made) == 0
    assert contents(made) == before


def test_what_is_missing_is_made_and_the_rest_is_kept(made: Path) -> None:
    before = contents(made)
    (made / "backup" / "nats-password").unlink()

    assert run(made) == 0
    changed = {name for name, content in contents(made).items() if content != before[name]}
    assert changed == {"backup/nats-password", "nats/passwords.conf"}


def test_rights_given_away_are_taken_back(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (made / "login.txt").chmod(0o644)

    assert run(made) == 0
    assert stat.S_IMODE((made / "login.txt").stat().st_mode) == 0o600
    assert "login.txt" in capsys.readouterr().out


def test_a_link_is_refused(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (made / "login.txt").rename(tmp_path / "elsewhere")
    (made / "login.txt").symlink_to(tmp_path / "elsewhere")

    assert run(made) == 2
    assert "symbolic link" in capsys.readouterr().err


def test_it_says_where_the_login_is_and_not_what_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "secrets") == 0
    said = "".join(capsys.readouterr())
    password = re.search(r"^password: (.+)$", (tmp_path / "secrets" / "login.txt").read_text(), re.MULTILINE)

    assert str(tmp_path / "secrets" / "login.txt") in said
    assert password is not None
    assert password[1] not in said


def test_the_login_is_a_bcrypt_hash_of_the_password(made: Path) -> None:
    user, _, digest = (made / "nginx" / "htpasswd").read_text().strip().partition(":")
    password = (made / "login.txt").read_text().splitlines()[1].removeprefix("password: ")

    assert user == "admin"
    assert digest.startswith("$2y$10$")
    assert bcrypt.checkpw(password.encode(), digest.encode())
    assert len(password) >= 24


def test_no_two_secrets_are_alike(made: Path) -> None:
    plain = [
        path.read_text() for path in made.glob("*/*") if path.name.endswith(("password", "secret-key", "cookie-secret"))
    ]
    own = {text for text in plain if (made / "minio-setup") not in Path(text).parents}

    assert len(own) >= len(NATS_USERS) + 4
    assert all(len(text) >= 32 for text in own)


def test_nats_gets_hashes_of_the_users_passwords(made: Path) -> None:
    hashes = dict(re.findall(r'^(\w+)_PASSWORD: "(.+)"$', (made / "nats" / "passwords.conf").read_text(), re.MULTILINE))

    assert set(hashes) == {user.upper() for user in NATS_USERS}
    for user in NATS_USERS:
        assert bcrypt.checkpw((made / user / "nats-password").read_bytes(), hashes[user.upper()].encode())


def test_a_further_user_of_nats_is_made_and_stays(made: Path) -> None:
    assert run(made, "--nats-user", "detector") == 0
    before = contents(made)
    assert run(made) == 0

    assert contents(made) == before
    password = (made / "detector" / "nats-password").read_bytes()
    (line,) = re.findall(r'^DETECTOR_PASSWORD: "(.+)"$', (made / "nats" / "passwords.conf").read_text(), re.MULTILINE)
    assert bcrypt.checkpw(password, line.encode())
    assert (made / "detector" / "ca.crt").read_bytes() == (made / "consumer" / "ca.crt").read_bytes()
    assert "name: detector" in (made / "kustomization.yaml").read_text()


@pytest.mark.parametrize("name", ["minio", "Detector", "my-detector", "../detector", ""])
def test_a_user_of_nats_needs_a_name_of_its_own(made: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    before = contents(made)

    assert run(made, "--nats-user", name) == 2
    assert f"--nats-user {name}: " in capsys.readouterr().err
    assert contents(made) == before


def test_each_reader_has_its_own_folder_and_nothing_of_others(made: Path) -> None:
    for reader in ("exporter", "consumer"):
        assert {path.name for path in (made / reader).iterdir()} == {"ca.crt", "nats-password"}
    # What undoes pseudonyms is the collector's alone.
    privacy = {"privacy-key", "privacy-rules.toml"}
    assert {path.name for path in (made / "collector").iterdir()} == {"ca.crt", "nats-password", *privacy}
    assert {path.parent.name for path in made.rglob("privacy-*")} == {"collector"}
    # The authority's key is mounted nowhere.
    assert [path.parent.name for path in made.rglob("ca.key")] == ["authority"]
    assert "authority" not in (made / "kustomization.yaml").read_text()


def test_settings_take_the_files(made: Path) -> None:
    environment = {
        "STREAMGAUGE_NATS_PASSWORD_FILE": str(made / "backup" / "nats-password"),
        "STREAMGAUGE_S3_ACCESS_KEY_FILE": str(made / "backup" / "s3-access-key"),
        "STREAMGAUGE_S3_SECRET_KEY_FILE": str(made / "backup" / "s3-secret-key"),
    }

    assert "STREAMGAUGE_S3_ACCESS_KEY" in load(("nats", "s3"), environment).dump()


@pytest.mark.parametrize(
    ("certificate", "key", "names"),
    [
        ("nginx/tls.crt", "nginx/tls.key", {"localhost", "127.0.0.1", "::1"}),
        ("nats/tls.crt", "nats/tls.key", {"nats", "nats.streamgauge.svc", "*.nats-headless.streamgauge.svc"}),
        ("minio/public.crt", "minio/private.key", {"minio", "minio.streamgauge.svc.cluster.local"}),
    ],
)
def test_certificates_fit_their_servers(made: Path, certificate: str, key: str, names: set[str]) -> None:
    content = (made / certificate).read_bytes()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made / certificate, made / key)

    assert names <= set(authority.names_of(content))
    assert authority.signed_by(content, (made / "authority" / "ca.crt").read_bytes())
    assert 390 < authority.days_left(content) < 398


def test_a_name_of_the_door_is_in_its_certificate_and_stays(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    assert run(folder, "--host", "monitor.example") == 0
    assert run(folder, "--rotate", "certificates") == 0

    assert "monitor.example" in authority.names_of((folder / "nginx" / "tls.crt").read_bytes())


def test_a_name_added_later_is_pointed_out(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(made, "--host", "monitor.example") == 0
    assert "--rotate certificates --host monitor.example" in capsys.readouterr().err


ROTATED: dict[str, Callable[[str], bool]] = {
    "login": lambda name: (
        name in {"login.txt", "nginx/htpasswd", "grafana/admin-password", "oauth2-proxy/cookie-secret"}
    ),
    "nats": lambda name: name.endswith("/nats-password") or name == "nats/passwords.conf",
    "s3": lambda name: name.endswith(("secret-key", "root-password")) and not name.startswith("grafana"),
    "certificates": lambda name: name.endswith(("tls.crt", "tls.key", "public.crt", "private.key")),
    "authority": lambda name: name.endswith(("ca.crt", "ca.key", "tls.crt", "tls.key", "public.crt", "private.key")),
    "privacy": lambda name: name == "collector/privacy-key",
}


@pytest.mark.parametrize("part", ROTATED)
def test_rotation_replaces_what_it_names_and_nothing_else(made: Path, part: str) -> None:
    before = contents(made)

    assert run(made, "--rotate", part) == 0
    changed = {name for name, content in contents(made).items() if content != before[name]}
    assert changed == {name for name in before if ROTATED[part](name)}


def test_everything_can_be_rotated_but_the_authority_and_pseudonyms(made: Path) -> None:
    before = contents(made)

    assert run(made, "--rotate", "all") == 0
    changed = {name for name, content in contents(made).items() if content != before[name]}
    assert changed == {
        name for name in before if any(ROTATED[part](name) for part in ("login", "nats", "s3", "certificates"))
    }
    assert set(PARTS) == {*ROTATED, "all"}


def test_other_names_keep_their_login_when_the_administrator_s_is_rotated(made: Path) -> None:
    with (made / "nginx" / "htpasswd").open("a") as handle:
        handle.write("guest:$2y$10$hash\n")

    assert run(made, "--rotate", "login") == 0
    assert "guest:$2y$10$hash" in (made / "nginx" / "htpasswd").read_text().splitlines()


def test_a_certificate_of_ones_own_is_taken_and_kept(made: Path, tmp_path: Path) -> None:
    own = authority.make_certificate(authority.make_authority(), ["monitor.example"])
    (tmp_path / "c").write_bytes(own.certificate)
    (tmp_path / "k").write_bytes(own.key)

    assert run(made, "--certificate", str(tmp_path / "c"), "--key", str(tmp_path / "k")) == 0
    assert run(made, "--rotate", "authority") == 0
    assert (made / "nginx" / "tls.crt").read_bytes() == own.certificate


def test_a_certificate_with_another_s_key_is_refused(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c").write_bytes((made / "nats" / "tls.crt").read_bytes())
    (tmp_path / "k").write_bytes((made / "nginx" / "tls.key").read_bytes())

    assert run(made, "--certificate", str(tmp_path / "c"), "--key", str(tmp_path / "k")) == 2
    assert "do not belong together" in capsys.readouterr().err


def test_the_authority_s_key_may_be_kept_elsewhere(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (made / "authority" / "ca.key").unlink()

    assert run(made) == 0
    assert run(made, "--rotate", "certificates") == 2
    assert "ca.key is needed" in capsys.readouterr().err


def test_an_empty_secret_is_refused(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (made / "backup" / "nats-password").write_text("")

    assert run(made) == 2
    assert "backup/nats-password is empty" in capsys.readouterr().err


def test_logins_of_nobody_are_refused(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (made / "nginx" / "htpasswd").write_text("\n")

    assert run(made) == 2
    assert "nobody could log in" in capsys.readouterr().err
    assert run(made, "--rotate", "login") == 0
    assert (made / "nginx" / "htpasswd").read_text().startswith("admin:$2y$")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("privacy-key", "00" * 31, "PRIVACY_KEY: is not 64 hexadecimal digits; make one: openssl rand -hex 32"),
        ("privacy-key", "", "collector/privacy-key is empty; remove it, and a new one is made"),
        ("privacy-rules.toml", "", "collector/privacy-rules.toml: holds no [[rule]]"),
        ("privacy-rules.toml", '[[rule]]\nnetworks = ["10.0.0.0/8"]\nname = "x"\n', "rule 1: name is none of"),
    ],
)
def test_what_a_collector_would_not_start_with_is_refused(
    made: Path, capsys: pytest.CaptureFixture[str], name: str, content: str, words: str
) -> None:
    """Here and not by a pod after the other; nothing secret is said."""
    (made / "collector" / name).write_text(content)

    assert run(made) == 2
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1
    assert "0000" not in told


@pytest.mark.parametrize("name", ["nginx/tls.crt", "nats/tls.crt"])
def test_a_damaged_certificate_is_named(made: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    (made / name).write_text("no certificate")

    assert run(made) == 2
    assert f"{name} is no certificate" in capsys.readouterr().err

    (made / name).unlink()
    assert run(made) == 0


def test_keys_are_handed_out_to_their_readers(made: Path, tmp_path: Path) -> None:
    require.root()
    volumes = tmp_path / "volumes"
    for name in hand_out.READERS:
        (volumes / "keys" / name).mkdir(parents=True)
    for name in hand_out.DATA:
        (volumes / "data" / name).mkdir(parents=True)
    (volumes / "keys" / "nginx" / "stale").write_text("old")

    assert hand_out.main([str(made), str(volumes)]) == 0
    assert hand_out.main([str(made), str(volumes)]) == 0
    for reader, owner in hand_out.READERS.items():
        for path in (volumes / "keys" / reader).rglob("*"):
            assert path.stat().st_uid == owner
            assert stat.S_IMODE(path.stat().st_mode) == (0o500 if path.is_dir() else 0o400)
    assert (volumes / "keys" / "minio" / "certs" / "private.key").read_bytes() == (
        made / "minio" / "private.key"
    ).read_bytes()
    assert not (volumes / "keys" / "nginx" / "stale").exists()
    assert (volumes / "data" / "nats").stat().st_uid == 1000


def test_without_secrets_nothing_is_handed_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert hand_out.main([str(tmp_path), str(tmp_path)]) == 1
    assert "make secrets" in capsys.readouterr().err
