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
# # Introduction: a game of two networks
#
# *Paper: §1 and §1.1, Figure 1* {cite}`makhzani2015adversarial`
#
# ## In this chapter
#
# **You will** learn what the paper claims and the words that it and this book use, then play its game where everything can be checked: on the real line, with densities that we know.
#
# **Claims tested.** §1.1 prints no number of its own. It rests on two results of Goodfellow et al. {cite}`goodfellow2014generative`, that the best discriminator is $p/(p+q)$ and what the game is then worth. A trained network is
# held against both.
#
# **You need** probability densities, the Kullback–Leibler divergence $\mathrm{KL}(p \,\Vert\, q) = \int p \ln (p/q)$, here in nats, the unit of natural logarithms, and gradient descent.
#
# **Run time.** {glue:text}`run-time` on {glue:text}`machine`, for the whole chapter: it loads no earlier runs, and trains its toys as you watch.

# %% [markdown]
# ## What the paper claims
#
# An autoencoder squeezes an image into a short *code* and rebuilds the image from it. The paper's proposal is to make all codes together follow a distribution of your choice, by a game against a second network that tries to
# tell codes from draws of that distribution. It then shows what this is good for: drawing new images, separating a digit's class from its style, learning from few labels, sorting images without labels, and drawing maps of a data set.
#
# The table below counts what this book tests, or would where the images can be had, of the adversarial autoencoder (a few more claims are its rivals', in chapters 3, 5 and 7): numbers, and statements about pictures that were turned into numbers. It is made from the ledger in which each claim stands with the range of values that counts as finding it
# again; [the scorecard](../scorecard.md) says which were.

# %% tags=["parameters"]
profile = "quick"  # smoke, quick, standard or paper: here only smoke, for tests, is shorter
seed = 0  # the first replicate
replicates = None  # how many; None takes the profile's number
device = "auto"  # auto, cpu, cuda, cuda:1, …; the toys of this chapter are faster on the CPU
data = "mnist"  # or an image archive of your own: see data/README.md
allow_cpu = False  # let the paper profile run without a GPU

# %%
import math
import time

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch.nn.functional import softplus

from aae_lib import claims, draws, figures, phases, statistics, store
from aae_lib.experiments import by_name
from aae_lib.networks import discriminator, initialise
from aae_lib.notebook import Chapter, glue, source
from aae_lib.priors import Gaussian

figures.use_style()
chapter = Chapter.open("01_introduction", "Introduction", globals())
started = time.monotonic()

# %% tags=["hide-input"]
tested: dict[int, list[claims.Claim]] = {}
for claim in claims.load():
    if claim.run and claim.model.startswith("Adversarial"):
        tested.setdefault(int(claim.chapter[:2]), []).append(claim)


def place(claim):
    return claim.place.split(",")[0].rstrip("abcde")


def spoken(claim):
    said = claim.statement or f"{claim.quantity}: {claim.reported:g}"
    return f"{claim.place}: {said}"


pd.DataFrame(
    [
        {
            "chapter": chapter_number,
            "where": ", ".join(dict.fromkeys(map(place, group))),
            "numbers": sum(c.reported is not None for c in group),
            "statements": sum(c.reported is None for c in group),
            "for example": spoken(group[0]),
        }
        for chapter_number, group in sorted(tested.items())
    ]
).style.hide(axis="index").set_properties(subset=["for example"], **{"text-align": "left"})

# %% [markdown]
# ## The words
#
# {numref}`fig-architecture-1` is Figure 1 of the paper, drawn by code from the configuration that chapter 2 trains. Every diagram in this book is made so: change the configuration and the picture follows.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Figure 1 again: the adversarial autoencoder. The upper row is an autoencoder, which rebuilds an image x from its code z. Below, a second network learns to tell codes (\u2212) from draws of a distribution of our choice (+), and the encoder learns to make that impossible. Numbers are the sizes of the layers. What to see: the encoder is in both rows, and serves as the generator of the game below.", "name": "fig-architecture-1"}}
figures.architecture(
    by_name("fig2_gaussian"), pixels=chapter.dataset.dim, classes=chapter.dataset.classes
)

# %% [markdown]
# | word | meaning |
# |---|---|
# | **encoder**, $q(z \mid x)$ | the network that turns an image $x$ into a code $z$ |
# | **decoder**, $p(x \mid z)$ | the network that turns a code back into an image |
# | **prior**, $p(z)$ | the distribution that codes are to follow; we choose it, and can draw from it |
# | **aggregated posterior**, $q(z)$ | the distribution that codes do follow: that of the codes of all images together |
# | **discriminator**, $D$ | the network that says how probable it is that it was shown a draw of the prior and not a code |
# | **generator**, $G$ | whoever makes what the discriminator is to take for the real thing; here the encoder |
# | **phase** | a part of an iteration that serves one aim; a mini-batch goes through all phases in turn. The regularisation phase takes two steps, the discriminator's and the encoder's |
# | **experiment** | one row of the paper as a configuration: networks, priors, costs, rates, schedule |
# | **replicate** | a repetition of an experiment with another *seed*, the number that all its random draws follow from |
# | **profile** | how far along the paper's schedule runs go, and how many replicates there are: *quick*, *standard*, *paper* |
# | **claim**, **band** | a statement of the paper with the values that count as finding it again, written down before the published runs |

# %% [markdown]
# ## How to read a chapter
#
# Each follows one section of the paper, in one order: the idea with its equations; the few lines of the library that it comes to, printed from the library itself; training, and what its curves should look like; the paper's figure or table; at least one experiment that it lacks; the
# paper's numbers beside ours, with a verdict by machine; a numbered list of everything that differs from the paper or that it leaves open; exercises.
#
# Numbers in tables, figures and verdicts, and most in the text, are of the run that made the page; two tables of trials (in chapters 8 and 10), paragraphs on what the published run misses, the deviations and solutions of exercises also quote earlier runs and trials, by hand. Cells that only draw are folded. Every chapter is a notebook: [run it again](../how_to_rerun.md), change a cell, and see what happens.

# %% [markdown]
# ## The idea: a game, and what it is worth
#
# Leave images aside. There is a density $p$ from which we can draw *true* samples, and a **generator** $G$ that turns noise $\epsilon$ into *fake* ones, whose density we call $q$. A **discriminator** $D(x)$ gives the probability that $x$ is true. It pays for its
# mistakes:
#
# $$
# L_D = -\,\mathbb{E}_{x \sim p} \log D(x) \;-\; \mathbb{E}_{x \sim q} \log\bigl(1 - D(x)\bigr).
# $$ (eq-01-discriminator)
#
# The game of §1.1 is $\min_G \max_D\, (-L_D)$: the discriminator lowers this cost, the generator raises it. Alternating gradient descent plays it in two stages: **(a)** a step for $D$ on true and fake samples; **(b)** a step for $G$, so that its samples
# fool $D$.
#
# **The best discriminator.** For a $q$ that stands still, the cost is an integral of $-p \log D - q \log(1 - D)$, and $D$ may be chosen at each $x$ by itself. The derivative $-p/D + q/(1-D)$ vanishes at
#
# $$
# D^*(x) = \frac{p(x)}{p(x) + q(x)} .
# $$ (eq-01-best)
#
# **The value.** Put $D^*$ back in, with $m = \tfrac12 (p + q)$:
#
# $$
# \begin{aligned}
# L_{D^*} &= -\int p \log \frac{p}{2m} \;-\; \int q \log \frac{q}{2m} \\
#         &= 2 \ln 2 - \mathrm{KL}(p \,\Vert\, m) - \mathrm{KL}(q \,\Vert\, m)
#         = 2 \ln 2 - 2\, \mathrm{JS}(p, q) .
# \end{aligned}
# $$ (eq-01-value)
#
# The Jensen–Shannon divergence JS is 0 where $q = p$, and $\ln 2$ where the two do not overlap. So the generator that makes the best discriminator pay most is the one with $q = p$, and then $D^* = \tfrac12$ everywhere and its cost is $2 \ln 2 \approx 1.386$.
#
# **Which cost for the generator?** With $D(x) = \sigma(a(x))$, where $a$ is what the network puts out, the generator moves each fake sample along the slope of $a$. Two costs agree in the direction, and differ in how hard they push:
#
# $$
# \frac{\partial}{\partial a} \log(1 - \sigma(a)) = -\sigma(a) = -D,
# \qquad
# \frac{\partial}{\partial a} \bigl(-\log \sigma(a)\bigr) = -(1 - D).
# $$ (eq-01-push)
#
# The first is the game as it is written. It hardly pushes a sample that $D$ is sure to be fake, which is where a push is needed most. The second, which Goodfellow et al. advise and this book uses throughout, pushes such a sample
# hardest. The ablation below sets them against each other.
#
# **From here to the autoencoder** is one substitution: $x$ becomes a code $z$, $p$ the prior, and the generator's noise becomes the images, so that $q$ is the aggregated posterior of chapter 2.

# %% [markdown]
# ## The code that matters
#
# The costs are those that every model of this book is trained with. They take $a$, not $D$: $-\log \sigma(a)$ is $\log(1 + e^{-a})$, the softplus of $-a$, which never overflows.

# %%
source(phases.discriminator_loss, phases.generator_loss)

# %% [markdown]
# And the theory to hold them against, equations {eq}`eq-01-best` and {eq}`eq-01-value`, with integrals as sums over a fine grid. The last function is equation {eq}`eq-01-discriminator` without the noise of a mini-batch.

# %%
source(
    statistics.optimal_discriminator,
    statistics.jensen_shannon,
    statistics.expected_discriminator_loss,
)

# %% [markdown]
# The two stages are four lines. Both players are networks from one number to one number.


# %%
def network(rng):
    net = discriminator(1, hidden=64, layers=2)
    initialise(net, 0.2, rng)
    return net


def sgd(net, rate):
    return torch.optim.SGD(net.parameters(), lr=rate, momentum=0.1)  # as in A.2.1


def lower(cost, descent):
    descent.zero_grad()
    cost.backward()
    descent.step()


def stage_a(D, descent, true, fake):
    lower(phases.discriminator_loss(D(true), D(fake.detach())), descent)


def stage_b(D, descent, fake, cost):
    lower(cost(D(fake)), descent)


# %% [markdown]
# ## Training, stage (a) alone: the discriminator finds p/(p + q)
#
# Let $p$ be a standard Gaussian, and let the fake samples come from a narrower one that stands still. The discriminator sees samples only; the densities are for us, to draw what it should find. In a second game $q = p$, and there is nothing to find.

# %%
steps = 200 if chapter.profile.name == "smoke" else 2000
batch = 200
dx = 0.1
x = torch.arange(-12, 12, dx)[:, None] + dx / 2  # the middles of cells


def true(n, rng):
    return Gaussian(1).sample(n, rng)


def fake(n, rng):
    return 1.5 + Gaussian(1, std=0.5).sample(n, rng)


p = Gaussian(1).log_prob(x).exp()
q = Gaussian(1, std=0.5).log_prob(x - 1.5).exp()


@torch.no_grad()
def logits(D):
    return D(x)[:, 0]


def teach(fake):
    """Stage (a) again and again; the discriminator's logits on the grid after each number of steps in `watched`."""
    rng = torch.Generator().manual_seed(seed)
    D = network(rng)
    descent, seen = sgd(D, 0.1), {}
    for step in range(steps + 1):
        if step in watched:
            seen[step] = logits(D)
        stage_a(D, descent, true(batch, rng), fake(batch, rng))
    return seen


shown = [step for step in (1, 10, 100) if step < steps] + [steps]
watched = {0, *shown, *np.geomspace(1, steps, 80).astype(int).tolist()}
lessons = {"q fixed": (teach(fake), q), "q = p": (teach(true), p)}

# %% tags=["hide-input"] mystnb={"figure": {"caption": "A discriminator learns. Left: densities of true samples (blue) and fake ones (orange), the best discriminator (dashed), and the trained one after so many steps (lines, the darker the later). Right: its cost, with the expectations integrated, for this q and for q = p; dashed, what theory says of the best one. What to see: line and dashes meet where there are samples, and need not elsewhere; the costs come down to the two values and stop.", "name": "fig-lesson"}}
BLUE, ORANGE = "#0b62b8", "#c2410c"


def fill(axes, density, colour, label=None):
    axes.fill_between(x[:, 0], density, color=colour, alpha=0.25, lw=0, label=label)


def spaced(number):
    return f"{number:,}".replace(",", "\u2009")


figure = Figure(figsize=(figures.WIDTH, 3.2), layout="constrained")
left, right = figure.subplots(1, 2)
fill(left, p, BLUE, "true, p")
fill(left, q, ORANGE, "fake, q")
for step, shade in zip(shown, ("#cccccc", "#a0a0a0", "#666666", "#111111"), strict=False):
    D = lessons["q fixed"][0][step].sigmoid()
    left.plot(x[:, 0], D, color=shade, label=f"D, step {spaced(step)}")
left.plot(
    x[:, 0], statistics.optimal_discriminator(p, q), "--", color="#d743a1", label="p / (p + q)"
)
left.set(xlim=(-4, 5), ylim=(0, 1.02), xlabel="x", ylabel="D(x), and densities")
figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8)
for (name, (seen, density)), colour in zip(lessons.items(), (ORANGE, BLUE), strict=True):
    costs = {
        step: statistics.expected_discriminator_loss(a, p, density, dx) for step, a in seen.items()
    }
    right.plot(list(costs), list(costs.values()), color=colour, label=name)
    value = 2 * math.log(2) - 2 * statistics.jensen_shannon(p, density, dx)
    right.axhline(value, ls="--", lw=1, color=figures.GREY)
    text = "2 ln 2" if density is p else "2 ln 2 − 2 JS"
    right.annotate(
        f"{text} = {value:.3f}", (1, value), (0, -11), textcoords="offset points", size=8
    )
right.set(xscale="log", xlabel="steps of the discriminator", ylabel="its cost (nats)")
right.set_ylim(bottom=0.5)
right.legend()
figure

# %% [markdown]
# Two things to keep from this figure. The cost comes close to its bound long before $D$ looks like $D^*$ everywhere, if it ever does: where neither density has mass, mistakes cost nothing, and nothing teaches the network better. And $2 \ln 2$ is not a sign of failure: against $q = p$
# it is the best that anyone can do.

# %% [markdown]
# ## Training, both stages: the generator moves
#
# Now $p$ has two humps, and the fake samples come from a network that starts anywhere. Since the line is one-dimensional, we can see what the players cannot: push the quantiles of the noise through $G$, count where they land, and that is $q$; then JS, and the cost that the *best* discriminator would have at this
# moment, are sums over cells.


# %%
def two_humps(n, rng):
    side = 2 * draws.integers(rng, 2, n, 1) - 1  # −1 or 1
    return 1.5 * side + Gaussian(1, std=0.5).sample(n, rng)


humps = sum(Gaussian(1, std=0.5).log_prob(x - centre).exp() / 2 for centre in (-1.5, 1.5))
quantiles = torch.special.ndtri((torch.arange(20_000) + 0.5) / 20_000)[:, None]


@torch.no_grad()
def density(G):
    counts = torch.histc(G(quantiles), bins=len(x), min=-12, max=12)
    return counts / (len(quantiles) * dx)


def look(step, D, G):
    """What the game looks like from outside."""
    a, q = logits(D), density(G)
    return {
        "step": step,
        "D": a.sigmoid(),
        "q": q,
        "cost of D": statistics.expected_discriminator_loss(a, humps, q, dx),
        "JS": statistics.jensen_shannon(humps, q, dx),
    }


def play(
    seed=seed, steps=steps, cost=phases.generator_loss, rates=(0.1, 0.03), start=0.0, head_start=0
):
    """Stages (a) and (b) in turn, after `head_start` steps of (a) alone; looks at the game on its way, ever rarer."""
    rng = torch.Generator().manual_seed(seed)
    D, G = network(rng), network(rng)
    torch.nn.init.constant_(G[-1].bias, start)  # where the fake samples are at first
    descent_D, descent_G = sgd(D, rates[0]), sgd(G, rates[1])
    seen = []
    for step in range(-head_start, steps + 1):
        if step in watched or step == steps:
            seen.append(look(step, D, G))
        stage_a(D, descent_D, two_humps(batch, rng), G(draws.normal(rng, batch, 1)))
        if step >= 0:
            stage_b(D, descent_G, G(draws.normal(rng, batch, 1)), cost)
    return seen


game = play()

# %% tags=["hide-input"] mystnb={"figure": {"caption": "The game: densities and discriminator as it is played. Blue: the density of true samples; orange: that of the generator's; line: the discriminator, with one half dotted. What to see: the orange hump is drawn to where the line is high, which changes the line; as the two densities become one, the line sinks to one half where they lie. (A narrow orange hump may be cut off above.)", "name": "fig-game"}}
figure = Figure(figsize=(figures.WIDTH, 2.2), layout="constrained")
grid = figure.subplots(1, 4, sharex=True, sharey=True)
moments = [
    game[np.abs(np.array([m["step"] for m in game]) - t).argmin()] for t in (0, 10, 100, steps)
]
for axes, moment in zip(grid, moments, strict=True):
    fill(axes, humps, BLUE, "true, p")
    fill(axes, moment["q"], ORANGE, "fake, q")
    axes.plot(x[:, 0], moment["D"], color=figures.INK, lw=1.3, label="D")
    axes.axhline(0.5, color=figures.GREY, ls=":", lw=1)
    axes.set(title=f"step {spaced(moment['step'])}", xlabel="x")
grid[0].set(xlim=(-4, 4), ylim=(0, 1.02), ylabel="D(x), and densities")
grid[-1].legend(fontsize=7.5, loc="upper right")
figure

# %% tags=["hide-input"] mystnb={"figure": {"caption": "What the game is worth on its way. Line: the cost of the discriminator that plays; dashed: the cost that the best one would have against the same generator. What to see: both approach 2 ln 2, the player's first. The gap between them is what this discriminator does not see.", "name": "fig-value"}}


def values(axes, game, title=None):
    step = [moment["step"] for moment in game]
    best = [2 * math.log(2) - 2 * moment["JS"] for moment in game]
    cost = [moment["cost of D"] for moment in game]
    axes.plot(step, cost, color=BLUE, label="the discriminator that plays")
    axes.plot(step, best, "--", color=ORANGE, label="the best one, 2 ln 2 − 2 JS")
    axes.fill_between(step, best, cost, color=figures.GREY, alpha=0.2, lw=0)
    axes.axhline(2 * math.log(2), color=figures.GREY, ls=":", lw=1, label="2 ln 2")
    axes.set(xscale="log", xlabel="steps", ylabel="cost of D (nats)", title=title, ylim=(0, 1.6))
    axes.legend(loc="lower right")


figure = Figure(figsize=(0.75 * figures.WIDTH, 2.6), layout="constrained")
values(figure.subplots(), game)
figure

# %% [markdown]
# What healthy curves look like, here and in every later chapter: the discriminator's cost falls while it is ahead, then climbs towards $2 \ln 2$ as the generator catches up. It may pass it for a while: the generator has moved, and the discriminator, which still judges yesterday's samples, does worse than one that says one half to all. Read it with the dashed line in mind, which no other chapter can draw. A cost of
# $2 \ln 2$ says that *this* discriminator, at this moment, cannot tell the two apart; it does not say that they are equal. That is why chapter 2 measures the distance between codes and prior by itself.

# %% [markdown]
# ## The identities, checked
#
# Every row is a discriminator against a generator. The cost of $p/(p+q)$, integrated by equation {eq}`eq-01-discriminator`, must equal $2\ln 2 - 2\,\mathrm{JS}$ by equation {eq}`eq-01-value`; a trained one may come near to it, and never below.

# %% tags=["hide-input"]
rows = []
situations = {
    "true: Gaussian; fake: narrower Gaussian": (p, q, lessons["q fixed"][0][steps]),
    "true: Gaussian; fake: the same": (p, p, lessons["q = p"][0][steps]),
    "true: two humps; fake: G at its start": (humps, game[0]["q"], game[0]["D"].logit()),
    "true: two humps; fake: G after the game": (humps, game[-1]["q"], game[-1]["D"].logit()),
}
for title, (p_, q_, a) in situations.items():
    best = statistics.optimal_discriminator(p_ + 1e-30, q_ + 1e-30).logit(eps=1e-7)
    js = statistics.jensen_shannon(p_, q_, dx)
    rows.append({
        "densities": title,
        "JS": js,
        "2 ln 2 − 2 JS": 2 * math.log(2) - 2 * js,
        "cost of p/(p + q)": statistics.expected_discriminator_loss(best, p_, q_, dx),
        "cost of the trained D": statistics.expected_discriminator_loss(a, p_, q_, dx),
    })  # fmt: skip
checked = pd.DataFrame(rows)
checked.style.hide(axis="index").format(precision=4)

# %% [markdown]
# ## An ablation that the paper lacks: the cost of the generator
#
# The formula of §1.1 has the generator *lower* $\log(1 - D)$, and its text says that it is trained to "fool" the discriminator. Equation {eq}`eq-01-push` says that the two differ most when the discriminator is sure. So let it be: the fake samples start far from the true ones, and the
# discriminator gets a head start. Three seeds for each cost.


# %%
def as_written(fake):
    """log(1 − D): what the min–max formula asks the generator to lower."""
    return -softplus(fake).mean()


far = {"start": 7.0, "head_start": steps // 10, "steps": steps // 4}
seeds = [seed, seed + 1, seed + 2]
contest = {
    "−log D": [play(seed=s, **far) for s in seeds],
    "log(1 − D)": [play(seed=s, cost=as_written, **far) for s in seeds],
}

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Distance between true and fake samples along the game, when the generator starts far away against a discriminator that is ahead; a line for each seed. Dotted: ln 2, no overlap at all. What to see: how soon each cost of the generator leaves the dotted line, if it does.", "name": "fig-saturation"}}
figure = Figure(figsize=(0.75 * figures.WIDTH, 2.6), layout="constrained")
axes = figure.subplots()
for (name, games), colour, dash in zip(
    contest.items(), (BLUE, ORANGE), ("-", (0, (4, 1.2))), strict=True
):
    for i, one in enumerate(games):
        step, js = zip(*((m["step"], m["JS"]) for m in one), strict=True)
        label = None if i else f"generator lowers {name}"
        axes.plot(step, js, color=colour, ls=dash, lw=1.3, label=label)
axes.axhline(math.log(2), color=figures.GREY, ls=":", lw=1, label="ln 2: no overlap")
axes.set(xscale="log", xlabel="steps", ylabel="JS(p, q) (nats)", ylim=(0, 0.73))
axes.legend(loc="center right")
figure


# %% tags=["hide-input"]
def overlap_at(game):
    """The first look at which true and fake samples overlap noticeably."""
    return next((m["step"] for m in game if m["JS"] < 0.9 * math.log(2)), None)


pd.DataFrame(
    [
        {
            "generator lowers": name,
            "seed": s,
            "overlaps at step": "never" if overlap_at(g) is None else overlap_at(g),
            "D's mean on fake samples, at first": float((g[0]["D"] * g[0]["q"]).sum() * dx),
            "JS at the end": g[-1]["JS"],
        }
        for name, games in contest.items()
        for s, g in zip(seeds, games, strict=True)
    ]
).style.hide(axis="index").format(precision=4)

# %% [markdown]
# The distance is the same, the discriminator is the same, and the direction of the push is the same. With $\log(1 - D)$ its size is $D$, the probability in the table's fourth column, and the generator may wait very long for it.

# %% [markdown]
# ## Against the paper
#
# The paper prints no number in §1, so there is none to set beside ours, and no claim of the ledger belongs to this chapter. What it builds on are the two identities in the table above. In all four of its rows they hold to within {glue:text}`identity-gap` nats, which is rounding in single precision: both sides are sums over one grid, whose own error is in both. In the first two the trained discriminator comes within {glue:text}`lesson-gap` nats of the bound.
#
# ### Deviations
#
# 1. **The toy is ours: the paper has no experiment here.** Effect: none on any number of the paper.
# 2. **The generator's cost: the paper is ambiguous.** Its formula has $\log(1 - D(G))$, its text "fool the discriminator". This book lowers $-\log D(G)$, here and in every chapter. Effect: the ablation above.
# 3. **Steps and rates: the paper is silent.** One step of each stage in turn. The discriminator has the rates of A.2.1 (0.1, momentum 0.1); the generator of this toy goes at three tenths of that. In the later chapters both go at one rate, in most of them at A.2.1's 0.1. Effect: the first exercise.
# 4. **Initial weights.** N(0, 0.2²), not the N(0, 0.01²) that A.1 gives for layers of 1000 units: with 64 units and a single input, hardly any signal gets through. Effect: change the 0.2 in `network`, run on, and see when the game begins.

# %% [markdown]
# ## Exercises
#
# ::::{exercise}
# :label: ex-01-rates
#
# Let the generator go as fast as the discriminator (some seconds):
#
# ```python
# fast = play(rates=(0.1, 0.1))
# figure = Figure(figsize=(figures.WIDTH, 2.6), layout="constrained")
# for axes, (title, one) in zip(figure.subplots(1, 2), {"as above": game, "as fast": fast}.items()):
#     values(axes, one, title)
# figure
# ```
#
# Which of the two discriminators' costs is nearer to $2 \ln 2$, and which of the two generators is nearer to $p$? What happens with a generator that is faster still?
# ::::
#
# ::::{solution} ex-01-rates
# :class: dropdown
#
# The fast game's cost is the nearer to $2 \ln 2$, and its generator the farther from $p$. In our run, in the mean after step 500, the cost lies 0.008 from $2 \ln 2$ above and 0.003 here, and the Jensen–Shannon divergence is 0.018 above and 0.023 here; a generator three times as fast again has 0.002 and 0.033.
# A fast generator moves away from where the discriminator has just learnt to look, so that what the discriminator knows is always of yesterday's samples: a cost of $2 \ln 2$ says that the discriminator sees no difference, not that there is none. Chasing each other, the two can go in circles for as long as you like.
# ::::
#
# ::::{exercise}
# :label: ex-01-push
#
# A discriminator gives a fake sample $D = 0.001$. How hard does each cost of equation {eq}`eq-01-push` push it? And a sample with $D = \tfrac12$?
# ::::
#
# ::::{solution} ex-01-push
# :class: dropdown
#
# With 0.001 against 0.999, a thousand times as hard. At one half both push with one half: near the end of the game it does not matter which is used.
# ::::
#
# ::::{exercise}
# :label: ex-01-nowhere
#
# In {numref}`fig-lesson` the best discriminator rises again on the far right, since the wider density wins there. The trained one is late, or does not. Why is it not punished? And what would it tell a generator whose samples landed there?
# ::::
#
# ::::{solution} ex-01-nowhere
# :class: dropdown
#
# Its cost is an average over samples, and next to none fall there. A generator that landed there would be told next to nothing: the network continues what it learnt nearby, a low $D$ that hardly changes, and pushes a sample there a little to one side or the other, whatever is true there; only when its samples had come would the discriminator have learnt what to think of them. In a space of many dimensions almost
# everywhere is such a place. That is a reason to play the game on codes, as the paper does, which have few dimensions, and not on images.
# ::::

# %% [markdown]
# ## Summary
#
# A discriminator trained on samples alone finds $p/(p+q)$ where the samples are: against a fixed $q$ its cost came to {glue:text}`lesson-cost`, and theory says {glue:text}`lesson-bound` at best. Played to its end, the game drives that cost towards $2 \ln 2$: to {glue:text}`game-cost` here, where the
# Jensen–Shannon divergence that is left, {glue:text}`game-js` nats, would let the best discriminator reach {glue:text}`game-bound`. Next, the generator becomes an encoder.

# %% tags=["remove-cell"]
bound, best, cost = (
    checked[name] for name in ("2 ln 2 − 2 JS", "cost of p/(p + q)", "cost of the trained D")
)
exponent = math.ceil(math.log10((best - bound).abs().max()))
glue("identity-gap", f"{10.0**exponent:g}")
glue("lesson-gap", f"{(cost - bound)[:2].max():.4f}")
glue("lesson-cost", f"{cost[0]:.3f}")
glue("lesson-bound", f"{bound[0]:.3f}")
glue("game-cost", f"{cost[3]:.3f}")
glue("game-bound", f"{bound[3]:.3f}")
glue("game-js", f"{checked['JS'][3]:.3f}")
glue("run-time", store.duration(time.monotonic() - started))
glue("machine", chapter.machine())
results = chapter.finish()

# %% [markdown]
# All works cited stand on [one page](../references.md).
