"""What a URL means, as tables: at an index, on a file host, at the proxy's own address, and with credentials."""

from typing import Final

import pytest

from pkgcache.option_values import parse_index
from pkgcache.rules.routing.indexes import Defaults, build_indexes
from pkgcache.rules.routing.router import Router
from pkgcache.rules.routing.routes import (
    ProjectListPage,
    ProjectPage,
    Provenance,
    ReleaseFile,
    Route,
    Uncacheable,
    Unclear,
    by_index,
    with_credentials,
)
from pkgcache.rules.routing.urls import parse_url

DIGEST = f"aa/bb/{'c' * 60}"
SIX = f"/packages/{DIGEST}/six-1.0-py3-none-any.whl"
INDEXES = build_indexes(
    parse_index(
        ["pypi=https://mirror.test/pypi/simple https://index.example/simple", "corp=https://user:x@corp.test/a/simple"]
    ),
    Defaults(simple=parse_url("https://index.example/simple/"), files=parse_url("https://files.example/packages/")),
)
LEARNED = {("cdn.test", 443): ("corp",)}
ROUTER = Router(INDEXES, [("extra.test", 443)], LEARNED)


def shown(route: Route) -> tuple[object, ...]:
    match route:
        case ProjectPage():
            return route.index.name, route.project, route.document
        case ProjectListPage():
            return (route.index.name,)
        case ReleaseFile():
            return route.index.name, str(route.identity), route.suffix
        case Provenance():
            return ("provenance", route.index.name, route.project)
        case Uncacheable():
            return ()
        case Unclear():
            return ("unclear",)


@pytest.mark.parametrize(
    ("url", "meaning"),
    [
        ("https://index.example/simple/six/", ("pypi", "six", "")),
        pytest.param("https://index.example/simple/Foo.Bar", ("pypi", "foo-bar", ""), id="any spelling of a name"),
        pytest.param("https://index.example/simple/x/%2e%2e/six/", ("pypi", "six", ""), id="dot segments"),
        pytest.param("https://index.example/simple/", ("pypi",), id="the list of projects"),
        pytest.param("https://index.example/simple", ("pypi",), id="without its slash"),
        ("https://mirror.test/pypi/simple/six/", ("pypi@https://mirror.test/pypi/simple/", "six", "")),
        ("https://corp.test/a/simple/six/", ("corp", "six", "")),
        pytest.param("https://index.example/pypi/six/json", ("pypi", "six", "six/json"), id="JSON API"),
        pytest.param("https://index.example/pypi/Six/1.0/json", ("pypi", "six", "six/1.0/json"), id="of a release"),
        pytest.param("https://corp.test/a/pypi/six/json", (), id="no JSON API on another index"),
        pytest.param("https://index.example/simple/six/x/", ("unclear",), id="too deep"),
        pytest.param("https://index.example/simple/-six/", ("unclear",), id="no project's name"),
        pytest.param(
            "http://index.example/simple/six/", ("pypi", "six", ""), id="without TLS: the same host's same page"
        ),
        pytest.param("http://index.example/simple//%65vil", ("pypi", "evil", ""), id="in any spelling"),
        pytest.param("http://index.example/simple/", ("pypi",), id="its list of projects"),
        pytest.param("http://index.example/simple/six/x/", ("unclear",), id="nor is there anything else below it"),
        pytest.param("http://index.example/pypi/six/json", ("pypi", "six", "six/json"), id="its JSON API"),
        pytest.param("http://corp.test/a/simple/six/", ("corp", "six", ""), id="another index"),
        pytest.param(
            "http://mirror.test/pypi/simple/six/", ("pypi@https://mirror.test/pypi/simple/", "six", ""), id="a mirror"
        ),
        pytest.param("http://index.example/legacy/", (), id="nothing of an index, without TLS"),
        pytest.param("https://index.example:80/simple/six/", ("pypi", "six", ""), id="TLS on the port that has none"),
        pytest.param("http://index.example:8080/simple/six/", (), id="another port is another server"),
        pytest.param("https://index.example:8443/simple/six/", (), id="with TLS too"),
        pytest.param("http://index.example:443/simple/six/", ("unclear",), id="another scheme on the same port"),
        pytest.param("https://index.example/", (), id="the index's website"),
    ],
)
def test_pages(url: str, meaning: tuple[object, ...]) -> None:
    assert shown(ROUTER.route(parse_url(url))) == meaning


@pytest.mark.parametrize(
    ("url", "meaning"),
    [
        (f"https://files.example{SIX}", ("pypi", f"https://files.example{SIX}", "")),
        (f"https://files.example{SIX}.metadata", ("pypi", f"https://files.example{SIX}.metadata", ".metadata")),
        pytest.param(
            f"https://mirror.test/pypi{SIX}",
            ("pypi", f"https://files.example{SIX}", ""),
            id="one key on every mirror",
        ),
        pytest.param(
            f"https://extra.test{SIX}", ("pypi", f"https://files.example{SIX}", ""), id="a configured file host"
        ),
        pytest.param(
            "https://corp.test/a/f/six-1.0.zip", ("corp", "https://corp.test/a/f/six-1.0.zip", ""), id="a link"
        ),
        pytest.param(
            "https://cdn.test/six-1.0.zip?sig=1",
            ("corp", "https://cdn.test/six-1.0.zip?sig=1", ""),
            id="a learned host",
        ),
        pytest.param(f"https://cdn.test{SIX}", ("corp", f"https://cdn.test{SIX}", ""), id="its paths are no digests"),
        pytest.param("https://cdn.test/index.html", (), id="no release file"),
        pytest.param("https://other.test/six-1.0.zip", (), id="no index's host"),
    ],
)
def test_files(url: str, meaning: tuple[object, ...]) -> None:
    assert shown(ROUTER.route(parse_url(url))) == meaning


@pytest.mark.parametrize(
    ("url", "sources"),
    [
        pytest.param(
            f"https://files.example{SIX}",
            [f"https://mirror.test/pypi{SIX}", f"https://files.example{SIX}"],
            id="the upstreams in order",
        ),
        pytest.param(
            f"https://mirror.test/pypi{SIX}",
            [f"https://mirror.test/pypi{SIX}", f"https://files.example{SIX}"],
            id="each once",
        ),
        pytest.param(
            f"https://extra.test/x{SIX}",
            [f"https://extra.test/x{SIX}", f"https://mirror.test/pypi{SIX}", f"https://files.example{SIX}"],
            id="the one that the client named goes first",
        ),
        pytest.param("https://cdn.test/a/../six-1.0.zip", ["https://cdn.test/six-1.0.zip"], id="a link has one source"),
    ],
)
def test_sources(url: str, sources: list[str]) -> None:
    route = ROUTER.route(parse_url(url))
    assert isinstance(route, ReleaseFile)
    assert [str(source) for source, _ in route.sources] == sources


def test_the_operators_credentials_go_to_their_own_origin() -> None:
    for url, authorization in (
        ("https://corp.test/a/six-1.0.zip", "Basic dXNlcjp4"),
        ("https://cdn.test/six-1.0.zip", ""),
    ):
        route = ROUTER.route(parse_url(url))
        assert isinstance(route, ReleaseFile)
        assert route.sources == ((parse_url(url), authorization),)


@pytest.mark.parametrize(
    ("path", "meaning"),
    [
        ("/pypi/simple/six/", ("pypi", "six", "")),
        ("/corp/simple/", ("corp",)),
        (f"/pypi{SIX}", ("pypi", f"https://files.example{SIX}", "")),
        ("/corp/files/https/cdn.test/six-1.0.zip", ("corp", "https://cdn.test/six-1.0.zip", "")),
        pytest.param(
            f"/corp/files/https/files.example{SIX}",
            ("pypi", f"https://files.example{SIX}", ""),
            id="a public file is no file of corp's",
        ),
        pytest.param(
            f"/corp/files/https/mirror.test/pypi{SIX}", ("pypi", f"https://files.example{SIX}", ""), id="a mirror's"
        ),
        pytest.param("/corp/files/https/index.example/simple/six/", (), id="a page is no file"),
        pytest.param("/corp/files/https/files.example/packages/x/six-1.0.zip/y", (), id="an unclear one"),
        pytest.param(
            "/pypi/files/https/corp.test/a/six-1.0.zip",
            ("corp", "https://corp.test/a/six-1.0.zip", ""),
            id="corp's own",
        ),
        pytest.param(
            "/pypi/files/https/cdn.test/six-1.0.zip", ("corp", "https://cdn.test/six-1.0.zip", ""), id="learned by corp"
        ),
        pytest.param(
            "/corp/files/https/extra.test/six-1.0.zip", ("corp", "https://extra.test/six-1.0.zip", ""), id="no index's"
        ),
        pytest.param("/corp/files/https/other.test/six-1.0.zip", (), id="no open proxy"),
        pytest.param("/corp/files/https/cdn.test/index.html", (), id="no release file"),
        pytest.param(f"/corp{SIX}", (), id="an index without PyPI's layout"),
        pytest.param("/nobody/simple/six/", (), id="no such index"),
        ("/pypi/", ()),
        ("/pypi/simple/six/x", ()),
        ("/pypi/other/six", ()),
        ("/", ()),
    ],
)
def test_at_the_proxys_own_address(path: str, meaning: tuple[object, ...]) -> None:
    route = ROUTER.route_own(parse_url(f"http://proxy.test:8080{path}"))
    assert shown(route) == meaning
    assert isinstance(route, Uncacheable | ReleaseFile) or route.at_proxy_address


INTEGRITY: Final = "https://index.example/integrity"


@pytest.mark.parametrize(
    ("url", "meaning"),
    [
        (f"{INTEGRITY}/six/1.0/six-1.0-py3-none-any.whl/provenance", ("provenance", "pypi", "six")),
        pytest.param(f"{INTEGRITY}/Six/1.0/six-1.0.tar.gz/provenance/", ("provenance", "pypi", "six"), id="an sdist"),
        pytest.param(
            f"{INTEGRITY}//%73ix/1.0/./six-1.0.zip/provenance", ("provenance", "pypi", "six"), id="in any spelling"
        ),
        pytest.param(
            "http://index.example/integrity/six/1.0/six-1.0.zip/provenance",
            ("provenance", "pypi", "six"),
            id="without TLS",
        ),
        pytest.param(
            "https://corp.test/a/integrity/six/1.0/six-1.0.zip/provenance", ("provenance", "corp", "six"), id="corp's"
        ),
        pytest.param(
            f"{INTEGRITY}/six/1.0/evil-1.0-py3-none-any.whl/provenance", ("unclear",), id="another project's file"
        ),
        pytest.param(f"{INTEGRITY}/six/1.0/evil%252d1.0.zip/provenance", ("unclear",), id="encoded twice"),
        pytest.param(f"{INTEGRITY}/six/1.0/x%2f..%2fevil-1.0.zip/provenance", ("unclear",), id="an encoded slash"),
        pytest.param(f"{INTEGRITY}/six/1.0/six-1.0.zip/publish", ("unclear",), id="another word"),
        pytest.param(f"{INTEGRITY}/six/1.0/x/six-1.0.zip/provenance", ("unclear",), id="too deep"),
        pytest.param(f"{INTEGRITY}/six/1.0/six/provenance", (), id="no file"),
        pytest.param(
            "https://files.example/integrity/six/1.0/six-1.0.zip/provenance", ("unclear",), id="no index's host"
        ),
    ],
)
def test_provenance(url: str, meaning: tuple[object, ...]) -> None:
    """PEP 740's attestations: the index's own business, but of a project."""
    assert shown(ROUTER.route(parse_url(url))) == meaning


@pytest.mark.parametrize(
    ("host", "package_host", "configured"),
    [
        ("index.example", True, True),
        ("mirror.test", True, True),
        ("files.example", True, True),
        ("corp.test", True, True),
        ("extra.test", True, True),
        pytest.param("cdn.test", True, False, id="learned: may not be in a private network"),
        ("other.test", False, False),
    ],
)
def test_hosts(host: str, *, package_host: bool, configured: bool) -> None:
    assert ROUTER.hosts.is_package_host((host, 443)) is package_host
    assert ROUTER.hosts.is_configured_by_operator((host, 443)) is configured
    assert ROUTER.hosts.is_package_host((host, 80)) is package_host, "plain http is no way around the rules"
    assert not ROUTER.hosts.is_configured_by_operator((host, 80)), "what may be dialled is another question"
    assert not ROUTER.hosts.is_package_host((host, 8080)), "another port is another server"


def test_a_host_is_learned_while_the_router_lives() -> None:
    learned: dict[tuple[str, int], tuple[str, ...]] = {}
    router = Router(INDEXES, [], learned)
    url = parse_url("https://late.test/six-1.0.zip")
    assert shown(router.route(url)) == ()
    learned["late.test", 443] = ("corp",)
    assert shown(router.route(url)) == ("corp", str(url), "")


def test_a_host_that_two_indexes_link_to() -> None:
    """The file is of both, the one that linked first coming first; at the proxy's own address it is of the one in the path."""
    router = Router(INDEXES, [], {("late.test", 443): ("corp", "gone", "pypi")})
    route = router.route(parse_url("https://late.test/six-1.0.zip"))
    assert isinstance(route, ReleaseFile)
    assert (route.index.name, [each.name for each in route.also]) == ("corp", ["pypi"])
    assert [(each.index.name, each.also) for each in by_index(route)] == [("corp", ()), ("pypi", ())]
    own = router.route_own(parse_url("http://proxy.test:8080/pypi/files/https/late.test/six-1.0.zip"))
    assert isinstance(own, ReleaseFile)
    assert (own.index.name, own.also) == ("pypi", ())


def test_credentials_name_a_space_and_the_only_source() -> None:
    url = parse_url(f"https://files.example/x/..{SIX}")
    file = with_credentials(ROUTER.route(url), url, "Basic x", "space")
    assert isinstance(file, ReleaseFile)
    assert (file.space, file.sources) == ("space", ((parse_url(f"https://files.example{SIX}"), "Basic x"),))
    assert file.public == ROUTER.route(url), "as clients without credentials ask for it"
    url = parse_url("https://index.example/simple/six/")
    page = with_credentials(ROUTER.route(url), url, "Basic x", "space")
    assert isinstance(page, ProjectPage)
    assert (page.space, page.authorization) == ("space", "Basic x")
    url = parse_url("https://index.example/simple/")
    assert isinstance(with_credentials(ROUTER.route(url), url, "Basic x", "space"), Uncacheable), "the list is for all"


AZURE = "https://azure.test/pkgs/feed%40Local/pypi/simple"
GITLAB = "https://gitlab.test/api/groups/group%2fproject/packages/simple"
SPELT = Router(
    build_indexes(
        parse_index(
            [f"azure={AZURE}", f"gitlab={GITLAB}", "whl=https://torch.test/whl/cu1", "root=https://root.test/"]
        ),
        Defaults(simple=parse_url("https://index.example/simple/"), files=parse_url("https://files.example/packages/")),
    ),
    [("extra.test", 443)],
    {},
)


@pytest.mark.parametrize(
    ("url", "meaning"),
    [
        (f"{AZURE}/six/", ("azure", "six", "")),
        ("https://azure.test/pkgs/feed@Local/pypi/simple/six/", ("azure", "six", "")),
        ("https://azure.test/pkgs//feed%40Local/./pypi/simple///six//", ("azure", "six", "")),
        ("https://azure.test/pkgs/feed%2540Local/pypi/simple/six/", ("unclear",)),
        ("https://azure.test/pkgs/feed%40Local/pypi/upload/", ()),
        (f"{GITLAB}/six/", ("gitlab", "six", "")),
        ("https://gitlab.test/api/groups/group%2Fproject/packages/simple/six/", ("gitlab", "six", "")),
        ("https://gitlab.test/api/groups/group/project/packages/simple/six/", ("unclear",)),
        ("https://gitlab.test/api/groups/group/other/packages/simple/six/", ()),
        ("https://torch.test/whl/cu1/six/", ("whl", "six", "")),
        ("https://torch.test/whl/cu1/six-1.0.zip", ("whl", "https://torch.test/whl/cu1/six-1.0.zip", "")),
        ("https://torch.test/whl/cu1/six-1.0.zip/", ("whl", "six-1-0-zip", "")),
        (
            "https://torch.test/whl/cu1/nvidia_x-1.0-py3-none-any.whl.metadata",
            ("whl", "https://torch.test/whl/cu1/nvidia_x-1.0-py3-none-any.whl.metadata", ".metadata"),
        ),
        ("https://torch.test/whl/cu1/links.html", ("whl", "links-html", "")),
        ("https://root.test/six/", ("root", "six", "")),
        ("https://root.test/+login", ("unclear",)),
        ("https://index.example/simple/%65vil/", ("pypi", "evil", "")),
        ("https://index.example/simple/%2565vil/", ("unclear",)),
        ("https://index.example/simple/evil%2f", ("unclear",)),
        ("https://index.example/simple%2fevil/", ("unclear",)),
        ("https://index.example/legacy/", ()),
        ("https://index.example/legacy/..%2fsimple/evil", ("unclear",)),
        ("https://index.example/legacy/..;x/simple/evil", ("unclear",)),
        ("https://index.example//any.test/simple/evil/", ("unclear",)),
        ("https://index.example/%2f/any.test/simple", ("unclear",)),
        ("https://index.example//any.test/pypi/evil/json", ("unclear",)),
        ("https://index.example//any.test/legacy/", ()),
        ("https://index.example/any.test/simple/evil/", ()),
        ("https://index.example/pypi/evil/json;x", ("unclear",)),
        ("https://index.example/pypi%2fevil/json", ("unclear",)),
        ("https://index.example/pypi/evil/1.0/../JSON", ("unclear",)),
        ("https://index.example/pypi/x/..%2fevil/json", ("unclear",)),
        ("https://index.example/pypi/evil/1.0/2.0/json", ()),
        ("https://index.example/pypi/-evil/json", ()),
        ("https://index.example/pypi/json", ()),
        ("https://index.example/pypi", ()),
        ("https://files.example/anything", ("unclear",)),
        (f"https://files.example/packages/{DIGEST}/%2573ix-1.0.zip", ("unclear",)),
        ("https://extra.test/group/repository.git/info/refs?service=git-upload-pack", ()),
        ("https://extra.test/x/six-1.0.zip/download", ("unclear",)),
        ("https://extra.test/x%2fsix-1.0.zip", ("unclear",)),
        ("https://extra.test/" + "%25" * 2 + "252525252fa", ("unclear",)),
    ],
)
def test_spellings(url: str, meaning: tuple[object, ...]) -> None:
    assert shown(SPELT.route(parse_url(url))) == meaning


def test_upstreams_are_asked_as_the_client_spelt() -> None:
    """A mirror may know `%2B` and not `+`; the two are one file all the same."""
    routes = [SPELT.route(parse_url(f"https://torch.test/whl/x/../six-1.0{plus}b.zip")) for plus in ("+", "%2b")]
    files = [route for route in routes if isinstance(route, ReleaseFile)]
    assert len({file.identity for file in files}) == 1
    assert [file.sources[0][0].path for file in files] == ["/whl/six-1.0+b.zip", "/whl/six-1.0%2bb.zip"]


@pytest.mark.parametrize(
    ("url", "is_flat"),
    [
        ("https://torch.test/whl/cu1/links.html", True),
        ("https://torch.test/whl/cu1/torch_stable.html", True),
        ("https://torch.test/whl/cu1/index.HTM", True),
        ("https://torch.test/whl/cu1/links.html?x=1", True),
        ("https://torch.test/whl/cu1/links%2Ehtml", True),
        ("https://root.test/links.html", True),
        ("https://torch.test/whl/cu1/links.html/", False),  # a project's page, by its slash
        ("https://torch.test/whl/cu1/html", False),
        ("https://torch.test/whl/cu1/six.htmlx", False),
        ("https://torch.test/whl/cu1/six", False),
        ("https://index.example/simple/links.html", False),  # `pypi` has projects alone
    ],
)
def test_listings_for_find_links(url: str, *, is_flat: bool) -> None:
    """torch's index has `links.html` and `torch_stable.html` beside its projects' pages."""
    route = SPELT.route(parse_url(url))
    assert isinstance(route, ProjectPage)
    assert route.is_flat is is_flat


def test_at_the_proxys_own_address_there_are_projects_alone() -> None:
    route = SPELT.route_own(parse_url("http://proxy.test/whl/simple/links.html"))
    assert isinstance(route, ProjectPage)
    assert not route.is_flat


SHARED = Router(
    build_indexes(
        parse_index(
            [
                "pypi=https://one.test/simple https://one.test/mirror/simple",
                "corp=https://one.test/corp/simple",
                "team=https://one.test/corp/team/simple",
            ]
        ),
        Defaults(simple=parse_url("https://one.test/simple/"), files=parse_url("https://files.example/packages/")),
    ),
    [],
    {},
)


@pytest.mark.parametrize(
    ("path", "owners"),
    [
        pytest.param("/corp/six-1.0.tar.gz", ["corp", "team"], id="beside two of them"),
        pytest.param("/corp/files/six-1.0.tar.gz", ["corp", "team"], id="the same, further down"),
        pytest.param("/corp/team/six-1.0.tar.gz", ["team"], id="below one"),
        pytest.param("/corp/simple/../team/files/six-1.0.tar.gz", ["team"], id="with dot segments"),
        pytest.param("/CORP/files/six-1.0.tar.gz", None, id="another case: beside all of them"),
        pytest.param("/files/six-1.0.tar.gz", None, id="beside all of them"),
    ],
)
@pytest.mark.parametrize("at", ["its host", "pypi", "corp", "team"])
def test_files_beside_several_indexes_are_any_ones(path: str, owners: list[str] | None, at: str) -> None:
    """The first one's page alone was looked into, and a file that only corp's page has a digest of was served unverified."""
    if at == "its host":
        route = SHARED.route(parse_url(f"https://one.test{path}"))
    else:
        route = SHARED.route_own(parse_url(f"http://proxy.test/{at}/files/https/one.test{path}"))
    assert isinstance(route, ReleaseFile)
    found = [each.index.name for each in by_index(route)]
    assert found == owners if owners else {"pypi", "corp", "team"} <= set(found)
