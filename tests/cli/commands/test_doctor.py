"""`doctor`: each thing that may be wrong, what is said of it, and what is said to do about it."""

import json
import os
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from packaging.requirements import Requirement

from pkgcache.cli.checks.findings import Finding
from pkgcache.cli.checks.local import check_ca, check_disk, check_limits, check_python, lacking
from pkgcache.cli.checks.network import check_proxy, judged
from pkgcache.cli.proxy_client import ProxyClient
from pkgcache.cli.store_location import read_location
from pkgcache.engine.pip_defaults import pip_defaults
from pkgcache.engine.upstream.own_ca import CA_KEY_NAME, CA_NAME
from pkgcache.option_values import IndexSetting
from pkgcache.rules.routing.indexes import Index, build_indexes
from tests.cli.conftest import Command, opened_store
from tests.cli.peers import Peer, http
from tests.cli.stores import make_store
from tests.support.authority import Authority
from tests.support.factories import MakeProxy, MakeUpstream
from tests.support.names import INDEX_HOST
from tests.support.upstream import Upstream


def states(findings: Iterable[Finding]) -> list[tuple[str, str]]:
    return [(each.check, each.state) for each in findings]


def said(findings: Iterable[Finding]) -> str:
    return "\n".join(f"{each.message} -> {each.advice}" for each in findings)


@pytest.fixture
def index() -> Index:
    return build_indexes((), pip_defaults())[0]


# Python, limits


def test_this_python_is_well() -> None:
    assert states(check_python()) == [("Python", "well"), ("packages", "well")]


@pytest.mark.parametrize(
    ("requirement", "wrong"),
    [
        ("click", ""),
        ("click>=1", ""),
        ("click>=999", "expected >=999"),
        ("nobody-has-this", "nobody-has-this is not installed"),
        ("nobody-has-this; sys_platform == 'amiga'", ""),  # not for this machine
    ],
)
def test_packages(requirement: str, wrong: str) -> None:
    found = lacking(Requirement(requirement))
    assert found.endswith(wrong)
    assert bool(found) == bool(wrong)


def test_few_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    for hard, state in ((256, "problem"), (65536, "well"), (-1, "well")):
        monkeypatch.setattr("resource.getrlimit", lambda _, hard=hard: (256, hard))
        assert states(check_limits()) == [("limits", state)]


# CA


def make_ca(folder: Path, *, days: float, key_mode: int = 0o600) -> None:
    """A CA that ends in so many days."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    until = datetime.now(UTC) + timedelta(days=days)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(until - timedelta(days=1000))
        .not_valid_after(until)
        .sign(key, hashes.SHA256())
    )
    folder.mkdir(exist_ok=True)
    (folder / CA_NAME).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / CA_KEY_NAME).write_bytes(b"key")
    (folder / CA_KEY_NAME).chmod(key_mode)


@pytest.mark.parametrize(
    ("days", "key_mode", "found", "words"),
    [
        (900, 0o600, [("CA", "well")], "until 20"),
        (10, 0o600, [("CA", "note")], "plan to replace it"),
        (-1, 0o600, [("CA", "problem")], "give the agents its new bundle.pem"),
        (900, 0o644, [("CA", "well"), ("CA key", "problem")], "chmod 600"),
    ],
)
def test_ca(days: float, key_mode: int, found: list[tuple[str, str]], words: str, tmp_path: Path) -> None:
    make_ca(tmp_path / "conf", days=days, key_mode=key_mode)
    findings = list(check_ca(tmp_path / "conf"))
    assert states(findings) == found
    assert words in said(findings)


def test_no_ca(tmp_path: Path) -> None:
    assert states(check_ca(tmp_path)) == [("CA", "note")]
    (tmp_path / CA_NAME).write_text("no PEM")
    assert states(check_ca(tmp_path)) == [("CA", "problem")]
    make_ca(tmp_path, days=900)
    (tmp_path / CA_KEY_NAME).unlink()
    assert states(check_ca(tmp_path)) == [("CA", "well"), ("CA key", "problem")]


def issued(folder: Path, *, with_root: bool) -> None:
    """A CA that another one issued."""
    root = trustme.CA(organization_name="root")
    child = root.create_child_ca()
    folder.mkdir()
    chain = child.cert_pem.bytes() + (root.cert_pem.bytes() if with_root else b"")
    (folder / CA_KEY_NAME).write_bytes(child.private_key_pem.bytes() + chain)
    (folder / CA_KEY_NAME).chmod(0o600)


def test_a_ca_of_ones_own(tmp_path: Path) -> None:
    """mitmproxy reads `mitmproxy-ca.pem` alone: doctor said that there was no CA."""
    issued(tmp_path / "whole", with_root=True)
    findings = list(check_ca(tmp_path / "whole"))
    assert states(findings) == [("CA", "well")]
    assert CA_KEY_NAME in said(findings)
    issued(tmp_path / "alone", with_root=False)
    findings = list(check_ca(tmp_path / "alone"))
    assert states(findings) == [("CA", "well"), ("CA", "note")]
    assert "append it there" in said(findings)


@pytest.mark.parametrize("name", ["mitmproxy-ca-next.pem", "mitmproxy-ca-old.pem"])
def test_a_ca_that_is_being_replaced(name: str, tmp_path: Path) -> None:
    make_ca(tmp_path / "other", days=900)
    make_ca(tmp_path / "conf", days=900)
    (tmp_path / "other" / CA_NAME).rename(tmp_path / "conf" / name)
    findings = list(check_ca(tmp_path / "conf"))
    assert states(findings) == [("CA", "well"), ("CA", "note")]
    assert name in said(findings)
    # Removing the next one before the swap would cancel it.
    assert ("rename mitmproxy-ca.pem to mitmproxy-ca-old.pem" in str(findings)) == ("next" in name)
    assert ("remove it" in str(findings)) == ("old" in name)


# Store and disk


@pytest.fixture
def store(tmp_path: Path) -> Path:
    make_store(tmp_path / "store")
    return tmp_path / "store"


def of_store(command: Command, store: Path) -> list[Any]:
    ran = command("doctor", "--dir", store, "--no-upstreams", "--json")
    return [each for each in ran.json if each["check"] == "store"]


def test_a_store_that_is_well(command: Command, store: Path) -> None:
    """It is as it was afterwards."""
    (found,) = of_store(command, store)
    assert found["state"] == "well"
    assert "6 entries" in found["said"]
    assert "it can be written" in found["said"]
    with opened_store(store) as entries:
        assert entries.figures()["entries"] == 6


def test_no_store_yet(command: Command, tmp_path: Path) -> None:
    (found,) = of_store(command, tmp_path / "none")
    assert (found["state"], found["todo"]) == ("note", "the proxy creates it at its first start; --dir names another")
    assert not (tmp_path / "none").exists()


def test_a_damaged_store(command: Command, store: Path) -> None:
    """It is told, and not set aside: the proxy does that."""
    (store / "entries" / "cache.db").write_bytes(b"no database" * 1000)
    for leftover in (store / "entries").glob("cache.db-*"):
        leftover.unlink()
    (found,) = of_store(command, store)
    assert found["state"] == "problem"
    assert "file is not a database" in found["said"]
    for name in ("stats", "ls", "verify", "purge x", "export x.tar"):
        ran = command(*name.split(), "--dir", store).ended(2)
        assert "file is not a database; at its next start the proxy sets a damaged store aside" in ran.err
    assert (store / "entries" / "cache.db").read_bytes().startswith(b"no database")
    assert not list(store.glob("entries.*"))


def test_what_lies_about(command: Command, store: Path) -> None:
    (store / "growing" / "ab.part").write_bytes(b"half")
    (store / "entries.damaged-1").mkdir()
    (store / "quarantine").mkdir()
    (store / "quarantine" / "x").write_bytes(b"wrong")
    lines = "\n".join(each["said"] for each in of_store(command, store) if each["state"] == "note")
    assert "1 unfinished download that no process continues" in lines
    assert "entries.damaged-1 was set aside" in lines
    assert "1 file in quarantine" in lines
    assert (store / "growing" / "ab.part").exists()


def test_who_may_look_into_it(command: Command, store: Path) -> None:
    """An open folder with closed ones in it is well; what is wrong is entries that others may enter."""
    store.chmod(0o755)
    assert [each["state"] for each in of_store(command, store)] == ["well"]
    (store / "growing").chmod(0o755)
    first, *_ = of_store(command, store)
    assert (first["state"], first["todo"]) == ("problem", f"chmod 700 {store / 'growing'}")


@pytest.mark.parametrize(
    ("free", "total", "max_size", "state", "words"),
    [
        (500 << 30, 1000 << 30, "10g", "well", "the store may hold 10.0 GiB"),
        (500 << 20, 1000 << 30, "10g", "problem", "nothing new is stored"),
        (5 << 30, 8 << 30, "10g", "note", "the disk will be full before the store is"),
    ],
)
def test_disk(
    free: int, total: int, max_size: str, state: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": free, "total": total}))
    place = read_location(str(tmp_path), [f"pypi_cache_max_size={max_size}"], str(tmp_path / "not" / "yet"))
    findings = list(check_disk(place))
    assert states(findings) == [("disk", state)]
    assert words in said(findings)


# Upstreams


@pytest.mark.parametrize(
    ("status", "kind", "state", "todo"),
    [
        (200, "application/vnd.pypi.simple.v1+json", "well", ""),
        (200, "text/html; charset=utf-8", "well", ""),
        (200, "application/octet-stream", "problem", "check whether the URL is that of a simple index"),
        (200, "", "problem", "check whether the URL is that of a simple index"),
        (401, "text/html", "note", "add them in pypi_cache_index: https://USER:PASSWORD@…"),
        (403, "text/html", "note", "add them in pypi_cache_index: https://USER:PASSWORD@…"),
        (
            404,
            "text/html",
            "note",
            "check whether the URL ends with the folder that holds the projects' pages: …/simple",
        ),
        (500, "text/html", "problem", "check whether the URL is that of a simple index"),
    ],
)
def test_an_upstreams_answer(status: int, kind: str, state: str, todo: str, index: Index) -> None:
    found = judged("u", index, index.upstreams[0], status, kind, "0.1 s")
    assert (found.state, found.advice) == (state, todo)


def test_a_named_index_need_not_have_pip() -> None:
    named = build_indexes((IndexSetting(name="corp", urls=("https://corp.example/simple",)),), pip_defaults())
    corp = next(each for each in named if each.name == "corp")
    assert judged("u", corp, corp.upstreams[0], 404, "text/html", "0.1 s").state == "well"


def test_upstreams(command: Command, upstream: Upstream, make_upstream: MakeUpstream) -> None:
    """Each is asked, with its credentials, which are not shown; one that is down is a problem."""
    dead = make_upstream()
    dead.down()
    live = upstream.index_url.replace("https://", "https://user:secret@")
    ran = command("doctor", "--set", f"pypi_cache_index=pypi={live} {dead.index_url}", "--json").ended(1)
    found = {each["state"]: each for each in ran.json if each["check"] == "upstream of pypi"}
    assert found.keys() == {"note", "problem"}  # it has no pip
    assert "answers in" in found["note"]["said"]
    assert "check DNS and firewall" in found["problem"]["todo"]
    assert "secret" not in ran.out


# The proxy, and an agent


def test_offline_no_upstream_is_asked(command: Command) -> None:
    ran = command("doctor", "--set", "pypi_cache_offline=true", "--json").ended(0)
    assert [each["state"] for each in ran.json if "upstream" in each["check"]] == ["well"]


@pytest.mark.parametrize(("was_named", "state"), [(True, "problem"), (False, "note")])
def test_no_proxy_runs(was_named: bool, state: str) -> None:
    """A problem if it was named, and to be known if not: the doctor may be there first."""
    (found,) = check_proxy("http://user:secret@127.0.0.1:1", was_named=was_named)
    assert found.state == state
    assert found.message.startswith("127.0.0.1:1 does not answer")


@pytest.mark.parametrize("was_named", [True, False])
def test_a_proxy_that_closes_the_connection(was_named: bool) -> None:
    """`start it`, though it runs: without a PROXY header it answers nobody."""
    (found,) = check_proxy(Peer(b"").url, was_named=was_named)
    assert "it requires a PROXY header" in found.advice
    (found,) = check_proxy("http://127.0.0.1:1", was_named=was_named)
    assert "PROXY header" not in found.advice


def test_for_people(command: Command) -> None:
    """A mark and a line each, what to do under it, and how many there are; the port is that of the configuration file."""
    folder = command.home / ".mitmproxy"
    folder.mkdir()
    (folder / "config.yaml").write_text("listen_port: 1\n")
    ran = command("doctor", "--no-upstreams", "--proxy", "http://127.0.0.1:2").ended(1)
    assert "✗ proxy: 127.0.0.1:2 does not answer" in ran.out
    assert "    → start it: ./run.sh" in ran.out
    assert ran.out.splitlines()[-1].startswith("1 problem, ")
    ran = command("doctor", "--no-upstreams").ended(0)
    assert "! proxy: 127.0.0.1:1 does not answer" in ran.out
    assert ran.out.splitlines()[-1].startswith("0 problems, ")


def test_a_proxy_in_trouble() -> None:
    """Each line of `/healthz` is a problem; a proxy that is well is one line."""
    health = {
        "status": "trouble",
        "version": "1",
        "store": {},
        "trouble": {"store": "the disk is full", "pypi": "down"},
    }
    peer = Peer(http(json.dumps(health).encode()), http(json.dumps({**health, "trouble": {}}).encode()))
    url = peer.url.replace("//", "//user:secret@")
    found = list(check_proxy(url, was_named=False))
    assert states(found) == [("proxy", "problem"), ("proxy", "problem")]
    assert "store: the disk is full" in said(found)
    assert "secret" not in said(found)
    assert states(check_proxy(url, was_named=False)) == [("proxy", "well")]
    peer.close()


def agents(command: Command, *words: str, **env: str) -> list[tuple[str, str]]:
    ran = command("doctor", "--client", "--json", *words, env=env)
    assert "Traceback" not in ran.err
    assert ran.status == int(any(each["state"] == "problem" for each in ran.json))
    return [(each["state"], each["said"]) for each in ran.json if each["check"] == "client"]


def test_an_agent(command: Command, upstream: Upstream, make_proxy: MakeProxy, ca: Authority, tmp_path: Path) -> None:
    """From nothing at all to an environment that is right, by what the doctor says."""
    assert agents(command) == [("note", "HTTPS_PROXY is not set, so this is not an agent's environment")]
    ((state, line),) = agents(command, HTTPS_PROXY="http://me:secret@127.0.0.1:1")
    assert (state, line.partition(":")[0]) == ("problem", "HTTPS_PROXY=http")
    assert "secret" not in line
    proxy = make_proxy(upstream)
    right = {
        "HTTPS_PROXY": proxy.url,
        "PIP_CERT": str(proxy.bundle),
        "SSL_CERT_FILE": str(proxy.bundle),
        "REQUESTS_CA_BUNDLE": str(proxy.bundle),
        "PIP_CONFIG_FILE": os.devnull,
    }
    assert {state for state, _ in agents(command, **right)} == {"well"}
    ran = command("doctor", "--json", env=right)
    assert [each["said"] for each in ran.json if "upstream" in each["check"]] == [
        "not asked, since this is an agent's environment"
    ]
    alone = tmp_path / "alone.pem"
    alone.write_bytes(ProxyClient(proxy.url).own("/ca.pem"))
    for name, value, state, words in (
        ("NO_PROXY", f"localhost,{INDEX_HOST}", "problem", f"makes clients bypass the proxy for {INDEX_HOST}"),
        ("NO_PROXY", "localhost", "well", ""),
        ("https_proxy", "http://me:secret@other.example:1", "problem", "https_proxy=http://***@other.example:1 is different"),
        ("PIP_CERT", "", "note", "PIP_CERT is not set: pip will not trust"),
        ("SSL_CERT_FILE", "/no/such.pem", "problem", "SSL_CERT_FILE=/no/such.pem cannot be read"),
        ("SSL_CERT_FILE", str(ca.bundle), "problem", "does not hold the proxy's CA"),
        ("REQUESTS_CA_BUNDLE", str(alone), "problem", "holds only the proxy's CA"),
        ("PIP_PROXY", "http://me:secret@other.example:1", "problem", "pip's proxy is http://***@other.example:1, and overrides"),
        ("PIP_INDEX_URL", "https://me:secret@other.example/simple", "note", "pip's index-url is https://***@other.example/simple"),
        ("PIP_INDEX_URL", f"{proxy.url}/pypi/simple", "well", ""),
        ("PIP_FIND_LINKS", "/wheels", "note", "pip's find-links is /wheels"),
    ):  # fmt: skip
        found = agents(command, **{**right, name: value})
        assert {each for each, _ in found} == ({"well"} if state == "well" else {"well", state}), (name, found)
        assert any(words in line for _, line in found), (name, found)
        assert "secret" not in str(found)
