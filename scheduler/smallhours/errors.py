"""Everything that smallhours raises on purpose.

SmallhoursError
├── UsageError         the user can mend it: file, key, trial or command line; exit 2
│   └── StudyFileError the study file is wrong, with file and key
├── NotFoundError      no study or trial of that name; exit 2
├── EngineError        the engine could not be started or reached; exit 3
└── LedgerError        the ledger is damaged, of another version, or held by another engine; exit 4
"""

from __future__ import annotations


class SmallhoursError(Exception):
    """Base of all errors; `exit_code` is what the command line leaves with."""

    exit_code = 1


class UsageError(SmallhoursError):
    """Something in a file or on the command line is wrong; the message says what to do."""

    exit_code = 2


class StudyFileError(UsageError):
    """A study file is wrong: which file, which key (empty: the whole file), what was expected."""

    def __init__(self, file: str, key: str, message: str) -> None:
        self.file, self.key, self.message = file, key, message
        super().__init__(f"{file}: {key}: {message}" if key else f"{file}: {message}")


class NotFoundError(SmallhoursError):
    """No study or trial has that name."""

    exit_code = 2


class EngineError(SmallhoursError):
    """The engine could not be started or did not answer."""

    exit_code = 3


class LedgerError(SmallhoursError):
    """The ledger is damaged, of another version, or held by another engine."""

    exit_code = 4
