#!/usr/bin/env bash
# The setups of the KETCHUP paper, for a machine with a GPU: a teacher, its KL student, its KETCHUP student.
#
# paper.sh TASK FAMILY TRAIN DEV TEST
#
#   TASK     xsum, europarl or gsm8k: the settings in TASK.toml
#   FAMILY   t5 (google/flan-t5-xl teaches t5-base) or qwen (Qwen1.5-4B teaches Qwen1.5-0.5B)
#   files    JSON Lines as the data sets have them; their fields are named in TASK.toml
#
# None of it has been run: it takes a GPU and models of the hub, and the minutes and figures are unknown.
# Where this is not the released code: rollouts are ancestral samples, not greedy text made random by
# dropout; weights are chosen on dev, not on test; bfloat16 stands for float16, in which T5 overflows;
# no calculator completes the sums of gsm8k; and 2,000 updates of 8 prompts stand for its 200 passes, of
# which the best was kept. Run it again and all is already done.
set -euo pipefail
task=$1 family=$2 train=$(realpath "$3") dev=$(realpath "$4") test=$(realpath "$5")
cd "$(dirname "$0")"

# five times through the data, 256 examples an update
declare -A updates=([xsum]=4000 [europarl]=22900 [gsm8k]=131)
# K with the best published figure of each task
case $family in
t5) teacher=google/flan-t5-xl student=google-t5/t5-base
    declare -A best=([xsum]=2 [europarl]=4 [gsm8k]=8) ;;
qwen) teacher=Qwen/Qwen1.5-4B student=Qwen/Qwen1.5-0.5B
    declare -A best=([xsum]=2 [europarl]=2 [gsm8k]=16) ;;
*) echo >&2 "error: no family \`$family\`; there are t5 and qwen"; exit 2 ;;
esac
run="$task-$family"

step() { ketchup "$1" --config "$task.toml" "${@:2}"; }

step corpus --train "$train" --dev "$dev" --test "$test" --name "$task"
step doctor --teacher "$teacher" --student "$student" --corpus "$task"

# first stage: the teacher's distributions on the references
step distill --objective kl --corpus "$task" --teacher "$teacher" --student "$student" --name "$run-kl" \
    --set updates="${updates[$task]}" --set accumulate=32 --set validation.every=100 \
    --set optimizer.learning_rate=1e-4 --set optimizer.warmup=0 --set optimizer.floor=0 \
    --set 'optimizer.betas=[0.9, 0.999]' --set optimizer.max_norm=0
# second stage: the student's own text, with K-step returns from the teacher's logits
step distill --k "${best[$task]}" --preset paper --corpus "$task" --teacher "$teacher" \
    --from "$run-kl" --name "$run-ketchup" --set updates=2000 --set validation.every=100

for model in "$run-kl" "$run-ketchup"; do
    step generate --model "$model" --corpus "$task" --name "$model-test"
    step score --generations "$model-test" --corpus "$task" --name "$model-scores"
done
step compare "$run-kl-scores" "$run-ketchup-scores"
