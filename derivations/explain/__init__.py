"""A derivation as named steps: one file for each part of what is explained."""
