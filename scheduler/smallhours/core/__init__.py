"""What decides: a state machine without I/O, its events, actions and reasons."""
