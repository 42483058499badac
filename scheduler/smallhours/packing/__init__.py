"""Which trials share a card: what they need, what pays, and what is undone. No I/O, no clock."""
