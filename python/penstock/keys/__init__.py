"""Virtual keys: what a caller may use, how much, how fast and until when."""
