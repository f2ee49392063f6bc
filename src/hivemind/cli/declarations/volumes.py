"""`hivemind volume …`, `backup-target …` and `storage-class …`."""

from __future__ import annotations

from hivemind.cli.command import BYTES, FLAG, INTEGER, SECONDS, Argument, Command, Group, Option
from hivemind.cli.declarations.options import ALL_PROJECTS, OUTPUT, PLAIN_OUTPUT, WAITING

_VOLUME = "hivemind.cli.commands.volume"
_BACKUP = "hivemind.cli.commands.backup"

GROUPS = (
    Group("volume", "Volumes: files that outlive containers; snapshots, backups.", "Nouns"),
    Group("backup-target", "Where volumes are backed up: a directory or S3.", "Nouns"),
    Group("storage-class", "How volumes are made: by which driver.", "Nouns"),
)

_NAME = Argument("NAME", "The volume.", flag="--name", completes="volume")
_NAMES = _NAME._replace(many=True)
_NEW = Argument("NAME", "Its name.", flag="--name")
_SIZE = Option(
    "--size", "The most it may hold; the kernel refuses more.", short="-s", kind=BYTES, metavar="10GiB"
)
_CLASS = Option("--class", "The storage class (local).", metavar="NAME", alias="--driver", completes="class")
_NODE = Option(
    "--node", "The node that keeps it; else the first that uses it.", metavar="NODE", completes="node"
)
_LABEL = Option("--label", "A label.", short="-l", metavar="K=V", many=True)
_TARGET = Option("--target", "The backup target.", metavar="NAME", completes="backup-target")
_FORCE = Option("--force", "Do not ask.", short="-f", kind=FLAG)

COMMANDS = (
    Command(
        ("volume", "create"), "Make a volume.", f"{_VOLUME}:create", (_NEW,),
        (
            _SIZE, _CLASS, _NODE, _LABEL,
            Option("--from-snapshot", "It holds what this snapshot does.", metavar="SNAPSHOT", completes="snapshot"),
            Option("--from-backup", "It holds what this backup at --target does.", metavar="ID"),
            _TARGET, PLAIN_OUTPUT, *WAITING,
        ),
        ("volume create data", "volume create db --size 10GiB", "volume create db --from-snapshot before-upgrade"),
        "An app that names a volume which is not there makes it, too. Without a size it may fill the disk that it is"
        " on; a limit cannot be given later, only changed.",
    ),
    Command(
        ("volume", "ls"), "List volumes.", f"{_VOLUME}:ls", (),
        (OUTPUT, ALL_PROJECTS, Option("--quiet", "Only names.", short="-q", kind=FLAG)),
        ("volume ls", "volume ls -o wide"), alias="list",
    ),
    Command(
        ("volume", "inspect"), "Show everything about volumes.", f"{_VOLUME}:inspect", (_NAMES,), (PLAIN_OUTPUT,),
        ("volume inspect data",),
    ),
    Command(
        ("volume", "rm"), "Remove volumes and what they hold.", f"{_VOLUME}:rm", (_NAMES,),
        (Option("--force", "One that is not there is no error.", short="-f", kind=FLAG),),
        ("volume rm data",), "Refused while an app uses it. Its snapshots and backups stay.", alias="delete",
    ),
    Command(
        ("volume", "prune"), "Remove all volumes that no app uses.", f"{_VOLUME}:prune", (),
        (_FORCE, ALL_PROJECTS), ("volume prune", "volume prune -f"),
        "It lists them and asks first. Volumes of replicas that were scaled away are kept for their return.",
    ),
    Command(
        ("volume", "snapshot"), "Keep what a volume holds now.", f"{_VOLUME}:snapshot",
        (_NAME, Argument("SNAPSHOT", "Its name; the time, if absent.", required=False, flag="--snapshot")),
        (PLAIN_OUTPUT, *WAITING), ("volume snapshot db", "volume snapshot db before-upgrade"),
        "Of a volume with a size it is of one moment, as after a power failure: writers wait meanwhile. Of one without,"
        " while it is used, files are copied one after another; stop the app for a consistent one.",
    ),
    Command(
        ("volume", "snapshots"), "List snapshots.", f"{_VOLUME}:snapshots",
        (_NAME._replace(required=False, help="Only of this volume."),), (OUTPUT, ALL_PROJECTS),
        ("volume snapshots", "volume snapshots db"),
    ),
    Command(
        ("volume", "rm-snapshot"), "Remove snapshots.", f"{_VOLUME}:rm_snapshot",
        (Argument("SNAPSHOT", "The snapshots.", many=True, flag="--snapshot", completes="snapshot"),), (),
        ("volume rm-snapshot before-upgrade",),
    ),
    Command(
        ("volume", "restore"), "Give a volume back what it held.", f"{_VOLUME}:restore", (_NAME,),
        (
            Option("--snapshot", "From this snapshot.", metavar="SNAPSHOT", completes="snapshot"),
            Option("--backup", "From this backup; `latest` is the newest.", metavar="ID"),
            _TARGET,
            Option("--to", "Make a new volume of it instead.", metavar="NEW"),
            _FORCE, *WAITING,
        ),
        (
            "volume restore db --snapshot before-upgrade", "volume restore db --backup latest",
            "volume restore db --backup 4f2a91c0 --target nas --to db-old",
        ),
        "What it holds now is gone afterwards, so it asks first; the app must be stopped. With --to nothing is lost. A"
        " backup can be restored on any hive that knows the target: NAME is the volume's name there.",
    ),
    Command(
        ("volume", "clone"), "Copy a volume.", f"{_VOLUME}:clone",
        (_NAME, Argument("NEW", "The copy's name.", flag="--to")), (_SIZE, _CLASS, _LABEL, *WAITING),
        ("volume clone db db-test", "volume clone data data-limited --size 5GiB"),
        "The way to give a volume a limit, or another storage class.",
    ),
    Command(
        ("volume", "export"), "Write what a volume holds as a tar.", f"{_VOLUME}:export", (_NAME,),
        (Option("--output", "The file, `-` for standard output.", short="-o", metavar="FILE", completes="file"),),
        ("volume export db -o db.tar",),
    ),
    Command(
        ("volume", "import"), "Fill a volume with a tar.", f"{_VOLUME}:import_tar",
        (_NAME, Argument("FILE", "The tar.", required=False, completes="file")),
        (
            Option("--input", "The tar, `-` for standard input.", short="-i", metavar="FILE", completes="file"),
            Option("--replace", "Throw away what it holds.", kind=FLAG), _SIZE,
        ),
        ("volume import db db.tar", "volume import db - < db.tar"),
        "A volume that is not there is made. All of the archive arrives, or nothing of it.",
    ),
    Command(
        ("volume", "resize"), "Change how much a volume may hold.", f"{_VOLUME}:resize", (_NAME,),
        (_SIZE._replace(help="The new limit."), *WAITING), ("volume resize db --size 20GiB",),
        "Growing goes while it is used, shrinking only while it is not, and if it fits.",
    ),
    Command(
        ("volume", "backup"), "Back a volume up, now or from now on.", f"{_BACKUP}:back_up", (_NAME,),
        (
            _TARGET,
            Option("--verify", "Restore it afterwards and compare every file.", kind=FLAG),
            Option("--every", "From now on, so often.", kind=SECONDS, metavar="TIME"),
            Option("--keep", "How many of them are kept (7).", kind=INTEGER, metavar="N"),
            Option("--verify-every", "How often one is restored and compared (7d); 0: never.", kind=SECONDS,
                   metavar="TIME"),
            Option("--never", "No more by itself.", kind=FLAG),
            PLAIN_OUTPUT,
        ),
        (
            "volume backup db --target nas", "volume backup db --target nas --every 1d --keep 14",
            "volume backup db --verify", "volume backup db --never",
        ),
        "Backups are encrypted, and each stores only what is new. Needs restic on the node.",
    ),
    Command(
        ("volume", "backups"), "List the backups at a target.", f"{_BACKUP}:backups",
        (_NAME._replace(required=False, help="Only of the volume that had this name."),), (_TARGET, PLAIN_OUTPUT),
        ("volume backups db", "volume backups --target nas"),
    ),
    Command(
        ("backup-target", "create"), "Name a place for backups.", f"{_BACKUP}:target_create",
        (Argument("NAME", "Its name.", flag="--name"),),
        (
            Option("--location", "A directory of the node, or s3:https://HOST/BUCKET[/PREFIX].", metavar="WHERE"),
            Option("--secret", "The secret with the key `password`, for S3 also `access-key-id` and"
                   " `secret-access-key`.", metavar="SECRET", completes="secret"),
        ),
        (
            "backup-target create nas --location /mnt/nas/hive --secret backup",
            "backup-target create s3 --location s3:https://s3.example.com/backups --secret backup",
        ),
        "The password encrypts the backups; whoever loses it loses them. Keep a copy outside the hive.",
    ),
    Command(("backup-target", "ls"), "List places for backups.", f"{_BACKUP}:target_ls", (), (OUTPUT, ALL_PROJECTS),
            ("backup-target ls",), alias="list"),
    Command(
        ("backup-target", "rm"), "Forget places for backups; what is there stays.", f"{_BACKUP}:target_rm",
        (Argument("NAME", "The targets.", many=True, flag="--name", completes="backup-target"),), (),
        ("backup-target rm nas",), alias="delete",
    ),
    Command(
        ("storage-class", "create"), "Name a way to make volumes.", f"{_BACKUP}:class_create",
        (Argument("NAME", "Its name.", flag="--name"),),
        (
            Option("--driver", "local or nfs.", metavar="DRIVER", choices=("local", "nfs")),
            Option("--parameter", "What the driver needs to know.", short="-p", metavar="K=V", many=True),
        ),
        ("storage-class create nas --driver nfs --parameter server=nas.example --parameter path=/export/hive",),
        "nfs has server, path and options. Its volumes are on no node, so replicas on several may share one.",
    ),
    Command(("storage-class", "ls"), "List ways to make volumes.", f"{_BACKUP}:class_ls", (), (OUTPUT,),
            ("storage-class ls",), alias="list"),
    Command(
        ("storage-class", "rm"), "Forget ways to make volumes.", f"{_BACKUP}:class_rm",
        (Argument("NAME", "The classes.", many=True, flag="--name", completes="class"),), (),
        ("storage-class rm nas",), alias="delete",
    ),
)  # fmt: skip
