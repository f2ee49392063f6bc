"""What nodes see: a signed log for each writer, merged into one sorted view."""
