"""Tests, in processes where SymPy keeps more of what it has found than its thousand results of each function.

A process of tests asks for the same sums and products again and again: a tenth of its time is what the thousand forget.
"""

import os

os.environ.setdefault("SYMPY_CACHE_SIZE", "20000")  # read by SymPy where it is first loaded
