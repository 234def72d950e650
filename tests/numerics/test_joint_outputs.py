"""Joint laws of outputs: against quadrature, SciPy's bivariate normal law, and networks with their readouts drawn; the command."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
from scipy import integrate, stats

from derivations import MLP, Network, ResNet, Weights, derive, epsilon, identity, relu, tanh
from numerics import joint_output_law, output_law, simulate_network
from numerics.cli import main
from numerics.joint_outputs import JointOutputLaw, bivariate_normal_cdf

INPUTS = np.array([[1.0, 0.5], [0.3, -1.0], [-0.7, 0.2]])


def test_the_bivariate_normal_distribution_function():
    rng = np.random.default_rng(0)
    for rho in (-0.95, -0.3, 0.0, 0.6, 0.99):
        points = np.vstack([rng.normal(size=(20, 2)) * 1.5, [[0, 0], [0, 0.7], [-0.4, 0], [1, -1]]])
        theirs = stats.multivariate_normal(cov=[[1, rho], [rho, 1]]).cdf(points)
        np.testing.assert_allclose(bivariate_normal_cdf(*points.T, np.array(rho)), theirs, atol=2e-8)
    assert bivariate_normal_cdf(np.array(0.3), np.array(-0.2), np.array(1.0)) == stats.norm.cdf(-0.2)
    assert bivariate_normal_cdf(np.array(0.3), np.array(-0.2), np.array(-1.0)) == pytest.approx(
        stats.norm.cdf(0.3) - stats.norm.cdf(0.2)
    )
    assert bivariate_normal_cdf(np.array(np.inf), np.array(0.4), np.array(0.5)) == stats.norm.cdf(0.4)


def test_two_readouts_of_one_input_by_quadrature():
    """V log-normal, its logarithm of variance 1/2: the readouts depend on each other through V alone."""
    f = joint_output_law(derive(MLP(relu, inputs=1), order="joint"), t=0.1, outputs=2)

    def mean(of):
        def at(g):
            return stats.norm.pdf(g) * of(np.exp((-0.25 + np.sqrt(0.5) * g) / 2))

        return integrate.quad(at, -10, 10, epsabs=0, epsrel=1e-10, limit=300)[0]

    y = np.array([0.4, -1.3])
    points = y[None, :, None]
    assert f.pdf(points)[0] == pytest.approx(mean(lambda s: np.prod(stats.norm.pdf(y, scale=s))), rel=1e-8)
    assert f.cdf(points)[0] == pytest.approx(mean(lambda s: np.prod(stats.norm.cdf(y, scale=s))), rel=1e-8)
    alone = output_law(derive(MLP(relu, inputs=1), order="joint"), t=0.1)
    assert f.cdf(points)[0] != pytest.approx(np.prod(alone.cdf(y)), rel=1e-3)  # they are not independent
    squares = f.rvs(200_000, random_state=1)[:, :, 0] ** 2
    # fourth powers are heavy: the error of the correlation is seen on twenty parts
    parts = [np.corrcoef(part.T)[0, 1] for part in np.split(squares, 20)]
    assert abs(np.mean(parts) - f.square_correlation()) < 4 * np.std(parts) / 20**0.5 + 0.02


def test_two_inputs_at_infinite_width_are_jointly_gaussian():
    d = derive(ResNet(relu, width=float("inf"), inputs=2))
    f = joint_output_law(d, x0=INPUTS, t=0.5, bias_variance=0.2)
    theirs = stats.multivariate_normal(cov=f.cov())
    points = np.array([[0.3, -0.5], [1.0, 2.0]])
    np.testing.assert_allclose(f.logpdf(points), theirs.logpdf(points), rtol=1e-10)
    np.testing.assert_allclose(f.cdf(points), theirs.cdf(points), atol=1e-7)
    one = output_law(d, x0=INPUTS, t=0.5, of=(2, -1), bias_variance=0.2)
    assert one.var() == pytest.approx(np.array([2, -1]) @ f.cov() @ [2, -1])
    assert f.square_correlation() == pytest.approx(0, abs=1e-12)


def test_linear_combinations_have_the_law_of_output_law():
    d = derive(ResNet(tanh, width=3, inputs=2))
    f = joint_output_law(d, x0=INPUTS, t=0.5, samples=2000, steps=50, seed=3)
    one = output_law(d, x0=INPUTS, t=0.5, of=(1, 1), samples=2000, steps=50, seed=3)
    assert one.var() == pytest.approx(f.cov().sum())
    assert f.cdf([[50.0, 50.0], [-50.0, 0.0]]) == pytest.approx([1, 0])
    assert f.cdf([50.0, 0.3]) == pytest.approx(
        output_law(d, x0=INPUTS, t=0.5, of=(0, 1), samples=2000, steps=50, seed=3).cdf(0.3)
    )


@pytest.mark.parametrize(
    "law",
    [
        lambda: output_law(derive(MLP(relu, inputs=1), order="joint"), t=0.1),
        lambda: output_law(derive(ResNet(identity, width=1)), t=0.5),
        lambda: output_law(derive(ResNet(relu, width=float("inf"))), t=0.5),
        lambda: output_law(derive(ResNet(tanh, width=2)), t=0.5, samples=200, steps=10),
    ],
)
def test_laws_are_pickled(law):
    f = law()
    g = pickle.loads(pickle.dumps(f))
    assert (g.pdf(0.7), g.moment(4), g.ppf(0.9), g.remark) == (f.pdf(0.7), f.moment(4), f.ppf(0.9), f.remark)


A, B = Weights("A"), Weights("B")
ALIKE = np.array([[1.0, 0.9], [0.3, 0.5], [-0.7, -0.5]])
CASES = {
    "two inputs, width 3": (ResNet(tanh, width=3, inputs=2), "depth", 1),
    "two readouts, two matrices": (Network(lambda x: x + epsilon * A(relu(B(x))), width=3), "depth", 2),
    "infinite width": (ResNet(relu, width=float("inf"), inputs=2), "width", 1),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_quadrants_of_networks_with_their_readouts_drawn(name):
    network, order, readouts = CASES[name]
    m, t, depth, samples = network.inputs, 1.0, 100, 6000
    x0 = ALIKE[:, :m]
    f = joint_output_law(derive(network, order=order), x0=x0, t=t, outputs=readouts, samples=6000, steps=100)
    n = 200 if order == "width" else 3
    rng = np.random.default_rng(5)
    if order == "width":  # neurons that are Gaussian with these second moments
        network = ResNet(relu, width=n, inputs=2)
        q, _ = np.linalg.qr(rng.normal(size=(n, 2)))
        x0, samples, depth = np.sqrt(n) * q @ np.linalg.cholesky(x0.T @ x0 / 3).T, 1000, 50
    x = simulate_network(network, depth=depth, samples=samples, x0=x0, t=t, seed=4)
    y = np.einsum("sri,sia->sra", rng.normal(size=(samples, readouts, n)), x) / np.sqrt(n)
    points = np.array([[0.5, 0.2], [0.0, -0.6], [-0.3, -0.3], [1.0, 1.5]])
    below = [np.mean((y.reshape(samples, 2) <= p).all(axis=1)) for p in points]
    derived = f.cdf(points if m == 2 else points[:, :, None])
    # binomial error, the law's own, and a share 1/L for the depth (1/n for the width)
    bound = 4 * np.sqrt(0.25 / samples) + 4 * f.error + 0.5 / depth + (1 / n if order == "width" else 0)
    assert np.abs(below - derived).max() < bound
    shown = points if m == 2 else points[:, :, None]
    wrong = f.covariances * np.eye(2) if m == 2 else 2 * f.covariances  # independent outputs, or twice the variance
    assert np.abs(below - replace(f, covariances=wrong).cdf(shown)).max() > bound


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"outputs": 0}, "outputs must be a positive whole number, got 0"),
        ({"variance": 0.0}, "variances of the readout"),
    ],
)
def test_what_makes_no_sense_is_refused(options, said):
    with pytest.raises(ValueError, match=said):
        joint_output_law(derive(ResNet(identity, width=1)), **options)


@pytest.mark.parametrize(("inputs", "outputs", "copies"), [(3, 1, 1), (5, 1, 4), (3, 2, 40)])
def test_orthants_of_three_inputs_and_more(inputs, outputs, copies):
    """SciPy's distribution function of each Gaussian vector, and what is drawn; one input twice, so that a covariance is singular."""
    rng = np.random.default_rng(inputs)
    x = rng.standard_normal((copies, 6, inputs))
    x[..., -1] = x[..., 0]
    law = JointOutputLaw(np.full(copies, 1 / copies), np.einsum("kia,kib->kab", x, x) / 6, outputs, 0.0)
    point = rng.normal(0.5, 0.5, size=(outputs, inputs))
    theirs = np.mean(
        [
            np.prod([stats.multivariate_normal(cov=c, allow_singular=True).cdf(row, rng=0) for row in point])
            for c in law.covariances
        ]
    )
    found = float(law.cdf(point if outputs > 1 else point[0]))
    assert abs(found - theirs) < 3e-4
    drawn = law.rvs(20_000, random_state=1).reshape(-1, outputs, inputs)
    below = (drawn <= point).all(axis=(1, 2)).mean()
    assert abs(found - below) < 4.5 * np.sqrt(found * (1 - found) / 20_000)
    assert abs(found - np.prod(stats.norm.cdf(point))) > 0.01  # of independent outputs
    assert law.cdf(np.full_like(point if outputs > 1 else point[0], 40.0)) == pytest.approx(1)
    assert law.cdf(np.full_like(point if outputs > 1 else point[0], -40.0)) == 0


def test_what_a_joint_law_does_not_know():
    d = derive(ResNet(tanh, width=1, inputs=2))
    f = joint_output_law(d, x0=[[1.0, 1.0]], t=0.2, samples=100, steps=5)
    with pytest.raises(ValueError, match="no joint density"):
        f.pdf([0.1, 0.1])  # one neuron: outputs depend on each other linearly
    with pytest.raises(ValueError, match=r"shape \(..., 2\), got \(3,\)"):
        f.cdf([0.1, 0.2, 0.3])
    three = joint_output_law(derive(ResNet(tanh, width=2, inputs=3)), x0=np.eye(3)[:2], t=0.2, samples=50, steps=5)
    assert three.rvs(7, random_state=0).shape == (7, 3)


@pytest.mark.slow
def test_the_command(capsys, tmp_path):
    assert main(["output", "mlp", "--order", "joint", "--t", "0.1", "--quantiles", "0.5,0.9"]) == 0
    said = capsys.readouterr()
    law = output_law(derive(MLP(relu, inputs=1), order="joint"), t=0.1)
    assert said.out == f"q,x\n0.5,0\n0.9,{law.ppf(0.9):.10g}\n"
    assert "standard deviation 1" in said.err
    np.savetxt(tmp_path / "x.csv", [[1.0, 0.0], [0.5, 1.0]], delimiter=",")
    line = ["output", "resnet", "--width", "oo", "--inputs", str(tmp_path / "x.csv"), "--of", "1,-1", "--points", "3"]
    assert main(line) == 0
    assert capsys.readouterr().out.splitlines()[2].startswith("0,")
    for more, why in (
        (["--quantiles", "2"], "probabilities between 0 and 1"),
        (["--of", "1,x"], "of must be numbers between commas"),
        (["--of", "1,2"], "one coefficient for each of the 1 outputs"),
    ):
        assert main(["output", "resnet", *more]) == 2
        assert why in capsys.readouterr().err
    assert main(["output", "resnet", "--width", "1", "--inputs", str(tmp_path / "x.csv")]) == 2
    assert "2 inputs need as many neurons" in capsys.readouterr().err
