"""What runs trials: real processes (with or without Ray), or a simulation."""
