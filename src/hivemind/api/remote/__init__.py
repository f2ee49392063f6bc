"""One node's API asked through another's."""
