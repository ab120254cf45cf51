#!/usr/bin/env bash
# Word problems: one student, then K-step returns and rewards from there; run it again and all is already done.
# `teacher.sh` has to run first: neither problems nor weights are shipped.
set -euo pipefail
cd "$(dirname "$0")"

ketchup cache-teacher
ketchup shrink
ketchup distill --objective kl --name kl-student \
    --set updates=200 --set dropout=0 --set optimizer.learning_rate=1e-3 --set optimizer.warmup=20

# from that student, about equal minutes of one core each
learn() { # name, then objective and settings
    ketchup distill --from kl-student --name "$@" --set validation.every=15 --set optimizer.warmup=5
}
for k in 1 2 4 8; do
    learn "k$k-student" --k "$k" --set updates=30
done
learn kdrl-student --objective kdrl --set updates=30 --set rollout.prompts=6 --set rollout.samples=8
ketchup rollout --model kl-student --name before
learn dph-student --objective dph_rl --rollouts before --set updates=30 \
    --set rollout.prompts=6 --set rollout.samples=8

students=(kl-student k1-student k2-student k4-student k8-student kdrl-student dph-student)
for split in test iid; do
    for model in arithmetic-teacher "${students[@]}"; do
        ketchup generate --model "$model" --split "$split" --name "$model-$split"
        ketchup score --generations "$model-$split" --name "$model-$split-scores"
    done
    # the same with a calculator that completes every sum
    for model in arithmetic-teacher kl-student; do
        ketchup generate --calculator --model "$model" --split "$split" --name "$model-sums-$split"
        ketchup score --generations "$model-sums-$split" --name "$model-sums-$split-scores"
    done
    ketchup compare "${students[@]/%/-$split}" --split "$split" --name "students-$split"
done

# what rewards kept of what the student could do before, and what is new: 8 samples a problem
for model in kl-student kdrl-student dph-student; do
    ketchup generate --model "$model" --split iid --name "$model-samples" \
        --set decoding.method=sample --set decoding.texts=8
    ketchup score --generations "$model-samples" --base kl-student-samples --name "$model-samples-scores" \
        --set 'metrics=["gsm8k-numeric"]' --set 'pass_k=[1, 8]'
done

# how much of that is luck: the same student with other random numbers
ketchup generate --model kl-student --split iid --name kl-again-samples \
    --set decoding.method=sample --set decoding.texts=8 --set seed=1
ketchup score --generations kl-again-samples --base kl-student-samples --name kl-again-samples-scores \
    --set 'metrics=["gsm8k-numeric"]' --set 'pass_k=[1, 8]'

python matches.py arithmetic-teacher arithmetic-teacher-sums kl-student-sums "${students[@]}"
python matches.py --samples kl-student kl-again kdrl-student dph-student
