"""A trainer that trains nothing: prints like sd-scripts, and leaves proof of what it did.

Run with ``python -I -S``; it must start fast and imports nothing of this project. Below the proof folder:
``JOB.lock`` is held while it runs, ``JOB.twice`` says that it was not, ``JOB.runs`` lists its starts,
``JOB-ATTEMPT.written`` repeats what went to the log, ``JOB-ATTEMPT.done`` says that it came to its end.
"""

import fcntl
import os
import sys
import time

FLOOD_BYTES = 16 << 10
# A whole safetensors file with the two factors of one module.
_HEADER = (
    b'{"a.lora_down.weight":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]},'
    b'"a.lora_up.weight":{"dtype":"F32","shape":[1,1],"data_offsets":[4,8]}}'
)
LORA = len(_HEADER).to_bytes(8, "little") + _HEADER + bytes(8)


def main(mode: str, output: str, proof: str, job: str, attempt: str, seconds: float) -> int:
    def proven(name: str) -> int:
        return os.open(f"{proof}/{name}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    lock = proven(f"{job}.lock")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(proven(f"{job}.twice"))
        return 3
    os.write(proven(f"{job}.runs"), f"{attempt}\n".encode())
    written = proven(f"{job}-{attempt}.written")

    def say(text: str) -> None:
        os.write(1, text.encode())
        os.write(written, text.encode())

    def save(name: str, size: int) -> None:
        with open(f"{output}/{name}", "wb") as file:  # noqa: PTH123 (pathlib costs start-up time)
            file.write(LORA)
            for _ in range(0, size, FLOOD_BYTES):
                file.write(b"x" * FLOOD_BYTES)

    say("running training\n")
    steps = 40
    for step in range(1, steps + 1):
        time.sleep(seconds / steps)
        say(f"\rsteps: {step * 100 // steps:3d}%|#####     | {step}/{steps} [00:01<00:01,  9.00it/s, avr_loss=0.5]")
        if step % 10 == 0:
            say(f"\nepoch {step // 10}/4 of job {job}\n")
            save(f"lora-{step // 10:06d}.safetensors", 0)
        while mode == "flood_log":
            os.write(1, b"log " * (FLOOD_BYTES // 4))
    if mode in ("wait", "wait_and_end"):
        deadline = time.monotonic() + 600
        while not os.access(f"{proof}/go", os.F_OK) and time.monotonic() < deadline:
            time.sleep(0.02)
    if mode == "wait_and_end":  # without another byte
        os.close(proven(f"{job}-{attempt}.done"))
        return 0
    save("lora.safetensors", 1 << 40 if mode == "flood_output" else 0)
    say("\nmodel saved.\n")
    os.close(proven(f"{job}-{attempt}.done"))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:6], seconds=float(sys.argv[6])))
