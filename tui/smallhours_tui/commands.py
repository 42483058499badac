"""What the palette finds: screens, studies, and any trial by its name."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, cast

from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.types import IgnoreReturnCallbackType

from smallhours.errors import NotFoundError

if TYPE_CHECKING:
    from smallhours_tui.app import Dashboard


class Commands(Provider):
    """The commands of the dashboard."""

    @property
    def _dashboard(self) -> Dashboard:
        return cast("Dashboard", self.app)

    async def discover(self) -> Hits:
        """Offer everything that has a name."""
        for name, run, about in self._all():
            yield DiscoveryHit(name, run, help=about)

    async def search(self, query: str) -> Hits:
        """Offer what matches; a trial by its whole name."""
        trial = self._trial(query)
        if trial is not None:
            name, run = trial
            yield Hit(2.0, f"trial {name}", run, help="open this trial")
        matcher = self.matcher(query)
        for name, run, about in self._all():
            score = matcher.match(name)
            if score > 0:
                yield Hit(score, matcher.highlight(name), run, help=about)

    def _all(self) -> Iterator[tuple[str, IgnoreReturnCallbackType, str]]:
        app = self._dashboard
        for place in app.places:
            yield (
                f"go to {place.title.lower()}",
                partial(app.go, place.name),
                f"the same as {place.key}",
            )
        yield from self._actions()
        for view in app.feed.night.studies:
            name = app.signs.say(view.name)
            question = app.signs.say(view.spec.question)
            yield f"study {name}", partial(app.open_study, view.id), question
        for name in app.theme_names:
            yield f"theme {name}", partial(setattr, app, "theme", name), "change the colours"
        yield "help", app.show_help, "the keys that work here"
        yield "leave", app.leave, "nothing is ended by it"

    def _actions(self) -> Iterator[tuple[str, IgnoreReturnCallbackType, str]]:
        """Yield what the keys of the screen below do; those it has not now are left out."""
        screen, seen = self.screen, set[str]()
        for active in screen.active_bindings.values():
            binding = active.binding
            if active.node is not screen or not active.enabled or binding.action in seen:
                continue
            seen.add(binding.action)
            about = f"the same as {self._dashboard.get_key_display(binding)}"
            said = f"{binding.tooltip}; {about}" if binding.tooltip else about
            yield binding.description.lower(), partial(screen.run_action, binding.action), said

    def _trial(self, query: str) -> tuple[str, IgnoreReturnCallbackType] | None:
        ledger = self._dashboard.feed.ledger
        words = query.split()
        if ledger is None or not words or "/" not in words[-1]:
            return None
        try:
            found = ledger.resolve(words[-1])
        except NotFoundError:
            return None
        if found.trial is None:
            return None
        name = self._dashboard.signs.say(f"{ledger.head(found.study).name}/{found.trial}")
        return name, partial(self._dashboard.open_trial, found.study, found.trial)
