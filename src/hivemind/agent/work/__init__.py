"""What becomes of one allocation on its node: containers started, looked after, ended and stopped."""
