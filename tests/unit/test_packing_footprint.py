"""The memory model: cautious where little was seen, tight where much was, wider after a miss."""

from __future__ import annotations

import random

from smallhours.packing.footprint import Footprint
from smallhours.packing.knowledge import Knowledge

GIB = 2**30


def peak(params: dict[str, object], rng: random.Random) -> int:
    size = float(params["batch_size"]) * float(params["width"])  # type: ignore[arg-type]
    return int((0.45 + size / 16384) * GIB * rng.uniform(0.98, 1.02))


def configuration(rng: random.Random) -> dict[str, object]:
    return {
        "batch_size": rng.choice((32, 64, 128)),
        "width": rng.choice((64, 128, 256)),
        "lr": 10 ** rng.uniform(-4, -1),
        "optimizer": rng.choice(("adam", "sgd")),
    }


def test_nothing_is_predicted_before_anything_was_measured():
    assert Footprint().bound({"width": 64}) is None


def test_the_first_peak_bounds_its_own_configuration_from_above():
    footprint = Footprint()
    footprint.measure({"width": 64}, 3 * GIB)
    bound = footprint.bound({"width": 64})
    assert bound is not None
    assert bound.lower_bytes < 3 * GIB <= bound.upper_bytes < 5 * GIB


def test_a_larger_configuration_is_expected_to_take_more_before_it_was_seen():
    footprint = Footprint()
    footprint.measure({"batch_size": 32}, GIB)
    small, large = footprint.bound({"batch_size": 32}), footprint.bound({"batch_size": 256})
    assert small is not None
    assert large is not None
    assert large.expected_bytes > 1.5 * small.expected_bytes
    assert large.upper_bytes >= 8 * GIB


def test_it_learns_which_parameters_drive_memory():
    rng, footprint = random.Random(0), Footprint()
    for _ in range(25):
        params = configuration(rng)
        footprint.measure(params, peak(params, rng), footprint.bound(params))
    fresh = [configuration(rng) for _ in range(200)]
    bounds = [footprint.bound(params) for params in fresh]
    peaks = [peak(params, rng) for params in fresh]
    tightness = [p / b.upper_bytes for p, b in zip(peaks, bounds, strict=True) if b]
    assert sum(value > 1.0 for value in tightness) <= 1
    assert sum(tightness) / len(tightness) > 0.6


def test_upper_bounds_are_seldom_exceeded_from_the_second_trial_on():
    missed = predicted = 0
    for seed in range(60):
        rng, footprint = random.Random(seed), Footprint()
        for _ in range(15):
            params = configuration(rng)
            footprint.measure(params, peak(params, rng), footprint.bound(params))
        missed += footprint.calibration.missed
        predicted += footprint.calibration.predicted
    assert predicted == 60 * 14
    assert missed / predicted <= 0.005


def test_a_miss_widens_the_margin_and_hits_narrow_it_again():
    footprint = Footprint()
    footprint.measure({"seed": 1}, GIB)
    before = footprint.bound({"seed": 2})
    assert before is not None
    footprint.measure({"seed": 2}, int(before.upper_bytes * 1.5), before)
    after = footprint.bound({"seed": 3})
    assert after is not None
    margin = after.upper_bytes / after.expected_bytes
    assert margin > 1.5 * before.upper_bytes / before.expected_bytes
    for seed in range(4, 24):
        footprint.measure({"seed": seed}, GIB, footprint.bound({"seed": seed}))
    later = footprint.bound({"seed": 30})
    assert later is not None
    assert later.upper_bytes / later.expected_bytes < margin


def test_trials_that_were_started_together_miss_together():
    footprint = Footprint()
    footprint.measure({"seed": 1}, GIB)
    promised = [footprint.bound({"seed": seed}) for seed in range(2, 18)]
    for seed, bound in enumerate(promised, 2):
        footprint.measure({"seed": seed}, 3 * GIB, bound)
    after = footprint.bound({"seed": 30})
    assert after is not None
    assert after.upper_bytes < 16 * GIB


def test_no_number_of_misses_makes_a_study_too_large_for_the_machine():
    footprint, peak_bytes = Footprint(), GIB
    for seed in range(12):
        bound = footprint.bound({"seed": 0.1 * seed})
        peak_bytes = int(1.05 * bound.upper_bytes) if bound and seed % 3 == 0 else GIB
        footprint.measure({"seed": 0.1 * seed}, peak_bytes, bound)
    after = footprint.bound({"seed": 0.5})
    assert after is not None
    assert after.upper_bytes < 2**40


def test_small_host_processes_are_alike():
    # What is shared with a zygote counts for some and not for others: 5 MB or 18.
    know = Knowledge("cores")
    rng = random.Random(3)
    for _ in range(12):
        know.measure("study", {"x": rng.random(), "work": rng.randint(1, 3)},
                     rng.choice((5_200_000, 7_000_000, 17_600_000)))  # fmt: skip
    bound = know.footprints["study"].bound({"x": 0.9, "work": 3})
    assert bound is not None
    assert 17_600_000 <= bound.upper_bytes < 100_000_000


def test_a_configuration_that_was_measured_is_never_bounded_below_its_peak():
    footprint = Footprint()
    for _ in range(10):
        footprint.measure({"width": 64}, GIB)
    footprint.measure({"width": 64}, 9 * GIB)
    bound = footprint.bound({"width": 64})
    assert bound is not None
    assert bound.upper_bytes >= 9 * GIB


def test_a_belief_counts_for_more_where_beliefs_were_right():
    right, wrong = Footprint(), Footprint()
    rng = random.Random(1)
    for i in range(12):
        size = int(GIB * rng.uniform(1, 8))
        right.measure({"other": i * 1.0}, size, believed_bytes=size)
        wrong.measure({"other": i * 1.0}, size, believed_bytes=int(GIB * rng.uniform(1, 8)))
    near, far = right.bound({"other": 5.5}, 2 * GIB), wrong.bound({"other": 5.5}, 2 * GIB)
    assert near is not None
    assert far is not None
    assert abs(near.expected_bytes - 2 * GIB) < abs(far.expected_bytes - 2 * GIB)


def test_it_is_made_again_from_what_was_measured():
    footprint = Footprint()
    for width in (32, 64, 128):
        footprint.measure({"width": width}, width * GIB // 32, footprint.bound({"width": width}))
    again = Footprint(list(footprint.measured))
    assert again.bound({"width": 96}) == footprint.bound({"width": 96})
    assert again.largest_bytes == 4 * GIB


def test_odd_parameters_are_taken_as_they_are():
    footprint = Footprint()
    for params in ({"a": None, "b": True}, {"a": "x", "b": False}, {"a": 0, "b": True}, {}):
        footprint.measure(params, GIB)
        bound = footprint.bound({"a": float("inf"), "b": "new", "c": -1.5})
        assert bound is not None
        assert bound.upper_bytes >= bound.expected_bytes > 0
