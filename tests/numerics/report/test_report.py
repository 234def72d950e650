"""The page: one file, nothing loaded, formulas as MathML, and real inputs that move as the derived equation says."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import sympy as sp
from scipy import stats

import numerics as templates
from derivations import (
    ACTIVATIONS,
    AttentionBlock,
    Network,
    ResNet,
    derive,
    gelu,
    ornstein_uhlenbeck,
    relu,
    symbols,
    tanh,
)
from derivations.notation.steps import Line, Term, equation
from numerics.cli import main
from numerics.kernels import kernel_matrix
from numerics.report import Inputs, Start, report
from numerics.report.inputs import observe, wide_limit
from numerics.report.mathml import display, inline, sentence
from numerics.report.page import Page, Section, Table
from numerics.validation.stages import silent
from tests.helpers import derived

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
RECIPES = {
    "relu-1": ResNet(relu, width=1),
    "relu-n": ResNet(relu, width=symbols.width),
    "gelu-oo": ResNet(gelu, width=sp.oo, inputs=2),
    "relu-3-inputs": ResNet(relu, width=3, inputs=2),
    "ornstein-uhlenbeck-1": ResNet(ornstein_uhlenbeck, width=1),
}
EVERY_ACTIVATION = [
    pytest.param(ResNet(a, width=1), id=name, marks=pytest.mark.slow) for name, a in ACTIVATIONS.items()
]


def digits() -> np.ndarray:
    """The first image of each digit, pixels in units of the root mean square over all ten: 10 inputs of 64 numbers.

    One scale for all of them: a digit with more ink keeps its larger norm.
    """
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    ten = np.stack([images[labels == k][0] for k in range(10)])
    return ten / np.sqrt(np.mean(ten**2))


# --- formulas ---


def test_lone_letters_are_italic_unless_the_source_says_upright():
    assert inline(r"\mathrm{d}d") == '<math><mrow><mi mathvariant="normal">d</mi><mi>d</mi></mrow></math>'


def test_neighbouring_formulas_of_a_sentence_become_one():
    x = sp.Symbol("x")
    assert [formula for formula, _ in sentence(("If ", x, " = ", x**2, ", then"))] == [False, True, False]


def test_display_has_a_row_for_every_printed_line():
    x = sp.Symbol("x", positive=True)
    long = Line(x, (Term(sp.Add(*(sp.sin(x) ** k / k for k in range(1, 12)))),))
    rows = ElementTree.fromstring(display((equation(x, x), long))).findall("./mtable/mtr")
    assert len(rows) > 2
    assert [len(row) for row in rows] == [2] * len(rows)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [pytest.param(r, id=name) for name, r in RECIPES.items()] + EVERY_ACTIVATION)
def test_no_latex_is_left_on_the_page(recipe):
    """All that the engine prints is translated: no command, no alignment mark, no brace comes through."""
    page = Page(derived(recipe)).html()
    formulas = re.findall(r"<math.*?</math>", page)
    assert formulas
    for formula in formulas:
        text = "".join(ElementTree.fromstring(formula).itertext())
        assert not re.search(r"[\\&^_$]|begin|left|Dummy", text), text


# --- the page ---


class Outline(HTMLParser):
    """Tags in balance, and every address that a browser might load."""

    VOID = frozenset({"meta", "path", "use", "rect", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag, attributes):
        self.addresses += [value for key, value in attributes if key in ("src", "href", "xlink:href", "data", "action")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


def small_report(d, of=None) -> str:
    of = of or Start(depth=40, samples=400)
    return report(d, of, [("activation", "<b>&")], "deeplimits report --activation '<script>'", silent).html()


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    inputs = Inputs(np.random.default_rng(0).standard_normal((3, 5)), depth=20, samples=50)
    return {
        "law": small_report(derive(ResNet(relu, width=1))),
        "diffusion": small_report(derive(ResNet(tanh, width=2))),
        "inputs": small_report(derive(ResNet(relu, width=4, inputs=3)), inputs),
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", ["law", "diffusion"])
def test_page_from_a_fixed_start_is_whole(name, pages):
    check_page(pages[name])


@pytest.mark.slow
def test_page_of_inputs_is_whole():
    inputs = Inputs(np.random.default_rng(0).standard_normal((3, 5)), depth=20, samples=50)
    check_page(small_report(derive(ResNet(relu, width=4, inputs=3)), inputs))


def assert_begins_with_the_verdict(page: str) -> None:
    """The verdict with the main figure first, then contents whose links lead somewhere, then the steps, each with its LaTeX."""
    assert page.index('id="verdict"') < page.index("<svg") < page.index("<nav") < page.index('id="derivation"')
    targets = re.findall(r'<a href="#([\w-]+)"', page)
    assert targets
    assert all(f'id="{target}"' in page for target in targets)
    assert 'data-latex="\\begin{aligned}' in page
    assert page.count("<details open>") == page.count('id="step-')


def check_page(page: str) -> None:
    outline = Outline()
    outline.feed(page)
    assert outline.open == ["!doctype"] or outline.open == []
    assert outline.addresses
    assert all(address.startswith("#") for address in outline.addresses)
    assert not re.search(r"@import|url\((?!#)|<script[^>]|<link|<img|<iframe|fetch\(|XMLHttp|import\(", page)
    assert page.count("<script>") == 1  # copies LaTeX, and opens what is folded before printing
    assert_begins_with_the_verdict(page)
    assert "&lt;script&gt;" in page
    assert "&lt;b&gt;&amp;" in page
    assert page.count("<svg") >= 1
    assert "Checks and controls" in page
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def measured(page: str, width: int, folder: Path) -> tuple[int, float]:
    """What Chromium says: how wide the page is in a window of a width, and how tall its first displayed formula."""
    quoted = page.replace("&", "&amp;").replace('"', "&quot;")
    frame = folder / "frame.html"
    frame.write_text(
        f'<iframe id="f" style="width:{width}px;height:3000px;border:0" srcdoc="{quoted}"></iframe><p id="out"></p><script>'
        "onload = () => { const d = document.getElementById('f').contentDocument;"
        "const m = d.querySelector('math[display=block] mtable').getBoundingClientRect();"
        "document.getElementById('out').textContent = `width=${d.documentElement.scrollWidth} math=${m.height}`; }</script>",
        encoding="utf-8",
    )
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command += ["--virtual-time-budget=10000", f"--user-data-dir={folder / 'profile'}", "--window-size=1400,1000"]
    done = subprocess.run(
        [*command, "--dump-dom", frame.as_uri()], capture_output=True, text=True, check=True, timeout=120
    )
    found = re.search(r"width=(\d+) math=([\d.]+)", done.stdout)
    assert found, done.stderr
    return int(found[1]), float(found[2])


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs a browser")
@pytest.mark.parametrize("name", ["law", "diffusion", "inputs"])
@pytest.mark.parametrize("width", [390, 1280])
def test_page_fits_a_phone_and_a_desk_without_scrolling_sideways(name, width, pages, tmp_path):
    across, tall = measured(pages[name], width, tmp_path)
    assert across <= width
    assert tall > 60  # three aligned rows, not one line of text


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs a browser")
def test_page_whose_tables_did_not_scroll_on_their_own_would_be_noticed(pages, tmp_path):
    assert measured(pages["law"].replace("overflow-x: auto", "overflow-x: visible"), 390, tmp_path)[0] > 390


def test_symbolic_width_is_refused_with_what_to_do():
    with pytest.raises(ValueError, match="--width n --format html"):
        report(derive(ResNet(relu, width=symbols.width)), Start())


@pytest.mark.slow
def test_softmax_attention_is_reported_by_one_layer():
    page = small_report(derive(AttentionBlock(width=2, positions=2, size=2)), Start(depth=20, samples=100))
    Outline().feed(page)
    assert "means over several Gaussian numbers at its own state, so none are drawn" in page
    assert "of the limit (lines) and in 20000 layers (points, ± one standard error)" in page
    assert "variance of one layer" in page


# --- how inputs move ---


def test_growth_without_first_order_part_has_the_same_mean_and_a_smaller_error():
    rng = np.random.default_rng(0)
    steps = rng.standard_normal((10, 10_000, 4, 2)) * 0.1
    states = np.concatenate([np.ones((1, 10_000, 4, 2)), steps]).cumsum(axis=0)  # a martingale
    seen = observe(states)
    plain = seen.course[-1, :, :2] - seen.course[0, :, :2]
    difference = plain - seen.growth
    assert np.all(np.abs(difference.mean(axis=0)) < 4 * difference.std(axis=0) / np.sqrt(10_000))
    assert np.all(seen.growth.std(axis=0) < plain.std(axis=0) / 2)


def test_squared_changes_are_those_of_the_states():
    """By loops, for neurons that pass 0 too."""
    rng = np.random.default_rng(1)
    states = rng.standard_normal((6, 5, 3, 2)).cumsum(axis=0)
    seen = observe(states)
    for s in range(5):
        x = states[:, s]
        square = (x**2).mean(axis=1)
        steps = [
            sum(((x[k + 1, :, a] - x[k, :, a]) ** 2).mean() / (square[k, a] + square[0, a]) for k in range(5))
            for a in range(2)
        ]
        assert seen.steps[s] == pytest.approx(steps)
        apart = x[:, :, 0] / np.sqrt(square[:, :1]) - x[:, :, 1] / np.sqrt(square[:, 1:])
        assert seen.turns[s, 0] == pytest.approx((np.diff(apart, axis=0) ** 2).mean(axis=1).sum())


def test_few_neurons_are_followed_in_more_networks():
    """At 500 networks of width 4 no check could have failed, and the page said that none passed."""
    d = derive(Network("x + eps*A(silu(B(rms_norm(x)))*C(rms_norm(x)))", width=4, inputs=2))
    rows = np.array([[1, 0.3, -0.2], [-0.2, 0.8, 0.5]])
    few, many = (
        Inputs(rows, depth=100, samples=count).study(d, silent).checks() for count in (500, Inputs.samples_of(4))
    )
    assert many, f"\n{many}"
    assert not few
    assert not any("differs" in verdict for verdict in few.verdicts)


def test_wide_limit_of_relu_grows_as_derived_and_keeps_parallel_inputs_parallel():
    rows = np.array([[1.0, 2.0], [2.0, 4.0], [-1.0, 1.0]])
    norms, cosines = wide_limit(derive(ResNet(relu, width=2, inputs=3)), rows, t=1.0)
    start = np.log((rows**2).mean(axis=1)) / 2
    assert norms[0] == pytest.approx(start)
    assert norms[-1] == pytest.approx(start + 0.25)  # dK/dt = K/2
    assert cosines[:, 0] == pytest.approx(1.0)
    assert np.all(np.diff(cosines[:, 1]) > 0)


def test_wide_limit_without_a_closed_form_is_that_of_the_kernels():
    rows = np.array([[1.0, 2.0], [-1.0, 1.0]])
    norms, cosines = wide_limit(derive(ResNet(tanh, width=2, inputs=2)), rows, t=1.0)
    kernel = kernel_matrix(ResNet(tanh, width=sp.oo, inputs=2), rows, t=1.0)
    assert norms[-1] == pytest.approx(np.log(np.diag(kernel)) / 2)
    assert cosines[-1, 0] == pytest.approx(kernel[0, 1] / np.sqrt(kernel[0, 0] * kernel[1, 1]))


def assert_study_agrees(rows, width, depth, samples):
    """Mean curves of networks and diffusion agree at every time, and those of the control do not."""
    study = Inputs(rows, depth=depth, samples=samples).study(
        derive(ResNet(relu, width=width, inputs=len(rows))), silent
    )
    table = study.checks()
    assert table, f"\n{table}"
    assert len(table.rows) == len(rows) + 2
    # norms and correlations at all times after the start: a Bonferroni bound on the largest of many z
    scores = paired_scores(study.networks.course, study.diffusion.course)
    control = paired_scores(study.networks.growth[None], study.control.growth[None])
    bound = stats.norm.isf(0.0005 / scores.size)
    assert np.max(np.abs(scores)) < bound
    assert np.max(np.abs(control)) > bound


def paired_scores(first, second):
    moved = (first - second)[-20:]
    return moved.mean(axis=1) / (moved.std(axis=1, ddof=1) / np.sqrt(moved.shape[1]))


@pytest.mark.slow
def test_three_digits_move_as_the_derived_diffusion_says():
    assert_study_agrees(digits()[:3], width=8, depth=200, samples=3000)


@pytest.mark.slow
def test_ten_digits_move_as_the_derived_diffusion_says():
    assert_study_agrees(digits(), width=32, depth=1000, samples=500)


@pytest.mark.slow
def test_report_on_ten_digits_is_written(tmp_path, capsys):
    """The main job on real input, from a file to a page."""
    np.save(tmp_path / "digits.npy", digits())
    out = tmp_path / "digits.html"
    command = ["report", "--activation", "relu", "--width", "32", "--depth", "1000", "--samples", "300"]
    assert main([*command, "--inputs", str(tmp_path / "digits.npy"), "--out", str(out)]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{out}\n"
    assert "300 networks of depth 1000, 10 inputs jointly" in captured.err
    page = out.read_text(encoding="utf-8")
    assert page.count("<figure") == 2
    assert "of 45: those that start least correlated" in page
    assert str(tmp_path) not in page.split("To repeat this page")[0]


def test_the_verdict_names_what_did_not_pass():
    def page(*cells: str) -> Page:
        table = Table(("claim", "verdict", "p"), [(f"claim {k}", cell, "1") for k, cell in enumerate(cells)], "")
        return Page(derive(ResNet(relu, width=1)), (), (Section("Checks", tables=(table,)),))

    assert page("✓ agrees", "✓ agrees").verdict.startswith("All 2 checks agree, and each would have noticed")
    assert page("✓ agrees").verdict.startswith("The one check agrees, and would have noticed")
    assert page("✓ agrees", "✗ differs").verdict == "1 of 2 checks did not pass: claim 1 (differs)."
    blind = "✗ no power: the control passed; raise samples about 7-fold"
    said = page("✓ agrees", blind).verdict.replace("\N{NO-BREAK SPACE}", " ")
    assert said.startswith("No check differs, but 1 of 2 would not have noticed a noise 5 % too")
    assert said.endswith("with so few samples: claim 1.")
    assert page("✗ differs", blind).verdict.startswith("2 of 2 checks did not pass")
    assert not page("✓ agrees", "✗ differs").holds
    assert page().verdict == ""


@pytest.mark.slow
def test_the_head_says_only_what_was_done(tmp_path, capsys):
    """Depth and number of networks were said, and networks drawn, where the checks choose their own and no picture shows any."""
    out = tmp_path / "page.html"
    for words, drawn in (
        ("attention-block --positions 2 --width 2 --size 2", False),
        ("shaped --c-plus 0 --c-minus=-1", False),
        ("resnet --width 1 --depth 50 --samples 500", True),  # the control
    ):
        assert main(["report", *words.split(), "--out", str(out), "--force"]) == 0
        page = out.read_text(encoding="utf-8")
        head = page.split("</dl>")[0]
        assert '<section class="first">' in page
        assert "<svg" in page.split('<section class="first">')[1].split("</section>")[0]
        assert ("<dt>width</dt>" in head) == ("shaped" not in words)  # it goes to infinity
        assert ("depth L" in head) == drawn
        assert ("<dt>networks</dt>" in head) == drawn
        assert ("networks of depth" in capsys.readouterr().err) == drawn


@pytest.mark.skipif(CHROMIUM is None or shutil.which("pdftotext") is None, reason="needs a browser and pdftotext")
@pytest.mark.parametrize("kept", [True, False])  # the control has no rules for print
def test_a_printed_heading_stands_with_what_follows(kept, tmp_path):
    source = (Path(templates.__file__).parent / "templates" / "report.html").read_text()
    style = source[source.index("<style>") : source.index("</style>")]
    style = style if kept else style[: style.index("@media print")]
    body = '<div style="height: 220mm"></div><section><h2>Heading</h2><figure style="height: 80mm; break-inside: avoid">x</figure></section>'
    (tmp_path / "page.html").write_text(f"<html><head>{style}</style></head><body>{body}</body></html>")
    where = f"--print-to-pdf={tmp_path / 'page.pdf'}"
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer", where)
    subprocess.run([CHROMIUM, *flags, (tmp_path / "page.html").as_uri()], check=True, capture_output=True, timeout=60)
    first = subprocess.run(
        ["pdftotext", "-l", "1", str(tmp_path / "page.pdf"), "-"], check=True, capture_output=True, text=True
    ).stdout
    assert ("Heading" not in first) is kept
