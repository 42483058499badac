"""What Ray Tune calls: the slot, and the hooks through which the desk hands orders to Tune.

Import this only once Ray's environment is set (`ray_tune.environment`): Ray reads it on import.
What the patches of Tune's controller rely on is looked for at start, so that another version of Ray
is refused and not half-broken.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import traceback
from collections.abc import Callable
from typing import Any

import ray
from ray import tune
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from smallhours.backends.ray_desk import Desk, Leave
from smallhours.worker import limits
from smallhours.worker.slot import run_attempt

#: What the patches touch beyond Tune's public interface.
_CLASS_INTERNALS = ("_maybe_reuse_cached_actor", "_unstage_trial_with_resources")
_CONTROLLER_INTERNALS = (
    "_actor_cache", "_actor_manager", "_failed_trials", "_live_trials", "_resetting_trials",
    "_staged_trials", "_stopped_trials", "_trial_metadata", "_trial_to_actor", "_trials",
    "_trials_to_cache",
)  # fmt: skip
_MANAGER_INTERNALS = (
    "_actor_state_events", "_actor_task_events", "_resource_manager", "is_actor_started", "next"
)  # fmt: skip


class Slot(tune.Trainable):  # type: ignore[misc]
    """One place for attempts: a step is a whole attempt, and the trial's only result."""

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> Any:  # noqa: ARG003
        """Take one slot and no CPU: the attempts are not Ray's processes."""
        return tune.PlacementGroupFactory([{"CPU": 0, "slot": 1}])

    def setup(self, config: dict[str, Any]) -> None:
        """Tie this process to its raylet; an attempt starts in `step`."""
        try:
            limits.die_with_parent(int(os.environ.get("RAY_RAYLET_PID", os.getppid())))
        except limits.ParentGoneError:
            os._exit(1)

    def reset(self, new_config: dict[str, Any], storage: Any = None) -> bool:
        """Take the next trial, without the directory that Tune's own `reset` makes for each."""
        self.config = new_config
        return self.reset_config(new_config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial."""
        return True

    def step(self) -> dict[str, Any]:
        """Run the attempt; whatever happens is data, never an exception."""
        try:
            order = json.loads(self.config["order"])
            ended = run_attempt(order["zygote"], order["order"])
        except Exception:  # noqa: BLE001 - a raising step costs Tune the actor
            ended = {"lost_parent": "slot", "detail": traceback.format_exc()}
        return {"done": True, "training_iteration": 1, "ended": json.dumps(ended)}


def _guarded(fallback: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Turn an exception in a hook into `Desk.fail`: in Tune it would abort `fit()` midway."""

    def wrap(hook: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(hook)
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                return hook(self, *args, **kwargs)
            except Exception:  # noqa: BLE001 - that is what this is for
                self.desk.fail(traceback.format_exc())
                return fallback

        return call

    return wrap


class _Hooks:
    """Holds the desk; pickles as nothing, because Tuner pickles its parts and we never resume."""

    desk: Desk

    def __reduce__(self) -> tuple[type[dict[str, Any]], tuple[()]]:
        return dict, ()


class Orders(_Hooks, Searcher):  # type: ignore[misc]
    """Hands Tune the next order as the next trial."""

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self.desk = desk

    @_guarded(Searcher.FINISHED)
    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the next order; None: not now; FINISHED: never again."""
        placed = self.desk.take(trial_id)
        if placed is None:
            return Searcher.FINISHED if self.desk.over else None
        order = {"zygote": placed.zygote, "order": placed.order}
        return {"attempt": str(placed.key), "order": json.dumps(order)}

    @_guarded(None)
    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Hand on how the attempt ended; without a result its slot died."""
        ended = None if error or result is None else result.get("ended")
        self.desk.done(trial_id, json.loads(ended) if ended is not None else None)

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: nothing is ever resumed from Tune's files."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing."""


class Gate(_Hooks, TrialScheduler):  # type: ignore[misc]
    """Lets every trial run to its end; its hooks are where Tune's controller can be reached."""

    def __init__(self, desk: Desk, slots: int) -> None:
        super().__init__()
        self.desk = desk
        self._slots = slots
        self._patched = False
        self._ended: list[Any] = []

    @_guarded(None)
    def choose_trial_to_run(self, tune_controller: Any) -> None:
        """Choose none (Tune starts whatever is pending); called at each turn of Tune's loop."""
        controller = tune_controller._tune_controller
        if not self._patched:
            self._patched = True
            _patch(controller, self.desk, self._slots, self._ended)
            if self.desk.over:  # refused
                self.desk.leave_if_busy()

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Do nothing: Tune starts pending trials by itself."""

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Let it go on: the one result of a trial is its end."""
        return str(TrialScheduler.CONTINUE)

    @_guarded(None)
    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Note that the trial can be forgotten."""
        self._ended.append(trial)

    @_guarded(None)
    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """Note that the trial can be forgotten."""
        self._ended.append(trial)

    @_guarded(None)
    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """Note that the trial can be forgotten."""
        self._ended.append(trial)

    def debug_string(self) -> str:
        """Return nothing worth printing."""
        return ""


class Starts(_Hooks, TrialProgressCallback):  # type: ignore[misc]
    """Tells the desk when a trial really has its slot.

    It stands in for Tune's progress callback, which prints, and keeps every trial for ever.
    """

    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    @_guarded(None)
    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Note that from now on the order may have reached the zygote."""
        self.desk.began(trial.trial_id)

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        """Leave `fit()` once its slots are gone: next it would read all trials from its files."""
        if self.desk.over:
            raise Leave

    def on_trial_result(self, *args: Any, **kwargs: Any) -> None:
        """Print nothing."""

    def on_trial_error(self, *args: Any, **kwargs: Any) -> None:
        """Print nothing."""

    def on_trial_complete(self, *args: Any, **kwargs: Any) -> None:
        """Print nothing."""


def unexpected_internals() -> str:
    """Say what of Tune's insides is not as the patches need it; empty: all is well."""
    missing = [name for name in _CLASS_INTERNALS if not hasattr(TuneController, name)]
    if not hasattr(ray.ObjectRef, "_on_completed"):
        missing.append("ObjectRef._on_completed")
    return _refusal(missing)


def _refusal(missing: list[str]) -> str:
    if not missing:
        return ""
    return (
        f"Ray {ray.__version__} lacks what smallhours relies on ({', '.join(missing)}): "
        "install the version of the constraints file (ray 2.60)"
    )


def _patch(controller: Any, desk: Desk, slots: int, ended: list[Any]) -> None:
    """Make Tune add slots while trials are short, keep idle ones, and wake up for orders."""
    manager = controller._actor_manager
    missing = [name for name in _CONTROLLER_INTERNALS if not hasattr(controller, name)]
    missing += [name for name in _MANAGER_INTERNALS if not hasattr(manager, name)]
    if missing:
        desk.fail(_refusal(missing))
        return
    _let_slots_grow(controller, slots)

    def idle() -> None:
        while ended:
            _forget(controller, ended.pop())

    _wake_for_orders(manager, desk, idle)
    _save_round_trips()


def _let_slots_grow(controller: Any, slots: int) -> None:
    """Never give a freed actor to a trial whose own is starting: that throws the new one away.

    And keep as many idle actors as there are slots: Tune keeps one.
    """
    stock = controller._maybe_reuse_cached_actor

    def reuse(trial: Any) -> bool:
        own = controller._trial_to_actor.get(trial)
        resetting = trial in controller._resetting_trials
        manager = controller._actor_manager
        if own is not None and not resetting and manager.is_actor_started(own):
            return False
        return bool(stock(trial))

    controller._maybe_reuse_cached_actor = reuse
    resources = controller._trials[-1].placement_group_factory
    controller._actor_cache.increase_max(resources, by=slots)


def _wake_for_orders(manager: Any, desk: Desk, idle: Callable[[], None]) -> None:
    """Have Tune's loop sleep until an actor or the engine has something, not for 0.1 s at a time.

    Tune waits in `ray.wait(..., timeout=0.1)`, where an order can't reach it.
    """
    stock = manager.next
    heard: set[Any] = set()

    def ring(_: Any) -> None:
        desk.ring()

    def wait_for_event(timeout: float | None = None) -> bool:
        if desk.over:
            idle()
            desk.leave_if_busy()
            return bool(stock(timeout))
        desk.hush()
        futures = set(manager._resource_manager.get_resource_futures())
        futures |= manager._actor_state_events.get_futures()
        futures |= manager._actor_task_events.get_futures()
        for future in futures - heard:
            future._on_completed(ring)
        heard.intersection_update(futures)
        heard.update(futures)
        if stock(0):
            return True
        idle()
        desk.listen()
        return bool(stock(0))

    manager.next = wait_for_event


def _save_round_trips() -> None:
    """Spare each trial three questions to Ray's key-value store and two calls of its actor.

    Tune looks the trainable up again and again, and has the actor tell its pid and host, which
    nobody reads: 5 of the 12 ms from an order to its slot.
    """
    registry = ray.tune.registry._global_registry
    if not hasattr(registry.get, "cache_info"):
        registry.get = functools.lru_cache(registry.get)
        registry.contains = functools.lru_cache(registry.contains)

    def set_ray_actor(trial: Any, actor: Any) -> None:
        trial.temporary_state.ray_actor = actor

    Trial.set_ray_actor = set_ray_actor


def _forget(controller: Any, trial: Any) -> None:
    """Take an ended trial out of Tune's books, which otherwise grow by 29 KB a trial."""
    if trial in controller._staged_trials:
        controller._unstage_trial_with_resources(trial)
    controller._trials.remove(trial)
    controller._trial_metadata.pop(trial.trial_id, None)
    for name in ("live", "stopped", "failed", "resetting"):
        getattr(controller, f"_{name}_trials").discard(trial)
    controller._trials_to_cache.discard(trial)
    shutil.rmtree(trial.local_path, ignore_errors=True)
