"""Examples at the end of a command's help."""


def example(*commands: str) -> str:
    """For `epilog`: lines as a person types them, without the `alerts` in front. They are not wrapped."""
    # the backspace is click's mark for lines that stay as they are
    return "\n".join(["\b", "Example:", *(f"  alerts {command}" for command in commands)])
