#!/usr/bin/env bash
# Install qmcnet with its test extra and run the test suite: scripts/test.sh [pytest arguments...]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/_environment.sh"

prepare_environment test
cd "$root"
exec "$venv/bin/python" -m pytest "$@"
