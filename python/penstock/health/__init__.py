"""Health: is the process alive, and will it take calls."""
