"""Jobs written in Python: decorators that compile to the document that YAML gives, too."""
