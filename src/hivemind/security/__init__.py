"""Identities, signed envelopes, and who may do what. Pure."""
