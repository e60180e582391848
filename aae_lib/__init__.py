"""Adversarial autoencoders (Makhzani et al. 2015/16), small enough to read in one sitting."""

__version__ = "0.1.0"
