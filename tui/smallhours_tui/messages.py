"""What parts of the dashboard tell each other."""

from __future__ import annotations

from textual.message import Message

from smallhours_tui.feed import Night, Update


class Fed(Message):
    """There is something new to show; posted to the screen that is on top."""

    def __init__(self, night: Night, update: Update) -> None:
        super().__init__()
        #: All that is known of the night now.
        self.night = night
        #: What of it is new.
        self.update = update


class TrialWanted(Message):
    """Somebody wants to see a trial."""

    def __init__(self, study: int, trial: int) -> None:
        super().__init__()
        self.study = study
        self.trial = trial


class StudyWanted(Message):
    """Somebody wants to see a study."""

    def __init__(self, study: int) -> None:
        super().__init__()
        self.study = study
