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
# # Semi-supervised adversarial autoencoders
#
# *Paper: §5, Appendix A.2, Figure 8, Table 2* {cite}`makhzani2015adversarial`
#
# ## In this chapter
#
# **You will** split the code into a class $y$ and a style $z$, impose a distribution on each, and train a classifier from a hundred labels and fifty thousand images
# without any.
#
# **Claims tested.** The test error along training that A.2.1 prints for 100 labels (16.50 % after the first epochs, 3.40 % after 50, 2.21 % after 500, 1.80 % after 5000),
# and the rows of Table 2 of the adversarial autoencoder and of the network that uses the labels alone: MNIST, and where it is at hand SVHN, whose error along training A.2.2 prints, too.
#
# **You need** chapter 2: the two phases, and what $2\ln 2$ means in a training curve.
#
# **Run time.** {glue:text}`run-time` of training on {glue:text}`machine` for the run that you are reading (profile {glue:text}`profile-name`); `aae doctor` says what each profile would take on your machine.

# %% [markdown]
# ## The idea
#
# Suppose that an image comes from a class and a style, drawn independently:
#
# $$
# y \sim \mathrm{Cat}(10), \qquad z \sim \mathcal{N}(0, I), \qquad x \sim p(x \mid y, z).
# $$ (eq-generative)
#
# The encoder predicts both: $q(y \mid x)$ is a softmax over ten classes, $q(z \mid x)$ ten real numbers, and the decoder gets the two side by side. Nothing so far makes $y$ a class. Two
# discriminators do much of it. One compares $z$ with draws of the Gaussian, so that the styles of all classes together fill the prior (not those of each class by itself: chapter 6). The other compares the softmax output with **one-hot**
# vectors of ten equally frequent categories, and that asks for two things at once:
#
# * a soft vector is easy to tell from a one-hot one, so $q(y \mid x)$ must be *sure* of itself;
# * a category that comes up too often or too rarely is easy to notice, so the ten must be used *equally*.
#
# What a sure, balanced ten-way switch can best tell the decoder about an image is which digit it shows, or so one hopes; a few labels see to it that it is the digit, and name the categories. Each mini-batch goes through three
# phases:
#
# $$
# \begin{aligned}
# \text{reconstruction:}\quad & \tfrac12 \lVert \hat x(y, z) - x \rVert^2 && \text{encoder, decoder} \\
# \text{regularisation:}\quad & L_D^{(y)} + L_D^{(z)} && \text{discriminators} \\
# & L_G^{(y)} + L_G^{(z)} && \text{encoder} \\
# \text{classification:}\quad & -\log q(y = \text{label} \mid x_{\text{labelled}}) && \text{encoder}
# \end{aligned}
# $$ (eq-phases)
#
# with $L_D$ and $L_G$ as in chapter 2. Only the last one looks at labels, those of a labelled mini-batch.

# %% tags=["parameters"]
profile = "quick"  # smoke, quick, standard or paper: how far along the schedule to train
seed = 0  # the first replicate
replicates = None  # how many; None takes the profile's number
device = "auto"  # auto, cpu, cuda, cuda:1, …
data = "mnist"  # or an image archive of your own: see data/README.md
allow_cpu = False  # let the paper profile run without a GPU
label_counts = "100, 1000, all"  # which columns of Table 2 to train on MNIST
first_seed_epochs = None  # up to which the first seed of the first column is carried on
house_numbers = "svhn"  # or an image archive in its place: see data/README.md
house_number_epochs = None  # of one seed more on house numbers, trained for longer than the others
train = True  # False trains nothing: what the store does not hold is shown as it was published

# %%
from statistics import fmean, stdev

import pandas as pd

from aae_lib import claims, engine, figures
from aae_lib.config import Rates
from aae_lib.data import balanced_labels
from aae_lib.experiments import by_name
from aae_lib.notebook import Chapter, changed, choices, counted, glue, source

figures.use_style()
chapter = Chapter.open(
    "07_semi_supervised",
    "Semi-supervised adversarial autoencoders",
    globals(),
    also=["label_counts", "first_seed_epochs", "house_numbers", "house_number_epochs", "train"],
)
counts = choices("label_counts", label_counts, ["100", "1000", "all"])
street = chapter.beside("svhn", house_numbers)  # None: not here

# %% [markdown]
# ## The code that matters
#
# {numref}`fig-architecture-8` is Figure 8 of the paper, drawn from the configuration that is trained below.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Figure 8 again: the semi-supervised adversarial autoencoder. The upper adversary imposes a categorical distribution on the class y, the lower one a Gaussian on the style z; the labels of a few images train q(y|x) directly. What to see: one encoder has two heads, and the decoder needs both to rebuild the image.", "name": "fig-architecture-8"}}
experiment = by_name("mnist_100")
figures.architecture(experiment, pixels=chapter.dataset.dim, classes=chapter.dataset.classes)

# %% [markdown]
# The loop is that of chapter 2; the classification phase is its last block. Two choices decide whether it reaches the paper's numbers, and most public code makes the other choice in at least one of them:
#
# 1. the reconstruction cost is *summed* over the pixels (chapter 2; the ablation below shows the difference);
# 2. an **epoch is one pass over the unlabelled images**, 500 mini-batches, however few labels there are. The labelled images are cycled beside them.

# %%
source(engine.epoch_order)

# %% [markdown]
# Labelled examples are drawn at random, evenly over the classes, from the training images; each seed draws its own.

# %%
source(balanced_labels)

# %% [markdown]
# The network that uses the labels alone, Table 2's "NN baseline", is the same encoder with the first two phases switched off. With all labels the paper calls it "a dropout supervised neural
# network with the same architecture": dropout of one half on hidden units and 20 % on the input.

# %% [markdown]
# ## Training

# %% tags=["remove-stderr"]
aae = {count: chapter.train(f"mnist_{count}") for count in counts}
baseline = {count: chapter.train(f"nn_{count}") for count in counts}

# %% [markdown]
# Healthy curves: each discriminator's cost dips in the first epochs, when its game begins, and then creeps back towards $2\ln 2 = 1.386$ from below; each generator's mirrors it above $\ln 2$; the cross-entropy of the labelled images soon
# falls near zero. A discriminator cost of $y$ that stays at 1.386 to three digits means that this game never started.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Costs along training, first seed. With {glue:text}`labels` labels: the mean over each epoch; coloured, a line for each code. What to see: how soon the labels are learned by heart, how long the reconstruction goes on falling, and whether the adversaries' costs go back to the dashed lines once the categories have formed.", "name": "fig-losses-7"}}
first = aae[counts[0]][0]
figures.losses({name: values for name, values in first.history.items() if "error" not in name})

# %% [markdown]
# ## Error along training (A.2.1)
#
# Each run is measured on the test images after every epoch, as in the appendix. Nothing was chosen by these curves: rates, schedule and sizes are the paper's.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Test error along training. A colour for each number of labels; of several seeds the thick line is the mean, from three on with a band of \u00b1 one standard deviation, and a thin one each seed. Open markers: the values that A.2.1 prints for 100 labels of MNIST after the first, 50, 500 and 5000 epochs. Both axes are logarithmic. What to see: how far along the paper's curve this run has come, and whether it lies on it.", "name": "fig-error"}}
names = {count: f"{count} labels" for count in counts}
series = {
    names[count]: {f"seed {run.seed}": run.history for run in runs} for count, runs in aae.items()
}
printed = {1: 16.50, 50: 3.40, 500: 2.21, 5000: 1.80}  # for 100 labels of MNIST
reported = {names["100"]: printed} if "100" in counts and data == "mnist" else {}
figures.error_along_training(series, reported, quantity="test error")

# %%
epochs = first.epochs


def record(claim, runs, mark=None, dataset=None):
    """The test errors of `runs` for a claim: the last ones, or those after the epoch `mark`."""
    errors = {run.seed: run.history["test error"][mark - 1 if mark else -1] for run in runs}
    chapter.record(
        claim,
        errors,
        epochs=mark or runs[0].epochs,
        of_epochs=runs[0].experiment.epochs,
        dataset=dataset,
        seeds=None if set(errors) == set(chapter.seeds) else list(errors),
    )


for count in counts:
    record(f"table2.mnist-{count}.aae", aae[count])
    record(f"table2.mnist-{count}.nn-baseline", baseline[count])
for mark in (1, 50, 500, 5000):
    if mark <= epochs and "100" in counts:
        record(f"a2.mnist-100.epoch-{mark}", aae["100"], mark)

# %% [markdown]
# **Longer.** {glue:text}`longer-shown` In the published run this is not the first seed of {numref}`fig-error`, which a GPU trained, but that seed from its start on a processor, with products in [bfloat16](../speed.md).

# %% tags=["remove-stderr"]
carried_on = []
if first_seed_epochs:
    carried_on = chapter.train(first.experiment, epochs=first_seed_epochs, seeds=[first.seed])
    for mark in (500, 5000):
        if epochs < mark <= first_seed_epochs and counts[0] == "100":
            record(f"a2.mnist-100.epoch-{mark}", carried_on, mark)

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Test error of the first seed, trained for longer. It has {glue:text}`labels` labels. Open markers: A.2.1's. What to see: what the step of all rates after epoch 50 does, and whether the hundreds of epochs after it still teach anything.", "name": "fig-error-longer"}}
title = names[counts[0]]
missing = "not run: no longer training was asked for (first_seed_epochs)"
figures.error_along_training(
    {title: {f"seed {run.seed}": run.history for run in carried_on}},
    {title: reported.get(title)},
) if carried_on else figures.notice(missing)

# %% [markdown]
# ## What the labels alone can do
#
# Test error in %, seed by seed. Below each adversarial autoencoder stands the same encoder trained on the same labelled images without the other phases, for as many steps.


# %% tags=["hide-input"]
def errors_by_seed(runs):
    return {f"seed {run.seed}": run.history["test error"][-1] for run in runs}


pd.DataFrame(
    [
        {"labels": count, "model": model} | errors_by_seed(runs)
        for count in counts
        for model, runs in (
            ("adversarial autoencoder", aae[count]),
            ("network on the labels alone", baseline[count]),
        )
    ]
).style.hide(axis="index").format(precision=2)

# %% [markdown]
# ## SVHN (A.2.2). {glue:text}`house-numbers-shown`
#
# The last column of Table 2 is of SVHN {cite}`netzer2011reading`: digits cut out of photographs of house numbers, 32 × 32 pixels in colour, the digit in the middle, often with parts of its neighbours beside it. `aae fetch svhn` downloads it; an image archive may stand in (`-p house_numbers …`): it is named wherever
# its numbers stand, and gets no verdict.
#
# A.2.2 keeps the model and changes six of its settings. Each colour of each pixel is standardised over the training images, so the output is linear. The style has 20 dimensions. Batch normalisation stands in every layer of the autoencoder: before the softmax of $y$, after the linear head of $z$, after the output. A fifth of the
# input is dropped, in place of noise. And the rates are lower, by a factor of a hundred for the reconstruction (standardised pixels have a larger error) and of ten for the adversaries; they fall once, after epoch 250 of 1000.
#
# "About 530K training points" fits the 531 131 images that SVHN calls *extra*, so of SVHN itself these are the training images. The 73 257 that it calls *train* are then free: they are the validation images. An archive that stands in has its own split.

# %% tags=["remove-stderr"]
absent = "not run: SVHN is not here; 'aae fetch svhn' downloads it"
rivals = {"adversarial autoencoder": "svhn_1000", "network on the labels alone": "nn_svhn_1000"}
street_runs = {}
if street:
    shown = "SVHN" if street.name == "svhn" else street.name
    street_runs = {title: chapter.train(name, dataset=street) for title, name in rivals.items()}


# %% tags=["hide-input"] mystnb={"figure": {"caption": "Test error along training with 1000 labels. {glue:text}`house-numbers-shown` Open markers, for SVHN itself alone: what A.2.2 prints after the first, 50, 500 and 1000 epochs. What to see: whether the network that learns from the images without labels as well errs less than that on the labels alone.", "name": "fig-error-svhn"}}
def errors_on_street(trained):
    """The picture of `trained`, runs by the title of their model, with what A.2.2 prints."""
    printed = {1: 49.34, 50: 25.86, 500: 18.15, 1000: 17.66} if shown == "SVHN" else {}
    return figures.error_along_training(
        {
            f"{title}, {shown}": {f"seed {run.seed}": run.history for run in runs}
            for title, runs in trained.items()
        },
        {f"adversarial autoencoder, {shown}": printed},
        quantity="test error",
    )


errors_on_street(street_runs) if street else figures.notice(absent)

# %%
if street:
    learned, labels_alone = street_runs.values()
    record("table2.svhn-1000.aae", learned, dataset=street)
    record("table2.svhn-1000.nn-baseline", labels_alone, dataset=street)
    for mark in (1, 50, 500, 1000):
        if mark <= learned[0].epochs:
            record(f"a2.svhn-1000.epoch-{mark}", learned, mark, dataset=street)

# %% tags=["hide-input"]
pd.DataFrame(
    [
        {"labels": 1000, "model": f"{title}, {shown}"} | errors_by_seed(runs)
        for title, runs in street_runs.items()
    ]
    or [{"labels": 1000, "model": f"{title}, SVHN", "test error": absent} for title in rivals]
).style.hide(axis="index").format(precision=2)

# %% [markdown]
# Both networks have the same encoder, normalised and with a fifth of its input dropped, and see the same labelled images in as many steps.
#
# **Layer sizes** are not given for SVHN; two layers of 1000 units are those of A.2.1. What other sizes would have done, on *validation* images:

# %% tags=["remove-stderr"]
sizes = {}
if street:
    narrow, wide = {"hidden": 500}, {"hidden": 2000}
    others = {"two of 500": narrow, "two of 2000": wide, "one of 1000": {"layers": 1}}
    chosen = by_name("svhn_1000")
    until = min(10, learned[0].epochs)
    variants = {
        title: changed(chosen, f"svhn_1000_{'_'.join(title.split())}", **change)
        for title, change in others.items()
    }
    sizes = {"two of 1000": learned[0]} | {
        title: chapter.train(variant, dataset=street, epochs=until, seeds=chapter.seeds[:1])[0]
        for title, variant in variants.items()
    }

# %% tags=["hide-input"]
pd.DataFrame(
    [
        {
            "layers": title,
            "epochs": until,
            "validation error, %": dict(
                zip(run.history["epoch"], run.history["validation error"], strict=True)
            )[until],
        }
        for title, run in sizes.items()
    ]
    or [{"layers": "all", "validation error, %": absent}]
).style.hide(axis="index").format(precision=2)

# %% [markdown]
# **Longer.** {glue:text}`house-numbers-longer`

# %% tags=["remove-stderr"]
longer = {}
if street and house_number_epochs:
    one_more = [chapter.seeds[-1] + 1]
    longer = {
        title: chapter.train(name, dataset=street, epochs=house_number_epochs, seeds=one_more)
        for title, name in rivals.items()
    }
    learned_longer, labels_alone_longer = longer.values()
    record("table2.svhn-1000.aae", learned_longer, dataset=street)
    record("table2.svhn-1000.nn-baseline", labels_alone_longer, dataset=street)
    for mark in (500, 1000):
        if mark <= house_number_epochs:
            record(f"a2.svhn-1000.epoch-{mark}", learned_longer, mark, dataset=street)

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Test error of one seed more with 1000 labels, trained for longer. {glue:text}`house-numbers-shown` Open markers, for SVHN itself alone: A.2.2's. What to see: whether the adversarial autoencoder gains on the network that has the labels alone once both have had time, and what the step of all rates after epoch 250 does.", "name": "fig-error-svhn-longer"}}
missing = "not run: no longer training was asked for (house_number_epochs)" if street else absent
errors_on_street(longer) if longer else figures.notice(missing)

# %% [markdown]
# ## Table 2
#
# Test error in %. First the rows that the paper prints, variational autoencoders {cite}`kingma2014semi` and ladder networks {cite}`rasmus2015semi` among them: the last is its own model, and of the others only a network like the baseline is run here. Then this run: mean ± standard deviation over its seeds, after {glue:text}`epochs` where no other number is named.


# %% tags=["hide-input"]
PM = "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}"


def table_2():
    """Table 2's rows, the paper's and then ours, each with the errors of its four columns."""
    places = {
        "MNIST (100)": "mnist-100",
        "MNIST (1000)": "mnist-1000",
        "MNIST (all)": "mnist-all",
        "SVHN (1000)": "svhn-1000",
    }
    ledger = {claim.id: claim for claim in claims.load()}
    named = {
        claim.model: claim.id.rpartition(".")[2]
        for claim in ledger.values()
        if claim.id.startswith("table2.")
    }
    rows = []
    for model, key in named.items():
        cells = {
            column: as_printed(ledger.get(f"table2.{place}.{key}"))
            for column, place in places.items()
        }
        rows.append({"from": "paper", "model": model} | cells)
    on_mnist = {"adversarial autoencoder": aae, "network on the labels alone": baseline}
    for title, by_count in on_mnist.items():
        found = [by_count.get(count, []) for count in ("100", "1000", "all")]
        found.append(longer.get(title) or street_runs.get(title, []))
        cells = dict(zip(places, map(in_percent, found), strict=True))
        *_, on_street = found
        if on_street and on_street[0].epochs != epochs:
            cells["SVHN (1000)"] += f", {counted(on_street[0].epochs, 'epoch')}"
        if on_street and street.name != "svhn":
            cells["SVHN (1000)"] += f", on {street.name}"
        if data != "mnist":
            for column in ("MNIST (100)", "MNIST (1000)", "MNIST (all)"):
                cells[column] += f", on {chapter.dataset.name}"
        rows.append({"from": "this run", "model": title} | cells)
    return rows


def as_printed(claim):
    if claim is None or claim.reported is None:
        return "—"
    return f"{claim.reported:.2f}" + (f"{PM}{claim.plusminus:.2f}" if claim.plusminus else "")


def in_percent(runs):
    values = [run.history["test error"][-1] for run in runs]
    if not values:
        return "not run"
    return f"{fmean(values):.2f}" + (f"{PM}{stdev(values):.2f}" if len(values) > 1 else "")


pd.DataFrame(table_2()).style.hide(axis="index")

# %% [markdown]
# ## An ablation that the paper lacks: which part does the work?
#
# The same model, labels and seed for at most four epochs, changed in one respect: without the adversaries; or with the squared error *averaged* over the pixels in place of summed (for gradient descent that is the same as a
# learning rate divided by half the number of pixels).

# %% tags=["remove-stderr"]
base = first.experiment
rates = base.reconstruction
half_the_pixels = chapter.dataset.dim / 2  # ½ of a sum over pixels → a mean over them
mean_rates = Rates(rates.learning_rate / half_the_pixels, rates.momentum)
variants = {
    "no adversary": changed(base, f"{base.name}_no_adversary", adversarial=None),
    "error averaged over pixels": changed(
        base, f"{base.name}_averaged_error", reconstruction=mean_rates
    ),
}
short = min(4, epochs)
ablation = {"as in the paper": first} | {
    title: chapter.train(variant, epochs=short, seeds=[first.seed])[0]
    for title, variant in variants.items()
}

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Test error of the three variants, first seed. They have {glue:text}`labels` labels. What to see: how far the error falls with all three phases, without the adversary, and with an averaged error.", "name": "fig-ablation"}}
figures.error_along_training(
    {
        title: {"seed": {name: curve[:short] for name, curve in run.history.items()}}
        for title, run in ablation.items()
    },
    quantity="test error",
)

# %% [markdown]
# ## Against the paper
#
# A run that is shorter than the paper's is compared with the paper's number at the same epoch where the appendix gives one, and gets no verdict on the final number.

# %% tags=["hide-input"]
chapter.against_the_paper("table2.", "a2.")

# %% [markdown]
# *From here to the deviations, numbers are of the published run and of the trials that are named.*
#
# **To epoch 500.** The first seed was trained for longer ({numref}`fig-error-longer`): 2.11 % on test and 2.36 % on validation images, where A.2.1 prints 2.21. It is a run of its own, on a processor and with products in [bfloat16](../speed.md), which stood at 2.53 and 2.74 % after epoch 50, where the same seed had 3.50 % on the GPU. Much of the further fall comes right after the step of all rates:
# fifteen epochs later it stands at 2.24 and 2.45 %. After that it is slow and steady, 2.20, 2.15, 2.10 and 2.05 % on test images in the mean over each hundred of epochs from 101 on. It is one seed, and the one that ends best of the three on either machine, perhaps because its hundred labelled images teach the most (an exchange in chapter 10 points that way): the mean of three may well lie higher.
#
# **The first epoch.** 22.6 % is not 16.5, and owes next to nothing to the adversary: in the published run the network without one had 22.4 % there, and the adversarial autoencoder 22.1 with the same seed. So the ledger now asks for less than 22.4 before it says *partly*; when the runs were made it asked for less than 24.0, which a network without an adversary had in a trial. The two part later, as {numref}`fig-ablation` shows.
#
# **One machine or another.** The published seeds were trained on a GPU, whose products keep ten bits of a number's mantissa (TF32), and end a little above A.2.1's 3.40 after 50 epochs. On a processor, in full single precision, the first seed ended *below* it, at 2.46 and, once the training loop was
# rewritten for speed, at 2.22 %: on the better side of the band, where one asks for a leak before one asks for applause. We looked for one and found none: the validation error is the same as the test error within its noise, no test image is read before the evaluation, and only the 100 images have labels. (The baseline, on the same ones, is four points better than printed, for which we have no reason either.) The two machines draw other noise and take the images in another order, but have the same labelled images and initial weights, and part in the first epochs, when the categories form: the second seed stood at 26.3 and 23.6 % after the first, and at 4.6 and 6.6 % after the twentieth (processor, GPU). Cutting
# the inputs of every product to ten bits on the processor explains none of it so far: in epoch 7 of an earlier loop that seed had 8.0 % with the cut and 8.8 % without, where the GPU had 11.3 % of the validation and 12.7 % of the test images. So it is chance, of which there is much while categories form, or something about the GPU that we have not found. Three seeds on a processor, the first of them that of 2.22 %, ended at 2.22, 2.51 and 3.93 %,
# and these on the GPU at 3.50, 3.73 and 4.24 %: better each time, by less than the three on the processor differ, and twice by more than those on the GPU do. More seeds of either would tell.
#
# **House numbers.** On 7000 images of SVHN's test file, in 3500 steps, the network on the labels alone does as well as the adversarial autoencoder, or better. We had set ourselves twelve points between the two, and miss them altogether. (The same encoder with the labels of *all* 7000 images errs on 22 to 23 %,
# chapter 6's judge: twelve points would be most of what six thousand labels are worth.) What was tried: other sizes (the table above; after ten epochs the four lie within three points); other initial weights (point 9); and time.
#
# *Time does not help.* One seed more for 300 epochs, past the step of all rates after epoch 250 ({numref}`fig-error-svhn-longer`): a tie. The adversarial autoencoder ends at 40.6 % on test and 43.1 % on validation images, the network on the labels alone at 41.4 and 41.5. The discriminator of $y$, which wins early (a cost of 0.8 after two epochs, of 1.1 after 50), comes close to a draw (1.28, where 1.39 is one); that of $z$ does not (0.81).
#
# *The decoder has no use for $y$.* That is what we found in its place. Give the decoder the $y$ of another test image, and the error of the reconstruction goes from 150 to 153, half the squared error of standardised pixels; give it the $z$ of another, and it goes to 2820. On MNIST, after six epochs, the same exchange of $y$ takes it from 7.2 to 9.2 (an exercise below does it). Colour, brightness and
# neighbouring digits make most of a photograph of a house number; twenty dimensions of style hold them, and the digit's shape beside them. Then nothing ties $y$ to the image but a thousand labels. The regulariser asks for categories that are sure and equally frequent, and gets them: on the *training* images without labels the softmax is sure (0.98), none of ten categories holds more than
# 16 %, and 41 % of the images lie in the wrong one. No cost of the three sees that. It fits the tie, but a smaller style does not end it: with five dimensions the validation error is 49.8 % after 25 epochs, with two 49.1, and with A.2.2's twenty 46.5 (first seed; the first two with products in bfloat16), while the discriminator of $y$ wins by more (1.0). It is the same finding as Figure 7b's (chapter 6), whose decoder does not heed the label. Whether 530 000 images tie $y$ to the digit where 7000 do not, only SVHN itself can tell: `aae fetch svhn`.
#
# **The labels alone.** The two *reproduced* of the "NN baseline" are of a dropout network of ours (point 7); the paper does not say who trained its own. With 100 labels it errs on 21.8 %, four points less than printed, and our three seeds, each with its own hundred labelled images, lie one point apart: which images have labels does not explain the four. With 1000 labels its mean lies in the band after
# epoch 50, and below it in 37 of the 50 epochs (6.76, 6.94, 6.83 and 6.64 % after 10, 20, 30 and 40): a verdict of that epoch, and of a rival that is if anything too strong.
#
# **All labels, without an adversary.** The network on all labels errs on 2.03 % of the test images where the paper prints 1.25 %. Its dropout and its rates are ours (point 7), and nothing about them was tuned. Waiting at these rates does little: 2.29, 2.17 and 2.17 % over epochs 21 to 30, 31 to 40 and 41 to 50. Whether a step of the rates would bring the rest, we have not tried. The adversarial autoencoder with the same labels, whose number the paper prints, has 1.17 % there.

# %% [markdown]
# ### Deviations
#
# 1. **"After the first epochs": the paper is ambiguous.** We compare its 16.50 % with the error after one epoch; the curve above lets you choose another. Seeds differ much there.
# 2. **Mini-batches: A.2 gives no sizes.** 100 images without and 100 with labels, the size that A.1 gives. With 100 labels each step then sees all of them.
# 3. **One noisy mini-batch per iteration: the paper is silent.** The noise of standard deviation 0.3 on the input is drawn once and serves the reconstruction and the regularisation phase; the labelled mini-batch has its own. The target of the
#    reconstruction is the clean image.
# 4. **Softmax, not one-hot, in training.** Decoder and discriminator get the softmax output: a hard choice passes no gradient. The paper's text speaks of a one-hot vector.
# 5. **Initial weights.** N(0, 0.01²) as in A.1, which the paper states for the likelihood experiments; biases start at zero.
# 6. **A velocity for each cost.** The paper gives each cost its own momentum; a network that serves three costs therefore has three velocities.
# 7. **The baseline's training: the paper is silent.** It only says "dropout" and "the same architecture", and that of the network with all labels. Ours has the encoder's sizes, dropout of 20 % on the input and one half on hidden units, and the
#    classification phase's rates and number of steps.
# 8. **SVHN's training images: the paper is ambiguous.** The extra set alone, as said above; *train* and *extra* together would be 604 388. Effect: not measured.
# 9. **SVHN's sizes and initial weights: the paper is silent.** Two layers of 1000 units, A.2.1's; of the sizes in the table above they do best on validation images, by less than one seed can tell. Weights of $\sqrt{2/\text{inputs}}$: of the first 7000 images of SVHN's test file, 1000 of them with labels, they led to a validation error of 46.4 % after 20 epochs, and A.1's to 47.6 %, with an adversary of
#    $y$ whose game had not begun (its cost at $2\ln 2$). Those images are of the *test* file, of which 1001 others judged: of the benchmark itself, this choice has seen what it should not have.
#    Batch norm stands before the ReLU, and each training pass, that of the labelled mini-batch included, uses the statistics of its own mini-batch and moves the running averages, with which codes are measured; of this the paper is silent, too. Effect: not measured.
# 10. **SVHN's baseline: the paper is silent.** Ours keeps the normalisation and the dropout of the input, without which it learns little: MNIST's baseline had 91 % on the images just named. Effect: a stronger rival, 50.2 % in that trial.
# 11. **The reconstruction cost: "half the Euclidean error".** Read as half the squared error, summed over the pixels. Effect: the ablation above has the mean over them in its place.
# 12. **An epoch: the paper does not define it.** One pass over all training images, the labelled ones among them; of their labels only those of the labelled mini-batch are used. Effect: not measured; a pass over a hundred labelled images would be one step.
# 13. **"All" labels are 50 000.** The paper trains "on all the available labels", which may be 60 000. Here, as in all chapters, 10 000 of the training images are for validation. Effect: not measured.

# %% [markdown]
# ## Exercises
#
# ::::{exercise}
# :label: ex-07-labels
#
# How few labels will do? Train with 20 of them, two for each class (about a minute a seed on the quick profile), and compare with 100.
#
# ```python
# few = changed(experiment, "exercise_20_labels", labels=20)
# [run.history["test error"] for run in chapter.train(few, seeds=[0, 1, 2])]
# ```
# ::::
#
# ::::{solution} ex-07-labels
# :class: dropdown
#
# Look at the spread over the seeds as much as at the mean: each draws its own twenty images, and one badly written digit among two misleads its whole class. More epochs (`epochs=5`) give the game time to sort images into ten categories by itself; labels then
# only have to name them. A seed whose error stays near a multiple of 10 % has two digits in one category.
# ::::
#
# ::::{exercise}
# :label: ex-07-sure
#
# The prior of $y$ is one-hot, the codes are softmax outputs. A discriminator could win by one rule: "is the largest entry exactly 1?" Why does the encoder not lose this game for good?
# ::::
#
# ::::{solution} ex-07-sure
# :class: dropdown
#
# The discriminator is a smooth network with finite weights, trained for one step at a time: near the corners of the simplex it cannot tell 0.999 from 1. Its gradient pushes soft vectors towards a corner, which is the force that makes $q(y \mid x)$ sure. What saves the encoder is
# that it can go into the corner itself: where it cannot (chapter 9's softmax at $\tau = 1$), the discriminator wins at the same rates and momentum.
# ::::
#
# ::::{exercise}
# :label: ex-07-epoch
#
# With 100 labels and mini-batches of 100, how many steps would the paper's 5000 epochs be if an epoch were one pass over the *labelled* images? How many are they here?
# ::::
#
# ::::{solution} ex-07-epoch
# :class: dropdown
#
# 5000 steps, against 5000 · 500 = 2.5 million. It may well explain a part of the gap between the paper and code that loops over the labelled loader; we have not measured it (deviation 12).
# ::::

# %% [markdown]
# ::::{exercise}
# :label: ex-07-exchange
#
# Does the decoder need $y$? Give it that of another image, and see what the reconstruction costs.
#
# ```python
# import torch
# from aae_lib import training
# from aae_lib.notebook import pixels
#
# (run,) = chapter.train(experiment, seeds=[0])
# test = pixels(chapter.dataset.test.images)
# codes = training.codes_of(run.model, test)
#
#
# def cost(codes):
#     """Half the squared error of the images decoded from `codes`."""
#     with torch.no_grad():
#         images = run.model.decode(run.model.combine(codes))
#     return 0.5 * float((images - test / 255).square().sum(1).mean())
#
#
# other = torch.randperm(len(test))
# cost(codes), cost(codes | {"y": codes["y"][other]}), cost(codes | {"z": codes["z"][other]})
# ```
#
# Then train for longer (`epochs=6` takes some minutes), and ask again.
# ::::
#
# ::::{solution} ex-07-exchange
# :class: dropdown
#
# After one epoch it hardly does: from 15.7 to 15.8, in our run. After six it does: from 7.2 to 9.2, and the test error has gone from 22 to 8 %. The decoder comes to rely on $y$ as $y$ becomes the digit, and its cost then holds $y$ in place. The other exchange costs far more from the start, for the style holds most of the image. Where a decoder never does, as on the house numbers above, the other costs can be satisfied by the wrong categories.
# ::::

# %% [markdown]
# ## Summary
#
# Two adversaries turn an autoencoder's code into a class and a style, and the labels only have to name the classes. After {glue:text}`epochs` of the paper's schedule, with {glue:text}`labels` labels, the test error is
# {glue:text}`aae-error` % (mean over {glue:text}`seeds`), where the same encoder trained on those labels alone has {glue:text}`nn-error` %.

# %% tags=["remove-cell"]
errors = {
    "aae-error": [run.history["test error"][-1] for run in aae[counts[0]]],
    "nn-error": [run.history["test error"][-1] for run in baseline[counts[0]]],
}
for name, values in errors.items():
    glue(name, f"{sum(values) / len(values):.2f}")
glue("run-time", chapter.wall_time())
glue("machine", chapter.machine())
glue("profile-name", chapter.profile.name)
glue("epochs", counted(epochs, "epoch"))
glue("labels", counts[0])
if carried_on:
    (run,) = carried_on
    told = (
        f"One seed with {counts[0]} labels, trained to epoch {run.epochs:,}: its test error is "
        f"{run.history['test error'][-1]:.2f} %."
    )
else:
    told = (
        "Nothing was trained for longer than the others; the parameter first_seed_epochs does it."
    )
glue("longer-shown", told)
glue("seeds", counted(len(chapter.seeds), "seed"))
note = f" ({street.note.rstrip('.')})" if street and street.note else ""
told = f"House numbers of {shown}{note}." if street else f"{absent[0].upper()}{absent[1:]}."
glue("house-numbers-shown", told)
if longer:
    final = {title: runs[0].history["test error"][-1] for title, runs in longer.items()}
    ours, theirs = final.values()
    told = (
        f"One seed more, both networks for {counted(house_number_epochs, 'epoch')}: the adversarial autoencoder ends "
        f"at {ours:.1f} %, the network on the labels alone at {theirs:.1f} %."
    )
elif street:
    told = "No longer training was asked for; the parameter house_number_epochs does it."
else:
    told = f"{absent[0].upper()}{absent[1:]}."
glue("house-numbers-longer", told)
results = chapter.finish()

# %% [markdown]
# All works cited stand on [one page](../references.md).
