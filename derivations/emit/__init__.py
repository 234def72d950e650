"""A derivation as steps, and the steps as LaTeX, text and JSON."""
