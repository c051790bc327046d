#!/usr/bin/env bash
# Try a sweep on a Ray of this machine: scripts/ray_check.sh
#
# Installs the ray extra, 400 MB, into an environment of its own, $QMCNET_VENV or .venv-ray.
set -euo pipefail
QMCNET_VENV=${QMCNET_VENV:-$(dirname "${BASH_SOURCE[0]}")/../.venv-ray}
source "$(dirname "${BASH_SOURCE[0]}")/_environment.sh"
source "$root/scripts/_sweep_check.sh"

launcher=(hydra/launcher=ray)
folder=$(mktemp -d "${TMPDIR:-/tmp}/qmcnet-ray.XXXXXX")
prepare_environment ray
source "$venv/bin/activate"
export RAY_USAGE_STATS_ENABLED=0
cd "$folder"
check_sweep "done" # Ray has started it again
say "$failures checks failed; logs and runs are in $folder"
[ "$failures" = 0 ]
