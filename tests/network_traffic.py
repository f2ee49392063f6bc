"""Real sockets for network tests: servers that say who they are, and clients, in whatever namespace."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar, cast

from hivemind.drivers.network import netns
from hivemind.drivers.network.contract import Attachment

T = TypeVar("T")


def within(path: str, work: Callable[[], T]) -> T:
    """Runs `work` in that network namespace, on a thread that ends with it; "" is the own one."""
    if not path:
        return work()
    result: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            with netns.entered(path):
                result.append(work())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return result[0]


@contextmanager
def another_machine(pin: Path, *, rules: str = "") -> Iterator[str]:
    """A namespace that is another machine, 192.0.2.9, on a wire to ours, 192.0.2.1; nft `rules` guard what comes in."""
    netns.create(pin, lambda: None)
    _run("ip", "link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", str(pin))
    _run("ip", "address", "add", "192.0.2.1/24", "dev", "wire")
    _run("ip", "link", "set", "wire", "up")

    def furnish() -> None:
        _run("ip", "address", "add", "192.0.2.9/24", "dev", "wire")
        _run("ip", "link", "set", "wire", "up")
        if rules:
            _run("nft", f"table ip gate {{ chain in {{ type filter hook input priority 0; {rules}; }}; }}")

    within(str(pin), furnish)
    yield str(pin)
    netns.delete(pin)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


async def serve_tcp(attachment: Attachment, port: int) -> asyncio.Server:
    """Answers every line with `NAME LINE`, and the end of input with `NAME bye`."""
    name = attachment.allocation.encode()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(name + b" " + line)
            await writer.drain()
        writer.write(name + b" bye\n")
        writer.close()

    listener = within(attachment.netns, lambda: socket.create_server((attachment.ip, port)))
    return await asyncio.start_server(answer, sock=listener)


class Echo(asyncio.DatagramProtocol):
    def __init__(self, name: str) -> None:
        self.name = name.encode()
        self.transport: asyncio.DatagramTransport
        self.heard: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.heard.append(data)
        self.transport.sendto(self.name + b" " + data, addr)


async def serve_udp(attachment: Attachment, port: int) -> asyncio.DatagramTransport:
    def bound() -> socket.socket:
        listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        listener.bind((attachment.ip, port))
        listener.setblocking(False)
        return listener

    listener = within(attachment.netns, bound)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: Echo(attachment.allocation), sock=listener)
    return transport


async def connect(
    address: str, port: int, netns_path: str = ""
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    raw = within(netns_path, lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))
    raw.setblocking(False)
    try:
        await asyncio.wait_for(asyncio.get_running_loop().sock_connect(raw, (address, port)), 5)
    except BaseException:
        raw.close()
        raise
    return await asyncio.open_connection(sock=raw)


async def ask_tcp(address: str, port: int, netns_path: str = "", word: bytes = b"hello") -> str:
    """Who answered. Raises OSError when nobody does."""
    reader, writer = await connect(address, port, netns_path)
    try:
        writer.write(word + b"\n")
        answer = await asyncio.wait_for(reader.readline(), 5)
        if not answer:
            raise ConnectionResetError("closed without an answer")
        assert answer.split()[1] == word
        return answer.split()[0].decode()
    finally:
        writer.close()


def datagram_client(address: str, port: int, netns_path: str = "") -> socket.socket:
    client = within(netns_path, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    client.setblocking(False)
    client.connect((address, port))
    return client


async def ask_udp(client: socket.socket, word: bytes = b"hello") -> str:
    """Who answered. Raises ConnectionRefusedError when the port says so."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(client, word)
    answer = await asyncio.wait_for(loop.sock_recv(client, 2048), 5)
    assert answer.split()[1] == word
    return answer.split()[0].decode()
