#!/usr/bin/env bash
# Cancels the jobs of the SLURM that start.sh started in the folder given, and ends its two daemons; munged stays.
set -uo pipefail
place=$(realpath -m "${1:?"usage: stop.sh FOLDER"}")
export SLURM_CONF="$place/slurm.conf"
[ -f "$SLURM_CONF" ] || exit 0
scancel --user="$(id -un)" 2>/dev/null
for _ in $(seq 100); do
    [ -z "$(squeue -h 2>/dev/null)" ] && break
    sleep 0.1
done
for daemon in slurmd slurmctld; do
    pid=$(cat "$place/$daemon.pid" 2>/dev/null) || continue
    kill "$pid" 2>/dev/null
    for _ in $(seq 100); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
done
