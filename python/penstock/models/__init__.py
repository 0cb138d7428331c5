"""Models as the configuration makes them: which names there are and what stands behind each."""
