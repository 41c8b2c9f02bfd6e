"""The doctor for agents: each thing that may be wrong there, and the script as an agent fetches and runs it."""

import json
import ssl
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pkgcache.cli.checks.agent import Agent, digest
from pkgcache.web.agent_settings import doctor
from tests.support.authority import Authority
from tests.support.clients import clean_env
from tests.support.factories import MakeProxy

PROXY = "http://proxy.example:8080"
INDEX = "https://index.test/simple/"
RIGHT = {"HTTPS_PROXY": PROXY}


@pytest.fixture
def bundle(ca: Authority, tmp_path: Path) -> tuple[str, bytes]:
    """A bundle of two certificates, and the fingerprint of the first, which is the proxy's CA."""
    pem = Path(ca.bundle).read_text()
    path = tmp_path / "bundle.pem"
    path.write_text(f"{pem}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    return str(path), digest(ssl.PEM_cert_to_DER_cert(pem[pem.index("-----BEGIN") :]))


def found(
    bundle: tuple[str, bytes],
    *pip: tuple[str, str],
    clock_off: float = 0,
    certificates: bool = True,
    **environment: str,
) -> list[tuple[str, str, str]]:
    """What is found in an environment that is right but for this; what is well is left out."""
    path, ca = bundle
    names = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE") if certificates else ()
    env = {**RIGHT, **dict.fromkeys(names, path), **environment}
    agent = Agent(env, PROXY, [INDEX], ca=ca, clock=time.time() - clock_off, pip=pip)
    return [each for each in agent.check() if each.state != "well"]


def test_all_is_well(bundle: tuple[str, bytes]) -> None:
    assert found(bundle) == []
    assert found(bundle, ("index-url", INDEX), ("proxy", f"{PROXY}/"), ("cert", bundle[0])) == []


@pytest.mark.parametrize(
    ("pip", "environment", "state", "words"),
    [
        ([], {"https_proxy": "http://me:secret@other.test:1"}, "problem", "https_proxy=http://***@other.test:1 is different"),
        ([], {"NO_PROXY": "localhost,index.test"}, "problem", "bypass the proxy for index.test"),
        ([], {"no_proxy": ".test"}, "problem", "bypass the proxy for index.test"),
        ([], {"PIP_CERT": "/no/such.pem"}, "problem", "cannot be read"),
        ([], {"SSL_CERT_FILE": ""}, "note", "SSL_CERT_FILE is not set: uv will not trust"),
        ([("proxy", "http://me:secret@other.test:1")], {}, "problem", "pip's proxy is http://***@other.test:1, and overrides"),
        ([("index-url", "https://me:secret@other.test/simple")], {}, "note", "https://***@other.test/simple, which is no index"),
        ([("extra-index-url", f"{INDEX} https://other.test/s")], {}, "note", "pip's extra-index-url is https://other.test/s"),
        ([("index-url", f"{PROXY}/pypi/simple")], {}, "problem", "by plain http, and pip ignores hosts"),
        ([("find-links", "/wheels")], {}, "note", "find-links is /wheels"),
        ([], {"UV_DEFAULT_INDEX": "https://me:secret@other.test/simple"}, "note", "UV_DEFAULT_INDEX is https://***@other.test/simple"),
        ([], {"UV_INDEX": f"a={INDEX} b=https://other.test/x"}, "note", "UV_INDEX is https://other.test/x"),
    ],
)  # fmt: skip
def test_one_thing_is_wrong(
    bundle: tuple[str, bytes], pip: list[tuple[str, str]], environment: dict[str, str], state: str, words: str
) -> None:
    (only,) = found(bundle, *pip, **environment)
    assert only[0] == state
    assert words in only[1]
    assert only[2], "there is always something to do"
    assert "secret" not in str(only)


def test_an_index_at_the_proxy_that_pip_trusts(bundle: tuple[str, bytes]) -> None:
    at_proxy = ("index-url", f"{PROXY}/pypi/simple")
    for trusted in ("proxy.example", "other.test proxy.example:8080"):
        assert found(bundle, at_proxy, ("trusted-host", trusted)) == []


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY"])
def test_an_index_by_plain_http(bundle: tuple[str, bytes], variable: str) -> None:
    """`HTTPS_PROXY` says nothing about it."""
    plain = INDEX.replace("https:", "http:")
    path, ca = bundle
    for env, states in (({}, ["problem"]), ({variable: PROXY}, [])):
        names = dict.fromkeys(("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"), path)
        agent = Agent({**RIGHT, **names, **env}, PROXY, [plain], ca=ca, clock=None, pip=[("index-url", plain)])
        assert [each.state for each in agent.check() if each.state != "well"] == states


def test_no_certificates_at_all(bundle: tuple[str, bytes]) -> None:
    """The commonest of all; it is one problem, and not three notes."""
    ((state, message, advice),) = found(bundle, certificates=False)
    assert (state, "unable to get local issuer certificate" in message) == ("problem", True)
    assert f"{PROXY}/env.sh" in advice


def test_certificates_of_pips_own_file(bundle: tuple[str, bytes]) -> None:
    """pip.conf's `cert` takes the place of PIP_CERT."""
    left = found(bundle, ("cert", bundle[0]), certificates=False)
    assert [each[1].partition(" ")[0] for each in left] == ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"]


@pytest.mark.parametrize(
    ("off", "words"),
    [(9 * 86400, "9 days ahead of"), (-7300, "2 hours behind"), (-400, "6 minutes behind"), (200, ""), (-200, "")],
)
def test_the_clock(bundle: tuple[str, bytes], off: float, words: str) -> None:
    problems = found(bundle, clock_off=off)
    assert [words in each[1] for each in problems] == ([True] if words else [])


def test_the_script_that_an_agent_runs(make_proxy: MakeProxy, home: Path) -> None:
    """`curl …/doctor.py | python3 -`, with a Python that has no pypi-cache (`-I -S`: and no packages at all)."""
    proxy = make_proxy()
    text = proxy.get("/doctor.py").body.decode()
    index = json.loads(text.partition("SERVED: Mapping[str, Any] = ")[2].partition("\n")[0])
    assert index["proxy"] == proxy.url
    assert len(index["indexes"]) == 1

    def run(**environment: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-"],
            input=text,
            env=clean_env(home, **environment),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.stderr == ""
        return done.returncode, done.stdout

    status, said = run()
    assert status == 1
    assert "PROBLEM HTTPS_PROXY is not set" in said
    names = dict.fromkeys(("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"), str(proxy.bundle))
    status, said = run(HTTPS_PROXY=proxy.url, **names)
    assert (status, said.count("ok "), said.count("\n")) == (0, 4, 4)
    status, said = run(HTTPS_PROXY="http://127.0.0.1:9")
    assert (status, "is another proxy" in said) == (1, True)


def test_the_place_for_what_the_proxy_knows_is_filled_in() -> None:
    filled = doctor(PROXY, [INDEX])
    assert f'SERVED: Mapping[str, Any] = {{"proxy": "{PROXY}", "indexes": ["{INDEX}"]}}\n' in filled
    compile(filled, "doctor.py", "exec")
