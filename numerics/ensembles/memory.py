"""What does not fit in this machine's memory is said before it is tried."""

from __future__ import annotations

import os


def require_memory(numbers: float, what: str, instead: str) -> None:
    """Refuse so many numbers of eight bytes where there is no room for them.

    Raises
    ------
    MemoryError
        With the sizes of both.

    Examples
    --------
    >>> require_memory(10, "ten numbers take", "take fewer")
    """
    try:
        there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # a system that does not say
        return
    if 8 * numbers > there:
        raise MemoryError(
            f"{what} about {8 * numbers / 2**30:.1f} GiB, and there are {there / 2**30:.1f} GiB; {instead}"
        )
