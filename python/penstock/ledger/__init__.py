"""The durable ledger: from the data plane's queue to rows, sums and what everybody has spent, each record exactly once.

A record is *applied* when its row is committed, and *charged* when the sums and whoever pays have it too. Both are told
by watermarks per incarnation (one run of one gateway), which move in the same transaction as what they stand for: so a
record that comes again is known, and a figure of spending can be told apart from what is not in it yet.
"""
