"""`pypi-cache doctor`: find what is wrong with a proxy, its store or an agent, and say what to do about it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import click

from pkgcache.cli.checks.findings import Finding, State, note, problem, well
from pkgcache.cli.checks.local import check_ca, check_disk, check_limits, check_python, check_store
from pkgcache.cli.checks.network import check_client, check_parent, check_proxy, check_upstreams
from pkgcache.cli.checks.shared import check_shared
from pkgcache.cli.exits import FOUND
from pkgcache.cli.output import AS_JSON, counted, print_json, print_line
from pkgcache.cli.proxy_client import proxy_of_environment
from pkgcache.cli.store_location import StoreLocation, with_store_options
from pkgcache.engine.pip_defaults import pip_defaults
from pkgcache.rules.routing.indexes import build_indexes
from pkgcache.settings import SettingError

_MARKS: dict[State, tuple[str, str]] = {"well": ("✓", "green"), "note": ("!", "yellow"), "problem": ("✗", "red")}


@click.command(short_help="Find what is wrong, and say what to do about it.")
@click.option(
    "--proxy",
    metavar="URL",
    help="The running proxy.  [default: HTTPS_PROXY, or this machine on the port of config.yaml, else 8080]",
)
@click.option(
    "--client",
    "only_client",
    is_flag=True,
    help="Check this machine only as an agent: its environment, and the proxy.",
)
@click.option("--no-upstreams", is_flag=True, help="Do not ask the upstreams.")
@AS_JSON
@with_store_options
def doctor(location: StoreLocation, *, proxy: str | None, only_client: bool, no_upstreams: bool, as_json: bool) -> None:
    """Check Python, CA, store, disk, limits, upstreams, the running proxy and this environment, and say what to do about each problem.

    ✓ all is well, ! may be intended, ✗ is a problem. It changes nothing, except that it stores a small entry and removes it again.

    Exit code 1 if there is a problem.
    """
    findings: list[Finding] = []
    for finding in _findings(location, proxy, only_client=only_client, no_upstreams=no_upstreams):
        findings.append(finding)
        if not as_json:
            _show(finding)
    problems, notes = (sum(finding.state == state for finding in findings) for state in ("problem", "note"))
    if as_json:
        print_json(
            [{"check": each.check, "state": each.state, "said": each.message, "todo": each.advice} for each in findings]
        )
    else:
        print_line(f"\n{counted(problems, 'problem')}, {counted(notes, 'note')}")
    if problems:
        raise click.exceptions.Exit(FOUND)


def _findings(
    location: StoreLocation, proxy: str | None, *, only_client: bool, no_upstreams: bool
) -> Iterator[Finding]:
    """Make all checks, one after the other, so that each is shown as it is made; the slow ones come last."""
    try:
        indexes = build_indexes(location.settings.index, pip_defaults())
    except SettingError as error:
        yield problem("settings", str(error), "correct the option")
        return
    yield from check_python()
    if not only_client:
        yield from check_ca(location.confdir)
        yield from check_store(location)
        yield from check_disk(location)
        yield from check_limits()
        yield from check_shared(location)
    environment_proxy = proxy_of_environment(os.environ)
    default = (
        environment_proxy.url
        if environment_proxy is not None and environment_proxy.client
        else f"http://127.0.0.1:{location.config.get('listen_port') or 8080}"
    )
    yield from check_proxy(proxy or default, was_named=proxy is not None)
    yield from check_client(location.confdir, indexes, environment_proxy, proxy, only_client=only_client)
    if only_client:
        return
    if environment_proxy is not None and environment_proxy.is_here:
        yield note(
            "upstreams", "not asked, since this is an agent's environment", "run doctor in the proxy's own environment"
        )
        return
    yield from check_parent()
    if location.settings.offline:
        yield well("upstreams", "not asked, since pypi_cache_offline is set")
    elif not no_upstreams:
        yield from check_upstreams(indexes)


def _show(finding: Finding) -> None:
    mark, colour = _MARKS[finding.state]
    print_line(f"{click.style(mark, fg=colour)} {finding.check}: {finding.message}")
    if finding.advice:
        print_line(f"    → {finding.advice}")
