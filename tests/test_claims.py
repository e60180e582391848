"""The ledger holds the paper's numbers, its bands refuse what is wrong, bad files are named."""

import errno
import json
import math
import os
import re
import subprocess
import sys
from dataclasses import replace

import pytest

from aae_lib import claims, mat
from aae_lib.claims import Evidence, Row, check
from aae_lib.data import MNIST_DIGEST
from aae_lib.errors import UserError

LEDGER = claims.load()
BY_ID = {claim.id: claim for claim in LEDGER}
RUN = [claim for claim in LEDGER if claim.run]

# Typed from the paper a second time. (value, ±), or None where the paper has a dash.
_ = None
PARZEN = {  # Table 1: MNIST 10K, MNIST 10M, TFD 10K, TFD 10M
    "dbn": [(138, 2), _, (1909, 66), _],
    "stacked-cae": [(121, 1.6), _, (2110, 50), _],
    "deep-gsn": [(214, 1.1), _, (1890, 29), _],
    "gan": [(225, 2), (386, _), (2057, 26), _],
    "gmmn-ae": [(282, 2), _, (2204, 20), _],
    "aae": [(340, 2), (427, _), (2252, 16), (2522, _)],
}
ERRORS = {  # Table 2: MNIST 100, MNIST 1000, MNIST all, SVHN 1000
    "nn-baseline": [(25.80, _), (8.73, _), (1.25, _), (47.50, _)],
    "vae-m1-tsvm": [(11.82, 0.25), (4.24, 0.07), _, (55.33, 0.11)],
    "vae-m2": [(11.97, 1.71), (3.60, 0.56), _, _],
    "vae-m1-m2": [(3.33, 0.14), (2.40, 0.02), (0.96, _), (36.02, 0.10)],
    "vat": [(2.33, _), (1.36, _), (0.64, 0.04), (24.63, _)],
    "catgan": [(1.91, 0.1), (1.73, 0.18), (0.91, _), _],
    "ladder": [(1.06, 0.37), (0.84, 0.08), (0.57, 0.02), _],
    "adgm": [(0.96, 0.02), _, _, (16.61, 0.24)],
    "aae": [(1.90, 0.10), (1.60, 0.08), (0.85, 0.02), (17.70, 0.30)],
}
PAPER = {
    f"{place}.{column}.{model}": cell
    for place, columns, rows in (
        ("table1", ("mnist-10k", "mnist-10m", "tfd-10k", "tfd-10m"), PARZEN),
        ("table2", ("mnist-100", "mnist-1000", "mnist-all", "svhn-1000"), ERRORS),
    )
    for model, cells in rows.items()
    for column, cell in zip(columns, cells, strict=True)
    if cell is not None
} | {
    "table3.clusters-20.catgan": (9.70, _),
    "table3.clusters-16.aae": (9.55, 2.05),
    "table3.clusters-30.aae": (4.10, 1.13),
    "fig11.a": (4.20, _),
    "fig11.b": (6.08, _),
    "fig11.c": (13.95, _),
    "fig11.d": (3.90, _),
    "a2.mnist-100.epoch-1": (16.50, _),
    "a2.mnist-100.epoch-50": (3.40, _),
    "a2.mnist-100.epoch-500": (2.21, _),
    "a2.mnist-100.epoch-5000": (1.80, _),
    "a2.svhn-1000.epoch-1": (49.34, _),
    "a2.svhn-1000.epoch-50": (25.86, _),
    "a2.svhn-1000.epoch-500": (18.15, _),
    "a2.svhn-1000.epoch-1000": (17.66, _),
}
WITHOUT_A_NUMBER = {
    "fig2.gaussian.energy-distance",
    "fig2.gaussian.uncovered-mass",
    "fig2.mixture.energy-distance",
    "fig2.mixture.uncovered-mass",
    "fig2.mixture.occupancy",
    "s2.gmmn.autoencoder",
    "fig4.mixture.accuracy",
    "fig4.mixture.style",
    "fig4.roll.accuracy",
    "fig4.roll.rank-correlation",
    "fig5.mnist.copy",
    "fig7.mnist.agreement",
    "fig7.mnist.style",
    "fig7.mnist.probe",
    "fig7.svhn.agreement",
    "fig7.svhn.neighbours",
    "table2.svhn-1000.ladder",
    "table3.more-clusters",
    "fig11.a.separation",
    "fig11.c.sub-clusters",
    "fig11.d.gaussian-style",
}

# Values that a claim must not call reproduced: nearer than its own `wrong`, or on its other side.
TOLD_APART = [
    ("a2.mnist-100.epoch-1", 90.0),  # chance
    ("a2.mnist-100.epoch-1", 24.0),  # no adversary
    ("a2.mnist-100.epoch-50", 4.0),  # the best public code
    ("a2.mnist-100.epoch-50", 25.80),  # labels alone
    ("a2.mnist-100.epoch-50", 2.21),  # epoch 500
    ("a2.mnist-100.epoch-500", 1.80),  # epoch 5000
    ("table1.mnist-10k.aae", 243.6),  # training images in place of samples
    ("table1.mnist-10k.gan", 214),  # Deep GSN
    ("table1.mnist-10k.gan", 340),  # the AAE
    ("table1.mnist-10k.gmmn-ae", 340),  # the AAE
    ("s2.gmmn.autoencoder", 4.0),  # twice the ± of a row of Table 1
    ("fig4.mixture.accuracy", 74.2),  # what 100 labels alone teach (Table 2)
    ("fig4.mixture.accuracy", 99.9),  # better than anybody
    ("fig4.mixture.style", -0.5),  # half of the components the other way round
    ("fig4.roll.rank-correlation", 0.0),  # no order
    ("fig4.roll.accuracy", 10.0),  # chance
    ("fig5.mnist.copy", 0.3),  # copies with some noise on them
    ("fig5.mnist.copy", 3.0),  # grey noise
    ("fig7.mnist.agreement", 90.0),  # one image in ten is another digit
    ("fig7.mnist.style", 0.4),  # most of the slant is the digit's own
    ("fig7.mnist.probe", 80.0),  # the label left in the code
    ("fig7.mnist.probe", 3.0),  # worse than guessing
    ("fig7.svhn.agreement", 80.0),  # one image in five is another digit
    ("fig7.svhn.neighbours", 0.6),  # much of the edges goes with the label
    ("table2.mnist-100.aae", 1.06),  # Ladder networks
    ("table2.mnist-1000.aae", 0.84),  # Ladder networks
    ("table2.mnist-all.aae", 0.2),  # better than anybody
    ("table2.mnist-100.nn-baseline", 3.33),  # VAE (M1 + M2)
    ("table2.mnist-1000.nn-baseline", 25.80),  # 100 labels
    ("table2.svhn-1000.nn-baseline", 36.02),  # VAE (M1 + M2)
    ("table2.svhn-1000.aae", 47.50),  # labels alone
    ("table3.clusters-16.aae", 4.10),  # 30 clusters
    ("table3.clusters-30.aae", 1.90),  # 100 labels
    ("table3.more-clusters", 0.9),  # hardly lower
    ("fig11.a", 1.60),  # the high-dimensional code
    ("fig11.b", 4.20),  # 1000 labels
    ("fig11.c", 9.70),  # CatGAN's 20 clusters
    ("fig11.d", 1.90),  # the concatenated code
    ("a2.svhn-1000.epoch-1", 25.86),  # epoch 50
    ("a2.svhn-1000.epoch-50", 18.15),  # epoch 500
    ("a2.svhn-1000.epoch-500", 25.86),  # epoch 50
]


def measured(claim, *values, **changes):
    """Evidence for a claim at the epoch that it is about."""
    epochs = claim.epochs or 50
    evidence = Evidence(dict(enumerate(values)), epochs, epochs, "paper", claim.chapter, claim.data)
    return replace(evidence, **changes)


def by_id(claim):
    return claim.id


# ---- the ledger itself


def test_every_number_of_the_paper_is_in_the_ledger():
    reported = {c.id: (c.reported, c.plusminus) for c in LEDGER if c.reported is not None}
    assert reported == PAPER


def test_the_other_claims_are_statements():
    assert {c.id for c in LEDGER if c.reported is None} == WITHOUT_A_NUMBER
    assert len(LEDGER) == len(PAPER) + len(WITHOUT_A_NUMBER)


@pytest.mark.parametrize("claim", LEDGER, ids=by_id)
def test_place_and_epochs_agree_with_the_id(claim):
    start, *middle = claim.id.split(".")
    words = claim.place.lower().replace(",", "").replace(".", "")
    assert words.startswith(
        {"s2": "§2", "table1": "table 1", "table2": "table 2", "table3": "table 3"}.get(
            start, start[:2]
        )
    )
    if start in ("table1", "table2"):
        assert words.endswith(middle[0].replace("-", " "))
    if start == "a2":
        assert claim.epochs == int(middle[1].removeprefix("epoch-"))


@pytest.mark.parametrize("claim", RUN, ids=by_id)
def test_the_band_is_narrower_than_the_distance_to_what_is_wrong(claim):
    low, high = claim.band
    assert not low <= claim.wrong <= high
    if claim.reported is not None:
        assert high - low < abs(claim.wrong - claim.reported)
    elif claim.quantity.startswith("ratio"):
        assert high < claim.wrong == 1  # a tie
    if claim.direction == "lower":
        assert claim.wrong > high
    if claim.direction == "higher":
        assert claim.wrong < low


# ---- verdicts


@pytest.mark.parametrize("claim", LEDGER, ids=by_id)
def test_a_plainly_wrong_value_is_refused(claim):
    wrong = claim.wrong if claim.run else 0.0
    expected = "not reproduced" if claim.run else "not run"
    assert check(claim, measured(claim, wrong)).verdict == expected
    assert check(claim, measured(claim, wrong, wrong, wrong)).verdict == expected


@pytest.mark.parametrize(("name", "value"), TOLD_APART)
def test_a_neighbouring_value_is_not_called_reproduced(name, value):
    assert check(BY_ID[name], measured(BY_ID[name], value)).verdict in ("partly", "not reproduced")


@pytest.mark.parametrize("claim", RUN, ids=by_id)
def test_a_value_in_the_band_is_reproduced(claim):
    value = sum(claim.band) / 2 if claim.reported is None else claim.reported
    assert check(claim, measured(claim, value)).verdict == "reproduced"


@pytest.mark.parametrize("claim", LEDGER, ids=by_id)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, None, 1e308])
def test_a_missing_or_non_finite_value_is_never_a_pass(claim, bad):
    good = claim.reported or 0.5
    for values in ((bad,), (good, bad), (bad, good, good), (bad, bad)):
        verdict = check(claim, measured(claim, *values))
        assert verdict.verdict in ("not reproduced", "not run")
        assert verdict.obtained is None or math.isfinite(verdict.obtained)
    assert check(claim, measured(claim)).verdict == "not run"
    assert check(claim, None).verdict == "not run"


@pytest.mark.parametrize("claim", RUN, ids=by_id)
def test_the_edges_of_a_band_belong_to_it(claim):
    for edge in claim.band:
        assert check(claim, measured(claim, edge)).verdict == "reproduced"


@pytest.mark.parametrize("claim", [c for c in RUN if c.partial], ids=by_id)
def test_partly_lies_between(claim):
    low, high = claim.partial
    assert (low, high) != claim.band
    value = high if high > claim.band[1] else low
    verdict = check(claim, measured(claim, value))
    assert (verdict.verdict, verdict.reason) == ("partly", claim.partial_reason)


def test_the_mean_over_seeds_is_judged_and_its_spread_shown():
    claim = BY_ID["table2.mnist-100.aae"]
    verdict = check(claim, measured(claim, 1.0, 2.0, 3.0))
    assert (verdict.verdict, verdict.obtained, verdict.std, verdict.n) == ("reproduced", 2, 1, 3)
    verdict = check(claim, measured(claim, 2.0))
    assert (verdict.obtained, verdict.std, verdict.n) == (2, None, 1)


def test_a_mean_within_its_standard_error_of_the_edge_says_so():
    claim = BY_ID["a2.mnist-100.epoch-50"]  # to 3.9
    near, clear = (check(claim, measured(claim, m - 0.6, m, m + 0.6)) for m in (3.6, 3.5))
    assert near.reason == "within [2.3, 3.9], by less than its standard error"  # 0.35
    assert clear.reason == check(claim, measured(claim, 3.89)).reason == "within [2.3, 3.9]"


def test_a_claim_that_another_gives_its_meaning_has_no_verdict_where_that_one_is_missed(tmp_path):
    """The style of a row of Fig 7a: a decoder that ignores the label keeps it best."""
    style, agreement = BY_ID["fig7.mnist.style"], "fig7.mnist.agreement"
    assert style.given == agreement
    for value, verdict in (
        (99.0, "reproduced"),
        (93.0, "reproduced"),
        (12.0, "not run"),
        (None, "not run"),
    ):
        entries = {style.id: {"values": {"0": 0.9}, "epochs": 50}}
        if value is not None:
            entries[agreement] = {"values": {"0": value}, "epochs": 50}
        write(tmp_path, claims=entries, profile="standard")
        (row,) = [row for row in claims.scorecard(tmp_path) if row.id == style.id]
        assert (row.verdict, row.obtained) == (verdict, 0.9)
        if value == 12.0:
            assert row.reason.startswith(
                "it rests on a claim that is missed (Fig 7a, images decoded"
            )
    assert row.told == "no verdict"
    assert "a claim that has no verdict (Fig 7a" in row.reason
    assert row.reason.endswith(style.given_reason)


def test_a_claim_that_is_held_in_part_needs_its_meaning_as_well():
    style, agreement = BY_ID["fig7.mnist.style"], BY_ID["fig7.mnist.agreement"]
    found = {style.id: measured(style, 0.3), agreement.id: measured(agreement, 12.0)}
    assert check(style, found[style.id]).verdict == "partly"
    rows = {row.id: row for row in claims.judge([agreement, style], found)}
    assert rows[style.id].verdict == "not run"


def test_what_is_reproduced_is_weighed():
    """A rival, the paper's own model and a statement, the last of one seed; and one that is missed."""
    found = {
        "table1.mnist-10k.gan": (225, 226),
        "table1.mnist-10k.aae": (340, 341),
        "fig5.mnist.copy": (1,),
    }
    found["fig11.a"] = (50,)
    rows = claims.judge(
        [BY_ID[name] for name in found], {n: measured(BY_ID[n], *v) for n, v in found.items()}
    )
    assert claims.standing(rows) == (
        "Of the 3 reproduced, the paper prints a number for 2 (1 of its own model); the rest are statements about a "
        "picture or a comparison, turned into a number. Of one seed alone: 1."
    )
    assert claims.standing([]) == "None is reproduced."


@pytest.mark.parametrize(
    ("name", "too_good", "too_bad"),
    [("table2.mnist-100.aae", 0.1, 50.0), ("table1.mnist-10k.aae", 900.0, 100.0)],
)
def test_a_value_too_good_is_refused_with_a_hint(name: str, too_good: float, too_bad: float):
    claim = BY_ID[name]
    verdict = check(claim, measured(claim, too_good))
    assert verdict.verdict == "not reproduced"
    assert "look for a mistake" in verdict.reason
    assert "look for a mistake" not in check(claim, measured(claim, too_bad)).reason


@pytest.mark.parametrize("claim", [c for c in RUN if c.epochs], ids=by_id)
def test_only_the_epoch_of_the_claim_gives_a_verdict(claim):
    for epochs in (claim.epochs / 2, claim.epochs + 1):
        verdict = check(claim, measured(claim, claim.reported, epochs=epochs, profile="standard"))
        assert verdict.verdict == "not run"
        assert verdict.obtained == claim.reported
    assert check(claim, measured(claim, claim.reported, profile="quick")).verdict == "reproduced"


def test_a_short_run_says_how_far_it_came():
    claim = BY_ID["table2.mnist-100.aae"]
    verdict = check(claim, measured(claim, 3.26, epochs=50, profile="standard"))
    assert verdict.reason == "at 50 of 5000 epochs: 3.26, no verdict on the final number"


@pytest.mark.parametrize("claim", [c for c in RUN if not c.epochs], ids=by_id)
def test_without_an_epoch_count_a_quick_run_gives_no_verdict(claim):
    value = sum(claim.band) / 2
    verdict = check(claim, measured(claim, value, epochs=1, profile="quick"))
    assert verdict.verdict == "not run"
    assert verdict.reason == "at 1 epoch: no verdict on a quick profile"
    assert check(claim, measured(claim, value, profile="standard")).verdict == "reproduced"


def test_a_schedule_shorter_than_the_standard_profile_is_judged_at_its_end():
    claim = BY_ID["fig7.mnist.probe"]

    def after(epochs, of_epochs):
        changes = {"epochs": epochs, "of_epochs": of_epochs, "profile": "standard"}
        return check(claim, measured(claim, 14.0, **changes))

    assert [after(20, 20).verdict, after(19, 20).verdict] == ["reproduced", "not run"]
    assert after(20, 5000).reason == "at 20 epochs: no verdict before 50 epochs"


def test_a_table_for_the_book_says_what_the_paper_says():
    row = claims.judge([BY_ID["fig7.mnist.probe"]], {})[0]
    assert "The paper: The code represents the style" in claims.html_table({"Ours": [row]})


@pytest.mark.parametrize("claim", LEDGER, ids=by_id)
@pytest.mark.parametrize("change", [{"profile": "smoke"}, {"data": "my-digits"}])
def test_smoke_and_other_data_give_no_verdict(claim, change):
    value = claim.reported or 0.5
    assert check(claim, measured(claim, value, **change)).verdict == "not run"


# ---- malformed ledgers

CLAIM = """[[claim]]
id = "table2.mnist-100.aae"
place = "Table 2, MNIST 100"
model = "AAE"
quantity = "test error, %"
reported = 1.90
plusminus = 0.10
plusminus_meaning = "as printed"
direction = "lower"
band = [1.3, 2.6]
band_reason = "half the way"
wrong = 3.33
wrong_reason = "VAE"
chapter = "07_semi_supervised"
"""
OTHERS = """[[claim]]
id = "fig11.a"
place = "Fig 11a"
model = "AAE"
quantity = "test error, %"
reported = 4.2
direction = "lower"
chapter = "09_dimensionality_reduction"
run = false
reason = "later"
"""


def load_text(folder, text):
    path = folder / "claims.toml"
    path.write_text(text, encoding="utf-8")
    return claims.load(path)


def test_a_small_ledger_loads(tmp_path):
    one, other = load_text(tmp_path, CLAIM + OTHERS)
    assert (one.band, one.run, other.run, other.band) == ((1.3, 2.6), True, False, None)


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('place = "Table 2, MNIST 100"\n', "", "place"),
        ("band = [1.3, 2.6]\n", "", "band"),
        ('band_reason = "half the way"\n', "", "band_reason"),
        ("wrong = 3.33\n", "", "wrong"),
        ('plusminus_meaning = "as printed"\n', "", "plusminus_meaning"),
        ("reported = 1.90\n", "", "statement"),
        ("wrong_reason", "wrong_raeson", "wrong_raeson"),
        ("1.90", '"1.90"', "reported"),
        ("1.90", "nan", "reported"),
        ("1.90", "true", "reported"),
        ("1.90", "5.0", "band"),
        ("0.10", "-0.10", "plusminus"),
        ("[1.3, 2.6]", "[2.6, 1.3]", "band"),
        ("[1.3, 2.6]", "[1.3, inf]", "band"),
        ("[1.3, 2.6]", "[1.3]", "band"),
        ("[1.3, 2.6]", "1.3", "band"),
        ("[1.3, 2.6]", "[0.2, 3.0]", "band"),
        ("3.33", "2.0", "wrong"),
        ('"lower"', '"downwards"', "direction"),
        ('"AAE"', '" "', "model"),
        ('"AAE"', "7", "model"),
        ("table2.mnist-100.aae", "table2.MNIST 100.aae", "id"),
        ("table2.mnist-100.aae", "tab.mnist-100.aae", "id"),
        ("wrong = ", "epochs = 0\nwrong = ", "epochs"),
        ("wrong = ", "run = 1\nwrong = ", "run"),
        ("wrong = ", "run = false\nwrong = ", "reason"),
        ("wrong = ", "partial = [1.0, 3.0]\nwrong = ", "partial_reason"),
        ("wrong = ", 'partial = [1.5, 3.0]\npartial_reason = "so"\nwrong = ', "partial"),
        ("wrong = ", 'partial = [1.0, 4.0]\npartial_reason = "so"\nwrong = ', "wrong"),
        ("wrong = ", 'data = "snvh"\nwrong = ', "data"),
        ("wrong = ", 'given = "fig11.b"\nwrong = ', "given_reason"),
        ("wrong = ", 'given = "fig11.b"\ngiven_reason = "so"\nwrong = ', "given"),
        ("wrong = ", 'given = "fig11.a"\ngiven_reason = "not run"\nwrong = ', "given"),
        # A claim that rests on one that rests on another: here on itself.
        ("wrong = ", 'given = "table2.mnist-100.aae"\ngiven_reason = "so"\nwrong = ', "given"),
    ],
)
def test_a_defect_is_named_with_file_claim_and_key(tmp_path, old, new, key):
    assert old in CLAIM
    text = CLAIM.replace(old, new)
    with pytest.raises(UserError) as error:
        load_text(tmp_path, text + OTHERS)
    message = str(error.value)
    assert str(tmp_path / "claims.toml") in message
    name = new if key == "id" else "table2.mnist-100.aae"
    assert f"claim {name}: {key}: " in message
    assert "\n" not in message


def test_a_near_miss_of_a_key_is_suggested(tmp_path):
    with pytest.raises(UserError, match="did you mean 'wrong_reason'"):
        load_text(tmp_path, CLAIM.replace("wrong_reason", "wrong_raeson"))


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (CLAIM + CLAIM, "claim table2.mnist-100.aae: id: used twice"),
        (CLAIM.replace('id = "table2.mnist-100.aae"\n', ""), "claim number 1: id: missing"),
        ("[[claim]\n", "cannot read"),
        ("", "no [[claim]]"),
        ("claim = 3\n", "no [[claim]]"),
        ("claim = [3]\n", "claim number 1"),
        ("[[clam]]\n" + CLAIM, "clam"),
    ],
)
def test_a_broken_ledger_is_named(tmp_path, text, part):
    with pytest.raises(UserError) as error:
        load_text(tmp_path, text)
    assert str(tmp_path / "claims.toml") in str(error.value)
    assert part in str(error.value)


def test_a_ledger_that_is_not_text_or_not_there_is_named(tmp_path):
    path = tmp_path / "claims.toml"
    with pytest.raises(UserError, match=r"cannot read the claims ledger .*claims\.toml"):
        claims.load(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"cannot read the claims ledger .*claims\.toml"):
        claims.load(path)


# ---- results


def content(name="table2.mnist-100.aae", values=None, epochs=5000, **changes):
    """A results file with one claim, as a chapter writes it."""
    values = {"0": 1.9} if values is None else values
    return {
        "schema": 1,
        "chapter": "07_semi_supervised",
        "profile": "paper",
        "seeds": list(range(len(values))),
        "claims": {name: {"values": values, "epochs": epochs, "of_epochs": 5000}},
    } | changes


def write(folder, **changes):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "07_semi_supervised.json").write_text(
        json.dumps(content(**changes)), encoding="utf-8"
    )
    return folder


def row(results, name="table2.mnist-100.aae"):
    return next(row for row in claims.scorecard(results) if row.id == name)


def test_scorecard_has_a_row_for_every_claim(tmp_path):
    assert [r.claim for r in claims.scorecard(tmp_path / "nowhere")] == LEDGER
    write(tmp_path, values={"0": 1.8, "1": 2.0})
    verdict = row(tmp_path)
    assert verdict.verdict == "reproduced"
    assert verdict.obtained == pytest.approx(1.9)
    assert (verdict.n, verdict.profile, verdict.epochs) == (2, "paper", 5000)


@pytest.mark.parametrize(
    ("one", "other", "obtained"),
    [
        (
            {"epochs": 50, "values": {"0": 3.0, "1": 3.0}},
            {"epochs": 500, "values": {"0": 2.2}},
            2.2,
        ),
        ({"values": {"0": 1.7}}, {"values": {"0": 1.9, "1": 1.9}}, 1.9),
        ({"epochs": 6000, "values": {"0": 1.7}}, {"values": {"0": 1.9}}, 1.9),
        ({"profile": "smoke", "values": {"0": 9.0}}, {"epochs": 1, "values": {"0": 2.0}}, 2.0),
        (
            {"data": {"name": "mine"}, "values": {"0": 9.0}},
            {"epochs": 1, "values": {"0": 2.0}},
            2.0,
        ),
    ],
    ids=["more epochs", "more seeds", "the epoch of the claim", "no smoke", "no other data"],
)
def test_which_of_two_files_counts(tmp_path, one, other, obtained):
    for first, second in ((one, other), (other, one)):  # whatever the order of the files
        write(tmp_path / "a", **first)
        write(tmp_path / "b", **second)
        assert row(tmp_path).obtained == obtained
        assert row([tmp_path / "a", tmp_path / "b"]).obtained == obtained


def test_seeds_of_several_files_are_one_evidence(tmp_path):
    """A chapter executed seed by seed, as papermill does in a loop: the mean is over all of them."""
    alone = {"a": {"0": 1.7, "1": 1.8}, "b": {"2": 1.9}, "c": {"3": 2.2}}
    for name, values in alone.items():
        seeds = [int(seed) for seed in values]
        runs = [{"experiment": "mnist_100", "hash": "0123456789ab"}]
        write(tmp_path / name, values=values, seeds=seeds, runs=runs)
    runs = [{"experiment": "mnist_100", "hash": "0123456789ab"}]
    write(tmp_path / "overlapping", values={"1": 1.8, "4": 1.9}, seeds=[1, 4], runs=runs)
    verdict = row(tmp_path)
    assert (verdict.n, verdict.obtained) == (5, pytest.approx(1.9))
    unlike = {
        "another value of a seed that is there already": {"values": {"1": 9.0}, "seeds": [1]},
        "other epochs": {"values": {"7": 9.0}, "seeds": [7], "epochs": 4000},
        "another profile": {"values": {"7": 9.0}, "seeds": [7], "profile": "standard"},
        "other data": {"values": {"7": 9.0}, "seeds": [7], "data": {"name": "mine"}},
        "another configuration": {
            "values": {"7": 9.0},
            "seeds": [7],
            "runs": [{"experiment": "mnist_100", "hash": "fedcba987654"}],
        },
    }
    for name, changes in unlike.items():
        write(tmp_path / name, **changes)
    assert row(tmp_path).obtained == pytest.approx(1.9)
    write(tmp_path / "failed", values={}, seeds=[8])
    assert row(tmp_path).reason == "no value for seed 8"


def test_only_the_whole_of_mnist_counts(tmp_path):
    write(tmp_path, data={"name": "mnist", "digest": MNIST_DIGEST, "note": ""})
    assert row(tmp_path).verdict == "reproduced"
    write(tmp_path, data={"name": "mnist", "digest": "0123456789ab", "note": ""})
    assert row(tmp_path).verdict == "not run"
    assert "mnist@0123456789ab" in row(tmp_path).reason


TFD_CLAIM = "table1.tfd-10k.aae"


@pytest.mark.parametrize(
    ("measured_on", "verdict"),
    [
        ({"name": "tfd", "digest": "0123456789ab", "note": ""}, "reproduced"),
        ({"name": "faces", "digest": "0123456789ab", "note": ""}, "not run"),
        ({"name": "mnist", "digest": MNIST_DIGEST, "note": ""}, "not run"),
    ],
)
def test_a_claim_of_another_data_set_is_judged_on_that_alone(tmp_path, measured_on, verdict):
    entry = {"values": {"0": 2250.0}, "epochs": 50, "of_epochs": 50, "data": measured_on}
    write(tmp_path, profile="standard", seeds=[0], claims={TFD_CLAIM: entry})
    (found,) = [row for row in claims.scorecard(tmp_path) if row.id == TFD_CLAIM]
    assert found.verdict == verdict
    if verdict == "not run":
        assert "no verdict on data other than TFD" in found.reason


def test_without_tfd_its_claims_say_that_it_is_not_public(tmp_path):
    rows = [row for row in claims.scorecard(tmp_path) if row.id.startswith("table1.tfd")]
    assert {(row.verdict, row.reason) for row in rows} == {("not run", "TFD is not public")}


@pytest.mark.parametrize("digest", [{}, {"digest": MNIST_DIGEST}, {"digest": "0123456789ab"}])
def test_only_the_official_svhn_is_svhn(tmp_path, digest):
    name = "table2.mnist-100.aae"
    write(tmp_path, data={"name": "svhn", **digest})
    assert claims.evidence(tmp_path)[name].data.startswith("svhn@")
    write(tmp_path, data={"name": "svhn", "digest": mat.svhn_digest()})
    assert claims.evidence(tmp_path)[name].data == "svhn"
    write(tmp_path, data={"name": "mnist", "digest": mat.svhn_digest()})
    assert claims.evidence(tmp_path)[name].data.startswith("mnist@")


def test_one_file_can_be_read_alone(tmp_path):
    write(tmp_path / "a", values={"0": 1.7})
    write(tmp_path / "b", values={"0": 1.9, "1": 1.9})
    assert row(tmp_path / "a" / "07_semi_supervised.json").obtained == 1.7


def test_a_seed_without_a_value_is_missing(tmp_path):
    write(tmp_path, values={"0": 1.9}, seeds=[0, 1])
    verdict = row(tmp_path)
    assert (verdict.verdict, verdict.reason) == ("not run", "no value for seed 1")


@pytest.mark.parametrize("value", [math.nan, math.inf, 10**400])
def test_a_diverged_seed_is_read_and_refused(tmp_path, value):
    write(tmp_path, values={"0": 1.9, "1": value})
    verdict = row(tmp_path)
    assert (verdict.verdict, verdict.obtained) == ("not reproduced", None)
    assert "seed 1" in verdict.reason


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"schema": 2}, "schema"),
        ({"schema": True}, "schema"),
        ({"profile": "huge"}, "profile"),
        ({"profile": []}, "profile"),
        ({"chapter": 7}, "chapter"),
        ({"seeds": [0, "1"]}, "seeds"),
        ({"seeds": 0}, "seeds"),
        ({"claims": []}, "claims"),
        ({"data": "mine"}, "data.name"),
        ({"data": {"name": 3}}, "data.name"),
        ({"data": {"name": "mnist", "digest": 3}}, "data.digest"),
        ({"name": "table2.mnist-100.aea"}, "claims.table2.mnist-100.aea"),
        ({"claims": {"fig11.a": 4.2}}, "claims.fig11.a.values"),
        ({"claims": {"fig11.a": {"values": {}}}}, "claims.fig11.a.epochs"),
        ({"claims": {"fig11.a": {"values": {}, "seeds": 3}}}, "claims.fig11.a.seeds"),
        ({"values": {"0": "1.9"}}, "claims.table2.mnist-100.aae.values.0"),
        ({"values": {"0": True}}, "claims.table2.mnist-100.aae.values.0"),
        ({"values": {"x": 1.9}, "seeds": [0]}, "claims.table2.mnist-100.aae.values"),
        ({"values": [1.9], "seeds": [0]}, "claims.table2.mnist-100.aae.values"),
        ({"epochs": "all"}, "claims.table2.mnist-100.aae.epochs"),
        ({"epochs": math.nan}, "claims.table2.mnist-100.aae.epochs"),
        ({"epochs": -1}, "claims.table2.mnist-100.aae.epochs"),
        (
            {"claims": {"fig11.a": {"values": {}, "epochs": 1, "of_epochs": "all"}}},
            "claims.fig11.a.of_epochs",
        ),
    ],
)
def test_a_defect_in_results_is_named_with_file_and_key(tmp_path, changes, key):
    text = json.dumps(content(**{"values": {"0": 1.9}, "seeds": [0], **changes}))
    path = tmp_path / "bad.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as error:
        claims.evidence(tmp_path)
    assert f"{path}: {key}: " in str(error.value)
    assert "\n" not in str(error.value)


def test_a_mistyped_claim_gets_the_nearest(tmp_path):
    write(tmp_path, name="table2.mnist-100.aea")
    with pytest.raises(UserError, match=r"nearest is 'table2\.mnist-100\.aae'"):
        claims.evidence(tmp_path)


@pytest.mark.parametrize(
    "text", [b"", b"{", b"\xff", b"[" * 100_000, b"9" * 5000, b'{"a": 1, "a": 2}', b"[]"]
)
def test_a_corrupt_file_is_named(tmp_path, text):
    path = tmp_path / "bad.json"
    path.write_bytes(text)
    with pytest.raises(UserError) as error:
        claims.scorecard(tmp_path)
    assert str(path) in str(error.value)
    assert "run its chapter again" in str(error.value)


@pytest.mark.parametrize("level", ["schema", "claims"])
def test_a_key_given_twice_is_named(tmp_path, level):
    text = json.dumps(content())
    text = text.replace(f'"{level}": ', f'"{level}": 1, "{level}": ')
    (tmp_path / "twice.json").write_text(text)
    with pytest.raises(UserError, match=rf"twice\.json: {level}: given twice"):
        claims.evidence(tmp_path)


def test_a_folder_of_results_that_cannot_be_read_is_no_folder_without_results(
    tmp_path, monkeypatch
):
    assert claims.evidence(tmp_path / "nowhere") == {}
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot read .*file/results: Not a directory"):
        claims.evidence(tmp_path / "file" / "results")

    def refused(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "listdir", refused)
    with pytest.raises(UserError, match=rf"cannot read {tmp_path}: Permission denied"):
        claims.scorecard(tmp_path)


def test_a_hidden_file_is_left_alone(tmp_path):
    (tmp_path / ".07.json").write_text("{")
    assert claims.evidence(tmp_path) == {}


# ---- rendering


def test_json_form(tmp_path):
    write(tmp_path, values={"0": 1.8, "1": 2.0})
    listed = claims.as_json(claims.scorecard(tmp_path))
    keys = ["id", "place", "reported", "obtained", "std", "n", "profile", "epochs", "verdict"]
    keys += ["reason"]
    assert [list(entry) for entry in listed] == [keys] * len(LEDGER)
    entry = next(e for e in listed if e["id"] == "table2.mnist-100.aae")
    assert entry["obtained"] == pytest.approx(1.9)
    assert entry["std"] == pytest.approx(0.02**0.5)
    del entry["obtained"], entry["std"]
    assert entry == {
        "id": "table2.mnist-100.aae",
        "place": "Table 2, MNIST 100",
        "reported": 1.9,
        "n": 2,
        "profile": "paper",
        "epochs": 5000,
        "verdict": "reproduced",
        "reason": "within [1.3, 2.6]",
    }
    ladder = next(e for e in listed if e["id"] == "table2.svhn-1000.ladder")
    assert ladder == dict.fromkeys(keys) | {
        "id": "table2.svhn-1000.ladder",
        "place": "Table 2, SVHN 1000",
        "verdict": "not run",
        "reason": "the paper gives no number",
    }


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e308])
def test_json_is_strict_whatever_was_measured(tmp_path, value):
    write(tmp_path, values={"0": value, "1": value})
    json.dumps(claims.as_json(claims.scorecard(tmp_path)), allow_nan=False)


def test_terminal_table_is_aligned_and_fits(tmp_path):
    write(tmp_path, values={"0": 3.2, "1": 3.3}, epochs=50, profile="standard")
    text = claims.render(claims.scorecard(tmp_path))
    lines = text.splitlines()
    assert max(map(len, lines)) <= 120
    assert all(sum(line.startswith(c.id + " ") for line in lines) == 1 for c in LEDGER)
    column = lines[0].index("Verdict")
    for line in lines[1:-1]:
        assert len(line) <= column or line[column - 2 : column] == "  "
    assert "3.25 ± 0.07" in text
    assert lines[-1] == (
        f"0 reproduced, 0 partly, 0 not reproduced, 1 no verdict, {len(LEDGER) - 1} not run"
    )


def test_numbers_are_shown_as_the_paper_prints_them():
    text = claims.render(claims.scorecard([]))
    for printed in ("340 ± 2 ", "121 ± 1.6 ", "1.90 ± 0.10 ", "25.80 ", "9.55 ± 2.05 ", "2522 "):
        assert printed in text


def test_markdown_shows_our_claims_under_their_counts(tmp_path):
    write(tmp_path)
    first, _, *lines = claims.markdown(claims.scorecard(tmp_path)).splitlines()
    assert first.startswith(
        f"1 reproduced, 0 partly, 0 not reproduced, 0 no verdict, {len(RUN) - 1} not run. Of the 1"
    )
    assert len(lines) == 2 + len(RUN)
    assert {line.count("|") for line in lines} == {9}


def test_what_was_measured_without_a_verdict_is_not_called_not_run(tmp_path):
    write(tmp_path, data={"name": "faces", "digest": "0123456789ab", "note": ""})
    rows = claims.scorecard(tmp_path)
    assert claims.counts(rows) == {
        "reproduced": 0,
        "partly": 0,
        "not reproduced": 0,
        "no verdict": 1,
        "not run": len(LEDGER) - 1,
    }
    (mine,) = [row for row in rows if row.told == "no verdict"]
    assert (mine.id, mine.verdict) == ("table2.mnist-100.aae", "not run")
    assert claims.html_table({"Ours": rows}).count(">no verdict<") == 1
    assert "no verdict: measured on faces" in claims.render(rows)


def test_a_table_has_the_paper_s_number_and_then_ours_with_what_it_rests_on():
    claim = BY_ID["a2.mnist-100.epoch-50"]
    rows = claims.judge([claim], {claim.id: measured(claim, 3.0, 3.6)})
    paper, ours = re.findall("<td>(.*?)</td>", claims.html_table({"Ours": rows}))
    assert paper == "3.40"
    assert ours.startswith("3.30 ± 0.42 <small>n = 2, epoch 50, paper</small>")


def test_strings_from_results_are_shown_as_text(tmp_path):
    name = "<script>alert(1)</script> | [x](y) `$\\a$` **b** &lt; \x1b[31m\n| new | row |"
    write(tmp_path, data={"name": name})
    rows = claims.scorecard(tmp_path)

    line = next(t for t in claims.markdown(rows).splitlines() if "script" in t)
    assert not re.search(r"(?<!\\)<", line)
    assert line.replace("\\|", "").count("|") == 9
    for mark in ("\\[x\\](y)", "\\`\\$\\\\a\\$\\`", "\\*\\*b\\*\\*", "\\&lt;"):
        assert mark in line
    assert "<script>" not in claims.html_table({"Ours": rows})
    assert "\x1b" not in claims.render(rows)
    assert len(claims.render(rows).split("measured on")) == 2


def test_a_reason_is_shown_whole_however_long():
    claim, reason = BY_ID["fig11.a"], "so " * 99 + "it ends"
    row = Row(claim=claim, **vars(check(claim, measured(claim, 5.0))) | {"reason": reason})
    for text in claims.markdown([row]), claims.html_table({"Ours": [row]}), claims.render([row]):
        assert "it ends" in text


def test_a_name_that_no_encoding_holds_does_not_break_the_output(tmp_path):
    write(tmp_path, data={"name": "\ud800"})
    rows = claims.scorecard(tmp_path)
    for text in (claims.render(rows), claims.markdown(rows), json.dumps(claims.as_json(rows))):
        text.encode()


def test_rows_can_be_made_by_hand():
    claim = BY_ID["fig11.a"]
    made = Row(claim=claim, **vars(check(claim, None)))
    assert (made.place, made.model, made.reported) == (claim.place, claim.model, 4.2)
    assert made.verdict == "not run"
    assert "4.20" in claims.render([made])
    assert claims.render([])


def test_the_ledger_needs_no_torch():
    program = "import sys, aae_lib.claims as c; c.render(c.scorecard([]))"
    program += "; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_mean_near_the_lower_edge_says_so_too():
    claim = BY_ID["a2.mnist-100.epoch-50"]  # from 2.3
    near, clear = (check(claim, measured(claim, m - 0.6, m, m + 0.6)) for m in (2.6, 2.7))
    assert near.reason == "within [2.3, 3.9], by less than its standard error"
    assert clear.reason == "within [2.3, 3.9]"


def seeds_of_a_chapter(folder, values, runs=(), data=None):
    """One results file of chapter 7: errors by seed, and what made them."""
    folder.mkdir()
    entry = {"values": values, "epochs": 5000, "of_epochs": 5000}
    content = {
        "schema": 1,
        "chapter": "07_semi_supervised",
        "profile": "paper",
        "seeds": [int(seed) for seed in values],
        "claims": {"table2.mnist-100.aae": entry},
        "runs": [{"experiment": name, "hash": digest} for name, digest in runs],
    }
    content |= {"data": data} if data else {}
    (folder / "07_semi_supervised.json").write_text(json.dumps(content))


def test_a_third_file_is_held_to_the_configurations_of_the_second(tmp_path):
    seeds_of_a_chapter(tmp_path / "a", dict.fromkeys("012", 1.7), [("mnist_100", "a" * 12)])
    seeds_of_a_chapter(tmp_path / "b", dict.fromkeys("34", 1.9), [("nn_100", "b" * 12)])
    seeds_of_a_chapter(tmp_path / "c", {"5": 9.0}, [("nn_100", "c" * 12)])
    found = claims.evidence([tmp_path / name for name in "abc"])["table2.mnist-100.aae"]
    assert set(found.values) == {0, 1, 2, 3, 4}


def test_two_archives_of_one_name_are_two(tmp_path):
    for letter, values in (("a", {"0": 1.7, "1": 1.7}), ("b", {"2": 9.0})):
        told = {"name": "faces", "digest": letter * 12, "note": ""}
        seeds_of_a_chapter(tmp_path / letter, values, data=told)
    found = claims.evidence([tmp_path / name for name in "ab"])["table2.mnist-100.aae"]
    assert (found.data, found.values) == ("faces@" + "a" * 12, {0: 1.7, 1: 1.7})
