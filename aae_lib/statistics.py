"""The paper's pictures as numbers: how well codes fill the prior, and how often a class is wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
import scipy  # which loads its parts where they are first used: together they take as long to load as PyTorch
import torch
from torch import Generator, Tensor
from torch.nn.functional import softplus

from aae_lib.errors import UserError
from aae_lib.model import AdversarialAutoencoder
from aae_lib.priors import GaussianMixture, Prior, SwissRoll


@dataclass(frozen=True)
class EnergyDistance:
    """Energy distance of two samples, and what it would be if both came from one distribution."""

    value: float
    # 2.5 % and 97.5 % points over random relabellings of the pooled sample
    band: tuple[float, float]


def energy_distance(
    x: Tensor, y: Tensor, generator: Generator, permutations: int = 200, block: int = 1000
) -> EnergyDistance:
    """2 E‖X−Y‖ − E‖X−X′‖ − E‖Y−Y′‖ of samples x (n, d) and y (m, d); zero only for equal distributions.

    With weight 1/n on each row of x and −1/m on each of y it is −wᵀDw, D the distances in the pooled
    sample, so the distances are computed once for the statistic and all permutations of it, and D being
    symmetric, those above its diagonal alone: a tile of `block` × `block` at a time, which stays in the cache.
    """
    pooled = torch.cat((x, y)).double()
    weights = torch.cat(
        (torch.full((len(x),), 1 / len(x)), torch.full((len(y),), -1 / len(y)))
    ).double()
    orders = [torch.randperm(len(pooled), generator=generator) for _ in range(permutations)]
    rows = torch.stack([weights, *(weights[order] for order in orders)]).float()
    values = torch.zeros(len(rows), dtype=torch.float64)
    tiles = [slice(start, start + block) for start in range(0, len(pooled), block)]
    for part, other in combinations_with_replacement(tiles, 2):
        distances = torch.cdist(pooled[part], pooled[other]).float()
        once = ((rows[:, part] @ distances) * rows[:, other]).sum(1)
        values -= once if part == other else 2 * once
    low, high = np.quantile(values[1:].numpy(), [0.025, 0.975])
    return EnergyDistance(float(values[0]), (float(low), float(high)))


def covering_radius(prior: Prior, n: int, generator: Generator) -> float:
    """The radius at which `n` draws of `prior` leave 1 % of its own mass further away than that.

    A scale for `uncovered_mass` that the prior sets, not the eye: codes that match the prior leave about 1 %.
    """
    distances, _ = scipy.spatial.KDTree(prior.sample(n, generator).numpy()).query(
        prior.sample(n, generator).numpy()
    )
    return float(np.quantile(distances, 0.99))


def uncovered_mass(codes: Tensor, prior: Prior, radius: float, generator: Generator) -> float:
    """Share of the prior's mass further than `radius` from every one of the codes (n, d): the "holes" of Fig 2c."""
    draws = prior.sample(len(codes), generator).numpy()
    distances, _ = scipy.spatial.KDTree(codes.numpy()).query(draws, distance_upper_bound=radius)
    return float(np.isinf(distances).mean())


def occupancy(codes: Tensor, prior: GaussianMixture) -> Tensor:
    """Share of codes (n, 2) whose most likely component is each of the mixture's, shape (parts,)."""
    return torch.bincount(nearest_part(codes, prior), minlength=prior.parts) / len(codes)


def total_variation(shares: Tensor) -> float:
    """Total-variation distance in [0, 1] of shares (k,) from the uniform 1/k."""
    return float((shares - 1 / len(shares)).abs().sum() / 2)


def optimal_discriminator(p: Tensor, q: Tensor) -> Tensor:
    """D* = p / (p + q), the best discriminator of densities p and q, equal shapes, not both 0 anywhere.

    Goodfellow et al. 2014, proposition 1; the game is that of the paper's §1.1.
    """
    return p / (p + q)


def jensen_shannon(p: Tensor, q: Tensor, dx: float) -> float:
    """Jensen–Shannon divergence in nats, from 0 to ln 2, of densities p and q on a grid whose cells measure `dx`.

    ½ KL(p‖m) + ½ KL(q‖m) with m = ½ (p + q), written as the entropy of m less the mean of theirs.
    """
    entropy = torch.special.entr  # −t ln t, 0 at 0
    return float((entropy((p + q) / 2) - (entropy(p) + entropy(q)) / 2).sum() * dx)


def expected_discriminator_loss(logits: Tensor, p: Tensor, q: Tensor, dx: float) -> float:
    """`phases.discriminator_loss` with its expectations integrated, on a grid whose cells measure `dx`. Paper: §1.1.

    `logits` are the discriminator's on the grid, where `p` is the density of true samples and `q` that of fake ones.
    For D* it is 2 ln 2 − 2 JS(p, q), and for any other discriminator more.
    """
    return float((p * softplus(-logits) + q * softplus(logits)).sum() * dx)


def position_on_roll(codes: Tensor, roll: SwissRoll) -> Tensor:
    """u in [0, 1] of the point of the roll's axis nearest to each code (n, 2), shape (n,). Paper: Fig 4c.

    Found among points at equal steps of √u: at 20 000 of them, at most 0.002 apart.
    """
    u = torch.linspace(0, 1, 20_001, dtype=torch.float64) ** 2
    _, nearest = scipy.spatial.KDTree(roll.mean(u).numpy()).query(codes.numpy())
    return u[nearest]


def nearest_part(codes: Tensor, prior: GaussianMixture | SwissRoll) -> Tensor:
    """The part of the prior that each code (n, 2) lies in, int64 (n,).

    The most likely component of a mixture; of a swiss roll, the stretch that holds the nearest point of its axis.
    """
    if isinstance(prior, SwissRoll):
        u = position_on_roll(codes, prior)
        return (u * prior.parts).long().clamp(max=prior.parts - 1)
    return prior.component_log_prob(codes).argmax(1)


def part_accuracy(codes: Tensor, labels: Tensor, prior: GaussianMixture | SwissRoll) -> float:
    """Share in % of codes (n, 2) that lie in the part of the prior assigned to their label (n,). Paper: §2.3."""
    return 100 * float((nearest_part(codes, prior) == labels).float().mean())


def rank_correlation(position: Tensor, labels: Tensor) -> float:
    """Spearman's rank correlation of `position` (n,) with `labels` (n,); 0 if all positions are one.

    Of k equally frequent labels, whose members tie, in perfect order it is √(1 − 1/k²): 0.995 for ten.
    """
    if position.min() == position.max():
        return 0.0
    return float(scipy.stats.spearmanr(position.numpy(), labels.numpy()).statistic)


def slant(images: np.ndarray) -> np.ndarray:
    """How far each image (n, h, w[, 3]) leans to the right: pixels sideways per pixel of height, shape (n,).

    −μ₁₁/μ₀₂ of the light's second central moments, rows counted downwards: a shape sheared by s gains s, whatever its
    brightness and place. NaN where there is no light, or all of it in one row.
    """
    light = np.asarray(images, float)
    light = light.mean(3) if light.ndim == 4 else light
    rows = (light > 0).any(2).sum(1)  # in a single one there is only rounding to divide by
    light = light / np.where(rows > 1, light.sum((1, 2)), np.nan)[:, None, None]
    y, x = np.indices(light.shape[1:])
    x = x - (light * x).sum((1, 2), keepdims=True)  # (n, h, w), from each image's centre
    y = y - (light * y).sum((1, 2), keepdims=True)
    return -(light * x * y).sum((1, 2)) / (light * y * y).sum((1, 2))


def agreement(maps: np.ndarray) -> float:
    """Mean correlation over all pairs of maps (k, m), each of m values; a map that does not vary agrees with none."""
    centred = maps - maps.mean(1, keepdims=True)
    norms = np.linalg.norm(centred, axis=1, keepdims=True)
    unit = centred / np.where(norms > 0, norms, 1)
    return float((unit @ unit.T)[np.triu_indices(len(maps), 1)].mean())


def cluster_names(q: Tensor, labels: Tensor) -> Tensor:
    """Class of each cluster (m,): the label of the one image, of n, that maximises q(y_i | x). Paper: §6.

    `q` (n, m) holds the images' probabilities and `labels` (n,) their classes. Of several maxima the first is taken.
    A cluster in which no image lies has a name too.
    """
    return labels[q.argmax(0)]


def majority_names(q: Tensor, labels: Tensor) -> Tensor:
    """Class of each cluster (m,): the most frequent one among the images whose most likely cluster it is.

    A cluster in which no image lies is named as by `cluster_names`.
    """
    counts = contingency(q, labels)
    return torch.where(counts.sum(1) > 0, counts.argmax(1), cluster_names(q, labels))


def any_image_error(naming: tuple[Tensor, Tensor], q: Tensor, labels: Tensor) -> float:
    """Mean of `cluster_error`, in %, if every image of a cluster is as likely to name it, not the surest alone.

    `naming` are the probabilities (k, m) and the labels (k,) of the images that name; q (n, m) and labels (n,) are of
    those that are judged. Where no image can name a cluster, all of its images are wrong.
    """
    classes = 1 + int(max(naming[1].max(), labels.max()))
    seen = contingency(*naming, classes).double()
    share = seen / seen.sum(1, keepdim=True).clamp(min=1)  # of each name
    right = float((share * contingency(q, labels, classes)).sum())
    return 100 * (1 - right / len(labels))


def contingency(q: Tensor, labels: Tensor, classes: int | None = None) -> Tensor:
    """How many images of each class lie in each cluster, (m, classes), for q (n, m) and labels (n,).

    `classes` where there may be more of them than these labels show.
    """
    classes = classes or int(labels.max()) + 1
    pairs = q.argmax(1) * classes + labels
    return torch.bincount(pairs, minlength=q.shape[1] * classes).view(-1, classes)


def members(q: Tensor, n: int, generator: Generator) -> Tensor:
    """Rows (m, n) of q (n_images, m): `n` random images of each cluster, and −1 where it has no more. Paper: Fig 9."""
    order = torch.randperm(len(q), generator=generator)
    cluster = q.argmax(1)[order]
    rows = torch.full((q.shape[1], n), -1)
    for i, row in enumerate(rows):
        found = order[cluster == i][:n]
        row[: len(found)] = found
    return rows


def cluster_error(q: Tensor, labels: Tensor, names: Tensor) -> float:
    """Share in % of images, q (n, m), whose most likely cluster has another name than their label. Paper: §6."""
    return 100 * float((names[q.argmax(1)] != labels).float().mean())


def mutual_information(q: Tensor, labels: Tensor) -> float:
    """Normalised mutual information of cluster and label, between 0 (independent) and 1 (each tells the other).

    Divided by the mean of the two entropies: more clusters than classes cost something, whatever their names.
    """
    from sklearn.metrics import normalized_mutual_info_score

    return float(normalized_mutual_info_score(labels.cpu(), q.argmax(1).cpu()))


def clusters_in_use(q: Tensor) -> float:
    """exp of the entropy of the mean of q (n, m): m where the images use all clusters equally, 1 where just one."""
    mean = q.double().mean(0)
    return float(torch.special.entr(mean).sum().exp())


def sureness(q: Tensor) -> float:
    """Mean over images of the largest probability in q (n, m): 1 for one-hot codes, 1/m for codes that say nothing."""
    return float(q.max(1).values.mean())


@torch.no_grad()
def heeded(images: Tensor, labels: Tensor, classifier: AdversarialAutoencoder) -> float:
    """Share in % of images (n, pixels), in [0, 1], that the classifier assigns to their labels (n,). Paper: Fig 7."""
    return 100 * float((classifier.encode(images)["y"].argmax(1) == labels).double().mean())


def probe(
    codes: Tensor, labels: Tensor, test_codes: Tensor, test_labels: Tensor, neighbours: int = 0
) -> float:
    """Share in % of test codes (m, d) whose label a classifier trained on other codes (n, d) predicts. Paper: Fig 6.

    Logistic regression, which reads what a hyperplane can, or the vote of so many nearest `neighbours`, which reads
    any shape. Codes that say nothing of the label give about the share of the commonest one.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    chosen = KNeighborsClassifier(neighbours) if neighbours else LogisticRegression(max_iter=1000)
    reader = make_pipeline(StandardScaler(), chosen).fit(codes.numpy(), labels.numpy())
    return 100 * float(reader.score(test_codes.numpy(), test_labels.numpy()))


def explained_by_column(images: np.ndarray, reconstructions: np.ndarray) -> np.ndarray:
    """`explained` of images (n, h, w[, 3]) by column of pixels: (w,). Paper: §4, the digits beside the middle one."""
    columns = range(images.shape[2])
    return np.array([explained(images[:, :, c], reconstructions[:, :, c]) for c in columns])


def explained(images: np.ndarray, reconstructions: np.ndarray) -> float:
    """Share of the variance of images that reconstructions explain; NaN where there is no variance.

    Both are given less the mean image, so that the mean itself explains 0, a perfect copy 1; what is worse than the
    mean is negative.
    """
    variance = (images**2).sum()
    return float(1 - ((reconstructions - images) ** 2).sum() / variance) if variance else math.nan


def arc_walk(stops: Tensor, steps: int) -> Tensor:
    """Codes (stops · steps, …, d) on the way from each of `stops` (stops, …, d) to the next, and back to the first.

    Along arcs around zero, with lengths in between: draws of a Gaussian in many dimensions all lie at about the same
    distance from the middle, which a straight line would cut short. Paper: §3, the film of a learned manifold.
    """
    here, there = stops[:, None], stops.roll(-1, 0)[:, None]
    length, next_length = here.norm(dim=-1, keepdim=True), there.norm(dim=-1, keepdim=True)
    a, b = here / length, there / next_length
    angle = (a * b).sum(-1, keepdim=True).clamp(-1 + 1e-6, 1 - 1e-6).acos()
    t = (torch.arange(steps) / steps).view(1, -1, *[1] * (stops.ndim - 1))
    direction = (((1 - t) * angle).sin() * a + (t * angle).sin() * b) / angle.sin()
    return (direction * ((1 - t) * length + t * next_length)).flatten(0, 1)


def circle_map(heads: Tensor, radius: float | None = None) -> Tensor:
    """The linear map (n, 2), applied as `r @ map`, that sends m cluster heads (m, n) onto a circle. Paper: §7, Fig 11d.

    Head i goes to the angle 2πi/m, all at `radius`: by default the heads' mean distance from the origin. Directions
    that no head has a part in are dropped. Raises UserError for heads that are not linearly independent.
    """
    m, n = heads.shape
    if torch.linalg.matrix_rank(heads) < m:
        raise UserError(
            f"these {m} cluster heads in {n} dimensions are not linearly independent, "
            "so no linear map can be relied on to place them on a circle."
        )
    if radius is None:
        radius = float(heads.norm(dim=1).mean())
    angle = torch.arange(m, dtype=heads.dtype) * (2 * math.pi / m)
    circle = radius * torch.stack((angle.cos(), angle.sin()), 1)
    return torch.linalg.pinv(heads) @ circle


def style_misfit(z: Tensor, cluster: Tensor) -> float:
    """How far from N(0, 1) the style z (n, d) is within each cluster (n,): 0 where every coordinate follows it.

    The Kolmogorov–Smirnov distance of each coordinate in each cluster, averaged over coordinates and over images. A
    cluster of k draws of N(0, 1) itself would have about 0.87/√k. Paper: §7, of Fig 11.
    """
    distances = [
        len(inside)
        * scipy.stats.ks_1samp(
            inside.numpy(), scipy.stats.norm.cdf, method="asymp"
        ).statistic.mean()
        for inside in (z[cluster == k] for k in cluster.unique())
    ]
    return float(sum(distances) / len(z))


def nearest(images: np.ndarray, references: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Euclidean distance from each of images (n, D) to the nearest of references (m, D), and which. Paper: Fig 5.

    Distances float64 (n,), positions int64 (n,).
    """
    from sklearn.metrics import pairwise_distances_argmin_min

    position, distance = pairwise_distances_argmin_min(images, references)
    return distance.astype(np.float64), position


def neighbour_error(points: np.ndarray, labels: np.ndarray, neighbours: int = 10) -> float:
    """Share in % of points (n, d) whose nearest `neighbours`, themselves left out, vote for another label than theirs.

    Of labels (n,) with equally many votes the smallest is taken. The labels play no part in placing the points.
    """
    from sklearn.neighbors import KNeighborsClassifier

    votes = (
        KNeighborsClassifier(neighbours).fit(points, labels).predict(None)
    )  # themselves left out
    return 100 * float((votes != labels).mean())


def correlation_ratio(values: np.ndarray, groups: np.ndarray) -> float:
    """Share, between 0 and 1, of the variance of `values` (n,) that lies between `groups` (n,), NaNs left out.

    0 for a single group, and where nothing varies.
    """
    known = np.isfinite(values)
    values, groups = values[known], groups[known]
    parts = [values[groups == group] for group in np.unique(groups)]
    if len(parts) < 2 or not values.var():
        return 0.0
    within = sum(len(part) * part.var() for part in parts)
    return float(1 - within / (len(values) * values.var()))
