"""The most of everything. Whatever is beyond is dropped before anything is decoded, stored or verified. Sizes are
in bytes; peers carry messages of up to 1 MiB."""

from __future__ import annotations

MESSAGE_SIZE = 2**20
REQUEST_SIZE = 512 * 2**10
"""Of a request's body."""
PROPOSAL_SIZE = 768 * 2**10
"""Of an encoded proposal: the largest request fits, with room for its frame."""
REQUESTS = 1024
"""In one proposal."""
IDENTIFIER = 256
"""Characters of a request's id, or of a client's."""
RESULT_SIZE = 256
VOTERS = 64
LOG = 256
"""Sequences above the last stable checkpoint."""
MARGIN = 16
"""An epoch begins at least so many sequences after the one whose execution agrees on it. No voter prepares a
sequence before it has executed the one `Settings.pipeline` (at most this) earlier: so nobody votes on a sequence of
the next epoch before it knows of that epoch."""
VIEWS_AHEAD = 1024
"""A view further ahead than this is not taken note of."""
EARLY = 64
"""Votes of one voter that wait for a view that has not begun here."""
AHEAD = 256
"""Statements that wait for an epoch that has not begun here."""
LISTED = 64
"""Entries of a list in a question."""
TOGETHER, TOGETHER_SIZE = 256, 256 * 2**10
"""Messages that travel as one, and their size."""
FOLLOWERS = 1024
"""Learners that are told each decision."""
