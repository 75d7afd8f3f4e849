"""Guessing passwords is slow; working with the right one is not."""

from __future__ import annotations

import threading
import time

import pytest

from tests.deploy.nginx.conftest import House, basic


def test_guesses_are_checked_no_more_after_ten(house: House) -> None:
    """Past the limit not even the right guess is told from a wrong one."""
    statuses = [house.door.get("/", login=basic("admin", f"{n}"), source="127.3.0.1").status for n in range(15)]
    # The right login in another spelling, which the memory of right logins does not know.
    right = "basic " + house.login.partition(" ")[2]

    assert statuses[:10] == [401] * 10
    assert set(statuses[10:]) == {429}
    assert house.door.get("/", login=right, source="127.3.0.1").status == 429
    assert house.recorder.take() == []


def test_many_names_from_one_client_are_limited_too(house: House) -> None:
    statuses = [house.door.get("/", login=basic(f"user{n}", "x"), source="127.3.1.1").status for n in range(40)]

    assert statuses[:30] == [401] * 30
    assert 429 in statuses[30:]


def test_who_is_in_stays_in_while_another_guesses(house: House) -> None:
    assert house.door.get("/", login=house.login, source="127.3.2.1").status == 200
    for number in range(20):
        house.door.get("/", login=basic("admin", f"{number}"), source="127.3.2.1")

    assert house.door.get("/", login=house.login, source="127.3.2.1").status == 200


def test_requests_with_the_right_login_are_not_limited(house: House) -> None:
    statuses = {house.door.get("/grafana/", login=house.login, source="127.3.3.1").status for _ in range(200)}

    assert statuses == {200}


def test_a_browser_without_a_login_yet_is_asked_not_limited(house: House) -> None:
    answers = [house.door.get("/", source="127.3.4.1") for _ in range(60)]

    assert {answer.status for answer in answers} == {401}
    assert answers[0].header("WWW-Authenticate") == 'Basic realm="streamgauge"'


def test_strangers_do_not_keep_each_other_waiting(house: House) -> None:
    """nginx lets requests of the same kind wait for the first in steps of half a second; these must not."""

    def slowest_of_many() -> float:
        seconds: list[float] = []

        def ask(source: str) -> None:
            begin = time.monotonic()
            assert house.door.get("/", source=source).status == 401
            seconds.append(time.monotonic() - begin)

        threads = [threading.Thread(target=ask, args=(f"127.3.5.{number}",)) for number in range(1, 21)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(seconds) == len(threads)
        return max(seconds)

    # The best of three: the machine may be busy.
    assert min(slowest_of_many() for _ in range(3)) < 0.45


@pytest.mark.parametrize("path", ["/_login", "/_login/", "/_login?x=1", "/x/../_login"])
def test_the_check_itself_cannot_be_asked(house: House, path: str) -> None:
    assert house.door.get(path, login=house.login).status in (404, 200)
    # Anything but the exact name is a path like others; the exact name is not there for clients.
    assert all(one.upstream == "exporter" for one in house.recorder.take())
