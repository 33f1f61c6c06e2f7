#!/usr/bin/env bash
# How attention for `lite` is taught, without labels. Stopped at any moment, the same
# command goes on. Settings were chosen by agreement on photographs of the half that it is taught
# from, none by what it is judged on.
#   pip install '.[train,lite]'
#   assets/weights/lite.sh caltech-101-40.zip work/
set -euo pipefail
here=$(dirname "$(realpath "$0")") data=$(realpath "$1")
mkdir -p "$2"
cd "$2"

if [ ! -d caltech-101-40 ]; then
  rm -rf part report
  python "$here/lite.py" write "$data" part
  mv part/report part/caltech-101-40 .
  rmdir part
fi
for attention in spatial cbam softmax self_attention gate; do
  out=lite-$attention.safetensors
  resume=()
  [ ! -f "lite-$attention.checkpoint.safetensors" ] || resume=(--resume)
  [ -f "$out" ] || vggviz train --data caltech-101-40 --unlabelled --weights lite \
    --attention "$attention" --out "$out" --epochs 8 --views 2 --batch 32 --lr 0.005 \
    --workers 0 --cache views "${resume[@]}"
done
python "$here/lite.py" judge . "$here/../../docs/results/lite.md"
