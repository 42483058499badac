"""``smallhours best``: the winner, how sure one can be of it, and where its checkpoint lies."""

from __future__ import annotations

from typing import TextIO

from smallhours.core.spec import Goal, ScoreKind
from smallhours.snapshot import CheckpointView, Snapshot, Spread, Standing, StudyView, TrialView
from smallhours.snapshot.compare import Difference, difference, side_words
from smallhours.text import Page, Toned, clean, count, number, params, size


def best(snapshot: Snapshot, study_id: int, *, as_json: bool, out: TextIO) -> int:
    """Print a study's answer; returns 1 where it has none yet, else 0."""
    study = snapshot.study(study_id)
    winner = snapshot.trial(study_id, study.best.trial) if study.best else None
    baseline = snapshot.trial(study_id, study.baseline.trial) if study.baseline else None
    saved = _best_checkpoint(winner, study) if winner else None
    if as_json:
        from smallhours.commands import documents

        documents.write(out, _document(study, winner, baseline, saved))
        return 0 if winner else 1
    page = Page(out)
    if winner is None or study.best is None:
        page.paragraph(claim(study))
        return 1
    _print_scores(page, study, study.best)
    page.line()
    page.paragraph(claim(study))
    page.line()
    _print_checkpoint(page, winner, saved)
    if baseline is not None and baseline.number != winner.number:
        page.line(Toned("baseline    ", "dim"), params(baseline.params))
    page.line(Toned("parameters  ", "dim"), f"of {winner.name}, as Python has them:")
    page.line()
    page.line("{")
    for name, value in winner.params.items():
        page.line(f"    {name!r}: {value!r},")
    page.line("}")
    return 0


def claim(study: StudyView) -> str:
    """Return what can be said of winner and baseline, and how surely, as a paragraph."""
    best_, gain = study.best, difference(study)
    if best_ is None:
        ended = "None of its trials completed" if study.outcome else "No trial has completed yet"
        return f"{ended}, so {study.name} has no best one; `smallhours why {study.name}` says more."
    name = study.trial_name(best_.trial)
    if study.baseline is not None and best_.trial == study.baseline.trial:
        said = (
            f"Nothing was better than the baseline, {name}, among"
            f" {count(len(study.ranking), 'completed trial')}."
        )
        return f"{said} {_confirmation(study)}".rstrip()
    said = f"{name} is the best of {count(len(study.ranking), 'completed trial')}."
    if gain is None:
        return (
            f"{said} The baseline has no score to compare it with. {_confirmation(study)}".rstrip()
        )
    return f"{said} {_difference(study, gain)} {_confirmation(study)}".rstrip()


def _difference(study: StudyView, gain: Difference) -> str:
    metric, goal = clean(study.spec.metric, 60), study.spec.goal
    if gain.of == "scores":
        return (
            f"Its {metric} is {side_words(goal, gain)} than the baseline's, each on one seed: that"
            " may be noise."
        )
    said = f"On fresh seeds its {metric} is {side_words(goal, gain)} than the baseline's on average"
    if gain.low is None or gain.high is None:
        return f"{said}; with one fresh seed a side, nobody can say whether that is noise."
    low, high = (gain.low, gain.high) if goal is Goal.MAXIMIZE else (-gain.high, -gain.low)
    said += f"; the difference is {_signed(low)} to {_signed(high)} (95 % interval)."
    if gain.stands_out:
        return f"{said} It stands out from the noise."
    if gain.high < 0:
        return f"{said} The baseline is the better one."
    return f"{said} It does not stand out from the noise."


def _confirmation(study: StudyView) -> str:
    """Return how far the claim is confirmed; empty: it is."""
    if not study.spec.confirm and not study.confirmations:
        return (
            "Not confirmed: the study asks for no confirmations (`confirm=3` repeats baseline and"
            " winner on 3 fresh seeds)."
        )
    standings = [s for s in (study.best, study.baseline) if s is not None]
    missing = [s for s in standings if s.fresh is None]
    if study.confirmed < study.confirmations or (missing and not study.outcome):
        over = f"{study.confirmed} of {study.confirmations}" if study.confirmations else "none"
        return f"Not confirmed yet: {over} of the confirmations are over."
    if missing:
        return "Not confirmed: the confirmations did not complete."
    return ""


def is_confirmed(study: StudyView) -> bool:
    """Say whether winner and baseline were repeated on fresh seeds, all of them over."""
    return study.best is not None and not _confirmation(study)


def _signed(value: float) -> str:
    return f"+{number(value)}" if value > 0 else number(value)


def _print_scores(page: Page, study: StudyView, winner: Standing) -> None:
    rows = [_scores(study, winner, "the best")]
    if study.baseline is not None and study.baseline.trial != winner.trial:
        rows.append(_scores(study, study.baseline, "the baseline"))
    page.table(
        ("", "trial", study.spec.metric, "mean ± SD on fresh seeds"),
        rows,
        right="  r",
        shrink=(1, 2),
        indent=0,
    )


def _scores(study: StudyView, standing: Standing, what: str) -> tuple[str, ...]:
    return (
        what,
        study.trial_name(standing.trial),
        number(standing.score),
        _spread(standing.fresh),
    )


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return "–"
    sd = "" if spread.sd is None else f" ± {number(spread.sd)}"
    return f"{number(spread.mean)}{sd} (n = {spread.n})"


def _print_checkpoint(page: Page, winner: TrialView, saved: CheckpointView | None) -> None:
    if saved is None:
        advice = (
            f"{winner.name} has none: call trial.checkpoint(state) in the training function, and"
            " trials keep them from then on"
        )
        page.pairs([("checkpoint", advice)], indent=0)
        return
    missing = "" if saved.path.is_dir() else ", but it is missing on disk"
    page.line(Toned("checkpoint  ", "dim"), str(saved.path))
    page.line(f"step {saved.step}, {size(saved.size_bytes)}{missing}", indent=12)


def _best_checkpoint(winner: TrialView, study: StudyView) -> CheckpointView | None:
    """Return the checkpoint that goes with the score: of the best step, or the last one."""
    if not winner.checkpoints:
        return None
    if study.spec.score is ScoreKind.LAST:
        return max(winner.checkpoints, key=lambda saved: saved.step)
    sign = 1.0 if study.spec.goal is Goal.MINIMIZE else -1.0
    return min(
        winner.checkpoints,
        key=lambda saved: (sign * winner.curve.get(saved.step, sign * float("inf")), -saved.step),
    )


def _document(
    study: StudyView,
    winner: TrialView | None,
    baseline: TrialView | None,
    saved: CheckpointView | None,
) -> dict[str, object]:
    return {
        "study": study.name,
        "metric": study.spec.metric,
        "goal": study.spec.goal,
        "confirmed": is_confirmed(study),
        "claim": claim(study),
        "best": _standing(study.best, winner),
        "baseline": _standing(study.baseline, baseline),
        "checkpoint": None
        if saved is None
        else {"path": str(saved.path), "step": saved.step, "size_bytes": saved.size_bytes},
        "difference": difference(study),
    }


def _standing(standing: Standing | None, trial: TrialView | None) -> dict[str, object] | None:
    if standing is None or trial is None:
        return None
    return {
        "trial": trial.name,
        "params": trial.params,
        "score": standing.score,
        "fresh": standing.fresh,
        "seeds": standing.seeds,
        "confirmed": standing.confirmed,
        "confirmations": standing.confirmations,
    }
