"""Out of memory: told from other failures by its text, blamed, retried once alone.

Each text is labelled with where it is from: an issue of that repository, or the source of torch.
"""

from __future__ import annotations

import errno
from typing import Any

import pytest

from fakes.core import Night, make_spec
from smallhours.core import actions as a
from smallhours.core import events as e
from smallhours.core import facts as f
from smallhours.core import reasons as r
from smallhours.core.death import DeathNote, MemoryLeft
from smallhours.core.footprint import Footprint, GpuPeak
from smallhours.core.shortage import (
    Neighbour,
    Shortage,
    Surroundings,
    blame,
    is_shortage,
    parse,
)
from smallhours.core.trial import AttemptKey
from smallhours.explain import About, evidence, sentences
from smallhours.worker import note

KIB, MIB, GIB = 2**10, 2**20, 2**30

#: torch 2.2 and later (issue, pytorch/pytorch 16417).
TORCH_2 = (
    "CUDA out of memory. Tried to allocate 22.00 MiB. GPU 0 has a total capacity of 23.65 GiB of"
    " which 11.06 MiB is free. Including non-PyTorch memory, this process has 23.60 GiB memory in"
    " use. Of the allocated memory 22.90 GiB is allocated by PyTorch, and 194.87 MiB is reserved by"
    " PyTorch but unallocated. If reserved but unallocated memory is large try setting"
    " PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True to avoid fragmentation.  See documentation"
    " for Memory Management  (https://pytorch.org/docs/stable/notes/cuda.html#environment-variables)"
)
#: torch 2.1, which spelt it otherwise (issue, kerrj/lerf 73).
TORCH_2_1 = (
    "CUDA out of memory. Tried to allocate 3.00 GiB. GPU 0 has a total capacty of 23.65 GiB of"
    " which 1.66 GiB is free. Including non-PyTorch memory, this process has 20.81 GiB memory in"
    " use. Of the allocated memory 12.09 GiB is allocated by PyTorch, and 4.84 GiB is reserved by"
    " PyTorch but unallocated."
)
#: In a container, where the driver gives the process another pid (issue, ollama/ollama 10089).
CONTAINER = (
    "CUDA out of memory. Tried to allocate 1.25 GiB. GPU 0 has a total capacity of 15.60 GiB of"
    " which 700.88 MiB is free. Process 2514 has 14.91 GiB memory in use. Of the allocated memory"
    " 14.62 GiB is allocated by PyTorch, and 87.96 MiB is reserved by PyTorch but unallocated."
)
#: Where NVML knows nothing of it (issue, rhymes-ai/Aria 24).
ZERO = (
    "CUDA out of memory. Tried to allocate 1.88 GiB. GPU 3 has a total capacity of 21.96 GiB of"
    " which 1.29 GiB is free. Including non-PyTorch memory, this process has 0 bytes memory in use."
    " Of the allocated memory 19.02 GiB is allocated by PyTorch, and 1.32 GiB is reserved by"
    " PyTorch but unallocated."
)
#: With neighbours, a cap and private pools (put together as torch 2.x's source does).
BESIDE = (
    "CUDA out of memory. Tried to allocate 1.00 GiB. GPU 0 has a total capacity of 24.00 GiB of"
    " which 512.00 MiB is free. Process 401 has 15.00 GiB memory in use. Process 77 has 1.50 GiB"
    " memory in use. Including non-PyTorch memory, this process has 7.00 GiB memory in use. 7.50"
    " GiB allowed; Of the allocated memory 6.00 GiB is allocated by PyTorch, with 16.00 MiB"
    " allocated in private pools (e.g., CUDA Graphs), and 512.00 MiB is reserved by PyTorch but"
    " unallocated."
)
#: torch 1.13 and 2.0 (issue, ckkelvinchan/BasicVSR_PlusPlus 39).
TORCH_1 = (
    "CUDA out of memory. Tried to allocate 1.12 GiB (GPU 0; 15.77 GiB total capacity; 13.52 GiB"
    " already allocated; 1.05 GiB free; 13.52 GiB reserved in total by PyTorch) If reserved memory"
    " is >> allocated memory try setting max_split_size_mb to avoid fragmentation."
)
#: torch 1.0 (issue, shllln/GenerativeGraph 5).
TORCH_1_0 = (
    "CUDA out of memory. Tried to allocate 1024.00 KiB (GPU 0; 11.17 GiB total capacity; 10.90 GiB"
    " already allocated; 576.00 KiB free; 30.96 MiB cached)"
)
#: torch's allocator cudaMallocAsync (issue, EvilBT/ComfyUI_SLK_joy_caption_two 28).
ASYNC = (
    "Allocation on device 0 would exceed allowed memory. (out of memory)\n"
    "Currently allocated     : 15.16 GiB\nRequested               : 512.00 KiB\n"
    "Device limit            : 15.99 GiB\nFree (according to CUDA): 0 bytes\n"
    "PyTorch limit (set by user-supplied memory fraction)\n"
    "                        : 17179869184.00 GiB"
)
#: A call of CUDA itself (issue, deepbeepmeep/Wan2GP 1083).
CUDA = (
    "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported at some other"
    " API call, so the stacktrace below might be incorrect."
)
#: Issue, QwenLM/Qwen3 873.
CUBLAS = "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"
#: Issue, KupynOrest/DeblurGAN 128.
CUDNN = "cuDNN error: CUDNN_STATUS_ALLOC_FAILED"
#: Issues, NVIDIA/nccl 1235 and pytorch/pytorch 170045 (the form), for want of memory.
NCCL = (
    "NCCL error in: ../torch/csrc/distributed/c10d/ProcessGroupNCCL.cpp:1331, unhandled cuda error"
    " (run with NCCL_DEBUG=INFO for details)\nncclUnhandledCudaError: Call to CUDA function failed."
    "\nLast error:\nCuda failure 2 'out of memory'"
)
#: Issue, NVIDIA/nccl 1235.
NCCL_CALLOC = "NCCL WARN Failed to CUDA calloc 6291456 bytes"

SHORT = {
    "torch 2": ("torch.OutOfMemoryError", TORCH_2),
    "torch 2.1": ("torch.cuda.OutOfMemoryError", TORCH_2_1),
    "container": ("torch.OutOfMemoryError", CONTAINER),
    "zero": ("torch.OutOfMemoryError", ZERO),
    "beside": ("torch.OutOfMemoryError", BESIDE),
    "torch 1": ("RuntimeError", TORCH_1),
    "torch 1.0": ("RuntimeError", TORCH_1_0),
    "async": ("torch.OutOfMemoryError", ASYNC),
    "cuda": ("torch.AcceleratorError", CUDA),
    "cublas": ("RuntimeError", CUBLAS),
    "cudnn": ("RuntimeError", CUDNN),
    "nccl": ("torch.distributed.DistBackendError", NCCL),
    "nccl calloc": ("torch.distributed.DistBackendError", NCCL_CALLOC),
    "no text": ("torch.OutOfMemoryError", ""),
}
NOT_SHORT = {
    "another CUDA error": (
        "torch.AcceleratorError", "CUDA error: an illegal memory access was encountered"),
    "another cuBLAS error": (
        "RuntimeError",
        "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm( handle, opa, opb)`"),
    "another cuDNN error": ("RuntimeError", "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    "no init": ("RuntimeError", "cuDNN error: CUDNN_STATUS_NOT_INITIALIZED"),
    "another NCCL error": (
        "torch.distributed.DistBackendError", "Last error:\nCuda failure 'invalid argument'"),
    "host": ("MemoryError", ""),
    "host by torch": (
        "RuntimeError",
        ("[enforce fail at CPUAllocator.cpp:64] . DefaultCPUAllocator: can't allocate memory: you"
         " tried to allocate 1178729664 bytes. Error code 12 (Cannot allocate memory)")),
    "a bug": ("ValueError", "the memory of the replay buffer is out of bounds"),
}  # fmt: skip


class TestTexts:
    @pytest.mark.parametrize("which", SHORT)
    def test_a_failed_allocation_is_known_by_its_text(self, which: str) -> None:
        assert is_shortage(*SHORT[which], free_bytes=None)

    @pytest.mark.parametrize("which", NOT_SHORT)
    def test_other_failures_are_left_alone(self, which: str) -> None:
        assert not is_shortage(*NOT_SHORT[which], free_bytes=None)

    def test_a_library_that_can_t_start_counts_where_hardly_anything_was_free(self) -> None:
        type_, text = NOT_SHORT["no init"]
        assert is_shortage(type_, text, free_bytes=40 * MIB)
        assert not is_shortage(type_, text, free_bytes=4 * GIB)

    def test_torch_2_s_text_is_read(self) -> None:
        assert parse(TORCH_2) == Shortage(
            requested_bytes=22 * MIB,
            free_bytes=round(11.06 * MIB),
            total_bytes=round(23.65 * GIB),
            own_bytes=round(23.60 * GIB),
            reserved_bytes=round(22.90 * GIB) + round(194.87 * MIB),
        )

    def test_torch_2_1_s_is(self) -> None:
        said = parse(TORCH_2_1)
        assert (said.requested_bytes, said.free_bytes) == (3 * GIB, round(1.66 * GIB))
        assert (said.total_bytes, said.own_bytes) == (round(23.65 * GIB), round(20.81 * GIB))

    def test_torch_1_s_is(self) -> None:
        assert parse(TORCH_1) == Shortage(
            requested_bytes=round(1.12 * GIB),
            free_bytes=round(1.05 * GIB),
            total_bytes=round(15.77 * GIB),
            own_bytes=round(13.52 * GIB),
            reserved_bytes=round(13.52 * GIB),
        )
        assert parse(TORCH_1_0).requested_bytes == MIB
        assert parse(TORCH_1_0).free_bytes == 576 * KIB

    def test_the_other_allocator_s_is_and_its_limit_without_a_cap_is_none(self) -> None:
        assert parse(ASYNC) == Shortage(
            requested_bytes=512 * KIB,
            free_bytes=0,
            total_bytes=round(15.99 * GIB),
            own_bytes=round(15.16 * GIB),
            reserved_bytes=round(15.16 * GIB),
        )

    def test_neighbours_and_the_cap_are(self) -> None:
        said = parse(BESIDE)
        assert said.others == {401: 15 * GIB, 77: round(1.5 * GIB)}
        assert (said.own_bytes, said.allowed_bytes) == (7 * GIB, round(7.5 * GIB))
        assert said.reserved_bytes == round(6.5 * GIB)

    def test_in_a_container_the_process_itself_is_no_neighbour(self) -> None:
        said = parse(CONTAINER)
        assert said.others == {}
        assert said.own_bytes == round(14.62 * GIB) + round(87.96 * MIB)
        assert parse(ZERO).own_bytes == round(19.02 * GIB) + round(1.32 * GIB)

    @pytest.mark.parametrize("text", [CUDA, CUBLAS, CUDNN, NCCL, ""])
    def test_what_a_text_does_not_say_is_not_known(self, text: str) -> None:
        assert parse(text) == Shortage()

    def test_nccl_says_how_much_it_wanted(self) -> None:
        assert parse(NCCL_CALLOC) == Shortage(requested_bytes=6291456)


def card(own: float | None = 8, want: float | None = 1, free: float | None = 0.5) -> Shortage:
    def size(gib: float | None) -> int | None:
        return None if gib is None else round(gib * GIB)

    return Shortage(
        requested_bytes=size(want), free_bytes=size(free), total_bytes=24 * GIB,
        own_bytes=size(own), reserved_bytes=size(own),
    )  # fmt: skip


def beside(predicted: float | None, *others: tuple[float | None, float | None]) -> Surroundings:
    def size(gib: float | None) -> int | None:
        return None if gib is None else round(gib * GIB)

    return Surroundings(
        predicted_bytes=size(predicted),
        neighbours=tuple(
            Neighbour(name=f"wine/{n}", used_bytes=size(used), predicted_bytes=size(believed))
            for n, (used, believed) in enumerate(others)
        ),
    )


class TestBlame:
    @pytest.mark.parametrize(
        ("shortage", "peak", "surroundings", "fault"),
        [
            # Beyond the whole card: nobody could have made the room.
            (card(own=20, want=6), None, beside(30, (2, 2)), "own"),
            (card(own=8, want=20), None, beside(None, (15, 5)), "own"),
            # Outgrew its own prediction, and nobody else did.
            (card(own=8, want=1), None, beside(6, (14, 15)), "own"),
            (card(own=8, want=1), None, beside(6, (None, 15)), "own"),
            # A neighbour outgrew its prediction, it didn't.
            (card(own=8, want=1), None, beside(10, (15, 12)), "neighbour"),
            # Both did: whoever did by more.
            (card(own=8, want=1), None, beside(8, (15, 12)), "neighbour"),
            (card(own=8, want=1), None, beside(4, (13, 12)), "own"),
            # Nobody did: something else took it (a foreign process, the driver).
            (card(own=8, want=1), None, beside(10, (12, 12)), "unknown"),
            # Nothing was believed of it.
            (card(own=8, want=1), None, beside(None, (15, 12)), "unknown"),
            # What it held is not known, but its peak is.
            (card(own=None, want=1), 8 * GIB, beside(6, (12, 12)), "own"),
            (card(own=None, want=1), None, beside(6, (12, 12)), "unknown"),
            # Alone on the card, and all of it was its own.
            (card(own=23, want=0.9), None, beside(None), "own"),
            # No trial beside it, but somebody else held most of the card.
            (card(own=8, want=1), None, beside(None), "unknown"),
            (card(own=8, want=1, free=None), None, beside(None), "unknown"),
        ],
    )
    def test_the_offender_is_told_from_the_victim(
        self, shortage: Shortage, peak: int | None, surroundings: Surroundings, fault: str
    ) -> None:
        assert blame(shortage, peak, surroundings) == fault

    def test_one_that_hits_its_own_cap_has_itself_to_blame(self) -> None:
        capped = parse(BESIDE.replace("7.50 GiB allowed", "7.00 GiB allowed"))
        assert blame(capped, None, beside(10, (15, 12))) == "own"
        assert blame(parse(BESIDE), None, beside(10, (15, 12))) == "neighbour"


BASE, FIRST = AttemptKey(1, 0, 1), AttemptKey(1, 1, 1)


def death(type_: str, message: str, **more: Any) -> DeathNote:
    return DeathNote(
        type=type_, message=message, fingerprint="f", where="wine.py:3 in train", traceback="",
        phase="train", **more,
    )  # fmt: skip


def running(**changes: Any) -> Night:
    night = Night(slots=2)
    night.begin()
    night.add(make_spec(**{"trials": 3} | changes))
    night.run(BASE)
    night.suggest()
    night.run(FIRST)
    return night


def ends(night: Night) -> list[f.AttemptEnded]:
    return [fact for fact in night.facts if isinstance(fact, f.AttemptEnded)]


class TestTheMachine:
    def test_the_evidence_is_kept(self) -> None:
        night = running()
        other = night.machine.state.studies[1].trials[0]
        assert other.live is not None
        other.live.pid = 401
        left = MemoryLeft(gpu_peak_bytes=8 * GIB, gpu_free_bytes=GIB)
        night.exit(FIRST, exit_code=1, note=death("torch.OutOfMemoryError", BESIDE, memory=left))
        assert ends(night)[-1].reason == r.GpuOom(
            requested_bytes=GIB,
            free_bytes=512 * MIB,
            own_peak_bytes=8 * GIB,
            predicted_bytes=None,
            neighbours=(("wine/0", 15 * GIB), ("process 77", round(1.5 * GIB))),
            fault="unknown",
            message=BESIDE,
        )

    def test_what_cuda_said_of_itself_stands_in_where_the_text_says_nothing(self) -> None:
        night = running()
        night.tell(
            e.FootprintMeasured(
                at=1.0, key=BASE, footprint=Footprint(gpus=(GpuPeak(0, 5 * GIB, GIB),))
            )
        )
        left = MemoryLeft(
            gpu_free_bytes=MIB, gpu_total_bytes=24 * GIB, gpu_held_bytes=GIB, gpu_peak_bytes=2 * GIB
        )
        night.exit(FIRST, exit_code=1, note=death("RuntimeError", CUBLAS, memory=left))
        reason = ends(night)[-1].reason
        assert isinstance(reason, r.GpuOom)
        assert (reason.requested_bytes, reason.free_bytes) == (None, MIB)
        assert reason.own_peak_bytes == 2 * GIB
        assert reason.neighbours == (("wine/0", 5 * GIB),)

    def test_it_is_tried_again_once_alone_and_then_told_as_worst(self) -> None:
        night = running(retries=3, trials=2)
        night.exit(FIRST, exit_code=1, note=death("torch.OutOfMemoryError", TORCH_2))
        assert ends(night)[-1].then == "retry"
        assert night.machine.state.studies[1].trials[1].alone
        night.report(BASE, 10, 0.5)
        night.exit(BASE, finished=True, exit_code=0)
        again = AttemptKey(1, 1, 2)
        assert again in night.machine.state.live
        assert len(night.machine.state.live) == 1, "nothing runs beside it"
        night.run(again)
        night.exit(again, exit_code=1, note=death("torch.OutOfMemoryError", TORCH_2))
        assert ends(night)[-1].then == "over"
        told = [action for action in night.actions if isinstance(action, a.Tell)][-1]
        assert (told.trial, told.outcome, told.value) == (1, "worst", None)

    def test_without_retries_it_is_over_at_once(self) -> None:
        night = running(retries=0)
        night.exit(FIRST, exit_code=1, note=death("torch.OutOfMemoryError", TORCH_2))
        assert ends(night)[-1].then == "over"

    def test_it_is_no_failure_of_the_user_s_code(self) -> None:
        night = running(retries=0)
        night.exit(BASE, exit_code=1, note=death("torch.OutOfMemoryError", TORCH_2))
        night.exit(FIRST, exit_code=1, note=death("torch.OutOfMemoryError", TORCH_2))
        assert night.machine.state.studies[1].halted is None
        assert not night.machine.state.studies[1].fingerprints

    def test_an_error_that_was_raised_from_it_is_one(self) -> None:
        night = running()
        causes = (("torch.OutOfMemoryError", TORCH_2),)
        night.exit(FIRST, exit_code=1, note=death("mylib.TrainingFailed", "sorry", causes=causes))
        assert isinstance(ends(night)[-1].reason, r.GpuOom)

    def test_an_order_to_stop_comes_first(self) -> None:
        night = running()
        night.report(FIRST, 1, float("nan"))
        night.exit(FIRST, exit_code=1, note=death("torch.OutOfMemoryError", TORCH_2))
        assert isinstance(ends(night)[-1].reason, r.Diverged)

    def test_a_footprint_is_kept_with_the_end_and_in_the_study(self) -> None:
        night = running()
        for step_s, host in ((0.5, 300), (0.2, 200)):
            footprint = Footprint(step_s=step_s, cores=0.9, host_bytes=host)
            night.tell(e.FootprintMeasured(at=1.0, key=FIRST, footprint=footprint))
        night.report(FIRST, 1, 0.5)
        night.exit(FIRST, finished=True, exit_code=0)
        kept = Footprint(step_s=0.2, cores=0.9, host_bytes=300)
        assert ends(night)[-1].footprint == kept
        assert ends(night)[-1].peak_bytes == 300
        assert night.machine.state.studies[1].footprints == {1: kept}
        assert night.machine.night.footprints == {}

    def test_a_measurement_of_an_attempt_that_is_over_counts_nothing(self) -> None:
        night = running()
        night.exit(FIRST, finished=False, exit_code=3)
        night.tell(e.FootprintMeasured(at=1.0, key=FIRST, footprint=Footprint(cores=1.0)))
        assert night.machine.night.footprints == {}


KILLED = "DataLoader worker (pid 1817) is killed by signal: Killed. "
BUS = (
    "DataLoader worker (pid 46794) is killed by signal: Bus error. It is possible that"
    " dataloader's workers are out of shared memory. Please try to raise your shared memory limit."
)
SHM_FULL = "unable to write to file </torch_31911_952036340_6686>: No space left on device (28)"
NO_MAP = "unable to mmap 29764 bytes from file </torch_10182_3020184674_63991>: Cannot allocate memory (12)"  # fmt: skip # noqa: E501


class TestHostMemory:
    @pytest.mark.parametrize(
        ("type_", "message", "more", "kills", "killer"),
        [
            ("MemoryError", "", {}, 0, "python"),
            ("numpy._core._exceptions._ArrayMemoryError", "Unable to allocate", {}, 0, "python"),
            ("OSError", "Cannot allocate memory", {"errno": errno.ENOMEM}, 0, "python"),
            (*NOT_SHORT["host by torch"], {}, 0, "python"),
            ("RuntimeError", SHM_FULL, {}, 0, "python"),
            ("RuntimeError", NO_MAP, {}, 0, "python"),
            ("RuntimeError", KILLED, {}, 1, "kernel"),
            ("RuntimeError", KILLED, {}, 0, None),
            ("RuntimeError", BUS, {"memory": (10 * MIB, 16 * GIB)}, 0, "kernel"),
            ("RuntimeError", BUS, {"memory": (60 * MIB, 64 * MIB)}, 0, "kernel"),
            ("RuntimeError", BUS, {"memory": (15 * GIB, 16 * GIB)}, 0, None),
            ("RuntimeError", BUS, {}, 0, None),
        ],
    )  # fmt: skip
    def test_a_loader_that_was_killed_is_out_of_memory_where_there_is_evidence(
        self, type_: str, message: str, more: dict[str, Any], kills: int, killer: str | None
    ) -> None:
        if "memory" in more:
            free, total = more["memory"]
            left = MemoryLeft(shared_free_bytes=free, shared_total_bytes=total)
            more = {"memory": left}
        night = running()
        night.exit(FIRST, exit_code=1, note=death(type_, message, **more), kernel_oom_kills=kills)
        reason = ends(night)[-1].reason
        if killer is None:
            assert isinstance(reason, r.Failure)
        else:
            assert isinstance(reason, r.HostOom)
            assert reason.killer == killer
            assert (reason.shared is not None) == ("memory" in more)


def test_the_reason_reads_well() -> None:
    reason = r.GpuOom(
        requested_bytes=GIB, free_bytes=512 * MIB, own_peak_bytes=8 * GIB, predicted_bytes=None,
        neighbours=(("wine/0", None), ("process 77", GIB)), fault="unknown", message="m",
    )  # fmt: skip
    about = About(
        name="wine/1", study="wine", metric="loss", goal=make_spec().goal, steps=10, last_step=2,
        seconds=1.0, steps_run=2, then="over", retries=1,
    )  # fmt: skip
    assert sentences(reason, about) == (
        "wine/1 ran out of GPU memory at step 2 of 10 asking for 1 GiB with 512 MiB free when it"
        " held up to 8 GiB. Whose fault it was can't be told. Beside it ran wine/0 and process 77"
        " with 1 GiB. It won't be tried again: what runs out of GPU memory is tried once more,"
        " alone."
    )
    items = {item.label: item.text for item in evidence(reason, "wine")}
    assert items["neighbours"] == "wine/0, process 77 1 GiB"


def test_the_note_carries_the_causes_and_what_was_left(tmp_path: Any) -> None:
    try:
        try:
            raise RuntimeError(CUBLAS)
        except RuntimeError as inner:
            raise ValueError("training failed") from inner
    except ValueError as error:
        told = note.describe(error, tmp_path, "train")
    assert told["causes"] == [["RuntimeError", CUBLAS]]
    assert told["memory"]["shared_total"] > 0


_STUDY = """
import torch
from smallhours import Choice, Study

study = Study("big", metric="loss", goal="minimize", space={"x": Choice([1])}, baseline={"x": 1},
              trials=1, steps=3, retries=1)

@study.train
def train(trial):
    trial.report(1, loss=0.5)
    raise torch.OutOfMemoryError(%r)
"""


@pytest.mark.processes
@pytest.mark.timeout(90)
def test_a_real_trial_that_runs_out_is_tried_once_more(tmp_path: Any) -> None:
    from fakes.real import RealNight

    night = RealNight(tmp_path)
    try:
        night.command("run", night.study(_STUDY % TORCH_2), check=None)
        night.wait_until_gone()
        night.check()
        first, second = night.ends()
        assert (first.then, second.then) == ("retry", "over")
        for end in (first, second):
            assert isinstance(end.reason, r.GpuOom)
            assert end.reason.requested_bytes == 22 * MIB
            assert end.footprint is not None
            assert (end.footprint.host_bytes or 0) > 10 * MIB
        assert "of memory" in night.command("show", "big/0")
    finally:
        night.close()
