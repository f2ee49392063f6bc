"""The nouns of Hivemind: frozen structs, their validation and how they show themselves. One kind a file."""
