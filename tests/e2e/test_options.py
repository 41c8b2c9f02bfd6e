"""Options as a person gives them to a real mitmdump: `--set`, or config.yaml in its folder.

mitmproxy alone starts without the addon on a wrong value, silently, and prints a traceback for an error in `configure`. Here it does
not start: exit 1, and one line that says what is wrong and what would be right.
"""

from collections.abc import Sequence
from typing import Any, Final

import pytest

from tests.support.factories import MakeProxy
from tests.support.names import page_url
from tests.support.proxy import Proxy, refused
from tests.support.upstream import Upstream
from tests.support.wire import fetch

WRONG: Final[dict[str, tuple[str, str, str]]] = {
    "a word for true": ("pypi_cache_offline", "maybe", "true or false"),
    "a size that is none": ("pypi_cache_max_size", "ten", "10g"),
    "a time that is none": ("pypi_cache_index_ttl", "soon", "10m"),
    "a word that is none": ("pypi_cache_other_hosts", "refuse", "tunnel, intercept, deny"),
    "an index without a URL": ("pypi_cache_index", "torch", "NAME=URL"),
    "a host with a scheme": ("pypi_cache_file_hosts", "https://files.example", "HOST or HOST:PORT"),
    "a public URL without a scheme": ("pypi_cache_public_url", "proxy.example", "http://"),
    "an unknown name": ("pypi_cache_ofline", "true", "pypi_cache_offline"),
}
"""name → option, value, and what the line has to say."""


def configured(proxy: Proxy, text: str) -> None:
    """Write mitmproxy's config.yaml."""
    proxy.confdir.mkdir(parents=True, exist_ok=True)
    (proxy.confdir / "config.yaml").write_text(text)


@pytest.mark.parametrize(("name", "value", "hint"), WRONG.values(), ids=WRONG)
def test_a_wrong_one_by_set(make_proxy: MakeProxy, name: str, value: str, hint: str) -> None:
    line = refused(make_proxy(start=False, options={name: value}))
    assert name in line
    assert value in line or "no such option" in line
    assert hint in line


@pytest.mark.parametrize(("name", "value", "hint"), WRONG.values(), ids=WRONG)
def test_a_wrong_one_by_config_yaml(make_proxy: MakeProxy, name: str, value: str, hint: str) -> None:
    proxy = make_proxy(start=False)
    configured(proxy, f"{name}: {value}\n")
    line = refused(proxy)
    assert name in line
    assert hint in line


def test_values_of_another_type_by_config_yaml(make_proxy: MakeProxy, upstream: Upstream) -> None:
    """A text for a list, numbers for a size and a time: what `--set` takes. mitmproxy printed 27 lines of traceback."""
    proxy = make_proxy(start=False)
    index = f"pypi_cache_index: pypi={upstream.index_url}\n"
    configured(proxy, f"pypi_cache_deny: beta\npypi_cache_max_size: 1073741824\npypi_cache_index_ttl: 600\n{index}")
    proxy.start()
    assert fetch(proxy.port, page_url("alpha"), ca=proxy.ca).status == 200
    assert fetch(proxy.port, page_url("beta"), ca=proxy.ca).status == 403


@pytest.mark.parametrize(
    "text",
    [
        "pypi_cache_max_size: [1g, 2g]",
        "pypi_cache_offline: [true, false]",
        "pypi_cache_index: {pypi: https://m.example/simple}",
        "pypi_cache_index: [1, 2]",
        "pypi_cache_dir: true",
        "pypi_cache_deny: 5",
        "pypi_cache_max_size:",
    ],
)
def test_a_wrong_type_by_config_yaml(make_proxy: MakeProxy, text: str) -> None:
    """YAML has types that `--set` has not."""
    proxy = make_proxy(start=False)
    del proxy.options["pypi_cache_dir"]
    configured(proxy, text + "\n")
    assert text.partition(":")[0] in refused(proxy)


def test_an_index_given_twice(make_proxy: MakeProxy) -> None:
    options = {"pypi_cache_index": ["torch=https://a.example/whl", "torch=https://b.example/whl"]}
    assert "torch" in refused(make_proxy(start=False, options=options))


def test_a_refusal_does_not_repeat_a_password(make_proxy: MakeProxy) -> None:
    proxy = make_proxy(start=False, options={"pypi_cache_index": ["torch=https://me:sesame@wheels.example nonsense"]})
    assert "wheels.example" in refused(proxy)
    assert "sesame" not in proxy.output


def test_a_store_of_another_format(make_proxy: MakeProxy, upstream: Upstream) -> None:
    """Not an option's fault, but the same: one line that says what to do."""
    proxy = make_proxy(upstream, start=False)
    proxy.store.mkdir()
    (proxy.store / "format").write_text("999\n")
    line = refused(proxy)
    assert "999" in line
    assert str(proxy.store) in line


def test_an_access_log_that_cannot_be_written(make_proxy: MakeProxy, upstream: Upstream) -> None:
    proxy = make_proxy(upstream, start=False)
    proxy.options["pypi_cache_access_log"] = str(proxy.folder / "no" / "such" / "folder" / "access.log")
    proxy.start(wait=False)
    assert proxy.wait_for_exit() == 1
    assert "no/such/folder" in proxy.output
    assert "Traceback" not in proxy.output


GOOD: Final[list[dict[str, Any]]] = [
    {},
    {
        "pypi_cache_max_size": "1g",
        "pypi_cache_inactive": "30d",
        "pypi_cache_min_free": "0",
        "pypi_cache_index_ttl": "5m",
        "pypi_cache_stale_while_revalidate": "0",
        "pypi_cache_stale_if_error": "7d",
        "pypi_cache_negative_ttl": "10s",
        "pypi_cache_finish_abandoned": "0",
        "pypi_cache_file_hosts": ["files.example", "other.example:8443"],
        "pypi_cache_local_hosts": ["localhost:1"],
        "pypi_cache_public_url": "http://proxy.example:8080",
        "pypi_cache_other_hosts": "deny",
        "pypi_cache_flows": "never",
        "pypi_cache_offline": False,
    },
]


def as_yaml(options: dict[str, Any]) -> str:
    """config.yaml, typed as a person would write it."""
    lines = []
    for name, value in options.items():
        if isinstance(value, bool):
            lines.append(f"{name}: {str(value).lower()}")
        elif isinstance(value, Sequence) and not isinstance(value, str):
            lines += [f"{name}:", *(f"  - '{each}'" for each in value)]
        else:
            lines.append(f"{name}: '{value}'")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("options", GOOD, ids=["none", "many"])
@pytest.mark.parametrize("by", ["set", "config.yaml"])
def test_good_ones(make_proxy: MakeProxy, upstream: Upstream, by: str, options: dict[str, Any]) -> None:
    """It starts, and the options count: the store is where it was said, and the index is asked."""
    everything = {**options, "pypi_cache_index": [f"pypi={upstream.index_url}"]}
    if by == "set":
        proxy = make_proxy(options=everything)
    else:
        proxy = make_proxy(start=False)
        everything["pypi_cache_dir"] = str(proxy.options.pop("pypi_cache_dir"))
        configured(proxy, as_yaml(everything))
        proxy.start()
    assert fetch(proxy.port, page_url("alpha"), ca=proxy.ca).status == 200
    assert upstream.count() == 1
    assert (proxy.store / "format").exists()
    if options:
        assert b"proxy.example:8080" in proxy.get("/env.sh").body


def test_a_flag_without_a_value_is_true(make_proxy: MakeProxy, upstream: Upstream) -> None:
    """`--set pypi_cache_offline`, as mitmproxy has it for its own flags."""
    proxy = make_proxy(upstream, args=["--set", "pypi_cache_offline"])
    assert fetch(proxy.port, page_url("alpha"), ca=proxy.ca).status == 504


def test_mitmproxys_own_options_stay_as_they_were(make_proxy: MakeProxy, upstream: Upstream) -> None:
    """A wrong name that is not ours is mitmproxy's affair, and its own options still work beside ours."""
    proxy = make_proxy(upstream, args=["--set", "stream_large_bodies=3m", "--set", "block_global=false"])
    assert fetch(proxy.port, page_url("alpha"), ca=proxy.ca).status == 200
