"""Delivers mitmproxy's hooks of one connection to those addons alone that have them.

mitmproxy asks all of its forty addons for a method of the hook's name each time, which was a quarter of what a new connection costs.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from mitmproxy.addonmanager import AddonManager, safecall, traverse
from mitmproxy.exceptions import AddonHalt
from mitmproxy.flow import Flow
from mitmproxy.hooks import Hook
from mitmproxy.proxy import commands
from mitmproxy.proxy.server import ConnectionHandler


class HookTable:
    """Which addons have which hook. It is found out once, and again when an addon has come or gone (a script was reloaded)."""

    def __init__(self, manager: Callable[[], AddonManager]) -> None:
        self._manager = manager
        self._made_of: list[int] = []
        self._addons: list[Any] = []  # kept, so that no new one gets the `id` of one that has gone
        self._groups: dict[str, list[list[Any]]] = {}
        self._concerned: dict[tuple[str, ...], bool] = {}

    def listeners(self, name: str) -> list[list[Any]]:
        """Return the addons that have a hook: for each one of the chain itself and those below it."""
        manager = self._manager()
        self._notice_changes(manager)
        groups = self._groups.get(name)
        if groups is None:
            each = [[a for a in traverse([top]) if callable(getattr(a, name, None))] for top in manager.chain]
            groups = self._groups[name] = [group for group in each if group]
        return groups

    def _notice_changes(self, manager: AddonManager) -> None:
        present = list(map(id, manager.lookup.values()))
        if present != self._made_of:
            self._made_of, self._addons = present, list(manager.lookup.values())
            self._groups.clear()
            self._concerned.clear()

    async def deliver(self, hook: Hook) -> None:
        """As `AddonManager.trigger_event` does: an exception ends its group and is logged, AddonHalt ends all."""
        arguments = hook.args()
        for group in self.listeners(hook.name):
            try:
                with safecall():
                    for addon in group:
                        result = getattr(addon, hook.name)(*arguments)
                        if result is not None and inspect.isawaitable(result):
                            await result
            except AddonHalt:
                return

    def attach(self, handler: ConnectionHandler, own_addon: object, own: type[commands.StartHook]) -> None:
        """Deliver the hooks of one connection by this table. Those of the class `own` are for `own_addon` alone."""
        offer_to_all = handler.handle_hook

        async def handle_hook(hook: commands.StartHook) -> None:
            if isinstance(hook, own):
                with handler.timeout_watchdog.disarm():
                    await getattr(own_addon, hook.name)(*hook.args())
            elif isinstance(hook.args()[0], Flow):  # it may be held by the user, and is shown again after each hook
                await offer_to_all(hook)
            else:
                with handler.timeout_watchdog.disarm():
                    await self.deliver(hook)

        handler.handle_hook = handle_hook  # type: ignore[method-assign]

    def concerns_others(self, *names: str) -> bool:
        """Whether another script has one of these hooks: neither mitmproxy's own addons nor this one count."""
        self._notice_changes(self._manager())
        if names not in self._concerned:
            addons = (addon for name in names for group in self.listeners(name) for addon in group)
            self._concerned[names] = not all(map(is_mitmproxys_or_ours, addons))
        return self._concerned[names]


def is_mitmproxys_or_ours(addon: Any) -> bool:
    """Whether an addon comes with mitmproxy or is this project's, and is no other script's."""
    return type(addon).__module__.partition(".")[0] in {"mitmproxy", "pkgcache"}
