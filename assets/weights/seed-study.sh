#!/usr/bin/env bash
# Does attention help? Ten seeds of VGG19-BN at quarter width, from scratch, with and without it.
# The recipe was fixed in this file before the first run. Stopped at any moment, the same command
# goes on, and finished runs are not repeated. With a number of seeds it makes the table of these.
#   pip install '.[train]'
#   assets/weights/seed-study.sh tiny-imagenet-50.zip study/ [seeds]
set -euo pipefail
exec vggviz compare --data "$1" --out "$2" --seeds "${3:-10}" \
  --attention se,cbam,spatial,coordinate,self_attention --width 0.25 \
  --epochs 12 --image-sizes 32,48 --batch 64 --lr 0.05
