"""The method: denoiser, signals, prior, gate, rules, the sampling loop, and how both models are trained."""
