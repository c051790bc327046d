# Sourced by the scripts beside it, which then call `prepare_environment [EXTRA...]`.
#
# Makes a virtual environment in $QMCNET_VENV (default: .venv in the repository), installs qmcnet there with
# the versions of constraints.txt, and sets `root` and `venv`. Does nothing when it is already up to date.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=${QMCNET_VENV:-$root/.venv}
case $venv in /*) ;; *) venv=$PWD/$venv ;; esac

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

is_recent_python() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
    local candidate
    if [ -n "${PYTHON:-}" ]; then
        is_recent_python "$PYTHON" || fail "PYTHON=$PYTHON is not a Python 3.11 or newer."
        echo "$PYTHON"
        return
    fi
    for candidate in python3 python3.13 python3.12 python3.11 python3.14 python; do
        if is_recent_python "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    fail "qmcnet needs Python 3.11 or newer and found $(python3 --version 2>&1 || true)." \
        "Install one, or name it: PYTHON=/path/to/python3.11 $0"
}

make_venv() {
    local python
    if [ -e "$venv" ]; then
        is_recent_python "$venv/bin/python" || fail "$venv has no working Python 3.11 or newer: delete it and try again."
        return
    fi
    python=$(find_python)
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$python has no venv module: install it (Debian and Ubuntu: apt install python3-venv)."
    echo "Creating $venv with $("$python" --version)" >&2
    "$python" -m venv "$venv" || fail "$python could not create $venv."
}

fingerprint() {
    (cd "$root" && "$venv/bin/python" -c '
import hashlib, sys
content = [sys.version, *(open(name).read() for name in ("pyproject.toml", "setup.cfg", "constraints.txt"))]
print(hashlib.sha256("\0".join([sys.argv[1], *content]).encode()).hexdigest())' "$root")
}

is_installed() {
    local name
    for name in "$@"; do
        [ "$(cat "$venv/.installed-$name" 2>/dev/null)" = "$current" ] || return 1
    done
}

pip_install() {
    local log=$venv/install.log
    "$venv/bin/python" -m pip --disable-pip-version-check install \
        --constraint "$root/constraints.txt" "$@" >"$log" 2>&1 && return
    tail -n 5 "$log" >&2
    if grep -qiE 'NewConnectionError|ConnectTimeout|ReadTimeout|ProxyError|Could not fetch URL|name resolution' "$log"; then
        fail "the packages could not be downloaded: check the network and try again (log: $log)."
    fi
    fail "pip could not install the packages (log: $log)."
}

prepare_environment() {
    local current name extras
    make_venv
    current=$(fingerprint)
    is_installed base "$@" && return
    extras=$(IFS=,; echo "$*")
    echo "Installing qmcnet and its dependencies into $venv (a few minutes the first time)" >&2
    for name in base "$@"; do rm -f "$venv/.installed-$name"; done
    pip_install torch
    pip_install --editable "$root${extras:+[$extras]}"
    for name in base "$@"; do echo "$current" >"$venv/.installed-$name"; done
}
