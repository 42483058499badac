"""Described workloads on simulated cards, in virtual time: what a packing would have done."""
