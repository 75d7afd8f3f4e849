"""What is made, for whom.

Below the folder, one folder for each reader, in the form in which it is mounted (`/run/secrets/streamgauge` for our own
services); design and threat model: docs/82-security.md. The authority's key and the login in the clear are for the
operator, and nothing mounts them.
"""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Final

import bcrypt

from streamgauge.errors import ConfigurationError
from streamgauge.privacy.policy import Policy
from streamgauge.secrets import authority
from streamgauge.secrets.authority import Pair
from streamgauge.secrets.kubernetes import kustomization
from streamgauge.settings import PrivacySettings, load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamgauge.secrets.vault import Vault

#: Users of NATS; what each may do is in nats/users.conf.
NATS_USERS: Final = ("collector", "backup", "exporter", "consumer", "operator", "bootstrap")
#: Users of the object storage; what each may do is in minio/policies/.
S3_USERS: Final = ("backup", "operator", "bootstrap")
#: The name to log in with.
LOGIN_USER: Final = "admin"
#: What ``--rotate`` can make anew.
PARTS: Final = ("login", "nats", "s3", "certificates", "authority", "privacy", "all")

_NAMESPACE: Final = "streamgauge"
#: Names under which the parts reach each other, in compose and in the cluster.
_SERVERS: Final = {"nats": ("nats", "nats-headless"), "minio": ("minio",)}
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
#: Whom the authority's certificate is given to.
_TRUSTING: Final = ("ca", "nginx", "nats", "minio", "minio-setup", *NATS_USERS)
#: What hides with the component or the switch that turns privacy on; the collector alone reads it.
_PRIVACY_KEY: Final = "collector/privacy-key"
_PRIVACY_RULES: Final = "collector/privacy-rules.toml"
_NO_RULES: Final = """\
# Rules of what the collector hides, for networks that are treated otherwise than the settings say: docs/23-privacy.md.
# This one is an example without effect: 192.0.2.0/24 is nobody's network.
[[rule]]
namespace = "nobody"
networks = ["192.0.2.0/24"]
"""
# bcrypt's cost: 60 ms a try. The passwords have 160 bits and would be safe without; a user's own may be weaker.
_BCRYPT_ROUNDS: Final = 10


#: A user's name stands in that of a variable in nats/users.conf, of an inbox and of a Secret in the cluster.
_USER_NAME: Final = re.compile(r"[a-z][a-z0-9]{0,62}")


class Generator:
    """Makes what is missing; with ``rotate`` the named parts anew.

    ``hosts``: names of the door besides localhost. ``nats_users``: further users of NATS; they stay in later runs.
    """

    def __init__(
        self, vault: Vault, *, hosts: Sequence[str] = (), nats_users: Sequence[str] = (), rotate: str | None = None
    ) -> None:
        self._vault = vault
        self._hosts = hosts
        self._nats_users = nats_users
        self._rotate = rotate
        self._former_authority: bytes | None = None

    def run(self) -> None:
        """Make everything.

        Raises:
            ConfigurationError: the folder cannot be written, the authority's key is needed and not there, what was
                put there for privacy is wrong, or a user of NATS has a name that none can have.

        """
        self._vault.repair()
        self._make_authority()
        self._make_certificates()
        self._make_nats_users()
        self._make_s3_users()
        self._make_login()
        self._make_grafana()
        self._make_privacy()
        self._derive("kustomization.yaml", kustomization(self._vault).encode())

    def use_certificate(self, pair: Pair) -> None:
        """Take the user's own certificate for the door."""
        authority.check_pair(pair)
        self._vault.replace("nginx/tls.crt", pair.certificate)
        self._vault.replace("nginx/tls.key", pair.key)

    def warnings(self) -> list[str]:
        """Return what the operator should know: certificates about to expire, or without a wanted name.

        Raises:
            ConfigurationError: a certificate cannot be read.

        """
        found = []
        for name in ("authority/ca.crt", "nginx/tls.crt", "nats/tls.crt", "minio/public.crt"):
            try:
                days, soon = authority.days_left(self._vault.read(name)), authority.expires_soon(self._vault.read(name))
            except ValueError as error:
                way = "" if name.startswith("authority/") else ", or remove it, and a new one is made"
                raise ConfigurationError(
                    f"{self._vault.path(name)} is no certificate (PEM); put it back{way}"
                ) from error
            if soon:
                found.append(f"{name} expires in {days} days: --rotate certificates")
        names = authority.names_of(self._vault.read("nginx/tls.crt"))
        found += [
            f"nginx/tls.crt is not for {host}: --rotate certificates --host {host}"
            for host in self._hosts
            if host not in names
        ]
        return found

    def _make_authority(self) -> None:
        if self._vault.has("authority/ca.crt"):
            self._former_authority = self._vault.read("authority/ca.crt")
        if self._former_authority is None or self._wanted("authority"):
            pair = authority.make_authority()
            self._vault.replace("authority/ca.crt", pair.certificate)
            self._vault.replace("authority/ca.key", pair.key)
        certificate = self._vault.read("authority/ca.crt")
        for reader in _TRUSTING:
            self._derive(f"{reader}/ca.crt", certificate)

    def _make_certificates(self) -> None:
        self._certificate("nginx/tls.crt", "nginx/tls.key", [*self._hosts, *_LOOPBACK])
        self._certificate("nats/tls.crt", "nats/tls.key", _names(*_SERVERS["nats"]))
        self._certificate("minio/public.crt", "minio/private.key", _names(*_SERVERS["minio"]))

    def _certificate(self, certificate: str, key: str, names: Sequence[str]) -> None:
        if self._vault.has(certificate) and self._vault.has(key):
            old = self._vault.read(certificate)
            # One that the user brought is not ours to make anew.
            ours = self._former_authority is not None and authority.signed_by(old, self._former_authority)
            if not ours or not (self._wanted("certificates") or self._wanted("authority")):
                return
            names = list(dict.fromkeys([*names, *authority.names_of(old)]))
        if not self._vault.has("authority/ca.key"):
            raise ConfigurationError(
                f"{self._vault.path('authority/ca.key')} is needed to sign {certificate}; put it back, or make a new "
                "authority with `--rotate authority`"
            )
        signer = Pair(self._vault.read("authority/ca.crt"), self._vault.read("authority/ca.key"))
        pair = authority.make_certificate(signer, names, peer=certificate.startswith("nats/"))
        self._vault.replace(certificate, pair.certificate)
        self._vault.replace(key, pair.key)

    def _make_nats_users(self) -> None:
        lines = ["# bcrypt hashes of the users' passwords, as nats/users.conf names them. Made by `make secrets`.\n"]
        users = [*NATS_USERS, *self._further_nats_users()]
        passwords = {user: self._password(f"{user}/nats-password", "nats") for user in users}
        known = self._vault.read("nats/passwords.conf").decode() if self._vault.has("nats/passwords.conf") else ""
        hashes = _hashes(known)
        for user, password in passwords.items():
            old = hashes.get(user)
            fits = old is not None and bcrypt.checkpw(password, old.encode())
            lines.append(f'{_variable(user)}: "{old if fits else _hash(password, "2a")}"\n')
        self._derive("nats/passwords.conf", "".join(lines).encode())

    def _further_nats_users(self) -> list[str]:
        for user in self._nats_users:
            taken = self._vault.path(user).exists() and not self._vault.has(f"{user}/nats-password")
            if taken or not _USER_NAME.fullmatch(user):
                raise ConfigurationError(
                    f"--nats-user {user}: small letters and digits, and no folder of {self._vault.root}, make a name"
                )
        known = {path.parent.name for path in self._vault.root.glob("*/nats-password")}
        further = sorted((known | {*self._nats_users}) - {*NATS_USERS})
        for user in further:
            self._derive(f"{user}/ca.crt", self._vault.read("authority/ca.crt"))
        return further

    def _make_s3_users(self) -> None:
        # Names stay when their secrets change: the storage would go on knowing the old ones.
        self._password("minio/root-user", "", prefix="root-", length=6)
        self._password("minio/root-password", "s3")
        for user in S3_USERS:
            self._password(f"{user}/s3-access-key", "", prefix=f"{user}-", length=6)
            self._password(f"{user}/s3-secret-key", "s3")
        # The one-shot that makes the storage's users needs all of them.
        for name in ("root-user", "root-password"):
            self._derive(f"minio-setup/{name}", self._vault.read(f"minio/{name}"))
        for user in S3_USERS:
            for name in ("access-key", "secret-key"):
                self._derive(f"minio-setup/{user}-{name}", self._vault.read(f"{user}/s3-{name}"))

    def _make_login(self) -> None:
        anew = self._wanted("login")
        if self._vault.has("nginx/htpasswd") and not anew:
            if not self._vault.read("nginx/htpasswd").strip():
                path = self._vault.path("nginx/htpasswd")
                raise ConfigurationError(f"{path} is empty, so nobody could log in; remove it, or `--rotate login`")
            return
        password = secrets.token_urlsafe(20)
        others = []
        if self._vault.has("nginx/htpasswd"):
            lines = self._vault.read("nginx/htpasswd").decode().splitlines()
            others = [line for line in lines if line and not line.startswith(f"{LOGIN_USER}:")]
        lines = [f"{LOGIN_USER}:{_hash(password.encode(), '2y')}", *others]
        self._vault.replace("nginx/htpasswd", "".join(f"{line}\n" for line in lines).encode())
        self._vault.replace("login.txt", f"user: {LOGIN_USER}\npassword: {password}\n".encode())

    def _make_grafana(self) -> None:
        self._password("grafana/admin-password", "login")
        # Grafana encrypts what it stores with this one; a new one would make that unreadable, so it is never rotated.
        self._password("grafana/secret-key", "")
        # oauth2-proxy takes 16, 24 or 32 bytes; the client's secret comes from the identity provider.
        self._password("oauth2-proxy/cookie-secret", "login", length=16)

    def _make_privacy(self) -> None:
        # Not with "all": what was stored under the old key could not be joined to what comes.
        self._password(_PRIVACY_KEY, "privacy", length=32)
        if not self._vault.has(_PRIVACY_RULES):
            self._vault.create(_PRIVACY_RULES, _NO_RULES.encode())
        # What a collector would not start with does not reach one.
        named = {
            "STREAMGAUGE_PRIVACY_KEY_FILE": str(self._vault.path(_PRIVACY_KEY)),
            "STREAMGAUGE_PRIVACY_POLICY": str(self._vault.path(_PRIVACY_RULES)),
        }
        Policy.of(load(("privacy",), named).section(PrivacySettings))

    def _password(self, name: str, part: str, *, prefix: str = "", length: int = 20) -> bytes:
        if not self._vault.has(name) or self._wanted(part):
            # Hexadecimal: safe in a command line, a header and a configuration file, whatever reads it.
            self._vault.replace(name, (prefix + secrets.token_hex(length)).encode())
        content = self._vault.read(name)
        if not content.strip():
            raise ConfigurationError(f"{self._vault.path(name)} is empty; remove it, and a new one is made")
        return content

    def _derive(self, name: str, content: bytes) -> None:
        """Write what follows from other secrets, if it is not so already."""
        if not self._vault.has(name) or self._vault.read(name) != content:
            self._vault.replace(name, content)

    def _wanted(self, part: str) -> bool:
        if self._rotate == "all":
            return part not in ("authority", "privacy", "")
        return self._rotate == part


def _names(*services: str) -> list[str]:
    names = [*services, *_LOOPBACK]
    for service in services:
        for domain in (_NAMESPACE, f"{_NAMESPACE}.svc", f"{_NAMESPACE}.svc.cluster.local"):
            names += [f"{service}.{domain}", f"*.{service}.{domain}"]
    return names


def _variable(user: str) -> str:
    return f"{user.upper()}_PASSWORD"


def _hash(password: bytes, prefix: str) -> str:
    # 2a, 2b and 2y are one algorithm; musl's crypt and NATS each know one of the names only.
    return f"${prefix}$" + bcrypt.hashpw(password, bcrypt.gensalt(_BCRYPT_ROUNDS)).decode().split("$", 2)[2]


def _hashes(known: str) -> dict[str, str]:
    pairs = [line.split(": ", 1) for line in known.splitlines() if ": " in line and not line.startswith("#")]
    return {name.removesuffix("_PASSWORD").lower(): value.strip('"') for name, value in pairs}
