#!/usr/bin/env bash
# Does attention help? Ten seeds of VGG19-BN at quarter width, from scratch, with and without it.
# The recipe was fixed in this file before the first run. Stopped at any moment, the same command
# goes on; finished runs, also those of docs/results/data/seed-study, are not repeated. With
# seeds, such as 4 or 0,3,7, it makes the table of these. A run takes about 10 minutes on one core.
#   pip install '.[train]'
#   assets/weights/seed-study.sh tiny-imagenet-50.zip study/ [seeds]
set -euo pipefail
here=$(dirname "$(realpath "$0")")
mkdir -p "$2"
cp -n "$here"/../../docs/results/data/seed-study/*.json "$2" 2>/dev/null || true
exec vggviz compare --data "$1" --out "$2" --seeds "${3:-10}" \
  --attention se,cbam,spatial,coordinate,self_attention --width 0.25 \
  --stages block3,block4,block5 --epochs 10 --image-sizes 32,48 --batch 64 --lr 0.05
