"""This node's reconciler: what was agreed for it is compared with what runs, and made so."""
