"""Which GPUs may be used."""

from __future__ import annotations

import pytest

from smallhours.devices.base import CPU, Device
from smallhours.devices.visible import ambiguous, chosen, visible
from smallhours.errors import UsageError


def card(name: str, index: int, label: str = "RTX 3090", part_of: str = "") -> Device:
    kind = "mig" if part_of else "gpu"
    return Device(
        name=name, kind=kind, label=label, total_bytes=1, index=index, card=part_of,
    )  # type: ignore[arg-type]  # fmt: skip


CARDS = [card("GPU-8f31aa", 0), card("GPU-8f77bb", 1), card("GPU-21c4cc", 2)]
PARTS = [
    card("GPU-8f31aa", 0),
    card("MIG-0a01", 1, part_of="GPU-21c4cc"),
    card("MIG-0b02", 1, part_of="GPU-21c4cc"),
    card("MIG-7c03", 2, part_of="GPU-999999"),
]
CPU_DEVICE = Device(name=CPU, kind="cpu", label="CPU", total_bytes=1, cores=2.0)


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        (None, [0, 1, 2]),
        ("", []),
        ("NoDevFiles", []),
        ("-1", []),
        ("2,0", [2, 0]),
        (" 1 , 2", [1, 2]),
        ("0,2,-1,1", [0, 2]),  # the example of CUDA's own documentation
        ("0,7,1", [0]),
        ("0,,1", [0]),
        ("0,x,1", [0]),
        ("1,1", []),
        ("1gpu,2", [1, 2]),
        ("0,GPU-21", [0]),
        ("GPU-21", [2]),
        ("GPU-21c4cc,GPU-8f3", [2, 0]),
        ("GPU-8f", []),  # fits two
        ("GPU-21,GPU-8f,GPU-8f3", [2]),
        ("GPU-21,0", [2]),
        ("GPU-21,GPU-21c4", []),
        ("GPU-zz", []),
        (" GPU-21", []),  # numbers may have blanks around them, names may not
        ("GPU-21, GPU-8f3", [2]),
        ("gpu-21", []),
        ("MIG-0a", []),
    ],
)
def test_cuda_visible_devices_means_what_it_means_to_cuda(
    value: str | None, seen: list[int]
) -> None:
    assert list(visible(CARDS, value)) == [CARDS[index] for index in seen]


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        ("MIG-0a01,MIG-7c", [1, 3]),
        ("MIG-0", []),
        ("1", [1, 2]),
        ("0,1", [0, 1, 2]),
        ("GPU-21c4cc", [1, 2]),
        ("MIG-GPU-999999/1/0", [3]),  # the only part that it has
        ("MIG-GPU-21c4cc/1/0", []),  # which of the two can't be told
    ],
)
def test_parts_of_cards_are_found_by_their_names_or_their_cards(
    value: str, seen: list[int]
) -> None:
    assert list(visible(PARTS, value)) == [PARTS[index] for index in seen]


def test_numbers_are_ambiguous_only_where_cards_differ_and_no_order_is_set() -> None:
    unequal = [card("GPU-1", 0), card("GPU-2", 1, "RTX 3060")]
    numbers = {"CUDA_VISIBLE_DEVICES": "1"}
    assert ambiguous(unequal, numbers)
    assert not ambiguous(CARDS, numbers)
    assert not ambiguous(unequal, {})
    assert not ambiguous(unequal, {"CUDA_VISIBLE_DEVICES": "GPU-2"})
    assert not ambiguous(unequal, numbers | {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"})
    assert ambiguous(unequal, numbers | {"CUDA_DEVICE_ORDER": "FASTEST_FIRST"})


@pytest.mark.parametrize(
    ("words", "seen"),
    [
        (["cpu"], [0]),
        (["gpu"], [1, 2, 3]),
        (["1", "GPU-21", "cpu"], [2, 3, 0]),
        (["gpu-8F3"], [1]),
        (["0", "0"], [1]),
    ],
)
def test_a_user_names_devices_by_number_or_the_beginning_of_a_name(
    words: list[str], seen: list[int]
) -> None:
    devices = [CPU_DEVICE, *CARDS]
    assert list(chosen(devices, words)) == [devices[index] for index in seen]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("GPU-8f", "fits 2 devices"),
        ("7", "there is no device '7'; there is cpu, 0, 1, 2"),
        ("GPU-21c4cd", "did you mean 'GPU-21c4cc'"),
        ("cpuu", "did you mean 'cpu'"),
        ("", "there is no device ''"),
    ],
)
def test_a_word_that_names_no_device_is_told(word: str, message: str) -> None:
    with pytest.raises(UsageError, match="--devices: ") as error:
        chosen([CPU_DEVICE, *CARDS], [word])
    assert message in str(error.value)


def test_all_parts_of_a_card_may_be_named_at_once() -> None:
    assert list(chosen(PARTS, ["1"])) == PARTS[1:3]
    with pytest.raises(UsageError, match="'MIG-' fits 3 devices: give more of it"):
        chosen(PARTS, ["MIG-"])
