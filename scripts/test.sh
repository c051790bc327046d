#!/usr/bin/env bash
# Install qmcnet with its test and slurm extras and run the test suite: scripts/test.sh [pytest arguments...]
#
# One worker a core, eight at most; `-n 0` runs everything in one process, and `--random-order-seed=1` in another order.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/_environment.sh"

prepare_environment test slurm
cd "$root"
exec "$venv/bin/python" -m pytest -n auto --maxprocesses 8 --dist worksteal "$@"
