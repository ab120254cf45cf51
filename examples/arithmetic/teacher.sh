#!/usr/bin/env bash
# How the teacher comes to be, from random weights; neither problems nor weights are shipped.
# LICENSE-DATA.md says why. A killed run goes on where it stopped.
set -euo pipefail
cd "$(dirname "$0")"

[ -f data/train.jsonl.gz ] || python problems.py

ketchup corpus --config teacher.toml --train data/train.jsonl.gz --dev data/dev.jsonl.gz \
    --test data/test.jsonl.gz --split iid=data/iid.jsonl.gz --split seen=data/seen.jsonl.gz
ketchup new-model --config teacher.toml --name arithmetic-random
ketchup train --config teacher.toml --name arithmetic-teacher
