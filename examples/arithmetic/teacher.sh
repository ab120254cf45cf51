#!/usr/bin/env bash
# How the teacher comes to be, from random weights; neither problems nor weights are shipped.
# LICENSE-DATA.md says why. A killed run goes on where it stopped.
set -euo pipefail
cd "$(dirname "$0")"

[ -f data/train.jsonl.gz ] || python problems.py
[ -f data/all/train.jsonl.gz ] || python problems.py --sums 7 --out data/all

imported() { # folder, name
    ketchup corpus --config teacher.toml --train "$1/train.jsonl.gz" --dev "$1/dev.jsonl.gz" \
        --test "$1/test.jsonl.gz" --split iid="$1/iid.jsonl.gz" --split seen="$1/seen.jsonl.gz" --name "$2"
}
imported data arithmetic
imported data/all arithmetic-all

# all chains first, whose longer ones it never learns, then those of one or two sums
ketchup new-model --config teacher.toml --corpus arithmetic-all --name arithmetic-random
ketchup train --config teacher.toml --corpus arithmetic-all --name arithmetic-begun
# what is solved by chance decides nothing: from here on the loss chooses the weights
ketchup train --config teacher.toml --corpus arithmetic-all --student arithmetic-begun --name arithmetic-further \
    --set updates=2400 --set optimizer.warmup=30 --set optimizer.hold=0.5 \
    --set validation.metric=loss --set validation.every=400
ketchup train --config teacher.toml --student arithmetic-further --name arithmetic-teacher \
    --set updates=900 --set optimizer.learning_rate=8e-4 --set optimizer.warmup=30 --set optimizer.hold=0.2 \
    --set validation.metric=loss --set validation.every=300
