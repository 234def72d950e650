"""The special nodes: derivative, value at any precision, symmetry, LaTeX."""

import mpmath
import pytest
import sympy as sp
from mpmath import mp

from derivations.special import ErfiInv, LogNormalCdf, ScaledBesselI
from derivations.special.parabolic_cylinder import weber, weber_coordinate, weber_end

x, y = sp.symbols("x y", real=True)
z = sp.Symbol("z", positive=True)
third = sp.Rational(1, 3)

SIZES = [sp.Rational(1, 10**300), third, sp.S(3), sp.S(4), sp.S(10) ** 20, sp.S(10) ** 300, sp.exp(10**6)]


@pytest.mark.parametrize("digits", [15, 50, 200])
@pytest.mark.parametrize("size", SIZES, ids=lambda s: str(s.evalf(3)))
def test_erfi_inverse_solves_its_equation(size, digits):
    with mp.workdps(digits + 10):
        target = mp.mpf(size.evalf(digits + 10))
        root = mp.mpf(ErfiInv(size).evalf(digits))
        # a rounding of the root by δ moves erfi y by (d log erfi / d log y) δ, about 2y² δ
        assert abs(mp.erfi(root) / target - 1) < (2 * root**2 + 2) * mp.mpf(10) ** (1 - digits)


def test_erfi_inverse_folds_what_it_knows():
    assert ErfiInv(0) == 0
    assert ErfiInv(sp.oo) == sp.oo
    assert ErfiInv(-sp.oo) == -sp.oo
    assert ErfiInv(sp.nan) is sp.nan
    assert ErfiInv(-x) == -ErfiInv(x)
    assert ErfiInv(x - 1) + ErfiInv(1 - x) == 0
    assert ErfiInv(sp.erfi(y)) == y
    complex_symbol = sp.Symbol("c")  # erfi is not injective off the real line
    assert ErfiInv(sp.erfi(complex_symbol)) != complex_symbol
    assert ErfiInv(x).inverse() is sp.erfi
    assert ErfiInv(x).is_real
    assert ErfiInv(z).is_positive
    assert isinstance(ErfiInv(sp.Float(2)), sp.Float)
    assert ErfiInv(x).evalf() == ErfiInv(x)
    assert ErfiInv(2 * sp.I).evalf() == ErfiInv(2 * sp.I)


NODES = [
    (ErfiInv(x), x, third),
    (ErfiInv(x**3 - 1), x, sp.Rational(7, 5)),
    (LogNormalCdf(x), x, third),
    (LogNormalCdf(x), x, sp.S(-40)),
    (LogNormalCdf(1 - x**2), x, sp.S(2)),
    (ScaledBesselI(0, z), z, third),
    (ScaledBesselI(third, z), z, sp.S(7)),
    (ScaledBesselI(2, z**2), z, sp.S(5)),
]


@pytest.mark.parametrize(("node", "variable", "point"), NODES, ids=str)
def test_derivative_is_that_of_the_values(node, variable, point):
    with mp.workdps(40):
        start = mp.mpf(point.evalf(60))
        numeric = mp.diff(lambda v: mp.mpf(node.subs(variable, sp.Float(v, 80)).evalf(80)), start)
        exact = mp.mpf(sp.diff(node, variable).subs(variable, point).evalf(40))
        assert abs(exact - numeric) < abs(exact) * mp.mpf(10) ** -25


def test_derivative_in_the_order_is_refused():
    nu = sp.Symbol("nu", positive=True)
    with pytest.raises(sp.core.function.ArgumentIndexError):
        ScaledBesselI(nu, z).fdiff(1)


@pytest.mark.parametrize("argument", [-(10**12), -100, -third, third, 9, 40, sp.Rational(4001, 100)], ids=str)
def test_log_normal_cdf_is_the_integral_of_the_density(argument):
    digits = 25
    with mp.workdps(digits + 20):
        point = mp.mpf(sp.S(argument).evalf(60))
        size = abs(point)
        # Mills' ratio by quadrature: Φ(-s) = φ(s) ∫₀^∞ exp(-su - u²/2) du, a formula that the node does not use
        mills = mp.quad(lambda u: mp.exp(-u - (u / size) ** 2 / 2) / size, [0, 1, 4, 10, 20, 40, 120])
        log_tail = -(point**2) / 2 - mp.log(2 * mp.pi) / 2 + mp.log(mills)
        expected = log_tail if point < 0 else mp.log1p(-mp.exp(log_tail))
        value = mp.mpf(LogNormalCdf(argument).evalf(digits))
        assert abs(value / expected - 1) < mp.mpf(10) ** (2 - digits)


def test_log_normal_cdf_folds_and_rewrites():
    assert LogNormalCdf(0) == -sp.log(2)
    assert LogNormalCdf(sp.oo) == 0
    assert LogNormalCdf(-sp.oo) == -sp.oo
    assert LogNormalCdf(x).is_negative
    for point in (-third, sp.S(2)):
        written = LogNormalCdf(x).rewrite(sp.erfc).subs(x, point)
        assert abs((written - LogNormalCdf(point)).evalf(30)) < sp.Rational(1, 10**28)


@pytest.mark.parametrize("order", [0, third, sp.Rational(1, 2), 7], ids=str)
@pytest.mark.parametrize("argument", [third, 30, 10**12, 10**300], ids=lambda a: f"{float(a):.3g}")
def test_scaled_bessel_is_its_integral(order, argument):
    if argument > 100:  # two terms of Hankel's expansion are enough for 20 digits
        mu = 4 * order**2
        expected = (1 - (mu - 1) / (8 * sp.S(argument))) / sp.sqrt(2 * sp.pi * argument)
    else:  # I_ν = (z/2)^ν / (√π Γ(ν+1/2)) ∫ (1-t²)^{ν-1/2} e^{-zt} dt, here with t = cos θ
        with mp.workdps(40):
            nu, at = mp.mpf(sp.Float(order, 50)), mp.mpf(sp.Float(argument, 50))
            integral = mp.quad(lambda a: mp.exp(at * (mp.cos(a) - 1)) * mp.sin(a) ** (2 * nu), [0, mp.pi / 2, mp.pi])
            expected = sp.Float((at / 2) ** nu / (mp.sqrt(mp.pi) * mp.gamma(nu + mp.mpf(1) / 2)) * integral, 40)
    assert abs(ScaledBesselI(order, argument).evalf(30) / expected.evalf(30) - 1) < sp.Rational(1, 10**15)


def test_scaled_bessel_folds_and_rewrites():
    n = sp.Symbol("n", integer=True, positive=True)
    assert ScaledBesselI(-n, z) == ScaledBesselI(n, z)
    assert ScaledBesselI(0, 0) == 1
    assert ScaledBesselI(third, 0) == 0
    assert ScaledBesselI(n, sp.oo) == 0
    assert ScaledBesselI(third, z).is_positive
    assert ScaledBesselI(n, z).rewrite(sp.besseli) == sp.exp(-z) * sp.besseli(n, z)


def test_latex():
    assert sp.latex(ErfiInv(x) ** 2) == r"\operatorname{erfi}^{-1}{\left(x \right)}^{2}"
    assert sp.latex(ScaledBesselI(1, z + 1)) == r"e^{- \left(z + 1\right)} I_{1}\left(z + 1\right)"
    assert sp.latex(ScaledBesselI(1, z) ** 2) == r"\left(e^{- z} I_{1}\left(z\right)\right)^{2}"
    assert sp.latex(LogNormalCdf(x) ** 2) == r"\left(\log \Phi\left(x\right)\right)^{2}"


def test_the_working_precision_of_others_is_left_alone():
    before = mpmath.mp.prec
    ErfiInv(sp.S(10) ** 30).evalf(80), LogNormalCdf(-3).evalf(80), ScaledBesselI(1, 3).evalf(80)
    assert mpmath.mp.prec == before


@pytest.mark.parametrize("gamma", [3, 0, -1])
@pytest.mark.parametrize("part", [1e-30, 0.3, 1 - 1e-6, 1 - 1e-15])
def test_the_coordinate_of_a_parabolic_cylinder_has_all_digits(gamma, part):
    place = part * min(weber_end(1, mpmath.mpf(gamma)), 30)
    z = weber_coordinate(1, gamma, place)
    with mpmath.workprec(300):

        def missed(z):
            even = weber(0, 1, gamma, 0, z)
            return abs((weber(0, 1, gamma, 1, z) - even) / even - place) * even**2 / z  # (v/u)' = 1/u²

        assert missed(z) < 2.0**-52
        assert missed(z * (1 + mpmath.mpf(2) ** -50)) > 2.0**-52  # control: four units of the last place


@pytest.mark.parametrize(("alpha", "gamma"), [(1, -1), (2, 1), (0.5, 5)])
def test_a_coordinate_inverts_the_quotient_at_any_number_of_digits(alpha, gamma):
    """Near the end r the difference r - x has few of the digits of x."""
    for digits in (15, 40, 100):
        with mpmath.workdps(digits):
            end = weber_end(alpha, gamma)
            end = end if mpmath.isfinite(end) else mpmath.mpf(7)
            for x in (end / 10, -end / 2, end * (1 - mpmath.mpf(10) ** -(digits // 3 + 3))):
                z = weber_coordinate(alpha, gamma, x)
                with mpmath.workdps(2 * digits):
                    s, a = alpha * z**2, mpmath.mpf(gamma) / alpha
                    odd, even = (mpmath.hyp1f1((a + q) / 4, mpmath.mpf(k) / 2, s) for q, k in ((3, 3), (1, 1)))
                    slope = mpmath.exp(-s) * even**2  # 1/u² is its inverse
                    off = abs(z * odd / even - x) * slope / abs(z)
                assert off < mpmath.mpf(10) ** (2 - digits)
                assert abs(z * (1 + mpmath.mpf(10) ** (4 - digits)) / z - 1) > off  # control
