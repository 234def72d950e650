"""The Jacobian's equation, volumes and Lyapunov spectrum, against the theory and explicitly differentiated networks."""

from dataclasses import replace

import numpy as np
import pytest
import sympy as sp

from derivations import (
    ConvBlock,
    DerivationError,
    Network,
    NotClosed,
    ResNet,
    ShrinkingResNet,
    Weights,
    average,
    epsilon,
    identity,
    over_positions,
    relu,
    rms_norm,
    silu,
    tanh,
)
from derivations.backward import jacobian
from derivations.limits.depth import as_sums
from derivations.limits.elimination.averages import LayerAverage, layer_average
from derivations.limits.elimination.coefficients import Coefficients
from derivations.limits.elimination.held import released
from derivations.piecewise.continued import Continued
from derivations.sums import coordinate_sum, written_out
from derivations.symbols import width as n
from numerics.statistics import Estimate, richardson
from tests.helpers import equal_symbolically

sw, sb = sp.symbols("sigma_w sigma_b", positive=True)
mu_w, mu_b = sp.symbols("mu_w mu_b", real=True)


@pytest.mark.parametrize(
    ("outer", "first", "second"), [(tanh, 1, 0), (silu, sp.S.Half, sp.S.Half)], ids=["tanh", "silu"]
)
def test_the_matrix_equation_is_that_of_the_theory(outer, first, second):
    moments = {"weight_variance": sw**2, "bias_variance": sb**2, "weight_mean": mu_w, "bias_mean": mu_b}
    limit = jacobian(ShrinkingResNet(outer, tanh, width=n, **moments)).limit(2)
    x, v, w = limit.neuron
    psi, slope = sp.tanh(x), 1 - sp.tanh(x) ** 2
    drift = second * sw**2 / n * limit.sum(psi * slope * v) + first * mu_w / n * limit.sum(slope * v)
    assert equal_symbolically(limit.neuron_drift[1], drift)
    assert equal_symbolically(limit.neuron_covariance[1, 2], first**2 * sw**2 / n * limit.sum(slope**2 * v * w))
    assert equal_symbolically(limit.neuron_covariance[0, 1], first**2 * sw**2 / n * limit.sum(psi * slope * v))
    assert equal_symbolically(limit.neuron_covariance[0, 0], first**2 * (sb**2 + sw**2 / n * limit.sum(psi**2)))


@pytest.mark.parametrize("k", [1, 2])
def test_linear_log_determinant_is_normal_whatever_the_width(k):
    volume = jacobian(ResNet(identity, width=k, weight_variance=sw**2)).log_det
    assert equal_symbolically(volume.drift, -(sw**2) / 2)
    assert equal_symbolically(volume.rate, sw**2)
    assert equal_symbolically(
        jacobian(ResNet(identity, width=n, weight_variance=sw**2)).lyapunov(k), sw**2 * (n - 2 * k) / (2 * n)
    )


def test_the_spectrum_adds_up_to_the_determinant():
    exponents = [jacobian(ResNet(identity, width=n)).lyapunov(k) for k in (1, 2)]
    k = sp.Symbol("k", integer=True, positive=True)
    general = exponents[0] + (k - 1) * (exponents[1] - exponents[0])
    assert equal_symbolically(sp.summation(general, (k, 1, n)), -sp.Rational(1, 2))


def test_volumes_that_depend_on_the_state_say_so():
    with pytest.raises(DerivationError, match="constant rates"):
        jacobian(ResNet(tanh, width=n)).lyapunov(1)


# --- the determinant, the inverse and volumes ---

A, B, C, W = Weights("A"), Weights("B", out=5), Weights("C", out=5), Weights("W")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("outer", "first", "second"), [(tanh, 1, 0), (silu, sp.S.Half, sp.S.Half)], ids=["tanh", "silu"]
)
def test_determinant_of_shrinking_blocks_is_that_of_the_theory(outer, first, second):
    found = jacobian(ShrinkingResNet(outer, tanh, width=n, weight_variance=sw**2, bias_variance=sb**2)).log_det
    x = sp.Symbol("x", real=True)
    psi, slope = sp.tanh(x), 1 - sp.tanh(x) ** 2

    def mean(body):
        return coordinate_sum(sp.expand(body), (x,), n) / n

    drift = second * sw**2 * mean(psi * slope) - first**2 * sw**2 * mean(slope**2) / 2
    assert equal_symbolically(found.drift, drift)
    assert equal_symbolically(found.rate, first**2 * sw**2 * mean(slope**2))


def test_two_matrices_with_relu_are_a_brownian_motion_of_matrices():
    j = jacobian(Network(lambda x: x + epsilon * A(relu(B(x))), width=n))
    k = sp.Symbol("k", integer=True, positive=True)
    assert (j.log_det.drift, j.log_det.rate) == (-sp.Rational(1, 4), sp.S.Half)
    assert j.log_det.law.name == "Brownian motion with drift"
    assert equal_symbolically(j.lyapunov(), (n - 2 * k) / (4 * n))
    assert equal_symbolically(sp.summation(j.lyapunov(), (k, 1, n)), j.log_det.drift)
    assert j.growth == sp.S.Half


def test_determinant_after_a_norm_is_a_diffusion_with_the_squared_norm():
    process = jacobian(Network(lambda x: x + epsilon * A(relu(B(rms_norm(x)))), width=n)).log_det.process
    V = process.states[0]
    # a layer's derivative annihilates the state: the sums run over n - 1 directions
    assert equal_symbolically(process.drift[1], -(n - 1) / (4 * n * V))
    assert equal_symbolically(process.covariance[1, 1], (n - 1) / (2 * n * V))
    assert process.covariance[0, 1] == 0


@pytest.mark.slow
def test_norm_at_the_end_of_a_layer():
    # x' = rms(x + εAx): tangents stay orthogonal to the state, and the spectrum is that of Brownian motion on a sphere's frames
    j = jacobian(Network(lambda x: rms_norm(x + epsilon * A(x)), width=n))
    jk, jl = j.sde.first[0], j.sde.second[0]
    assert equal_symbolically(j.sde.drift[0], -(n - 1) * jk / (2 * n))
    assert j.sde.covariance[0].coeff(jk * jl) == 1 / n
    assert equal_symbolically(j.growth, 2 / n)
    assert equal_symbolically(2 * j.volumes.drift(1) + 2 * j.volumes.rate(1), 2 / n)  # E‖v‖² of a log-normal
    for ask in (lambda: j.log_det, lambda: j.inverse):
        with pytest.raises(NotClosed, match="on a sphere"):
            ask()
    assert "The determinant has no logarithm" in str(j)


@pytest.mark.slow
def test_tangents_behind_a_last_norm_drawn_by_hand():
    volumes = jacobian(Network(lambda x: rms_norm(x + epsilon * A(x)), width=3)).volumes

    def logs(depth, seed):
        rng, e = np.random.default_rng(seed), 1 / np.sqrt(depth)
        x = np.tile(np.array([1.0, -0.5, 0.3]), (20_000, 1))
        x /= np.sqrt(np.mean(x**2, axis=1, keepdims=True))
        v = np.tile(np.array([0.3, 0.6, 0.0]), (20_000, 1))  # orthogonal to the state
        for _ in range(depth):
            w = rng.standard_normal((len(x), 3, 3)) / np.sqrt(3)
            y, dy = (z + e * np.einsum("sij,sj->si", w, z) for z in (x, v))
            r = np.sqrt(np.mean(y**2, axis=1, keepdims=True))
            x, v = y / r, dy / r - y * np.mean(y * dy, axis=1, keepdims=True) / r**3
        return np.log(np.mean(v**2, axis=1) / 0.15) / 2

    coarse, fine = logs(32, 1), logs(64, 2)
    mean = richardson(Estimate.of(coarse), Estimate.of(fine))
    variance = richardson(Estimate.variance_of(coarse), Estimate.variance_of(fine))
    for found, derived in ((mean, volumes.drift(1)), (variance, volumes.rate(1))):
        assert found.test(float(derived)).p_value > 1e-3
        assert found.test(float(derived) * 1.2).p_value < 1e-3  # the control


@pytest.mark.slow
def test_determinants_behind_a_norm_drawn_by_hand():
    from numerics.paths import simulate_sde

    # x + ε A relu(B rms(x)), 3 neurons and 5 hidden ones, to t = 1, against V and log|det J| together
    x0, samples = np.array([1.8, -1.2, 0.8]), 30_000  # far from V = 0, where the rates are infinite

    def of_networks(depth, seed):
        rng, e = np.random.default_rng(seed), 1 / np.sqrt(depth)
        x, total = np.tile(x0, (samples, 1)), np.zeros(samples)
        for _ in range(depth):
            a, b = rng.standard_normal((samples, 3, 5)) / np.sqrt(5), rng.standard_normal((samples, 5, 3)) / np.sqrt(3)
            r = np.sqrt(np.mean(x**2, axis=1))[:, None]
            h = np.einsum("skj,sj->sk", b, x / r)
            inner = np.eye(3) / r[:, :, None] - x[:, :, None] * x[:, None, :] / (3 * r[:, :, None] ** 3)
            total += np.linalg.slogdet(np.eye(3) + e * (a * (h > 0)[:, None, :]) @ b @ inner).logabsdet
            x = x + e * np.einsum("sik,sk->si", a, np.maximum(h, 0))
        return total

    def of_limit(net, steps, seed):
        process = net.log_det.process
        path = simulate_sde(process, x0=[np.mean(x0**2), 0.0], t=1.0, steps=steps, samples=samples, seed=seed)
        return path.reshape(samples, -1)[:, 1]

    def both(made):
        bounded = (
            lambda x: np.clip(x, -2, 2),
            lambda x: np.minimum(x**2, 2),
        )  # paths that come near V = 0 have heavy tails
        return [richardson(*(Estimate.of(f(x)) for x in made)) for f in bounded]

    first = (Weights("A", variance=v) for v in (1, sp.Rational(7, 5)))
    right, wrong = (jacobian(Network(lambda x, w=w: x + epsilon * w(relu(B(rms_norm(x)))), width=3)) for w in first)
    found = both([of_networks(32, 1), of_networks(64, 2)])
    derived, control = (both([of_limit(j, 64, 3), of_limit(j, 128, 4)]) for j in (right, wrong))
    for one, good, bad in zip(found, derived, control, strict=True):
        assert (one - good).test(0.0).p_value > 1e-3
        assert (one - bad).test(0.0).p_value < 1e-3


def test_determinant_with_neurons_and_of_a_symbolic_width():
    process = jacobian(ResNet(tanh, width=2)).log_det.process
    assert [str(s) for s in process.states] == ["x_1", "x_2", "Lambda"]
    x1, x2, _ = process.states
    assert equal_symbolically(process.drift[2], -sum((1 - sp.tanh(x) ** 2) ** 2 for x in (x1, x2)) / 4)
    assert equal_symbolically(process.covariance[0, 2], sp.tanh(x1) * (1 - sp.tanh(x1) ** 2) / 2)
    with pytest.raises(NotClosed, match="give the width as a number"):
        _ = jacobian(ResNet(tanh, width=n)).log_det.process


def written_out_tensor(layer, x):
    """Drift and covariances of a layer's derivative at a state, entry by entry, from the moments along unit vectors."""
    size, p = int(layer.size), layer.positions
    entries = [(i, a) for i in range(size) for a in range(p)]

    def at(expr, first, second, i, j):
        rows = [(*x[q], *first[q], *second[q]) for q in range(size)]
        expr = released(expr)
        while nodes := sorted(expr.atoms(LayerAverage), key=lambda v: len(v.atoms(LayerAverage))):
            body = nodes[0].body
            total = sum(body.xreplace(dict(zip(layer.moments.states, row, strict=True))) for row in rows)
            expr = expr.xreplace({nodes[0]: total / size})
        here = dict(zip(layer.moments.states, rows[i], strict=True)) | dict(
            zip(layer.moments.other, rows[j], strict=True)
        )
        return float(expr.xreplace(here).evalf(30, chop=True))

    def unit(q, c):
        return [[sp.Integer((k, a) == (q, c)) for a in range(p)] for k in range(size)]

    drift = np.array(
        [[at(layer.moments.drift(p + a), unit(*e), unit(0, 0), i, 0) for e in entries] for i, a in entries]
    )
    table = np.zeros((len(entries),) * 4)
    shared = np.zeros((len(entries),) * 3)
    for row, (i, a) in enumerate(entries):
        for other, (j, b) in enumerate(entries):
            two = layer.moments.covariance if i == j else layer.moments.between
            pair, mixed = two(p + a, 2 * p + b), two(a, p + b)
            for k, e in enumerate(entries):
                shared[row, other, k] = at(mixed, unit(*e), unit(0, 0), i, j)
                for m, f in enumerate(entries):
                    table[row, k, other, m] = at(pair, unit(*e), unit(*f), i, j)
    return drift, table, shared


NETS = {
    "all at once": Network(
        lambda x: x + epsilon**2 * (tanh(x) - average(x**2) * x) + epsilon * A(sp.sin(x)) + epsilon * W(x * average(x)),
        width=2,
    ),
    "own neuron": Network(lambda x: x + epsilon * x * W(x) ** 3, width=2),
    "shared": Network(lambda x: x + epsilon * x**2 * average(W(x)) + epsilon * A(x), width=2),
    "norm and gate": Network(lambda x: x + epsilon * A(relu(B(rms_norm(x))) * C(x)), width=2),
    "positions": Network(lambda x: x + epsilon * A(tanh(over_positions(x)) + x**2), width=2, positions=2),
}


@pytest.mark.parametrize(
    "name", [name if name != "positions" else pytest.param(name, marks=pytest.mark.slow) for name in NETS]
)
def test_sums_over_indices_are_those_of_the_entries(name):
    layer, p = jacobian(NETS[name]).layer, max(1, len(NETS[name].positions) * 2)
    x = [[sp.Rational(7 + 3 * i + 5 * a, 11) * (-1) ** (i + a) for a in range(p)] for i in range(2)]
    drift, table, shared = written_out_tensor(layer, x)

    def value(expr, i=0):
        expr = written_out(layer.sums(expr), x)
        return float(expr.xreplace(dict(zip(layer.state, x[i], strict=True))).evalf(30, chop=True))

    assert np.isclose(value(layer.trace), np.trace(drift), atol=1e-12)
    assert np.isclose(value(layer.square), np.einsum("ijji", table), atol=1e-12)
    assert np.isclose(value(layer.variance), np.einsum("iijj", table), atol=1e-12)
    for i in range(2):
        for a in range(p):
            assert np.isclose(value(layer.with_state(a), i), np.einsum("kk", shared[i * p + a]), atol=1e-12)
    # the inverse: K (−dM + (dM)²), row by row
    w, z = np.array([[0.3, -1.2, 0.7, 0.4][: 2 * p], [1.1, 0.5, -0.6, 0.9][: 2 * p]])
    square = np.einsum("ikkj->ij", table)
    moved = (square - drift).T @ w

    def row(expr, i, j=0):
        """A formula of the inverse's rows at numbers."""
        rows = [[*x[q], *w[q * p : q * p + p], *z[q * p : q * p + p]] for q in range(2)]
        states, other = layer.moments.states, layer.moments.other
        expr = written_out(as_sums(expr, states, layer.size), rows)
        return float(
            expr.xreplace(dict(zip(states, rows[i], strict=True)) | dict(zip(other, rows[j], strict=True))).evalf(
                30, chop=True
            )
        )

    form = layer.transposed(tuple(q - d for q, d in zip(layer.squared, layer.drift, strict=True)))
    assert np.allclose([row(form[a], i) for i in range(2) for a in range(p)], moved, atol=1e-12)
    if name == "shared":
        with pytest.raises(NotClosed, match="not independent"):
            _ = layer.transposed_covariance
        return
    own, apart = layer.transposed_covariance
    expected = np.einsum("ipkq,i,k->pq", table, w, z)
    found = [
        [row((own if i == j else apart)[a, b], i, j) for j in range(2) for b in range(p)]
        for i in range(2)
        for a in range(p)
    ]
    assert np.allclose(found, expected, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("formula", "slope", "at"),
    [(lambda h: np.maximum(h, 0), lambda h: h > 0, relu), (np.tanh, lambda h: 1 - np.tanh(h) ** 2, tanh)],
    ids=["relu", "tanh"],
)
def test_one_layer_drawn_by_hand(formula, slope, at):
    # x + ε A φ(B rms(x)) at n = 3 with 5 hidden neurons: its derivative over ε, whose moments are exact
    x, samples = np.array([0.8, -1.1, 0.4]), 100_000
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((samples, 3, 5)) / np.sqrt(5), rng.standard_normal((samples, 5, 3)) / np.sqrt(3)
    r = np.sqrt(np.mean(x**2))
    inner = np.eye(3) / r - np.outer(x, x) / (3 * r**3)
    d = np.einsum("sik,sk,skj->sij", a, slope(b @ x / r), b @ inner)
    layer = jacobian(Network(lambda x: x + epsilon * A(at(B(rms_norm(x)))), width=3)).layer
    exact = [written_out(layer.sums(e), [[sp.Rational(str(v))] for v in x]) for e in (layer.square, layer.variance)]
    trace = np.trace(d, axis1=1, axis2=2)
    for found, derived in zip((np.einsum("sij,sji->s", d, d), trace**2), exact, strict=True):
        estimate = Estimate.of(found)
        assert estimate.test(float(derived)).p_value > 1e-3
        assert estimate.test(float(derived) * 1.1).p_value < 1e-3  # the control


@pytest.mark.slow
def test_it_prints_in_every_format(tmp_path):
    j = jacobian(Network(lambda x: x + epsilon * A(relu(B(x))), width=n))
    assert "Λ_t ~ N(-t/4, t/2)" in str(j)
    for made in (j.latex(), j.typst(), j.to_json(), j._repr_latex_()):
        assert "K" in made
    for suffix in (".tex", ".typ", ".txt", ".json"):
        assert j.write(tmp_path / f"j{suffix}").stat().st_size > 500
    with pytest.raises(DerivationError, match="suffix"):
        j.write(tmp_path / "j.pdf")
    with pytest.raises(DerivationError, match="columns="):
        j.limit()
    with pytest.raises(DerivationError, match="expects a network"):
        jacobian(relu)


def differentiated(samples, depth, t, x0, v0, seed):
    """SiLU networks with tanh inside and their derivative along v0, layer by layer by the chain rule."""
    rng, size, h = np.random.default_rng(seed), len(x0), t / depth
    x, v = np.tile(x0, (samples, 1)), np.tile(v0, (samples, 1))
    for _ in range(depth):
        w = rng.standard_normal((samples, size, size)) * np.sqrt(h / size)
        psi = np.tanh(x)
        u, du = (np.einsum("sij,sj->si", w, fed) for fed in (psi, (1 - psi**2) * v))
        gate = 1 / (1 + np.exp(-u))
        x, v = x + u * gate, v + (gate + u * gate * (1 - gate)) * du
    return x, v


@pytest.mark.slow
def test_explicitly_differentiated_networks_follow_the_equation():
    from numerics.paths import simulate_sde
    from numerics.statistics import Estimate, richardson

    x0, v0, samples, t = np.array([1.0, -0.5]), np.array([1.0, 1.0]), 40_000, 1.0

    def of_limit(variance, steps, seed):
        limit = jacobian(ShrinkingResNet(silu, tanh, width=2, weight_variance=variance)).limit(1)
        path = simulate_sde(limit, x0=np.stack([x0, v0], axis=-1), t=t, steps=steps, samples=samples, seed=seed)
        return Estimate.of(np.sum(path.reshape(samples, 2, 2)[:, :, 1] ** 2, axis=1))

    def of_networks(depth, seed):
        return Estimate.of(np.sum(differentiated(samples, depth, t, x0, v0, seed)[1] ** 2, axis=1))

    found = richardson(of_networks(16, 0), of_networks(32, 1))
    right, wrong = (richardson(of_limit(v, 16, 2), of_limit(v, 32, 3)) for v in (sp.S.One, sp.Rational(13, 10)))
    assert (found - right).test(0.0).p_value > 1e-3
    assert (found - wrong).test(0.0).p_value < 1e-3  # the control


@pytest.mark.slow
def test_linear_determinants_of_finite_networks():
    from scipy import stats

    from numerics.statistics import Estimate, ks_test, richardson

    size, samples = 3, 20_000

    def logs(depth, seed):
        rng, total = np.random.default_rng(seed), np.zeros(samples)
        for _ in range(depth):
            w = rng.standard_normal((samples, size, size)) / np.sqrt(size * depth)
            total += np.linalg.slogdet(np.eye(size) + w).logabsdet
        return total

    volume = jacobian(ResNet(identity, width=size)).log_det
    coarse, fine = logs(32, 1), logs(64, 2)
    mean = richardson(Estimate.of(coarse), Estimate.of(fine))
    variance = richardson(Estimate.variance_of(coarse), Estimate.variance_of(fine))
    for found, derived in ((mean, volume.drift), (variance, volume.rate)):
        assert found.test(float(derived)).p_value > 1e-3
        assert found.test(float(derived) * 1.1025).p_value < 1e-3  # the control: the noise's scale 5 % off
    shape = (fine - fine.mean()) / fine.std()
    assert ks_test(shape, stats.norm.cdf).p_value > 1e-3
    assert ks_test(shape * 1.1, stats.norm.cdf).p_value < 1e-3


@pytest.mark.slow
def test_a_width_may_be_said_by_a_matrix_too():
    # the number of a matrix's rows was compared with a width without a number
    said = jacobian(Network(lambda x: x + epsilon * Weights("A", out=2)(tanh(B(x))), width=2))
    plain = jacobian(Network(lambda x: x + epsilon * Weights("A")(tanh(B(x))), width=2))
    assert (said.log_det.drift, said.gram.process) == (plain.log_det.drift, plain.gram.process)


@pytest.mark.slow
def test_determinants_of_a_convolutional_block():
    """One layer on a ring of three positions, filters drawn by hand: the coefficients of ε², without the next order."""
    width, positions, samples = 2, 3, 60_000
    found = jacobian(ConvBlock(relu, width=width, positions=(positions,), filter=(3,))).log_det
    rng = np.random.default_rng(0)
    x = rng.standard_normal((width, positions))
    rows = [[sp.Float(v) for v in neuron] for neuron in x]

    def over_positions():
        taps = rng.standard_normal((samples, 3, width, width)) / np.sqrt(3 * width)
        whole = np.zeros((samples, positions, width, positions, width))
        for a in range(positions):
            for k in range(3):
                whole[:, a, :, (a + k) % positions] = taps[:, k]
        return whole.reshape(samples, positions * width, -1)

    inner, outer = over_positions(), over_positions()
    branch = outer @ ((inner @ x.T.ravel() > 0)[:, :, None] * inner)

    def moments(h):
        up, down = (np.linalg.slogdet(np.eye(6) + s * np.sqrt(h) * branch).logabsdet for s in (1, -1))
        return np.stack([up + down, (up - down) ** 2 / 2]) / (2 * h)

    for seen, formula in zip(2 * moments(1 / 128) - moments(1 / 64), (found.drift, found.rate), strict=True):
        derived, estimate = float(written_out(formula, rows)), Estimate.of(seen)
        assert estimate.test(derived).p_value > 1e-3
        assert estimate.test(1.2 * derived).p_value < 1e-3


@pytest.mark.slow
def test_determinants_over_positions_know_the_cone_of_their_gram_matrix():
    # refused before: a correlation of more than 1, at a point outside the cone, made the drift look imaginary
    block = ConvBlock(relu, width=n, positions=(3,), filter=(3,), circular=False, hidden=1)
    wide, few = (jacobian(net).log_det.process for net in (block, replace(block, width=2)))
    assert [str(s) for s in wide.states] == ["V_11", "V_12", "V_13", "V_22", "V_23", "V_33", "Lambda"]
    for v12, inside in ((1, sp.true), (2, sp.false)):  # the control: a correlation of 4/3
        assert wide.domain.contains(sp.Tuple(2, v12, 0, sp.Rational(9, 8), 0, 1, 0)) == inside
    # two neurons at three positions: the Gram matrix is singular, and all neurons are followed
    assert len(few.states) == 7
    x = np.array([[1.0, -0.5, 0.75], [0.25, 0.75, -1.0]])
    v = (x.T @ x / 2)[np.triu_indices(3)]
    gram = dict(zip(wide.states, map(sp.Float, (*v, 0)), strict=True)) | {n: sp.Integer(2)}
    neurons = dict(zip(few.states, map(sp.Float, (*x.ravel(), 0)), strict=True))
    one, other = (float(p.drift[-1].xreplace(at)) for p, at in ((wide, gram), (few, neurons)))
    assert np.isclose(one, other, rtol=1e-12)
    assert abs(one) > 0.1


@pytest.mark.slow
def test_why_gradients_of_weights_are_not_derived_is_a_step():
    A = Weights("A")
    steps = jacobian(Network(lambda x: x + epsilon**2 * A.T(sp.tanh(A(x))), width=3)).steps
    (own,) = (step for step in steps if step.name == "Gradients of the weights")
    assert own.because


@pytest.mark.slow
def test_equations_too_long_to_be_read_are_left_out_of_the_steps():
    j = jacobian(ConvBlock(relu, width=n, positions=(3,)))
    said = {step.name: step for step in j.steps}
    assert not said["Inverse and gradients"].lines
    assert j.inverse.covariance[0] != 0


def test_means_inside_cases_keep_their_variance():
    """Hidden neurons that read ReLUs: where all of these are 0 the mean is another one, and a name reached into that case."""
    B = Weights("B", out=2)
    found = jacobian(Network(lambda x: x + epsilon * A(relu(B(relu(x))) + tanh(B(relu(x)))), width=2)).log_det
    assert not found.drift.free_symbols | found.rate.free_symbols
    x, samples, rng = np.array([0.8, 0.5]), 20_000, np.random.default_rng(2)
    a, b = (rng.standard_normal((samples, 2, 2)) / np.sqrt(2) for _ in "ab")
    h = np.einsum("sij,j->si", b, x)
    d = (a * ((h > 0) + 1 / np.cosh(h) ** 2)[:, None, :]) @ b
    for seen, formula in (
        (-np.einsum("sij,sji->s", d, d) / 2, found.drift),
        (np.trace(d, axis1=1, axis2=2) ** 2, found.rate),
    ):
        derived = float(written_out(formula, [[sp.Float(v)] for v in x]).evalf())
        assert Estimate.of(seen).test(derived).p_value > 1e-3
        assert Estimate.of(seen).test(1.2 * derived).p_value < 1e-3  # the control


def test_coefficients_with_values_at_zero_are_taken_apart():
    # a tuple was asked for its terms
    s, x = sp.Symbol("s", positive=True), sp.Symbol("x", real=True)
    one, two = (layer_average(body, (x,), 0) for body in (x**2, x**4))
    node = Continued(sp.Lambda(s, sp.erf(1 / s)), one, sp.Tuple(sp.S.One, two))
    form, places = Coefficients().taken_apart(3 * node)
    assert set(places) == {one, two}
    assert not form.has(LayerAverage)
