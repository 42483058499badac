"""Why something waits: the closed set of reasons why a trial is not running now."""

from __future__ import annotations

from enum import StrEnum, unique


@unique
class Why(StrEnum):
    """Why a trial waits; the words are shown to people as they are."""

    FULL = "device full"
    MEMORY = "not enough memory"
    ALONE = "runs alone: waits for the others to end"
    PROBE = "measured first: waits for the study's first trial"
    MAKING_ROOM = "makes room for a trial that has waited long"
    KNOWN_MISTAKE = "known mistake"
    ASKED = "its parameters are being chosen"
    OPENING = "the machine is being prepared"
    PAUSED = "study paused"
    HALTED = "study halted"
    HOURS = "outside the study's hours"
    QUIET = "quiet hours"
    HOT = "device too hot"
    SHARING = "what shares the device is being started (MPS)"
    NO_DEVICE = "no device that it may run on"
    YIELDED = "machine yielded"
    TOO_LATE = "would not end before the deadline"
    TOO_LATE_HOURS = "would not end before the hours do"
    DEADLINE = "after the deadline"
