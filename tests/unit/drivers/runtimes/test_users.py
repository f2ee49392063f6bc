"""Looking up users in an image that may be out to deceive."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from hivemind.drivers.runtimes.oci.rootfs import make_workdir
from hivemind.drivers.runtimes.oci.users import Account, find_account
from hivemind.errors import Invalid

PASSWD = """\
root:x:0:0:root:/root:/bin/sh
app:x:1000:1001:App:/home/app:/bin/sh
bare:x:1002:1002:::
broken line
evil:x:-1:0::/:
huge:x:4294967295:4294967295::/:
"""
GROUP = """\
root:x:0:
web:x:33:app,other
app:x:1001:
audio:x:29:other,app
1000:x:77:
bad:x:seven:app
"""


class Image:
    def __init__(self, path: Path) -> None:
        self.path = path / "image"
        (self.path / "etc").mkdir(parents=True)
        (self.path / "etc" / "passwd").write_text(PASSWD)
        (self.path / "etc" / "group").write_text(GROUP)
        self.outside = path / "outside"
        self.outside.mkdir()
        self.root = os.open(self.path, os.O_PATH | os.O_DIRECTORY)

    def replace(self, name: str, target: str) -> None:
        (self.path / name).unlink()
        (self.path / name).symlink_to(target)


@pytest.fixture
def image(tmp_path: Path) -> Iterator[Image]:
    image = Image(tmp_path)
    yield image
    os.close(image.root)


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("", Account(0, 0, (), "/root")),
        ("root", Account(0, 0, (), "/root")),
        ("app", Account(1000, 1001, (29, 33), "/home/app")),
        ("1000", Account(1000, 1001, (29, 33), "/home/app")),
        ("bare", Account(1002, 1002, (), "/")),
        ("4242", Account(4242, 0, (), "/")),
        ("app:web", Account(1000, 33, (), "/home/app")),
        ("app:55", Account(1000, 55, (), "/home/app")),
        ("4242:4343", Account(4242, 4343, (), "/")),
        ("0:0", Account(0, 0, (), "/root")),
    ],
)
def test_users(image: Image, user: str, expected: Account) -> None:
    assert find_account(image.root, user) == expected


@pytest.mark.parametrize(
    "user", ["nobody", "app:nobody", ":", ":app", "app:", "evil", "huge", "4294967295", "-1", "1e3", "٣"]
)
def test_no_such_user(image: Image, user: str) -> None:
    with pytest.raises(Invalid):
        find_account(image.root, user)


def test_the_error_names_those_that_are_there(image: Image) -> None:
    with pytest.raises(Invalid) as raised:
        find_account(image.root, "nobody")
    assert "app" in raised.value.hint


def test_an_image_without_files(image: Image) -> None:
    (image.path / "etc" / "passwd").unlink()
    (image.path / "etc" / "group").unlink()
    assert find_account(image.root, "") == Account(0, 0, (), "/root")
    assert find_account(image.root, "7:8") == Account(7, 8, (), "/")
    with pytest.raises(Invalid):
        find_account(image.root, "app")


def secret(image: Image) -> Path:
    """A file beside the image, as a host's /etc/shadow would be."""
    file = image.outside / "passwd"
    file.write_text("app:x:0:0::/:\n")
    return file


@pytest.mark.parametrize("depth", [1, 2, 9])
def test_links_do_not_climb_out(image: Image, depth: int) -> None:
    secret(image)
    image.replace("etc/passwd", "../" * depth + "outside/passwd")
    with pytest.raises(Invalid, match="no user named"):
        find_account(image.root, "app")


def test_absolute_links_begin_at_the_images_root(image: Image) -> None:
    image.replace("etc/passwd", str(secret(image)))
    with pytest.raises(Invalid, match="no user named"):
        find_account(image.root, "app")
    (image.path / "real").write_text("app:x:5:5::/:\n")
    image.replace("etc/passwd", "/real")
    assert find_account(image.root, "app").uid == 5


def test_a_linked_directory_does_not_lead_out_either(image: Image) -> None:
    secret(image)
    for name in ("passwd", "group"):
        (image.path / "etc" / name).unlink()
    (image.path / "etc").rmdir()
    (image.path / "etc").symlink_to("../outside")
    with pytest.raises(Invalid, match="no user named"):
        find_account(image.root, "app")


@pytest.mark.parametrize("target", ["/proc/self/root/etc/passwd", "passwd", "/proc/self/fd/0"])
def test_magic_links_and_loops_count_as_missing(image: Image, target: str) -> None:
    image.replace("etc/passwd", target)
    assert find_account(image.root, "5").uid == 5


def test_no_file_at_all_holds_it_up(image: Image) -> None:
    (image.path / "etc" / "passwd").unlink()
    os.mkfifo(image.path / "etc" / "passwd")
    assert find_account(image.root, "5").uid == 5
    (image.path / "etc" / "passwd").unlink()
    (image.path / "etc" / "passwd").mkdir()
    assert find_account(image.root, "5").uid == 5


def test_a_huge_file_is_not_read_to_its_end(image: Image) -> None:
    with (image.path / "etc" / "passwd").open("w") as file:
        file.truncate(1 << 40)
    assert find_account(image.root, "5").uid == 5


def test_bytes_that_are_no_text(image: Image) -> None:
    (image.path / "etc" / "passwd").write_bytes(b"\xff\xfe:x:1:1::/:\napp:x:5:5::/:\n")
    assert find_account(image.root, "app").uid == 5


def test_a_working_directory_is_made(image: Image) -> None:
    make_workdir(image.root, "/srv/app/data")
    make_workdir(image.root, "/srv/app")
    make_workdir(image.root, "/")
    assert (image.path / "srv" / "app" / "data").is_dir()


@pytest.mark.parametrize("target", ["/run", "run", "../run", "../../../run"])
def test_links_of_the_image_are_followed(image: Image, target: str) -> None:
    (image.path / "run").mkdir()
    (image.path / "srv").symlink_to(target)
    make_workdir(image.root, "/srv/app/data")
    assert (image.path / "run" / "app" / "data").is_dir()


def test_a_working_directory_is_made_inside_only(image: Image) -> None:
    """Whatever a link says, it is read as the container would read it."""
    (image.path / "srv").symlink_to(image.outside)
    (image.path / "www").symlink_to("../outside")
    for workdir in ("/srv/new", "/www/new"):
        with pytest.raises(NotADirectoryError):
            make_workdir(image.root, workdir)
    make_workdir(image.root, "/../../outside/new")
    assert list(image.outside.iterdir()) == []
    assert (image.path / "outside" / "new").is_dir()


def test_files_and_loops_in_the_way(image: Image) -> None:
    (image.path / "file").touch()
    (image.path / "loop").symlink_to("loop")
    for workdir in ("/file", "/file/new", "/loop", "/loop/new"):
        with pytest.raises(NotADirectoryError):
            make_workdir(image.root, workdir)
