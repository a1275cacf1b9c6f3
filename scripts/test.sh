#!/usr/bin/env bash
# Everything CI runs: the checks, the pinned downloads, then all the tests in parallel.
set -euo pipefail
bin=${1:-.venv/bin}; jobs=${2:-2}
bash scripts/check.sh "$bin" whole
export PYTHONDONTWRITEBYTECODE=  # services that tests start find what others compiled
printf '\033[1;36m-- %s\033[0m\n' "local chain artifacts"; "$bin/python" -m scripts.devnet fetch
printf '\033[1;36m-- %s\033[0m\n' "chain, storage and end-to-end tests"
exec "$bin/python" -m scripts.again -n "$jobs" --dist worksteal -m "chain or postgres or e2e or deep" --durations=10
