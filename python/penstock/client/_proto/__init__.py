"""Generated from `proto/penstock/v1` by `proto/generate.py`; not edited by hand."""
