"""`--volume` and `--mount`, as docker's users write them."""

from __future__ import annotations

import pytest

from hivemind.cli.flags.mounts import long, short
from hivemind.errors import Invalid
from hivemind.model.mount import BindMount, Mount, TmpfsMount, VolumeMount


@pytest.mark.parametrize(
    ("text", "mount"),
    [
        ("data:/d", VolumeMount(source="data", target="/d")),
        ("data:/d:ro", VolumeMount(source="data", target="/d", readonly=True)),
        ("data:/d:rw", VolumeMount(source="data", target="/d")),
        ("data:/d:ro,per-replica", VolumeMount(source="data", target="/d", readonly=True, per_replica=True)),
        ("/srv:/s", BindMount(source="/srv", target="/s")),
        ("/srv:/s:ro", BindMount(source="/srv", target="/s", readonly=True)),
    ],
)
def test_the_short_form(text: str, mount: Mount) -> None:
    assert short(text) == mount


@pytest.mark.parametrize(
    ("text", "mount"),
    [
        ("type=volume,source=data,target=/d", VolumeMount(source="data", target="/d")),
        ("source=data,dst=/d,ro", VolumeMount(source="data", target="/d", readonly=True)),
        (
            "type=volume,src=data,destination=/d,readonly=true,volume-subpath=a/b,per-replica",
            VolumeMount(source="data", target="/d", readonly=True, subpath="a/b", per_replica=True),
        ),
        ("type=bind,source=/srv,target=/s,readonly", BindMount(source="/srv", target="/s", readonly=True)),
        ("type=tmpfs,target=/t", TmpfsMount(target="/t")),
        (
            "type=tmpfs,dst=/t,tmpfs-size=64m,tmpfs-mode=0700",
            TmpfsMount(target="/t", size=64 << 20, mode=0o700),
        ),
    ],
)
def test_the_long_form(text: str, mount: Mount) -> None:
    assert long(text) == mount


@pytest.mark.parametrize(
    "text",
    ["/d", "data", "data:d", "data:", ":/d", "Data:/d", "./x:/d", "~/x:/d", "data:/d:z", "/s:/d:per-replica"],
)
def test_what_cannot_be_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(Invalid) as told:
        short(text)
    assert text in told.value.message


@pytest.mark.parametrize(
    "text",
    [
        "type=disk,source=a,target=/a", "type=volume,target=/a", "type=volume,source=a", "source=a,target=/a,size=1",
        "type=bind,source=/a,target=/a,subpath=b", "type=tmpfs,target=/t,source=a", "type=tmpfs,target=/t,mode=rw",
        "source=a,target=/a,readonly=perhaps", "source=../a,target=/a",
    ],
)  # fmt: skip
def test_what_cannot_be_in_words_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        long(text)
