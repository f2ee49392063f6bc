"""One order of all operations, durable before anyone hears of it and chained by hashes."""
