#!/usr/bin/env bash
# Trains the same model on facts as they are, and turned around by word or with names left whole.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

ketchup reversal-probe --name probe
names="$(ketchup path probe)/names.txt"
ketchup reverse --set mode=word --entities "$names" --name word
ketchup reverse --set mode=entity --entities "$names" --name entity
ketchup new-model --name fresh
for corpus in probe word entity; do
    ketchup train --student fresh --corpus "$corpus" --name "on-$corpus"
    ketchup generate --model "on-$corpus" --name "answers-$corpus"
    ketchup score --generations "answers-$corpus" --name "scores-$corpus"
done
