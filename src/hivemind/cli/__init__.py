"""The command line: a table of commands from which parsers, help, completion and docs derive."""
