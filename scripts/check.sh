#!/usr/bin/env bash
# The fast loop: format, lint, types, layers, our own AST rules, unit tests. Under a minute.
set -euo pipefail
bin=${1:-.venv/bin}
step() { printf '\033[1;36m-- %s\033[0m\n' "$*"; }
step "format and lint"; "$bin/ruff" format --check --quiet . && "$bin/ruff" check --quiet .
step "types";           "$bin/mypy" --no-error-summary
step "layers";          "$bin/lint-imports" --no-cache | tail -n 3
step "AST rules";       "$bin/python" -m scripts.lint
step "unit tests";      "$bin/pytest" -q -n 2 -m "not chain and not postgres and not e2e and not deep"
