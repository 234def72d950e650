"""Tables of calls that are refused, and the one test of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import pytest

#: From what is asked to the call, and a pattern that the message matches.
Refused = Mapping[str, tuple[Callable[[], Any], str]]


def refusals(table: Refused, slow: Collection[str] = ()) -> pytest.MarkDecorator:
    """A test for each row of a table, as the parameters ``call`` and ``message``."""
    marks = {name: [pytest.mark.slow] * (name in slow) for name in table}
    rows = [pytest.param(*row, id=name, marks=marks[name]) for name, row in table.items()]
    return pytest.mark.parametrize(("call", "message"), rows)


def assert_refused(call: Callable[[], Any], message: str) -> None:
    """A ``ValueError`` with this message, in one line."""
    with pytest.raises(ValueError, match=message) as refused:
        call()
    assert "\n" not in str(refused.value)
