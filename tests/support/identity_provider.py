"""A small OpenID Connect provider on loopback: discovery, authorization code with PKCE, signed identity tokens.

It asks nobody for a password: whoever comes is ``person``, a dictionary of claims that a test sets.
"""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import secrets
import threading
import time
from typing import Final, Self
from urllib.parse import parse_qs, unquote_plus, urlencode, urlsplit

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

CLIENT: Final = "streamgauge"


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class IdentityProvider:
    """The provider; ``person`` are the claims of whoever signs in next."""

    def __init__(self, client_secret: str) -> None:
        self.client_secret = client_secret
        self.person: dict[str, object] = {}
        #: Tokens are signed with a key that was not published: a forger's.
        self.forged = False
        #: Queries of the authorization endpoint, as they came.
        self.asked: list[dict[str, str]] = []
        self._key = rsa.generate_private_key(65537, 2048)
        self._codes: dict[str, dict[str, str]] = {}
        provider = self

        class Handler(_Handler):
            owner = provider

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.issuer = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def discovery(self) -> dict[str, object]:
        """Return the provider's description of itself."""
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "code_challenge_methods_supported": ["S256"],
        }

    def keys(self) -> dict[str, object]:
        """Return the public key as a set of JSON web keys."""
        numbers = self._key.public_key().public_numbers()
        modulus, exponent = numbers.n.to_bytes(256, "big"), numbers.e.to_bytes(3, "big")
        key = {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "1", "n": _text(modulus), "e": _text(exponent)}
        return {"keys": [key]}

    def authorize(self, query: dict[str, str]) -> str:
        """Return where the browser goes from the authorization endpoint: back, with a code."""
        self.asked.append(query)
        code = secrets.token_urlsafe()
        self._codes[code] = query
        return f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state']})}"

    def token(self, form: dict[str, str]) -> dict[str, object] | None:
        """Return the tokens for a code, once; None where the client, its secret or its verifier are wrong."""
        query = self._codes.pop(form.get("code", ""), None)
        challenge = _text(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        right = form.get("client_id") == CLIENT and form.get("client_secret") == self.client_secret
        if query is None or not right or challenge != query.get("code_challenge"):
            return None
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 600, "nonce": query.get("nonce")}
        return {
            "access_token": secrets.token_urlsafe(),
            "token_type": "Bearer",
            "expires_in": 600,
            "id_token": self._signed(claims | self.person),
        }

    def _signed(self, claims: dict[str, object]) -> str:
        head = _text(json.dumps({"alg": "RS256", "kid": "1", "typ": "JWT"}).encode())
        signed = f"{head}.{_text(json.dumps(claims).encode())}"
        key = rsa.generate_private_key(65537, 2048) if self.forged else self._key
        return f"{signed}.{_text(key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


class _Handler(http.server.BaseHTTPRequestHandler):
    owner: IdentityProvider

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.path == "/.well-known/openid-configuration":
            self._answer(200, self.owner.discovery())
        elif parts.path == "/keys":
            self._answer(200, self.owner.keys())
        elif parts.path == "/authorize":
            self.send_response(302)
            self.send_header("Location", self.owner.authorize(_fields(parts.query)))
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self._answer(404, {})

    def do_POST(self) -> None:
        form = _fields(self.rfile.read(int(self.headers["Content-Length"])).decode())
        if self.headers["Authorization"]:
            name, _, secret = base64.b64decode(self.headers["Authorization"].split()[1]).decode().partition(":")
            # Both are encoded as in a form (RFC 6749, 2.3.1).
            form |= {"client_id": unquote_plus(name), "client_secret": unquote_plus(secret)}
        tokens = self.owner.token(form)
        self._answer(*((200, tokens) if tokens else (400, {"error": "invalid_grant"})))

    def _answer(self, status: int, content: dict[str, object]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


def _fields(text: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(text).items()}
