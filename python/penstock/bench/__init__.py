"""`penstock bench`: what a gateway costs, measured from outside.

It speaks to any OpenAI-compatible gateway over HTTP, or over gRPC to one that has `penstock.v1.Chat`, and knows nothing of
how this one is built. The load comes from ``rust_core/loadgen``; what is here decides what to ask, reads what the
gateway's processes used meanwhile, and turns samples into tables, charts and an exit status.
"""
