"""What a message says of a word that can't be. Standard library only: workers use it too."""

from __future__ import annotations

import re
from collections.abc import Iterable

_STUDY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def did_you_mean(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """Return ``; did you mean 'lr'?`` where a known word is near (or begins so), else nothing."""
    import difflib  # not above: most commands have nothing to complain about

    words = list(known)
    near = difflib.get_close_matches(word, words, n=1, cutoff=cutoff)
    if not near and len(word) >= 3:
        near = [known_word for known_word in words if known_word.startswith(word.lower())][:1]
    return f"; did you mean {near[0]!r}?" if near else ""


def expected(value: object, known: Iterable[str]) -> str:
    """Return what is wrong with a value that is none of the known words."""
    words = sorted(known)
    choices = " or ".join(f'"{word}"' for word in words)
    hint = did_you_mean(value, words) if isinstance(value, str) else ""
    return f"expected {choices}, got {value!r}{hint}"


def study_name_problem(name: object) -> str | None:
    """Say why a study can't be called so; None: it can."""
    if isinstance(name, str) and _STUDY_NAME.fullmatch(name) and ".." not in name:
        return None
    return (
        "expected up to 64 letters, digits, '.', '_' and '-', the first a letter or digit, no '..';"
        f" got {name!r}"
    )
