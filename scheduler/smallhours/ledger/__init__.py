"""The append-only record of everything that happened, and the checks on it."""
