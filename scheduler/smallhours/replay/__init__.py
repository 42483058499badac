"""Replay: stopping rules on recorded learning curves, to measure what they save and what they cost.

Reading order: `table` (what was recorded), `night` (one study, played), `peers` (what rules are
compared with), `measure` (what came of many studies), `history` (a table out of the ledger).
"""
