"""Memory that ran out while a network worked: devices say so in ways of their own. Needs no torch."""

_WORDS = ("DefaultCPUAllocator", "std::bad_alloc")
"""On a CPU it is a plain RuntimeError that says one of these."""


def is_out_of_memory(error: RuntimeError) -> bool:
    """Tell whether an error of torch means that there was too little memory."""
    return type(error).__name__ == "OutOfMemoryError" or any(words in str(error) for words in _WORDS)
