"""What runs beside the user's code: needs the standard library, and torch where the study does."""
