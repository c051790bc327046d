#!/usr/bin/env bash
# Try sweeps and requeueing on a real Slurm: scripts/slurm_check.sh
#
# Uses the Slurm of this machine where there is one. Otherwise it installs Debian's packages and starts a Slurm of a single
# node in a temporary folder, for which it needs root, and stops it at the end. Takes some ten minutes of two cores.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/_environment.sh"

say() { printf '\n== %s\n' "$*"; }

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

tiny=(+system=H2 ansatz.n_layers=1 ansatz.hidden_one=8 ansatz.hidden_two=4 ansatz.n_determinants=1 batch_size=32
    sampler.steps=5 pretraining.steps=0 burn_in.min_sweeps=20 burn_in.max_sweeps=20 evaluation.burn_in=20
    evaluation.steps=200 checkpoints.seconds=1 device=cpu)
launcher=(hydra/launcher=slurm hydra.launcher.cpus_per_task=1)

expect() { # WHAT EXPECTED FOUND
    if [[ $3 == $2 ]]; then
        echo "ok: $1: $3"
    else
        echo "FAILED: $1: $3 instead of $2"
        failures=$((failures + 1))
    fi
}

sweep() { # NAME ARGUMENTS...: run a sweep into its folder; sets `status`
    local name=$1
    shift
    status=0
    qmcnet-train -m "${tiny[@]}" "${launcher[@]}" hydra.sweep.dir="$name" 'hydra.sweep.subdir=${bond_length}' "$@" \
        >"$name.log" 2>&1 || status=$?
    sed '/^\[/d; s/^/    /' "$name.log" | cut -c1-110
}

state_of() { sed -n "s|.*,\([a-z][^,]*\),$1/$2\$|\1|p" "$1"/sweep_*/sweep.csv | tail -n 1; }

kill_once_it_trains() { # FOLDER INDEX VALUE: kill -9 the Python process of one job of the sweep
    local process
    while sleep 0.3; do
        ls "$1/$3"/checkpoints/*optimization* >/dev/null 2>&1 || continue
        for process in $(pgrep -f '^[^ ]*/python[0-9.]* -u -m submitit'); do
            tr '\0' '\n' <"/proc/$process/environ" 2>/dev/null | grep -qx "SLURM_ARRAY_TASK_ID=$2" && kill -9 "$process" && return
        done
    done
}

check_sweep() {
    say "a sweep of five points, of which one is refused and one killed"
    local arguments=(steps=400 bond_length=1.0,1.2,-1,1.4,1.6)
    kill_once_it_trains swept 3 1.4 &
    sweep swept "${arguments[@]}"
    wait $!
    expect "exit status" 1 "$status"
    expect "refused point" "failed: bond_length=-1 is not a length*" "$(state_of swept -1)"
    expect "killed point" "failed: its job was lost*" "$(state_of swept 1.4)"
    expect "other points" "done done done" "$(echo "$(state_of swept 1.0) $(state_of swept 1.2) $(state_of swept 1.6)")"
    say "the same command again"
    local before
    before=$(stat -c %Y swept/1.0/result.json)
    sweep swept "${arguments[@]}"
    expect "exit status" 1 "$status"
    expect "killed point" "done" "$(state_of swept 1.4)"
    expect "result of a point that was done" "$before" "$(stat -c %Y swept/1.0/result.json)"
    expect "times that the killed point went on from its checkpoint" 1 "$(grep -c 'continuing' swept/1.4/train.log)"
}

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
srun qmcnet-train ${tiny[*]} steps=2000 wall_time=20 hydra.run.dir=together
status=\$?
if [ \$status -eq 75 ] && [ \${SLURM_RESTART_COUNT:-0} -lt 20 ]; then scontrol requeue \$SLURM_JOB_ID; fi
exit \$status
EOF
    local job
    job=$(sbatch --parsable srun.sh)
    within 600 sh -c "[ -e together/result.json ] && [ -z \"\$(squeue --noheader --jobs=$job 2>/dev/null)\" ]" || true
    expect "state of the job" COMPLETED "$(sacct --noheader --parsable2 --allocations --format=State --jobs="$job")"
    expect "times that the run went on" "[1-9]*" "$(grep -c 'continuing' together/train.log)"
    sed -n '/^energy/s/^/    /p' srun.log
}

failures=0
folder=$(mktemp -d /tmp/qmcnet-slurm.XXXXXX)
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
check_sweep
check_time_limit
check_srun
say "$failures checks failed"
[ "$failures" = 0 ]
