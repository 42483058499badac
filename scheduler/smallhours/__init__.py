"""Overnight hyperparameter sweeps on one workstation, with a reason for every trial's end."""
