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
# # GANs and moment matching
#
# *Paper: §2.2* {cite}`makhzani2015adversarial`
#
# ## In this chapter
#
# **You will** train the two rivals that the paper measures itself against: a generative adversarial network (GAN) {cite}`goodfellow2014generative`, whose adversary stands at the pixels, and a generative moment matching network (GMMN)
# {cite}`li2015generative`, which has no adversary at all, and which its authors also let work on the codes of an autoencoder that was trained before (GMMN + AE). Then you will see what each of them has to bring about, and where.
#
# **Claims tested.** A GMMN that is combined with a pre-trained dropout autoencoder has a better likelihood than one that works at the pixels. What §2.2 says of likelihoods *between* the models, that the AAE's is better than both, is Table 1, which
# [chapter 5](05_likelihood.ipynb) does with the models that are trained here.
#
# **You need** chapter 2: the adversarial game, and what $2 \ln 2$ means in a training curve.
#
# **Run time.** {glue:text}`run-time` of training on {glue:text}`machine` for the run that you are reading (profile {glue:text}`profile-name`; GAN and AAE for {glue:text}`epochs`, GMMN + AE for {glue:text}`gmmn-epochs`); `aae doctor` says what each profile
# would take on your machine.

# %% [markdown]
# ## The idea
#
# All three models of this chapter draw an image in the same way: a draw of some simple distribution goes through a network. They differ in what that network is told to match, and where.
#
# **A GAN** plays the game of chapter 2 at the *pixels*. The generator $G$ maps noise $z \sim p(z)$ to an image, and the discriminator $D$ learns to tell images of the data from images of $G$. The value of the game is
#
# $$
# \min_G \max_D \; V(D, G) = \mathbb{E}_{x \sim p_d} \log D(x) + \mathbb{E}_{z \sim p(z)} \log\bigl(1 - D(G(z))\bigr),
# $$ (eq-gan-value)
#
# and where $D$ is as good as it can be, $V = 2\,\mathrm{JS}(p_d, p_G) - 2 \ln 2$ with the Jensen–Shannon divergence of data and samples. So $G$ has to bring about the distribution of *images*, with all that makes an image one, and it learns only by way of $D$.
# As in chapter 2 it lowers $-\log D(G(z))$, which has a gradient even while $D$ wins.
#
# **A GMMN** needs no discriminator. Choose features $\phi(x)$ and compare their means over two distributions:
#
# $$
# \mathrm{MMD}^2(p, q) = \bigl\lVert \mathbb{E}_{x \sim p}\, \phi(x) - \mathbb{E}_{y \sim q}\, \phi(y) \bigr\rVert^2
#   = \mathbb{E}\, k(x, x') - 2\, \mathbb{E}\, k(x, y) + \mathbb{E}\, k(y, y'),
# $$ (eq-mmd)
#
# the squared **maximum mean discrepancy** {cite}`gretton2012kernel`. Multiplied out, it needs the features only in the products $k(x, y) = \phi(x)^\top \phi(y)$, so they may be as many as one likes ($x$ and $x'$ are independent draws of $p$, $y$ and $y'$ of $q$). With the Gaussian kernel
#
# $$
# k(x, y) = \sum_i \exp\Bigl(-\frac{\lVert x - y \rVert^2}{2 \sigma_i}\Bigr)
# $$ (eq-kernel)
#
# they are infinitely many: expand $\exp(x^\top y / \sigma)$ into its power series, and every product of coordinates of $x$, times $\exp(-\lVert x \rVert^2 / 2\sigma)$, is among the features. MMD is zero only for equal distributions, which have *all moments equal*: the paper's reading of it. In practice a kernel sees differences of about the size $\sqrt{\sigma}$: where all pairs are much further apart it is 0 and where all are much nearer it is 1, and in both cases it says nothing. Hence the sum over several bandwidths.
#
# From samples $x_1, \dots, x_n$ and $y_1, \dots, y_m$ the three expectations are estimated by means over pairs,
#
# $$
# \widehat{\mathrm{MMD}}{}^2 = \frac{1}{n(n-1)} \sum_{i \ne j} k(x_i, x_j) - \frac{2}{nm} \sum_{i,j} k(x_i, y_j) + \frac{1}{m(m-1)} \sum_{i \ne j} k(y_i, y_j).
# $$ (eq-unbiased)
#
# It is **unbiased**: zero on average for two samples of one distribution, so often below zero. With the pairs $i = j$ left in, and $n^2$, $m^2$ below, it is the squared distance of two means and cannot be negative: **biased** upwards, but it has a root.
#
# **GMMN + AE** moves the problem to where it is easier. First a dropout autoencoder is trained, as if nothing followed. Then it is *frozen*, and a second network learns to turn uniform noise into vectors that are distributed as its codes are, by gradient descent on the MMD between
# the two. To draw an image: noise, matched code, decoder.
#
# | | what is imposed | on | by | when |
# |---|---|---|---|---|
# | GAN | the distribution of images | the generator's images | a discriminator | from the start |
# | GMMN + AE | the distribution of an autoencoder's codes | a second network's codes | the MMD | after the autoencoder |
# | AAE | a simple prior | the autoencoder's own codes | a discriminator | while the autoencoder learns |
#
# This table is §2.2. Against the GAN the paper argues that a Gaussian of some twenty dimensions is easier to bring about than the distribution of images in a thousand; the decoder's squared error sees to the images. Against GMMN + AE it argues that there, whatever shape the codes have must be
# matched as it is, while the AAE shapes the codes to what is easy to sample *while they are learnt*.

# %% tags=["parameters"]
profile = "quick"  # smoke, quick, standard or paper: how far along the schedule to train
seed = 0  # the first replicate
replicates = None  # how many; None takes the profile's number
device = "auto"  # auto, cpu, cuda, cuda:1, …
data = "mnist"  # or an image archive of your own: see data/README.md
allow_cpu = False  # let the paper profile run without a GPU

# %%
import math

import numpy as np
import pandas as pd
import torch
from scipy.spatial import KDTree
from sklearn.decomposition import PCA

from aae_lib import figures, parzen, training
from aae_lib.baselines import gan, gmmn
from aae_lib.experiments import by_name
from aae_lib.notebook import Chapter, changed, counted, glue, pixels, source

figures.use_style()
chapter = Chapter.open("03_gans_and_moment_matching", "GANs and moment matching", globals())

# %% [markdown]
# ## The code that matters
#
# The GAN's iteration: the two halves of chapter 2's regularisation phase, with data where the prior was and the generator's images where the codes were.

# %%
source(gan.step, gan.discriminator_cost, gan.generator_cost)

# %% [markdown]
# Equations {eq}`eq-mmd` to {eq}`eq-unbiased`, in the order in which they are computed. The bandwidth $\sigma$ is a variance, as with the method's authors.

# %%
source(gmmn.squared_mmd, gmmn.kernel)

# %% [markdown]
# GMMN + AE has two stages, and an iteration belongs to one of them. In the second, nothing can move the autoencoder: its codes are data. The cost is the root of the biased estimate, since near zero the square itself has hardly any gradient left and its root does.

# %%
source(gmmn.step, gmmn.matching_cost)

# %% [markdown]
# ## Training

# %% tags=["remove-stderr"]
names = {"GAN": "table1_gan", "GMMN + AE": "table1_gmmn", "AAE": "table1_aae"}
runs = {title: chapter.train(name) for title, name in names.items()}
first = {title: replicas[0] for title, replicas in runs.items()}

# %% [markdown]
# Healthy curves: both discriminators win easily at first, when what is made is far from what is asked for. The AAE's cost climbs towards $2 \ln 2$ within a few epochs and levels off a little below; the GAN's creeps up and stays further below, presumably since pictures hold more that gives a forger away than a few code numbers do (the two discriminators also differ in size and in their descent).
# If it sinks back towards zero instead, while the generator's cost climbs, the generator has lost and its samples freeze. The MMD has no such game: it falls, fast and then slowly, towards a floor which the size of the mini-batch sets, since the estimate is biased (the first exercise).

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Costs along training, first seed, the mean over each epoch. Left: the discriminators' costs of the GAN, which judges images, and of the AAE, which judges codes; dashed, the cost where a discriminator cannot tell. Middle and right: the two stages of GMMN + AE, the autoencoder's cross-entropy and then the MMD between its codes and the second network's. What to see: in a run of more than a few epochs, which of the two discriminators ends nearer to the dashed line; and how fast the MMD falls. The axes in the middle and on the right do not begin at zero.", "name": "fig-costs-3"}}
matched, pretraining = first["GMMN + AE"], first["GMMN + AE"].experiment.pretraining
epoch = matched.history["epoch"]


def curve(title, cost):
    return first[title].history["epoch"], first[title].history[cost]


figures.costs(
    [
        figures.CostPanel(
            "Discriminator",
            "nats",
            {
                "GAN, pixels": curve("GAN", "discriminator"),
                "AAE, codes": curve("AAE", "discriminator z"),
            },
            (2 * math.log(2), "2 ln 2"),
        ),
        figures.CostPanel(
            "Autoencoder, alone",
            "cross-entropy (nats)",
            {"GMMN + AE": (epoch[:pretraining], matched.history["reconstruction"])},
        ),
        figures.CostPanel(
            "Moment matching",
            "MMD between codes",
            {"GMMN + AE": (epoch[pretraining:], matched.history["mmd"])},
        ),
    ]
)

# %% [markdown]
# ## Samples


# %%
def draw(run, n, purpose=0):
    """n images (n, pixels) of a run; the numbers do not change when cells are run again or in another order."""
    source = torch.Generator().manual_seed(1000 * purpose + run.seed)
    return run.model.cpu().sample(n, source)


# %% tags=["hide-input"] mystnb={"figure": {"caption": "Samples of the three models, not selected, first seed. What to see: specks and broken strokes where pixels were matched directly; smooth strokes where a decoder makes the image, and how many of those shapes are digits.", "name": "fig-samples-3"}}
rows, columns = 3, 16
figures.sheet(
    torch.cat([draw(run, rows * columns) for run in first.values()])
    .reshape(-1, *chapter.dataset.shape)
    .numpy(),
    rows * len(first),
    columns,
    row_labels=[name for title in first for name in [title] + [""] * (rows - 1)],
    width=figures.WIDTH,
)

# %% [markdown]
# ## After the fact, or while it is learnt
#
# Both autoencoders have codes, and for both something draws codes in their stead: the second network for GMMN + AE, the prior for the AAE. Projected onto the two directions in which the test images' codes vary most:

# %%
count = min(2000, len(chapter.dataset.test))
images = pixels(chapter.dataset.test.images[:count])
labels = chapter.dataset.test.labels[:count]
source_of_codes = {
    "GMMN + AE": lambda n, source: first["GMMN + AE"].model.match(n, source).detach(),
    "AAE": first["AAE"].experiment.code("z").prior.sample,
}
codes = {
    title: training.codes_of(first[title].model.cpu(), images)["z"] for title in source_of_codes
}
drawn = {
    title: sampler(count, torch.Generator().manual_seed(first[title].seed))
    for title, sampler in source_of_codes.items()
}

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Codes of test images (left) and what is drawn in their stead (right), first seed, on the first two principal components of the former (the axes, marked z\u2081 and z\u2082), in standard deviations of the first. Top: the frozen autoencoder and the moment-matching network, whose codes are coloured by the digit of the nearest test code; bottom: the AAE and its Gaussian prior, likewise. What to see: above, an irregular cloud, which nobody shaped and the network has to copy; below, one that the encoder is being taught to make as round as its prior, and how far that has come. Go by the colours: where digits mix, numbers mean little.", "name": "fig-codes-3"}}
panels = []
for title, right in (("GMMN + AE", "moment-matching network"), ("AAE", "prior")):
    z, made = codes[title].numpy(), drawn[title].numpy()
    projection = PCA(2, random_state=0).fit(z)
    unit = math.sqrt(projection.explained_variance_[0])
    nearest = KDTree(z).query(made)[1]
    panels.append((f"{title}: codes of images", projection.transform(z) / unit, labels))
    panels.append((f"{title}: {right}", projection.transform(made) / unit, labels[nearest]))
figures.codes(panels)

# %% [markdown]
# The two columns can be compared by the measure that one of them was trained on. Here is the unbiased {eq}`eq-unbiased`, which is zero on average where two samples have one distribution; the last column shows that on two halves of the test images' codes. Bandwidths are relative to each code's own
# spread, so that rows can be compared, too: from a quarter of the mean squared distance of two codes to the whole of it.


# %%
def discrepancy(x, y, spread):
    return float(gmmn.squared_mmd(x, y, [0.25 * spread, 0.5 * spread, spread]))


table = []
for title, z in codes.items():
    spread = 2 * float(z.var(0).sum())  # the mean of ‖z − z′‖²
    halves = z.chunk(2)
    table.append(
        {
            "model": title,
            "dimensions": z.shape[1],
            "codes of images | what is drawn": discrepancy(z, drawn[title], spread),
            "codes of images | codes of others": discrepancy(*halves, spread),
        }
    )

# %% tags=["hide-input"]
pd.DataFrame(table).style.hide(axis="index").format(precision=4)

# %% [markdown]
# *In the published run* the AAE's row is the larger of the first measure, 0.037 against 0.017: the moment-matching network was trained on such a measure and on nothing else, while the AAE's encoder has images to rebuild as well. It is no ranking of the samples (chapter 5 has one).

# %% [markdown]
# ## An ablation that the paper lacks: what is the autoencoder worth?
#
# Li et al. also trained their network without an autoencoder: the codes *are* the pixels, 784 of them, and everything else stays. The paper says in passing that the combination has the better likelihood. Here both are trained for the same number of steps of moment matching, with
# bandwidths that span the distances of images, as theirs do; the estimate is that of chapter 5, on some of the test images: a Gaussian of standard deviation σ, not the kernel's and chosen on validation images, on each of 10 000 samples (a Parzen window). Its ± is the standard error over test images.

# %% tags=["remove-stderr"]
base = matched.experiment
in_pixels = changed(
    by_name(base.name),
    "table1_gmmn_pixels",
    reconstruction=None,
    pretraining=0,
    bandwidths=(2.0, 5.0, 10.0, 20.0, 40.0, 80.0),
    milestones=tuple(m - base.pretraining for m in base.milestones),
)
without = chapter.train(in_pixels, epochs=matched.epochs - base.pretraining)


# %%
chosen_by = min(1000, len(chapter.dataset.validation))
points = torch.from_numpy(
    np.concatenate(
        [chapter.dataset.validation.pixels()[:chosen_by], chapter.dataset.test.pixels()[:count]]
    )
)


def likelihood(run):
    estimate = parzen.Parzen(points)
    estimate.add(draw(run, 10_000, purpose=1))
    return parzen.score(estimate.log_likelihood(), chosen_by)


scores = {
    "GMMN + AE": [likelihood(run) for run in runs["GMMN + AE"]],
    "GMMN, pixels": [likelihood(run) for run in without],
}
gains = {
    run.seed: with_ae.mean - without_ae.mean
    for run, with_ae, without_ae in zip(runs["GMMN + AE"], *scores.values(), strict=True)
}
chapter.record(
    "s2.gmmn.autoencoder", gains, epochs=matched.epochs, of_epochs=matched.experiment.epochs
)

# %% tags=["hide-input"] mystnb={"figure": {"caption": "The GMMN with an autoencoder and at the pixels, after the same number of steps of moment matching, first seed; not selected. What to see: strokes where a decoder makes the image; where pixels were matched, specks and gaps, which become fewer the longer the run.", "name": "fig-ablation-3"}}
figures.sheet(
    torch.cat([draw(matched, rows * columns), draw(without[0], rows * columns)])
    .reshape(-1, *chapter.dataset.shape)
    .numpy(),
    2 * rows,
    columns,
    row_labels=[name for title in scores for name in [title] + [""] * (rows - 1)],
    width=figures.WIDTH,
)

# %% tags=["hide-input"]
pd.DataFrame(
    {
        "model": title,
        "seed": run.seed,
        "log-likelihood (nats)": str(score),
        "σ": score.sigma,
    }
    for title, replicas in scores.items()
    for run, score in zip(runs["GMMN + AE"], replicas, strict=True)
).style.hide(axis="index").format(precision=4)

# %% [markdown]
# Neither network is small, and the kernels are of the same kind, each as wide as the distances that it sees. What changes is what the distances mean. By the squared distance of its pixels, an image that is moved by two of them is little nearer to itself than to another image of its digit, and moved by three little nearer than to another digit (measured by hand on 2000 training images, moved along rows or columns: 69 and 99 in the mean, where two images of a digit have 81 and two of different digits 107). The kernel, which has nothing but this distance, says the same. The codes of an autoencoder should have such accidents taken out. And whatever the network makes, the
# decoder turns into strokes.
#
# ## Against the paper

# %% tags=["hide-input"]
chapter.against_the_paper("s2.")

# %% [markdown]
# ### Deviations
#
# The paper quotes both models' numbers and does not describe them; what follows is measured against the publications of their authors and the code that came with them.
#
# 1. **GAN: the generator has batch normalisation, and Adam takes the place of gradient descent with momentum.** Sizes (100 → 1200 → 1200 → 784, a discriminator of two maxout layers of 240 units with five pieces), dropout (20 % on the input, one half on hidden units), Gaussian noise and
#    mini-batches of 100 are the authors'. Initial weights are from N(0, 0.02²), theirs uniform within ±0.05 (discriminator ±0.005); their rate decays with each step. With their rates (0.1, momentum 0.5 and growing) samples are still noise after the one epoch that the quick profile has. Effect: shapes after one epoch and digits after a few, in place of many; not measured for long runs. At a rate of 0.001, which is quicker at first, the generator lost the game in the fifth epoch; 0.0002, at which it did not, was taken.
# 2. **GAN: the two players take turns,** as in the algorithm that the authors print. In their code they move at once. The images that the generator made serve both steps, as the codes do in chapter 2. Effect: not measured.
# 3. **GAN: no bias from the data.** Their generator's output biases start where its images are the mean of the data. Effect: a few steps at the beginning.
# 4. **GMMN + AE: two epochs of the autoencoder in place of their eighteen** (3000 steps of 100 images for each of two layers, then 3000 for both together), with ReLU hidden units and Adam where they have sigmoid units and gradient descent. Sizes (784 → 1024 → 32 sigmoid units and back), dropout (20 %, one half) and the cross-entropy are theirs. When
#    *validation* images were judged by decoded codes of *training* images, in place of the second network's, their Parzen estimate hardly changed between two epochs and five: a longer training is not where the likelihood comes from.
# 5. **GMMN + AE: five bandwidths, ¼ to 4.** The published code has the one bandwidth 1 for the codes of MNIST and six, from 2 to 80, for pixels; the sum spans the distances of codes as those six span the distances of images. Chosen with the rate on validation images, of three sums and the one bandwidth, after three epochs of matching (by which measure, we did not keep: if it was the Parzen estimate, chapter 5 judges this model by what it was tuned to). Effect: the second exercise.
# 6. **GMMN: the root of the biased estimate**, as theirs. The unbiased one may be negative and has no root; it is used here to compare, not to train. Network (10 → 64 → 256 → 256 → 1024 → codes), mini-batches of 1000 and the number of steps (800 epochs, rates a tenth after 200) are theirs; Adam is not.
# 7. **The claim is judged on 2000 test images** (fewer where there are fewer) to keep this chapter short. Effect: a standard error of the difference of some nats.
# 8. **GMMN in pixel space: nothing was chosen for it.** It has the rate that was chosen for codes, and two epochs fewer. Effect: the comparison leans towards GMMN + AE by as much as a choice of its own would be worth; not measured.

# %% [markdown]
# ## Exercises
#
# ::::{exercise}
# :label: ex-03-bias
#
# Two samples of $n$ each come from the *same* distribution. What is the expectation of the biased estimate of the squared MMD? What does that say about the mini-batches that a GMMN needs, and about the floor of its curve in {numref}`fig-costs-3`?
# ::::
#
# ::::{solution} ex-03-bias
# :class: dropdown
#
# The unbiased estimate has expectation zero. The biased one has in each of the two inner means $n$ pairs of a row and itself, whose kernel is $k(x, x)$ in place of $\mathbb{E}\,k(x, x')$ on average, so that $\mathbb{E} = \tfrac2n \bigl(k(x, x) - \mathbb{E}\, k(x, x')\bigr)$.
# With five bandwidths $k(x, x) = 5$; a mini-batch of 1000 has a floor of at most $\sqrt{2 \cdot 5 / 1000} = 0.1$ under its root, one of 100 has 0.32. The floor by itself does no harm. But the
# gradient's noise shrinks with $n$ as the floor does, and the signal has to be seen above it: hence mini-batches of 1000 where the adversary is content with 100.
# ::::
#
# ::::{exercise}
# :label: ex-03-bandwidth
#
# Change the bandwidths and train again (about a minute on the quick profile): the one that the authors' code has, one that is far too small, one that is far too large.
#
# ```python
# for width in (1.0, 0.01, 100.0):
#     one = changed(by_name("table1_gmmn"), f"exercise_bandwidth_{width}", bandwidths=(width,))
#     run = chapter.train(one, seeds=[0])[0]
#     print(width, run.history["mmd"][-1], likelihood(run))
# ```
#
# Why can the printed MMDs not be compared with each other, and the likelihoods can?
# ::::
#
# ::::{solution} ex-03-bandwidth
# :class: dropdown
#
# Each MMD is in the units of its own kernel. At 0.01 the kernel of almost any two codes is zero, so the network feels no pull towards the data; at 100 all kernels are close to 1, where only the means of the codes matter and the network may put all its mass into the middle. The MMD of the latter is tiny
# all the same. The likelihood judges images, by one rule for all.
# ::::
#
# ::::{exercise}
# :label: ex-03-memory
#
# Freeze the *AAE's* autoencoder and fit a moment-matching network to its codes. What would you expect it to gain over drawing from the prior, and what does that say about joint training? (No code is needed; look at the table under {numref}`fig-codes-3`.)
# ::::
#
# ::::{solution} ex-03-memory
# :class: dropdown
#
# It would gain what the codes of images still differ from the prior by, which that table measures. If the regularisation phase had done its work perfectly there would be nothing to gain: the second network is a repair for codes that nobody shaped. The price of shaping them is paid in reconstruction: codes that must fill a
# Gaussian have less freedom to tell images apart.
# ::::

# %% [markdown]
# ## Summary
#
# A GAN imposes the distribution of images where it is hardest to impose, at the pixels; a GMMN with an autoencoder copies the distribution of codes after the fact; the AAE has codes whose distribution it chose. After {glue:text}`epochs`, first seed, the GAN's discriminator has a cost of
# {glue:text}`gan-discriminator`, the AAE's {glue:text}`aae-discriminator`, where $2 \ln 2 = 1.386$ would mean that it cannot tell. The MMD between the frozen codes and the matched ones has come down from {glue:text}`mmd-first` in its first epoch to {glue:text}`mmd-last`. In this comparison (point 8) the autoencoder is worth
# {glue:text}`gain` nats to a GMMN (mean over {glue:text}`seeds`). How the three compare in likelihood is the subject of [chapter 5](05_likelihood.ipynb).

# %% tags=["remove-cell"]
glue("run-time", chapter.wall_time())
glue("machine", chapter.machine())
glue("profile-name", chapter.profile.name)
glue("epochs", counted(first["GAN"].epochs, "epoch"))
glue("gmmn-epochs", counted(matched.epochs, "epoch"))
glue("seeds", counted(len(chapter.seeds), "seed"))
glue("gan-discriminator", f"{first['GAN'].history['discriminator'][-1]:.3f}")
glue("aae-discriminator", f"{first['AAE'].history['discriminator z'][-1]:.3f}")
glue("mmd-first", f"{matched.history['mmd'][0]:.3f}")
glue("mmd-last", f"{matched.history['mmd'][-1]:.3f}")
glue("gain", f"{sum(gains.values()) / len(gains):.0f}")
results = chapter.finish()

# %% [markdown]
# All works cited stand on [one page](../references.md).
