"""What a result is cited with: sources as BibTeX, and as a list of references."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """One source.

    Parameters
    ----------
    key, kind : str
        As BibTeX has them, such as ``hayou2023`` and ``article``.
    fields : tuple of pairs of str
        In order.
    """

    key: str
    kind: str
    fields: tuple[tuple[str, str], ...]

    def bibtex(self) -> str:
        """As an entry of a ``.bib`` file."""
        rows = "".join(f"  {name:9} = {{{value}}},\n" for name, value in self.fields)
        return f"@{self.kind}{{{self.key},\n{rows}}}\n"

    def item(self) -> str:
        r"""As a ``\bibitem``."""
        held = dict(self.fields)
        where = next((held[name] for name in ("journal", "booktitle", "publisher", "howpublished") if name in held), "")
        volume = f" {held['volume']}" + (f"({held['number']})" if "number" in held else "") if "volume" in held else ""
        pages = f":{held['pages']}" if "pages" in held else ""
        year = f" ({held['year']})" if "year" in held else ""
        note = f", {held['note']}" if "note" in held else ""
        *others, last = held["author"].split(" and ")
        who = f"{', '.join(others)} {'et al.' if last == 'others' else f'and {last}'}" if others else last
        return f"\\bibitem{{{self.key}}} {who.removesuffix('.')}. {held['title']}. {where}{volume}{pages}{year}{note}."


def _own_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("deeplimits")
    except PackageNotFoundError:
        return "in development"


def software() -> Source:
    """Software, with its version."""
    fields = (
        ("author", "{deeplimits developers}"),
        ("title", "deeplimits: scaling limits of randomly initialised neural networks"),
        ("howpublished", f"Software, version {_own_version()}"),
        ("year", "2026"),
    )
    return Source("deeplimits", "misc", fields)


SYMPY = Source(
    "sympy2017",
    "article",
    (
        ("author", "Aaron Meurer and others"),
        ("title", "{SymPy}: symbolic computing in {Python}"),
        ("journal", "PeerJ Computer Science"),
        ("volume", "3"),
        ("pages", "e103"),
        ("year", "2017"),
    ),
)
#: Convergence of Markov chains to diffusions.
CONVERGENCE = Source(
    "ethierkurtz1986",
    "book",
    (
        ("author", "Stewart N. Ethier and Thomas G. Kurtz"),
        ("title", "Markov Processes: Characterization and Convergence"),
        ("publisher", "Wiley"),
        ("year", "1986"),
    ),
)
HAYOU = Source(
    "hayou2023",
    "article",
    (
        ("author", "Soufiane Hayou"),
        ("title", "On the infinite-depth limit of finite-width neural networks"),
        ("journal", "Transactions on Machine Learning Research"),
        ("year", "2023"),
        ("note", "arXiv:2210.00688"),
    ),
)
PELUCHETTI = Source(
    "peluchetti2021",
    "article",
    (
        ("author", "Stefano Peluchetti and Stefano Favaro"),
        ("title", "Doubly infinite residual neural networks: a diffusion process approach"),
        ("journal", "Journal of Machine Learning Research"),
        ("volume", "22"),
        ("number", "175"),
        ("pages", "1--48"),
        ("year", "2021"),
    ),
)
LI_NICA = Source(
    "linica2023",
    "misc",
    (
        ("author", "Mufan Li and Mihai Nica"),
        ("title", "Differential equation scaling limits of shaped and unshaped neural networks"),
        ("howpublished", "arXiv:2310.12079"),
        ("year", "2023"),
    ),
)
LI_NICA_ROY = Source(
    "linicaroy2022",
    "inproceedings",
    (
        ("author", "Mufan Li and Mihai Nica and Daniel M. Roy"),
        ("title", "The neural covariance {SDE}: shaped infinite depth-and-width networks at initialization"),
        ("booktitle", "Advances in Neural Information Processing Systems"),
        ("volume", "35"),
        ("pages", "10795--10808"),
        ("year", "2022"),
    ),
)
NOCI = Source(
    "noci2023",
    "inproceedings",
    (
        (
            "author",
            "Lorenzo Noci and Chuning Li and Mufan Li and Bobby He and Thomas Hofmann and Chris J. Maddison and Daniel M. Roy",
        ),
        ("title", "The shaped transformer: attention models in the infinite depth-and-width limit"),
        ("booktitle", "Advances in Neural Information Processing Systems"),
        ("volume", "36"),
        ("pages", "54250--54281"),
        ("year", "2023"),
    ),
)


def bibtex(sources: Iterable[Source]) -> str:
    """All of them as a ``.bib`` file."""
    return "\n".join(source.bibtex() for source in sources)


def thebibliography(sources: Iterable[Source]) -> str:
    """All of them as a list at the end of a document."""
    rows = "\n".join(source.item() for source in sources)
    return f"\\begin{{thebibliography}}{{9}}\n\\setlength{{\\itemsep}}{{0pt}}\n{rows}\n\\end{{thebibliography}}\n"
