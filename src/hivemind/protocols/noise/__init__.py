"""The Noise Protocol Framework, revision 34, for `25519_ChaChaPoly_BLAKE2b`, and the channels that are made of it."""
