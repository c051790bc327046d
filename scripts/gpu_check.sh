#!/usr/bin/env bash
# Check qmcnet on the GPU of this machine in eight minutes: scripts/gpu_check.sh [arguments of benchmarks/gpu.py...]
#
# Runs the part of the suite that needs a device, then measures the parts of a step, three minutes of N2 and a killed run.
# Writes gpu_check.json and gpu_check.md, for benchmarks/README.md, where it is called from. With QMCNET_PYTHON=PYTHON it
# installs nothing and takes that interpreter as it is, on a machine without a network.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/_environment.sh"

if [ -n "${QMCNET_PYTHON:-}" ]; then
    python=$QMCNET_PYTHON
else
    prepare_environment test
    python=$venv/bin/python
fi
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}

status=0
if "$python" -c 'import pytest' 2>/dev/null; then
    "$python" -m pytest -q --rootdir "$root" "$root/tests/cuda/test_real_device.py" || status=$?
else
    echo "left out: the tests, for want of pytest" >&2
fi
"$python" "$root/benchmarks/gpu.py" --json gpu_check.json --markdown gpu_check.md "$@" || status=$?
exit "$status"
