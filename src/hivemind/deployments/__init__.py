"""How an app changes: strategies that turn what is wanted and what is there into steps. Pure."""
