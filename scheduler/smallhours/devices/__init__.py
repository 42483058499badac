"""What the machine has and what its parts are doing."""
