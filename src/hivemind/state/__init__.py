"""Operations and what they change: every node that applies the same batches holds the same state. Pure."""
