#!/usr/bin/env bash
# Write the two lock files of the Dockerfile anew: PyTorch with its parts, and all the rest.
# Needs uv. Two files, since whoever has no GPU takes PyTorch from elsewhere, in a tenth the size.
set -euo pipefail
cd "$(dirname "$0")/.."

compile() {
  uv pip compile pyproject.toml --extra app --extra serve --extra heic --generate-hashes --no-annotate --no-header --quiet \
    --python-version 3.11 --python-platform x86_64-unknown-linux-gnu "$@"
}

all=$(compile)
heavy=$(grep -oE '^(torch|torchvision|triton|nvidia-[a-z0-9-]+|cuda-[a-z]+)==' <<<"$all" | tr -d =)
# shellcheck disable=SC2046  # one option a package
rest=$(compile $(printf -- '--no-emit-package %s ' $heavy))
printf '%s\n' "$rest" | grep -v '^# ' >deploy/requirements.lock
awk -v heavy="$(tr '\n' ' ' <<<"$heavy")" '
  BEGIN { split(heavy, names, " "); for (i in names) wanted[names[i]] = 1 }
  /^[a-z]/ { split($1, parts, "=="); inside = parts[1] in wanted }
  inside' <<<"$all" >deploy/torch.lock
