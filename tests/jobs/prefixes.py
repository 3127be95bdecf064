"""What launchers put before every line of a log: formats of tools that people run trainers under."""

from collections.abc import Callable

from tests.jobs.cases import Case

FORMATS = {
    "docker-t": "2025-03-16T19:20:{s:02}.{ns:09}Z ",
    "cri": "2025-03-16T19:20:{s:02}.{ns:09}Z stderr F ",
    "cri-tz": "2025-03-16T19:20:{s:02}.{ns:09}+01:00 stdout F ",
    "compose": "trainer-1  | ",
    "compose-colour": "\x1b[36mtrainer-1  |\x1b[0m ",
    "journald": "Mar 16 19:20:{s:02} gpubox python[4242]: ",
    "journald-iso": "2025-03-16T19:20:{s:02}+0100 gpu-box-3 train.sh[99]: ",
    "syslog": "Mar  6 19:20:{s:02} gpubox lora-train: ",
    "ts": "Mar 16 19:20:{s:02} ",
    "ts-s": "00:00:{s:02}.{ms:03} ",
    "pylog": "2025-03-16 19:20:{s:02},{ms:03} - runner - INFO - ",
    "pylog2": "INFO:runner:",
    "pylog3": "[2025-03-16 19:20:{s:02}] [INFO] ",
    "gha": "2025-03-16T19:20:{s:02}.{ms:03}1234Z ",
    "gh-run": "train\tRun trainer\t2025-03-16T19:20:{s:02}.{ms:03}1234Z ",
    "airflow": "[2025-03-16, 19:20:{s:02} UTC] {{subprocess.py:93}} INFO - ",
    "cloudwatch": "2025-03-16T19:20:{s:02}.{ms:03}Z\t",
    "cloudwatch-ms": "17421516{s:02}{ms:03} ",
    "runpod": "2025-03-16T19:20:{s:02}Z [info] ",
    "vertex": "INFO 2025-03-16T19:20:{s:02}.{ms:03}Z [resource.labels.taskName: workerpool0-0] ",
    "srun": "0: ",
    "mpirun": "[1,0]<stderr>:",
    "torchrun": "[default0]:",
    "rank": "[rank0]: ",
    "ray": "(train_fn pid=12345) ",
    "ray-ip": "(RayTrainWorker pid=12345, ip=10.0.0.7) ",
    "sky": "(head, rank=0, pid=2201) ",
    "sky-task": "(lora-train, pid=2201) ",
    "stern": "lora-train-7d9f5b-xk2qp trainer ",
    "kubectl": "[pod/lora-train-7d9f5b-xk2qp/trainer] ",
    "quote": "> ",
    "indent": "    ",
    "glog": "I0316 19:20:{s:02}.{ms:03}123   991 runner.cc:88] ",
    "wandb-console": "2025-03-16 19:20:{s:02} ",
    "supervisord": "2025-03-16 19:20:{s:02},{ms:03} DEBG 'train' stdout output: ",
    "heroku": "2025-03-16T19:20:{s:02}.{ms:03}123+00:00 app[train.1]: ",
    "tmux-bracket": "[19:20:{s:02}] ",
    "epoch-s": "[   12.{ms:03}{s:03}] ",
    "foreman": "19:20:{s:02} train.1   | ",
    "slashed": "2025/03/16 19:20:{s:02} ",
    "cat-n": "{i:6}\t",
    "nl": "{i}: ",
    "grep-n": "{i}:",
}
PREFIXES = tuple(FORMATS)


def prefixed(case: Case, name: str) -> bytes | None:
    """The log of a case with a prefix before every line; None where its bytes are no lines of UTF-8.

    None, too, where lines have several prefixes of their own already: what is learned below another one needs more.
    """
    log = case.log
    if (
        case.kind in {"mixed-prefixes", "prefix-changes"}
        or b"\0" in log
        or log.startswith((b"\xef\xbb\xbf", b'{"log"', b'{"severity"'))
    ):
        return None
    lines = log.decode().split("\n")
    put: Callable[..., str] = FORMATS[name].format
    return "\n".join(
        put(i=at + 1, s=at % 60, ms=at * 137 % 1000, ns=at * 1371371 % 10**9) + line for at, line in enumerate(lines)
    ).encode()
