"""The table of options: what each takes, what it makes of it, and the one line that refuses the rest.

A wrong value is named with its option and with what would be right; credentials in it are not repeated.
"""

import dataclasses
import re
from collections.abc import Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final

import pytest

from pkgcache import option_values
from pkgcache.settings import OPTIONS, PREFIX, IndexSetting, Option, SettingError, Settings, make_settings
from pkgcache.units import parse_duration, redact, shown_duration

K, M, G, T = 1 << 10, 1 << 20, 1 << 30, 1 << 40
MINUTE, HOUR, DAY, WEEK = 60, 3600, 86400, 604800

SIZES: Final[list[tuple[Any, Any]]] = [
    ("0", 0), ("1", 1), ("64k", 64 * K), ("512m", 512 * M), ("10g", 10 * G), ("1t", T), ("10G", 10 * G), ("10gb", 10 * G),
    ("10GiB", 10 * G), ("1.5g", 3 * G // 2), (" 10g ", 10 * G), ("10 g", 10 * G), (["10g"], 10 * G), (10, 10),
]  # fmt: skip
DURATIONS: Final[list[tuple[Any, Any]]] = [
    ("0", 0), ("30", 30), ("30s", 30), ("10m", 10 * MINUTE), ("12h", 12 * HOUR), ("30d", 30 * DAY), ("2w", 2 * WEEK),
    ("1.5h", 90 * MINUTE), ("10M", 10 * MINUTE), (" 10m ", 10 * MINUTE), (["10m"], 10 * MINUTE),
]  # fmt: skip
HOSTS: Final[list[tuple[Any, Any]]] = [
    ((), ()),
    (["files.example"], ("files.example",)),
    (["Files.Example:8443"], ("files.example:8443",)),
    (["a.example b.example,c.example"], ("a.example", "b.example", "c.example")),
    (["a.example", "b.example:1"], ("a.example", "b.example:1")),
    (["[::1]:8080", "192.0.2.1"], ("[::1]:8080", "192.0.2.1")),
    ("one.example", ("one.example",)),
]
GOOD: Final[dict[str, list[tuple[Any, Any]]]] = {
    "dir": [("/var/cache/p", Path("/var/cache/p")), ("~/p", Path.home() / "p"), ("", option_values.default_directory())],
    "max_size": SIZES,
    "memory": SIZES,
    "known_heads": SIZES,
    "inactive": DURATIONS,
    "min_free": SIZES,
    "index": [
        ((), ()),
        (["torch=https://wheels.example/whl"], (IndexSetting(name="torch", urls=("https://wheels.example/whl",)),)),
        (["Torch=http://a.example/  https://b.example"], (IndexSetting(name="torch", urls=("http://a.example/", "https://b.example")),)),
        (["a=https://a.example/?x=1", "b.c-d_e=https://b.example"], (
            IndexSetting(name="a", urls=("https://a.example/?x=1",)), IndexSetting(name="b.c-d_e", urls=("https://b.example",)))),
        ("pypi=https://m.example/simple/", (IndexSetting(name="pypi", urls=("https://m.example/simple/",)),)),
        (["private=https://me:secret@p.example/simple"], (IndexSetting(name="private", urls=("https://me:secret@p.example/simple",)),)),
    ],
    "file_hosts": HOSTS,
    "local_hosts": HOSTS,
    "proxy_protocol": [
        ((), ()),
        (["10.0.0.0/8"], (ip_network("10.0.0.0/8"),)),
        (["10.0.0.5"], (ip_network("10.0.0.5/32"),)),
        ("10.0.0.5,  192.168.0.0/255.255.0.0", (ip_network("10.0.0.5"), ip_network("192.168.0.0/16"))),
        (["::1", "2001:db8::/32"], (ip_network("::1/128"), ip_network("2001:db8::/32"))),
        (["0.0.0.0/0 ::/0"], (ip_network("0.0.0.0/0"), ip_network("::/0"))),
    ],
    "public_url": [
        ("", ""),
        ("http://proxy.example:8080", "http://proxy.example:8080"),
        ("https://proxy.example/", "https://proxy.example"),
        ("http://[2001:db8::1]:8080", "http://[2001:db8::1]:8080"),
        ("https://tools.example/pypi-cache", "https://tools.example/pypi-cache"),
        ("https://tools.example:8443/a/b.c/_d~/", "https://tools.example:8443/a/b.c/_d~"),
    ],
    "index_ttl": [("", None), (" ", None), ("0", 0), ("10m", 10 * MINUTE)],
    "stale_while_revalidate": DURATIONS,
    "stale_if_error": DURATIONS,
    "negative_ttl": DURATIONS,
    "allow": [((), ()), (["six", "flask*"], ("six", "flask*")), ("six", ("six",))],
    "deny": [((), ()), (["evil-*"], ("evil-*",))],
    "private": [((), ()), (["acme-*=corp"], ("acme-*=corp",))],
    "cooldown": DURATIONS,
    "cooldown_except": [((), ()), (["acme-*", "*=corp"], ("acme-*", "*=corp")), ("six", ("six",))],
    "deny_status": [
        ((), ()), ("archived", ("archived",)), (["archived, deprecated", "archived"], ("archived", "deprecated")),
    ],
    "advisories": [
        ("", ""), (" ", ""), ("/srv/osv", "/srv/osv"), (["all.zip"], "all.zip"), ("~/osv", str(Path("~/osv").expanduser())),
        ("https://osv.example/all.zip", "https://osv.example/all.zip"), ("HTTP://osv.example", "HTTP://osv.example"),
        ("https://u:p@osv.example:8443/x?y=1", "https://u:p@osv.example:8443/x?y=1"),
    ],
    "advisories_block": [("malicious", "malicious"), ("all", "all"), ("none", "none"), (["all"], "all")],
    "advisories_yank": [(True, True), ("false", False), (["true"], True)],
    "advisories_refresh": [("1h", 3600.0), ("1", 1.0), ("30s", 30.0), ("1d", 86400.0)],
    "shared": [
        ("", ""), ("s3://bucket", "s3://bucket"), ("s3://bucket/a/b/", "s3://bucket/a/b"), ("gs://bucket/p", "gs://bucket/p"),
        ("az://container/p", "az://container/p"), ("file:///srv/tier", "file:///srv/tier"), (["s3://bucket"], "s3://bucket"),
    ],
    "shared_wait": DURATIONS,
    "shared_follow": DURATIONS,
    "shared_private": [(False, False), ("true", True), (["false"], False)],
    "offline": [(True, True), (False, False), ("true", True), ("false", False), (["true"], True), (["false"], False)],
    "finish_abandoned": SIZES,
    "other_hosts": [("tunnel", "tunnel"), ("intercept", "intercept"), ("deny", "deny"), (["deny"], "deny")],
    "access_log": [("-", "-"), ("", ""), ("/var/log/p.log", "/var/log/p.log")],
    "admin_token": [
        ("", ""),
        ("@/etc/pypi-cache/token", "@/etc/pypi-cache/token"),
        (" env:ADMIN_TOKEN ", "env:ADMIN_TOKEN"),
        ("correct-horse-battery", "correct-horse-battery"),
    ],
    "ready_needs_store": [(False, False), ("true", True), (["false"], False)],
    "stop_wait": DURATIONS,
    "flows": [("auto", "auto"), ("always", "always"), ("never", "never")],
}  # fmt: skip

WRONG_SIZES: Final = ["", "ten", "10x", "-1", "1e9", "10 g b", "0x10", "∞", ["1g", "2g"], True, None]
WRONG_DURATIONS: Final = ["ten", "10y", "-1", "1h30m", "10 minutes", "1:30", ["1m", "2m"], True]
WRONG_HOSTS: Final = [
    ["https://files.example"],
    ["files.example/path"],
    ["files.example:"],
    ["a b:c"],
    ["user@files.example"],
    7,
]
WRONG: Final[dict[str, list[Any]]] = {
    "dir": [["a", "b"], True],
    "max_size": WRONG_SIZES,
    "memory": WRONG_SIZES,
    "known_heads": WRONG_SIZES,
    "inactive": ["", *WRONG_DURATIONS],
    "min_free": WRONG_SIZES,
    "index": [
        ["torch"], ["=https://wheels.example"], ["torch="], ["torch=wheels.example"], ["torch=ftp://wheels.example"],
        ["torch=https://"], ["torch=https:///path"], ["a b=https://wheels.example"], ["../x=https://wheels.example"],
        ["torch=https://wheels.example not-a-url"], ["torch=https://a.example", "TORCH=https://b.example"],
        ["healthz=https://wheels.example"], ["stats=https://wheels.example"], 7, [7],
    ],
    "file_hosts": WRONG_HOSTS,
    "local_hosts": WRONG_HOSTS,
    "proxy_protocol": [
        ["10.0.0.5/8"], ["10.0.0"], ["balancer.example"], ["10.0.0.5:8080"], ["10.0.0.0/33"], ["010.0.0.5"],
        ["true"], ["fe80::1%eth0/64"], True, [7],
    ],
    "public_url": [
        "proxy.example", "http://proxy.example//x", "http://proxy.example/a/../b", "http://proxy.example/.", "http://proxy.example/a?b",
        "http://proxy.example/%61", "http://proxy.example/$(id)", "http://proxy.example/a'b", "http://proxy.example/a#b",
        "ftp://proxy.example", "http://", "http://a b", "http://u:p@proxy.example", "http://u:p@proxy.example/cache",
    ],
    "index_ttl": WRONG_DURATIONS,
    "stale_while_revalidate": ["", *WRONG_DURATIONS],
    "stale_if_error": ["", *WRONG_DURATIONS],
    "negative_ttl": ["", *WRONG_DURATIONS],
    "allow": [7, [7]],  # what is a glob: tests/rules/test_admission.py
    "deny": [7, [7]],
    "private": [7, [7]],
    "cooldown": ["", *WRONG_DURATIONS],
    "cooldown_except": [7, [7]],
    "deny_status": ["active", "quarantine", ["archived", "x"], "Archived", 7],
    "advisories": [["a", "b"], True, None, "ftp://osv.example/all.zip", "file:///srv/osv", "https://", "http:///all.zip", "https://a b/x"],
    "advisories_block": ["", "mal", "Malicious", True],
    "advisories_yank": ["maybe", 1],
    "advisories_refresh": ["", "0", "0s", *WRONG_DURATIONS],
    "shared": [
        "bucket", "s3:bucket", "s3://", "s3:///p", "ftp://bucket", "http://bucket.example/p", "file://relative", "file:///", "/srv/tier",
        "s3://KEY:SECRET@bucket/p", "s3://bucket/p?token=x", "s3://bucket/p#x", "s3://bucket/a b", ["s3://a", "s3://b"], True,
    ],
    "shared_wait": ["", *WRONG_DURATIONS],
    "shared_follow": ["", *WRONG_DURATIONS],
    "shared_private": ["maybe", 1],
    "offline": ["maybe", "yes", "1", "TRUE", ["true", "false"], 1.5],
    "finish_abandoned": WRONG_SIZES,
    "other_hosts": ["", "refuse", "Tunnel", "tunnel deny"],
    "access_log": [["a", "b"], True],
    "admin_token": ["short", "@", "env:", "with a space in it, sixteen", ["a" * 16, "b" * 16]],
    "ready_needs_store": ["maybe", 1],
    "stop_wait": ["", *WRONG_DURATIONS],
    "flows": ["", "yes", "true", True],
}  # fmt: skip


def row(name: str) -> Option:
    (option,) = [option for option in OPTIONS if option.name == name]
    return option


def test_every_option_is_tried() -> None:
    """A new option comes with its good and its wrong values."""
    names = {option.name for option in OPTIONS}
    assert set(GOOD) == set(WRONG) == names
    assert names == {field.name for field in dataclasses.fields(Settings)}
    assert len(OPTIONS) == len(names), "one name twice"


@pytest.mark.parametrize(("name", "value", "expected"), [(n, v, e) for n, rows in GOOD.items() for v, e in rows])
def test_a_good_value(name: str, value: Any, expected: Any) -> None:
    assert getattr(make_settings({PREFIX + name: value}), name) == expected


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_wrong_value(name: str, value: Any) -> None:
    """One line: the option, the value, and what would be right."""
    with pytest.raises(SettingError) as caught:
        make_settings({PREFIX + name: value})
    line = str(caught.value)
    assert line.startswith(f"{PREFIX}{name}="), line
    assert "\n" not in line
    shown = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    named = "***" if name == "admin_token" else redact(shown)
    assert named in line, "the value is not named"
    assert name != "admin_token" or shown not in line.partition(": expected")[0], "it is secret"
    _, _, hint = line.rpartition("expected ")
    assert len(hint) > 5, "nothing is said of what would be right"
    assert "Traceback" not in line
    assert "invalid literal" not in line
    assert "could not convert" not in line


def test_the_defaults() -> None:
    """As the design's table has them."""
    made = make_settings({})
    assert made.max_size == 10 * G
    assert (made.inactive, made.min_free, made.index, made.index_ttl) == (0, G, (), None)
    assert (made.stale_while_revalidate, made.stale_if_error, made.negative_ttl) == (60, 30 * DAY, 60)
    assert (made.offline, made.other_hosts, made.access_log, made.flows) == (False, "tunnel", "-", "auto")
    assert made.dir == option_values.default_directory()


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_a_row(option: Option) -> None:
    """Its default passes its own parser and has its own type; its help is a sentence or two."""
    assert re.fullmatch(r"[a-z][a-z_]*", option.name)
    assert option.full_name == f"pypi_cache_{option.name}"
    assert len(option.help) > 15
    assert option.help.rstrip().endswith((".", ")"))
    make_settings({option.full_name: option.default})
    if option.type == Sequence[str]:
        assert option.default == ()
    else:
        assert isinstance(option.default, option.type)  # type: ignore[arg-type]


def test_settings_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        make_settings({}).offline = True  # type: ignore[misc]


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("pypi_cache_max_sise", "pypi_cache_max_size"),
        ("pypi_cache_maxsize", "pypi_cache_max_size"),
        ("pypi_cache_indexes", "pypi_cache_index"),
        ("pypi_cache_ofline", "pypi_cache_offline"),
        ("pypi_cache_directory", "pypi_cache_dir"),
        ("pypi_cache_stale_on_error", "pypi_cache_stale_if_error"),
        ("pypi-cache-offline", "pypi_cache_offline"),
    ],
)
def test_an_unknown_name_is_refused_with_a_suggestion(given: str, meant: str) -> None:
    with pytest.raises(SettingError) as caught:
        make_settings({given: "x"})
    assert str(caught.value).startswith(f"{given}: ")
    assert meant in str(caught.value)


def test_an_unknown_name_that_is_like_none() -> None:
    with pytest.raises(SettingError, match=r"^zzz: there is no such option$"):
        make_settings({"zzz": "x"})


def test_an_unknown_name_is_told_before_a_wrong_value() -> None:
    with pytest.raises(SettingError, match="ofline"):
        make_settings({"pypi_cache_ofline": "x", "pypi_cache_max_size": "x"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://user:secret@wheels.example/simple", "https://***@wheels.example/simple"),
        ("https://token@wheels.example", "https://***@wheels.example"),
        ("a=http://u:p@a.example http://v:q@b.example/x", "a=http://***@a.example http://***@b.example/x"),
        ("https://wheels.example/@scope/x", "https://wheels.example/@scope/x"),
        ("https://u:p%40ss@wheels.example", "https://***@wheels.example"),
        ("https://u:p@ss@wheels.example", "https://***@wheels.example"),
        ("mail me@example.test", "mail me@example.test"),
        ("", ""),
    ],
)
def test_credentials_are_left_out(text: str, expected: str) -> None:
    """Of whatever is shown: logs, pages and refusals."""
    assert redact(text) == expected
    assert redact(expected) == expected


@pytest.mark.parametrize(
    "value",
    [
        ["torch=https://me:sesame@wheels.example not-a-url"],
        ["a=https://me:sesame@wheels.example", "a=https://b.example"],
        ["=https://me:sesame@wheels.example"],
        ["torch=ftp://me:sesame@wheels.example"],
        ["torch=https://me:ses/same@wheels.example x", "x=https://sesame@wheels.example y"],
    ],
)
def test_a_refusal_does_not_repeat_a_password(value: list[str]) -> None:
    with pytest.raises(SettingError) as caught:
        make_settings({"pypi_cache_index": value})
    assert "sesame" not in str(caught.value)


def test_a_wrong_public_url_does_not_repeat_its_password() -> None:
    with pytest.raises(SettingError) as caught:
        make_settings({"pypi_cache_public_url": "http://me:sesame@proxy.example"})
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [({"XDG_CACHE_HOME": "/x"}, "/x/pypi-cache"), ({"XDG_CACHE_HOME": ""}, "~/.cache/pypi-cache")],
)
def test_the_users_cache_folder(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: str) -> None:
    """XDG base directories: an empty variable is as good as none."""
    monkeypatch.setattr(option_values.sys, "platform", "linux")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert option_values.default_directory() == Path(expected).expanduser()


@pytest.mark.parametrize("text", ["", "~/store"])
@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch, text: str, platform: str) -> None:
    """A service's, who is not in the table of users either: one line that says what to set."""
    monkeypatch.setattr(option_values.sys, "platform", platform)
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    with pytest.raises(SettingError, match="expected a folder's whole path, since this user has no home"):
        make_settings({"pypi_cache_dir": text})
    assert make_settings({"pypi_cache_dir": "/var/lib/pypi-cache/store"}).dir == Path("/var/lib/pypi-cache/store")


def test_the_cache_folder_of_a_mac(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(option_values.sys, "platform", "darwin")
    assert option_values.default_directory() == Path.home() / "Library" / "Caches" / "pypi-cache"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0s"), (1.5, "1.5s"), (90, "90s"), (1234567, "1234567s"), (600, "10m"), (60 * DAY, "60d"), (2 * WEEK, "14d")],
)
def test_shown_durations_are_read_as_they_were(seconds: float, shown: str) -> None:
    assert shown_duration(seconds) == shown
    assert parse_duration(shown) == seconds
