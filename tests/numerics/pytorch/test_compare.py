"""Samples of PyTorch's own networks against the limit of the block that was read."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="reading PyTorch modules needs the extra torch")
from torch import nn  # noqa: E402

from derivations import ResNet, derive, epsilon, relu  # noqa: E402
from numerics import compare  # noqa: E402
from numerics.cli import main  # noqa: E402
from numerics.pytorch import from_torch  # noqa: E402

START = np.array([0.9, -1.4, 0.3, 0.6])
DEPTH, T, SAMPLES = 40, 1.0, 1500


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(4, 8, bias=False), nn.Linear(8, 4, bias=False)

    def forward(self, x):
        return x + self.down(torch.relu(self.up(x)))


def own_networks():
    """The last layers of networks whose modules PyTorch draws by its own initialiser, with the branch scaled by L^(-1/2)."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    block, found = Block(), []
    with torch.no_grad():
        for _ in range(SAMPLES):
            x = torch.tensor(START, dtype=torch.float32)
            for _ in range(DEPTH):
                block.up.reset_parameters()
                block.down.reset_parameters()
                x = x + 5 * (block(x) - x) * (T / DEPTH) ** 0.5
            found.append(x)
    return torch.stack(found)


@pytest.mark.slow
def test_samples_of_pytorch_are_compared():
    """The branch is 5 times as large, so that the norm grows at the rate 25/18: the variances 1/3, and half of a square behind ReLU."""
    samples = own_networks().numpy()
    d = derive(from_torch(Block, exact_law=True, scale=5 * epsilon))
    assert str(d.gram.drift[0]) == "25*V/18"
    right, wrong = (compare(d, x, x0=START, t=T, depth=DEPTH) for x in (samples, 1.2 * samples))
    assert all(row.test.p_value > 1e-3 for row in right.rows)
    assert min(row.test.p_value for row in wrong.rows) < 1e-9


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_tensors_are_compared_as_they_come(kind):
    drawn = torch.randn(60, 2, generator=torch.Generator().manual_seed(0)).to(kind)
    d = derive(ResNet(relu, width=2))
    first, *others = (compare(d, x, x0=1.0) for x in (drawn.double().numpy(), drawn.requires_grad_(), list(drawn)))
    assert all([row.test for row in other.rows] == [row.test for row in first.rows] for other in others)
    assert [row.test for row in compare(d, 2 * drawn, x0=1.0).rows] != [row.test for row in first.rows]
    with pytest.raises(ValueError, match="samples must be real numbers, got complex ones"):
        compare(d, drawn.to(torch.complex64).detach())


def test_a_file_of_pytorch_is_read(tmp_path, capsys):
    torch.save(torch.tensor(np.random.default_rng(0).normal(size=(60, 2))), tmp_path / "samples.pt")
    torch.save({"weights": torch.ones(3)}, tmp_path / "state.pt")
    (tmp_path / "other.pt").write_text("nothing")
    line = ["compare", "resnet", "--width", "2", "--samples"]
    assert main([*line, str(tmp_path / "samples.pt")]) == 1  # numbers of another law
    assert "60 samples against" in capsys.readouterr().out
    for name, said in (("state.pt", "holds dict; expected one tensor"), ("other.pt", "cannot be read as a tensor")):
        assert main([*line, str(tmp_path / name)]) == 2
        assert said in capsys.readouterr().err
