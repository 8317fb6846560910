"""One module for each miniature edition."""
