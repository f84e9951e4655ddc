"""A run on two nodes, of which one dies, ends as two processes on one node do, to the bit.

The nodes are network namespaces that an Ethernet pair connects, or, where these can't be made, two
addresses of this machine; what they share is the run's folder. Every wait has a limit.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from sabotage import GO, HELD, VARIABLES
from test_processes import command

SECONDS = 100
PROGRAM = str(ROOT / "tests/digits_program.py")
WORDS = ["--accelerator=cpu", "--epochs=2", "--no_test", "--save_every=4"]
SETUP = """ip netns add {0}
ip netns add {1}
ip link add eth0 netns {0} type veth peer name eth0 netns {1}
ip -n {0} address add 10.77.0.1/24 dev eth0
ip -n {1} address add 10.77.0.2/24 dev eth0
ip -n {0} link set eth0 up
ip -n {1} link set eth0 up
ip -n {0} link set lo up
ip -n {1} link set lo up"""
Nodes = list[tuple[list[str], str, str]]  # words before a command, address, interface


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    names = [f"lit-{os.getpid()}-{number}" for number in range(2)]
    try:
        for line in SETUP.format(*names).splitlines():
            subprocess.run(line.split(), check=True, capture_output=True, timeout=SECONDS)
        spaces: Nodes = [
            (["ip", "netns", "exec", name], f"10.77.0.{number}", "eth0")
            for number, name in enumerate(names, start=1)
        ]
    except (OSError, subprocess.CalledProcessError):  # no ip, or not allowed
        spaces = [([], f"127.0.0.{number}", "lo") for number in (1, 2)]
    yield spaces
    for name in names if spaces[0][0] else ():
        subprocess.run(["ip", "netns", "delete", name], timeout=SECONDS)


def by_torchrun(number: int, address: str, port: int) -> tuple[list[str], dict[str, str]]:
    first = ["--nnodes=2", f"--node_rank={number}", "--nproc_per_node=1", f"--local_addr={address}"]
    first += [f"--master_port={port}"]
    return ["-m", "torch.distributed.run", *first, "--master_addr={master}", PROGRAM], {}


def by_lightning(number: int, address: str, port: int) -> tuple[list[str], dict[str, str]]:
    return [PROGRAM], {"NODE_RANK": str(number), "MASTER_PORT": str(port)}


def start(
    nodes: Nodes,
    launcher: Callable[..., tuple[list[str], dict[str, str]]],
    port: int,
    *words: str,
    **variables: str,
) -> list[subprocess.Popen[bytes]]:
    started = []
    for number, (before, address, interface) in enumerate(nodes):
        program, own = launcher(number, address, port)
        program = [word.format(master=nodes[0][1]) for word in program]
        variables |= {"MASTER_ADDR": nodes[0][1], "GLOO_SOCKET_IFNAME": interface}
        with Path(f"node{number}.txt").open("wb") as file:
            started.append(
                subprocess.Popen(
                    [*before, sys.executable, *program, "--num_nodes=2", "--devices=1", *words],
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **VARIABLES, **variables, **own},
                )
            )
    return started


def ended(processes: list[subprocess.Popen[bytes]]) -> list[int]:
    """Their exit statuses; what still runs then fails the test, and is killed."""
    try:
        return [process.wait(SECONDS) for process in processes]
    finally:
        for process in processes:
            kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """With what it has started, as a node does that loses its power."""
    if process.poll() is None:
        subprocess.run(["pkill", "-KILL", "-P", str(process.pid)], timeout=SECONDS)
        process.kill()
        process.wait(SECONDS)


def printed() -> str:
    return "".join(Path(f"node{number}.txt").read_text() for number in range(2))


def weights(name: str) -> dict[str, torch.Tensor]:
    return torch.load(f"runs/{name}/checkpoints/last.ckpt", weights_only=True)["state_dict"]


@pytest.mark.slow
def test_a_run_on_two_nodes_that_loses_one_ends_as_one_node_does(nodes):
    command(*WORDS, "--devices=2", "--name=one")
    for port, launcher in enumerate((by_lightning, by_torchrun), start=29611):
        name = f"--name={launcher.__name__}"
        for path in (Path(GO), Path(f"{HELD}0")):
            path.unlink(missing_ok=True)
        hold = "--callbacks+=sabotage.Hold"
        processes = start(nodes, launcher, port, *WORDS, name, hold, HOLD="step 15")
        try:
            deadline = time.monotonic() + SECONDS
            while not Path(f"{HELD}0").exists():
                assert time.monotonic() < deadline, printed()
                time.sleep(0.1)
        finally:
            kill(processes[1])
            Path(GO).touch()
        assert ended(processes)[0] == 1, printed()
        assert f"the run can be resumed with {name.replace('=', ' ')} --resume" in printed()
        again = start(nodes, launcher, port, *WORDS, name, hold, "--resume")
        assert ended(again) == [0, 0], printed()
        assert "continuing" in printed()
        one, two = weights("one"), weights(launcher.__name__)
        assert all(torch.equal(two[key], one[key]) for key in one.keys() | two.keys())
