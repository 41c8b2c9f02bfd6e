"""`pypi-cache doctor`: what may be wrong with a proxy, its store or an agent, and what to do about each."""

from __future__ import annotations

import os
from collections.abc import Iterator

import click

from pkgcache.cli.checks.findings import Finding, State, note, problem, well
from pkgcache.cli.checks.local import check_ca, check_disk, check_limits, check_python, check_store
from pkgcache.cli.checks.network import check_client, check_parent, check_proxy, check_upstreams
from pkgcache.cli.exits import FOUND
from pkgcache.cli.output import AS_JSON, counted, print_json, print_line
from pkgcache.cli.proxy_client import proxy_of_environment
from pkgcache.cli.store_location import StoreLocation, with_store_options
from pkgcache.engine.pip_defaults import pip_defaults
from pkgcache.rules.routing.indexes import build_indexes
from pkgcache.settings import SettingError

_MARKS: dict[State, tuple[str, str]] = {"well": ("✓", "green"), "note": ("!", "yellow"), "problem": ("✗", "red")}


@click.command(short_help="Look for what is wrong, and say what to do about it.")
@click.option(
    "--proxy",
    metavar="URL",
    help="The running proxy.  [default: that of HTTPS_PROXY, or this machine's on the port of config.yaml, else 8080]",
)
@click.option(
    "--client",
    "only_client",
    is_flag=True,
    help="Look at this machine as an agent only: its environment, and the proxy.",
)
@click.option("--no-upstreams", is_flag=True, help="Ask no upstream.")
@AS_JSON
@with_store_options
def doctor(place: StoreLocation, *, proxy: str | None, only_client: bool, no_upstreams: bool, as_json: bool) -> None:
    """Look at Python, CA, store, disk, limits, upstreams, the running proxy and a client's environment; say what to do about each.

    ✓ is well, ! is to be known, ✗ is a problem. It changes nothing but a small entry that it stores and drops again.

    Exit code 1 if there is a problem.
    """
    findings: list[Finding] = []
    for finding in _findings(place, proxy, only_client=only_client, no_upstreams=no_upstreams):
        findings.append(finding)
        if not as_json:
            _show(finding)
    problems, notes = (sum(finding.state == state for finding in findings) for state in ("problem", "note"))
    if as_json:
        print_json(
            [{"check": each.check, "state": each.state, "said": each.said, "todo": each.todo} for each in findings]
        )
    else:
        known = f", {counted(notes, 'thing')} to be known" if notes else ""
        print_line(f"\n{counted(problems, 'problem') if problems else 'no problem'}{known}")
    if problems:
        raise click.exceptions.Exit(FOUND)


def _findings(place: StoreLocation, proxy: str | None, *, only_client: bool, no_upstreams: bool) -> Iterator[Finding]:
    """All checks, each as it is made: the slow ones come last."""
    try:
        indexes = build_indexes(place.settings.index, pip_defaults())
    except SettingError as error:
        yield problem("settings", str(error), "correct the option")
        return
    yield from check_python()
    if not only_client:
        yield from check_ca(place.confdir)
        yield from check_store(place)
        yield from check_disk(place)
        yield from check_limits()
    agents = proxy_of_environment(os.environ)
    near = (
        agents.url
        if agents is not None and agents.client
        else f"http://127.0.0.1:{place.config.get('listen_port') or 8080}"
    )
    yield from check_proxy(proxy or near, asked_for=proxy is not None)
    yield from check_client(place.confdir, indexes, agents, proxy, only_client=only_client)
    if only_client:
        return
    if agents is not None and agents.is_here:
        yield note("upstreams", "not asked: this environment is an agent's", "run it in the proxy's own environment")
        return
    yield from check_parent()
    if place.settings.offline:
        yield well("upstreams", "pypi_cache_offline is set: none is asked")
    elif not no_upstreams:
        yield from check_upstreams(indexes)


def _show(finding: Finding) -> None:
    mark, colour = _MARKS[finding.state]
    print_line(f"{click.style(mark, fg=colour)} {finding.check}: {finding.said}")
    if finding.todo:
        print_line(f"    → {finding.todo}")
