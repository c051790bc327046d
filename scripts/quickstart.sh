#!/usr/bin/env bash
# Install qmcnet and compute a ground state: scripts/quickstart.sh [overrides of qmcnet-train...]
#
# Without a `+system=` among the arguments this is LiH at its equilibrium bond length with `preset=quick`.
# Output goes to the directory it is called from.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/_environment.sh"

prepare_environment
case " $* " in
    *" +system="*) ;;
    *" preset="*) set -- +system=LiH "$@" ;;
    *) set -- +system=LiH preset=quick "$@" ;;
esac
exec "$venv/bin/qmcnet-train" "$@"
