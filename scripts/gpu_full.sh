#!/usr/bin/env bash
# Train all networks that ship on one GPU, side by side:
#
#   scripts/gpu_full.sh DATA FOLDER MINUTES [PARTS]
#
# DATA is what scripts/pack_for_gpu.py made. FOLDER receives a folder for each training. After MINUTES all stop; called again
# with the same DATA and FOLDER, each goes on from its last checkpoint. PARTS, a folder, receives what scripts/ship.py needs,
# as pieces of a tar archive of 15 MB at most: `cat PARTS/trained.tar.* | tar x`. The steps are a guess at what three calls of
# nine minutes on an H100 can do: no GPU has run them yet. DIVISOR=10 makes them ten times fewer, the same in all calls.
# PYTHON is the interpreter, python3 where it is not set.
set -euo pipefail

if (($# < 3)); then sed -n '2,11s/^# \?//p' "$0"; exit 1; fi
data=$(realpath "$1") folder=$(realpath -m "$2") deadline=$((SECONDS + 60 * $3)) parts=${4:+$(realpath -m "$4")}
python=${PYTHON:-python3}
cd "$(dirname "$0")/.."
export PYTHONPATH=. PYTHONUNBUFFERED=1
mkdir -p "$folder"

# NAME SCRIPT ARGUMENTS… STEPS: until the deadline; complete or not, its checkpoints lie in FOLDER/NAME
train() {
  local name=$1 script=$2 steps=$((${!#} / ${DIVISOR:-1})) code=0
  timeout --foreground -k 10 $((deadline > SECONDS ? deadline - SECONDS : 1)) \
    "$python" "scripts/$script.py" "${@:3:$#-3}" "$folder/$name" "$steps" >>"$folder/$name.log" 2>&1 || code=$?
  tail -n 1 "$folder/$name.log" | sed "s/^/$name: /"
  ((code == 0 || code == 124)) || { echo "$name failed, see $folder/$name.log" >&2; return 1; }
  return $code
}

set -m # each training is a process group of its own
running=()
trap 'for group in "${running[@]}"; do kill -- "-$group" || true; done; exit 1' INT TERM
{ train finder train_finder "$data" "$data/overlays" 60000 &&
  train painter train_painter "$data" "$data/overlays" "$folder/finder" 10000; } & running+=($!)
train enlarge-2x train_enlarge 2 "$data" 60000 & running+=($!)
train enlarge-4x train_enlarge 4 "$data" 40000 & running+=($!)
train shuffled train_shuffled "$data" 60000 & running+=($!)
train faded train_faded "$data" 30000 & running+=($!)
failed=0
for process in "${running[@]}"; do wait "$process" || (($? == 124)) || failed=1; done

if [[ -n $parts ]]; then
  mkdir -p "$parts"
  rm -f "$parts"/trained.tar.*
  "$python" scripts/slim.py "$folder" "$folder/slim"
  tar c -C "$folder/slim" . | split -b 15MB - "$parts/trained.tar."
fi
exit $failed
