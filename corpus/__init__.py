"""Data sets as Lhotse cuts, audio reading, text units, batching, and the built-in demo corpora."""
