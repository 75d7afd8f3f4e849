"""Single sign-on as shipped: the real oauth2-proxy behind the real nginx, with a provider of the tests.

`make test-docker`. No package has oauth2-proxy; `go install github.com/oauth2-proxy/oauth2-proxy/v7@latest` makes it.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import urllib3
import yaml

from streamgauge.embedded import free_ports
from tests.support import rendering, require
from tests.support.door import Answer, Door
from tests.support.identity_provider import CLIENT, IdentityProvider
from tests.support.recorder import Recorder, Upstream
from tests.support.waiting import eventually_sync

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.docker

_PAGE = {"Accept": "text/html,application/xhtml+xml"}
_SECRET = "the client's secret"
_ANNA = {"sub": "17", "email": "anna@example.org", "email_verified": True, "preferred_username": "anna"}


@dataclass
class SignOn:
    """A door with single sign-on, its provider, and what is behind the door."""

    door: Door
    provider: IdentityProvider
    recorder: Recorder
    cookies: dict[str, str] = field(default_factory=dict)

    def get(self, target: str, *, method: str = "GET", headers: dict[str, str] | None = None) -> Answer:
        """Send a browser's request with the cookies that were set."""
        jar = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())} if self.cookies else {}
        answer = self.door.get(target, method=method, headers=_PAGE | jar | (headers or {}))
        for name, value in answer.headers:
            if name.lower() == "set-cookie":
                cookie, _, content = value.partition(";")[0].partition("=")
                self.cookies[cookie] = content
        return answer

    def to_provider(self, target: str) -> str:
        """Ask for a page without a session; return where the provider's login is."""
        answer = self.get(target)
        assert answer.status == 302
        return answer.header("Location") or ""

    def from_provider(self, url: str) -> str:
        """Log in at the provider; return the target that it sends the browser back to."""
        answer = urllib3.request("GET", url, redirect=False)
        parts = urlsplit(answer.headers["Location"])
        assert f"{parts.scheme}://{parts.netloc}" == self.door.url
        return f"{parts.path}?{parts.query}"

    def sign_in(self, target: str) -> Answer:
        """Go the whole way; return the answer of the callback."""
        return self.get(self.from_provider(self.to_provider(target)))


def compose_options(address: str, issuer: str, door: str) -> tuple[list[str], dict[str, str]]:
    """Return oauth2-proxy's options of docker-compose.yml, the switches of .env filled in."""
    text = (rendering.ROOT / "docker-compose.yml").read_text()
    for switch, value in {
        "${OIDC_ISSUER:-}": issuer,
        "${OIDC_CLIENT_ID:-}": CLIENT,
        "${OIDC_SCOPE:-openid email profile groups}": "openid email profile groups",
        "https://${DOOR_NAME}:${DOOR_PORT}": door,
        "${NET_WEB}.10": "127.0.0.1",
        "0.0.0.0:4180": address,
    }.items():
        text = text.replace(switch, value)
    environment = yaml.safe_load(text)["services"]["oauth2-proxy"]["environment"]
    assert not [value for value in environment.values() if "${" in value]
    return [], environment


def cluster_options(address: str, issuer: str, door: str) -> tuple[list[str], dict[str, str]]:
    """Return oauth2-proxy's options of the component `oidc`."""
    nginx = next(one for one in rendering.workloads("base+oidc") if one.name == "nginx")
    proxy = nginx.container("oauth2-proxy")
    source = proxy["envFrom"][0]["configMapRef"]["name"]
    config = next(one for one in rendering.of_kind("base+oidc", "ConfigMap") if one["metadata"]["name"] == source)
    environment = config["data"] | {
        "OAUTH2_PROXY_OIDC_ISSUER_URL": issuer,
        "OAUTH2_PROXY_CLIENT_ID": CLIENT,
        "OAUTH2_PROXY_REDIRECT_URL": f"{door}/oauth2/callback",
    }
    return [text.replace("0.0.0.0:4180", address) for text in proxy["args"]], environment


@pytest.fixture(name="house", scope="module", params=[compose_options, cluster_options], ids=["compose", "cluster"])
def _house(request: pytest.FixtureRequest, keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SignOn]:
    program = require.program("oauth2-proxy")
    folder = tmp_path_factory.mktemp("oauth2-proxy")
    (folder / "client-secret").write_text(_SECRET)
    (folder / "cookie-secret").write_bytes((keys / "oauth2-proxy" / "cookie-secret").read_bytes())
    recorder = Recorder()
    address = f"127.0.0.1:{free_ports(1)[0]}"
    with IdentityProvider(_SECRET) as provider, Upstream("grafana", recorder) as grafana:
        upstreams = {"oauth2": f"http://{address}", "grafana": f"http://{grafana.address}"}
        with Door(keys / "nginx", upstreams, login="oidc") as door, (folder / "log").open("wb") as log:
            options, environment = request.param(address, provider.issuer, door.url)
            here = str(folder)
            process = subprocess.Popen(
                [program, *(text.replace("/run/secrets/oauth2-proxy", here) for text in options)],
                env={name: text.replace("/run/secrets/oauth2-proxy", here) for name, text in environment.items()}
                | {"PATH": os.environ["PATH"]},
                stdout=log,
                stderr=log,
            )
            try:
                eventually_sync(lambda: process.poll() is not None or _ready(address), within=20)
                assert process.poll() is None, (folder / "log").read_text()
                yield SignOn(door, provider, recorder)
            finally:
                process.terminate()
                process.wait(10)


def _ready(address: str) -> bool:
    try:
        return urllib3.PoolManager(retries=False).request("GET", f"http://{address}/ready").status == 200
    except urllib3.exceptions.HTTPError:
        return False


@pytest.fixture(name="browser")
def _browser(house: SignOn) -> SignOn:
    """Return a browser that was never here."""
    house.recorder.take()
    house.provider.person, house.provider.forged = dict(_ANNA), False
    return SignOn(house.door, house.provider, house.recorder)


def test_who_signs_in_comes_back_to_the_page_asked_for_and_is_named_there(browser: SignOn) -> None:
    back = browser.sign_in("/grafana/d/hops?from=now-1h&to=now&var-node=a%20b")
    assert (back.status, back.header("Location")) == (302, "/grafana/d/hops?from=now-1h&to=now&var-node=a%20b")
    assert browser.recorder.take() == []

    assert browser.get("/grafana/d/hops").status == 200
    (request,) = browser.recorder.take()
    assert request.header("X-WEBAUTH-USER") == ["anna"]
    assert request.header("X-WEBAUTH-ROLE") == ["Viewer"]
    assert request.header("Authorization") == []


@pytest.mark.parametrize(
    ("groups", "role"),
    [
        (["streamgauge-admins"], "Admin"),
        (["staff", "streamgauge-editors"], "Editor"),
        (["streamgauge-editors", "streamgauge-admins"], "Admin"),
        (["not-streamgauge-admins", "streamgauge-admins-2"], "Viewer"),
        # A group's name is whole, whatever is in it: whoever may name one at the provider gets no role by that.
        (["x,streamgauge-admins", "streamgauge-admins,x", ",streamgauge-editors,"], "Viewer"),
        (["x,streamgauge-admins", "streamgauge-editors"], "Editor"),
        (["streamgauge-admins streamgauge-editors", "streamgauge-admins ", "STREAMGAUGE-ADMINS"], "Viewer"),
        (["streamgauge-admins&allowed_groups=x", "allowed_groups=streamgauge-admins", "*"], "Viewer"),
        (["x\r\nX-Login-Role: Admin", "x\nX-Auth-Request-Groups: streamgauge-admins"], "Viewer"),
        ([], "Viewer"),
    ],
)
def test_groups_give_roles(browser: SignOn, groups: list[str], role: str) -> None:
    browser.provider.person["groups"] = groups
    browser.sign_in("/grafana/")
    browser.get("/grafana/")

    assert [request.header("X-WEBAUTH-ROLE") for request in browser.recorder.take()] == [[role]]


def test_a_name_is_not_a_role(browser: SignOn) -> None:
    """With passwords the user admin is Grafana's administrator; at a provider anybody may be called so."""
    browser.provider.person["preferred_username"] = "admin"
    browser.sign_in("/grafana/")
    browser.get("/grafana/")

    assert [request.header("X-WEBAUTH-ROLE") for request in browser.recorder.take()] == [["Viewer"]]


def test_a_header_of_the_browser_is_not_a_role(browser: SignOn) -> None:
    """Who is in may not make himself more than that."""
    browser.sign_in("/grafana/")
    forged = ("X-Login-Role", "X-WEBAUTH-ROLE", "X-Auth-Request-Groups")
    browser.get("/grafana/?allowed_groups=", headers=dict.fromkeys(forged, "Admin"))

    assert [request.header("X-WEBAUTH-ROLE") for request in browser.recorder.take()] == [["Viewer"]]


def test_the_provider_is_asked_with_a_challenge_a_nonce_and_for_groups(browser: SignOn) -> None:
    browser.provider.asked.clear()
    browser.sign_in("/grafana/")
    (asked,) = browser.provider.asked

    assert asked["code_challenge_method"] == "S256"
    assert asked["nonce"]
    assert "groups" in asked["scope"].split()
    assert asked["redirect_uri"] == f"{browser.door.url}/oauth2/callback"


def test_a_program_gets_401_and_a_page_the_login(browser: SignOn) -> None:
    for target in ("/grafana/api/health", "/", "/prometheus/api/v1/query?query=up"):
        assert browser.get(target, headers={"Accept": "application/json"}).status == 401
        assert browser.get(target).status == 302
    assert browser.recorder.take() == []


@pytest.mark.parametrize(
    "target",
    ["/grafana/?rd=https://evil.example/", "//evil.example/", "/\\evil.example", "/grafana/?rd=//evil.example"],
)
def test_nobody_is_led_elsewhere(browser: SignOn, target: str) -> None:
    location = urlsplit(browser.sign_in(target).header("Location") or "")

    assert location.netloc in {"", f"localhost:{browser.door.https}"}
    assert not location.path.startswith(("//", "/\\"))


@pytest.mark.parametrize(
    "headers",
    [
        {"Cookie": "_oauth2_proxy=1"},
        {"Authorization": "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0."},
        {"X-Forwarded-User": "admin", "X-Auth-Request-User": "admin", "X-Auth-Request-Preferred-Username": "admin"},
        {"X-Forwarded-Host": "evil.example", "X-Forwarded-Uri": "/oauth2/callback"},
        {"X-Login-User": "admin", "X-Login-Role": "Admin"},
        {"X-Auth-Request-Redirect": "https://evil.example/"},
    ],
    ids=lambda headers: next(iter(headers)),
)
def test_headers_open_nothing(browser: SignOn, headers: dict[str, str]) -> None:
    answer = browser.get("/grafana/", headers=headers)

    assert answer.status == 302
    assert (answer.header("Location") or "").startswith(browser.provider.issuer)
    assert "evil" not in str(answer.headers)
    assert browser.recorder.take() == []


def test_a_session_that_was_changed_is_none(browser: SignOn) -> None:
    browser.sign_in("/grafana/")
    whole = browser.cookies["_oauth2_proxy"]
    for place in (0, len(whole) // 2, len(whole) - 2):
        changed = whole[:place] + ("A" if whole[place] != "A" else "B") + whole[place + 1 :]
        browser.cookies = {"_oauth2_proxy": changed}
        assert browser.get("/grafana/").status == 302
    assert browser.recorder.take() == []


def test_another_browsers_callback_signs_nobody_in(browser: SignOn) -> None:
    """Who is sent a link with somebody else's code (login CSRF) lacks the cookie that belongs to it."""
    callback = browser.from_provider(browser.to_provider("/grafana/"))
    victim = SignOn(browser.door, browser.provider, browser.recorder)

    assert victim.get(callback).status == 403
    assert "_oauth2_proxy" not in victim.cookies


def test_a_state_that_was_made_up_signs_nobody_in(browser: SignOn) -> None:
    query = parse_qs(urlsplit(browser.from_provider(browser.to_provider("/grafana/"))).query)
    made_up = urlencode({"code": query["code"][0], "state": "0" * 43 + ":https://evil.example/"})
    answer = browser.get(f"/oauth2/callback?{made_up}")

    assert answer.status == 403
    assert browser.get("/grafana/").status == 302


@pytest.mark.parametrize(
    "claims", [{"nonce": "another"}, {"aud": "another"}, {"iss": "http://evil.example"}, {"exp": 1}]
)
def test_a_token_for_somebody_else_is_refused(browser: SignOn, claims: dict[str, object]) -> None:
    browser.provider.person |= claims

    assert browser.sign_in("/grafana/").status >= 400
    assert browser.get("/grafana/").status == 302
    assert browser.recorder.take() == []


def test_a_token_with_a_forged_signature_is_refused(browser: SignOn) -> None:
    browser.provider.forged = True

    assert browser.sign_in("/grafana/").status >= 400
    assert browser.get("/grafana/").status == 302


def test_who_signs_out_is_out(browser: SignOn) -> None:
    browser.sign_in("/grafana/")
    assert browser.get("/grafana/").status == 200
    assert browser.get("/oauth2/sign_out").status == 302

    assert browser.get("/grafana/").status == 302


def test_the_check_itself_answers_nobody(browser: SignOn) -> None:
    browser.sign_in("/grafana/")

    assert browser.get("/oauth2/auth").status in (403, 404)


def test_the_cookie_is_for_this_door_over_tls_and_not_for_scripts(browser: SignOn) -> None:
    back = browser.sign_in("/grafana/")
    (session,) = [value for name, value in back.headers if name.lower() == "set-cookie" and "_oauth2_proxy=" in value]

    assert {"Secure", "HttpOnly", "SameSite=Lax"} <= {part.strip() for part in session.split(";")}
    assert len(session) < 4096
