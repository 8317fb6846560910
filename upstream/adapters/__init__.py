"""Encoders of other packages behind Weir's interface."""
