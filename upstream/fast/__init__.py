"""A forward of frozen encoders without padding: the same states as the plain modules, faster, and not differentiable."""
