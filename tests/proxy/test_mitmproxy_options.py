"""Options of config.yaml, which has types that `--set` has not: each means what its text means to `--set`, or is refused in one line."""

from typing import Final

import pytest
from mitmproxy import addonmanager
from mitmproxy.test import taddons
from ruamel.yaml import YAML

from pkgcache.proxy.mitmproxy_options import add_options, current_settings, raw_values
from pkgcache.settings import OPTIONS, SettingError, Settings, make_settings

SAME: Final[list[tuple[str, str]]] = [
    ("max_size: 1073741824", "1073741824"),  # a number for a size
    ("max_size: 1.5", "1.5"),
    ("max_size: 1e9", "1000000000.0"),  # YAML's float
    ("max_size: 1.5g", "1.5g"),
    ("max_size: [2g]", "2g"),  # a list of one for a text
    ("memory: 0", "0"),
    ("known_heads: 8388608.0", "8388608.0"),
    ("min_free: 5k", "5k"),
    ("finish_abandoned: 12", "12"),
    ("inactive: 86400", "86400"),  # a number for a time
    ("index_ttl: 600", "600"),
    ("index_ttl: ''", ""),
    ("index_ttl: [10m]", "10m"),
    ("stale_if_error: 0.5", "0.5"),
    ("stale_while_revalidate: 0", "0"),
    ("negative_ttl: 7", "7"),
    ("cooldown: 604800", "604800"),
    ("cooldown_except: acme-*", "acme-*"),
    ("deny_status: archived quarantined", "archived quarantined"),
    ("advisories: [all.zip]", "all.zip"),
    ("advisories_block: [none]", "none"),
    ("advisories_yank: false", "false"),
    ("advisories_refresh: 60", "60"),
    ("shared: s3://bucket/prefix", "s3://bucket/prefix"),
    ("shared_wait: 1", "1"),
    ("shared_follow: 0", "0"),
    ("shared_private: 'true'", "true"),
    ("offline: true", "true"),
    ("offline: [true]", "true"),
    ("offline: 'false'", "false"),  # a text for a flag
    ("deny: six", "six"),  # a text for a list
    ("deny: 'six flask'", "six flask"),
    ("allow: '*'", "*"),
    ("private: acme-*=pypi", "acme-*=pypi"),
    ("file_hosts: files.example", "files.example"),
    ("local_hosts: '127.0.0.1:1'", "127.0.0.1:1"),
    ("index: torch=https://wheels.example/whl", "torch=https://wheels.example/whl"),
    ("other_hosts: [deny]", "deny"),
    ("ready_needs_store: true", "true"),
    ("proxy_protocol: 10.0.0.1", "10.0.0.1"),
    ("stop_wait: 30", "30"),
    ("flows: never", "never"),
    ("admin_token: '@/etc/pypi-cache/token'", "@/etc/pypi-cache/token"),
    ("dir: 5", "5"),
    ("access_log: '-'", "-"),
    ("public_url: http://proxy.example:1", "http://proxy.example:1"),
]
"""A line of config.yaml and the text that means the same to `--set`. Each option is there."""

REFUSED: Final[list[str]] = [
    "max_size: true",
    "max_size:",
    "max_size: .nan",
    "max_size: .inf",
    "max_size: -1",
    "max_size: {a: b}",
    "max_size: [1g, 2g]",
    "cooldown: -1",
    "cooldown: 1d12h",
    "deny_status: true",
    "deny_status: active",
    "advisories: true",
    "advisories: ftp://osv.example/all.zip",
    "advisories_block: true",
    "advisories_refresh: 0",
    "shared: true",
    "shared: [s3://a, s3://b]",
    "shared_wait: soon",
    "index_ttl: 2026-11-27",
    "index_ttl: 1:30",
    "offline: 1",
    "offline: yes",
    "offline: 1.5",
    "offline: {a: b}",
    "deny: 5",
    "deny:",
    "deny: true",
    "deny: [1, 2]",
    "deny: [[six]]",
    "allow: {a: b}",
    "private: 7",
    "file_hosts: {a: b}",
    "local_hosts: 8080",
    "index: 5",
    "index: {pypi: https://m.example/simple}",
    "other_hosts: no",
    "flows: true",
    "access_log: [a, b]",
    "dir: true",
    "public_url: 8080",
]


def loaded(line: str) -> Settings:
    """The settings that config.yaml with this line leads to, as the addon's `load` makes them. Raises SettingError."""
    with taddons.context() as context:
        options = context.master.options
        options.update_defer(**YAML(typ="safe", pure=True).load(f"pypi_cache_{line}"))
        make_settings(raw_values(options))
        add_options(addonmanager.Loader(context.master))
        options.process_deferred()
        assert not options.deferred
        return current_settings(options)


@pytest.mark.parametrize(("line", "text"), SAME)
def test_what_set_takes(line: str, text: str) -> None:
    name = f"pypi_cache_{line.partition(':')[0]}"
    assert loaded(line) == make_settings({name: [text]})


def test_each_option_is_tried() -> None:
    assert {line.partition(":")[0] for line, _ in SAME} == {option.name for option in OPTIONS}


@pytest.mark.parametrize("line", REFUSED)
def test_what_set_refuses(line: str) -> None:
    with pytest.raises(SettingError, match=rf"^pypi_cache_{line.partition(':')[0]}=.*: expected .{{5,}}$"):
        loaded(line)
