"""Elimination of a layer's random statements: conditional moments of one layer, exact at every width."""
