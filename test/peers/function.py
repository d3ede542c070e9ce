"""The function that all peers call, and a tools file for the one that is ours."""

try:
    from snakepit import tool
except ImportError:  # another peer

    def tool(function):
        return function


@tool
def echo(value: str) -> str:
    return value
