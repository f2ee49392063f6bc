"""Agreement on one order among voters of whom f may lie: Practical Byzantine Fault Tolerance, sans IO.

`replica.Replica` is the machine, `events` its door, `wire` what it says, `quorum` how many are enough.
"""
