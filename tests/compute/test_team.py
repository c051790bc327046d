import itertools
import os
import pickle
import signal
import time

import pytest
import torch
from echo import Echo, Rank

from qmcnet.compute import crew
from qmcnet.compute import launch as launching
from qmcnet.compute.chunks import Chunks
from qmcnet.compute.launch import Place, first_node, launch, place
from qmcnet.compute.processes import Idle, PeerLost, portable
from qmcnet.compute.team import Solo, by_first, drawn, meetings, standing_in, team
from qmcnet.optimizers import kernel


@pytest.mark.parametrize("count", [8, 23])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 8])
def test_each_pair_of_walkers_meets_once(size, count):
    walkers = range(count)
    met = []
    for rank in range(size):
        own = walkers[rank::size]
        met += itertools.combinations(own, 2)
        for meeting in meetings(rank, size, count):
            theirs = walkers[meeting.other :: size][meeting.theirs]
            met += itertools.product(own[meeting.mine], theirs)
    assert sorted(tuple(sorted(pair)) for pair in met) == sorted(itertools.combinations(walkers, 2))


@pytest.mark.parametrize("size", [2, 3, 4, 8])
def test_meetings_are_shared_out_evenly(size):
    count = 64 * size
    pairs = [
        sum(len(range(64)[meeting.mine]) * len(range(64)[meeting.theirs]) for meeting in meetings(rank, size, count))
        for rank in range(size)
    ]
    assert max(pairs) == min(pairs) == 64**2 * (size - 1) / 2


def test_numbers_of_a_walker_do_not_depend_on_the_processes():
    def numbers(size):
        parts = []
        for rank in range(size):
            generator = torch.Generator().manual_seed(1)
            with standing_in(Rank(rank, size)):
                own = len(range(11)[team().own])
                parts.append(
                    drawn(lambda n, source: torch.randn(n, 2, generator=source), generator, 3 * own, 11).view(own, -1)
                )
        whole = torch.empty(11, 6)
        for rank, part in enumerate(parts):
            whole[rank::size] = part
        return whole

    expected = torch.randn(33, 2, generator=torch.Generator().manual_seed(1)).view(11, 6)
    for size in (1, 2, 3, 11):
        assert torch.equal(numbers(size), expected)


def test_what_is_gathered_keeps_its_types_and_shapes():
    with standing_in(Echo(3)):
        parts = [
            torch.arange(6.0).view(2, 3),
            torch.tensor([True, False]),
            torch.randn(4, 2, dtype=torch.complex128, generator=torch.Generator().manual_seed(0)),
            torch.tensor([1, 2], dtype=torch.int64).conj(),
        ]
        found = team().gather(parts, 5)  # of which this process has two, walkers 0 and 3
    assert [(tuple(tensor.shape), tensor.dtype) for tensor in found] == [
        ((5, 3), torch.float32),
        ((5,), torch.bool),
        ((10, 2), torch.complex128),
        ((5,), torch.int64),
    ]
    for tensor, part in zip(found, parts, strict=True):
        rows = len(part) // 2
        assert torch.equal(tensor[:rows], part[:rows])
        assert torch.equal(tensor[3 * rows : 4 * rows], part[rows:])


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_JOB_ID": "7"}, None),  # of a script that calls no srun
        ({"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}, None),
        ({"RANK": "0", "WORLD_SIZE": "1"}, None),  # as some containers have it
        (
            {
                "RANK": "3",
                "WORLD_SIZE": "4",
                "LOCAL_RANK": "1",
                "LOCAL_WORLD_SIZE": "2",
                "MASTER_ADDR": "head",
                "MASTER_PORT": "29500",
            },
            Place(3, 4, 1, 2, "head", 29500),
        ),
        (
            {
                "SLURM_STEP_NUM_TASKS": "8",
                "SLURM_PROCID": "5",
                "SLURM_LOCALID": "1",
                "SLURM_STEP_NODELIST": "gpu[007-008]",
                "SLURM_STEP_NUM_NODES": "2",
                "SLURM_JOB_ID": "10",
                "SLURM_STEP_ID": "2",
            },
            Place(5, 8, 1, 4, "gpu007", 20072),
        ),
    ],
)
def test_the_place_of_a_process_is_that_of_torchrun_or_srun(environment, expected):
    assert place(environment) == expected


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("alone", "alone"),
        ("alpha,beta", "alpha"),
        ("node[003-007,012],other", "node003"),
        ("n[1,4-6]", "n1"),
        ("rack-a[01-02]-ib", "rack-a01-ib"),
    ],
)
def test_the_first_node_of_a_list(nodes, first):
    assert first_node(nodes) == first


def choose(devices, device="cpu", n_walkers=64):
    return crew.choose_crew(devices, device, n_walkers, measure=lambda: 17)


@pytest.mark.parametrize(
    ("devices", "message"),
    [
        (0, "devices=0 must be auto or a whole number from 1"),
        (True, "devices=True must be auto"),
        ("many", "devices='many' must be auto"),
        (1.5, "devices=1.5 must be auto"),
        (99, "devices=99 is more than the 4 cores of this machine"),
        (3, "devices=3 is more than batch_size=2: each process needs a walker"),
    ],
)
def test_a_number_of_processes_that_cannot_be_is_refused(devices, message, monkeypatch):
    monkeypatch.setattr(crew, "n_cores", lambda: 4)
    with pytest.raises(ValueError, match=message):
        choose(devices, n_walkers=2)


def test_gpus_are_counted(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert choose("auto", "auto") == choose("auto", "cuda") == choose(4, "cuda") == 4
    assert choose("auto", "cuda:1") == 1
    with pytest.raises(ValueError, match="devices=5 is more than the 4 GPUs of this machine"):
        choose(5, "cuda")
    with pytest.raises(ValueError, match="devices=2 needs device=cuda, a GPU for each process; device=cuda:1 is one"):
        choose(2, "cuda:1")


@pytest.mark.parametrize("n_walkers", [0, -1, "abc", [1, 2], True])
def test_what_is_no_number_of_walkers_is_left_to_the_run(n_walkers):
    assert choose(1, n_walkers=n_walkers) == 1


def test_processes_that_are_there_already_are_taken(monkeypatch):
    assert choose("auto") == 17
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="WORLD_SIZE=2 of torchrun is set, but not RANK"):
        choose("auto")
    for name in ("RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "1")
    assert choose(1) == choose(2) == choose("auto") == 1
    with pytest.raises(ValueError, match="devices=3: 2 processes are running already; leave out devices"):
        choose(3)


def test_what_the_first_does_alone_meets_nobody():
    with standing_in(Echo(2)):
        inner = by_first(lambda: team().size)
        outer = by_first(lambda: (inner(), team().size))
        before = team().messages
        with standing_in(team()):
            assert outer()[0] == 1  # as a single process, so that nothing in it waits for the others
        assert team().messages == before + 1
    assert isinstance(team(), Solo)


def test_an_error_that_cannot_be_sent_is_sent_in_words():
    class Unsendable(Exception):
        def __init__(self, first, second):
            super().__init__(first)

    assert portable(ValueError("x")).args == ("x",)
    assert "Unsendable: a" in str(portable(Unsendable("a", "b")))
    assert pickle.loads(pickle.dumps(PeerLost("gone"))).args == ("gone",)


def test_an_idle_one_takes_every_call():
    with Idle() as idle:
        assert idle.write(1, rows=2) is None
    with pytest.raises(AttributeError):
        idle.__len__()


def test_sizes_of_chunks_are_kept_by_as_many_processes_on_a_machine():
    chunks = Chunks("chunk_size")
    chunks.sizes["cpu"] = 40
    state = chunks.state_dict()
    again, shared = Chunks("chunk_size"), Chunks("chunk_size")
    again.load_state_dict(state)
    assert again.sizes == {"cpu": 40}
    with standing_in(Echo(3)):
        shared.load_state_dict(state)
        assert shared.sizes == {}
        shared.sizes["cpu"] = 13
        state = shared.state_dict()
    again.load_state_dict(state)
    assert again.sizes == {"cpu": 40}
    again.load_state_dict({"cpu": 5})  # of an earlier version
    assert again.sizes == {"cpu": 5}


def sleep(path):
    path.touch()
    time.sleep(60)


def wait_for_sleepers(path):
    launching.GRACE = 0.2
    try:
        launch(sleep, (path,), 2)
    except KeyboardInterrupt:
        print("interrupted")


def test_a_signal_before_processes_can_answer_it_ends_them_and_is_not_taken_for_a_failure(tmp_path, fork):
    child = fork(wait_for_sleepers, tmp_path / "asleep")
    while not (tmp_path / "asleep").exists():
        time.sleep(0.05)
    os.kill(child.process.pid, signal.SIGTERM)
    assert child.wait()[:2] == (0, "interrupted\n")


def test_unequal_shares_are_brought_together_in_the_same_messages(monkeypatch):
    rows = torch.ones(5, 4, 2, dtype=torch.float64)  # 64 bytes for a walker, of whom one process has three, one two
    monkeypatch.setattr(kernel, "TOGETHER", 2 * 320)
    found = []
    for rank in range(2):
        with standing_in(Rank(rank, 2)):
            own = team().share(rows)
            found.append([len(group) for group in kernel.grouped([(own, own)] * 5, len(rows))])
    assert found[0] == found[1]
