"""The part of a report on networks that all start from one fixed state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from derivations import Derivation
from derivations.errors import shown
from numerics import given
from numerics.compile import compile_expression
from numerics.limit_distribution import distribution, has_distribution
from numerics.networks import simulate_network
from numerics.outcomes import UndefinedState
from numerics.paths import has_slow_steps, simulate_sde
from numerics.plots import comparison_figure, density_figure, inline_svg
from numerics.report.moments import one_layer_section
from numerics.report.page import Drawing, Section, Table, control_of
from numerics.validation import Validation, validate
from numerics.validation.stages import Stage


def checks_caption(d: Derivation) -> str:
    """How the table of checks is read."""
    return (
        f"Each claim with the same test against {control_of(d)}, its control. A check passes if its claim is not rejected, "
        "p-values corrected for the number of rows (Holm), and its control is. “✗ no power” means that the simulation was too "
        "small to distinguish the two."
    )


@dataclass(frozen=True)
class Start:
    """Where simulated networks start, how deep and how many they are.

    Parameters
    ----------
    x0 : float
        The state of every neuron at depth 0.
    t : float
        The limit's time that all layers take together.
    depth, samples, seed, workers : int
    """

    x0: float = 1.0
    t: float = 1.0
    depth: int = 1000
    samples: int = 20_000
    seed: int = 0
    workers: int = 1

    def __post_init__(self) -> None:
        for name, value, rule in (("x0", self.x0, given.moderate), ("t", self.t, given.duration)):
            if not rule.holds(value):
                raise ValueError(f"{name} must be {rule.expected}, got {shown(value)}")

    @classmethod
    def samples_of(cls, numbers: int) -> int:
        """So many networks that a picture has what it needs, and those of many numbers, in all layers of one, do not take minutes.

        Examples
        --------
        >>> Start.samples_of(1000), Start.samples_of(1000 * 8)
        (20000, 2500)
        """
        return int(np.clip(20_000_000 // numbers, 2000, cls.samples))

    def sections(self, d: Derivation, stage: Stage) -> tuple[Section, ...]:
        """Networks against the law of one neuron, or against paths of the limit of several; then the table of checks."""
        if has_slow_steps(d.limit):
            why = (
                "Each step of a path would take means over several Gaussian numbers at its own state, so none are drawn; the checks are those of one "
                "layer."
            )
            layer = one_layer_section(d, self.x0, self.t, self.seed, self.workers, stage, why)
            return layer, checks_section(self._checks(d, stage, None), checks_caption(d))
        quiet = np.errstate(over="ignore", invalid="ignore")  # networks that run away are counted
        with stage(f"{self.samples} networks of depth {self.depth}"), quiet:
            networks = simulate_network(
                d.architecture, self.depth, self.samples, x0=self.x0, t=self.t, seed=self.seed, workers=self.workers
            )
        if not np.isfinite(networks).any():
            raise ValueError(
                f"all {self.samples} networks left the range of numbers from x0 = {self.x0:g}; choose a start or a time of moderate size"
            )
        try:
            compared = self._compared(d, networks, stage)
        except UndefinedState:  # a norm at the end of a layer: steps of neurons leave their sphere
            compared = _without_paths(
                "Paths of the neurons leave the set in which their equation has values, so none are drawn; the checks follow the Gram matrix."
            )
        return compared, checks_section(self._checks(d, stage, networks), checks_caption(d))

    def _checks(self, d: Derivation, stage: Stage, networks: np.ndarray | None) -> Validation:
        return validate(
            d,
            x0=self.x0,
            t=self.t,
            seed=self.seed + 1,
            workers=self.workers,
            stage=stage,
            networks=(self.depth, networks),
        )

    def _compared(self, d: Derivation, networks: np.ndarray, stage: Stage) -> Section:
        if has_distribution(d.limit):
            return self._density(d, networks[:, 0, 0])
        return self._diffusion(d, networks, stage)

    def _density(self, d: Derivation, networks: np.ndarray) -> Section:
        law = distribution(d, x0=self.x0, t=self.t)
        solved = f"solution of the Fokker–Planck equation, error {law.error:.1g} in L¹"
        name = solved if d.law is None else d.law.part(self.x0).name
        away = np.count_nonzero(~np.isfinite(networks))
        caption = (
            f"Density of X at t = {self.t:g} from x₀ = {self.x0:g}: {name} (line), and {self.samples} simulated networks of "
            f"depth {self.depth} (bars, ± one standard error)."
            + (f" {away} of the networks ran away beyond every bound; deeper ones do so more rarely." if away else "")
        )
        label = "derived density" if d.law is not None else "Fokker–Planck"
        figure = density_figure(law.pdf, networks, x="state $x$ of the neuron", label=label)
        rows = [
            ("mean", f"{law.mean():.5g}", _with_error(networks)),
            ("median", f"{float(law.ppf(0.5)):.5g}", f"{np.nanmedian(networks):.5g}"),
        ]
        table = Table(("", "law", "networks"), rows, "Centre of the law and of the simulated networks.")
        return Section(
            "Density and simulated networks",
            figures=(Drawing(inline_svg(figure, "density"), caption),),
            tables=(table,),
        )

    def _diffusion(self, d: Derivation, networks: np.ndarray, stage: Stage) -> Section:
        steps = max(1, self.depth // 2)
        with stage(f"{self.samples} paths of the derived diffusion"):
            paths = simulate_sde(
                d.limit,
                x0=self.x0,
                t=self.t,
                steps=steps,
                samples=self.samples,
                seed=self.seed + 1,
                workers=self.workers,
            ).reshape(networks.shape)
        shown = (
            f"at t = {self.t:g} from x₀ = {self.x0:g}: {self.samples} networks of depth {self.depth}, and as many paths of "
            f"the diffusion in {steps} steps"
        )
        figures = [
            Drawing(
                inline_svg(comparison_figure(networks[:, 0, 0], paths[:, 0, 0], "state $x_1$ of one neuron"), "neuron"),
                f"One neuron {shown}.",
            )
        ]
        if networks.shape[1] > 1:
            of, name, said = _norm_of(d)
            norms = [np.linalg.norm(of(x[:, :, 0]), axis=1) for x in (networks, paths)]
            figure = comparison_figure(norms[0], norms[1], name)
            figures.append(Drawing(inline_svg(figure, "norm"), f"{said} {shown}."))
        text = (
            "The law of several neurons together has no density to draw, so networks are compared with paths of the derived diffusion, "
            "simulated with another step and another seed."
        )
        return Section("Derived diffusion and simulated networks", (text,), tuple(figures))


def _without_paths(why: str) -> Section:
    return Section("Derived diffusion and simulated networks", (why,))


def _norm_of(d: Derivation) -> tuple[Callable[[np.ndarray], np.ndarray], str, str]:
    """What the derivation has an equation for: the norm of the activated layer, else that of the layer; its axis, and its caption."""
    if d.norm is None:
        return (
            lambda x: x / np.sqrt(x.shape[1]),
            r"norm of the layer $\|X\|/\sqrt{n}$",
            "Root mean square over the layer's neurons",
        )
    activation = d.norm.activation
    letter = next((letter for _, letter in d.architecture.letters), "varphi")  # of what the matrix reads
    return (
        compile_expression(activation.variable, activation.expr),
        rf"norm of the activated layer $\|\{letter}(X)\|$",
        "Norm of the activated layer, whose equation is derived below,",
    )


def checks_section(table: Validation, caption: str, said: str = "") -> Section:
    """The table of checks with its verdict in words, and what else is said of all."""
    passed = sum(verdict == "agrees" for verdict in table.verdicts)
    header, *rows = [(claim, verdict, *rest) for claim, *rest, verdict in table.table()]
    verdict = f"{passed} of {len(rows)} checks pass, each with a control that is rejected."
    return Section(
        "Checks and controls", (verdict, said) if said else (verdict,), tables=(Table(header, rows, caption),)
    )


def _with_error(sample: np.ndarray) -> str:
    if not np.all(np.isfinite(sample)):
        return "none"
    return f"{sample.mean():.5g} ± {sample.std(ddof=1) / np.sqrt(len(sample)):.2g}"
