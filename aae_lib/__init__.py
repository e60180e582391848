"""Adversarial autoencoders (Makhzani et al. 2015/16), small enough to read in one sitting."""

import sys

if sys.platform == "win32":
    raise ImportError("aae_lib needs Linux or macOS: on Windows, its Linux (WSL)")

__version__ = "0.1.0"
