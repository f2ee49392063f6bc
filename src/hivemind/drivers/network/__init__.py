"""How allocations are reached: one contract, and the networks that keep it."""
