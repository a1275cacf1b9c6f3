#!/usr/bin/env bash
# The fast loop: format, lint, types, layers, our own AST rules, unit tests. About a minute on two quiet cores (59 to 62 s
# measured); a fresh clone's first run takes some 20 s more, for types and bytecode that the next ones find.
# `check.sh BIN whole` draws four times as many examples for tests of properties, and asks again about the few that
# failed. What takes seconds by itself is marked `deep` and left to `make test`, or draws by `tests.examples`.
set -euo pipefail
bin=${1:-.venv/bin}; examples=${2:-quick}
# Four workers on two cores: a fourth of a test's time is waiting. Two where the machine is not to decide anything.
runner=pytest; workers=4; if [ "$examples" = whole ]; then runner=scripts.again; workers=2; fi
step() { printf '\033[1;36m-- %s\033[0m\n' "$*"; }
# Container images forbid bytecode. Without it each worker compiles every module and rewrites every test again, for
# 5 s of each core.
export PYTHONDONTWRITEBYTECODE=
# Databases in memory, where it has room for them: unit tests commit some ten thousand times, and a disk takes
# milliseconds to flush each.
room_kib=$(df --output=avail -k /dev/shm 2>/dev/null | tail -n 1 || true)
if [ "${room_kib:-0}" -gt 4000000 ] && [ -w /dev/shm ]; then export TMPDIR=/dev/shm; fi

step "format and lint"; "$bin/ruff" format --check --quiet . && "$bin/ruff" check --quiet .

# Beside the unit tests: a worker waits for disks and threads now and then.
static() {
  step "types";     "$bin/mypy" --no-error-summary
  step "layers";    "$bin/lint-imports" --no-cache | tail -n 3
  step "AST rules"; "$bin/python" -m scripts.lint
}
found=$(mktemp); trap 'rm -f "$found"' EXIT
(set -euo pipefail; static) >"$found" 2>&1 & checking=$!

step "unit tests"; status=0
"$bin/python" -m "$runner" -q -n "$workers" --dist worksteal --hypothesis-profile="$examples" \
  -m "not chain and not postgres and not e2e and not deep" || status=$?
wait "$checking" || status=$?
cat "$found"
exit "$status"
