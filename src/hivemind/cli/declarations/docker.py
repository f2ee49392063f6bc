"""Options of `docker run` and `docker service create` that Hivemind has not, and what comes nearest.

Who knows docker writes them from memory; the error then says where to go on instead of guessing a similar word."""

from __future__ import annotations

_WEIGHTS = "--cpus N sets cores aside and is the most it may use; there are no relative weights"
_DISK = "disks are not limited by speed; --size of `hivemind volume create` limits their room"
_SWAP = "--memory is the limit; swap has no setting of its own"
_ADDRESS = "addresses are given by the node; --service NAME is a name that stays"
_LOGS = "the node keeps logs itself: hivemind logs"
_REALTIME = "--cpus limits CPU time; real-time shares are not offered"
_WINDOWS = "that is for Windows; containers here are Linux's"
_NAMESPACE = "it always has one of its own; --userns and --network can be the node's"

_RUN = {
    "--annotation": "--label K=V",
    "--attach": "`run` shows what it writes; -i passes input on; hivemind attach ties a terminal to it later",
    "-a": "`run` shows what it writes; -i passes input on; hivemind attach ties a terminal to it later",
    "--blkio-weight": _DISK,
    "--blkio-weight-device": _DISK,
    "--cgroup-parent": "the node keeps its containers below one cgroup; --cpus, --memory and --pids limit each",
    "--cgroupns": _NAMESPACE,
    "--cidfile": "-d prints the name; hivemind ps -q prints ids",
    "--cpu-count": _WINDOWS,
    "--cpu-percent": _WINDOWS,
    "--cpu-period": "--cpus 0.5 is half a core",
    "--cpu-quota": "--cpus 0.5 is half a core",
    "--cpu-rt-period": _REALTIME,
    "--cpu-rt-runtime": _REALTIME,
    "--cpu-shares": _WEIGHTS,
    "-c": _WEIGHTS,
    "--cpuset-cpus": _WEIGHTS,
    "--cpuset-mems": _WEIGHTS,
    "--device-cgroup-rule": "--device PATH[:INSIDE[:rwm]] gives one device",
    "--device-read-bps": _DISK,
    "--device-read-iops": _DISK,
    "--device-write-bps": _DISK,
    "--device-write-iops": _DISK,
    "--disable-content-trust": "name@sha256:… pins an image to its content",
    "--domainname": "--hostname takes a whole name, like web.example.com",
    "--expose": "--port 80 names a port without publishing it",
    "--group-add": "--user USER:GROUP names the group",
    "--health-start-interval": "until the first success a check is asked in quick succession anyway",
    "--io-maxbandwidth": _WINDOWS,
    "--io-maxiops": _WINDOWS,
    "--ip": _ADDRESS,
    "--ip6": _ADDRESS,
    "--ipc": "it always has one of its own; --shm-size is how much memory it may share inside",
    "--isolation": _WINDOWS,
    "--kernel-memory": "--memory counts the kernel's, too",
    "--label-file": "--label K=V, or labels in a manifest: hivemind apply -f",
    "--link": "apps find each other by name: APP, or --service NAME",
    "--link-local-ip": _ADDRESS,
    "--log-driver": _LOGS,
    "--log-opt": _LOGS,
    "--mac-address": _ADDRESS,
    "--memory-reservation": "--memory is both: set aside, and the most it may use",
    "--memory-swap": _SWAP,
    "--memory-swappiness": _SWAP,
    "--network-alias": "--service NAME is one more name",
    "--oom-kill-disable": "a container at its --memory is killed and started again",
    "--oom-score-adj": "--priority says who goes first",
    "--pid": _NAMESPACE,
    "--platform": "containers run on their node's platform; hivemind image pull --platform fetches others to save",
    "--publish-all": "publish them one by one: --port [HOST:]PORT",
    "-P": "publish them one by one: --port [HOST:]PORT",
    "--quiet": "progress is shown on terminals only; 2>/dev/null hides it",
    "-q": "progress is shown on terminals only; 2>/dev/null hides it",
    "--sig-proxy": "Ctrl-C stops what `run` started; with -t it goes to it",
    "--storage-opt": "a volume has a limit: hivemind volume create NAME --size 10GiB, then --volume NAME:/PATH",
    "--use-api-socket": "give it HIVEMIND_TOKEN and the address of the API: hivemind token create",
    "--uts": "--hostname NAME; it always has a host name of its own",
    "--volume-driver": "hivemind volume create NAME --class CLASS, then --volume NAME:/PATH",
    "--volumes-from": "name the volume in both, --volume NAME:/PATH; or share files in one app: --sidecar",
}
_SERVICE = {
    "--container-label": "--label K=V",
    "--endpoint-mode": "names give all ready replicas, published ports are balanced; there is nothing to choose",
    "--group": "--user USER:GROUP names the group",
    "--limit-cpu": "--cpus N",
    "--limit-memory": "--memory SIZE",
    "--limit-pids": "--pids N",
    "--mode": "--replicas N says how many run",
    "--placement-pref": "--placement spread or binpack",
    "--reserve-cpu": "--cpus N sets them aside, too",
    "--reserve-memory": "--memory SIZE sets it aside, too",
    "--restart-condition": "--restart always, on-failure[:N] or no",
    "--restart-max-attempts": "--restart on-failure:N",
    "--rollback-failure-action": "a failed update goes back by itself; --no-rollback leaves it",
    "--update-delay": "--update-min-healthy TIME: how long a replica must be healthy before the next",
    "--update-failure-action": "a failed update goes back by itself; --no-rollback leaves it",
    "--update-max-failure-ratio": "one replica that does not get healthy fails an update",
    "--update-monitor": "--update-min-healthy TIME",
    "--update-parallelism": "--update-parallel N",
    "--with-registry-auth": "hivemind registry login signs in for the whole hive",
}
NOT_HERE = (*_RUN.items(), *_SERVICE.items())
