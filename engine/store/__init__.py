"""Representations of a frozen upstream on disk: computed once over a split, then read at memory speed."""
