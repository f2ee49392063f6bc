"""Benchmarks: what the budgets of the design promise, measured beside a peer in the same run.

Every result is a ratio, for two machines never have the same seconds. `python -m bench --help` lists them.
"""
