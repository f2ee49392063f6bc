"""Three etcd servers on loopback, and what their clients say to them: puts over HTTP/1.1, one connection each."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
from pathlib import Path

from bench.agreement_hive import free_ports
from bench.agreement_node import LOOPBACK

_LATE = 60.0


class Etcd:
    def __init__(self, home: Path, servers: int, size: int) -> None:
        """`size`: bytes of each value."""
        self._home, self._size = home, size
        self._client_ports, self._peer_ports = free_ports(servers), free_ports(servers)
        self._processes: list[subprocess.Popen[bytes]] = []

    async def start(self) -> None:
        cluster = ",".join(
            f"n{number}=http://{LOOPBACK}:{port}" for number, port in enumerate(self._peer_ports)
        )
        for number, (client, peer) in enumerate(zip(self._client_ports, self._peer_ports, strict=True)):
            here, there = f"http://{LOOPBACK}:{client}", f"http://{LOOPBACK}:{peer}"
            options = {
                "name": f"n{number}", "data-dir": str(self._home / str(number)), "logger": "zap", "log-level": "error",
                "listen-client-urls": here, "advertise-client-urls": here,
                "listen-peer-urls": there, "initial-advertise-peer-urls": there, "initial-cluster": cluster,
            }  # fmt: skip
            words = [f"--{name}={value}" for name, value in options.items()]
            self._processes.append(subprocess.Popen(("etcd", *words), stderr=subprocess.DEVNULL))  # noqa: ASYNC220
        async with asyncio.timeout(_LATE):
            while True:
                try:
                    await self.leader()
                    return
                except (ConnectionError, EOFError, KeyError, IndexError):
                    await asyncio.sleep(0.1)

    async def connect(self, number: int) -> Line:
        port = self._client_ports[number % len(self._client_ports)]
        return Line(*await asyncio.open_connection(LOOPBACK, port), self._size)

    async def leader(self) -> int:
        """Raises `KeyError` or `IndexError` as long as there is none."""
        found = []
        for number in range(len(self._client_ports)):
            line = await self.connect(number)
            told = json.loads(await line.ask("/v3/maintenance/status", b"{}"))
            line.close()
            found += [number] * (told["header"]["member_id"] == told["leader"])
        return found[0]

    def kill(self, number: int) -> None:
        self._processes[number].kill()

    def stop(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()


class Line:
    """One client's connection; a question after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, size: int) -> None:
        self._reader, self._writer = reader, writer
        self._value = base64.b64encode(bytes(size)).decode()
        self._turn = 0

    def value(self) -> bytes:
        self._turn += 1
        key = base64.b64encode(f"p{self._turn % 100}".encode()).decode()
        return json.dumps({"key": key, "value": self._value}).encode()

    async def put(self, value: bytes) -> None:
        if b"revision" not in await self.ask("/v3/kv/put", value):
            raise RuntimeError("etcd did not agree")

    async def ask(self, path: str, question: bytes) -> bytes:
        head = f"POST {path} HTTP/1.1\r\nHost: etcd\r\nContent-Length: {len(question)}\r\n\r\n"
        self._writer.write(head.encode() + question)
        answer = await self._reader.readuntil(b"\r\n\r\n")
        length = int(answer.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        return await self._reader.readexactly(length)

    def close(self) -> None:
        self._writer.close()
