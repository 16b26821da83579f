# Recipes of minibus. `./dev NAME` installs what a recipe needs and then runs it.

python := ".venv/bin/python"

[private]
default:
    @.venv/bin/just --list --unsorted

# ---------------------------------------------------------------- run

# Bring up a host, run 100 containers, command them, take all down again (root, under a minute)
[group('run')]
demo *ARGS: _root
    @{{ python }} -m tools.demo {{ ARGS }}

# Watch a topic of a running host's bus: `just tap vm/`, with --json for programs
[group('run')]
tap *ARGS:
    @.venv/bin/minibus tap {{ ARGS }}

# ---------------------------------------------------------------- check

# Lint, types and import contracts at the same time
[group('check')]
[parallel]
static: lint types imports

# Lint, types, import contracts, unit and contract tests: under a minute, no root
[group('check')]
check: static
    MINIBUS_TESTS=quick .venv/bin/pytest -q -n {{ num_cpus() }} -m "not system" tests/unit tests/contract

# Everything: check, then integration and system tests on this machine (root); they wait more than they reckon
[group('check')]
test *ARGS: _root static
    .venv/bin/pytest -n $(({{ num_cpus() }} + 1)) --durations 25 --durations-min 2 {{ ARGS }}

# Container tests in guests with other kernels and cgroups; `just kernels v2 no-memory` runs some (root, half an hour)
[group('check')]
kernels *NAMES: _root
    @{{ python }} -m tests.kernels.run {{ NAMES }}

# Style and formatting (ruff)
[group('check')]
lint:
    .venv/bin/ruff check --quiet
    .venv/bin/ruff format --check --quiet

# Types (mypy, strict)
[group('check')]
types:
    .venv/bin/mypy

# Who may import whom (import-linter)
[group('check')]
imports:
    .venv/bin/lint-imports --no-logo

# ---------------------------------------------------------------- measure

# Benchmarks against references measured in the same run; `just bench launch ask` runs some (root)
[group('measure')]
bench *NAMES: _root
    @{{ python }} tests/bench/run.py {{ NAMES }}

# Crash drills: `just drill` lists them, `just drill KIND [SEED] [--minutes N]` runs one, or repeats it (root)
[group('measure')]
drill *ARGS: _root
    @{{ python }} -m tests.system.drill {{ ARGS }}

# Launches, pipes and commands for so many minutes; then all that minibus holds must be where it was (root)
[group('measure')]
soak MINUTES: _root
    @{{ python }} -m tests.system.drill.soak {{ MINUTES }}

# ---------------------------------------------------------------- make

# Install what is missing, nothing else
[group('make')]
setup:
    @./dev setup

# Repair formatting, import order and whatever else ruff can
[group('make')]
fmt:
    .venv/bin/ruff check --fix --quiet
    .venv/bin/ruff format --quiet

# Write golden files for messages that have none (tests/contract)
[group('make')]
vectors:
    {{ python }} -m tools.vectors

# Write the generated pages of docs/
[group('make')]
docs:
    {{ python }} -m tools.protocol_page
    {{ python }} -m tools.commands_page
    {{ python }} -m tools.settings_page

# Units of systemd, the template of the configuration file and what else is installed: packaging/
[group('make')]
units:
    {{ python }} -m tools.units

# The guest agent, one static program: build/agent/minibus-agent
[group('make')]
agent:
    @{{ python }} -m shims.images.agent_build build/agent/minibus-agent

# Small busybox root file system for containers, with the agent in it: build/rootfs
[group('make')]
rootfs: agent
    {{ python }} -m shims.images.rootfs build/rootfs build/agent/minibus-agent

[private]
_root:
    @[ "$(id -u)" -eq 0 ] || { echo "just: this recipe starts containers and must run as root" >&2; exit 1; }
