"""Metrics: the data plane's, with the control plane's own gauges after them."""
