"""The adversarial autoencoder, one object for every section of the paper.

    x ── encoder ──► heads ──► codes {z, y, …} ── combine ──► decoder ──► x̂
                                  │
                                  └── one discriminator per code, against that code's prior

Which codes there are, what the decoder and the discriminators see, comes from an `Experiment`.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import one_hot

from aae_lib.config import Experiment, labels_code
from aae_lib.draws import Source, normal
from aae_lib.errors import UserError
from aae_lib.networks import discriminator, dropout, head, initialise, perceptron
from aae_lib.priors import Categorical


class AdversarialAutoencoder(nn.Module):
    """Encoder, decoder and discriminators of one experiment. Paper: §2, Fig 1, 3, 6, 8, 10.

    `pixels` is the size of an image, `classes` the number of labels. Weights are drawn with `generator`.
    Raises UserError for a code that is called as torch calls something of its own.
    """

    def __init__(self, experiment: Experiment, pixels: int, classes: int, generator: Generator):
        super().__init__()
        e = self.experiment = experiment
        self.classes = classes
        if e.standardise:  # of the training images, once there are some
            self.register_buffer("mean", torch.zeros(pixels))
            self.register_buffer("deviation", torch.ones(pixels))
        trunk = [e.hidden] * e.layers
        in_encoder, in_decoder = e.batch_norm != "none", e.batch_norm == "autoencoder"
        in_heads = e.batch_norm in ("encoder", "autoencoder")
        after = e.batch_norm_after

        noise = e.noise_dim if e.posterior == "universal" else 0
        self.encoder = perceptron([pixels + noise, *trunk], batch_norm=in_encoder, norm_after=after)
        self.heads = nn.ModuleDict()
        for code in e.codes:
            if hasattr(self.heads, code.name):  # "keys", "type": torch would not take it
                raise UserError(f"{e.name}: a code cannot be called '{code.name}' in torch.")
            outputs = code.prior.dim * (2 if self._is_gaussian(code.name) else 1)
            self.heads[code.name] = head(
                e.hidden, outputs, batch_norm=in_heads, learned=e.batch_norm_learned
            )

        if e.reconstruction:
            dims = {code.name: code.prior.dim for code in e.codes}
            if e.combine == "sum":  # §7: W_C maps the m-way label to the n dimensions of z
                inputs = dims["z"]
                self.cluster_heads = nn.Parameter(torch.empty(dims["y"], dims["z"]))
            else:
                inputs = sum(dims.values())
            inputs += classes * e.decoder_label
            self.decoder = perceptron([inputs, *trunk], batch_norm=in_decoder, norm_after=after)
            self.output = head(e.hidden, pixels, batch_norm=in_decoder)

        self.discriminators = nn.ModuleDict()
        if e.adversarial:
            label = (classes + 1) * e.discriminator_label  # §2.3: an extra class for "unlabelled"
            for code in e.codes:
                self.discriminators[code.name] = discriminator(
                    code.prior.dim + label, e.hidden, e.layers
                )

        initialise(self, e.init_std, generator)
        if e.combine == "sum":
            self._place_cluster_heads(generator)

    def standardised(self, x: Tensor) -> Tensor:
        """Images x (batch, pixels) in [0, 1] as encoder and decoder have them inside. Paper: A.1, A.2.2.

        Each pixel has mean 0 and standard deviation 1 over the training images, where the experiment asks for that.
        """
        return (x - self.mean) / self.deviation if self.experiment.standardise else x

    def restored(self, x: Tensor) -> Tensor:
        """The inverse of `standardised`."""
        return self.mean + x * self.deviation if self.experiment.standardise else x

    def corrupt(self, x: Tensor, source: Source) -> Tensor:
        """Images x (batch, pixels) with the experiment's input noise or dropout. Paper: A.2.1, A.2.2, A.3.

        Both are of the standardised image: what is dropped is a pixel's mean. For training alone: the
        reconstruction's target stays the clean image.
        """
        e = self.experiment
        x = self.standardised(x)
        if e.input_noise:
            x = torch.add(x, normal(source, *x.shape), alpha=e.input_noise)
        if e.input_dropout:
            x = dropout(x, e.input_dropout, source)
        return self.restored(x)

    def encode(self, x: Tensor, source: Source | None = None) -> dict[str, Tensor]:
        """Codes of images x (batch, pixels), by name, each (batch, dim). Paper: §2, "choices for the encoder, q(z|x)".

        A categorical code is its probabilities, the softmax output. The Gaussian and the universal approximator
        posterior draw one sample from `source`; without one they return the mean, and f(x, η = 0).
        """
        logits = self.encode_logits(x, source)
        return {
            c.name: logits[c.name].softmax(1)
            if isinstance(c.prior, Categorical)
            else logits[c.name]
            for c in self.experiment.codes
        }

    def encode_logits(
        self, x: Tensor, source: Source | None = None, only: str | None = None
    ) -> dict[str, Tensor]:
        """As `encode`, but categorical codes are left as logits, divided by the experiment's temperature.

        `only` computes just that code.
        """
        e = self.experiment
        x = self.standardised(x)
        if e.posterior == "universal":
            zero = x.new_zeros(len(x), e.noise_dim)
            x = torch.cat((x, zero if source is None else normal(source, *zero.shape)), 1)
        features = self.features(x, source)
        codes = {}
        for name, to_code in self.heads.items():
            if only is None or name == only:
                code = to_code(features)
                if self._is_gaussian(name):
                    mean, log_variance = code.chunk(2, 1)
                    code = mean
                    if source is not None:  # re-parametrisation: mean + σ ε
                        code = mean + (0.5 * log_variance).exp() * normal(source, *mean.shape)
                elif e.temperature != 1 and isinstance(e.code(name).prior, Categorical):
                    code = code / e.temperature
                codes[name] = code
        return codes

    def features(self, x: Tensor, source: Source | None = None) -> Tensor:
        """The encoder's last hidden layer (batch, hidden), with dropout in training where the experiment has it."""
        rate = self.experiment.hidden_dropout
        for layer in self.encoder:
            x = layer(x)
            if rate and self.training and isinstance(layer, nn.ReLU):
                x = dropout(x, rate, source)
        return x

    def combine(self, codes: dict[str, Tensor], label: Tensor | None = None) -> Tensor:
        """What the decoder gets: codes side by side, or y·W_C + z; with the true `label` (batch,) in §4."""
        if self.experiment.combine == "sum":
            parts = [codes["y"] @ self.cluster_heads + codes["z"]]
        else:
            parts = [codes[code.name] for code in self.experiment.codes]
        if self.experiment.decoder_label:
            parts.append(one_hot(label, self.classes).to(parts[0].dtype))
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)

    def decode_logits(self, combined: Tensor) -> Tensor:
        """The decoder's last affine output (batch, pixels), before the sigmoid if there is one, standardised."""
        return self.output(self.decoder(combined))

    def decode(self, combined: Tensor) -> Tensor:
        """Images (batch, pixels) from combined codes. Paper: A.1, "we rescaled the images".

        In [0, 1], but where the output is linear and pixels are not standardised.
        """
        images = self.restored(self.activate(self.decode_logits(combined)))
        return images.clamp(0, 1) if self.experiment.standardise else images

    def activate(self, logits: Tensor) -> Tensor:
        """The decoder's last activation: a sigmoid, or none."""
        return logits.sigmoid() if self.experiment.output == "sigmoid" else logits

    def discriminate(
        self,
        name: str,
        code: Tensor,
        label: Tensor | None = None,
        source: Source | None = None,
    ) -> Tensor:
        """Logits (batch,) that rows of `code` were drawn from the prior of code `name`.

        `label` (batch,), in §2.3 alone, runs from 0 to `classes`, the last meaning "unlabelled". `source` gives the
        noise on `code` where the experiment has it; without one there is none.
        """
        noise = self.experiment.discriminator_noise
        if noise and source is not None:
            code = torch.add(code, normal(source, *code.shape), alpha=noise)
        if self.experiment.discriminator_label:
            code = torch.cat((code, one_hot(label, self.classes + 1).to(code.dtype)), 1)
        return self.discriminators[name](code)[:, 0]

    def reconstruction_costs(
        self, x: Tensor, target: Tensor, label: Tensor, source: Source
    ) -> dict[str, Tensor]:
        """What the reconstruction phase lowers, by name: their sum is the cost. Paper: §2; §7 for the heads.

        `x` (batch, pixels) is the corrupted input, `target` the clean images. The error is of standardised images.
        """
        logits = self.decode_logits(self.combine(self.encode(x, source), label))
        error = half_squared_error(self.activate(logits), self.standardised(target))
        costs = {"reconstruction": error}
        if self.experiment.head_distance is not None:
            costs["repulsion"] = head_repulsion(self.cluster_heads, self.experiment.head_distance)
        return costs

    @torch.no_grad()
    def sample(self, n: int, source: Source, label: Tensor | None = None) -> Tensor:
        """(n, pixels) images decoded from draws of the priors, with batch statistics frozen.

        `label` (n,) is for a decoder that is told it. The model is left in eval mode.
        """
        self.eval()
        codes = {c.name: c.prior.sample(n, source) for c in self.experiment.codes}
        return self.decode(self.combine(codes, label))

    def parameters_of(self, phase: str) -> dict[str, nn.Parameter]:
        """The parameters that `phase` may change: a gradient reaches no others. Paper: §2, §5.

        `reconstruction`: encoder, its heads, decoder (and the cluster heads); `discriminator`: the discriminators;
        `generator`: encoder and heads; `supervised`: encoder and the categorical head.
        """
        owners = {
            "reconstruction": ("encoder.", "heads.", "decoder.", "output.", "cluster_heads"),
            "discriminator": ("discriminators.",),
            "generator": ("encoder.", "heads."),
            "supervised": ("encoder.", f"heads.{labels_code(self.experiment)}."),
        }[phase]
        return {
            n: p for n, p in self.named_parameters() if n.startswith(owners) and p.requires_grad
        }

    def _is_gaussian(self, name: str) -> bool:
        prior = self.experiment.code(name).prior
        return self.experiment.posterior == "gaussian" and not isinstance(prior, Categorical)

    def _place_cluster_heads(self, generator: Generator) -> None:
        """W_C starts as N(0, 1) draws and is learned, or is fixed to a multiple of the identity. §7."""
        scale = self.experiment.head_scale
        with torch.no_grad():
            if scale is None:
                self.cluster_heads.normal_(generator=generator)
            else:
                self.cluster_heads.copy_(scale * torch.eye(*self.cluster_heads.shape))
                self.cluster_heads.requires_grad_(False)


def half_squared_error(reconstruction: Tensor, x: Tensor) -> Tensor:
    """½‖x̂ − x‖², summed over pixels and averaged over the batch. Paper: A.2.1, "half the Euclidean error".

    The sum matters: a mean over 784 pixels makes the gradient 392 times smaller at the paper's learning rate.
    """
    return 0.5 * (reconstruction - x).square().sum(1).mean()


def head_repulsion(heads: Tensor, threshold: float) -> Tensor:
    """Σ over pairs of cluster heads (m, n) of max(0, threshold − distance). Paper: §7."""
    first, second = torch.triu_indices(len(heads), len(heads), offset=1, device=heads.device)
    distance = (heads[first] - heads[second]).norm(dim=1)
    return (threshold - distance).clamp(min=0).sum()
