"""How allocations run: one contract, and the runtimes that keep it."""
