#!/usr/bin/env bash
# Build the documentation site into docs/_build/html: scripts/docs.sh [arguments of sphinx-build...]
#
# Installs the docs extra. Every page is executed, and a warning, a failed assertion or a broken link fails the build.
# The site needs no network: open docs/_build/html/index.html.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/_environment.sh"

prepare_environment docs
cd "$root"
export PATH=$venv/bin:$PATH OMP_NUM_THREADS=1 # as several pages are executed at once
"$venv/bin/sphinx-build" -b html -W --keep-going -q -j 4 -d docs/_build/doctrees "$@" docs docs/_build/html
echo "The site is in $root/docs/_build/html/index.html, $(du -sh docs/_build/html | cut -f1)"
