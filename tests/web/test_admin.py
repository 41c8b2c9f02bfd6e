"""The admin token: where it comes from, who may try it, and what it never does."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from pkgcache.engine.responses.messages import Request
from pkgcache.engine.service import Service
from pkgcache.rules.routing.urls import parse_url
from pkgcache.settings import SettingError, make_settings
from pkgcache.web.admin import HEADER, MOST_BODY, Admin, ChangeError, read_token
from pkgcache.web.attempts import MOST_CLIENTS, MOST_WRONG, WINDOW_SECONDS, Attempts

TOKEN = "correct-horse-battery"
URL = "http://127.0.0.1:8080/admin"


class Options:
    """Takes what is changed."""

    def __init__(self) -> None:
        self.set: list[object] = []

    def set_offline(self, *, on: bool) -> str:
        self.set.append(on)
        return f"offline {on}"

    def reload(self) -> str:
        raise ChangeError("config.yaml: pypi_cache_cooldown='soon': expected a time")


class Scene:
    """An `Admin` whose clock stands still."""

    def __init__(self, folder: Path, **options: str) -> None:
        given = {f"pypi_cache_{name}": value for name, value in options.items()}
        self.service = Service(make_settings({"pypi_cache_dir": str(folder), "pypi_cache_admin_token": TOKEN, **given}))
        self.now = 100.0
        self.options = Options()
        self.admin = Admin(self.service, self.options, lambda: self.now)

    async def asks(
        self,
        what: object = None,
        *,
        token: str | None = TOKEN,
        client: str = "192.0.2.1",
        body: bytes | None = None,
        **headers: str,
    ) -> tuple[int, str]:
        """The status and what is said."""
        fields = {"Host": "127.0.0.1:8080", "Content-Type": "application/json"}
        fields |= {name.replace("_", "-"): value for name, value in headers.items()}
        fields |= {HEADER: token} if token is not None else {}
        request = Request(
            method="POST", url=parse_url(URL), headers=CIMultiDictProxy(CIMultiDict(fields)), client=client
        )
        sent = json.dumps(what or {"action": "check"}).encode() if body is None else body
        done, refused = await self.admin.change(request, sent)
        return (refused.status, bytes(refused.body).decode()) if refused else (200, done)  # type: ignore[arg-type]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


async def test_the_right_token(scene: Scene) -> None:
    assert await scene.asks() == (200, "the token is right")
    assert await scene.asks({"action": "offline", "on": True}) == (200, "offline True")
    assert scene.options.set == [True]
    status, text = await scene.asks({"action": "reload"})
    assert (status, "expected a time" in text) == (409, True)


@pytest.mark.parametrize(
    "token",
    [None, "", " ", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), f" {TOKEN}", f"{TOKEN}\0", TOKEN + TOKEN, "x" * 100_000, "caf\xe9" * 5,
     f"Bearer {TOKEN}", f'"{TOKEN}"', "\ud800" * 16],
)  # fmt: skip
async def test_a_wrong_token(scene: Scene, token: str | None, caplog: pytest.LogCaptureFixture) -> None:
    """It opens nothing, changes nothing, and is not repeated in any text."""
    caplog.set_level(logging.INFO)
    status, text = await scene.asks({"action": "offline", "on": True}, token=token)
    assert status == 403
    assert scene.options.set == []
    assert TOKEN not in text + caplog.text
    assert "192.0.2.1 gave a wrong admin token" in caplog.text


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content_Type": "text/plain"}, 415),  # what a form or a simple request of another site can send (CORS)
        ({"Content_Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content_Type": "multipart/form-data; boundary=x"}, 415),
        ({"Content_Type": ""}, 415),
        ({"Content_Type": "text/plain; application/json"}, 415),
        ({"Content_Type": "application/jsonp"}, 415),
        ({"Content_Type": "Application/JSON; charset=utf-8"}, 200),
        ({"Origin": "http://evil.test"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Host": "evil.test"}, 403),
        ({"Host": ""}, 403),
        ({"Origin": "http://127.0.0.1:8080", "Sec_Fetch_Site": "same-origin"}, 200),
    ],
)
async def test_what_another_site_could_send(scene: Scene, headers: dict[str, str], status: int) -> None:
    """Refused with the right token too; and no such request counts as an attempt, or any page could lock the operator out."""
    for _ in range(MOST_WRONG + 1):
        found, _ = await scene.asks(
            {"action": "offline", "on": True}, token="wrong" if status != 200 else TOKEN, **headers
        )
        assert found == status
    assert bool(scene.options.set) == (status == 200)
    assert (await scene.asks())[0] == 200


@pytest.mark.parametrize("name", ["Host", "Origin", "Sec-Fetch-Site", "Content-Type", HEADER])
@pytest.mark.parametrize("first", [True, False])
async def test_two_of_a_header(scene: Scene, name: str, first: bool) -> None:
    """RFC 9110 §5.3. Only the first Origin was looked at."""
    fields = {"Host": "127.0.0.1", "Origin": "http://127.0.0.1", "Sec-Fetch-Site": "same-origin"}
    headers = CIMultiDict({**fields, "Content-Type": "application/json", HEADER: TOKEN})
    foreign = [(name, "http://evil.test")]
    both = CIMultiDict([*foreign, *headers.items()] if first else [*headers.items(), *foreign])
    request = Request(method="POST", url=parse_url(URL), headers=CIMultiDictProxy(both), client="192.0.2.1")
    _, refused = await scene.admin.change(request, b'{"action": "check"}')
    assert refused is not None
    assert refused.status == 400


@pytest.mark.parametrize(("size", "status"), [(MOST_BODY, 400), (MOST_BODY + 1, 413)])
async def test_a_large_body(scene: Scene, size: int, status: int) -> None:
    assert (await scene.asks(body=b"[" * size))[0] == status


async def test_wrong_tokens_are_counted_by_client(scene: Scene) -> None:
    for _ in range(MOST_WRONG):
        assert (await scene.asks(token="wrong"))[0] == 403
    status, text = await scene.asks()
    assert (status, "wait 60 s" in text) == (429, True), (
        "the right one is not looked at either, or guessing would go on"
    )
    assert (await scene.asks(client="192.0.2.2"))[0] == 200
    scene.now += WINDOW_SECONDS
    assert (await scene.asks())[0] == 200


async def test_the_right_token_is_never_counted(scene: Scene) -> None:
    for _ in range(3 * MOST_WRONG):
        assert (await scene.asks())[0] == 200


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:2", True),  # one machine has a whole /64
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("not an address", "not an address", True),
    ],
)
def test_who_counts_as_one_client(first: str, second: str, same: bool) -> None:
    attempts = Attempts()
    for _ in range(MOST_WRONG):
        attempts.failed(first, 1.0)
    assert bool(attempts.wait(second, 2.0)) is same


def test_attempts_stay_few() -> None:
    attempts = Attempts()
    for number in range(3 * MOST_CLIENTS):
        attempts.failed(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 1.0)
    for _ in range(100):
        attempts.failed("192.0.2.1", 1.0)
    assert len(attempts._wrong) == MOST_CLIENTS
    assert max(map(len, attempts._wrong.values())) == MOST_WRONG


@pytest.mark.parametrize(
    ("source", "content", "expected"),
    [
        ("", None, ""),
        (TOKEN, None, TOKEN),
        ("@{}", f"{TOKEN}\n", TOKEN),
        ("@{}", f"  {TOKEN}  ", TOKEN),
        ("env:THE_TOKEN", f"{TOKEN}\n", TOKEN),
        ("@{}", "", None),
        ("@{}", "short\n", None),
        ("@{}", f"{TOKEN}\n{TOKEN}\n", None),
        ("@{}", "with a space in it, sixteen", None),
        ("@{}", "x" * 5000, None),
        ("@{}", None, None),
        ("env:THE_TOKEN", "", None),
        ("env:THE_TOKEN", "short", None),
        ("env:ANOTHER_TOKEN", None, None),
    ],
)
def test_where_the_token_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, content: str | None, expected: str | None
) -> None:
    """A file's line or a variable's value does not show in `ps`; what is wrong is told without it."""
    path = tmp_path / "token"
    if content is not None:
        path.write_text(content)
        monkeypatch.setenv("THE_TOKEN", content)
    source = source.format(path)
    if expected is not None:
        assert read_token(source) == expected
        return
    with pytest.raises(SettingError) as failure:
        read_token(source)
    assert str(failure.value).startswith(f"pypi_cache_admin_token={source}: expected")
    assert content is None or len(content) < 4 or content.strip() not in str(failure.value)


@pytest.mark.parametrize(
    "value", ["short", "with a space in it, sixteen", "@", "env:", "env:1x", "env:A-B", "x" * 257, "caf\xe9" * 8]
)
def test_a_wrong_option_is_not_repeated(value: str) -> None:
    with pytest.raises(SettingError) as failure:
        make_settings({"pypi_cache_admin_token": value})
    assert str(failure.value) == (
        "pypi_cache_admin_token='***': expected @FILE, env:NAME, or a token of 16 to 256 characters without spaces"
    )


async def test_a_token_file_may_be_replaced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "token"
    path.write_text(TOKEN)
    scene = Scene(tmp_path / "store", admin_token=f"@{path}")
    assert (await scene.asks())[0] == 200
    path.write_text("another-horse-battery")
    assert (await scene.asks())[0] == 403
    assert (await scene.asks(token="another-horse-battery"))[0] == 200
    path.unlink()
    assert (await scene.asks())[0] == 503
    assert "No such file" in caplog.text


def test_settings_do_not_show_it() -> None:
    assert TOKEN not in repr(make_settings({"pypi_cache_admin_token": TOKEN}))


async def test_without_the_option_there_is_no_token(tmp_path: Path) -> None:
    """Not the empty one either."""
    scene = Scene(tmp_path, admin_token="")
    assert not scene.admin.is_open
    arguments: list[dict[str, Any]] = [{"token": ""}, {"token": None}, {"token": "x" * 16}]
    for each in arguments:
        assert (await scene.asks(**each))[0] == 403
