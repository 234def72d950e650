r"""The words that name what is recorded of networks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from derivations.architectures import Recipe
from derivations.errors import unknown
from derivations.language import Program
from numerics.compile.conditional_rows import output_matrix
from numerics.compile.programs import compiled_program
from numerics.networks.derivatives import Jacobian, TangentKernel
from numerics.networks.gram import ConditionalGram, Gap, Gram
from numerics.networks.observables import Observable, Record, States


def observable(record: str | Record, architecture: Recipe, program: Program) -> Observable:
    """What a user asked to record: a word, or a function of the states.

    Raises
    ------
    ValueError
        For an unknown word, or an observable that the recipe has not.
    """
    compiled_program(program)  # refuses what is no number
    if not callable(record) and record not in RECORDS:
        raise ValueError(unknown("record", str(record), RECORDS))
    at = (program, architecture.inputs, architecture.coordinates // architecture.inputs)
    seen = States(*at, function=record) if callable(record) else RECORDS[record](*at)
    if isinstance(seen, ConditionalGram) or (isinstance(seen, Gap) and seen.conditional):
        output_matrix(program)
    return seen


#: What ``record`` may name.
RECORDS: dict[str, Callable[..., Observable]] = {
    "state": States,
    "gram": Gram,
    "conditional gram": ConditionalGram,
    "gap": Gap,
    "conditional gap": partial(Gap, conditional=True),
    "jacobian": Jacobian,
    "tangent kernel": TangentKernel,
}
