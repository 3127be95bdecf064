"""A small real trainer: low-rank adapters for a patch denoiser, fitted on a CPU with numpy alone."""
