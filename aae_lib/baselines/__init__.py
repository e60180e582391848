"""Models that the paper compares with; each trains and samples in the same way as the adversarial autoencoder."""
