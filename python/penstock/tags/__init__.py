"""Tags: labels of keys and requests that can have limits of their own."""
