"""Real implementations of small things, shared by tests."""
