r"""Expressions and notation as Typst mathematics."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import sympy as sp
from sympy.core.alphabets import greeks
from sympy.printing.conventions import split_super_sub
from sympy.printing.precedence import PRECEDENCE, precedence
from sympy.printing.printer import Printer

from derivations.notation.nodes import PatternPrinter, said, without_questions
from derivations.notation.numbers import ShownNumber, is_long, short, with_short_number
from derivations.sums import CoordinateSum

# fmt: off
#: Letters whose names differ from SymPy's; other Greek letters have the same names.
_LETTERS: dict[str, str] = {name: name for letter in greeks for name in (letter, letter.capitalize())} | {
    "varepsilon": "epsilon", "epsilon": "epsilon.alt", "varphi": "phi", "phi": "phi.alt", "vartheta": "theta.alt",
    "lamda": "lambda", "Lamda": "Lambda", "lambda": "lambda", "Lambda": "Lambda", "ell": "ell",
}
#: Patterns of ``PatternPrinter`` for constants, functions, sets and notation.
_PATTERNS = {
    "Pi": "pi", "Exp1": "e", "Infinity": "infinity", "NegativeInfinity": "-infinity", "ComplexInfinity": "tilde(infinity)",
    "NaN": '"NaN"', "ImaginaryUnit": "i", "EulerGamma": "gamma", "BooleanTrue": '"true"', "BooleanFalse": '"false"',
    "Reals": "RR", "EmptySet": "emptyset", "Integers": "ZZ", "Naturals": "NN", "Naturals0": "NN_0", "Complexes": "CC",
    "Abs": "abs(«0»)", "floor": "floor(«0»)", "ceiling": "ceil(«0»)", "conjugate": "overline(«0»)", "factorial": "(«0»)!",
    "asin": "arcsin(«0»)", "acos": "arccos(«0»)", "atan": "arctan(«0»)", "Heaviside": "theta(«0»)", "DiracDelta": "delta(«0»)",
    "KroneckerDelta": "delta_(«0» «1»)", "binomial": "binom(«0», «1»)", "LambertW": "W(«0»)", "Ei": '"Ei"(«0»)',
    "gamma": "Gamma(«0»)", "lowergamma": "gamma(«0+»)", "uppergamma": "Gamma(«0+»)", "polygamma": "psi^((«0»))(«1»)",
    "beta": 'upright("B")(«0+»)', "zeta": "zeta(«0»)", "expint": "E_(«0»)(«1»)", "elliptic_k": "K(«0»)", "elliptic_e": "E(«0+»)",
    "besseli": "I_(«0»)(«1»)", "besselj": "J_(«0»)(«1»)", "besselk": "K_(«0»)(«1»)", "bessely": "Y_(«0»)(«1»)",
    "hermite": "H_(«0»)(«1»)", "laguerre": "L_(«0»)(«1»)", "assoc_laguerre": "L_(«0»)^((«1»))(«2»)", "legendre": "P_(«0»)(«1»)",
    "jacobi": "P_(«0»)^((«1», «2»))(«3»)", "gegenbauer": "C_(«0»)^((«1»))(«2»)", "chebyshevt": "T_(«0»)(«1»)", "chebyshevu": "U_(«0»)(«1»)",
    "erfinv": '"erf"^(-1)(«0»)', "erfcinv": '"erfc"^(-1)(«0»)', "ErfiInv": '"erfi"^(-1)(«0»)', "LogNormalCdf": "log Phi(«0»)",
    "ScaledBesselI": "e^(-«1:Mul») I_(«0»)(«1»)", "WeberCoordinate": "g_(«0», «1»)(«2»)", "LogIntervalKernel": "log theta.alt(«0+»)",
    "Max": "max(«0+»)", "Min": "min(«0+»)", "Order": "O(«0»)", "Not": "not («0»)", "Lambda": "(«0») |-> «1»",
    "FiniteSet": "{«0+»}", "ConditionSet": "{«0» in «2» mid(|) «1»}", "Contains": "«0» in «1»", "Semidefinite": "V succ.eq 0",
    "LayerAverage": "chevron.l «0» chevron.r", "Factor": "«0»", "Held": "(«0»)",
    "DifferentialOf": "dif «0»", "Rate": "dif «0» \\/ dif «1»", "DerivativeOf": "frac(dif, dif «1») «0»",
    "Partial": "partial_(«0»)", "Variation": "dif [«0», «1»]_(«2»)", "Expectation": "EE[«0»«1? | »]", "Variance": 'op("Var")[«0»«1? | »]',
    "Covariance": 'op("Cov")[«0»«1? | »]', "ProbabilityOf": "P(«0»)", "TransitionDensity": "p_(«0»)(«1» | «2»)",
    "Distribution": "«0»(«1+»)", "Listed": "«0+»", "Angled": "chevron.l «0» chevron.r", "Transposed": "«0»^top", "Norm": "norm(«0»)",
    "Remainder": "«0»(«1»)", "EvaluatedAt": "lr(«0» |)_(«1»)",
}
#: Those of them after which a power would belong to the last factor only, or stand at the wrong place.
_UNPOWERED = frozenset({"LogNormalCdf", "LogIntervalKernel", "ScaledBesselI", "factorial", "exp"})
#: Operators that Typst knows by name.
_OPERATORS = frozenset({"exp", "log", "sin", "cos", "tan", "sinh", "cosh", "tanh", "cot", "coth", "sec", "csc", "min", "max", "arg"})
# fmt: on
_RELATIONS = {"==": "=", "!=": "!=", "<=": "<=", ">=": ">=", "<": "<", ">": ">"}


class TypstPrinter(PatternPrinter, Printer):
    """SymPy's expressions and the project's notation as Typst mathematics."""

    printmethod = "_typst"
    INDICES = ("(", ")", " ", ", ")
    PATTERNS = _PATTERNS

    def parenthesize(self, item: sp.Basic, level: int, strict: bool = False) -> str:
        """An argument in brackets where it binds less than the level."""
        binds = precedence(item)
        text = str(self._print(item))
        return f"({text})" if binds < level or (not strict and binds <= level) else text

    def _joined(self, items: Iterable[sp.Basic], between: str = ", ") -> str:
        return between.join(str(self._print(item)) for item in items)

    def emptyPrinter(self, expr: Any) -> str:
        """What has no method of its own: its class as an operator, its arguments in brackets."""
        if not isinstance(expr, sp.Basic):
            return _word(str(expr))
        return f"{_word(type(expr).__name__)}({self._joined(expr.args)})"

    # letters and numbers

    def _print_Str(self, expr: sp.Basic) -> str:
        return _word(str(expr.name))

    def _print_Symbol(self, expr: sp.Symbol) -> str:
        name = re.sub(r"[\\{}]", "", expr.name)
        derivative = re.fullmatch(r"(\w+)('+)\((.*)\)", name)
        if derivative:
            return f"{_word(derivative[1])}{derivative[2]}({derivative[3]})"
        stem, above, below = split_super_sub(name.rstrip("'"))
        text = _word(stem) + "'" * (len(name) - len(name.rstrip("'")))
        for mark, indices in (("_", below), ("^", above)):
            if indices:
                text += f"{mark}({' '.join(', '.join(map(_index, index.split(','))) for index in indices)})"
        return text

    _print_Dummy = _print_Symbol

    def _print_ShownNumber(self, expr: ShownNumber) -> str:
        mantissa, _, power = expr.name.replace("…", " dots.h").partition("e")
        return f"{mantissa} dot 10^({power})" if power else mantissa

    def _print_Integer(self, expr: sp.Integer) -> str:
        return self._print_Rational(expr) if is_long(expr) else str(expr.p)

    def _print_Rational(self, expr: sp.Rational) -> str:
        sign = "-" if expr.p < 0 else ""
        if is_long(expr):
            return sign + str(self._print(short(abs(expr))))
        return f"{sign}{abs(expr.p)}/{expr.q}"

    def _print_Float(self, expr: sp.Float) -> str:
        number = str(expr)
        mantissa, _, exponent = number.partition("e")
        return f"{mantissa} dot 10^({int(exponent)})" if exponent else number

    def _print_bool(self, expr: bool) -> str:
        return _word(str(expr).lower())

    # sums, products, powers

    def _print_Add(self, expr: sp.Add) -> str:
        text = ""
        for term in expr.as_ordered_terms():
            negative = term.could_extract_minus_sign()
            shown = self.parenthesize(-term if negative else term, PRECEDENCE["Add"])
            text += f" {'-' if negative else '+'} {shown}" if text else f"{'-' if negative else ''}{shown}"
        return text

    def _print_Mul(self, expr: sp.Mul) -> str:
        if expr.could_extract_minus_sign():
            return f"-{self.parenthesize(-expr, PRECEDENCE['Mul'], strict=True)}"
        expr = with_short_number(expr)
        above, below = sp.fraction(without_questions(expr), exact=True)
        if below != 1:
            return f"frac({self._print(above)}, {self._print(below)})"
        parts = expr.as_ordered_factors()
        factors = [
            *(f"({self._print(f)})" if _is_open(f) else self._factor(f) for f in parts[:-1]),
            self._factor(parts[-1]),
        ]
        text = factors[0]
        for factor in factors[1:]:
            text += f" dot {factor}" if factor[0].isdigit() and text[-1].isdigit() else f" {factor}"
        return text

    def _factor(self, expr: sp.Expr) -> str:
        return self.parenthesize(expr, PRECEDENCE["Mul"], strict=not isinstance(expr, sp.Rational) or expr.is_Integer)

    def _print_Pow(self, expr: sp.Pow) -> str:
        base, exponent = (
            expr.as_base_exp() if expr.base.is_Rational and not expr.base.is_Integer else (expr.base, expr.exp)
        )
        if exponent.is_Rational and exponent.is_negative:
            return f"frac(1, {self._print(base**-exponent)})"
        if exponent == sp.S.Half:
            return f"sqrt({self._print(base)})"
        if exponent.is_Rational and exponent.p == 1:
            return f"root({exponent.q}, {self._print(base)})"
        if base.is_Function and base.func.__name__ not in _UNPOWERED:
            return f"{self._print(base)}^({self._print(exponent)})"
        bracketed = self.parenthesize(base, PRECEDENCE["Pow"])
        if (
            bracketed.startswith(("sqrt(", "frac(", "root("))
            or (base.is_Symbol and "^" in bracketed)
            or base.func.__name__ in _UNPOWERED
        ):
            bracketed = f"({bracketed})"
        return f"{bracketed}^({self._print(exponent)})"

    def _print_exp(self, expr: sp.exp) -> str:
        if (function := said(expr)) != expr:
            return self._print_Function(function)
        argument = expr.args[0]
        if sp.count_ops(argument) > 4:
            return f"exp({self._print(argument)})"
        return f"e^({self._print(argument)})"

    # functions

    def _print_Function(self, expr: sp.Function) -> str:
        name = expr.func.__name__
        stem = name if name in _OPERATORS else self._print_Symbol(sp.Symbol(name))
        return f"{stem}({self._joined(expr.args)})"

    def _print_Piecewise(self, expr: sp.Piecewise) -> str:
        when = ['quad "otherwise"' if c == sp.true else f'quad "for" {self._print(c)}' for _, c in expr.args]
        rows = (f"{self._print(e)} & {case}" for (e, _), case in zip(expr.args, when, strict=True))
        return f"cases({', '.join(rows)})"

    def _print_Derivative(self, expr: sp.Derivative) -> str:
        body = self.parenthesize(expr.expr, PRECEDENCE["Mul"])
        total = sum(count for _, count in expr.variable_count)
        power = f"^({total})" if total != 1 else ""
        below = " ".join(
            f"partial {self._print(v)}" + (f"^({self._print(k)})" if k != 1 else "") for v, k in expr.variable_count
        )
        return f"frac(partial{power}, {below}) {body}"

    def _print_Integral(self, expr: sp.Integral) -> str:
        text = self.parenthesize(expr.function, PRECEDENCE["Add"])
        for variable, *ends in expr.limits:
            low, high = ends if len(ends) == 2 else (None, ends[0] if ends else None)
            bounds = (f"_({self._print(low)})" if low is not None else "") + (
                f"^({self._print(high)})" if high is not None else ""
            )
            text = f"integral{bounds} {text} thin dif {self._print(variable)}"
        return text

    def _print_Sum(self, expr: sp.Sum) -> str:
        return self._iterated("sum", expr)

    def _print_Product(self, expr: sp.Product) -> str:
        return self._iterated("product", expr)

    def _iterated(self, sign: str, expr: Any) -> str:
        text = self.parenthesize(expr.function, PRECEDENCE["Mul"])
        for index, low, high in expr.limits:
            text = f"{sign}_({self._print(index)} = {self._print(low)})^({self._print(high)}) {text}"
        return text

    def _print_Limit(self, expr: sp.Limit) -> str:
        body, variable, to, _ = expr.args
        return f"lim_({self._print(variable)} -> {self._print(to)}) {self.parenthesize(body, PRECEDENCE['Mul'])}"

    def _print_Subs(self, expr: sp.Subs) -> str:
        at = ", ".join(f"{self._print(v)} = {self._print(p)}" for v, p in zip(expr.variables, expr.point, strict=True))
        return f"lr({self._print(expr.expr)} |)_({at})"

    # sets, conditions, matrices

    def _print_Relational(self, expr: sp.Rel) -> str:
        level = PRECEDENCE["Relational"]
        return f" {_RELATIONS[expr.rel_op]} ".join(self.parenthesize(side, level) for side in expr.args)

    def _print_And(self, expr: sp.And) -> str:
        return " and ".join(self.parenthesize(a, PRECEDENCE["And"]) for a in expr.args)

    def _print_Or(self, expr: sp.Or) -> str:
        return " or ".join(self.parenthesize(a, PRECEDENCE["Or"]) for a in expr.args)

    def _print_ITE(self, expr: sp.Basic) -> str:
        return str(self._print(expr.to_nnf()))

    def _print_Interval(self, expr: sp.Interval) -> str:
        left, right = "(" if expr.left_open else "[", ")" if expr.right_open else "]"
        return f"lr({left} {self._print(expr.start)}, {self._print(expr.end)} {right})"

    def _print_Union(self, expr: sp.Union) -> str:
        return self._joined(expr.args, " union ")

    def _print_Intersection(self, expr: sp.Intersection) -> str:
        return self._joined(expr.args, " inter ")

    def _print_Complement(self, expr: sp.Complement) -> str:
        return self._joined(expr.args, " without ")

    def _print_ProductSet(self, expr: sp.ProductSet) -> str:
        first = expr.args[0]
        if len(expr.args) > 1 and all(a == first for a in expr.args):
            return f"{self._print(first)}^({len(expr.args)})"
        return self._joined(expr.args, " times ")

    def _print_Tuple(self, expr: sp.Tuple) -> str:
        return f"({self._joined(expr)})"

    _print_tuple = _print_Tuple

    def _print_MatrixBase(self, expr: sp.Matrix) -> str:
        rows = "; ".join(self._joined(expr.row(i)) for i in range(expr.rows))
        return f"mat({rows})"

    # nodes of the project

    def _print_CoordinateSum(self, expr: Any) -> str:
        summand, condition = expr.printed("X")
        if condition is None:
            return f"sum_({expr.index} = 1)^({self._print(expr.width)}) {self.parenthesize(summand, PRECEDENCE['Mul'], strict=True)}"
        where = self._print(condition)
        if summand == 1:
            return f"\\#{{{expr.index} : {where}}}"
        return f"sum_({expr.index} <= {self._print(expr.width)} : {where}) {self.parenthesize(summand, PRECEDENCE['Mul'], strict=True)}"

    def _print_Average(self, expr: Any) -> str:
        return f"chevron.l {self._print(expr.body)} chevron.r"

    def _print_Applied(self, expr: Any) -> str:
        return f"{_word(expr.weights.name)}({self._print(expr.body)})"

    def _print_Cases(self, expr: Any) -> str:
        return str(self._print(sp.Piecewise(*expr.args)))

    def _print_Continued(self, expr: Any) -> str:
        return str(self._print(expr.written()))

    def _print_Positive(self, expr: Any) -> str:
        return str(self._print(expr.args[0]))

    def _print_TransposeApplied(self, expr: Any) -> str:
        return f"{_word(expr.weights.name)}^top ({self._print(expr.body)})"

    def _print_Weber(self, expr: sp.Expr) -> str:
        order, alpha, gamma, slope, z = expr.args
        return f"u{chr(39) if order == 1 else ''}_({self._joined((alpha, gamma, slope))})({self._print(z)})"

    def _print_IntervalKernel(self, expr: sp.Expr) -> str:
        order, *rest = expr.args
        return f"theta.alt{'' if order == 0 else f'^(({self._print(order)}))'}({self._joined(rest)})"

    def _print_GaussianExpectation(self, expr: Any) -> str:
        variable, body = expr.printed()
        law = f"N({self._joined(expr.args[1:])})"
        return f"EE_({self._print(variable)} tilde.op {law}) [{self._print(body)}]"

    def _print_GaussianPairExpectation(self, expr: Any) -> str:
        k11, k12, k22 = map(self._print, expr.args[2:])
        law = f"N(0, mat({k11}, {k12}; {k12}, {k22}))"
        return f"EE_(({self._joined(expr.printed())}) tilde.op {law}) [{self._print(expr.product())}]"

    def _print_SoftmaxMean(self, expr: Any) -> str:
        a, c = (row + 1 for row in expr.rows)
        form, queries, keys = map(self._print, expr.args[2:5])
        inside = f"{_word('softmax')}(Y_({a}))^top {form} thin {_word('softmax')}(Y_({c}))"
        if expr.moved is not None:
            slopes = [f"{_word('softmax')}'(Y_({r}))" for r in (a, c)]
            inside = f"{_word('tr')}({slopes[0]} thin {form} thin {slopes[1]} thin {self._print(expr.moved.T)})"
        if expr.function is not None:
            shares = (f"{_word('softmax')}(Y_({k}))" for k in "kl")
            inside = f"{self._print(expr.of_named_forms())}; Phi_(k l) = {next(shares)}^top {form} thin {next(shares)}"
        law = f"N(0, {queries} times.o {keys})"
        if expr.angles.rows:
            turn = "chevron.l cos(theta^alpha - theta^beta - theta^gamma + theta^delta) chevron.r"
            law = f"N(0, ({queries} times.o {keys}) compose {turn}), theta = {self._print(expr.angles)}"
        if expr.neurons != sp.oo:
            number = self._print(expr.neurons)
            ends = [f"{self._print(m)} 1^top" for m in expr.means] or ["0", "0"]
            law = f"({number})^(-1/2) q^top k, q in RR^({number}) tilde.op N({ends[0]}, {queries}), k tilde.op N({ends[1]}, {keys})"
        if expr.mask != sp.ones(*expr.mask.shape):
            law += f", m = {self._print(expr.mask)}"
        return f"EE_(Y tilde.op {law}) [{inside}]"

    def _print_GaussianJointExpectation(self, expr: Any) -> str:
        names, body = expr.printed()
        law = f"N(0, {self._print(expr.covariance)})"
        return f"EE_(({self._joined(names)}) tilde.op {law}) [{self._print(body)}]"

    def _print_Other(self, expr: Any) -> str:
        return f"({self._print(expr.body)})^(beta)"

    def _print_OverPositions(self, expr: Any) -> str:
        return f"(sum_(beta) {self._print(expr.body)})"

    def _print_Softmax(self, expr: Any) -> str:
        return f"{_word('softmax')}({self._print(expr.body)})"

    def _print_Rotary(self, expr: Any) -> str:
        return f"R({self._print(expr.body)})"

    def _print_PositionMatrix(self, expr: Any) -> str:
        return str(self._print(expr.shown(sp.Symbol("alpha"), sp.Symbol("beta"))))

    def _print_IsolatedRoot(self, expr: Any) -> str:
        return f"{str(sp.N(expr, 10)).rstrip('0')} dots"

    def _print_IteratedIntegral(self, expr: Any) -> str:
        f, g, anchor, low, high = expr.args
        (y,), (z,) = f.variables, g.variables
        inner = f"integral_({self._print(anchor)})^({self._print(y)}) {self.parenthesize(g.expr, PRECEDENCE['Add'])} thin dif {self._print(z)}"
        outer = self.parenthesize(f.expr, PRECEDENCE["Mul"])
        return f"integral_({self._print(low)})^({self._print(high)}) {outer} {inner} thin dif {self._print(y)}"

    def _print_ItoIntegral(self, expr: Any) -> str:
        (s, integrand), upper = expr.printed(), expr.args[2]
        return f"integral_0^({self._print(upper)}) {self.parenthesize(integrand, PRECEDENCE['Add'])} thin dif B_({self._print(s)})"

    # notation

    def _print_Word(self, expr: sp.Basic) -> str:
        return quoted(str(expr.args[0]))

    def _print_Total(self, expr: sp.Basic) -> str:
        with_filter = "sum_(«1» <= «2», «3» in T) «0:Mul»"
        return str(self._filled(with_filter if expr.args[3] else "sum_(«1» = 1)^(«2») «0:Mul»", expr))

    def _print_Juxtaposed(self, expr: sp.Basic) -> str:
        return " thin ".join(self.parenthesize(a, PRECEDENCE["Mul"], strict=True) for a in expr.args)


def _is_open(expr: sp.Expr) -> bool:
    """Whether the printed form reaches to the end of a product."""
    return isinstance(expr, sp.Integral | sp.Sum | sp.Derivative | sp.Limit) or (
        isinstance(expr, CoordinateSum) and not expr.counts
    )


def _word(name: str) -> str:
    """A name as a letter, or upright where it has several."""
    return _LETTERS.get(name, name if len(name) == 1 else quoted(name))


def _index(name: str) -> str:
    return name if name in "+-*" or name.isdigit() else _word(name)


def quoted(text: str) -> str:
    """A text as a Typst string."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def typst(expr: sp.Basic) -> str:
    r"""One expression or piece of notation as Typst mathematics.

    Examples
    --------
    >>> x, rho = sp.Symbol("x_1", positive=True), sp.Symbol("rho", real=True)
    >>> typst(sp.sqrt(x) * sp.asin(rho) / 2)
    'frac(sqrt(x_(1)) arcsin(rho), 2)'
    """
    return str(TypstPrinter().doprint(expr))
