"""SWIM in a simulated world: members that watch each other over datagrams."""
