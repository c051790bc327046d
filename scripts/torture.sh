#!/usr/bin/env bash
# Kill, damage and starve runs for ten minutes: scripts/torture.sh [arguments of benchmarks/torture.py...]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/_environment.sh"

prepare_environment test
export OMP_NUM_THREADS=1
exec "$venv/bin/python" "$root/benchmarks/torture.py" "$@"
