"""Token counting as a service, by the code that admission counts with."""
