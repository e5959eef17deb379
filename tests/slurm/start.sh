#!/usr/bin/env bash
# Starts a SLURM of one node, two processors and two fake GPUs that belongs to the folder given. Does nothing where that
# one runs already. Exit status 3, with the reason as the last line on stderr: SLURM cannot be installed or started here.
#
#   tests/slurm/start.sh FOLDER     then     SLURM_CONF=FOLDER/slurm.conf sinfo
set -euo pipefail
place=$(realpath -m "${1:?"usage: start.sh FOLDER"}")
export SLURM_CONF="$place/slurm.conf"
PATH="$PATH:/usr/sbin:/sbin"

cannot() {
    echo "$1" >&2
    exit 3
}

idle() { sinfo -h -o %t 2>/dev/null | grep -qx idle; }

await() { # seconds, command
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < end)) || return 1
        sleep 0.1
    done
}

if [ -f "$place/slurmd.pid" ] && await 1 idle; then exit 0; fi

[ "$(id -u)" = 0 ] || cannot "SLURM is started by root only"
if ! command -v slurmctld slurmd sbatch munged >/dev/null; then
    command -v apt-get >/dev/null || cannot "SLURM is not installed, and there is no apt-get to install it"
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update && apt-get install -y --no-install-recommends slurm-wlm munge; } >"$place.apt.log" 2>&1 ||
        cannot "apt-get cannot install slurm-wlm and munge: see $place.apt.log"
fi
if pgrep -x slurmctld >/dev/null; then cannot "another SLURM runs on this machine"; fi

mkdir -p "$place"/{dev,state,spool}
for number in 0 1; do # twins of the null device: SLURM wants a device file for each GPU
    [ -e "$place/dev/nvidia$number" ] || mknod -m 666 "$place/dev/nvidia$number" c 1 3 2>/dev/null ||
        cannot "device files cannot be made here, and SLURM wants one for each GPU"
done

host=$(hostname -s)
cat >"$place/slurm.conf" <<CONF
ClusterName=tests
SlurmctldHost=$host
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# A job that is requeued waits until its credential has expired, by default for two minutes.
AuthInfo=cred_expire=5
StateSaveLocation=$place/state
SlurmdSpoolDir=$place/spool
SlurmctldPidFile=$place/slurmctld.pid
SlurmdPidFile=$place/slurmd.pid
SlurmctldLogFile=$place/slurmctld.log
SlurmdLogFile=$place/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,bf_interval=1
MpiDefault=none
ReturnToService=2
KillWait=3
MinJobAge=3600
# Small, so that a small sweep needs several arrays.
MaxArraySize=4
GresTypes=gpu
NodeName=$host CPUs=2 CoresPerSocket=2 RealMemory=1000 Gres=gpu:2 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
cat >"$place/gres.conf" <<CONF
AutoDetect=off
NodeName=$host Name=gpu File=$place/dev/nvidia[0-1]
CONF

if ! munge -n 2>/dev/null | unmunge >/dev/null 2>&1; then
    install -d -m 0755 -o munge -g munge /run/munge
    runuser -u munge -- munged || cannot "munged does not start"
    await 10 bash -c "munge -n | unmunge" || cannot "munged does not answer"
fi
slurmctld -f "$SLURM_CONF" || cannot "slurmctld does not start: see $place/slurmctld.log"
slurmd -f "$SLURM_CONF" || cannot "slurmd does not start: see $place/slurmd.log"
await 30 idle || cannot "the node does not become idle: see $place/slurmctld.log and $place/slurmd.log"
