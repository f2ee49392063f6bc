"""What this node says of itself: structured logs and metrics."""
