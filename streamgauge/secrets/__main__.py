"""The command behind `make secrets`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from streamgauge.errors import StreamgaugeError
from streamgauge.secrets.authority import Pair
from streamgauge.secrets.generate import LOGIN_USER, PARTS, Generator
from streamgauge.secrets.vault import Vault

_EXAMPLE = """\
example:
  python -m streamgauge.secrets --host monitor.example.org
  python -m streamgauge.secrets --rotate login
"""


def main(arguments: list[str] | None = None) -> int:
    """Make what is missing; return the exit status."""
    options = _parser().parse_args(arguments)
    vault = Vault(options.folder)
    try:
        generator = Generator(vault, hosts=options.host, nats_users=options.nats_user, rotate=options.rotate)
        generator.run()
        if options.certificate or options.key:
            generator.use_certificate(_own(options.certificate, options.key))
        warnings = generator.warnings()
    except StreamgaugeError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    _report(vault, warnings)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m streamgauge.secrets",
        description="Make the certificates, passwords and keys of an installation; what is there is kept.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--folder", type=Path, default=Path("secrets"), help="where they are (default: %(default)s)")
    parser.add_argument(
        "--host", action="append", default=[], metavar="NAME", help="a name of the door besides localhost"
    )
    parser.add_argument(
        "--nats-user", action="append", default=[], metavar="NAME", help="a user of NATS besides the shipped ones"
    )
    parser.add_argument(
        "--rotate", choices=PARTS, help="make these anew; all: everything but the authority and the key of privacy"
    )
    parser.add_argument("--certificate", type=Path, metavar="FILE", help="your own certificate (chain) for the door")
    parser.add_argument("--key", type=Path, metavar="FILE", help="its private key")
    return parser


def _own(certificate: Path | None, key: Path | None) -> Pair:
    from streamgauge.errors import ConfigurationError

    if certificate is None or key is None:
        raise ConfigurationError("--certificate and --key belong together")
    try:
        return Pair(certificate.read_bytes(), key.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"{error.filename} cannot be read: {error.strerror}") from error


def _report(vault: Vault, warnings: list[str]) -> None:
    """Say what was done and where the login is; never what it is."""
    lines = [f"created {len(vault.created)}, replaced {len(vault.replaced)} files in {vault.root}/ (mode 0600)"]
    if vault.repaired:
        lines.append(f"took other users' rights away from: {', '.join(vault.repaired)}")
    if vault.replaced:
        lines.append("services read keys at start: `docker compose up --detach --force-recreate`, or `make deploy`")
    lines.append(f"login: user {LOGIN_USER}, password in {vault.path('login.txt')}")
    lines.append(f"for browsers: trust the authority {vault.path('authority/ca.crt')}")
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    for warning in warnings:
        sys.stderr.write(f"warning: {warning}\n")


if __name__ == "__main__":
    sys.exit(main())
