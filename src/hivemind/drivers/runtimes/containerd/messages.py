"""The messages of containerd's API that are used here: names and numbers of their fields (version 1.6 and newer)."""

from __future__ import annotations

from hivemind.drivers.runtimes.containerd.protobuf import (
    Schema,
    blob,
    flag,
    integer,
    labels,
    many,
    one,
    text,
    texts,
)

EMPTY = Schema()
TIME = Schema(seconds=integer(1), nanos=integer(2))
ANY = Schema(type_url=text(1), value=blob(2))
MOUNT = Schema(type=text(1), source=text(2), target=text(3), options=texts(4))
DESCRIPTOR = Schema(media_type=text(1), digest=text(2), size=integer(3))

VERSION = Schema(version=text(1), revision=text(2))
PLUGINS_REQUEST = Schema(filters=texts(1))
PLUGINS = Schema(plugins=many(1, Schema(type=text(1), id=text(2), exports=labels(5))))

NAMESPACE_NAME = Schema(name=text(1))
NAMESPACE_REQUEST = Schema(namespace=one(1, Schema(name=text(1), labels=labels(2))))

LEASE = Schema(id=text(1), labels=labels(3))
LEASE_ANSWER = Schema(lease=one(1, LEASE))
LEASES_REQUEST = Schema(filters=texts(1))
LEASES = Schema(leases=many(1, LEASE))
LEASE_DELETE = Schema(id=text(1), sync=flag(2))

CONTENT_INFO = Schema(digest=text(1))
CONTENT_WRITE = Schema(
    action=integer(1),
    ref=text(2),
    total=integer(3),
    expected=text(4),
    offset=integer(5),
    data=blob(6),
    labels=labels(7),
)
CONTENT_WRITTEN = Schema(action=integer(1), offset=integer(4), total=integer(5), digest=text(6))
CONTENT_ABORT = Schema(ref=text(1))
CONTENT_LIST = Schema(filters=texts(1))
STAT, WRITE, COMMIT = 0, 1, 2

NAMES = Schema(info=many(1, Schema(name=text(1))))

SNAPSHOT_PREPARE = Schema(snapshotter=text(1), key=text(2), parent=text(3), labels=labels(4))
SNAPSHOT_KEY = Schema(snapshotter=text(1), key=text(2))
SNAPSHOT_COMMIT = Schema(snapshotter=text(1), name=text(2), key=text(3), labels=labels(4))
SNAPSHOT_LIST = Schema(snapshotter=text(1))
SNAPSHOT_MOUNTS = Schema(mounts=many(1, MOUNT))

DIFF_APPLY = Schema(diff=one(1, DESCRIPTOR), mounts=many(2, MOUNT))
DIFF_APPLIED = Schema(applied=one(1, DESCRIPTOR))

IMAGE = Schema(name=text(1), labels=labels(2), target=one(3, DESCRIPTOR))
IMAGE_REQUEST = Schema(image=one(1, IMAGE))
IMAGES_REQUEST = Schema(filters=texts(1))
IMAGES = Schema(images=many(1, IMAGE))
IMAGE_DELETE = Schema(name=text(1), sync=flag(2))

CONTAINER = Schema(
    id=text(1),
    labels=labels(2),
    image=text(3),
    runtime=one(4, Schema(name=text(1), options=one(2, ANY))),
    spec=one(5, ANY),
    snapshotter=text(6),
    snapshot_key=text(7),
)
CONTAINER_REQUEST = Schema(container=one(1, CONTAINER))
CONTAINER_ID = Schema(id=text(1))
CONTAINERS_REQUEST = Schema(filters=texts(1))
CONTAINERS = Schema(containers=many(1, CONTAINER))

PROCESS = Schema(
    container_id=text(1),
    id=text(2),
    pid=integer(3),
    status=integer(4),
    exit_status=integer(9),
    exited_at=one(10, TIME),
)
CREATED, RUNNING, STOPPED, PAUSED, PAUSING = 1, 2, 3, 4, 5
TASK_CREATE = Schema(
    container_id=text(1),
    rootfs=many(3, MOUNT),
    stdin=text(4),
    stdout=text(5),
    stderr=text(6),
    terminal=flag(7),
    options=one(9, ANY),
)
RUNC_OPTIONS = Schema(io_uid=integer(4), io_gid=integer(5), root=text(7))
TASK_PID = Schema(container_id=text(1), pid=integer(2))
TASK_ID = Schema(container_id=text(1), exec_id=text(2))
TASK_STARTED = Schema(pid=integer(1))
TASK = Schema(process=one(1, PROCESS))
TASKS_REQUEST = Schema(filter=text(1))
TASKS = Schema(tasks=many(1, PROCESS))
TASK_KILL = Schema(container_id=text(1), exec_id=text(2), signal=integer(3), all=flag(4))
TASK_EXEC = Schema(
    container_id=text(1),
    stdin=text(2),
    stdout=text(3),
    stderr=text(4),
    terminal=flag(5),
    spec=one(6, ANY),
    exec_id=text(7),
)
TASK_SIZE = Schema(container_id=text(1), exec_id=text(2), width=integer(3), height=integer(4))
TASK_CLOSE = Schema(container_id=text(1), exec_id=text(2), stdin=flag(3))
TASK_ENDED = Schema(exit_status=integer(1), exited_at=one(2, TIME))
TASK_DELETED = Schema(id=text(1), pid=integer(2), exit_status=integer(3), exited_at=one(4, TIME))

EVENTS_REQUEST = Schema(filters=texts(1))
ENVELOPE = Schema(namespace=text(2), topic=text(3), event=one(4, ANY))
TASK_OOM = Schema(container_id=text(1))
