#!/usr/bin/env bash
# Trains the same model on facts as they are, and turned around in three ways, with the seeds that are named.
#
#   reversal.sh [SEED...]     one seed is 0 where none is named
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

ketchup reversal-probe --name probe
names="$(ketchup path probe)/names.txt"
ketchup reverse --set mode=word --entities "$names" --name word
ketchup reverse --set mode=entity --entities "$names" --name entity
ketchup reverse --set mode=entity --set match=compute --entities "$names" --name half
ketchup new-model --name fresh

# corpus, updates: twice the texts get twice the updates, `half` has as many as there were
for seed in "${@:-0}"; do
    for run in "probe 400" "word 800" "entity 800" "half 400"; do
        read -r corpus updates <<< "$run"
        name="$corpus-s$seed"
        ketchup train --student fresh --corpus "$corpus" --name "on-$name" \
            --set seed="$seed" --set updates="$updates"
        ketchup generate --model "on-$name" --name "answers-$name"
        ketchup score --generations "answers-$name" --name "scores-$name"
    done
done
