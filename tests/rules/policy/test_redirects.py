"""rules/policy/redirects.py: where an upstream may lead the proxy. Index `corp` has the names `acme-*`; `evil*` is denied."""

import pytest

from pkgcache.option_values import parse_index
from pkgcache.rules.policy.admission import Admission
from pkgcache.rules.policy.redirects import Absent, Barred, Followed, judge_redirect
from pkgcache.rules.routing.indexes import Defaults, build_indexes
from pkgcache.rules.routing.router import Router
from pkgcache.rules.routing.urls import parse_url

DIGEST = f"aa/bb/{'c' * 60}"
CORP, PUBLIC, FILES = "https://corp.test/a/simple", "https://index.example/simple", "https://files.example/packages"
MIRROR, SECOND = "https://mirror.test/pypi", "https://second.test/b/simple"
ROUTER = Router(
    build_indexes(
        parse_index(
            ["pypi=https://m:pw@mirror.test/pypi/simple", f"corp={CORP} {SECOND}", "other=https://corp.test/o/simple"]
        ),
        Defaults(simple=parse_url(f"{PUBLIC}/"), files=parse_url(f"{FILES}/")),
    ),
    [("extra.test", 443), ("extra.test", 10080)],
    {("cdn.test", 443): ("pypi",)},
)
ADMISSION = Admission(deny=("evil*",), private=(("acme-*", "corp"),))
FOLLOWED = "followed"


def verdict_of(asked: str, target: str, previous: str = "") -> str:
    verdict = judge_redirect(ROUTER, ADMISSION, parse_url(asked), parse_url(previous or asked), parse_url(target))
    match verdict:
        case Followed(url=url):
            return FOLLOWED if str(url) == target else str(url)
        case Absent():
            return "absent"
        case Barred():
            return "barred"


@pytest.mark.parametrize(
    ("asked", "target", "verdict"),
    [
        # a private name is its own index's alone
        (f"{CORP}/acme-x/", f"{PUBLIC}/acme-x/", "absent"),
        (f"{CORP}/acme-x/", f"{PUBLIC}/Acme_X", "absent"),
        (f"{CORP}/acme-x/", f"{PUBLIC}/six/", "absent"),
        (f"{CORP}/acme-x/", f"{PUBLIC}//./acme-x/", "absent"),
        (f"{CORP}/acme-x/", f"{PUBLIC}/%61cme-x/", "absent"),
        (f"{CORP}/acme-x/", "http://index.example/simple/acme-x/", "absent"),
        (f"{CORP}/acme-x/", "https://index.example:443/simple/acme-x/", "absent"),
        (f"{CORP}/acme-x/", "https://index.example/pypi/acme-x/json", "absent"),
        (f"{CORP}/acme-x/", f"{MIRROR}/simple/acme-x/", "absent"),
        (f"{CORP}/acme-x/", "https://corp.test/o/simple/acme-x/", "absent"),
        (f"{CORP}/acme-x/", f"{FILES}/{DIGEST}/acme_x-1.0-py3-none-any.whl", "absent"),
        (f"{CORP}/acme_x-1.0.tar.gz", f"{FILES}/{DIGEST}/acme_x-1.0.tar.gz", "absent"),
        (f"{CORP}/acme_x-1.0.tar.gz", f"{FILES}/{DIGEST}/six-1.0.tar.gz", "absent"),
        (f"{CORP}/six/", f"{PUBLIC}/acme-x/", "absent"),
        (f"{SECOND}/acme-x/", f"{PUBLIC}/acme-x/", "absent"),
        # ports of other protocols, but for those that the operator has named
        (f"{CORP}/six/", "https://blobs.test:22/six/", "barred"),
        (f"{CORP}/six/", "http://blobs.test:25/six/", "barred"),
        (f"{CORP}/six/", "http://blobs.test:6667/six/", "barred"),
        (f"{CORP}/six/", "https://blobs.test:8443/six/", FOLLOWED),
        (f"{CORP}/six/", "https://extra.test:22/six/", "barred"),
        (f"{CORP}/six/", "https://extra.test:10080/x", FOLLOWED),
        # what cannot be judged
        (f"{CORP}/acme-x/", f"{PUBLIC}/acme-x/index.html", "barred"),
        (f"{CORP}/acme-x/", "https://index.example/simple%2facme-x/", "barred"),
        (f"{CORP}/acme-x/", "https://index.example/x/..%2fsimple/acme-x/", "barred"),
        (f"{CORP}/acme-x/", "https://corp.test/o/simple/acme-x/index.html", "barred"),
        (f"{CORP}/six/", f"{FILES}/{DIGEST}/%2573ix-1.0.zip", "barred"),
        # a denied one
        (f"{CORP}/six/", f"{CORP}/evil/", "barred"),
        (f"{CORP}/six/", f"{PUBLIC}/evil-1/", "barred"),
        (f"{CORP}/six-1.0.zip", f"{FILES}/{DIGEST}/evil-1.0.zip", "barred"),
        # within an index
        (f"{CORP}/Six/", f"{CORP}/six/", FOLLOWED),
        (f"{CORP}/acme-x/", f"{CORP}/acme-x", FOLLOWED),
        (f"{CORP}/acme-x/", f"{SECOND}/acme-x/", FOLLOWED),
        (f"{SECOND}/acme-x/", f"{CORP}/acme-x/", FOLLOWED),
        (f"{CORP}/acme-x/", f"{CORP}/acme-x/index.html", FOLLOWED),
        (f"{CORP}/acme-x/", "https://corp.test/team/index/acme-x/", FOLLOWED),
        (f"{MIRROR}/simple/six/", f"{PUBLIC}/six/", FOLLOWED),
        (f"{MIRROR}/packages/{DIGEST}/six-1.0.zip", f"{FILES}/{DIGEST}/six-1.0.zip", FOLLOWED),
        (f"{MIRROR}/packages/{DIGEST}/six-1.0.zip", "https://mirror.test/blobs/1", FOLLOWED),
        # another index by its upstreams
        (f"{CORP}/six/", f"{PUBLIC}/six/", f"{MIRROR}/simple/six/"),
        (f"{CORP}/six/", "http://index.example/simple/Six", f"{MIRROR}/simple/six/"),
        (f"{CORP}/six/", f"{MIRROR}/simple/six/", FOLLOWED),
        (f"{CORP}/six/", "https://index.example/pypi/six/json", f"{MIRROR}/six/json"),
        (f"{CORP}/", f"{PUBLIC}/", f"{MIRROR}/simple/"),
        (f"{CORP}/six-1.0.zip", f"{FILES}/{DIGEST}/six-1.0.zip", f"{MIRROR}/packages/{DIGEST}/six-1.0.zip"),
        # no index's host
        (f"{CORP}/acme-x/", "https://blobs.test/acme-x/?sig=1", FOLLOWED),
        (f"{CORP}/acme_x-1.0.tar.gz", "https://blobs.test/acme_x-1.0.tar.gz?sig=%2f", FOLLOWED),
        (f"{CORP}/acme_x-1.0.tar.gz", "https://cdn.test/acme_x-1.0.tar.gz", FOLLOWED),
        (f"{CORP}/acme_x-1.0.tar.gz", "https://extra.test/acme_x-1.0.tar.gz", FOLLOWED),
        (f"{CORP}/acme_x-1.0.tar.gz", "https://index.example/blobs/1?sig=2", FOLLOWED),
    ],
)
def test_one_redirect(asked: str, target: str, verdict: str) -> None:
    assert verdict_of(asked, target) == verdict


@pytest.mark.parametrize(
    ("previous", "target", "verdict"),
    [
        ("https://blobs.test/hop", f"{PUBLIC}/acme-x/", "absent"),
        ("https://blobs.test/hop", f"{CORP}/acme-x/", FOLLOWED),
        ("https://index.example/hop", f"{PUBLIC}/acme-x/", "absent"),
        (f"{PUBLIC}/six/", f"{PUBLIC}/acme-x/", "absent"),
    ],
)
def test_a_private_name_by_a_detour(previous: str, target: str, verdict: str) -> None:
    assert verdict_of(f"{CORP}/acme-x/", target, previous) == verdict


def test_the_operators_credentials_for_that_index() -> None:
    asked = parse_url(f"{CORP}/six/")
    verdict = judge_redirect(ROUTER, ADMISSION, asked, asked, parse_url(f"{PUBLIC}/six/"))
    assert isinstance(verdict, Followed)
    assert verdict.authorization.startswith("Basic ")
    within = judge_redirect(ROUTER, ADMISSION, asked, asked, parse_url(f"{CORP}/Six/"))
    assert within == Followed(parse_url(f"{CORP}/Six/")), "the client of upstreams keeps the origin's own"


WHEEL = "six-1.0-py3-none-any.whl"
PUBLIC_FILE = f"{FILES}/{DIGEST}/{WHEEL}"


@pytest.mark.parametrize(
    ("asked", "previous", "target", "index"),
    [
        # another index's file, by whichever URL of it
        (f"{CORP}/{WHEEL}", "", PUBLIC_FILE, "pypi"),
        (f"{CORP}/{WHEEL}", "", f"http{PUBLIC_FILE[5:]}", "pypi"),
        (f"{CORP}/{WHEEL}", "", f"{FILES}/./{DIGEST}/%73ix-1.0-py3-none-any.whl", "pypi"),
        (f"{CORP}/{WHEEL}", "", f"{MIRROR}/packages/{DIGEST}/{WHEEL}", "pypi"),
        (f"{CORP}/{WHEEL}", "", f"https://index.example/packages/{DIGEST}/{WHEEL}", "pypi"),
        (f"{CORP}/{WHEEL}.metadata", "", f"{PUBLIC_FILE}.metadata", "pypi"),
        (f"{CORP}/{WHEEL}", "", f"https://corp.test/o/files/{WHEEL}", "other"),
        (f"{SECOND}/{WHEEL}", "", PUBLIC_FILE, "pypi"),
        (PUBLIC_FILE, "", f"{CORP}/{WHEEL}", "corp"),
        (f"{CORP}/six/", "", PUBLIC_FILE, "pypi"),
        # by a detour
        (f"{CORP}/{WHEEL}", "https://blobs.test/hop", PUBLIC_FILE, "pypi"),
        (f"{CORP}/{WHEEL}", "https://index.example/hop", PUBLIC_FILE, "pypi"),
        (f"{CORP}/{WHEEL}", f"{FILES}/{DIGEST}/six-0.9.zip", PUBLIC_FILE, "pypi"),
        # the index's own file has been held to its own page already; what is no file has no upload time
        (f"{CORP}/{WHEEL}", "", f"{CORP}/x/{WHEEL}", ""),
        (f"{CORP}/{WHEEL}", PUBLIC_FILE, f"{CORP}/x/{WHEEL}", ""),
        (f"{CORP}/{WHEEL}", "", f"{SECOND}/{WHEEL}", ""),
        (f"{MIRROR}/packages/{DIGEST}/{WHEEL}", "", PUBLIC_FILE, ""),
        (PUBLIC_FILE, "", f"{MIRROR}/packages/{DIGEST}/{WHEEL}", ""),
        (f"{CORP}/{WHEEL}", "", f"https://blobs.test/{WHEEL}?sig=1", ""),
        (f"{CORP}/{WHEEL}", "", "https://index.example/blobs/1", ""),
        (f"{CORP}/six/", "", f"{PUBLIC}/six/", ""),
        (f"{CORP}/", "", f"{PUBLIC}/", ""),
    ],
)
def test_a_file_whose_age_another_index_knows(asked: str, previous: str, target: str, index: str) -> None:
    """For `pypi_cache_cooldown`: the upload time of the file that it leads to, by the page of that file's index."""
    verdict = judge_redirect(ROUTER, ADMISSION, parse_url(asked), parse_url(previous or asked), parse_url(target))
    assert isinstance(verdict, Followed)
    assert (verdict.file.index.name if verdict.file else "") == index
    assert verdict.file is None or verdict.file.identity.path.endswith((WHEEL, f"{WHEEL}.metadata"))


TWO = Router(
    build_indexes(
        parse_index(
            [
                "pypi=https://one.test/pypi/simple https://m:pw@two.test/pypi/simple",
                f"corp={CORP}",
                "third=https://third.test/simple https://one.test/third/simple https://two.test/third/simple",
            ]
        ),
        Defaults(simple=parse_url(f"{PUBLIC}/"), files=parse_url(f"{FILES}/")),
    ),
    [],
    {},
)


@pytest.mark.parametrize(
    ("asked", "target", "paths"),
    [
        ("six/", f"{PUBLIC}/six/", "one/pypi/simple/six/ two/pypi/simple/six/"),
        ("six/", f"{PUBLIC}/SIX", "one/pypi/simple/six/ two/pypi/simple/six/"),
        ("six/", "http://index.example/simple/six/", "one/pypi/simple/six/ two/pypi/simple/six/"),
        ("six/", "https://index.example/pypi/six/json", "one/pypi/six/json two/pypi/six/json"),
        ("", f"{PUBLIC}/", "one/pypi/simple/ two/pypi/simple/"),
        ("six/", "https://third.test/simple/six/", "one/third/simple/six/ two/third/simple/six/"),
        # a mirror that is named is meant, as in a client's request for it; its files are to be had elsewhere too
        ("six/", "https://two.test/pypi/simple/six/", "two/pypi/simple/six/"),
        ("six/", "https://one.test/third/simple/six/", "one/third/simple/six/"),
        (WHEEL, PUBLIC_FILE, f"one/pypi/packages/{DIGEST}/{WHEEL} two/pypi/packages/{DIGEST}/{WHEEL}"),
        (f"{WHEEL}.metadata", f"{PUBLIC_FILE}.metadata", f"one/pypi/packages/{DIGEST}/{WHEEL}.metadata two/…"),
        (
            WHEEL,
            f"https://two.test/pypi/packages/{DIGEST}/{WHEEL}",
            f"two/pypi/packages/{DIGEST}/{WHEEL} one/pypi/packages/{DIGEST}/{WHEEL}",
        ),
        # a file that is known by its link is there alone
        (WHEEL, f"https://third.test/files/{WHEEL}", f"third/files/{WHEEL}"),
    ],
)
def test_all_upstreams_of_that_index(asked: str, target: str, paths: str) -> None:
    """In the order in which a client's request for the target would ask them, each with the operator's login for it."""
    first = parse_url(f"{CORP}/{asked}")
    verdict = judge_redirect(TWO, Admission(), first, first, parse_url(target))
    assert isinstance(verdict, Followed)
    found = [(verdict.url, verdict.authorization), *verdict.others]
    wanted = paths.replace("two/…", f"two/pypi/packages/{DIGEST}/{WHEEL}.metadata").split()
    assert [f"{url.host.removesuffix('.test')}{url.path}" for url, _ in found] == wanted
    for url, login in found:
        assert login.startswith("Basic ") is (url.host == "two.test" and url.path.startswith("/pypi/"))


def test_no_other_upstream_within_an_index() -> None:
    """The caller asks the index's upstreams in turn by itself."""
    first = parse_url("https://one.test/pypi/simple/Six/")
    verdict = judge_redirect(TWO, Admission(), first, first, parse_url("https://one.test/pypi/simple/six/"))
    assert verdict == Followed(parse_url("https://one.test/pypi/simple/six/"))
