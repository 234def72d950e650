"""A derivation as named steps, and the steps as text, LaTeX, Typst and JSON."""
