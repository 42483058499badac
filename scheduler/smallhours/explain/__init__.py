"""Reasons in words: a few of them, a paragraph, and the evidence."""

from smallhours.explain.about import About
from smallhours.explain.evidence import Item, evidence
from smallhours.explain.sentences import sentences
from smallhours.explain.words import GROUPS, WORDS, footprint_words, in_brief, kind

__all__ = [
    "GROUPS",
    "WORDS",
    "About",
    "Item",
    "evidence",
    "footprint_words",
    "in_brief",
    "kind",
    "sentences",
]
