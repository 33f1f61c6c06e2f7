#!/usr/bin/env bash
# How attention for `lite` is taught, without labels. Stopped at any moment, the same
# command goes on. How settings were chosen stands in docs/results/lite.md.
#   pip install '.[train,lite]'
#   assets/weights/lite.sh caltech-101-40.zip work/ tiny-imagenet-50.zip
set -euo pipefail
here=$(dirname "$(realpath "$0")") data=$(realpath "$1") boxes=$(realpath "$3")
mkdir -p "$2"
cd "$2"

if [ ! -d caltech-101-40 ]; then
  rm -rf part report
  python "$here/lite.py" write "$data" part
  mv part/report part/caltech-101-40 .
  rmdir part
fi

for type in spatial:5 cbam:2 softmax:6 self_attention:6 gate:3; do
  attention=${type%:*} price=${type#*:}
  out=lite-$attention.safetensors
  resume=()
  [ ! -f "lite-$attention.checkpoint.safetensors" ] || resume=(--resume)
  [ -f "$out" ] || vggviz train --data caltech-101-40 --unlabelled --weights lite \
    --attention "$attention" --price "$price" --out "$out" --epochs 8 --views 2 --batch 32 \
    --lr 0.005 --workers 0 --cache views "${resume[@]}"
done
python "$here/lite.py" judge . "$here/../../docs/results/lite.md" "$boxes"
