#!/usr/bin/env bash
# Try sweeps and requeueing on a real Slurm: scripts/slurm_check.sh
#
# Uses the Slurm of this machine where there is one; TMPDIR is to be a folder that its nodes share. Otherwise it installs
# Debian's packages and starts a Slurm of a single node in a temporary folder, for which it needs root, and stops it at
# the end. Takes ten minutes, most of them waiting.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/_environment.sh"
source "$root/scripts/_sweep_check.sh"

install_slurm() {
    command -v apt-get >/dev/null || fail "there is no Slurm here, and without apt-get none can be installed."
    [ "$(id -u)" = 0 ] || fail "there is no Slurm here: run this as root, which can install and start one."
    local packages=(slurm-wlm slurmdbd munge mariadb-server-core)
    dpkg -s "${packages[@]}" >/dev/null 2>&1 && return
    say "installing ${packages[*]}"
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${packages[@]}"; } \
        >"$folder/apt.log" 2>&1 || { tail -n 5 "$folder/apt.log"; fail "apt-get could not install them."; }
}

settings() { # of a node with the cores of this machine, a database for what became of jobs, and ports of its own
    cat >"$folder/slurm.conf" <<EOF
ClusterName=check
SlurmctldHost=localhost
SlurmctldPort=16817
SlurmdPort=16818
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
NodeName=localhost NodeHostname=localhost NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=check Nodes=localhost Default=YES MaxTime=INFINITE State=UP
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,sched_interval=2
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePort=16820
AccountingStoragePass=$folder/munge.socket
MpiDefault=none
ReturnToService=2
EOF
    cat >"$folder/slurmdbd.conf" <<EOF
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
DbdHost=localhost
DbdPort=16820
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=16819
StorageUser=root
StorageLoc=slurm
PidFile=$folder/slurmdbd.pid
LogFile=$folder/slurmdbd.log
EOF
    chmod 600 "$folder/slurmdbd.conf"
}

within() { # SECONDS COMMAND...: wait until a command succeeds
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || return 1
        sleep 1
    done
}

start_slurm() {
    say "starting Slurm in $folder"
    settings
    mkdir "$folder/db" "$folder/state" "$folder/spool"
    (umask 077 && head -c 1024 /dev/urandom >"$folder/munge.key")
    export SLURM_CONF=$folder/slurm.conf
    munged --force --socket="$folder/munge.socket" --key-file="$folder/munge.key" --pid-file="$folder/munged.pid" \
        --log-file="$folder/munged.log" --seed-file="$folder/munged.seed"
    mariadbd --no-defaults --user=root --skip-grant-tables --skip-networking=0 --bind-address=127.0.0.1 --port=16819 \
        --datadir="$folder/db" --socket="$folder/db.socket" --pid-file="$folder/mariadbd.pid" >"$folder/mariadbd.log" 2>&1 &
    within 60 grep -q "ready for connections" "$folder/mariadbd.log" || fail "MariaDB does not start: $folder/mariadbd.log"
    slurmdbd
    within 60 sacctmgr -i add cluster check || fail "slurmdbd does not start: $folder/slurmdbd.log"
    slurmctld
    slurmd -N localhost
    within 60 sh -c 'sinfo --noheader -o %t | grep -q idle' || fail "Slurm does not start: $folder/slurmctld.log"
    started=yes
}

clean_up() {
    local status=$? name
    if [ -n "${SLURM_CONF:-}" ] && [ "${SLURM_CONF%/*}" = "$folder" ]; then
        scancel --quiet --user="$(id -un)" 2>/dev/null || true
        sleep 2
        for name in slurmd slurmctld slurmdbd mariadbd munged; do
            [ ! -s "$folder/$name.pid" ] || kill "$(cat "$folder/$name.pid")" 2>/dev/null || true
        done
        sleep 2
    fi
    if [ "$status" = 0 ]; then rm -rf "$folder"; else echo "logs and runs are left in $folder" >&2; fi
    exit "$status"
}

launcher=(hydra/launcher=slurm hydra.launcher.cpus_per_task=1)

check_time_limit() {
    say "a run that is longer than the time limit of its job, of two minutes"
    sweep limited steps=1000000 bond_length=1.4 hydra.launcher.timeout_min=2 hydra.launcher.signal_delay_s=30 \
        hydra.launcher.max_num_timeout=1
    expect "times that the run was saved" 2 "$(grep -c 'received SIGUSR2: .* saved after step' limited/1.4/train.log)"
    expect "times that its job was queued again and it went on" 1 "$(grep -c 'continuing' limited/1.4/train.log)"
    expect "exit status" 75 "$status"
    expect "status" "interrupted after step *" "$(state_of limited 1.4)"
}

check_srun() {
    say "srun with two processes, and scontrol requeue until the run is done"
    cat >srun.sh <<EOF
#!/bin/bash
#SBATCH --ntasks=2 --requeue --open-mode=append --output=srun.log
limit=1 # second; a run that goes on has as much as it needs
[ \${SLURM_RESTART_COUNT:-0} = 0 ] || limit=3600
srun qmcnet-train ${tiny[*]} steps=100 wall_time=\$limit hydra.run.dir=together
status=\$?
if [ \$status -eq 75 ]; then scontrol requeue \$SLURM_JOB_ID; fi
exit \$status
EOF
    local job
    job=$(sbatch --parsable srun.sh)
    within 600 sh -c "[ -e together/result.json ] && [ -z \"\$(squeue --noheader --jobs=$job 2>/dev/null)\" ]" || true
    expect "state of the job" COMPLETED "$(sacct --noheader --parsable2 --allocations --format=State --jobs="$job")"
    expect "times that the run went on" "[1-9]*" "$(grep -c 'continuing' together/train.log)"
    sed -n '/^energy/s/^/    /p' srun.log
}

folder=$(mktemp -d "${TMPDIR:-/tmp}/qmcnet-slurm.XXXXXX")
trap clean_up EXIT
if ! sinfo >/dev/null 2>&1; then
    install_slurm
    start_slurm
fi
say "$(sinfo --version), $(sinfo --noheader --format='%D node(s) with %c cores')"
prepare_environment slurm
source "$venv/bin/activate"
export OMP_NUM_THREADS=1
cd "$folder"
check_sweep "failed: its job was lost*"
check_time_limit
check_srun
say "$failures checks failed"
[ "$failures" = 0 ]
