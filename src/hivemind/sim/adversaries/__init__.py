"""Those who lie: each a mind that holds a node's real key. `registry` has their names."""
