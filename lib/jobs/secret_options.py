"""Trainer options with secret values, recognised by their names."""

import re
from collections.abc import Mapping
from typing import Any

NOT_SHOWN = "(not shown)"
# At the end of the name: --huggingface_token and --wandb_api_key, but not --keep_tokens or --max_token_length.
_SECRET_OPTION = re.compile(r"(token|key|secret|password)$", re.IGNORECASE)


def is_secret_option(name: str) -> bool:
    """Whether an option's name says that its value is secret."""
    return _SECRET_OPTION.search(name) is not None


# What trainers call their secrets in the environment, where that is not the option's own name in capitals.
_VARIABLES = {"huggingface_token": "HF_TOKEN"}


def secret_variable(name: str, value: Any) -> str:
    """The environment variable that a secret belongs in; empty when the option holds none."""
    items = value if isinstance(value, list | tuple) else [value]
    names = [name, *(each.partition("=")[0] for each in items if isinstance(each, str) and "=" in each)]
    found = next((each for each in names if is_secret_option(each)), "")
    return _VARIABLES.get(found.lower(), re.sub(r"\W", "_", found.upper(), flags=re.ASCII)[:80])


def shown_extra(extra: Mapping[str, Any]) -> dict[str, Any]:
    """Trainer-specific values that may be shown: those of options named like secrets are left out."""
    return {name: NOT_SHOWN if is_secret_option(str(name)) else shown_value(value) for name, value in extra.items()}


def shown_value(value: Any) -> Any:
    """The same for a value, which may be ``name=value`` or a list of such."""
    if isinstance(value, list | tuple):
        return [shown_value(each) for each in value]
    name, equals, _ = value.partition("=") if isinstance(value, str) else ("", "", "")
    return f"{name}={NOT_SHOWN}" if equals and is_secret_option(name) else value
