"""Hivemind: one program on every machine of a group, which together run apps and jobs with no master."""

__version__ = "0.1.0"
