"""From what a person wrote on the command line to a spec: a file for each concern."""
