"""Statistics: identities that hold whatever is measured, and cases with a known answer."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from materials import generator

from aae_lib import statistics
from aae_lib.errors import UserError
from aae_lib.networks import discriminator, initialise
from aae_lib.phases import discriminator_loss
from aae_lib.priors import Gaussian, GaussianMixture, SwissRoll


def normal(n: int, seed: int) -> torch.Tensor:
    return Gaussian(2).sample(n, generator(seed))


def test_energy_distance_against_the_direct_sum() -> None:
    x, y = normal(30, 0), 0.5 * normal(50, 1) + 1
    found = statistics.energy_distance(x, y, generator(), permutations=3, block=7).value
    expected = 2 * torch.cdist(x, y).mean() - torch.cdist(x, x).mean() - torch.cdist(y, y).mean()
    assert found == pytest.approx(float(expected), abs=1e-5)


def test_energy_distance_of_a_sample_to_itself_is_zero() -> None:
    x = normal(100, 0)
    found = statistics.energy_distance(x, x, generator(), permutations=3)
    assert found.value == pytest.approx(0, abs=1e-5)


def test_equal_distributions_fall_into_the_band_and_others_do_not() -> None:
    same = statistics.energy_distance(normal(800, 0), normal(800, 1), generator())
    other = statistics.energy_distance(normal(800, 0) * 1.3, normal(800, 1), generator())
    assert same.value <= same.band[1] < other.value


def test_the_band_of_an_energy_distance_is_that_of_the_pooled_points_at_random() -> None:
    x, y = normal(30, 0), normal(40, 1)
    pooled, source, values = torch.cat((x, y)), generator(), []
    for _ in range(200):
        first = torch.randperm(70, generator=source) < 30
        parted = pooled[first], pooled[~first]
        values.append(statistics.energy_distance(*parted, generator(), permutations=1).value)
    found = statistics.energy_distance(x, y, generator(), permutations=200).band
    assert found == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])), abs=1e-5)


def test_codes_that_match_the_prior_leave_the_stated_share_uncovered() -> None:
    prior = Gaussian(2)
    radius = statistics.covering_radius(prior, 5000, generator(0))
    matching = statistics.uncovered_mass(normal(5000, 1), prior, radius, generator(2))
    half = normal(5000, 1)
    half = half[half[:, 0] > 0]
    assert matching == pytest.approx(0.01, abs=0.005)
    assert statistics.uncovered_mass(half, prior, radius, generator(2)) > 0.4


def test_occupancy_counts_components() -> None:
    prior = GaussianMixture(std_along=0.2)
    label = torch.tensor([0] * 30 + [7] * 10)
    shares = statistics.occupancy(prior.sample(40, generator(), label), prior)
    assert shares.tolist() == pytest.approx([0.75, 0, 0, 0, 0, 0, 0, 0.25, 0, 0])
    assert statistics.total_variation(shares) == pytest.approx(0.8)
    assert statistics.total_variation(torch.full((10,), 0.1)) == pytest.approx(0, abs=1e-6)


# Six images, of which the first three are sure and lie in clusters 0, 1 and 2; no image lies in cluster 3.
Q = torch.tensor([
    [0.9, 0.0, 0.1, 0.0],
    [0.1, 0.8, 0.0, 0.1],
    [0.0, 0.0, 0.7, 0.3],
    [0.6, 0.0, 0.2, 0.2],
    [0.5, 0.4, 0.1, 0.0],
    [0.4, 0.3, 0.3, 0.0],
])  # fmt: skip
LABELS = torch.tensor([7, 1, 1, 2, 2, 2])


def test_a_cluster_is_named_by_the_image_that_is_surest_of_it() -> None:
    """Paper: §6. The majority of cluster 0 are twos, its surest image is a seven."""
    assert statistics.cluster_names(Q, LABELS).tolist() == [7, 1, 1, 1]
    assert statistics.majority_names(Q, LABELS).tolist() == [2, 1, 1, 1]
    counts = statistics.contingency(Q, LABELS)
    assert counts[:, [1, 2, 7]].tolist() == [[0, 3, 1], [1, 0, 0], [1, 0, 0], [0, 0, 0]]
    assert counts.sum() == len(Q)
    assert statistics.cluster_error(Q, LABELS, torch.tensor([7, 1, 1, 1])) == pytest.approx(50)
    assert statistics.cluster_error(Q, LABELS, torch.tensor([2, 1, 1, 1])) == pytest.approx(100 / 6)


def test_any_image_s_name_is_the_mean_over_all_images_that_could_give_it() -> None:
    """Clusters 0, 1 and 2 have four, one and one image; the last has none, and one judged image lies there."""
    judged, labels = torch.eye(4)[[0, 0, 1, 2, 3]], torch.tensor([2, 8, 1, 2, 1])
    errors = [
        statistics.cluster_error(judged, labels, torch.tensor([name, 1, 1, 99]))
        for name in LABELS[Q.argmax(1) == 0].tolist()
    ]
    found = statistics.any_image_error((Q, LABELS), judged, labels)
    assert found == pytest.approx(sum(errors) / len(errors))


@pytest.fixture(params=range(3))
def clustered(request) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities (200, 8) and labels of 5 classes, drawn at random."""
    q = (3 * torch.randn(200, 8, generator=generator(request.param))).softmax(1)
    return q, torch.randint(5, (200,), generator=generator(request.param))


def test_the_order_of_clusters_and_of_images_does_not_matter(clustered) -> None:
    q, labels = clustered
    clusters, images = (torch.randperm(n, generator=generator()) for n in (8, 200))
    for names in statistics.cluster_names, statistics.majority_names:
        named = names(q, labels)
        assert torch.equal(names(q[:, clusters], labels), named[clusters])
        assert torch.equal(names(q[images], labels[images]), named)
        assert statistics.cluster_error(
            q[:, clusters], labels, named[clusters]
        ) == statistics.cluster_error(q, labels, named)
    for measure in statistics.clusters_in_use, statistics.sureness:
        assert measure(q[images][:, clusters]) == pytest.approx(measure(q), rel=1e-5)


def test_no_names_are_wrong_less_often_than_the_majority_s(clustered) -> None:
    q, labels = clustered
    majority = statistics.cluster_error(q, labels, statistics.majority_names(q, labels))
    assert majority <= statistics.cluster_error(q, labels, statistics.cluster_names(q, labels))
    for seed in range(20):
        names = torch.randint(5, (8,), generator=generator(seed))
        assert majority <= statistics.cluster_error(q, labels, names)


def test_mutual_information_of_a_relabelling_and_of_independence() -> None:
    labels = torch.arange(60) % 5
    renamed = torch.eye(5)[(2 * labels + 1) % 5]
    assert statistics.mutual_information(renamed, labels) == pytest.approx(1)
    assert statistics.mutual_information(torch.eye(3)[torch.arange(60) // 5 % 3], labels) == (
        pytest.approx(0, abs=1e-9)
    )
    halves = torch.eye(10)[labels + 5 * (torch.arange(60) >= 30)]  # H(cluster | label) = ln 2
    expected = 2 * math.log(5) / (math.log(5) + math.log(10))
    assert statistics.mutual_information(halves, labels) == pytest.approx(expected)


def test_clusters_in_use_and_sureness_at_their_ends() -> None:
    even, one, soft = torch.eye(6), torch.eye(6)[[2] * 6], torch.full((9, 6), 1 / 6)
    assert [statistics.clusters_in_use(q) for q in (even, one, soft)] == pytest.approx([6, 1, 6])
    assert [statistics.sureness(q) for q in (even, one, soft)] == pytest.approx([1, 1, 1 / 6])
    two = torch.eye(6)[[0, 0, 3, 3]]
    assert statistics.clusters_in_use(two) == pytest.approx(2)


class Mirror:
    """A classifier of images that are one-hot vectors of their label."""

    def encode(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"y": images}


def test_images_that_heed_their_label_and_images_that_do_not() -> None:
    label = torch.arange(10).repeat(5)
    heeding = torch.eye(10)[label]
    ignoring = torch.eye(10)[torch.full_like(label, 3)]
    assert statistics.heeded(heeding, label, Mirror()) == 100
    assert statistics.heeded(heeding, (label + 1) % 10, Mirror()) == 0
    assert statistics.heeded(ignoring, label, Mirror()) == pytest.approx(100 / 10)


def read(codes: torch.Tensor, label: torch.Tensor, neighbours: int) -> float:
    """A probe trained on the first half of `codes` and tested on the second."""
    half = len(codes) // 2
    return statistics.probe(codes[:half], label[:half], codes[half:], label[half:], neighbours)


@pytest.mark.parametrize("neighbours", [0, 15])
def test_a_probe_reads_a_label_that_the_code_holds_and_no_other(neighbours: int) -> None:
    label = torch.arange(2000) % 4
    style = normal(2000, 0)
    centres = torch.tensor([[0.0, 0], [9, 0], [0, 9], [9, 9]])
    assert read(style, label, neighbours) == pytest.approx(100 / 4, abs=5)
    assert read(style + centres[label], label, neighbours) > 99


@pytest.mark.parametrize("neighbours", [0, 15])
def test_a_probe_reads_a_faint_dimension_beside_a_loud_one(neighbours: int) -> None:
    label = torch.arange(2000) % 2
    codes = torch.stack((1e-3 * (2.0 * label - 1), 1e3 * normal(2000, 0)[:, 0]), 1)
    assert read(codes, label, neighbours) > 95


def test_neighbours_read_shells_that_no_hyperplane_can() -> None:
    label = torch.arange(2000) % 4
    direction = torch.nn.functional.normalize(normal(2000, 0))
    shells = direction * (1 + label[:, None])
    assert read(shells, label, neighbours=0) < 40
    assert read(shells, label, neighbours=15) > 99


# ---- Fig 4: codes and the part of the prior that their label names

DIGITS = torch.arange(10).repeat(1000)


def exchanged(first: int, second: int) -> torch.Tensor:
    """DIGITS with two digits in each other's place."""
    swapped = torch.arange(10)
    swapped[[first, second]] = swapped[[second, first]]
    return swapped[DIGITS]


def of_the_mixture() -> float:
    """How many of its draws in % lie where their own component is the densest."""
    axis = torch.arange(-4, 4, 0.01)
    weighed = GaussianMixture().component_log_prob(torch.cartesian_prod(axis, axis)).exp() / 10
    return 100 * float(weighed.amax(1).sum()) * 0.01**2


def of_the_roll() -> float:
    """How many in % its noise leaves in their part: at nine borders E|noise along it| / 2 leave to either side."""
    roll = SwissRoll()
    leaving = 9 * roll.std * math.sqrt(2 / math.pi) / float(roll.length(torch.ones(1)))
    return 100 * (1 - leaving)


@pytest.mark.parametrize(
    ("prior", "own"), [(GaussianMixture(), of_the_mixture()), (SwissRoll(), of_the_roll())]
)
def test_draws_of_a_part_lie_in_it_and_those_of_its_neighbour_do_not(prior, own: float) -> None:
    z = prior.sample(len(DIGITS), generator(), DIGITS)
    assert statistics.part_accuracy(z, DIGITS, prior) == pytest.approx(own, abs=0.5)
    neighbours = prior.sample(len(DIGITS), generator(), (DIGITS + 1) % 10)
    assert statistics.part_accuracy(neighbours, DIGITS, prior) < 5
    one_pair = statistics.part_accuracy(z, exchanged(4, 5), prior)
    assert one_pair == pytest.approx(0.8 * own, abs=1)


def test_a_mixture_turned_by_one_component_holds_the_neighbours_codes() -> None:
    prior, turn = GaussianMixture(), torch.tensor(2 * math.pi / 10)
    rotation = torch.stack((turn.cos(), turn.sin(), -turn.sin(), turn.cos())).view(2, 2)
    z = prior.sample(len(DIGITS), generator(), DIGITS) @ rotation
    assert statistics.part_accuracy(z, DIGITS, prior) < 5
    assert statistics.part_accuracy(z, (DIGITS + 1) % 10, prior) > 99


def test_points_of_the_roll_are_found_where_they_are() -> None:
    u = torch.linspace(0, 1, 777, dtype=torch.float64)
    roll = SwissRoll()
    assert statistics.position_on_roll(roll.mean(u), roll).numpy() == pytest.approx(u, abs=1e-4)
    # Off the axis by less than half the distance of two windings, outside the innermost one.
    outer = u[u > 0.3]
    beside = roll.mean(outer) * (1 + 0.4 / roll.mean(outer).norm(dim=1, keepdim=True))
    assert statistics.position_on_roll(beside, roll).numpy() == pytest.approx(outer, abs=0.02)


def test_the_ends_of_the_roll_lie_in_its_first_and_last_part() -> None:
    roll = SwissRoll()
    ends = roll.mean(torch.tensor([0.0, 0.05, 0.95, 1.0]))
    assert statistics.nearest_part(ends, roll).tolist() == [0, 0, 9, 9]


def test_rank_correlation_of_labels_along_the_roll() -> None:
    roll = SwissRoll()
    position = statistics.position_on_roll(roll.sample(len(DIGITS), generator(), DIGITS), roll)

    def found(labels: torch.Tensor) -> float:
        return statistics.rank_correlation(position, labels)

    assert found(DIGITS) == pytest.approx(math.sqrt(1 - 1 / 100), abs=5e-4)
    assert found(9 - DIGITS) == pytest.approx(-found(DIGITS))
    assert abs(found(DIGITS[torch.randperm(len(DIGITS), generator=generator())])) < 0.05
    # Two digits k places apart cost 6·(2/10)·(k/10)²: neighbours hide behind the ledger's band, others do not.
    for second, costs in ((5, 0.012), (6, 0.048), (7, 0.108)):
        assert found(DIGITS) - found(exchanged(4, second)) == pytest.approx(costs, abs=2e-3)
    assert statistics.rank_correlation(torch.zeros(30), DIGITS[:30]) == 0


@pytest.mark.parametrize("shear", [-0.8, 0.0, 0.5])
def test_slant_of_a_sheared_bar_is_its_shear(shear: float) -> None:
    y, x = np.indices((28, 28))
    upwards = 15.0 - y
    bar = np.exp(-((x - 13 - shear * upwards) ** 2) / 4) * (abs(upwards) < 7)
    dim = 0.3 * np.roll(bar, (-2, 1), (0, 1))
    colour = np.stack((bar, dim, 0 * bar))[..., None].repeat(3, 3)
    assert statistics.slant(np.stack((bar, dim))) == pytest.approx([shear, shear], abs=0.01)
    assert statistics.slant(colour[:2]) == pytest.approx([shear, shear], abs=0.01)
    assert statistics.slant(bar[None, :, ::-1]) == pytest.approx([-shear], abs=0.01)


def test_light_in_one_row_has_no_slant() -> None:
    rows = np.zeros((200, 28, 28))
    rows[:, 11] = np.random.default_rng(0).random((200, 28))
    assert np.isnan(statistics.slant(rows)).all()


def test_agreement_of_maps_that_rise_one_way_or_the_other() -> None:
    """Of k signs with sum s it is (s² − k) / (k (k − 1)), whatever the maps' scales and levels."""
    ramp = np.linspace(-1, 1, 7)
    for down in range(11):
        signs = np.repeat([1, -1], [10 - down, down])
        maps = signs[:, None] * ramp * np.arange(1, 11)[:, None] + np.arange(10)[:, None]
        assert statistics.agreement(maps) == pytest.approx((signs.sum() ** 2 - 10) / 90)
    one = np.stack((ramp, ramp, np.ones(7)))
    assert statistics.agreement(one) == pytest.approx(1 / 3)  # one pair of three


def test_maps_at_random_seldom_agree_as_the_ledger_asks() -> None:
    signs = np.array(list(itertools.product((1, -1), repeat=10)))
    agreeing = [statistics.agreement(s[:, None] * [0.0, 1.0]) >= 0.5 for s in signs]
    # At least half of the pairs agree where no map, or a single one, goes the other way: 2 · (1 + 10) of 1024.
    assert sum(agreeing) == 22


def test_explained_variance_of_columns_is_one_for_a_copy_zero_for_the_mean_and_apart_for_each() -> (
    None
):
    images = np.random.default_rng(0).normal(size=(50, 4, 6, 3))
    found = images.copy()
    found[:, :, 1] = 0  # the mean image is zero here
    found[:, :, 2] = 0.5 * images[:, :, 2]
    found[:, :, 3] = -images[:, :, 3]
    expected = [1, 0, 0.75, -3, 1, 1]
    assert statistics.explained_by_column(images, found) == pytest.approx(expected)
    assert statistics.explained_by_column(images[..., 0], found[..., 0]) == pytest.approx(expected)


def test_an_arc_walk_passes_its_stops_and_keeps_their_distance_from_the_middle() -> None:
    stops = 5 * torch.nn.functional.normalize(torch.randn(4, 3, 8), dim=-1)
    path = statistics.arc_walk(stops, steps=10)
    assert path.shape == (40, 3, 8)
    assert torch.allclose(path[::10], stops, atol=1e-5)
    assert torch.allclose(path.norm(dim=-1), torch.tensor(5.0), atol=1e-4)
    # the last step leads back to the first stop
    steps = (path.roll(-1, 0) - path).norm(dim=-1).view(4, 10, 3)
    assert torch.allclose(steps, steps[:, :1].expand_as(steps), rtol=1e-3)


def test_an_arc_walk_between_stops_of_unequal_lengths_changes_its_length_evenly() -> None:
    stops = torch.randn(4, 3, 8, generator=generator())
    lengths, done = stops.norm(dim=-1)[:, None], (torch.arange(10) / 10)[:, None]
    expected = (1 - done) * lengths + done * lengths.roll(-1, 0)
    found = statistics.arc_walk(stops, steps=10).norm(dim=-1).view(4, 10, 3)
    assert torch.allclose(found, expected, rtol=1e-3)


@pytest.mark.parametrize("classes", [3, 10])
def test_the_circle_map_of_ten_times_the_identity_is_known(classes: int) -> None:
    found = statistics.circle_map(10 * torch.eye(classes))
    angle = 2 * math.pi * torch.arange(classes) / classes
    torch.testing.assert_close(found, torch.stack((angle.cos(), angle.sin()), 1))


def test_the_circle_map_spaces_any_independent_heads_evenly() -> None:
    """It is a matrix, hence linear; and what no head has a part in, it drops."""
    heads = torch.randn(5, 8, generator=generator(), dtype=torch.float64)
    found = statistics.circle_map(heads, radius=3.0)
    placed = heads @ found
    assert placed.norm(dim=1).tolist() == pytest.approx([3.0] * 5)
    steps = (placed - placed.roll(1, 0)).norm(dim=1)
    assert steps.tolist() == pytest.approx([6 * math.sin(math.pi / 5)] * 5)
    beside = torch.linalg.svd(heads).Vh[5:]  # orthogonal to every head
    assert (beside @ found).abs().max() < 1e-12


def test_the_circle_map_refuses_heads_that_depend_on_each_other() -> None:
    with pytest.raises(UserError, match="20 cluster heads in 2 dimensions"):
        statistics.circle_map(torch.randn(20, 2, generator=generator()))
    heads = torch.randn(5, 8, generator=generator())
    heads[4] = heads[3]
    with pytest.raises(UserError, match="5 cluster heads in 8 dimensions"):
        statistics.circle_map(heads)


def test_a_style_that_follows_its_prior_in_every_cluster_does_not_misfit() -> None:
    cluster = torch.arange(4000) % 4
    z = normal(4000, 0)
    by_chance = 0.87 / math.sqrt(1000)
    assert statistics.style_misfit(z, cluster) == pytest.approx(by_chance, rel=0.3)
    # Half of a cluster below −8, half above 8: the empirical distribution is flat where Φ goes from 0 to 1.
    apart = 10 * torch.sign(z)
    assert statistics.style_misfit(apart, cluster) == pytest.approx(0.5, abs=0.05)
    # Codes that follow it in all, but not in each cluster, are told.
    assert statistics.style_misfit(z, (z[:, 0] > 0).long()) > 0.2


def test_members_are_distinct_images_of_their_cluster(clustered) -> None:
    q, _ = clustered
    q = torch.cat((q, torch.zeros(len(q), 1)), 1)  # a cluster without images
    rows = statistics.members(q, 30, generator())
    sizes = torch.bincount(q.argmax(1), minlength=9)
    for cluster, row in enumerate(rows):
        found = row[row >= 0]
        assert len(found) == len(found.unique()) == min(30, sizes[cluster])
        assert (q[found].argmax(1) == cluster).all()
        assert (row[len(found) :] == -1).all()
    assert not torch.equal(rows, statistics.members(q, 30, generator(1)))


# ---- Copies


def test_the_nearest_reference_is_that_of_a_direct_search() -> None:
    random = np.random.default_rng(0)
    images, references = random.random((40, 12), np.float32), random.random((300, 12), np.float32)
    distance, position = statistics.nearest(images, references)
    expected = np.linalg.norm(images[:, None] - references, axis=2)  # (images, references)
    assert np.array_equal(position, expected.argmin(1))
    assert distance == pytest.approx(expected.min(1), abs=1e-6)


def test_a_copy_is_at_no_distance_and_a_shifted_one_is_at_its_own() -> None:
    references = np.random.default_rng(0).random((50, 784), np.float32)
    distance, position = statistics.nearest(references[7:20], references)
    # As a sum of products, ‖x‖² − 2xy + ‖y‖² of norms near 261 rounds to some 10⁻¹², whose root this is; a CPU's order
    # of summation decides.
    assert distance == pytest.approx(0, abs=1e-5)
    assert position.tolist() == list(range(7, 20))
    moved, position = statistics.nearest(references[7:8] + np.float32(0.25), references)
    assert (moved[0], position[0]) == (pytest.approx(0.25 * 28, rel=1e-5), 7)


def test_neighbours_vote_on_a_point_that_does_not_vote_itself() -> None:
    places = np.array([[0.0], [0.1], [5.0], [5.1]])
    assert statistics.neighbour_error(places, np.array([0, 0, 1, 1]), neighbours=1) == 0
    assert statistics.neighbour_error(places, np.array([0, 1, 0, 1]), neighbours=1) == 100
    assert statistics.neighbour_error(places, np.array([0, 0, 1, 0]), neighbours=1) == 50


def test_so_many_neighbours_vote_as_are_asked_for() -> None:
    places = np.r_[np.arange(5) / 100, 1 + np.arange(6) / 100][:, None]
    labels = np.repeat([0, 1], [5, 6])
    assert statistics.neighbour_error(places, labels) == 100  # ten vote: of its own four or five
    assert statistics.neighbour_error(places, labels, neighbours=4) == 0
    codes = torch.tensor([[0.0]] * 3 + [[1.0]] * 12 + [[9.0]] * 5)
    label = torch.tensor([0] * 3 + [1] * 12 + [0] * 5)
    for neighbours, read in (3, 0), (15, 100):
        found = statistics.probe(codes, label, torch.zeros(1, 1), torch.ones(1).long(), neighbours)
        assert found == read


def test_correlation_ratio_of_a_variance_within_and_between() -> None:
    groups = np.arange(4000) % 2
    within = np.tile([-1.0, -1.0, 1.0, 1.0], 1000)  # mean 0 and variance 1 in either group
    assert statistics.correlation_ratio(within, groups) == pytest.approx(0)
    assert statistics.correlation_ratio(3.0 * groups, groups) == pytest.approx(1)
    # Between the groups: means ±1, variance 1.
    both = within + 2 * groups
    assert statistics.correlation_ratio(both, groups) == pytest.approx(0.5)
    some = np.append(both, np.nan), np.append(groups, 7)
    assert statistics.correlation_ratio(*some) == pytest.approx(0.5)
    for nothing in (both[:0], both[:1], np.ones(5)):
        assert statistics.correlation_ratio(nothing, groups[: len(nothing)]) == 0


# ---- the game of two densities


def grid(dx: float = 0.02) -> torch.Tensor:
    """A fine grid (n, 1) that holds all of the densities below."""
    return torch.arange(-15, 15, dx, dtype=torch.float64)[:, None]


def bell(x: torch.Tensor, mean: float, std: float = 1.0) -> torch.Tensor:
    return Gaussian(1, std).log_prob(x - mean).exp()


def test_the_best_discriminator_is_one_half_where_the_densities_are_equal() -> None:
    p, q = bell(grid(), 0), bell(grid(), 2)
    assert statistics.optimal_discriminator(p, p).tolist() == pytest.approx([0.5] * len(p))
    best = statistics.optimal_discriminator(p, q)
    # Of two bells of one width, it is a logistic curve about the point half-way.
    assert best.numpy() == pytest.approx(torch.sigmoid(2 * (1 - grid()[:, 0])).numpy())


@pytest.mark.parametrize(
    ("apart", "expected"), [(0, 0), (20, math.log(2))], ids=["equal", "far apart"]
)
def test_jensen_shannon_divergence_at_its_two_ends(apart: float, expected: float) -> None:
    p, q = bell(grid(), -apart / 2, 0.5), bell(grid(), apart / 2, 0.5)
    assert statistics.jensen_shannon(p, q, 0.02) == pytest.approx(expected, abs=1e-9)


def test_jensen_shannon_divergence_of_two_coins_in_closed_form() -> None:
    p, q = torch.tensor([0.9, 0.1, 0.0]), torch.tensor([0.5, 0.5, 0.0])
    kl = [
        sum(a * math.log(a / m) for a, m in zip(c, (0.7, 0.3), strict=True))
        for c in ((0.9, 0.1), (0.5, 0.5))
    ]
    assert statistics.jensen_shannon(p, q, 1) == pytest.approx(sum(kl) / 2, abs=1e-7)


def test_no_discriminator_costs_less_than_the_best_one() -> None:
    p, q = bell(grid(), 0), bell(grid(), 1.5, 0.5)
    logits = p.log() - q.log()
    bound = 2 * math.log(2) - 2 * statistics.jensen_shannon(p, q, 0.02)
    assert statistics.expected_discriminator_loss(logits, p, q, 0.02) == pytest.approx(bound)
    for other in (1.1 * logits, logits + 0.2, 0 * logits):
        assert statistics.expected_discriminator_loss(other, p, q, 0.02) > bound + 1e-4
    blind = statistics.expected_discriminator_loss(0 * logits, p, q, 0.02)
    assert blind == pytest.approx(2 * math.log(2))


def test_a_trained_discriminator_approaches_the_closed_form() -> None:
    """By the costs and networks that the models use, on samples alone."""
    source = generator()
    net = discriminator(1, 32, 2)
    initialise(net, 0.3, source)
    descent = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.1)
    x = torch.arange(-5, 5, 0.05)[:, None]
    p, q = bell(x, 0), bell(x, 1.5, 0.5)

    def gap() -> tuple[float, float]:
        with torch.no_grad():
            logits = net(x)[:, 0]
        missed = (logits.sigmoid() - statistics.optimal_discriminator(p, q)).abs()
        bound = 2 * math.log(2) - 2 * statistics.jensen_shannon(p, q, 0.05)
        cost = statistics.expected_discriminator_loss(logits, p, q, 0.05)
        return cost - bound, float((missed * (p + q) / 2).sum() * 0.05)

    before = gap()
    for _ in range(500):
        real = Gaussian(1).sample(500, source)
        fake = 1.5 + Gaussian(1, 0.5).sample(500, source)
        descent.zero_grad()
        discriminator_loss(net(real), net(fake)).backward()
        descent.step()
    after = gap()
    assert before[0] > 0.3 and before[1] > 0.15
    assert 0 <= after[0] < 0.02 and after[1] < 0.03


def test_the_misfit_of_the_style_is_a_mean_over_images():
    fitting = torch.special.ndtri((torch.arange(900) + 0.5) / 900)
    z = torch.cat((fitting, torch.full((100,), 9.0)))[:, None]
    found = statistics.style_misfit(z, torch.arange(1000) // 900)
    assert found == pytest.approx(0.1, abs=0.002)  # 0 for nine tenths of the images, 1 for the rest


def test_the_correlation_ratio_weighs_groups_by_their_size():
    values, groups = np.array([0.0, 2.0] * 9 + [10.0] * 2), np.repeat([0, 1], [18, 2])
    expected = 1 - 18 / (20 * values.var())
    assert statistics.correlation_ratio(values, groups) == pytest.approx(expected)


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_the_slant_is_of_the_light_of_all_colours(channel: int):
    y, x = np.indices((28, 28))
    colour = np.zeros((1, 28, 28, 3))
    colour[0, ..., channel] = np.exp(-((x - 13 - 0.5 * (15.0 - y)) ** 2) / 4) * (abs(15.0 - y) < 7)
    assert statistics.slant(colour) == pytest.approx([0.5], abs=0.01)


def test_a_label_that_no_naming_image_has_is_never_right():
    naming = torch.eye(2), torch.tensor([1, 0])
    found = statistics.any_image_error(naming, torch.eye(2)[[0]], torch.tensor([2]))
    assert found == pytest.approx(100)


def test_an_arc_between_equal_stops_stays_where_it_is():
    stop = torch.randn(1, 8, generator=generator())
    path = statistics.arc_walk(stop.expand(3, 8), steps=5)
    assert torch.allclose(path, stop.expand(15, 8), atol=1e-4)


def test_the_circle_has_the_mean_length_of_the_heads():
    heads = torch.diag(torch.tensor([1.0, 2.0, 6.0]))
    placed = heads @ statistics.circle_map(heads)
    assert placed.norm(dim=1).tolist() == pytest.approx([3.0] * 3)


def test_places_near_the_middle_of_the_roll_are_found_as_well():
    roll = SwissRoll()
    u = torch.linspace(0, 1, 5001, dtype=torch.float64) ** 2
    found = statistics.position_on_roll(roll.mean(u), roll)
    assert (roll.mean(found) - roll.mean(u)).norm(dim=1).max() < 0.002
