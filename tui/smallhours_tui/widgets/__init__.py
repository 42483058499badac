"""Widgets of our own: a table, a curve plot, lanes of slots, and bars made of text."""
