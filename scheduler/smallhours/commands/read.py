"""The verbs that only print: they read the ledger and change nothing.

Each loads what it needs when it is called, so that none pays for the others. What ``--json`` prints
is one JSON object: keys stay as they are documented here, numbers are numbers, and what is unknown
or not finite is null. A trial's or a study's ``reason`` is the object that the ledger keeps (see
`core.reasons`): its name under ``reason``, its evidence beside it.
"""

from __future__ import annotations

from typing import TextIO

from smallhours.clock import Clock
from smallhours.errors import UsageError
from smallhours.paths import Home
from smallhours.snapshot import Snapshot
from smallhours.text import listing


def show(
    home: Home, *, target: str | None, as_json: bool, out: TextIO, clock: Clock | None = None
) -> int:
    """Print all studies, one study, or one trial.

    JSON without a target: ``engine`` (running, pid, session, started_at, ended, restarting) and
    ``studies``, each with id, name, metric, goal, state, outcome, trials, ended, best, baseline,
    seconds.

    JSON of a study: what is above, and question, hypothesis, steps, source, halted, added_at,
    started_at, ended_at, states, reasons (counts), confirmed, confirmations, steps_run,
    steps_saved, seconds_saved, packing (null where trials have fixed places; else kind, devices:
    each name, title, label, index; probes, measured, largest_bytes, predicted, missed, bias,
    tightness, sharing, busy, weight, compute, step_s and meaning: the text), recheck (as `why` has
    it) and ``rows``: every trial with trial, number, role, of, params, seed, reason (its name),
    score, last_step, seconds. ``best`` and ``baseline`` hold trial, score, fresh and seeds (each n,
    mean, sd), confirmed, confirmations.

    JSON of a trial: trial, number, study, role, of, params, seed, state, waiting (why, to,
    from_step), reason, then, continued (each at, cause, by, attempts), score, last_step, seconds,
    curve ([step, value] pairs), attempts (number, device, device_title, started_at, ended_at,
    resume_step, pid, intent, reason, then, last_step, seconds, peak_bytes, footprint, probe,
    expected_bytes, promised_bytes, held_bytes, cap, rejected) and checkpoints (step, attempt, path,
    size_bytes, at).

    Returns:
        The exit code.
    """
    with Snapshot(home, clock) as snapshot:
        if target is None:
            from smallhours.commands import show_study

            show_study.overview(snapshot, as_json=as_json, out=out)
            return 0
        found = snapshot.resolve(target)
        if found.trial is None:
            from smallhours.commands import show_study

            show_study.study(snapshot, found.study, as_json=as_json, out=out)
            return 0
        from smallhours.commands import show_trial

        show_trial.trial(snapshot, found.study, found.trial, as_json=as_json, out=out)
    return 0


def why(
    home: Home,
    *,
    target: str | None,
    against: str | None = None,
    as_json: bool,
    out: TextIO,
    clock: Clock | None = None,
) -> int:
    """Say why a trial is where it is, what became of a study, or how two trials differ.

    JSON of a trial: trial, state, paragraphs (the text), reason, waiting, continued (each at,
    cause, by, attempts), alike (names of trials that failed at the same place), attempts (number,
    last_step, seconds, then, reason).

    JSON of a study: study, state, outcome, halted, paragraphs, groups (group, trials, reasons: each
    reason, trials, names), failures (type, message, where, fingerprint, trials: names), mistakes:
    failures by cause (kind, cause, trials, others, boundary: the split that sets them apart, or
    null, words), and recheck (drawn, finished, unfinished, false, pick, seed_sd, level, own,
    pooled; the last two n, false, share, low, high).

    JSON of two trials: trials (two names), metric, goal, paragraphs, params (each name, values),
    scores, reasons, steps (each step, values, ahead) and spans (each from, to, ahead).

    Returns:
        The exit code.

    Raises:
        UsageError: what is to be compared are not two trials of studies with the same metric.
    """
    with Snapshot(home, clock) as snapshot:
        found = snapshot.resolve(target or _only_study(snapshot, "why"))
        if against is not None:
            from smallhours.commands import why_against

            other = snapshot.resolve(against)
            why_against.why(snapshot, found, other, as_json=as_json, out=out)
            return 0
        if found.trial is None:
            from smallhours.commands import why_study

            why_study.why(snapshot, found.study, as_json=as_json, out=out)
        else:
            from smallhours.commands import why_trial

            why_trial.why(snapshot, home, found.study, found.trial, as_json=as_json, out=out)
    return 0


def best(
    home: Home, *, target: str | None, as_json: bool, out: TextIO, clock: Clock | None = None
) -> int:
    """Print a study's best parameters, their score with its spread, and the best checkpoint.

    JSON: study, metric, goal, confirmed (whether all confirmations are over), claim (the text),
    best and baseline (each null, or trial, params, score, fresh, seeds, confirmed, confirmations),
    checkpoint (null, or path, step, size_bytes) and difference (null, or gain, share, low, high,
    stands_out, of: ``fresh seeds`` or ``scores``; a gain above 0 is better than the baseline).

    Returns:
        The exit code: 1 where no trial has completed.

    Raises:
        UsageError: the target is a trial.
    """
    from smallhours.commands import best as page

    with Snapshot(home, clock) as snapshot:
        found = snapshot.resolve(target or _only_study(snapshot, "best"))
        if found.trial is not None:
            name = snapshot.study(found.study).name
            raise UsageError(
                f"`best` is for studies: `smallhours best {name}`; a trial is shown by"
                f" `smallhours show {name}/{found.trial}`"
            )
        return page.best(snapshot, found.study, as_json=as_json, out=out)


def log(
    home: Home,
    *,
    target: str,
    out: TextIO,
    as_json: bool = False,
    follow: bool = False,
    lines: int | None = None,
    attempt: int | None = None,
) -> int:
    """Print what a trial wrote, attempt by attempt.

    JSON: trial, state and ``attempts``, each with number and lines.

    Args:
        home: The state directory.
        target: The trial.
        out: Where to print.
        as_json: Print JSON; what is added later can't be followed then.
        follow: Go on as it grows, until the trial is over.
        lines: Only so many lines, the last ones; None: all.
        attempt: Of this attempt only; None: of all.

    Returns:
        The exit code.

    Raises:
        UsageError: the target is a study, the trial has no such attempt, or JSON is to be followed.
    """
    from smallhours.commands import log as page

    if as_json and follow:
        raise UsageError("`log` with --json prints what there is: it can't --follow")
    with Snapshot(home) as snapshot:
        found = snapshot.resolve(target)
        if found.trial is None:
            name = snapshot.study(found.study).name
            raise UsageError(f"`log` is for trials, like `smallhours log {name}/0`")
        trial = snapshot.trial(found.study, found.trial)
        if attempt is not None and attempt not in {a.number for a in trial.attempts}:
            raise UsageError(f"{trial.name} has no attempt {attempt}; it has {len(trial.attempts)}")
        printer = page.LogPrinter(snapshot, home, out, attempt=attempt)
        if as_json:
            printer.write_json(trial, lines=lines)
            return 0
        printer.print(trial, lines=lines, unfinished=not follow)
        if follow:
            printer.follow(trial)
    return 0


def _only_study(snapshot: Snapshot, verb: str) -> str:
    """Return the name of the study that must be meant where none is named.

    Raises:
        UsageError: there is more than one.
    """
    names = snapshot.names()
    if len(names) != 1:
        raise UsageError(f"`{verb}` which? there are {listing(names)}: `smallhours {verb} NAME`")
    return names[0]
