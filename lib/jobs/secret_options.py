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


def shown_extra(extra: Mapping[str, Any]) -> dict[str, Any]:
    """Trainer-specific values that may be shown: those of options named like secrets are left out."""
    return {name: NOT_SHOWN if is_secret_option(str(name)) else shown_value(value) for name, value in extra.items()}


def shown_value(value: Any) -> Any:
    """The same for a value, which may be ``name=value`` or a list of such."""
    if isinstance(value, list | tuple):
        return [shown_value(each) for each in value]
    name, equals, _ = value.partition("=") if isinstance(value, str) else ("", "", "")
    return f"{name}={NOT_SHOWN}" if equals and is_secret_option(name) else value
