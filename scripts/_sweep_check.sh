# Sourced by slurm_check.sh and ray_check.sh: a sweep of five tiny runs under a launcher, and what is expected of it.

failures=0
tiny=(+system=H2 ansatz.n_layers=1 ansatz.hidden_one=8 ansatz.hidden_two=4 ansatz.n_determinants=1 batch_size=32
    sampler.steps=5 pretraining.steps=0 burn_in.min_sweeps=20 burn_in.max_sweeps=20 evaluation.burn_in=20
    evaluation.steps=200 checkpoints.seconds=0 device=cpu)

say() { printf '\n== %s\n' "$*"; }

expect() { # WHAT EXPECTED FOUND
    if [[ $3 == $2 ]]; then
        echo "ok: $1: $3"
    else
        echo "FAILED: $1: $3 instead of $2"
        failures=$((failures + 1))
    fi
}

sweep() { # FOLDER ARGUMENTS...: run a sweep by "${launcher[@]}" into a folder; sets `status`
    local name=$1
    shift
    status=0
    qmcnet-train -m "${tiny[@]}" "${launcher[@]}" hydra.sweep.dir="$name" 'hydra.sweep.subdir=${bond_length}' "$@" \
        >"$name.log" 2>&1 || status=$?
    sed -n '/_run_job/d; /^bond_length  \|^energy \|  energy /,$p' "$name.log" | sed 's/^/    /' | cut -c1-110
}

state_of() { # FOLDER VALUE: what the table of a sweep says of a point
    tr -d '\r' <"$(ls -t "$1"/sweep_*/sweep.csv | head -n 1)" | sed -n "s|.*,\([a-z][^,]*\),$1/$2\$|\1|p"
}

kill_once_it_trains() { # DIRECTORY: kill -9 the process that has the log of a run open
    local process
    while sleep 0.3; do
        ls "$1"/checkpoints/*optimization* >/dev/null 2>&1 || continue
        process=$(find /proc/[0-9]*/fd -lname "$PWD/$1/train.log" 2>/dev/null | head -n 1 | cut -d / -f 3) || true
        [ -z "$process" ] || { kill -9 "$process" && return; }
    done
}

check_sweep() { # EXPECTED: what becomes of a point that is killed
    say "a sweep of five points, of which one is refused and one killed"
    local arguments=(steps=200 bond_length=1.0,1.2,-1,1.4,1.6) killer before
    kill_once_it_trains swept/1.4 &
    killer=$!
    sweep swept "${arguments[@]}"
    kill "$killer" 2>/dev/null || true
    expect "exit status" 1 "$status"
    expect "refused point" "failed: bond_length=-1 is not a length*" "$(state_of swept -1)"
    expect "killed point" "$1" "$(state_of swept 1.4)"
    expect "other points" "done done done" "$(state_of swept 1.0) $(state_of swept 1.2) $(state_of swept 1.6)"
    say "the same command again"
    before=$(stat -c %Y swept/1.0/result.json)
    sweep swept "${arguments[@]}"
    expect "exit status" 1 "$status"
    expect "killed point" "done" "$(state_of swept 1.4)"
    expect "time of a result that was there" "$before" "$(stat -c %Y swept/1.0/result.json)"
    expect "times that the killed point went on from its checkpoint" 1 "$(grep -c 'continuing' swept/1.4/train.log)"
}
