"""Mathematics as it is shown: pieces of notation, lines and named steps, and one printer a format: text, LaTeX, Typst, JSON."""
