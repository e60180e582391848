# ---
# jupyter:
#   jupytext:
#     cell_metadata_filter: tags,mystnb,-all
#     formats: ipynb,py:percent
#     notebook_metadata_filter: kernelspec,jupytext,-all
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Dimensionality reduction
#
# *Paper: §7, Figures 10 and 11* {cite}`makhzani2015adversarial`
#
# ## In this chapter
#
# **You will** draw all of MNIST in a plane, with a place for each class and a cloud of styles around it; set the distance between those places by a formula instead of by
# trial; and compare the picture with those that PCA and t-SNE give of the same images.
#
# **Claims tested.** The test errors of Figure 11's four embeddings: 4.20 % in two dimensions with 1000 labels, 6.08 % with 100, 13.95 % without any and 20 clusters, 3.90 % in ten dimensions with 100 labels. That the clusters are cleanly separated (11a), that they
# split a digit into its styles (11c), and that the style is Gaussian in ten dimensions but not quite in two (11d, 11b).
#
# **You need** chapter 7: a code in two parts, class $y$ and style $z$. And chapter 8: what batch norm in the heads does to the softmax, whose logits are divided by a temperature $\tau$ (its trial); and, for the panel without labels, how a cluster gets its name.
#
# **Run time.** {glue:text}`run-time` of training on {glue:text}`machine` for the run that you are reading (profile {glue:text}`profile-name`); `aae doctor` says what each profile would take on your machine.

# %% [markdown]
# ## The idea
#
# Chapter 7's code is a class and a style side by side, twenty numbers that nobody can draw. Give each class a *place* instead, and let the style say where around it an image lies. With $m$ classes and $n$ dimensions, the rows $w_1, \dots, w_m$
# of an $m \times n$ matrix $W_C$ are the places, the **cluster heads**, and an image's representation is
#
# $$
# r = y\,W_C + z , \qquad y \in \mathbb{R}^m \text{ the class}, \quad z \in \mathbb{R}^n \text{ the style.}
# $$ (eq-representation)
#
# The decoder sees $r$ alone. The adversaries are those of chapter 7: $y$ has to look one-hot, so that $y\,W_C$ is one of the heads, and $z$, over all classes together, like a standard Gaussian, so that images lie around their head
# without holes or islands, and in a round cloud as far as the style does not depend on the class. That is what plain autoencoders lack, whose codes of similar images may lie anywhere: the paper calls it fracturing of the manifold.
#
# The heads may be learned with the rest. But nothing so far keeps two of them apart, so a cost is added that pushes heads away from each other as long as they are nearer than a threshold $\eta$:
#
# $$
# L_W = \sum_{i < j} \max\bigl(0,\; \eta - \lVert w_i - w_j \rVert \bigr) .
# $$ (eq-repulsion)
#
# Its gradient has the same size however near they are, and is zero from $\eta$ on.
#
# **What $\eta$ should be** the paper does not say, but the prior does. Around heads at distance $d$ lie two clouds of standard deviation 1. The line half-way between the heads cuts off
#
# $$
# \Phi(-d/2)
# $$ (eq-overlap)
#
# of each, where $\Phi$ is the standard normal distribution function: 16 % at $d = 2$, 0.13 % at $d = 6$, three trillionths of a per cent at 15. So $\eta$ is a choice of how many images may lie on their neighbour's side, in units of the prior's standard deviation.
# Six is enough for a picture that can be read without its colours; the ablation below tries the others.
#
# **More dimensions than two.** In ten dimensions the paper fixes $W_C = 10\,I$: every two heads are $10\sqrt2$ apart. To draw that, it takes the linear map that puts the heads evenly on a circle, a matrix $A$ ($n \times 2$) with
#
# $$
# w_i\,A = \rho\,\bigl(\cos \tfrac{2\pi i}{m},\; \sin \tfrac{2\pi i}{m}\bigr), \qquad i = 0, \dots, m - 1 .
# $$ (eq-circle)
#
# Here heads are numbered from 0, as digits are, and $\rho$ is the radius of the circle, for which we take the distance of the heads from the origin.

# %% tags=["parameters"]
profile = "quick"  # smoke, quick, standard or paper: how far along the schedule to train
seed = 0  # the first replicate
replicates = None  # how many; None takes the profile's number
device = "auto"  # auto, cpu, cuda, cuda:1, …
data = "mnist"  # or an image archive of your own: see data/README.md
allow_cpu = False  # let the paper profile run without a GPU
epochs = None  # of each panel's model; None takes the profile's number

# %%
import time

import numpy as np
import pandas as pd
import torch
from scipy.spatial import procrustes
from scipy.stats import norm
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE, trustworthiness

from aae_lib import figures, statistics, training
from aae_lib.experiments import by_name
from aae_lib.model import AdversarialAutoencoder, head_repulsion
from aae_lib.notebook import Chapter, changed, counted, glue, pixels, source

figures.use_style()
chapter = Chapter.open(
    "09_dimensionality_reduction", "Dimensionality reduction", globals(), also=["epochs"]
)
validation, test = chapter.dataset.validation, chapter.dataset.test

# %% [markdown]
# ## The code that matters
#
# {numref}`fig-architecture-10` is Figure 10 of the paper, drawn from the configuration of the panel with 1000 labels.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Figure 10 again: the class y picks a row of W_C, the cluster head; the style z is added to it, and the decoder gets the sum. Two adversaries impose a categorical and a Gaussian distribution, and the heads repel each other. What to see: where the two codes meet there is one point of the plane, which is what the figures below draw.", "name": "fig-architecture-10"}}
figures.architecture(
    by_name("fig11_a"), pixels=chapter.dataset.dim, classes=chapter.dataset.classes
)

# %% [markdown]
# Equation {eq}`eq-representation` is one line of `combine`, equation {eq}`eq-repulsion` is `head_repulsion`, a part of the reconstruction phase's cost, and the map of equation {eq}`eq-circle` is the least-norm solution of a linear system.

# %%
source(AdversarialAutoencoder.combine, head_repulsion, statistics.circle_map)

# %% [markdown]
# ## Training
#
# One model for each panel. Panels a, b and d learn from labels, as in chapter 7; panel c has none. All have batch normalisation in the encoder and its heads, chapter 8's initial weights, and a softmax that is never quite sure; the second ablation says what each of these is for.

# %% tags=["remove-stderr"]
panels = {panel: chapter.train(f"fig11_{panel}", epochs=epochs) for panel in "abcd"}

# %% [markdown]
# The game of $z$, in the plane, is nearly a draw from the second epoch on, at $2\ln 2$, as with chapter 2's Gaussian; in the first its discriminator judged worse than chance. There is one curve more, the repulsion. The heads begin as draws of $\mathcal{N}(0, I)$, nearly all of them too near each other, so it starts at some 4.2 of $\eta$'s 6 for each of the pairs; then it falls to zero and stays there. The first point is the mean over the first epoch,
# start included. A repulsion that stays high means that $\eta$ asks for more than the reconstruction allows. The adversary of $y$ keeps the upper hand, for this softmax is never quite sure, and extends it slowly: after 50 epochs of panel a its cost has gone from 1.1 to 0.9, and the encoder's against it from 1.5 to 4.1. A fall to zero in the first epochs would mean that the softmax is not sure at all.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Costs of panel a along training, first seed: the mean over each epoch; coloured, a line for each code. What to see, in a run of more than one epoch: after the first the heads no longer repel each other; and whether the encoder's cost for y goes on rising: then the discriminator of y wins.", "name": "fig-losses-9"}}
first = panels["a"][0]
epochs = first.epochs
figures.losses({name: values for name, values in first.history.items() if "error" not in name})


# %% [markdown]
# ## Figure 11: the embeddings
#
# Test images, which no model has seen. The class of an image is the largest entry of $y$. Without labels that is the number of a cluster, and a cluster is named as in chapter 8, by the label of the *validation* image of which the model is surest
# that it belongs there.


# %%
def embed(run, images):
    """The representation y·W_C + z of images (n, h, w), and their codes."""
    codes = training.codes_of(run.model.cpu(), pixels(images))
    with torch.no_grad():
        return run.model.combine(codes), codes


def plane(run):
    """W_C, and the linear map to the plane that its embedding is drawn in."""
    heads = run.model.cpu().cluster_heads.detach()
    flat = heads.shape[1] == 2
    return heads, torch.eye(2) if flat else statistics.circle_map(heads)


def names_of(run):
    """The class of each cluster, and the validation image that is surest to lie in it."""
    q = embed(run, validation.images)[1]["y"]
    if run.experiment.supervised:
        return torch.arange(q.shape[1]), q.argmax(0)
    return statistics.cluster_names(q, torch.as_tensor(validation.labels).long()), q.argmax(0)


# %% tags=["hide-input"] mystnb={"figure": {"caption": "Figure 11 again: test images coloured by digit, first seed; in white discs the cluster heads, with the digits that they stand for (\u2013: no test image lies in that cluster). a and b: 2-D, 1000 and 100 labels; c: 2-D, 20 clusters, no labels; d: 100 labels, in as many dimensions as there are classes, drawn by the linear map that puts the heads on a circle. What to see: whether clouds have one colour, how round they are, and in c which digits have several. Each panel has its own scale.", "name": "fig-embeddings"}}
settings = {
    "a": f"a: 2-D, {panels['a'][0].experiment.labels} labels",
    "b": f"b: 2-D, {panels['b'][0].experiment.labels} labels",
    "c": f"c: 2-D, {panels['c'][0].experiment.code('y').prior.dim} clusters, no labels",
    "d": f"d: {panels['d'][0].experiment.code('z').prior.dim}-D, {panels['d'][0].experiment.labels} labels",
}
drawn, marks = [], []
for panel, runs in panels.items():
    representation, codes = embed(runs[0], test.images)
    heads, onto = plane(runs[0])
    used = set(codes["y"].argmax(1).tolist())
    names = [str(int(n)) if i in used else "–" for i, n in enumerate(names_of(runs[0])[0])]
    title = f"{settings[panel]}: {runs[0].history['test error'][-1]:.2f} % error"
    drawn.append((title, (representation @ onto).numpy(), test.labels))
    marks.append(((heads @ onto).numpy(), names))
coordinates = ("first coordinate", "second coordinate")
figures.codes(drawn, heads=marks, own_scale=True, axis_names=coordinates)

# %% [markdown]
# **Read panel d with care.** The circle is a poor seat for ten heads. With $A = \tfrac{\rho}{10}$ times points on the unit circle, the ten coordinates of a standard Gaussian style add up to a standard deviation of $\tfrac{\rho}{10}\sqrt{m/2}$ in each direction of the plane, while neighbours on
# the circle are $2\rho\sin(\pi/m)$ apart: for $m = 10$, 2.8 standard deviations in the picture, where there are 14 in the code. By equation {eq}`eq-overlap` the *drawing* puts a good part of each cloud on either neighbour's side. And a projection
# of ten coordinates to two looks more Gaussian than they are, as any sum does. So both of the paper's statements about this panel are measured in ten dimensions below, and not in the picture.
#
# ## The pictures as numbers
#
# Beside the errors, written down before the published runs, and on test images:
#
# * the **least distance** of two heads;
# * the **overlap**: the share of images that lie nearer to another cluster's head than to that of their own, in the representation and as drawn;
# * the **misfit** of the style: the Kolmogorov–Smirnov distance of $z$ to $\mathcal{N}(0, 1)$, taken within each cluster and for each coordinate, then averaged. The adversary asks only that all clusters *together* follow the prior.


# %%
def measure(run):
    representation, codes = embed(run, test.images)
    cluster = codes["y"].argmax(1)
    heads, onto = plane(run)

    def overlap(points, centres):
        return 100 * float((torch.cdist(points, centres).argmin(1) != cluster).float().mean())

    return {
        "test error, %": run.history["test error"][-1],
        "least distance of heads": float(torch.pdist(heads).min()),
        "overlap, %": overlap(representation, heads),
        "overlap as drawn, %": overlap(representation @ onto, heads @ onto),
        "misfit of the style": statistics.style_misfit(codes["z"], cluster),
    }


measured = {panel: [measure(run) for run in runs] for panel, runs in panels.items()}

# %% tags=["hide-input"]
reported = {"a": 4.20, "b": 6.08, "c": 13.95, "d": 3.90}
pd.DataFrame(
    [
        {"panel": settings[panel], "paper's error, %": reported[panel], **pd.DataFrame(rows).mean()}
        for panel, rows in measured.items()
    ]
).style.hide(axis="index").format(precision=2)

# %% [markdown]
# The table has means over the seeds. Where the overlap is small, a reader of the picture sees the classes that the model sees; the error is then that of $y$, and no wider spacing would lower it.
#
# ### Sub-clusters
#
# Without labels there are more clusters than digits, and the paper finds that they are styles: a cluster of straight 1s beside one of tilted 1s. What lies at a head can be looked at, for there is a decoder.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "The clusters of panel c, sorted by name. Top: the image decoded from each cluster head, z = 0; bottom: the validation image that is surest of its cluster and names it. What to see: whether each head is a digit, the one below it, and how heads of one name differ.", "name": "fig-heads"}}
unlabelled = panels["c"][0]
names, namesakes = names_of(unlabelled)
order = names.argsort(stable=True)
with torch.no_grad():
    at_heads = unlabelled.model.decode(plane(unlabelled)[0]).numpy()
at_heads = at_heads.reshape(-1, *chapter.dataset.shape)[order]
surest = validation.images[namesakes[order]] / 255
figures.sheet(
    np.concatenate((at_heads, surest)),
    2,
    len(order),
    row_labels=["head", "surest image"],
    column_labels=[str(int(name)) for name in names[order]],
)

# %% [markdown]
# As a number: measure the slant of every test image of a 1 that lies in a cluster named 1 by its moments, and ask which share of its variance the clusters named 1 explain. A cut at the median of a Gaussian would explain $2/\pi = 64$ %, a single cluster nothing.


# %%
def explained_slant(run, digit=1):
    cluster = embed(run, test.images)[1]["y"].argmax(1).numpy()
    chosen = (test.labels == digit) & (names_of(run)[0].numpy()[cluster] == digit)
    slant = statistics.slant(test.images[chosen])
    return statistics.correlation_ratio(slant, cluster[chosen])


explained = {run.seed: explained_slant(run) for run in panels["c"]}
pd.DataFrame(
    {"seed": explained.keys(), "share of the slant explained": explained.values()}
).style.hide(axis="index").format(precision=2)

# %%
for panel, runs in panels.items():
    errors = {run.seed: run.history["test error"][-1] for run in runs}
    chapter.record(f"fig11.{panel}", errors, epochs=epochs, of_epochs=runs[0].experiment.epochs)
overlaps = [row["overlap, %"] for row in measured["a"]]
misfits = {p: [row["misfit of the style"] for row in measured[p]] for p in "bd"}
statements = {
    "fig11.a.separation": overlaps,
    "fig11.c.sub-clusters": list(explained.values()),
    "fig11.d.gaussian-style": np.divide(misfits["d"], misfits["b"]),
}
for claim, values in statements.items():
    by_seed = dict(zip(chapter.seeds, values, strict=True))
    chapter.record(claim, by_seed, epochs=epochs, of_epochs=first.experiment.epochs)

# %% [markdown]
# ## What you would use instead: PCA and t-SNE
#
# The two usual pictures of a data set use no labels. **PCA** projects on the two directions of largest variance; it is a linear map, fitted here to the training images. **t-SNE** {cite}`vandermaaten2008visualizing` moves points about in the plane until neighbours in the
# image space are neighbours there; it is fitted to the very images that it draws. Its result is a list of points and no function, so it has no place for a new image. {cite:t}`vandermaaten2009learning` gave it a network for that purpose, and the paper counts its
# own encoder as another.
#
# All methods get the same first test images. Panel c of the AAE is their fair rival: it saw no label. Panels a, b and d saw labels of *training* images.

# %%
n = min(len(test), 2000 if chapter.profile.name in ("smoke", "quick") else 5000)
pca = PCA(2).fit(pixels(chapter.dataset.train.images).numpy() / 255)


def t_sne(images):
    """Scikit-learn's t-SNE from the first 50 principal components, as is usual."""
    x = pixels(images).numpy() / 255
    x = PCA(min(50, *x.shape), random_state=seed).fit_transform(x)
    return TSNE(perplexity=min(30, len(x) / 4), random_state=seed).fit_transform(x)


def by_encoder(panel, drawn=True):
    """A function from images to the first seed's embedding: to what the panel shows, or to the whole of it."""
    run = panels[panel][0]
    onto = plane(run)[1]
    return lambda images: (embed(run, images)[0] @ onto if drawn else embed(run, images)[0]).numpy()


methods = {
    "PCA": ("none", lambda images: pca.transform(pixels(images).numpy() / 255)),
    "t-SNE": ("none", t_sne),
    "AAE, c": ("none", by_encoder("c")),
    "AAE, b": (panels["b"][0].experiment.labels, by_encoder("b")),
    "AAE, a": (panels["a"][0].experiment.labels, by_encoder("a")),
    "AAE, d, as drawn": (panels["d"][0].experiment.labels, by_encoder("d")),
    "AAE, d, all dimensions": (panels["d"][0].experiment.labels, by_encoder("d", drawn=False)),
}
placed, seconds = {}, {}
for title, (_, function) in methods.items():
    start = time.perf_counter()
    placed[title] = function(test.images[:n])
    seconds[title] = time.perf_counter() - start

# %% tags=["hide-input"] mystnb={"figure": {"caption": "The same test images by PCA, by t-SNE and by the encoder of panel c, all without labels, coloured by digit. What to see: PCA lays the digits over each other; t-SNE separates them into islands; how far the encoder of panel c has come between the two. Go by the colours: where digits mix, numbers mean little.", "name": "fig-rivals"}}
rivals = ["PCA", "t-SNE", "AAE, c"]
figures.codes(
    [(title, placed[title], test.labels[:n]) for title in rivals],
    own_scale=True,
    axis_names=coordinates,
    columns=3,
)

# %% [markdown]
# Four numbers for each embedding of these images:
#
# * the **error of ten neighbours**: how often an image's ten nearest points vote for another digit than its own. Labels serve to count and in no method to place these images;
# * the **continuity** {cite}`venna2001neighborhood`: 1 if the ten nearest images, by their pixels, stay near in the embedding, less the further they are torn away. Fracturing would show here;
# * how far the picture **moves** when new images come: the first half of the images embedded alone and together with the other half, after the best shift, turn and scaling; the share of variance that does not match, 0 for a function of the image;
# * the **time** to embed them, which for t-SNE is the time to fit them. Training the encoder took longer than either, once.


# %%
def compare(title):
    labels, function = methods[title]
    points, half = placed[title], n // 2
    images = pixels(test.images[:n]).numpy() / 255
    return {
        "embedding": title,
        "labels seen": labels,
        "error of ten neighbours, %": statistics.neighbour_error(points, test.labels[:n]),
        "continuity": trustworthiness(points, images, n_neighbors=10),
        "moves": procrustes(points[:half], function(test.images[:half]))[2],
        "seconds": seconds[title],
    }


compared = pd.DataFrame([compare(title) for title in methods]).set_index("embedding")

# %% tags=["hide-input"]
compared.reset_index().style.hide(axis="index").format(precision=2)

# %% [markdown]
# *In the published run* the encoders in the plane are no better by continuity (0.89 to 0.92) than PCA (0.92), and below t-SNE (0.96): they tear neighbours apart as much as a projection does. Only the ten dimensions of panel d reach t-SNE.
#
# Choose by what you need. t-SNE is made to keep neighbourhoods, and asks for no training. The AAE's encoder embeds an image that it has never seen by one pass through a network, here all {glue:text}`compared-images` of them in less time by a factor of {glue:text}`times-faster` than t-SNE takes; images that
# are there already stay where they are; any point of the plane can be decoded; and where a few labels are known, they shape the picture.

# %% [markdown]
# ## An ablation that the paper lacks: how far apart should the heads be?
#
# Panel a's model with other thresholds $\eta$, the first seed, for {glue:text}`short`; $\eta = 0$ is no repulsion at all. Errors and overlaps are of *validation* images, for $\eta$ is ours to choose; costs are means over the last epoch of training.

# %% tags=["remove-stderr"]
base = first.experiment
short = chapter.short(3)
ablation = {}
for eta in (0.0, 6.0, 15.0):
    variant = changed(base, f"{base.name}_eta_{eta:g}", head_distance=eta)
    chosen = base if eta == base.head_distance else variant
    ablation[eta] = chapter.train(chosen, epochs=short, seeds=[first.seed])[0]


# %% tags=["hide-input"]
def spacing(eta, run):
    representation, codes = embed(run, validation.images)
    heads, _ = plane(run)
    other = torch.cdist(representation, heads).argmin(1) != codes["y"].argmax(1)
    return {
        "η": eta,
        "validation error, %": run.history["validation error"][-1],
        "½‖x̂ − x‖²": run.history["reconstruction"][-1],
        "repulsion": run.history["repulsion"][-1],
        "least distance of heads": float(torch.pdist(heads).min()),
        "largest": float(torch.pdist(heads).max()),
        "overlap, %": 100 * float(other.float().mean()),
        "Φ(−η/2), %": 100 * norm.cdf(-eta / 2),
    }


pd.DataFrame([spacing(eta, run) for eta, run in ablation.items()]).style.hide(axis="index").format(
    precision=2, formatter={"η": "{:g}"}
)

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Validation images embedded by the three models of the ablation, heads in white discs; each panel has its own scale. What to see, in a run of some epochs: where \u03b7 is small, clouds that share their ground, and heads that lie under others; where it is large, clouds far apart, with a dust of unsure images between them.", "name": "fig-ablation-9"}}
figures.codes(
    [
        (f"η = {eta:g}", embed(run, validation.images)[0].numpy(), validation.labels)
        for eta, run in ablation.items()
    ],
    heads=[
        (plane(run)[0].numpy(), [str(i) for i in range(len(plane(run)[0]))])
        for run in ablation.values()
    ],
    own_scale=True,
    axis_names=coordinates,
    columns=3,
)

# %% [markdown]
# So how is $W_C$'s repulsion set? Read the table from right to left.
#
# * **$\eta$ sets the overlap, and with it whether the picture can be read.** Equation {eq}`eq-overlap`, the last column, is for one neighbour at exactly $\eta$; the measured overlap counts all neighbours at the distances that came out, and images of which the model is not sure. Without repulsion
#   some heads end close together, and nothing but the colours tells their clouds apart.
# * **The repulsion is quick, and then silent.** Its force does not fade with the distance, so some hundred steps for each unit of $\eta$ bring ten heads there; from then on the cost is zero and has no say in anything else. The table has its mean over the last epoch, whose first steps may still be on the way: a value far from zero means that the run is too short for that $\eta$.
# * **$\eta$ is no knob for the error.** That is the error of $y$, which the labels teach wherever the heads are. One seed of each is no ground to read an order into the errors of the table: three seeds of panel a, with chapter 7's encoder, lay 0.6 points apart after as many epochs. (In the published run the row of $\eta = 6$ was begun with products in [bfloat16](../speed.md), as the others, and went on in single precision; in bfloat16 its error was 4.30 %, and the three are as good as equal.)
# * **Too much costs room only.** Twice and a half the distance hardly lowers the overlap: what is left at six are images of which $y$ is unsure, and no distance moves those. The plane between the clouds, where the decoder was never taught anything, meanwhile grows with $\eta^2$.
#
# ## A second ablation: what moves a cloud that sits at the wrong head?
#
# With a hundred labels the classifier soon knows them all by heart. From then on only the adversary of $y$ can move an image from one head to another. Panel b's model, the first seed, changed in more respects with each row, for {glue:text}`short`; errors are of *validation* images, costs are means over the last epoch of training.

# %% tags=["remove-stderr"]
few = panels["b"][0].experiment
steps = {
    "as in panel b": {},
    "softmax that cannot be sure: τ = 1": {"temperature": 1.0},
    "and heads that learn a scale and a shift": {"batch_norm_learned": True},
    "and chapter 7's: no batch norm, weights of N(0, 0.01²)": {
        "batch_norm": "none",
        "init_std": 0.01,
    },
}
moved, so_far = {}, {}
for title, change in steps.items():
    so_far |= change
    variant = changed(few, f"{few.name}_{len(moved)}", **so_far) if so_far else few
    moved[title] = chapter.train(variant, epochs=short, seeds=[first.seed])[0]


# %% tags=["hide-input"]
def game(title, run):
    return {
        "encoder and heads": title,
        "validation error, %": run.history["validation error"][-1],
        "discriminator of y": run.history["discriminator y"][-1],
        "encoder against it": run.history["generator y"][-1],
        "cross-entropy of the labels": run.history["supervised"][-1],
    }


pd.DataFrame([game(title, run) for title, run in moved.items()]).style.hide(axis="index").format(
    precision=2, formatter={"cross-entropy of the labels": "{:.3f}"}
)

# %% [markdown]
# Read it from below.
#
# * **Chapter 7's encoder is free to be sure.** Its softmax soon is as one-hot as the prior, and the adversary cannot tell them apart: its cost is near $2\ln2 = 1.39$. The labelled images are right, and their cost is spent. Nothing is left that would move a cloud, wherever it happens to lie.
# * **Batch norm and larger weights** make the first steps those of a clustering, chapter 8's, and the game begins. One does not do without the other: larger weights alone diverge, and batch norm alone changes nothing (point 5).
# * **Heads that learn no scale and no shift** give each of $y$'s ten numbers mean 0 and variance 1 over a mini-batch. No class can take in much more than its share, so that two clouds at one head push each other out. This is the largest step.
# * **But then the discriminator wins.** By equation {eq}`eq-ceiling` such a softmax is sure of nothing beyond 0.76, which is easily told from one-hot. Halving the temperature lifts that ceiling to 0.99. The error hardly changes; but the game is closer, and the labels can be learned. (In the published run the first row was begun with products in [bfloat16](../speed.md), as the others, and went on in single precision: that is worth two tenths of a point, more than its distance from the second row.)
#
# ## Against the paper

# %% tags=["hide-input"]
chapter.against_the_paper("fig11.")

# %% [markdown]
# **What the published run misses, and what was tried.** One seed, on a processor, with hidden layers' products in bfloat16 (point 11), after 50 of A.2.1's 5000 epochs, with no rate stepped down yet.
#
# *a*, 1000 labels: 3.2 %, below the 4.2 that the paper prints (validation images: 3.69, 3.41, 3.25, 3.16 and 3.09 % after 10, 20, 30, 40 and 50 epochs). With chapter 7's encoder three seeds stayed at 6.4 %, and we took that for the price of the plane. It was the encoder. It has a price of its own: 1.8 % of the images lie nearer to another head than to their own, where chapter 7's surer softmax had 0.75. An image of which $y$ is unsure lies between heads. A value better than the band is not *reproduced* either: the ledger gives it *partly*. We know of no leak: only the thousand images have labels, settings were chosen on validation images, and those have the same error.
#
# *b* and *d*, 100 labels: 10.6 and 6.5 %, where chapter 7's encoder left 20.5 and 13.6 (means of three seeds; of d 20.0, 13.4 and 7.4). In b two digits make 39 % of the errors, 4 and 9: 27 % of the 4s and 15 % of the 9s lie at the other's head; in d that is 11 and 10 %. Their images are the likest of all digits, and ten labels each do not say which way the border runs.
# Waiting at these rates does nothing for b and little for d: in d the validation error is 7.5, 7.0, 6.2, 6.0 and 6.3 % after 10, 20, 30, 40 and 50 epochs, in b 9.3, 9.3, 9.5, 9.2 and 9.8. What the step of the rates after epoch 50 brings, we have not seen. What would draw that border, we do not know.
#
# *c*, no labels: 30.2 %, by the luck of the last epoch (validation images: 34 % after the first, 37, 36, 38, 38 and 29 after 10 to 50, and once 47). The discriminator of $y$ wins by less than in the other panels (a cost of 1.1 for most of the run, where theirs fall to 0.9), the reconstruction gets better, and clusters that mix digits stay. No cluster is named 9: all nines lie with other digits, half of them with the sevens and a third with the fours, and that alone is 10.1 of the 30.2 points, while three clusters are named 2 and two 3; two more heads, named 3 and 4, hold no test image. The second seed of the trials had 24.9 % after three epochs, where this one had 37.5. Rates, temperature and noise were tried (point 6), but the error of one run moves by four points from an epoch to the next in the mean, six times by more than seven and once by fourteen, and the best of them ($\tau$ = 0.7, first seed) gained 4.2, hardly more than one such step.
# With learned heads it was 45.6, three seeds. Two dimensions leave $z$ little style to take off $y$, and the place of the head has to say the rest; whether that is the reason, we have not shown.
#
# *The statistics of the pictures* rest on this one seed, too. The clusters of a, whose distance is ours (point 1), overlap by 1.78 % where at most 2 is asked for; after 30 epochs of the same run it was 2.03, a miss: this verdict is one of the epoch. The two others have no verdict where the panel's own error is missed. With cause: in the earlier run of point 5 the styles' ratio was 0.91, 0.80 and 1.05 for its three seeds, and the sub-clusters of 1s explained
# 0.64, 0 and 0.69 of their slant while the clusters erred on 41 to 50 %. At a misfit of 0.11, where draws of N(0, 1) would have about 0.03, the style in ten dimensions is nearer to a Gaussian than in the plane, and no Gaussian.

# %% [markdown]
# ### Deviations
#
# 1. **The threshold $\eta$: the paper is silent.** 6, for the reason of equation {eq}`eq-overlap`. Effect: the ablation above.
# 2. **The repulsion's weight and form: the paper is ambiguous.** "Linearly penalizes the distance" below $\eta$ is read as equation {eq}`eq-repulsion`, summed over pairs with weight 1 and lowered in the reconstruction phase, at its rate and momentum. Effect: not measured.
# 3. **Where learned heads start, and how wide the style's Gaussian is in the plane: the paper is silent.** Heads at draws of $\mathcal{N}(0, I)$; the style's standard deviation is 1, as panel d's. Effect: which digits become neighbours differs from seed to seed; another width would act as another $\eta$ does (equation {eq}`eq-overlap`).
# 4. **Sizes, rates and schedule: the paper is silent for §7.** Those of A.2.1, noise on the input included; in the plane the reconstruction has a tenth of its rate, 0.001, as in chapter 2 and for the same reason: it pulls codes out of the prior. Effect, panel a, first seed, validation error: after
#    four epochs 7.6 % at 0.01 and 6.8 % at 0.001; in 31 epochs at 0.01 it never fell below 7.2 %, while the adversary of $z$ kept gaining (a cost of 1.295). Three epochs at 0.003 gave 7.3 %. All of these with chapter 7's encoder.
# 5. **Batch norm, initial weights and temperature: the paper is silent for §7.** A.2.1 finds that batch norm "did not help" beside labels, A.3 that it is crucial without. Here it is in all four panels' encoder and heads, which learn no scale and no shift; weights are drawn from N(0, 2/inputs), chapter 8's; and $\tau = \tfrac12$. Effect, panel b, first seed,
#    validation error after three epochs (products in bfloat16): 10.4 %, and at $\tau = 1$ 10.5 %; with learned scale and shift 19.1 %; with A.1's weights 22.0 %; with chapter 7's encoder 21.6 %. Larger weights diverge with no batch norm, and also with batch norm in the hidden layers alone. Panel d after five epochs: 8.5 %, and with chapter 7's encoder 17.0 %. An earlier
#    published run had chapter 7's encoder in a, b and d, and learned heads in c. Its three seeds ended, after 50 epochs, at 6.4, 20.5, 45.6 and 13.6 % of the test images in the mean (a to d).
#    Batch norm stands before the ReLU, and each training pass, that of the labelled mini-batch included, uses the statistics of its own mini-batch and moves the running averages, with which codes are measured. Effect: not measured.
# 6. **Panel c: the paper says only that $m = 20$.** Dropout of 20 % on the input, as in A.3, in place of noise; 1000 units as in the other panels, where A.3 has 3000. Effect of other choices, validation error after four epochs, where two seeds stood at 30.7 and 26.6 %: at $\tau$ = 0.7, 26.5 % (first seed); the reconstruction at 0.01, 38.1 and 47.7 %; the adversaries at
#    0.02 in place of 0.1, 31.7 %; noise of standard deviation 0.3 on what they judge, which evens out their game, 31.4 %.
# 7. **Softmax, not one-hot.** As in chapter 7, $y$ is the softmax output. An image of which the model is unsure therefore lies *between* heads; that is the dust between the clouds.
# 8. **What the error counts: the paper is silent.** Here, images whose largest entry of $y$ is not their class; in panel c, whose cluster is named otherwise (§6). The overlap says by how much the position in the plane would differ from that.
# 9. **The circle: the paper gives neither order nor radius.** Digits in numeric order; the radius is the heads' distance from the origin, 10. A picture with another order has other overlaps; no number depends on it but those of the picture as drawn: its overlap, and its row among the other methods.
# 10. **Fracturing: not tested as a claim.** The paper says that the adversary prevents it and gives no picture of it; the second exercise trains without one.
# 11. **Precision.** The published models multiply in hidden layers in [bfloat16](../speed.md), with two to three significant digits; all else is in single precision. Effect on an error after three epochs: 10.4 % in panel b and 4.3 % in panel a, first seed; with the last two of these in single precision 10.6 and 4.5 %.

# %% [markdown]
# ## Exercises
#
# ::::{exercise}
# :label: ex-09-three
#
# How much of the error is due to the plane? Give panel b a third dimension (about a minute a seed on the quick profile), and compare with panel b.
#
# ```python
# from aae_lib.config import Code
# from aae_lib.priors import Categorical, Gaussian
#
# space = changed(
#     by_name("fig11_b"), "exercise_3d", codes=(Code("y", Categorical(10)), Code("z", Gaussian(3)))
# )
# [run.history["test error"][-1] for run in chapter.train(space, seeds=[0, 1])]
# ```
# ::::
#
# ::::{solution} ex-09-three
# :class: dropdown
#
# The paper's own numbers for 100 labels go from 6.08 % in two dimensions to 3.90 % in ten, and 1.90 % where class and style stand side by side. Two seeds of a short run differ by more than that, so train longer (`epochs=10`) before you believe a difference. Any two of the three
# coordinates make a picture; `plane` and `measure` refuse, for no linear map puts ten heads in three dimensions onto a circle:
#
# ```python
# run = chapter.train(space, seeds=[0])[0]
# figures.codes([("two of three", embed(run, test.images)[0][:, :2].numpy(), test.labels)], own_scale=True)
# ```
# ::::
#
# ::::{exercise}
# :label: ex-09-fracture
#
# The paper says that the adversary prevents fracturing. Switch it off, and look (about a minute on the quick profile).
#
# ```python
# run = chapter.train(changed(by_name("fig11_a"), "exercise_free", adversarial=None), seeds=[0])[0]
# points = embed(run, test.images)[0].numpy()
# figures.codes([("no adversary", points, test.labels)], own_scale=True)
# ```
#
# What has become of the clouds, and of the continuity, `trustworthiness(points[:n], pixels(test.images[:n]).numpy() / 255, n_neighbors=10)`?
# ::::
#
# ::::{solution} ex-09-fracture
# :class: dropdown
#
# No cloud has to be a standard Gaussian any more. The batch norm of $z$'s head still holds all styles together at mean 0 and variance 1, so that the clouds cannot grow; but nothing holds the style *of each digit* there, nor gives it a round shape. Each digit may keep a corner of its own, by which the decoder tells it from others. Of that a short run shows little: after three epochs of the first seed the misfit of the style (`measure(run)`) was 0.31, and with both adversaries 0.34; theirs takes time, and is 0.14 in the published panel after 50. At once you see what the adversary of $y$ does: without it 7.6 % of the images lay nearer to another head than to their own, with it 3.8, for a softmax that nobody asks to be sure leaves more of them between heads; and the validation error was 5.8 % in place of 4.3. The continuity need not fall.
# ::::
#
# ::::{exercise}
# :label: ex-09-steady
#
# The second ablation is of panel b, which has labels. Does the same hold without any? Let the heads of panel c learn a scale and a shift again, at the temperature 1 (some ten minutes on two cores).
#
# ```python
# free = changed(
#     by_name("fig11_c"), "exercise_free_heads", batch_norm_learned=True, temperature=1.0
# )
# {
#     (e.name, run.seed): run.history["validation error"]
#     for e in (by_name("fig11_c"), free)
#     for run in chapter.train(e, epochs=3, seeds=[0, 1])
# }
# ```
#
# Which of equation {eq}`eq-ceiling`'s two consequences, the ceiling and the equal shares, would you hold responsible, and how would you tell them apart?
# ::::
#
# ::::{solution} ex-09-steady
# :class: dropdown
#
# Ours stood at 37.5 and 24.9 % with the first two seeds after three epochs, and an earlier run with heads that learn, on a GPU, at 42.2, 38.5 and, its third, 28.6 %. So it helps here too, if by less than the seeds differ: compare several. A higher temperature lowers the ceiling and leaves categories as equal as they are; a learned shift frees how frequent they are and leaves the ceiling nearly where it is. Chapter 8 reports both.
# ::::
#
# ::::{exercise}
# :label: ex-09-circle
#
# Why is there a linear map onto the circle for the ten heads of $10\,I$, and why is there, in general, none for twenty heads in the plane? What does `statistics.circle_map` say to the heads of panel c?
# ::::
#
# ::::{solution} ex-09-circle
# :class: dropdown
#
# Equation {eq}`eq-circle` is $W_C A = C$ with $C$ the $m$ points of the circle: one equation for each head and coordinate. If the rows of $W_C$ are linearly independent, $A = W_C^{+} C$ solves it, for $W_C W_C^{+} = I$. For $10\,I$ it is $C / 10$. Twenty vectors of the plane are never independent: each
# is a combination of two of them, and a linear map keeps that combination, wherever the circle would want it. The function refuses them with one line.
# ::::

# %% [markdown]
# ## Summary
#
# A class becomes a place and a style the way around it, so that a classifier's code can be drawn, and decoded. After {glue:text}`epochs` of A.2.1's schedule, which we took (point 4), the test errors of the four embeddings are
# {glue:text}`error-a` % (1000 labels), {glue:text}`error-b` % (100), {glue:text}`error-c` % (none) and {glue:text}`error-d` % (100, a dimension for each class); {glue:text}`seeds`. The threshold of the repulsion follows from the
# prior's width: six standard deviations would keep all but about a thousandth of each cloud on its own side of any one neighbour. In the published run two to three per cent are on the wrong side in the plane: images of which the class is unsure lie between heads.

# %% tags=["remove-cell"]
for panel, rows in measured.items():
    glue(f"error-{panel}", f"{np.mean([row['test error, %'] for row in rows]):.2f}")
glue("compared-images", f"{n:,}".replace(",", "\u2009"))
glue("times-faster", f"{seconds['t-SNE'] / seconds['AAE, c']:.0f}")
glue("short", counted(short, "epoch"))
glue("run-time", chapter.wall_time())
glue("machine", chapter.machine())
glue("profile-name", chapter.profile.name)
glue("epochs", counted(epochs, "epoch"))
glue("seeds", counted(len(chapter.seeds), "seed"))
results = chapter.finish()

# %% [markdown]
# All works cited stand on [one page](../references.md).
