"""The installation's own certificate authority, and the certificates it signs."""

from __future__ import annotations

import datetime as dt
import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from streamgauge.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

_AUTHORITY_DAYS: Final = 3650
#: Browsers take no longer ones.
_CERTIFICATE_DAYS: Final = 397
#: From when on a run says that a certificate is about to expire.
_WARNING_DAYS: Final = 30
#: A clock may be behind ours.
_BACKDATED: Final = dt.timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key, as PEM."""

    certificate: bytes
    key: bytes


def make_authority() -> Pair:
    """Return a new authority; it may sign servers' certificates, and no further authorities."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "streamgauge authority")])
    builder = (
        _builder(name, name, key.public_key(), _AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return _pair(builder.sign(key, hashes.SHA256()), key)


def make_certificate(authority: Pair, names: Sequence[str], *, peer: bool = False) -> Pair:
    """Return a certificate for a server that is reached under ``names`` (host names, ``*.`` names, addresses).

    A ``peer`` shows it to others of its kind as well: the servers of a NATS cluster are each other's clients.
    """
    issuer, issuer_key = _load(authority)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    uses = [ExtendedKeyUsageOID.SERVER_AUTH, *([ExtendedKeyUsageOID.CLIENT_AUTH] if peer else [])]
    builder = (
        _builder(subject, issuer.subject, key.public_key(), _CERTIFICATE_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    return _pair(builder.sign(issuer_key, hashes.SHA256()), key)


def days_left(certificate: bytes) -> int:
    """Return how many days a certificate is still good for; negative when it is over."""
    loaded = x509.load_pem_x509_certificate(certificate)
    return (loaded.not_valid_after_utc - dt.datetime.now(dt.UTC)).days


def expires_soon(certificate: bytes) -> bool:
    """Return whether it is time for a new one."""
    return days_left(certificate) < _WARNING_DAYS


def names_of(certificate: bytes) -> list[str]:
    """Return the names a certificate is for."""
    loaded = x509.load_pem_x509_certificate(certificate)
    extension = loaded.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return [str(name.value) for name in extension.value]


def signed_by(certificate: bytes, authority: bytes) -> bool:
    """Return whether the authority has signed the certificate."""
    try:
        x509.load_pem_x509_certificate(certificate).verify_directly_issued_by(x509.load_pem_x509_certificate(authority))
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def check_pair(pair: Pair) -> None:
    """See that a certificate given by the user and its key belong together.

    Raises:
        ConfigurationError: they do not, or one cannot be read.

    """
    try:
        certificate = x509.load_pem_x509_certificate(pair.certificate)
        key = serialization.load_pem_private_key(pair.key, password=None)
    except (ValueError, TypeError) as error:
        raise ConfigurationError("the certificate or its key is no PEM file without a passphrase") from error
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if certificate.public_key().public_bytes(*form) != key.public_key().public_bytes(*form):
        raise ConfigurationError("the certificate and the key do not belong together")


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + dt.timedelta(days=days))
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    try:
        return x509.DNSName(name)
    except ValueError as error:
        raise ConfigurationError(f"{name!r} is no host name or address") from error


def _load(authority: Pair) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    try:
        certificate = x509.load_pem_x509_certificate(authority.certificate)
        key = serialization.load_pem_private_key(authority.key, password=None)
    except (ValueError, TypeError) as error:
        raise ConfigurationError("the authority's certificate or key is damaged; see `--rotate authority`") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ConfigurationError("the authority's key is not one of ours (elliptic curve)")
    return certificate, key


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
    return Pair(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )
