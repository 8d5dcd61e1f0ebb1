#!/usr/bin/env bash
# Fill the board with an example: train the grid `demo` (about 4 minutes), submit its runs, accept them, build the site.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
bench run --grid demo --store example/runs --quiet
bench export --store example/runs -o example/demo.zip --quiet
bench board submit example/demo.zip --board . --name demo --laboratory "Example Laboratory" --licence CC-BY-4.0 --quiet
bench board decide accepted demo --board . --by "Example Maintainer" --why "every number computed again" --quiet
bench board build . --output site --quiet
