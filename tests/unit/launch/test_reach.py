"""Nodes try each other over real sockets."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from headrace.launch.facts import Neighbour
from headrace.launch.reach import ALL_MAX, Answerer, neighbours, socket_interfaces, unreached


def own_address() -> str:
    """Not a loopback one, if there is any."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "0.0.0.0"
        address: str = probe.getsockname()[0]
        return address if not address.startswith("127.") else "0.0.0.0"


@contextmanager
def answering(node: str) -> Iterator[Answerer]:
    """Another node, with its agent's loop."""
    answerer, over = Answerer(node), threading.Event()

    def loop() -> None:
        while not over.is_set():
            answerer.answer()
            over.wait(0.005)

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield answerer
    finally:
        over.set()
        thread.join()
        answerer.close()


def test_a_node_that_answers_with_its_name_is_reached() -> None:
    with answering("n2") as there:
        here = Answerer("n1")
        others = [Neighbour(node="n2", address=own_address(), port=there.port)]
        assert unreached(others, here, within_s=5.0) == {}
        here.close()


def test_an_address_that_leads_back_is_found_out() -> None:
    here = Answerer("n1")
    others = [Neighbour(node="n2", address=own_address(), port=here.port)]
    assert unreached(others, here, within_s=5.0) == {"n2": "n1 answers there"}
    here.close()


def test_a_closed_port_a_loopback_address_and_silence_are_told_apart() -> None:
    closed = Answerer("gone")
    port = closed.port
    closed.close()
    silent = socket.create_server(("", 0))
    here = Answerer("n1")
    others = [
        Neighbour(node="n2", address=own_address(), port=port),
        Neighbour(node="n3", address="127.0.1.1", port=1),
        Neighbour(node="n4", address=own_address(), port=silent.getsockname()[1]),
    ]
    assert unreached(others, here, within_s=0.3) == {
        "n2": "connection refused",
        "n3": "connection refused; a loopback address leads to no other host",
        "n4": "no answer in 0.3 s",
    }
    silent.close()
    here.close()


def test_few_nodes_try_all_others_and_many_a_few_so_that_all_are_tried() -> None:
    few = [f"n{number}" for number in range(ALL_MAX)]
    assert all(set(others) == {*few} - {node} for node, others in neighbours(few).items())
    many = [f"n{number}" for number in range(500)]
    found = neighbours(many)
    assert max(len(others) for others in found.values()) <= 9
    assert {other for others in found.values() for other in others} == {*many}
    assert all(node not in others for node, others in found.items())
    assert neighbours(["n1"]) == {"n1": ()}


def test_nccl_and_gloo_are_told_the_interface_that_has_been_proved() -> None:
    assert socket_interfaces("eth0") == {
        "NCCL_SOCKET_IFNAME": "=eth0",
        "GLOO_SOCKET_IFNAME": "eth0",
    }
    assert socket_interfaces(None) == {}
