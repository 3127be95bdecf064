"""What trainers print without a bar: the words that tell a stage, a total, an epoch, a resumed or a new run."""

import re

from lib.jobs.job import Stage

# Words of the trainers' own log lines -> the stage that begins with them.
STAGES = {
    b"saving checkpoint: ": Stage.SAVING,
    b"saving last state": Stage.SAVING,
    b"saving state at": Stage.SAVING,
    b"Saving current state to": Stage.SAVING,
    b"Model weights saved in": Stage.SAVING,
    b"Saving at step": Stage.SAVING,
    b"Saving model checkpoint to": Stage.SAVING,
    b"Saving model to directory": Stage.SAVING,
    b"generating sample images at": Stage.SAMPLING,
    b"sample_sampler: ": Stage.SAMPLING,
    b"Running validation": Stage.SAMPLING,
    b"Generating Images": Stage.SAMPLING,
    b"ploading to ": Stage.UPLOADING,
}
STAGE_WORD = re.compile(b"|".join(map(re.escape, STAGES)))
EPOCH_LINE = re.compile(rb"\s*epoch (\d{1,9})/(\d{1,9})\s*\Z")
EPOCH_INCREMENTED = re.compile(rb"current_epoch: \d+, epoch: (\d{1,9})|Started new epoch: (\d{1,9})")
# "  num epochs / epoch数: 3", "Num Epochs = 1,200": the number stands last.
HEADER_NUMBER = re.compile(rb"[:=] {0,4}(\d{1,12}|\d{1,3}(?:,\d{3}){1,3})\s*\Z")
HEADERS = {
    b"num batches per epoch": "batches",
    b"num epochs": "epochs",
    b"Num Epochs": "epochs",
    b"Num examples": "examples",
    b"Total train batch size": "total_batch",
    b"gradient accumulation steps": "accumulation",
    b"optimization steps": "steps",
    b"total_num_steps": "steps",
    b"otal steps": "steps",
    b"max_train_steps": "steps",
    b"otal training steps": "steps",
}
HEADER_WORD = re.compile(b"|".join(HEADERS))
# A trainer's first words: when steps were done before, another run was appended to the same file.
OPENING = re.compile(
    rb"\s*(?:prepare tokenizer|Using DreamBooth method|running training / |Running +\d+ (?:job|process)|# Running job: "
    rb"|(?:\+ )?(?:accelerate launch|torchrun|deepspeed|python[\d.]*) [^:]*\.py )|.{0,60}\*{5} Running training \*{5}"
)
JOB_NAME = re.compile(rb"# Running job: (\S.{0,200}?)\s*\Z")
# No segment without a bar's percent sign or one of these words tells anything.
PERCENT = b"%"
WORDS = (
    b" < ",
    b"it/s",
    b"s/it",
    b"poch",
    b"step",
    b"Step ",
    b"oss",
    b"rain batch",
    b"raining",
    b"train state",
    b"aving",
    b"ampl",
    b"aching",
    b"unning",
    b"um ",
    b".py ",
    b"saved",
    b"repare t",
    b"Using D",
    b"ploading to",
    b"alidation",
    b"Generating",
    b"NaN d",
    b"network weights from",
    b"esuming from",
    b"RESUMING FROM",
)
# What a supervisor writes before each of several commands.
COMMAND_STEP = re.compile(rb"Step \d{1,3} of \d{1,3}: (.*)")
TABLE_HEAD = re.compile(rb"\s{0,8}Step\s{1,8}Training Loss\b")
TABLE_ROW = re.compile(rb"\s{0,8}(\d{1,12})\s{1,8}(\d{1,9}\.\d{1,12})\b")
RESUME_STATE = re.compile(rb"resume training from local\s+state:\s*(.+)")
TRAIN_STATE = re.compile(rb"load train state from.*'current_step':\s*(\d{1,12})", re.DOTALL)
# In the words of: sd-scripts and musubi-tuner, diffusers, ai-toolkit.
LOADED = re.compile(
    rb"(?:load network weights from|Resuming from checkpoint|IMPORTANT RESUMING FROM) (\S.{0,400}?)(?::\s|\s*#+|\s*\Z)"
)
STEP_OF_LOADED = re.compile(rb"Found step (\d{1,12}) in metadata|Resuming from checkpoint checkpoint-(\d{1,12})")
STEP_IGNORED = b"steps from the state is ignored"
SKIPPING = re.compile(rb"skipping (\d+) steps")
# A loss with a number, or a step: most words with "oss" in them are none.
FACTS = re.compile(rb"(?i)loss[\w/]{0,12}['\"]?\s?[:=]\s?['\"]?\s*[-\d ni]|step=")
# The average so far, in the postfix of sd-scripts' validation bars.
VALIDATION_LOSS = re.compile(rb"\bval_(?:epoch_)?avg_loss=(\d{1,9}(?:\.\d{0,20})?(?:e-?\d{1,3})?|nan|inf)")
LEARNING_RATE = re.compile(rb"\blr(?:=|: )([\d.eE+-]{1,20})")
