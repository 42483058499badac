"""The launchers by name."""

from __future__ import annotations

from smallhours.backends.base import Launcher


def make(name: str) -> Launcher:
    """Return a fresh launcher: ``local`` for threads of the engine, else Ray's slots."""
    if name == "local":
        from smallhours.backends.local import LocalLauncher

        return LocalLauncher()
    from smallhours.backends.ray_tune import RayLauncher

    return RayLauncher()
