#!/usr/bin/env bash
# One call on the GPU machine: training/tiny_world/gpu_run.sh STAGE MINUTES [TOTAL] [further options]
#
# STAGE    check | probe | vae | flow | judged | decoder | evaluate
# MINUTES  how long this call trains. Starting, compiling and the report at the end come on top, about 1.5 minutes: 7.5
#          is the most that fits a call of ten minutes.
# TOTAL    minutes of all calls of this stage together: where its learning rate ends (default: MINUTES).
#
# Reads training_ckpt/, what earlier calls wrote, and writes at most 8 files below 16 MB each to $OUT. Copy those over
# training_ckpt/ before the next call, and have that folder carried. compiled.tgz spares the next call most of the
# minute that torch.compile takes.
set -uo pipefail
cd "$(dirname "$0")/../.."
stage=${1:?STAGE} minutes=${2:-0} total=${3:-${2:-0}}
shift $(($# < 3 ? $# : 3))
out=${OUT:-training_ckpt}
export PYTHONPATH=. PYTHONUNBUFFERED=1 OMP_NUM_THREADS=4 TORCHINDUCTOR_CACHE_DIR=/tmp/tiny_world_compiled
mkdir -p "$out" "$TORCHINDUCTOR_CACHE_DIR"
[ -f training_ckpt/compiled.tgz ] && tar xzf training_ckpt/compiled.tgz -C "$TORCHINDUCTOR_CACHE_DIR"

clock=(--minutes "$minutes" --total "$total" --out "$out")
case $stage in
  check) program=(training.tiny_world.check "${clock[@]}" --workers 4) ;;
  probe) program=(training.tiny_world.probe) ;;
  vae) program=(training.tiny_world.vae "${clock[@]}") ;;
  flow | judged) program=(training.tiny_world.network --stage "$stage" "${clock[@]}") ;;
  decoder) program=(training.tiny_world.decoder "${clock[@]}") ;;
  evaluate) program=(benchmarks.tiny_world --out "$out") ;;
  *) echo "There is no stage $stage: check, probe, vae, flow, judged, decoder or evaluate." >&2; exit 2 ;;
esac
# A program that hangs leaves half a minute to write what there is.
timeout 570 python3 -m "${program[@]}" "$@" 2>&1 | tee "$out/$stage.log"
status=${PIPESTATUS[0]}

if tar czf /tmp/compiled.tgz -C "$TORCHINDUCTOR_CACHE_DIR" . && [ "$(stat -c %s /tmp/compiled.tgz)" -lt 15000000 ]; then
  cp /tmp/compiled.tgz "$out/compiled.tgz"
fi
echo "--- $stage ended with status $status; in $out:"
ls -l "$out"
tail -n 6 "$out/$stage.log"
exit "$status"
