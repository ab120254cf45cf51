#!/usr/bin/env bash
# Every objective, a few updates each: does it run on this pair, how fast, and does its loss fall?
#
# objectives.sh              on the decoder-only pair of this folder, after pipeline.sh
# objectives.sh ../en-nl     on the encoder-decoder pair of examples/en-nl, after its pipeline.sh
#
# Four updates teach nothing: this says what works, and nothing about what is good.
set -euo pipefail
figures=$(cd "$(dirname "$0")" && pwd)/figures.py
cd "${1:-$(dirname "$0")}"

few=(--from kl-student --set updates=4 --set examples=400 --set tokens_per_batch=800
    --set dropout=0 --set optimizer.warmup=1 --set checkpoint_every=0
    --set rollout.prompts=6 --set rollout.samples=2 --set rollout.max_new_tokens=24
    --set validation.every=0 --set validation.examples=32 --set validation.probe=16)
names=()

quietly() { ketchup "$@" > /dev/null; }

learn() { # name, then objective and settings
    local name=$1; shift
    quietly distill "${few[@]}" --name "try-$name" "$@"
    names+=("try-$name")
}

# from given text: references, or what the teacher wrote
learn nll --objective nll
learn seqkd --objective nll --set objective.prefixes=teacher
learn kl --objective kl --set teacher=cache
learn kl-live --objective kl --set teacher=live
learn skew-kl --objective skew_kl
learn skew-rkl --objective skew_rkl
learn adaptive-kl --objective adaptive_kl --set teacher=live

# from what the student writes, or both
learn kl-student --objective kl --set objective.prefixes=student
learn reverse-kl --objective reverse_kl
learn engine --objective engine
learn js --objective js
learn js-exact --objective js --set objective.mixture=exact
learn tvd --objective tvd
learn gkd --objective gkd
learn gkd-continuous --objective gkd --set objective.mixture=continuous --set objective.beta=0.9
learn skew-kl-distillm --objective skew_kl --preset distillm
learn skew-rkl-distillm --objective skew_rkl --preset distillm

# by rewards
learn llmr --objective llmr
learn ketchup --k 4
learn ketchup-exact --k 4 --set objective.immediate=exact --set objective.baseline=leave-one-out
learn vopd --objective vopd
learn vopd-top-k --objective vopd --set objective.support=top-k
learn minillm --objective minillm --set rollout.teacher_share=0.2

# by a reward of one's own, with the teacher beside it or with stored samples
quietly rollout --model kl-student --name try-rollouts --set examples=100 --set decoding.texts=4 \
    --set decoding.max_new_tokens=24 --set reward.shaped=rougeL --set reward.threshold=0.2
learn kdrl --objective kdrl --set reward.shaped=rougeL
learn dph-rl --objective dph_rl --rollouts try-rollouts --set reward.shaped=rougeL --set reward.threshold=0.2

# by preferences: the student's text against the teacher's, or token against token
learn dpkd --objective dpkd --set rollout.samples=1
learn dpkd-token --objective dpkd --preset released

# what stands in a mix
learn sinkd --objective sinkd --preset released
learn sinkd-debiased --objective sinkd --set objective.form=debiased --set objective.max_tokens=32
learn layer-match --objective layer_match --preset paper

# teachers that learn too
learn okd-lora --objective okd
learn okd-head --objective okd --set objective.module=head
learn bd-kd-lora --objective bd_kd
learn bd-kd-head --objective bd_kd --set objective.module=head
learn bd-kd-full --objective bd_kd --set objective.module=full

python "$figures" runs "${names[@]}"
