"""The files for several proxies: what they name is there, and Kubernetes' schemas take them (where `kubernetes-validate` is installed)."""

import importlib.util
from pathlib import Path
from typing import Any, Final

import pytest
from ruamel.yaml import YAML

from pkgcache.settings import OPTIONS
from pkgcache.web.endpoints import ProxyPages

REPOSITORY: Final = Path(__file__).parent.parent
DATA: Final = REPOSITORY / "addon" / "pkgcache" / "data"
MANIFESTS: Final[list[Any]] = list(YAML(typ="safe").load_all((DATA / "kubernetes" / "pypi-cache.yaml").read_text()))
BY_KIND: Final = {manifest["kind"]: manifest for manifest in MANIFESTS}
COMPOSE: Final = DATA / "container" / "balanced.yaml"
OPTION_NAMES: Final = {option.full_name for option in OPTIONS}


def pod() -> Any:
    return BY_KIND["Deployment"]["spec"]["template"]["spec"]


def options_in(words: list[str]) -> set[str]:
    return {word.removeprefix("--set=").partition("=")[0] for word in words if word.startswith("--set=")}


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda manifest: manifest["kind"])
def test_kubernetes_takes_it(manifest: Any) -> None:
    """Held against Kubernetes' own schemas, every unknown field refused."""
    if importlib.util.find_spec("kubernetes_validate") is None:
        pytest.skip("kubernetes-validate is not installed (its schemas are 108 MB), so the manifests are only parsed")
    import kubernetes_validate  # type: ignore[import-not-found]  # noqa: PLC0415  as above

    kubernetes_validate.validate(manifest, "1.31", strict=True)


def test_the_manifests_fit_together() -> None:
    labels = BY_KIND["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert BY_KIND["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert BY_KIND["Service"]["spec"]["selector"] == labels
    assert BY_KIND["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert (
        BY_KIND["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"]
        == BY_KIND["Deployment"]["metadata"]["name"]
    )
    assert "replicas" not in BY_KIND["Deployment"]["spec"], "each apply would undo the autoscaler's number"
    [container] = pod()["containers"]
    volumes = {volume["name"] for volume in pod()["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes
    assert (
        {port["name"] for port in container["ports"]}
        == {BY_KIND["Service"]["spec"]["ports"][0]["targetPort"]}
        == {"proxy"}
    )


def test_the_pods_probes_and_options_are_there() -> None:
    [container] = pod()["containers"]
    asked = {container[probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert asked == {"/readyz", "/healthz"}
    source = Path(ProxyPages.__init__.__code__.co_filename).read_text()
    assert all(f'"{path}"' in source for path in asked)
    assert options_in(container["args"])
    assert options_in(container["args"]) <= OPTION_NAMES
    wait = next(option.default for option in OPTIONS if option.name == "stop_wait")
    assert pod()["terminationGracePeriodSeconds"] >= 5 + int(str(wait).removesuffix("s")) + 5
    assert (pod()["securityContext"]["runAsUser"], container["securityContext"]["readOnlyRootFilesystem"]) == (
        10001,
        True,
    )


def test_the_compose_file_names_what_is_there() -> None:
    compose = YAML(typ="safe").load(COMPOSE.read_text())
    proxies = [compose["services"][name] for name in ("one", "two")]
    balancer = compose["services"]["haproxy"]
    for proxy in proxies:
        assert "ca:/data/ca" in proxy["volumes"], "one CA for both"
        assert options_in(proxy["command"]) <= OPTION_NAMES
        assert f"--set=pypi_cache_proxy_protocol={balancer['networks']['caches']['ipv4_address']}" in proxy["command"]
        assert (COMPOSE.parent / proxy["build"]["context"] / proxy["build"]["dockerfile"]).is_file()
    assert proxies[0]["volumes"] != proxies[1]["volumes"], "and a store for each"
    assert {f"{proxy['networks']['caches']['ipv4_address']}:8080" for proxy in proxies} == set(
        balancer["environment"].values()
    )
    config = (COMPOSE.parent / balancer["volumes"][0].partition(":")[0]).read_text()
    assert all(f"${{{name}-" in config for name in balancer["environment"])
